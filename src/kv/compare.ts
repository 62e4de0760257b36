/**
 * The conditions of a transaction, as etcd v3 defines them: a value comparison with a missing key is false, whatever the relation; every
 * other target of a missing key counts as 0. Over a range a comparison must hold for every key; a range that holds none is compared as a missing key.
 */
import type { KvEngine } from '../storage/engine_port.ts';
import { compareKeys, keyAfter, type StoredRecord } from '../storage/record.ts';
import type { Compare, CompareResult } from './command.ts';
import { live } from './records.ts';

/** Keys looked at before the next are fetched: most comparisons that fail do so early. */
const CHUNK_KEYS = 256;

/** How many keys may still be looked at. */
export interface LooksLeft {
  keys: number;
}

/**
 * Whether a condition holds for the store as it is. undefined: the range holds more keys than may be looked at.
 * REQUIRES: the compared keys are loaded; `revision` is the newest.
 */
export function compareHolds(
  compare: Compare,
  engine: KvEngine,
  revision: number,
  left: LooksLeft,
): boolean | undefined {
  const { end } = compare;
  if (end === undefined) return recordHolds(compare, live(engine.latest(compare.key)));
  let start = compare.key;
  for (let first = true; ; first = false) {
    const records = engine.range({ start, end }, revision, false, CHUNK_KEYS);
    if (first && records.length === 0) return recordHolds(compare, undefined);
    for (const record of records) {
      if (--left.keys < 0) return undefined;
      if (!recordHolds(compare, record)) return false;
    }
    if (records.length < CHUNK_KEYS) return true;
    start = keyAfter((records[CHUNK_KEYS - 1] as StoredRecord).key);
  }
}

/** The same for a key's live record (undefined: there is none). */
export function recordHolds(compare: Compare, record: StoredRecord | undefined): boolean {
  if (compare.target === 'value') {
    return record !== undefined && relationHolds(compare.result, compareKeys(record.value, compare.value));
  }
  if (compare.target === 'lease') {
    // Storage keeps leases as signed numbers of 64 bits, and so does etcd compare them.
    const lease = BigInt.asIntN(64, record?.lease ?? 0n);
    const wanted = BigInt.asIntN(64, compare.lease);
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
