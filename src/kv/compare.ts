/**
 * The conditions of a transaction, as etcd v3 defines them: a value comparison with a missing key is false, whatever the relation; every
 * other target of a missing key counts as 0.
 */
import type { StoredRecord } from '../storage/record.ts';
import { compareKeys } from '../storage/record.ts';
import type { Compare, CompareResult } from './command.ts';

/** Whether a condition holds for the key's live record (undefined: there is none). */
export function compareHolds(compare: Compare, record: StoredRecord | undefined): boolean {
  if (compare.target === 'value') {
    return record !== undefined && relationHolds(compare.result, compareKeys(record.value, compare.value));
  }
  if (compare.target === 'lease') {
    const lease = record?.lease ?? 0n;
    const wanted = BigInt(compare.number);
    return relationHolds(compare.result, lease === wanted ? 0 : lease < wanted ? -1 : 1);
  }
  return relationHolds(compare.result, (record?.[compare.target] ?? 0) - compare.number);
}

function relationHolds(relation: CompareResult, order: number): boolean {
  switch (relation) {
    case '=':
      return order === 0;
    case '!=':
      return order !== 0;
    case '>':
      return order > 0;
    case '<':
      return order < 0;
  }
}
