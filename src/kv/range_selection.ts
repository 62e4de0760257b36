/**
 * What a selection of a range asks for.
 */
import type { RangeSelection } from './command.ts';

/** Whether the records must come from the last key to the first. */
export function feedsReverse(selection: RangeSelection): boolean {
  return selection.sortTarget === 'key' && selection.sortOrder === 'descend';
}

/** Whether every key of the range has to be looked at, whatever the limit. */
export function looksAtAll(selection: RangeSelection): boolean {
  const { sortTarget, sortOrder, limit, counted, countOnly } = selection;
  if (limit === 0 || counted || countOnly) return true;
  return (sortTarget !== 'key' && sortOrder !== 'none') || hasFilter(selection);
}

/** Whether nothing is asked of the records' values. */
export function needsNoValues({ sortTarget, keysOnly, countOnly }: RangeSelection): boolean {
  return countOnly || (keysOnly && sortTarget !== 'value');
}

export function hasFilter(selection: RangeSelection): boolean {
  const { minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = selection;
  return minModRevision !== 0 || maxModRevision !== 0 || minCreateRevision !== 0 || maxCreateRevision !== 0;
}
