/** What is handed to the log's writer: batches of entries and marks, and the settings and state that the writer shares with the log. */
import type { Ports } from '../../ports.ts';
import type { Entry, HardState } from '../../raft/types.ts';
import type { Disk } from '../disk.ts';
import type { EntryPositions } from './entry_positions.ts';
import { recordBytes } from './format.ts';

/** When an append counts as done: synced, written to the operating system, or taken into memory. */
export type Durability = 'fsync' | 'os' | 'relaxed';

/** The data of a hard state record is the vote. */
export const HARD_STATE_BYTES = recordBytes(8);

/** A record that is not an entry. */
export interface Mark {
  readonly kind: number;
  readonly index: number;
  readonly term: number;
  readonly data: Uint8Array;
}

/** Where the log starts: after this entry; segments below `lowestSequence` are no longer part of it. */
export interface LogStart {
  index: number;
  term: number;
  lowestSequence: number;
}

/** Reaches the disk in one write. */
export interface Batch {
  /** Write the hard state (the newest one) ahead of the entries. */
  readonly hardState: boolean;
  readonly entries: readonly Entry[];
  readonly mark: Mark | undefined;
  bytes: number;
  /** Must be durable before whoever waits is told. */
  readonly sync: boolean;
  readonly waiter: { resolve(): void; reject(error: unknown): void } | undefined;
}

export interface WriterOptions {
  readonly disk: Disk;
  readonly path: string;
  readonly durability: Durability;
  readonly relaxedFlushMs: number;
  readonly segmentSizeBytes: number;
  readonly preallocateBytes: number;
  readonly ports: Ports;
}

export interface WriterState {
  hardState: HardState;
  readonly start: LogStart;
  readonly positions: EntryPositions;
  /** The last entry that is written (not only queued). */
  readonly written: { index: number; term: number };
}

/** Bytes of the records of a batch. */
export function sizeOf(hardState: boolean, entries: readonly Entry[], mark: Mark | undefined): number {
  let bytes = hardState ? HARD_STATE_BYTES : 0;
  for (let i = 0; i < entries.length; i++) bytes += recordBytes(entries[i]!.data.byteLength);
  if (mark !== undefined) bytes += recordBytes(mark.data.byteLength);
  return bytes;
}
