/**
 * The memory that point reads of tables work in: one shared WebAssembly memory per tree, with what readers need of every open table, the cached blocks, and
 * a scratch per thread (docs/formats/table_memory.md). Read by any thread (TableViews), written by one (TableMemory).
 *
 *   0         65536    69632                                        end
 *   | statics | header | arena: units of 4 KiB under a buddy allocator |
 *
 *   header   the words of shared/epochs.ts, and in their first line: +4 u32 version (published)
 *
 * Reclamation is by epochs (shared/epochs.ts): a reader enters, then takes the published version; what the writer has made unreachable is reused only when no
 * reader can see it any more. The writer itself frees only between its own reads, so it is none of the readers.
 *
 * Invariants: views are made here alone; growth gives a shared memory a new buffer object, while views of the old one stay valid for what they cover; at least
 * one page behind the arena is inside the memory, so that eight-byte loads may pass its end.
 */
import { KvError } from '../../errors.ts';
import { EpochReader, Epochs, epochWords } from '../shared/epochs.ts';
import {
  createWasmMemory,
  instantiateWasm,
  WASM_PAGE_BYTES,
  type WasmBuild,
  type WasmExports,
  type WasmMemory,
} from '../wasm_module.ts';
import { BuddyAllocator } from './buddy_allocator.ts';

const HEADER = 65536;
const VERSION_WORD = (HEADER + 4) >>> 2;
export const MAX_READERS = 62;
const ARENA = HEADER + 4096;
export const UNIT_BYTES = 4096;
const UNIT_SHIFT = 12;
const GROWTH_UNITS = (4 * 1024 * 1024) / UNIT_BYTES;
/** Addresses stay below 2 GiB, so that they never turn negative. */
const ADDRESS_LIMIT = 2 ** 31 - WASM_PAGE_BYTES;

/** A thread's scratch, as assembly/table_lookup.ts wants it, and behind it what JavaScript puts there. */
/** A count of blocks that the thread read from files, and behind it a ring of their index entries: wishes for the cache. */
export const SCRATCH_WISHES = 1024;
export const WISHES = 256;
export const SCRATCH_KEY = 4096;
/** The longest key that can be looked for; no record has a longer one. */
export const MAX_KEY_BYTES = 65536 + 64;
/** A block that is not in the cache. */
export const SCRATCH_FRAME = 143360;
/** A block as it is stored. */
export const SCRATCH_STORED = 225280;
/** Of each of the two. */
export const SCRATCH_BLOCK_BYTES = 81920 - 64;
export const SCRATCH_BYTES = 307200;

/** One thread's views of the memory, and its instance of the code. */
export class TableViews {
  readonly memory: WasmMemory;
  readonly wasm: WasmExports;
  u8: Uint8Array;
  u32: Uint32Array;
  i32: Int32Array;
  f64: Float64Array;
  i64: BigInt64Array;

  constructor(memory: WasmMemory, build: WasmBuild) {
    this.memory = memory;
    this.wasm = instantiateWasm(memory, build);
    const { buffer } = memory;
    this.u8 = new Uint8Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.f64 = new Float64Array(buffer);
    this.i64 = new BigInt64Array(buffer);
  }

  /** Makes the views cover all of the memory. To be called when an address lies behind them; another thread may have grown it. */
  refresh(): void {
    const { buffer } = this.memory;
    if (buffer.byteLength === this.u8.byteLength) return;
    this.u8 = new Uint8Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.f64 = new Float64Array(buffer);
    this.i64 = new BigInt64Array(buffer);
  }

  /** The version to read from, 0 when nothing was published. Other threads than the writer call it inside of an epoch. */
  publishedVersion(): number {
    return Atomics.load(this.u32, VERSION_WORD);
  }

  /** Between its enter and its leave, nothing that can be reached from the published version is reused. */
  epochOf(reader: number): EpochReader {
    return new EpochReader(this.epochWords(), reader);
  }

  protected epochWords(): Int32Array {
    return new Int32Array(this.memory.buffer, HEADER, epochWords(MAX_READERS));
  }
}

/** What another thread needs to read. */
export interface ReaderPlace {
  /** The number of its epoch word. */
  readonly reader: number;
  /** The address of its scratch. */
  readonly scratch: number;
}

/** The writer's side: allocation, publication, reclamation. */
export class TableMemory extends TableViews {
  readonly #units = new BuddyAllocator();
  readonly #maximumBytes: number;
  readonly #epochs: Epochs;
  /** Runs of units that wait for readers: first, count, stamp. In the order in which they were retired. */
  #retired: number[] = [];
  #retiredUnits = 0;
  readonly #readers: (ReaderPlace | undefined)[] = [];

  constructor(build: WasmBuild, maximumBytes = ADDRESS_LIMIT) {
    const limit = Math.min(maximumBytes, ADDRESS_LIMIT);
    super(createWasmMemory(ARENA + WASM_PAGE_BYTES, limit), build);
    this.#maximumBytes = limit;
    this.#epochs = new Epochs(this.epochWords(), MAX_READERS, 0);
  }

