/**
 * Requests between nodes over the transport: one frame there, one frame back, matched by id.
 *
 * The transport knows peers, not lives: an answer to a request of this node's life before (it was killed and is back) arrives here like any other. So each life
 * begins its ids somewhere else, and an answer from before finds nobody.
 *
 * Invariants: every request settles once: with its answer, at its deadline, or when the connection to the peer is lost (an answer would not find its
 * way back). Frames may be lost, so an unanswered request that may write fails with `maybeApplied`.
 */
import type { Transport } from '../../transports/transport.ts';
import { KvError } from '../errors.ts';
import type { Random } from '../ports.ts';
import type { NodeId } from '../raft/types.ts';
import { asKvError } from '../wire/error_codec.ts';
import {
  decodeAnswer,
  decodeRequest,
  encodeAnswer,
  encodeRequest,
  PEER_HASH,
  PEER_LEASE_RENEW,
  PEER_MEMBERS,
  PEER_SNAPSHOT,
  PEER_SNAPSHOT_READ,
  PEER_STATUS,
  type PeerOperation,
} from '../wire/peer_codec.ts';
import { CircuitBreaker } from './circuit_breaker.ts';

/** Requests from one peer being worked on at once; more are refused. */
const MAX_INCOMING = 65_536;
/** Bytes of the number where a life's ids begin: with what is added to it an id stays a safe integer. */
const ID_BYTES = 6;

/** What changes nothing on the other side that a repetition could change twice. */
const READS: ReadonlySet<PeerOperation> = new Set([
  PEER_STATUS,
  PEER_MEMBERS,
  PEER_SNAPSHOT,
  PEER_SNAPSHOT_READ,
  PEER_HASH,
  PEER_LEASE_RENEW,
]);

interface Pending {
  readonly peer: NodeId;
  readonly operation: PeerOperation;
  readonly deadlineMs: number;
  readonly resolve: (body: Uint8Array) => void;
  readonly reject: (error: KvError) => void;
}

export type PeerRequestHandler = (
  operation: PeerOperation,
  body: Uint8Array,
  timeoutMs: number,
) => Promise<Uint8Array>;

export class PeerRpc {
  readonly #transport: Transport;
  readonly #nowMs: () => number;
  readonly #handle: PeerRequestHandler;
  readonly #breaker: CircuitBreaker;
  readonly #pending = new Map<number, Pending>();
  #lastId: number;
  #incoming = 0;
  #closed = false;

  constructor(transport: Transport, nowMs: () => number, random: Random, handle: PeerRequestHandler) {
    this.#lastId = random.bytes(ID_BYTES).reduce((number, byte) => number * 256 + byte, 0);
    this.#breaker = new CircuitBreaker(nowMs);
    this.#transport = transport;
    this.#nowMs = nowMs;
    this.#handle = handle;
  }

  /** @throws KvError UNAVAILABLE when the peer can't be reached, TIMEOUT without an answer, or what the peer answered. */
  call(peer: NodeId, operation: PeerOperation, body: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    if (!this.#breaker.admits(peer))
      return Promise.reject(new KvError('UNAVAILABLE', `node ${peer} does not answer at the moment`));
    const id = ++this.#lastId;
    const sent = this.#transport.send(
      peer,
      encodeRequest({ id, operation, timeoutMs: Math.ceil(timeoutMs), body }),
    );
    if (!sent) return Promise.reject(new KvError('UNAVAILABLE', `node ${peer} can't be reached from here`));
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { peer, operation, deadlineMs: this.#nowMs() + timeoutMs, resolve, reject });
    });
  }

  onRequest(from: NodeId, payload: Uint8Array): void {
    const request = decodeRequest(payload);
    const answer = (parts: Uint8Array[]): void => {
      this.#incoming--;
      if (!this.#closed) this.#transport.send(from, parts);
    };
    this.#incoming++;
    if (this.#incoming > MAX_INCOMING) {
      const error = new KvError('OVERLOADED', 'too many requests from other nodes');
      return answer(encodeAnswer({ id: request.id, ok: false, error }));
    }
    this.#handle(request.operation, request.body, request.timeoutMs).then(
      (body) => answer(encodeAnswer({ id: request.id, ok: true, body })),
      (error) => answer(encodeAnswer({ id: request.id, ok: false, error: asKvError(error) })),
    );
  }

  onAnswer(from: NodeId, payload: Uint8Array): void {
    const answer = decodeAnswer(payload);
    // One that comes too late for its call, too, says that the peer answers.
    this.#breaker.answered(from);
    const pending = this.#pending.get(answer.id);
    if (pending === undefined || pending.peer !== from) return;
    this.#pending.delete(answer.id);
    if (answer.ok) pending.resolve(answer.body);
    else pending.reject(answer.error);
  }

  disconnected(peer: NodeId): void {
    this.#breaker.answered(peer);
    for (const [id, pending] of this.#pending) {
      if (pending.peer === peer)
        this.#fail(id, pending, 'UNAVAILABLE', `the connection to node ${peer} was lost`);
    }
  }

  sweep(): void {
    const nowMs = this.#nowMs();
    for (const [id, pending] of this.#pending) {
      if (pending.deadlineMs > nowMs) continue;
      this.#breaker.timedOut(pending.peer);
      this.#fail(id, pending, 'TIMEOUT', `node ${pending.peer} did not answer in time`);
    }
  }

  close(): void {
    this.#closed = true;
    for (const [id, pending] of this.#pending) this.#fail(id, pending, 'UNAVAILABLE', 'the node is stopping');
  }

  #fail(id: number, pending: Pending, code: 'UNAVAILABLE' | 'TIMEOUT', message: string): void {
    this.#pending.delete(id);
    const reads = READS.has(pending.operation);
    pending.reject(new KvError(code, message, { maybeApplied: !reads }));
  }
}
