/**
 * Brings blocks of tables from their files into table memory: at once or through the thread pool, checked, decompressed, and into the cache when it takes them.
 *
 * Invariants: the payload of a block that is handed out has the checksum that both its trailer and the index name (so that a misdirected or stale block shows),
 * and the length that the index names. A frame outside of the cache is valid until the next block is brought, or `release`.
 */
import { crc32 } from '../crc32.ts';
import type { BlockCache } from './block_cache.ts';
import { TRAILER_BYTES } from './block_layout.ts';
import { STORED_LZ4, STORED_PLAIN } from './format.ts';
import { INDEX_ENTRY } from './index_section.ts';
import type { OpenTable } from './open_table.ts';
import type { ReadBudget } from './read_budget.ts';
import { SCRATCH_BLOCK_BYTES, SCRATCH_FRAME, SCRATCH_STORED, type TableMemory } from './table_memory.ts';

const RAW_LENGTH_BYTES = 4;

export class BlockSource {
  /** Reads on this thread, and through the thread pool. */
  readsNow = 0;
  readsLater = 0;
  readonly #memory: TableMemory;
  readonly #scratch: number;
  readonly #cache: BlockCache;
  readonly #budget: ReadBudget;
  /** Memory of blocks that are too large for the scratch: address, bytes. */
  #borrowed: number[] = [];
  /** By index entry: the block as it is stored, on its way from the file. */
  readonly #coming = new Map<number, Promise<Uint8Array>>();

  constructor(memory: TableMemory, scratch: number, cache: BlockCache, budget: ReadBudget) {
    this.#memory = memory;
    this.#scratch = scratch;
    this.#cache = cache;
    this.#budget = budget;
  }

  /** Reads the block of an index entry on this thread: the address of its payload. @throws KvError CORRUPT */
  readNow(table: OpenTable, entry: number): number {
    this.release();
    const length = this.#field(entry, INDEX_ENTRY.length);
    const place = this.#room(SCRATCH_STORED, length);
    const stored = this.#memory.u8.subarray(place, place + length);
    this.readsNow++;
    const startMs = this.#budget.startMs();
    const got = table.file.readSync(stored, this.#field(entry, INDEX_ENTRY.offset));
    this.#budget.ended(startMs, length);
    this.#check(table, entry, stored, got);
    return this.#unpack(table, entry, place, length);
  }

  /**
   * Reads the block of an index entry through the thread pool, as it is stored, checked. Those who want a block at the same time share one read.
   * REQUIRES: the caller keeps the table open. @throws KvError CORRUPT
   */
  readLater(table: OpenTable, entry: number): Promise<Uint8Array> {
    const known = this.#coming.get(entry);
    if (known !== undefined) return known;
    this.readsLater++;
    const read = this.#read(table, entry).finally(() => this.#coming.delete(entry));
    this.#coming.set(entry, read);
    return read;
  }

  async #read(table: OpenTable, entry: number): Promise<Uint8Array> {
    const stored = Buffer.allocUnsafeSlow(this.#field(entry, INDEX_ENTRY.length));
    const got = await table.file.read(stored, this.#field(entry, INDEX_ENTRY.offset));
    this.#check(table, entry, stored, got);
    return stored;
  }

  /** Brings a block that readLater gave into memory: the address of its payload. */
  place(table: OpenTable, entry: number, stored: Uint8Array): number {
    this.release();
    // Somebody else who waited may have been quicker.
    const frame = this.#cache.frameOf(entry);
    if (frame !== 0) return frame;
    const place = this.#room(SCRATCH_STORED, stored.length);
    this.#memory.u8.set(stored, place);
    return this.#unpack(table, entry, place, stored.length);
  }

  /** The last block that was brought is not looked at any more. */
  release(): void {
    if (this.#borrowed.length === 0) return;
    for (let i = 0; i < this.#borrowed.length; i += 2)
      this.#memory.free(this.#borrowed[i]!, this.#borrowed[i + 1]!);
    this.#borrowed = [];
  }

  #field(entry: number, field: number): number {
    return this.#memory.u32[(entry + field) >>> 2]!;
  }

  /** Room for a block in a part of the scratch, or in memory of its own when it is too large for that. */
  #room(part: number, bytes: number): number {
    if (bytes <= SCRATCH_BLOCK_BYTES) return this.#scratch + part;
    const address = this.#memory.mustAllocate(bytes);
    this.#borrowed.push(address, bytes);
    return address;
  }

  #check(table: OpenTable, entry: number, stored: Uint8Array, got: number): void {
    const { length } = stored;
    if (got !== length) throw this.#damage(table, entry, 'the file ends within a block');
    const at = length - 4;
    const named =
      (stored[at]! | (stored[at + 1]! << 8) | (stored[at + 2]! << 16) | (stored[at + 3]! << 24)) >>> 0;
    if (crc32(stored.subarray(0, at)) !== named)
      throw this.#damage(table, entry, 'the checksum of a block is wrong');
    if (named !== this.#field(entry, INDEX_ENTRY.blockCrc))
      throw this.#damage(table, entry, 'a block is not the one that the index names');
  }

  /** Turns a stored block in memory into a payload, in the cache if it takes it. */
  #unpack(table: OpenTable, entry: number, place: number, length: number): number {
    const rawLength = this.#field(entry, INDEX_ENTRY.rawLength);
    const compression = this.#memory.u8[place + length - TRAILER_BYTES]!;
    const packedLength = length - TRAILER_BYTES;
    if (compression !== STORED_PLAIN && compression !== STORED_LZ4)
      throw this.#damage(table, entry, `a block is compressed in an unknown way (${compression})`);
    if (compression === STORED_PLAIN && packedLength !== rawLength)
      throw this.#damage(table, entry, 'a block has another length than the index says');
    const frame = this.#cache.admit(entry);
    if (compression === STORED_PLAIN) {
      if (frame === 0) return place;
      // Admission may have grown the memory: no views of before.
      this.#memory.u8.copyWithin(frame, place, place + rawLength);
    } else {
      const target = frame === 0 ? this.#room(SCRATCH_FRAME, rawLength) : frame;
      if (!this.#decompress(place, packedLength, target, rawLength)) {
        if (frame !== 0) this.#cache.cancel(entry, frame);
        throw this.#damage(table, entry, 'a block cannot be decompressed');
      }
      if (frame === 0) return target;
    }
    this.#cache.show(entry, frame);
    return frame;
  }

  #decompress(place: number, packedLength: number, target: number, rawLength: number): boolean {
    const { u8, wasm } = this.#memory;
    if (packedLength < RAW_LENGTH_BYTES) return false;
    const named =
      (u8[place]! | (u8[place + 1]! << 8) | (u8[place + 2]! << 16) | (u8[place + 3]! << 24)) >>> 0;
    if (named !== rawLength) return false;
    const packed = place + RAW_LENGTH_BYTES;
    return wasm.lz4Decompress(packed, packedLength - RAW_LENGTH_BYTES, target, rawLength) === rawLength;
  }

  #damage(table: OpenTable, entry: number, problem: string): Error {
    return table.damage(this.#field(entry, INDEX_ENTRY.offset), problem);
  }
}
