/**
 * The index of a table: where each block lies, and which keys come before its end.
 *
 *     index := count:u32 keysLength:u32 entry x count  keys  crc:u32
 *     entry := keyOffset:u32 (into keys) keyLength:u32 offset:u32 length:u32 (as stored, with trailer) largestRevision:f64 blockCrc:u32
 *              rawLength:u32 (of the payload) 0:u32 0:u32                                          40 B
 *
 * The key of an entry is a separator: not below any key of its block, and below every key of the next one; where the versions of a key go on in the next
 * block, it is that key. The last two words are for a cache, in memory; in the file they are zero.
 *
 * Invariants of a decoded section: blocks follow each other from offset 0 to the filter without a gap; keys lie in `keys` one behind the other and never fall.
 */
import { compareKeys } from '../record.ts';
import { MAX_ENTRY_KEY_BYTES, MAX_PAYLOAD_BYTES, TRAILER_BYTES } from './block_layout.ts';
import { bad, CRC_BYTES, type Decoded, isSealed, sealSection, viewOf } from './format.ts';

export const INDEX_HEADER_BYTES = 8;
export const INDEX_ENTRY_BYTES = 40;
export const INDEX_ENTRY = {
  keyOffset: 0,
  keyLength: 4,
  offset: 8,
  length: 12,
  largestRevision: 16,
  blockCrc: 24,
  rawLength: 28,
  /** In memory only. */
  cacheFrame: 32,
  cacheWord: 36,
} as const;
/** The least that a block's payload can take: one entry, one restart, their count. */
const MIN_PAYLOAD_BYTES = 16;

/**
 * A short key s with lastKey <= s < nextFirstKey; lastKey itself when the keys are the same.
 * REQUIRES: lastKey <= nextFirstKey. The answer may be a view of either.
 */
export function shortSeparator(lastKey: Uint8Array, nextFirstKey: Uint8Array): Uint8Array {
  const most = Math.min(lastKey.length, nextFirstKey.length);
  let common = 0;
  while (common < most && lastKey[common] === nextFirstKey[common]) common++;
  // A prefix of the next key, or too short to be shortened.
  if (common + 1 >= lastKey.length || common === nextFirstKey.length) return lastKey;
  if (lastKey[common]! + 1 < nextFirstKey[common]!) return raised(lastKey, common);
  if (nextFirstKey.length > common + 1) return nextFirstKey.subarray(0, common + 1);
  for (let at = common + 1; at + 1 < lastKey.length; at++)
    if (lastKey[at] !== 0xff) return raised(lastKey, at);
  return lastKey;
}

/** The key up to `at`, with the byte there one higher. */
function raised(key: Uint8Array, at: number): Uint8Array {
  const result = new Uint8Array(key.subarray(0, at + 1));
  result[at] = result[at]! + 1;
  return result;
}

/** Collects entries for the index of one table. */
export class IndexBuilder {
  count = 0;
  #entries: DataView = new DataView(new ArrayBuffer(256 * INDEX_ENTRY_BYTES));
  #keys = new Uint8Array(8192);
  #keysLength = 0;

