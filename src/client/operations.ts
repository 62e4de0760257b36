/**
 * What calls of the public store are made of: keys, values, numbers and single operations, and batches of those. Transactions: txn_form.ts.
 *
 * Invariants: everything a caller gives is checked before it is encoded, with a KvError that names what is wrong; keys in a command are stored keys.
 */
import { KvError } from '../errors.ts';
import type { DeleteOp, Operation, PutOp, TouchOp } from '../kv/command.ts';
import { userKey } from '../kv/keyspace.ts';
import { compareKeys, type StoredRecord } from '../storage/record.ts';
import { checkLeaseId } from '../wire/lease_codec.ts';
import { storedKeyOf } from './key_range.ts';
import type { BatchOperation, Key, KeyEntry, PutOptions } from './store_types.ts';

export interface StoreLimits {
  readonly maxKeyBytes: number;
  readonly maxValueBytes: number;
  readonly maxTxnOperations: number;
}

/** How a store's values become bytes and back. */
export interface ValueForm<In, Out> {
  encode(value: In): Uint8Array | string;
  decode(bytes: Uint8Array): Out;
}

/** Up to here comparing all pairs of keys costs less than a set of them. */
const FEW_OPERATIONS = 16;

/** @throws KvError INVALID_ARGUMENT, VALUE_TOO_LARGE */
export function checkValue(value: unknown, maxValueBytes: number): asserts value is Uint8Array | string {
  let sizeBytes: number;
  if (typeof value === 'string') {
    if (value.length * 3 <= maxValueBytes) return;
    sizeBytes = Buffer.byteLength(value);
  } else if (value instanceof Uint8Array) {
    sizeBytes = value.length;
  } else {
    throw new KvError('INVALID_ARGUMENT', `a value is a string or a Uint8Array, not ${typeof value}`);
  }
  if (sizeBytes > maxValueBytes) {
    throw new KvError('VALUE_TOO_LARGE', `value of ${sizeBytes} bytes, allowed: at most ${maxValueBytes}`, {
      details: { sizeBytes, limitBytes: maxValueBytes },
    });
  }
}

/** A number of milliseconds that a key lives. @throws KvError INVALID_ARGUMENT */
export function checkTtl(ttlMs: number | undefined, what = 'ttlMs'): number {
  if (ttlMs === undefined) return 0;
  if (!Number.isSafeInteger(ttlMs) || ttlMs < 0) {
    throw new KvError('INVALID_ARGUMENT', `${what} is ${ttlMs}, allowed: whole milliseconds from 0`);
  }
  return ttlMs;
}

/** A revision that a caller names. @throws KvError INVALID_ARGUMENT */
export function checkRevision(revision: number | undefined, what: string): number {
  if (revision === undefined) return 0;
  if (!Number.isSafeInteger(revision) || revision < 0) {
    throw new KvError('INVALID_ARGUMENT', `${what} is ${revision}, allowed: whole numbers from 0`);
  }
  return revision;
}

/** @throws KvError DUPLICATE_KEY when a key stands in the batch twice, TOO_MANY_OPERATIONS, and what single operations throw. */
export function batchOperations<In>(
  operations: readonly BatchOperation<In>[],
  form: ValueForm<In, unknown>,
  limits: StoreLimits,
): Operation[] {
  checkCount(operations.length, limits);
  const converted: (PutOp | DeleteOp)[] = [];
  for (let i = 0; i < operations.length; i++) converted.push(batchOperation(operations[i]!, form, limits));
  const again = firstRepeated(converted);
  if (again < 0) return converted;
  const given = operations[again]!.key;
  const key = typeof given === 'string' ? given : Buffer.from(given).toString('hex');
  throw new KvError('DUPLICATE_KEY', `the key ${key} stands in the batch twice`, { details: { key } });
}

