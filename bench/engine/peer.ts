/**
 * What an engine must offer to be measured: single puts and gets in the form that is fastest for it, batches, a scan and a bulk load.
 *
 * Invariant: a value that `get` or `scan` gives is the caller's own (copied out of the engine), for every peer.
 */
import type { Data } from './data.ts';
import type { Operation } from './stretch.ts';

export const PEER_NAMES = ['kvorum', 'lmdb', 'classic-level', 'level-rocksdb', 'js-map'] as const;
export type PeerName = (typeof PEER_NAMES)[number];

/** `os`: acknowledged when the operating system has it. `fsync`: when the disk has it. */
export type Durability = 'os' | 'fsync';

/** One way of writing; a peer may have several, and the fastest counts. */
export interface PutMode {
  readonly note: string;
  readonly operation: Operation;
}

export interface Totals {
  readonly entries: number;
  readonly bytes: number;
}

/** An open store with the operations on `data`. `n` is a position in `data.keys`. */
export interface EngineStore {
  readonly puts: readonly PutMode[];
  /** Reads and checks the key at a position. */
  readonly get: Operation;
  readonly getNote: string;
  /** Looks for the key at a position of `absent`, and fails when it is there. */
  getAbsent(absent: Data): Operation;
  /** Writes the keys at positions n * size to (n + 1) * size - 1 as one atomic batch. */
  batch(size: number): Operation;
  readonly batchNote: string;
  /** Reads everything in key order. */
  scan(): Promise<Totals>;
  /** Writes all of `sorted` in key order, as fast as the interface allows. */
  load(sorted: Data): Promise<void>;
  readonly loadNote: string;
  close(): Promise<void>;
}

export type OpenPeer = (directory: string, durability: Durability, data: Data) => Promise<EngineStore>;

/** A key looked for that is not there. */
export function mustBeAbsent(answer: Uint8Array | undefined): void {
  if (answer !== undefined) throw new Error(`an absent key reads ${answer.length} B`);
}

/** Runs `count` asynchronous pieces of work, `inFlight` at a time. */
export async function inFlight(
  count: number,
  inFlight: number,
  work: (i: number) => Promise<unknown>,
): Promise<void> {
  let next = 0;
  const caller = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: inFlight }, caller));
}
