/**
 * Equality, hash and ranges of keys as unsigned bytes (their order: storage/record.ts).
 */
import { compareKeys } from '../storage/record.ts';

export function equalKeys(a: Uint8Array, b: Uint8Array): boolean {
  const length = a.length;
  if (length !== b.length) return false;
  // From the end: keys of one application tend to share their beginning.
  for (let at = length - 1; at >= 0; at--) if (a[at] !== b[at]) return false;
  return true;
}

/** FNV-1a, 32 bits. For tables that compare the keys afterwards. */
export function hashKey(key: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ (key[at] as number), 0x01000193);
  return hash;
}

/** Whether [start, end) holds the key; without an end the range is the one key `start`. */
export function rangeHolds(start: Uint8Array, end: Uint8Array | undefined, key: Uint8Array): boolean {
  if (end === undefined) return equalKeys(start, key);
  return compareKeys(start, key) <= 0 && compareKeys(key, end) < 0;
}
