/**
 * Ranges of the public store: what callers ask for, checked and as it is sent; and what comes back, with its values decoded.
 *
 * Invariant: an empty range is asked for like any other, since its answer tells a revision.
 */
import { KvError } from '../errors.ts';
import type { RangeSelection, SortOrder, SortTarget } from '../kv/command.ts';
import { USER_SPACE_START } from '../kv/keyspace.ts';
import type { StoredRecord } from '../storage/record.ts';
import type { RangeRequest, ReadOptions } from '../wire/messages.ts';
import { keysOf, type SelectedKeys } from './key_range.ts';
import { checkRevision, entryOf, keyOf, type ValueForm } from './operations.ts';
import type { KeyEntry, KeySelection, RangeOptions, RangeView, ReadCallOptions } from './store_types.ts';

const TARGETS: readonly SortTarget[] = ['key', 'version', 'createRevision', 'modRevision', 'value'];
const NO_KEYS: SelectedKeys = { key: USER_SPACE_START, end: USER_SPACE_START };

/** @throws KvError INVALID_ARGUMENT */
export function readOptionsOf(options: ReadCallOptions, seenRevision: number): ReadOptions {
  const level = options.level ?? 'linearizable';
  const revision = checkRevision(options.revision, 'revision');
  const { atTimeMs } = options;
  if (atTimeMs !== undefined) {
    if (!Number.isSafeInteger(atTimeMs) || atTimeMs < 0)
      throw invalid(`atTimeMs is ${atTimeMs}, allowed: whole milliseconds from 0`);
    if (options.revision !== undefined) throw invalid('a read names either a revision or a time');
  }
  return { level, minRevision: level === 'sequential' ? seenRevision : 0, revision, atTimeMs };
}

/** @throws KvError INVALID_ARGUMENT, KEY_TOO_LARGE */
export function rangeRequest(options: RangeOptions, maxKeyBytes: number, seenRevision: number): RangeRequest {
  return {
    ...selectedKeys(options, maxKeyBytes),
    ...selectionOf(options),
    ...readOptionsOf(options, seenRevision),
    maxBytes: 0,
  };
}

/** The keys of a range, which may be empty. @throws KvError INVALID_ARGUMENT, KEY_TOO_LARGE */
export function selectedKeys(selection: KeySelection, maxKeyBytes: number): SelectedKeys {
  return keysOf(selection, maxKeyBytes) ?? NO_KEYS;
}

/** @throws KvError INVALID_ARGUMENT */
export function selectionOf(view: RangeView): RangeSelection {
  const { sortTarget = 'key', limit } = view;
  if (!TARGETS.includes(sortTarget))
    throw invalid(`sortTarget is ${String(sortTarget)}, allowed: ${TARGETS.join(', ')}`);
  if (limit !== undefined && (!Number.isSafeInteger(limit) || limit < 1))
    throw invalid(`limit is ${limit}, allowed: whole numbers from 1`);
  return {
    limit: limit ?? 0,
    sortTarget,
    sortOrder: sortOrderOf(view, sortTarget),
    keysOnly: view.keysOnly ?? false,
    countOnly: view.countOnly ?? false,
    counted: view.counted ?? false,
    minModRevision: checkRevision(view.minModRevision, 'minModRevision'),
    maxModRevision: checkRevision(view.maxModRevision, 'maxModRevision'),
    minCreateRevision: checkRevision(view.minCreateRevision, 'minCreateRevision'),
    maxCreateRevision: checkRevision(view.maxCreateRevision, 'maxCreateRevision'),
  };
}

/** Keys lie in order: upwards they need no sort. */
function sortOrderOf({ sortOrder = 'ascend' }: RangeView, target: SortTarget): SortOrder {
  if (sortOrder !== 'ascend' && sortOrder !== 'descend')
    throw invalid(`sortOrder is ${String(sortOrder)}, allowed: ascend, descend`);
  return target === 'key' && sortOrder === 'ascend' ? 'none' : sortOrder;
}

/** Entries as callers see them: without a value where only keys were asked for. */
export function entriesOf<Out>(
  records: readonly StoredRecord[],
  keysOnly: boolean,
  form: ValueForm<never, Out>,
): KeyEntry<Out | undefined>[] {
  return records.map((record) => (keysOnly ? keyOf(record) : entryOf(record, form)));
}

function invalid(message: string): KvError {
  return new KvError('INVALID_ARGUMENT', message);
}
