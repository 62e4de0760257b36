/**
 * The conditions of a transaction, as etcd v3 defines them: a value comparison with a missing key is false, whatever the relation; every
 * other target of a missing key counts as 0. Over a range a comparison must hold for every key; a range that holds none is compared as a missing key.
 */
import type { KvEngine } from '../storage/engine_port.ts';
import { compareKeys, type StoredRecord } from '../storage/record.ts';
import type { Compare, CompareResult } from './command.ts';
import { live } from './records.ts';
import { walkRange } from './walk.ts';

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
  let holds = true;
  const walk = {
    start: compare.key,
    end,
    revision,
    reverse: false,
    most: left.keys + 1,
    withValues: () => compare.target === 'value',
  };
  const seen = walkRange(engine, walk, (record) => {
    holds = --left.keys >= 0 && recordHolds(compare, record);
    return holds;
  });
  if (left.keys < 0) return undefined;
  return seen === 0 ? recordHolds(compare, undefined) : holds;
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
