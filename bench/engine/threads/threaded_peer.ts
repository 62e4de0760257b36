/**
 * What a peer must offer to be measured from several worker threads of one process. A new peer is a row in `THREADED_PEERS`.
 *
 * `openOwner` runs in the process's main thread and loads the keys; every worker then opens its end with what `handle` gave, which is sent to it as a message.
 */
import type { Transferable } from 'node:worker_threads';
import type { Data } from '../data.ts';
import type { PeerName } from '../peer.ts';
import type { Answer } from '../stretch.ts';

export interface ThreadHandle {
  readonly message: unknown;
  /** Parts of the message that move to the worker. */
  readonly transfer?: readonly Transferable[];
}

export interface ThreadOwner {
  readonly note: string;
  /** Writes the key at a position. */
  put(n: number): unknown;
  /** For the worker of that number, counted from 0: what it opens its end with. A worker that ended may be followed by another with its number. */
  handle(index: number): Promise<ThreadHandle>;
  close(): Promise<void>;
}

/** A worker's end. An answer that is not at once a value is awaited. */
export interface ThreadEnd {
  get(key: Uint8Array): Answer | Promise<Answer>;
  /** Resolves, or returns, when the write is acknowledged, or taken into a window of writes under way. */
  put(key: Uint8Array, value: Uint8Array): unknown;
  /** Resolves when every write is acknowledged; there where `put` has a window. */
  drain?(): Promise<void>;
  close(): unknown;
}

export interface ThreadedPeer {
  openOwner(directory: string, data: Data): Promise<ThreadOwner>;
  openEnd(message: unknown): Promise<ThreadEnd>;
}

/** Peers that can be used from several threads. */
export const THREADED_PEERS: Readonly<Partial<Record<PeerName, () => Promise<ThreadedPeer>>>> = {
  kvorum: async () => (await import('./kvorum.ts')).kvorumThreads,
  lmdb: async () => (await import('./lmdb.ts')).lmdbThreads,
  'classic-level': async () => (await import('./classic_level.ts')).classicLevelThreads,
};
