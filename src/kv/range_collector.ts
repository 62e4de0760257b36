/**
 * Picks out of a range's records those that a selection shows: filters, sorts, cuts and counts as etcd v3 does.
 *
 * Records come in the order of their keys (those of `feedsReverse` downwards), so the natural orders stop early; any other sort keeps no more than it needs for its limit.
 * Invariants: what is shown is the beginning of what an unbounded collector would show; records are copies; kept are at most about twice `maxBytes`, and
 * twice the limit.
 */
import { compareKeys, copyRecord, copyWithoutValue, type StoredRecord } from '../storage/record.ts';
import type { RangeSelection, SortTarget } from './command.ts';
import { hasFilter, needsNoValues } from './range_selection.ts';
import { recordBytes } from './records.ts';

export interface Collected {
  readonly records: readonly StoredRecord[];
  /** Keys that the filters let through lie beyond the last record. */
  readonly more: boolean;
  readonly count: number;
}

type Order = (a: StoredRecord, b: StoredRecord) => number;

/** Fewer than this are not worth cutting. */
const FEW_KEPT = 64;

export class RangeCollector {
  private readonly selection: RangeSelection;
  private readonly maxBytes: number;
  private readonly filtered: boolean;
  /** Sorts what is kept; undefined: it comes in order. */
  private readonly order: Order | undefined;
  /** Records taken before the others are only counted; Infinity while a sort has to see them all. */
  private readonly maxTaken: number;
  private readonly limit: number;
  private kept: StoredRecord[] = [];
  private keptBytes = 0;
  private seen = 0;
  /** Let through by the filters, kept or not. */
  private passed = 0;
  /** Sorting: nothing that does not come before this one is shown. */
  private bound: StoredRecord | undefined;
  private full = false;

  /** `maxBytes`: what the records shown may weigh (recordBytes). */
  constructor(selection: RangeSelection, maxBytes: number) {
    this.selection = selection;
    this.maxBytes = maxBytes;
    this.filtered = hasFilter(selection);
    const { limit, sortTarget, sortOrder } = selection;
    this.limit = limit === 0 ? Number.POSITIVE_INFINITY : limit;
    this.order = sortTarget === 'key' ? undefined : orderBy(sortTarget, sortOrder === 'descend');
    // etcd: such a sort comes after the limit, of which one record more was read.
    const sortsFirst = sortTarget !== 'key' && sortOrder === 'none' && !this.filtered;
    this.maxTaken = this.order !== undefined && !sortsFirst ? Number.POSITIVE_INFINITY : this.limit + 1;
  }

  /** Whether no further record changes the result. */
  get done(): boolean {
    return this.countsOnly && !this.selection.counted && !this.selection.countOnly;
  }

  /** Whether further records are only counted: nothing of them but their number matters. */
  get countsOnly(): boolean {
    return this.selection.countOnly || this.full || this.passed >= this.maxTaken;
  }

  /** Whether the bytes do not suffice for a selection without a limit, which must not be cut. */
  get overflows(): boolean {
    return this.selection.limit === 0 && (this.full || this.keptBytes > this.maxBytes);
  }

  /** What is kept weighs so much; after `finish`, what is shown. */
  get bytes(): number {
    return this.keptBytes;
  }

  /** Keys that are not looked at one by one. */
  countFurther(keys: number): void {
    this.seen += keys;
  }

  /** The next record; it need not outlive the call. */
  add(record: StoredRecord): void {
    this.seen++;
    if (this.countsOnly || (this.filtered && !passes(this.selection, record))) return;
    this.passed++;
    if (this.order === undefined) this.append(record);
    else this.sortIn(record, this.order);
  }

  finish(): Collected {
    const { selection, order, limit } = this;
    if (order !== undefined) this.cut(order);
    const records = this.kept;
    if (selection.keysOnly && selection.sortTarget === 'value') {
      for (let at = 0; at < records.length; at++) records[at] = copyWithoutValue(records[at] as StoredRecord);
    }
    const more = this.passed > Math.min(limit, records.length);
    return { records, more, count: selection.counted || selection.countOnly ? this.seen : records.length };
  }

  private append(record: StoredRecord): void {
    if (this.kept.length >= this.limit) return;
    const copy = this.selection.keysOnly ? copyWithoutValue(record) : copyRecord(record);
    const bytes = recordBytes(copy);
    if (this.keptBytes + bytes > this.maxBytes) {
      this.full = true;
      return;
    }
    this.keptBytes += bytes;
    this.kept.push(copy);
  }

  private sortIn(record: StoredRecord, order: Order): void {
    if (this.bound !== undefined && order(record, this.bound) >= 0) return;
    const copy = needsNoValues(this.selection) ? copyWithoutValue(record) : copyRecord(record);
    this.kept.push(copy);
    this.keptBytes += recordBytes(copy);
    const tooMany = this.kept.length >= FEW_KEPT && this.kept.length >= 2 * this.limit;
    if (tooMany || this.keptBytes > 2 * this.maxBytes) this.cut(order);
  }

  /** Sorts what is kept and drops from its end what will not be shown. */
  private cut(order: Order): void {
    this.kept.sort(order);
    let bytes = 0;
    let fits = 0;
    for (; fits < this.kept.length && fits < this.limit; fits++) {
      bytes += recordBytes(this.kept[fits] as StoredRecord);
      if (bytes > this.maxBytes) {
        this.full = this.limit === Number.POSITIVE_INFINITY;
        bytes -= recordBytes(this.kept[fits] as StoredRecord);
        break;
      }
    }
    if (fits < this.kept.length) this.bound = this.kept[fits];
    this.kept.length = fits;
    this.keptBytes = bytes;
  }
}

function passes(selection: RangeSelection, { modRevision, createRevision }: StoredRecord): boolean {
  const { minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = selection;
  return (
    modRevision >= minModRevision &&
    (maxModRevision === 0 || modRevision <= maxModRevision) &&
    createRevision >= minCreateRevision &&
    (maxCreateRevision === 0 || createRevision <= maxCreateRevision)
  );
}

/** Ties in the order of the keys, whichever way is sorted. */
function orderBy(target: Exclude<SortTarget, 'key'>, descending: boolean): Order {
  const sign = descending ? -1 : 1;
  if (target === 'value') {
    return (a, b) => sign * compareKeys(a.value, b.value) || compareKeys(a.key, b.key);
  }
  return (a, b) => sign * (a[target] - b[target]) || compareKeys(a.key, b.key);
}