  /** Bytes under management: those that are in use, free or retired. */
  get arenaBytes(): number {
    return this.#units.units * UNIT_BYTES;
  }
  get freeBytes(): number {
    return this.#units.freeUnits * UNIT_BYTES;
  }
  /** Bytes that wait for readers of other threads. */
  get retiredBytes(): number {
    return this.#retiredUnits * UNIT_BYTES;
  }
  /** One more than the largest number that unitOf gives. */
  get unitCount(): number {
    return this.#units.units;
  }

  unitOf(address: number): number {
    return (address - ARENA) >>> UNIT_SHIFT;
  }

  /** The address of so many bytes (from 1) in a row, 0 when no such run is free. */
  allocateHere(bytes: number): number {
    const unit = this.#units.allocate(unitsOf(bytes));
    return unit < 0 ? 0 : ARENA + unit * UNIT_BYTES;
  }

  /** Like allocateHere, but grows the memory if need be. 0: it cannot grow so far. */
  allocate(bytes: number): number {
    return this.allocateHere(bytes) || this.#grow(bytes);
  }

  /** Like allocate. @throws KvError UNAVAILABLE when there is no more memory. */
  mustAllocate(bytes: number): number {
    const address = this.allocate(bytes);
    if (address !== 0) return address;
    throw new KvError(
      'UNAVAILABLE',
      `no memory for ${bytes} bytes of tables: the filters and indexes of all tables and the block cache share ${this.#maximumBytes} bytes. A smaller storage.blockCacheBytes makes room; a larger storage.blockSizeBytes makes the indexes of new tables smaller`,
      {
        details: { limit: this.#maximumBytes, used: this.arenaBytes },
      },
    );
  }

  /** Gives back what nobody else has seen, or can see any more. */
  free(address: number, bytes: number): void {
    this.#units.free(this.unitOf(address), unitsOf(bytes));
  }

  /** Gives back what readers of other threads may still look at, though nothing leads to it any more. */
  retire(address: number, bytes: number): void {
    if (this.#retired.length === 0 && !this.#epochs.anyInside()) {
      this.free(address, bytes);
      return;
    }
    const count = unitsOf(bytes);
    this.#retired.push(this.unitOf(address), count, this.#epochs.stamp());
    this.#retiredUnits += count;
    this.reclaim();
  }

  /** Frees what no reader can look at any more. */
  reclaim(): void {
    const retired = this.#retired;
    let taken = 0;
    while (taken < retired.length && this.#epochs.isOver(retired[taken + 2]!)) {
      this.#units.free(retired[taken]!, retired[taken + 1]!);
      this.#retiredUnits -= retired[taken + 1]!;
      taken += 3;
    }
    if (taken > 0) this.#retired = retired.slice(taken);
  }

  /** Lets readers see a version from now on. */
  publish(version: number): void {
    Atomics.store(this.u32, VERSION_WORD, version);
  }

  /** A place for one more thread to read. @throws KvError UNAVAILABLE when there are MAX_READERS, or no memory. */
  addReader(): ReaderPlace {
    let reader = 0;
    while (this.#readers[reader] !== undefined) reader++;
    if (reader >= MAX_READERS) {
      throw new KvError('UNAVAILABLE', 'too many threads read tables', { details: { limit: MAX_READERS } });
    }
    const place = { reader, scratch: this.mustAllocate(SCRATCH_BYTES) };
    this.#readers[reader] = place;
    this.#epochs.expect(reader);
    return place;
  }

  /** The thread is gone, or reads no more. */
  removeReader(place: ReaderPlace): void {
    if (this.#readers[place.reader] !== place) return;
    this.#readers[place.reader] = undefined;
    this.#epochs.forget(place.reader);
    this.free(place.scratch, SCRATCH_BYTES);
    this.reclaim();
  }

  /** New memory for so many bytes: a few megabytes at a time, and at least a whole block, which is found again when it is free. 0: there is none. */
  #grow(bytes: number): number {
    const units = this.#units;
    const count = unitsOf(bytes);
    const block = units.unitsForBlock(count);
    const added = Math.max(block, GROWTH_UNITS);
    // Near the maximum, only what is needed.
    return (
      this.#growBy(added, count, false) ||
      this.#growBy(block, count, false) ||
      this.#growBy(count, count, true)
    );
  }

  #growBy(added: number, count: number, atEnd: boolean): number {
    const pages = Math.ceil((added * UNIT_BYTES) / WASM_PAGE_BYTES);
    if (this.u8.byteLength + pages * WASM_PAGE_BYTES > this.#maximumBytes) return 0;
    try {
      this.memory.grow(pages);
    } catch (error) {
      // The system has no room for it.
      if (error instanceof RangeError) return 0;
      throw error;
    }
    this.refresh();
    const first = this.#units.extend((pages * WASM_PAGE_BYTES) / UNIT_BYTES, atEnd ? count : 0);
    return ARENA + (atEnd ? first : this.#units.allocate(count)) * UNIT_BYTES;
  }
}

function unitsOf(bytes: number): number {
  return (bytes + UNIT_BYTES - 1) >>> UNIT_SHIFT;
}