  /** Blocks are added in order. `offset` and `length` are where the block lies as stored, trailer included. */
  add(
    separator: Uint8Array,
    offset: number,
    length: number,
    largestRevision: number,
    blockCrc: number,
    rawLength: number,
  ): void {
    const at = this.count * INDEX_ENTRY_BYTES;
    if (at === this.#entries.byteLength) {
      const larger = new Uint8Array(2 * at);
      larger.set(new Uint8Array(this.#entries.buffer));
      this.#entries = viewOf(larger);
    }
    const keysEnd = this.#keysLength + separator.length;
    if (keysEnd > this.#keys.length) {
      const larger = new Uint8Array(Math.max(keysEnd, 2 * this.#keys.length));
      larger.set(this.#keys);
      this.#keys = larger;
    }
    this.#keys.set(separator, this.#keysLength);
    const entries = this.#entries;
    entries.setUint32(at + INDEX_ENTRY.keyOffset, this.#keysLength, true);
    entries.setUint32(at + INDEX_ENTRY.keyLength, separator.length, true);
    entries.setUint32(at + INDEX_ENTRY.offset, offset, true);
    entries.setUint32(at + INDEX_ENTRY.length, length, true);
    entries.setFloat64(at + INDEX_ENTRY.largestRevision, largestRevision, true);
    entries.setUint32(at + INDEX_ENTRY.blockCrc, blockCrc, true);
    entries.setUint32(at + INDEX_ENTRY.rawLength, rawLength, true);
    this.#keysLength = keysEnd;
    this.count++;
  }

  /** The section. */
  encode(): Uint8Array {
    const entriesBytes = this.count * INDEX_ENTRY_BYTES;
    const section = new Uint8Array(INDEX_HEADER_BYTES + entriesBytes + this.#keysLength + CRC_BYTES);
    const view = viewOf(section);
    view.setUint32(0, this.count, true);
    view.setUint32(4, this.#keysLength, true);
    section.set(new Uint8Array(this.#entries.buffer, 0, entriesBytes), INDEX_HEADER_BYTES);
    section.set(this.#keys.subarray(0, this.#keysLength), INDEX_HEADER_BYTES + entriesBytes);
    return sealSection(section);
  }
}

/** A decoded index: reads fields where they lie. */
export class IndexView {
  readonly count: number;
  /** Where the keys begin in the section. */
  readonly keysAt: number;
  readonly #section: Uint8Array;
  readonly #view: DataView;

  /** REQUIRES: a section that decodeIndex found right. */
  constructor(section: Uint8Array) {
    this.#section = section;
    this.#view = viewOf(section);
    this.count = this.#view.getUint32(0, true);
    this.keysAt = INDEX_HEADER_BYTES + this.count * INDEX_ENTRY_BYTES;
  }

  #word(block: number, field: number): number {
    return this.#view.getUint32(INDEX_HEADER_BYTES + block * INDEX_ENTRY_BYTES + field, true);
  }

  /** A view. */
  separator(block: number): Uint8Array {
    const start = this.keysAt + this.#word(block, INDEX_ENTRY.keyOffset);
    return this.#section.subarray(start, start + this.#word(block, INDEX_ENTRY.keyLength));
  }

  offset(block: number): number {
    return this.#word(block, INDEX_ENTRY.offset);
  }
  /** As stored, with its trailer. */
  length(block: number): number {
    return this.#word(block, INDEX_ENTRY.length);
  }
  largestRevision(block: number): number {
    const at = INDEX_HEADER_BYTES + block * INDEX_ENTRY_BYTES + INDEX_ENTRY.largestRevision;
    return this.#view.getFloat64(at, true);
  }
  blockCrc(block: number): number {
    return this.#word(block, INDEX_ENTRY.blockCrc);
  }
  rawLength(block: number): number {
    return this.#word(block, INDEX_ENTRY.rawLength);
  }
}

/** Checks an index section whose blocks must fill the file's first `blocksEnd` bytes. */
export function decodeIndex(section: Uint8Array, blocksEnd: number): Decoded<IndexView> {
  if (section.length < INDEX_HEADER_BYTES + INDEX_ENTRY_BYTES + CRC_BYTES)
    return bad('the index is too short');
  if (!isSealed(section)) return bad('the checksum of the index is wrong');
  const view = viewOf(section);
  const count = view.getUint32(0, true);
  const keysLength = view.getUint32(4, true);
  if (
    INDEX_HEADER_BYTES + count * INDEX_ENTRY_BYTES + keysLength + CRC_BYTES !== section.length ||
    count === 0
  )
    return bad('the index has another length than it says');
  const index = new IndexView(section);
  let keyOffset = 0;
  let offset = 0;
  for (let block = 0; block < count; block++) {
    const at = INDEX_HEADER_BYTES + block * INDEX_ENTRY_BYTES;
    const keyLength = view.getUint32(at + INDEX_ENTRY.keyLength, true);
    if (view.getUint32(at + INDEX_ENTRY.keyOffset, true) !== keyOffset)
      return bad('the keys of the index do not follow each other');
    keyOffset += keyLength;
    if (keyLength === 0 || keyLength > MAX_ENTRY_KEY_BYTES || keyOffset > keysLength)
      return bad('a key of the index has an impossible length');
    if (index.offset(block) !== offset) return bad('the blocks of the index do not follow each other');
    const length = index.length(block);
    const rawLength = index.rawLength(block);
    offset += length;
    if (length <= TRAILER_BYTES || length > rawLength + TRAILER_BYTES || offset > blocksEnd)
      return bad('a block of the index has an impossible length');
    if (rawLength < MIN_PAYLOAD_BYTES || rawLength > MAX_PAYLOAD_BYTES)
      return bad('a payload of the index has an impossible length');
    const largestRevision = index.largestRevision(block);
    if (!Number.isSafeInteger(largestRevision) || largestRevision < 0)
      return bad('a revision of the index is out of range');
    if (
      view.getUint32(at + INDEX_ENTRY.cacheFrame, true) !== 0 ||
      view.getUint32(at + INDEX_ENTRY.cacheWord, true) !== 0
    )
      return bad('a reserved field of the index is not zero');
    if (block > 0 && compareKeys(index.separator(block - 1), index.separator(block)) > 0)
      return bad('the keys of the index are out of order');
  }
  if (keyOffset !== keysLength) return bad('the index has keys that no block uses');
  if (offset !== blocksEnd) return bad('the blocks do not reach to the filter');
  return { ok: true, value: index };
}
