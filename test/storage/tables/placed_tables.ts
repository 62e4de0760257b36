/** Tables that exist on paper only, for tests of levels, manifest and picker. */
import type { TableInfo } from '../../../src/storage/tables/format.ts';
import type { PlacedTable } from '../../../src/storage/tables/levels.ts';
import { bytesOf } from '../record_model.ts';

let lastNumber = 0;

export interface PaperTable extends Partial<Omit<TableInfo, 'smallestKey' | 'largestKey'>> {
  readonly flushSequence?: number;
  readonly cleanedRevision?: number;
}

/** A table of 100 records from one key to another, 1000 bytes unless told otherwise. */
export function tableInfo(smallest: string, largest: string, facts: PaperTable = {}): TableInfo {
  const { flushSequence: _, cleanedRevision: __, ...info } = facts;
  return {
    fileNumber: ++lastNumber,
    fileBytes: 1000,
    recordCount: 100,
    keyCount: 100,
    tombstoneCount: 0,
    blockCount: 5,
    smallestRevision: 1,
    largestRevision: 1000,
    dataBytes: 900,
    smallestKey: bytesOf(smallest),
    largestKey: bytesOf(largest),
    ...info,
  };
}

export function placed(smallest: string, largest: string, facts: PaperTable = {}): PlacedTable {
  return {
    info: tableInfo(smallest, largest, facts),
    flushSequence: facts.flushSequence ?? 1,
    cleanedRevision: facts.cleanedRevision ?? 0,
  };
}
