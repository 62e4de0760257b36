/**
 * The damage that reads and compactions have met in tables: which file, where, and which keys may be affected.
 *
 * Invariants: one entry for a table, the first that was met; a table that is no longer part of the tree is not on the list.
 */
import type { KvError } from '../../errors.ts';
import { parseTableName } from './format.ts';
import type { Levels } from './levels.ts';

export interface DamagedTable {
  readonly file: string;
  readonly fileNumber: number;
  readonly level: number;
  readonly offset: number;
  readonly problem: string;
  /** Reads of keys from here to `largestKey`, both included, may fail; those of other keys do not. */
  readonly smallestKey: Uint8Array;
  readonly largestKey: Uint8Array;
}

interface Damage {
  readonly file: string;
  readonly offset: number;
  readonly problem: string;
}

export class DamageList {
  readonly #tables = new Map<number, Damage>();

  /** Numbers of the damaged tables; a live view. */
  get fileNumbers(): ReadonlySet<number> {
    return this.#fileNumbers;
  }
  readonly #fileNumbers = new Set<number>();

  /** Notes a KvError CORRUPT that names a table's file. False: it names none, or the table was on the list. */
  note(error: KvError): boolean {
    const file = String(error.details['file'] ?? '');
    const table = parseTableName(file.slice(file.lastIndexOf('/') + 1));
    if (table === undefined || this.#tables.has(table.fileNumber)) return false;
    const { offset, problem } = error.details;
    this.#tables.set(table.fileNumber, {
      file,
      offset: Number(offset ?? 0),
      problem: String(problem ?? error.message),
    });
    this.#fileNumbers.add(table.fileNumber);
    return true;
  }

  /** Forgets tables that are gone. */
  keepOnly(levels: Levels): void {
    if (this.#tables.size === 0) return;
    const present = new Set(levels.fileNumbers().flat());
    for (const fileNumber of [...this.#tables.keys()]) {
      if (present.has(fileNumber)) continue;
      this.#tables.delete(fileNumber);
      this.#fileNumbers.delete(fileNumber);
    }
  }

  list(levels: Levels): DamagedTable[] {
    const list: DamagedTable[] = [];
    levels.levels.forEach((tables, level) => {
      for (const { info } of tables) {
        const damage = this.#tables.get(info.fileNumber);
        if (damage === undefined) continue;
        const { fileNumber, smallestKey, largestKey } = info;
        list.push({ ...damage, fileNumber, level, smallestKey, largestKey });
      }
    });
    return list;
  }
}
