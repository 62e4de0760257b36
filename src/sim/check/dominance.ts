/**
 * Which configurations are worth nothing beside others of the same state.
 *
 * Of each operation under way a configuration knows two bits, `used` (it took effect) and `good` (a read: it took effect; a plain write: it is covered). See frontier.ts
 * for what they mean and why one configuration can stand for another.
 */
import type { Budget } from './budget.ts';
import type { ConfigurationSet } from './configuration_set.ts';

/** The operations under way, by what can be said of them; a bit for each. */
export interface SlotMasks {
  readonly words: number;
  /** `good` is better. */
  readonly reads: Int32Array;
  /** Plain writes that have to happen: `good` is better than all else, the rest can't be compared. */
  readonly writes: Int32Array;
  /** May never happen: unused is better. */
  readonly optional: Int32Array;
  /** Have to be equal. */
  readonly exact: Int32Array;
}

/** How many others of its state a configuration is compared with at most: an upper bound on the work, never wrong. */
const MAX_COMPARED = 256;

/** Copies into `to` what no other configuration of `from` dominates. @returns false when that is everything (`to` is of no use then) */
export function dominated(
  from: ConfigurationSet,
  to: ConfigurationSet,
  masks: SlotMasks,
  budget: Budget,
): boolean {
  const { data, width, count } = from;
  const byState = new Map<number, number[]>();
  const dropped = new Uint8Array(count);
  let drops = 0;
  for (let i = 0; i < count; i++) {
    const state = data[i * width]!;
    const others = byState.get(state);
    if (others === undefined) {
      byState.set(state, [i]);
      continue;
    }
    const last = Math.max(0, others.length - MAX_COMPARED);
    if (!budget.take((others.length - last) >> 3)) return false;
    let kept = true;
    for (let n = others.length - 1; n >= last; n--) {
      const other = others[n]!;
      if (dominates(data, other * width, i * width, masks)) {
        kept = false;
        break;
      }
      if (!dominates(data, i * width, other * width, masks)) continue;
      dropped[other] = 1;
      drops++;
      others[n] = others[others.length - 1]!;
      others.pop();
    }
    if (kept) others.push(i);
    else {
      dropped[i] = 1;
      drops++;
    }
  }
  if (drops === 0) return false;
  to.clear();
  for (let i = 0; i < count; i++) if (dropped[i] === 0) to.add(data, i * width);
  return true;
}

/** Whether every continuation of the configuration at `y` is one of that at `x`, whose state is the same. */
function dominates(data: Int32Array, x: number, y: number, masks: SlotMasks): boolean {
  const { words, reads, writes, optional, exact } = masks;
  for (let i = 0; i < words; i++) {
    const usedX = data[x + 1 + i]!;
    const usedY = data[y + 1 + i]!;
    const goodX = data[x + 1 + words + i]!;
    const goodY = data[y + 1 + words + i]!;
    const missing =
      (goodY & ~goodX & reads[i]!) |
      ((usedX ^ usedY) & exact[i]!) |
      (usedX & ~usedY & optional[i]!) |
      (writes[i]! & ~goodX & ((usedX ^ usedY) | goodY));
    if (missing !== 0) return false;
  }
  return true;
}
