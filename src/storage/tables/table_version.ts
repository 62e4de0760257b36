/**
 * One state of the levels, as look-ups see it: a record in table memory that names the open tables of each level (assembly/table_lookup.ts).
 *
 * Invariants: a version never changes; its tables stay open while anybody holds it. Tables of level 0 stand newest first and may overlap; those of a deeper
 * level are disjoint and in key order.
 */
import { KvError } from '../../errors.ts';
import { compareKeys } from '../record.ts';
import type { TableInfo } from './format.ts';
import type { OpenTable } from './open_table.ts';
import type { TableMemory } from './table_memory.ts';

const HEADER_BYTES = 8;
const LEVEL_BYTES = 8;
const SLOT_BYTES = 16;

export class TableVersion {
  readonly levels: readonly (readonly OpenTable[])[];
  /** What is known of the tables, level by level. */
  readonly infos: readonly (readonly TableInfo[])[];
  readonly address: number;
  /** The set itself while this is the present version, pins, and look-ups that wait for a block. */
  holders = 1;
  readonly #memory: TableMemory;
  readonly #bytes: number;

  /** @throws KvError INTERNAL when a level is out of order, UNAVAILABLE when there is no memory */
  constructor(memory: TableMemory, levels: readonly (readonly OpenTable[])[]) {
    checkOrder(levels);
    this.#memory = memory;
    this.levels = levels;
    this.infos = levels.map((level) => level.map((table) => table.info));
    const tables = levels.reduce((sum, level) => sum + level.length, 0);
    this.#bytes = HEADER_BYTES + levels.length * LEVEL_BYTES + tables * SLOT_BYTES;
    this.address = memory.mustAllocate(this.#bytes);
    this.#write();
    for (const level of levels) for (const table of level) table.uses++;
  }

  #write(): void {
    const { u32 } = this.#memory;
    const { address, levels } = this;
    u32[address >>> 2] = levels.length;
    u32[(address + 4) >>> 2] = 0;
    let slot = address + HEADER_BYTES + levels.length * LEVEL_BYTES;
    for (const [number, level] of levels.entries()) {
      const place = (address + HEADER_BYTES + number * LEVEL_BYTES) >>> 2;
      u32[place] = slot;
      u32[place + 1] = level.length;
      for (const table of level) {
        u32[slot >>> 2] = table.address;
        u32[(slot + 4) >>> 2] = u32[(table.address + 16) >>> 2]!;
        u32[(slot + 8) >>> 2] = u32[(table.address + 20) >>> 2]!;
        u32[(slot + 12) >>> 2] = 0;
        slot += SLOT_BYTES;
      }
    }
  }

  /** Gives the record back. REQUIRES: nobody holds the version, and it is not the published one. */
  retire(): void {
    this.#memory.retire(this.address, this.#bytes);
  }
}

function checkOrder(levels: readonly (readonly OpenTable[])[]): void {
  for (const [number, level] of levels.entries()) {
    if (number === 0) continue;
    for (let i = 1; i < level.length; i++) {
      const before = level[i - 1]!.info;
      const { smallestKey, fileNumber } = level[i]!.info;
      if (compareKeys(before.largestKey, smallestKey) < 0) continue;
      throw new KvError(
        'INTERNAL',
        `tables ${before.fileNumber} and ${fileNumber} of level ${number} are out of order`,
      );
    }
  }
}
