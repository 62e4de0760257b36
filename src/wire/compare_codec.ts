/**
 * The byte form of the comparisons of a transaction.
 *
 *     compare := head:u8 key [end] operand        head: target + 8 (end present) + 16 * relation
 *     target  := 0 value | 1 version | 2 createRevision | 3 modRevision | 4 lease
 *     relation := 0 = | 1 != | 2 > | 3 <
 *     operand := value:bytes | lease:u64 (two's complement) | number:varint
 */
import type { Compare, CompareResult, CompareTarget } from '../kv/command.ts';
import { type ByteReader, type ByteWriter, malformed } from './varint.ts';

const TARGETS: readonly CompareTarget[] = ['value', 'version', 'createRevision', 'modRevision', 'lease'];
const RELATIONS: readonly CompareResult[] = ['=', '!=', '>', '<'];
const TARGET_BITS = 7;
const END = 8;
const NO_VALUE = new Uint8Array(0);

/** Head, length of the key, operand. */
export const MIN_COMPARE_BYTES = 3;

export function writeCompare(writer: ByteWriter, compare: Compare): void {
  const { target, result, key, end } = compare;
  writer.u8(TARGETS.indexOf(target) | (end === undefined ? 0 : END) | (RELATIONS.indexOf(result) << 4));
  writer.byteString(key);
  if (end !== undefined) writer.byteString(end);
  if (target === 'value') writer.byteString(compare.value);
  else if (target === 'lease') writer.bigU64(BigInt.asUintN(64, compare.lease));
  else writer.varint(compare.number);
}

/** Keys and values are views. @throws KvError PROTOCOL */
export function readCompare(reader: ByteReader): Compare {
  const head = reader.u8();
  const target = TARGETS[head & TARGET_BITS];
  const result = RELATIONS[head >> 4];
  if (target === undefined || result === undefined) throw malformed(`comparison ${head}`);
  const key = reader.byteString();
  const end = (head & END) === 0 ? undefined : reader.byteString();
  const value = target === 'value' ? reader.byteString() : NO_VALUE;
  const lease = target === 'lease' ? BigInt.asIntN(64, reader.bigU64()) : 0n;
  const number = target === 'value' || target === 'lease' ? 0 : reader.varint();
  return { target, result, key, end, value, lease, number };
}

/** An upper bound of the bytes that a comparison takes. */
export function compareBytesAtMost({ key, end, value }: Compare): number {
  return key.length + (end === undefined ? 0 : end.length) + value.length + 32;
}
