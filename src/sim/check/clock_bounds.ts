/**
 * What the clocks of a cluster may have shown, in terms of the true time: the judge of everything that has a time to live.
 *
 * A node's wall clock is `trueMs + offsetMs + (trueMs - fromMs) * (rate - 1)` from `fromMs` on, until it is set anew; its monotonic clock runs at
 * the same rate and is never set. The store's time follows monotonic clocks (node/store_clock.ts), so where some wall clock was wrong only their rates bound it; while all are right, it is
 * the time of day.
 *
 * Invariants: settings are kept by ascending time for each node; queries take time linear in the settings.
 */

export interface ClockSetting {
  readonly node: string | number;
  /** True time from which it holds. */
  readonly fromMs: number;
  readonly offsetMs: number;
  /** 1: as fast as true time. */
  readonly rate: number;
}

interface Stretch {
  readonly fromMs: number;
  readonly toMs: number;
  readonly offsetMs: number;
  readonly rate: number;
}

export class ClockBounds {
  private readonly stretches: Stretch[] = [];

  /** @param settings of all nodes; a node without a setting from the start on is right until its first. @param nodes all of them. */
  constructor(nodes: readonly (string | number)[], settings: readonly ClockSetting[]) {
    for (const node of nodes) {
      const own = settings.filter((setting) => setting.node === node).sort((a, b) => a.fromMs - b.fromMs);
      let current = { fromMs: Number.NEGATIVE_INFINITY, offsetMs: 0, rate: 1 };
      for (const setting of own) {
        if (setting.fromMs > current.fromMs) this.stretches.push({ ...current, toMs: setting.fromMs });
        current = setting;
      }
      this.stretches.push({ ...current, toMs: Number.POSITIVE_INFINITY });
    }
  }

  /** Whether no clock was ever wrong. */
  get right(): boolean {
    return this.stretches.every(({ offsetMs, rate }) => offsetMs === 0 && rate === 1);
  }

  /** The rates of the slowest and the fastest clock, at whatever time. */
  get rates(): { readonly slowest: number; readonly fastest: number } {
    const rates = this.stretches.map(({ rate }) => rate);
    return { slowest: Math.min(1, ...rates), fastest: Math.max(1, ...rates) };
  }

  /** The lowest that any node's clock showed within [fromMs, toMs]. */
  lowest(fromMs: number, toMs: number): number {
    let lowest = Number.POSITIVE_INFINITY;
    for (const stretch of this.stretches) {
      const from = Math.max(fromMs, stretch.fromMs);
      const to = Math.min(toMs, stretch.toMs);
      if (from <= to) lowest = Math.min(lowest, shown(stretch, from), shown(stretch, to));
    }
    return lowest;
  }

  /** The highest that any node's clock showed at or before `toMs`: the store's time is never above. */
  highest(toMs: number): number {
    let highest = Number.NEGATIVE_INFINITY;
    for (const stretch of this.stretches) {
      if (stretch.fromMs > toMs) continue;
      highest = Math.max(highest, shown(stretch, Math.min(toMs, stretch.toMs)));
      if (stretch.fromMs > Number.NEGATIVE_INFINITY)
        highest = Math.max(highest, shown(stretch, stretch.fromMs));
    }
    return highest;
  }
}

function shown(stretch: Stretch, atMs: number): number {
  if (stretch.rate === 1) return atMs + stretch.offsetMs;
  return stretch.fromMs + stretch.offsetMs + (atMs - stretch.fromMs) * stretch.rate;
}
