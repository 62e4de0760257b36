/**
 * Which revision the store was at when: for reads at a wall-clock time, and for keeping history by hours.
 *
 * A row (ms, revision) says: at `ms` the store was at `revision`. While a second of the store's clock lasts, its row follows the newest revision; so there is one row for each second in
 * which something was written. Past MAX_TIMES rows some of them go: what lies an hour back is then known to a few seconds, and so on in proportion.
 *
 * Invariants: revisions ascend strictly and times do not go back; the last row is the newest revision; what `at` gives was never newer than the time asked for, and older only by what was written
 * in less than the distance of two rows. A function of the commands alone.
 */
import { FIRST_REVISION } from './key_writer.ts';

const ROW_MS = 1_000;
/** Part of the state's definition: the same on every node. */
export const MAX_TIMES = 32_768;
/** A gap between rows is at least this part of their age. */
const STEPS = 2_048;

/** Two columns of the same length. */
export interface TimeRows {
  readonly ms: readonly number[];
  readonly revisions: readonly number[];
}

export class TimeIndex {
  private ms: number[] = [0];
  private revisions: number[] = [FIRST_REVISION];
  private lastSecond = 0;

  /** The store has come to `revision` at `ms`. REQUIRES: both are not below those of the last call. */
  note(ms: number, revision: number): void {
    const second = Math.floor(ms / ROW_MS);
    const last = this.ms.length - 1;
    if (second === this.lastSecond && this.revisions[last] !== FIRST_REVISION) {
      this.ms[last] = ms;
      this.revisions[last] = revision;
      return;
    }
    this.lastSecond = second;
    this.ms.push(ms);
    this.revisions.push(revision);
    if (this.ms.length > MAX_TIMES) this.thin();
  }

  /** The newest revision known to be no newer than `ms`; undefined: nothing is known of that time. */
  at(ms: number): number | undefined {
    let low = 0;
    let high = this.ms.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.ms[middle] as number) <= ms) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? undefined : this.revisions[low - 1];
  }

  /** What lies below `revision` cannot be read any more. */
  prune(revision: number): void {
    const kept = this.revisions.findIndex((one) => one >= revision);
    if (kept <= 0) return;
    this.ms.splice(0, kept);
    this.revisions.splice(0, kept);
  }

  /** undefined: only what goes without saying. */
  capture(): TimeRows | undefined {
    if (this.ms.length === 1 && this.revisions[0] === FIRST_REVISION) return undefined;
    return { ms: [...this.ms], revisions: [...this.revisions] };
  }

  /** `timeMs`, `revision`: of the state that the rows belong to. A state from before there were rows tells at least where the store was at its end. */
  restore(rows: TimeRows | undefined, timeMs: number, revision: number): void {
    const atFirst = revision === FIRST_REVISION;
    this.ms = rows === undefined ? [atFirst ? 0 : timeMs] : [...rows.ms];
    this.revisions = rows === undefined ? [revision] : [...rows.revisions];
    this.lastSecond = Math.floor((this.ms.at(-1) as number) / ROW_MS);
  }

  /** Leaves gaps in proportion to the age: some ten thousand rows for a year. */
  private thin(): void {
    const newestMs = this.ms.at(-1) as number;
    const ms: number[] = [];
    const revisions: number[] = [];
    let keptMs = Number.POSITIVE_INFINITY;
    for (let at = this.ms.length - 1; at >= 0; at--) {
      const rowMs = this.ms[at] as number;
      if (at > 0 && keptMs - rowMs < (newestMs - rowMs) / STEPS) continue;
      keptMs = rowMs;
      ms.push(rowMs);
      revisions.push(this.revisions[at] as number);
    }
    this.ms = ms.reverse();
    this.revisions = revisions.reverse();
  }
}
