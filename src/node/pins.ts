/**
 * Revisions that somebody is still reading in pieces (a scan between two pages): automatic compaction spares them for a while.
 *
 * Invariants: a pin lapses by itself `PIN_MS` after its last use, so that nobody can hold history for ever; at most MAX_PINS revisions are
 * pinned (past that the oldest pin goes).
 */
const PIN_MS = 30_000;
const MAX_PINS = 10_000;

export class Pins {
  /** Insertion order is the order of use, oldest first. */
  readonly #lapses = new Map<number, number>();
  readonly #nowMs: () => number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Marks a revision as in use from now for PIN_MS. */
  touch(revision: number): void {
    this.#lapses.delete(revision);
    this.#lapses.set(revision, this.#nowMs() + PIN_MS);
    if (this.#lapses.size > MAX_PINS) {
      for (const oldest of this.#lapses.keys()) {
        this.#lapses.delete(oldest);
        break;
      }
    }
  }

  /** The lowest pinned revision; Infinity when nothing is pinned. */
  lowest(): number {
    const nowMs = this.#nowMs();
    let lowest = Number.POSITIVE_INFINITY;
    for (const [revision, lapseMs] of this.#lapses) {
      if (lapseMs <= nowMs) this.#lapses.delete(revision);
      else if (revision < lowest) lowest = revision;
    }
    return lowest;
  }
}
