/**
 * The byte form of what a range shows of its keys: in commands (operation_codec.ts) and in requests (client_codec.ts).
 *
 *     selection := what:u8 sort:u8 [limit] [minModRevision] [maxModRevision] [minCreateRevision] [maxCreateRevision]     (varints)
 *     what      := 1 keysOnly, 2 countOnly, 4 counted; 8, 16, 32, 64, 128 for the numbers that are present, in order
 *     sort      := target + 16 * order        target: 0 key, 1 version, 2 createRevision, 3 modRevision, 4 value; order: 0 none, 1 ascend, 2 descend
 *
 * Invariant: a number that is present is not 0.
 */
import type { RangeSelection, SortOrder, SortTarget } from '../kv/command.ts';
import { type ByteReader, type ByteWriter, malformed } from './varint.ts';

const TARGETS: readonly SortTarget[] = ['key', 'version', 'createRevision', 'modRevision', 'value'];
const ORDERS: readonly SortOrder[] = ['none', 'ascend', 'descend'];
const KEYS_ONLY = 1;
const COUNT_ONLY = 2;
const COUNTED = 4;
/** The first number's; each of the others twice the one before. */
const FIRST_NUMBER = 8;

/** All keys with their values, in order, uncounted. */
export const PLAIN_SELECTION: RangeSelection = Object.freeze({
  limit: 0,
  sortTarget: 'key',
  sortOrder: 'none',
  keysOnly: false,
  countOnly: false,
  counted: false,
  minModRevision: 0,
  maxModRevision: 0,
  minCreateRevision: 0,
  maxCreateRevision: 0,
});

/** Nothing but a limit, keysOnly and the order of the keys, upwards by 'none'. */
export function isPlainSelection(selection: RangeSelection): boolean {
  return (
    selection.sortTarget === 'key' &&
    selection.sortOrder !== 'ascend' &&
    !selection.countOnly &&
    !selection.counted &&
    selection.minModRevision === 0 &&
    selection.maxModRevision === 0 &&
    selection.minCreateRevision === 0 &&
    selection.maxCreateRevision === 0
  );
}

export function writeSelection(writer: ByteWriter, selection: RangeSelection): void {
  const numbers = [
    selection.limit,
    selection.minModRevision,
    selection.maxModRevision,
    selection.minCreateRevision,
    selection.maxCreateRevision,
  ];
  let what = 0;
  if (selection.keysOnly) what |= KEYS_ONLY;
  if (selection.countOnly) what |= COUNT_ONLY;
  if (selection.counted) what |= COUNTED;
  for (const [at, number] of numbers.entries()) if (number !== 0) what |= FIRST_NUMBER << at;
  writer.u8(what).u8(TARGETS.indexOf(selection.sortTarget) | (ORDERS.indexOf(selection.sortOrder) << 4));
  for (const number of numbers) if (number !== 0) writer.varint(number);
}

/** @throws KvError PROTOCOL */
export function readSelection(reader: ByteReader): RangeSelection {
  const what = reader.u8();
  const sort = reader.u8();
  const sortTarget = TARGETS[sort & 0xf];
  const sortOrder = ORDERS[sort >> 4];
  if (sortTarget === undefined || sortOrder === undefined) throw malformed(`sort ${sort}`);
  return {
    limit: numberIn(reader, what, 0),
    sortTarget,
    sortOrder,
    keysOnly: (what & KEYS_ONLY) !== 0,
    countOnly: (what & COUNT_ONLY) !== 0,
    counted: (what & COUNTED) !== 0,
    minModRevision: numberIn(reader, what, 1),
    maxModRevision: numberIn(reader, what, 2),
    minCreateRevision: numberIn(reader, what, 3),
    maxCreateRevision: numberIn(reader, what, 4),
  };
}

function numberIn(reader: ByteReader, what: number, at: number): number {
  if ((what & (FIRST_NUMBER << at)) === 0) return 0;
  const number = reader.varint();
  if (number === 0) throw malformed('a 0 written out');
  return number;
}