/** Position of the first operation whose key stood there before; -1: none. */
function firstRepeated(operations: readonly (PutOp | DeleteOp)[]): number {
  if (operations.length <= FEW_OPERATIONS) {
    for (let i = 1; i < operations.length; i++) {
      for (let k = 0; k < i; k++) if (sameKey(operations[i]!.key, operations[k]!.key)) return i;
    }
    return -1;
  }
  if (ascending(operations)) return -1;
  const seen = new Set<string>();
  for (let i = 0; i < operations.length; i++) {
    const { key } = operations[i]!;
    seen.add(Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1'));
    if (seen.size <= i) return i;
  }
  return -1;
}

/** Loads in key order need no set. */
function ascending(operations: readonly (PutOp | DeleteOp)[]): boolean {
  for (let i = 1; i < operations.length; i++)
    if (compareKeys(operations[i - 1]!.key, operations[i]!.key) >= 0) return false;
  return true;
}

function sameKey(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  // From the end: keys of one application tend to share their beginning.
  for (let i = a.length - 1; i >= 0; i--) if (a[i] !== b[i]) return false;
  return true;
}

/** @throws KvError TOO_MANY_OPERATIONS */
export function checkCount(count: number, limits: StoreLimits): void {
  if (count <= limits.maxTxnOperations) return;
  throw new KvError(
    'TOO_MANY_OPERATIONS',
    `${count} operations in one transaction, allowed: at most ${limits.maxTxnOperations}`,
    { details: { limit: limits.maxTxnOperations } },
  );
}

function batchOperation<In>(
  operation: BatchOperation<In>,
  form: ValueForm<In, unknown>,
  limits: StoreLimits,
): PutOp | DeleteOp {
  if (operation.type === 'delete') {
    const key = storedKeyOf(operation.key, limits.maxKeyBytes);
    return { type: 'delete', key, end: undefined, prevKv: false };
  }
  if (operation.type !== 'put') throw unknownType(operation);
  return putOperation(operation, form, limits);
}

/** @throws KvError INVALID_ARGUMENT, KEY_TOO_LARGE, VALUE_TOO_LARGE */
export function putOperation<In>(
  given: { readonly key: Key; readonly value: In } & Pick<PutOptions, 'ttlMs' | 'lease'>,
  form: ValueForm<In, unknown>,
  limits: StoreLimits,
): PutOp {
  const key = storedKeyOf(given.key, limits.maxKeyBytes);
  const value = valueBytes(given.value, form, limits);
  const ttlMs = checkTtl(given.ttlMs);
  const lease = checkedLease(given.lease);
  return { type: 'put', key, value, ttlMs, lease, prevKv: false, ignoreValue: false, ignoreLease: false };
}

/** 0n: none, or left to the store. @throws KvError INVALID_ARGUMENT */
export function checkedLease(id: bigint | undefined): bigint {
  if (id === undefined) return 0n;
  if (typeof id !== 'bigint') throw new KvError('INVALID_ARGUMENT', `a lease is a bigint, not ${typeof id}`);
  checkLeaseId(id);
  return id;
}

export function touchOperation(key: Key, ttlMs: number, limits: StoreLimits): TouchOp {
  return { type: 'touch', key: storedKeyOf(key, limits.maxKeyBytes), ttlMs: checkTtl(ttlMs) };
}

export function unknownType(operation: { readonly type: unknown }): KvError {
  return new KvError('INVALID_ARGUMENT', `unknown operation ${String(operation.type)}`);
}

/** @throws KvError INVALID_ARGUMENT, VALUE_TOO_LARGE */
export function valueBytes<In>(value: In, form: ValueForm<In, unknown>, limits: StoreLimits): Uint8Array {
  const encoded = form.encode(value);
  checkValue(encoded, limits.maxValueBytes);
  return typeof encoded === 'string' ? Buffer.from(encoded, 'utf8') : encoded;
}

/** A record as callers see it. */
export function entryOf<Out>(record: StoredRecord, form: ValueForm<never, Out>): KeyEntry<Out> {
  return {
    key: userKey(record.key),
    value: form.decode(record.value),
    createRevision: record.createRevision,
    modRevision: record.modRevision,
    version: record.version,
    expiresAtMs: record.expiresAtMs === 0 ? undefined : record.expiresAtMs,
    lease: record.lease === 0n ? undefined : record.lease,
  };
}

/** The same without the value. */
export function keyOf(record: StoredRecord): KeyEntry<undefined> {
  return {
    key: userKey(record.key),
    value: undefined,
    createRevision: record.createRevision,
    modRevision: record.modRevision,
    version: record.version,
    expiresAtMs: record.expiresAtMs === 0 ? undefined : record.expiresAtMs,
    lease: record.lease === 0n ? undefined : record.lease,
  };
}
