/**
 * Where things lie in the structures of assembly/entry.ts and assembly/block_builder.ts, for those who read and write them through views.
 *
 * Invariant: this file and the comments at the top of those two say the same. All offsets are bytes; builders, lists and descriptors are 8-aligned.
 */

/** A decoded record: `key` and `value` are addresses. */
export const DESCRIPTOR = {
  key: 0,
  keyLength: 4,
  value: 8,
  valueLength: 12,
  modRevision: 16,
  createRevision: 24,
  version: 32,
  lease: 40,
  expiresAtMs: 48,
  subRevision: 56,
  flags: 60,
} as const;
export const DESCRIPTOR_BYTES = 64;

export const BUILDER = {
  out: 4,
  outEnd: 8,
  listCount: 20,
  hashCount: 32,
  /** Where the next entry goes. */
  at: 48,
  /** 0: no block is open. */
  blockStart: 52,
  cutWanted: 104,
} as const;

/** One finished block in a builder's list. */
export const BLOCK = {
  start: 0,
  payloadLength: 4,
  firstKey: 8,
  firstKeyLength: 12,
  lastKey: 16,
  lastKeyLength: 20,
  largestRevision: 24,
  smallestRevision: 32,
  dataBytes: 40,
  entries: 48,
  distinctKeys: 52,
  tombstones: 56,
} as const;
export const BLOCK_LIST_BYTES = 64;

/** The longest key of a block: a stored key and what the store's own rows put before it. */
export const MAX_ENTRY_KEY_BYTES = 65536 + 64;
export const MAX_ENTRY_VALUE_BYTES = 8 * 1024 * 1024;
/** Varints, shape and lease of one entry at their longest. */
export const MAX_ENTRY_HEADER_BYTES = 64;
/** A payload that holds one entry at its largest, its restart and the count. */
export const MAX_PAYLOAD_BYTES = MAX_ENTRY_HEADER_BYTES + MAX_ENTRY_KEY_BYTES + MAX_ENTRY_VALUE_BYTES + 8;
export const MAX_BLOCK_ENTRIES = 1024;
/** Full key lengths of a block's entries, unless it has just one. */
export const MAX_BLOCK_KEY_BYTES = 16384;
export const BUILDER_BYTES = 512 + MAX_ENTRY_KEY_BYTES + 64;
/** Behind each payload: how it is stored (u8) and its crc (u32). */
export const TRAILER_BYTES = 5;
/** Readable bytes that must lie behind whatever WebAssembly reads eight bytes at a time. */
export const SLACK_BYTES = 64;
/** Scratch of lz4Compress. */
export const LZ4_TABLE_BYTES = 16384;

/** What addEntry answers; flushStep also PAUSED and FLUSHED. */
export const ADDED = 0;
/** Take what is finished, then add the same record again. */
export const FULL = 1;
/** The region is empty and too small for the record. */
export const TOO_LARGE = 2;
/** A cut was wanted and the record's key is another: finish the table, begin the next, add the same record again. */
export const CUT = 3;
export const PAUSED = 4;
export const FLUSHED = 5;
