/**
 * Keys and ranges as callers name them, turned into stored keys and half-open ranges.
 *
 * Invariants: what comes out lies in the user space and within the limits, or a KvError says what is wrong with it; an empty range is `undefined`.
 */
import { KvError } from '../errors.ts';
import { prefixEnd, SPACE_USER, USER_SPACE_END, USER_SPACE_START } from '../kv/keyspace.ts';
import type { Key, KeySelection } from './store_types.ts';

export interface StoredRange {
  readonly start: Uint8Array;
  readonly end: Uint8Array;
}
export interface SelectedKeys {
  readonly key: Uint8Array;
  /** Of [key, end); undefined: the one key. */
  readonly end: Uint8Array | undefined;
}

/**
 * A key as it is stored: UTF-8 for a string, behind the space byte.
 * @throws KvError INVALID_ARGUMENT, KEY_TOO_LARGE
 */
export function storedKeyOf(key: Key, maxKeyBytes: number): Uint8Array {
  checkKey(key, maxKeyBytes);
  return spaced(key);
}

/** A prefix as it is stored; it may be empty. The node knows how long it may be. @throws KvError INVALID_ARGUMENT */
export function storedPrefixOf(prefix: Key): Uint8Array {
  boundLength(prefix, Number.MAX_SAFE_INTEGER);
  return spaced(prefix);
}

/** @throws KvError INVALID_ARGUMENT for what is no key or is empty, KEY_TOO_LARGE */
export function checkKey(key: Key, maxKeyBytes: number): void {
  const length = boundLength(key, maxKeyBytes);
  if (length === 0) throw new KvError('INVALID_ARGUMENT', 'the key is empty');
}

/** Checks type and size of a key or a bound, which may be empty; gives its length in units of its own. */
function boundLength(key: Key, maxKeyBytes: number): number {
  if (typeof key === 'string') {
    // No character takes more than three bytes a UTF-16 unit: short strings need no counting.
    if (key.length * 3 > maxKeyBytes && Buffer.byteLength(key) > maxKeyBytes) {
      throw keyTooLarge(Buffer.byteLength(key), maxKeyBytes);
    }
  } else if (key instanceof Uint8Array) {
    if (key.length > maxKeyBytes) throw keyTooLarge(key.length, maxKeyBytes);
  } else {
    throw new KvError('INVALID_ARGUMENT', `a key is a string or a Uint8Array, not ${typeof key}`);
  }
  return key.length;
}

function keyTooLarge(sizeBytes: number, limitBytes: number): KvError {
  return new KvError('KEY_TOO_LARGE', `key of ${sizeBytes} bytes, allowed: at most ${limitBytes}`, {
    details: { sizeBytes, limitBytes },
  });
}

function spaced(key: Key): Uint8Array {
  if (typeof key !== 'string') {
    const stored = new Uint8Array(key.length + 1);
    stored[0] = SPACE_USER;
    stored.set(key, 1);
    return stored;
  }
  const stored = Buffer.allocUnsafe(Buffer.byteLength(key) + 1);
  stored[0] = SPACE_USER;
  stored.utf8Write(key, 1, stored.length - 1);
  return stored;
}

/**
 * The range of stored keys that start, end and prefix name together; `undefined` when it holds no key.
 * @throws KvError INVALID_ARGUMENT, KEY_TOO_LARGE
 */
export function rangeOf(
  bounds: { start?: Key | undefined; end?: Key | undefined; prefix?: Key | undefined },
  maxKeyBytes: number,
): StoredRange | undefined {
  let start = USER_SPACE_START;
  let end = USER_SPACE_END;
  for (const bound of [bounds.start, bounds.end, bounds.prefix]) {
    if (bound !== undefined) boundLength(bound, maxKeyBytes);
  }
  if (bounds.prefix !== undefined) {
    start = spaced(bounds.prefix);
    // The space byte is never 0xff: a prefix of 0xff bytes ends with the space.
    end = prefixEnd(start) ?? USER_SPACE_END;
  }
  if (bounds.start !== undefined) {
    const first = spaced(bounds.start);
    if (Buffer.compare(first, start) > 0) start = first;
  }
  if (bounds.end !== undefined) {
    const last = spaced(bounds.end);
    if (Buffer.compare(last, end) < 0) end = last;
  }
  return Buffer.compare(start, end) < 0 ? { start, end } : undefined;
}

/**
 * The key or the range that is named: without `end` it is the one key; `undefined` for a range that holds no key.
 * @throws KvError INVALID_ARGUMENT, KEY_TOO_LARGE
 */
export function keysOf(selection: KeySelection, maxKeyBytes: number): SelectedKeys | undefined {
  const { key, start, end, prefix } = selection;
  if (key === undefined) {
    const range = rangeOf(selection, maxKeyBytes);
    return range === undefined ? undefined : { key: range.start, end: range.end };
  }
  if (start !== undefined || end !== undefined || prefix !== undefined) {
    throw new KvError('INVALID_ARGUMENT', 'either a key is named, or a range');
  }
  return { key: storedKeyOf(key, maxKeyBytes), end: undefined };
}
