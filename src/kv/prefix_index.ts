/**
 * Things that belong to prefixes of keys, and which of them a key or a range falls under.
 *
 * Invariants: entries lie by prefix, each prefix once; the parent of an entry is the one with the longest other prefix that its own begins with.
 */
import { compareKeys } from '../storage/record.ts';

export interface PrefixEntry<T> {
  readonly prefix: Uint8Array;
  /** Kept by the index. */
  parent: T | undefined;
}

export class PrefixIndex<T extends PrefixEntry<T>> {
  /** In order. */
  readonly entries: readonly T[];

  /** REQUIRES: no prefix twice. */
  constructor(entries: readonly T[]) {
    this.entries = entries.toSorted((a, b) => compareKeys(a.prefix, b.prefix));
    const around: T[] = [];
    for (const entry of this.entries) {
      while (around.length > 0 && !startsWith(entry.prefix, (around.at(-1) as T).prefix)) around.pop();
      entry.parent = around.at(-1);
      around.push(entry);
    }
  }

  find(prefix: Uint8Array): T | undefined {
    const entry = this.entries[this.notAfter(prefix)];
    return entry !== undefined && compareKeys(entry.prefix, prefix) === 0 ? entry : undefined;
  }

  /**
   * The entry with the longest prefix that a key begins with; the others are its parents. Every prefix between that one and the key begins with it, too, so it is found going up from the last that
   * does not lie after the key.
   */
  deepest(key: Uint8Array): T | undefined {
    let entry = this.entries[this.notAfter(key)];
    while (entry !== undefined && !startsWith(key, entry.prefix)) entry = entry.parent;
    return entry;
  }

  /** Adds to `found` every entry that some key of [start, end) could fall under. */
  addMeeting(start: Uint8Array, end: Uint8Array, found: Set<T>): void {
    for (let entry = this.deepest(start); entry !== undefined; entry = entry.parent) found.add(entry);
    for (let at = this.notAfter(start) + 1; at < this.entries.length; at++) {
      const entry = this.entries[at] as T;
      if (compareKeys(entry.prefix, end) >= 0) break;
      found.add(entry);
    }
  }

  /** The place of the last prefix that does not lie after `key`; -1: none. */
  private notAfter(key: Uint8Array): number {
    let low = 0;
    let high = this.entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareKeys((this.entries[middle] as T).prefix, key) <= 0) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}

function startsWith(key: Uint8Array, prefix: Uint8Array): boolean {
  if (key.length < prefix.length) return false;
  for (let at = 0; at < prefix.length; at++) if (key[at] !== prefix[at]) return false;
  return true;
}
