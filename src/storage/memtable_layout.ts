/**
 * What lies where in a memtable's memory, for those who read it through views (docs/formats/memtable.md; the writer: assembly/arena.ts, skiplist.ts, memtable.ts).
 *
 * Invariants: the fields of a node or a version are found through these constants alone; a change here is a change in assembly/ and in the document.
 */

export const HEADER = 4096;
export const HEAD_NODE = HEADER + 256;

/** A tower lies before its node, level 0 last. */
export const NODE_NEXT = -4;
export const NODE_VERSIONS = 0;
export const NODE_KEY_LENGTH = 8;
export const NODE_KEY = 12;
/** Of the highest tower. */
export const MAX_TOWER_BYTES = 48;

export const VERSION_OLDER = 0;
export const VERSION_VALUE_WORD = 4;
export const VERSION_MOD_REVISION = 8;
export const VERSION_CREATE_REVISION = 16;
export const VERSION_COUNT = 24;
export const VERSION_SUB_REVISION = 32;
export const VERSION_FLAGS = 36;
/** Where the bytes of the value may begin; its phase is to be added. */
export const VERSION_VALUE = 48;
export const MAX_PHASE = 7;
/** Lease (i64) and expiry (f64), 8-aligned behind the value. */
export const TERM_EXPIRES = 8;
export const TERM_BYTES = 16;

// The value word: length, phase, and the sign bit for a term.
const LENGTH_MASK = 0xff_ffff;
const PHASE_SHIFT = 24;

export function valueWord(length: number, phase: number): number {
  return length | (phase << PHASE_SHIFT);
}
export function valueLength(word: number): number {
  return word & LENGTH_MASK;
}
/** Where a version's value lies. */
export function valuePlace(version: number, word: number): number {
  return version + VERSION_VALUE + ((word >>> PHASE_SHIFT) & MAX_PHASE);
}
/** Whether the record has a lease or expires. */
export function hasTerm(word: number): boolean {
  return (word | 0) < 0;
}
/** Where the lease and the expiry lie. REQUIRES: hasTerm. */
export function termPlace(version: number, word: number): number {
  return (valuePlace(version, word) + valueLength(word) + 7) & ~7;
}
