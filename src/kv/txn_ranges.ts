/**
 * Ranges within a transaction: what they look at, what they show, and what the puts of the same transaction may add to that.
 */
import type { KvEngine } from '../storage/engine_port.ts';
import { compareKeys, keyAfter } from '../storage/record.ts';
import type { PutOp, RangeOp, RangeResult } from './command.ts';
import { RangeCollector } from './range_collector.ts';
import { feedsReverse, looksAtAll, needsNoValues } from './range_selection.ts';
import { live, RECORD_OVERHEAD_BYTES } from './records.ts';
import { walkRange } from './walk.ts';

/**
 * Looks at the records of a range, at its own revision or at `newest` where it names none; at one more than `maxKeys` at most. Gives how many those were: fewer than there
 * are where `collector`, which is shown them, cannot take what a range without a limit must show.
 * REQUIRES: the range is loaded; `newest` is the newest revision.
 */
export function lookAtRange(
  operation: RangeOp,
  engine: KvEngine,
  newest: number,
  maxKeys: number,
  collector: RangeCollector | undefined,
): number {
  const { key, end, revision, limit } = operation;
  const at = revision === 0 ? newest : revision;
  if (end === undefined) {
    const record = live(at >= newest ? engine.latest(key) : engine.at(key, at));
    if (record === undefined) return 0;
    collector?.add(record);
    return 1;
  }
  const most = 1 + (looksAtAll(operation) ? maxKeys : Math.min(maxKeys, limit));
  const reverse = feedsReverse(operation);
  const valuesNeeded = collector !== undefined && !needsNoValues(operation);
  const withValues = (): boolean => valuesNeeded && !collector.countsOnly;
  return walkRange(engine, { start: key, end, revision: at, reverse, most, withValues }, (record) => {
    collector?.add(record);
    return collector?.overflows !== true;
  });
}

/** What the range shows: cut off (`more`) where `maxBytes` are used up. REQUIRES: no more keys than may be looked at. */
export function readRange(
  operation: RangeOp,
  engine: KvEngine,
  newest: number,
  maxBytes: number,
): RangeResult {
  const collector = new RangeCollector(operation, maxBytes);
  lookAtRange(operation, engine, newest, ALL_KEYS, collector);
  return { type: 'range', revision: newest, ...collector.finish() };
}

/** The plan has seen that it is not too many. */
const ALL_KEYS = 0x7fff_fffe;

/** What the puts of a transaction weigh in the results of its ranges, by the order of their keys. */
export class PutWeights {
  private readonly puts: readonly PutOp[];
  /** Of the puts before each position. */
  private readonly keyBytes: readonly number[];
  private readonly valueBytes: readonly number[];

  constructor(operations: readonly PutOp[]) {
    const puts = [...operations];
    puts.sort((a, b) => compareKeys(a.key, b.key));
    const keyBytes = [0];
    const valueBytes = [0];
    for (const [at, { key, value }] of puts.entries()) {
      keyBytes.push((keyBytes[at] as number) + key.length + RECORD_OVERHEAD_BYTES);
      valueBytes.push((valueBytes[at] as number) + value.length);
    }
    this.puts = puts;
    this.keyBytes = keyBytes;
    this.valueBytes = valueBytes;
  }

  within({ key, end, keysOnly, countOnly }: RangeOp): number {
    if (countOnly) return 0;
    const from = this.position(key);
    const to = Math.max(from, this.position(end ?? keyAfter(key)));
    const bytes = (this.keyBytes[to] as number) - (this.keyBytes[from] as number);
    if (keysOnly) return bytes;
    return bytes + (this.valueBytes[to] as number) - (this.valueBytes[from] as number);
  }

  /** How many puts lie before the key. */
  private position(key: Uint8Array): number {
    let low = 0;
    let high = this.puts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareKeys((this.puts[middle] as PutOp).key, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
