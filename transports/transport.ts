/**
 * The transport port: how nodes send each other frames.
 *
 * Invariants that every transport keeps (test/transports/conformance.ts shows them): frames between one pair of nodes arrive in the order sent, at most once,
 * whole; any of them may be lost; queues are bounded in bytes, and `send` says no instead of growing; a peer that is gone costs nothing but a
 * paced reconnect; frames above the limit are refused before memory is taken for them.
 */
import type { NodeId } from '../src/raft/types.ts';

export interface PeerFrame {
  readonly from: NodeId;
  /** The payload as sent (the parts joined). Owned by the receiver. */
  readonly payload: Uint8Array;
}

export interface TransportEvents {
  /** Called for each frame, in order per peer. A KvError it throws (a payload that is not a message) may end the connection; nothing else may be thrown. */
  frame(frame: PeerFrame): void;
  /** The connection to a peer came up or was lost (frames in flight may be lost). */
  connected?(peer: NodeId): void;
  disconnected?(peer: NodeId, reason: string): void;
  /** Whether a node was a member once and is none now. A transport with a handshake refuses such a peer, so that it learns of its removal. */
  wasRemoved?(peer: NodeId): boolean;
  /** A peer has refused this node because it was removed. */
  removed?(by: NodeId): void;
}

export interface TransportStats {
  readonly framesSent: number;
  readonly framesReceived: number;
  readonly framesDropped: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly queuedBytes: number;
}

export interface Transport {
  /** Starts to listen and to deliver. Resolves to the address that peers use to reach this node. */
  start(events: TransportEvents): Promise<string>;
  /** Where a peer is. Called again when the address changes: the next connection goes there, and one that stands may go on. */
  setPeer(id: NodeId, address: string): void;
  removePeer(id: NodeId): void;
  /** Queues one frame of the given parts. False: not queued (unknown peer, no connection, queue full, frame above the limit, closed); the frame is lost. The parts must not be changed afterwards. */
  send(to: NodeId, parts: readonly Uint8Array[]): boolean;
  /** Lets frames queued during this turn of the event loop go out now rather than at its end. */
  flush(): void;
  stats(): TransportStats;
  close(): Promise<void>;
}

/** A frame's payload in one piece, a copy. `sizeBytes`: of all parts. */
export function joinParts(parts: readonly Uint8Array[], sizeBytes: number): Uint8Array {
  const payload = new Uint8Array(sizeBytes);
  let at = 0;
  for (const part of parts) {
    payload.set(part, at);
    at += part.length;
  }
  return payload;
}
