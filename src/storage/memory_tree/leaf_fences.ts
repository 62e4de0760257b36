/**
 * Where each leaf of a run begins, as numbers: the six bytes of its first key that follow what all first keys share. A search then stays in one small array
 * instead of touching a leaf in each step.
 *
 * Invariant: an answer is a range of leaves in which the exact comparison goes on; it always holds the right one.
 */
import type { Leaf } from './leaf.ts';

const FENCE_BYTES = 6;

export class LeafFences {
  readonly #prefix: Uint8Array;
  readonly #fences: Float64Array;
  /** The answer of the last search: leaves [from, to) begin at or near the key, those before `from` below it, those from `to` on above. */
  from = 0;
  to = 0;

  /** REQUIRES: at least one leaf. */
  constructor(leaves: readonly Leaf[]) {
    const first = firstKeyOf(leaves[0]!);
    const last = firstKeyOf(leaves[leaves.length - 1]!);
    let shared = 0;
    while (shared < first.length && shared < last.length && first[shared] === last[shared]) shared++;
    this.#prefix = first.slice(0, shared);
    this.#fences = new Float64Array(leaves.length);
    for (let i = 0; i < leaves.length; i++) this.#fences[i] = fenceOf(firstKeyOf(leaves[i]!), shared);
  }

  /** Sets `from` and `to` for a key. */
  search(key: Uint8Array): void {
    const prefix = this.#prefix;
    const fences = this.#fences;
    this.from = 0;
    this.to = fences.length;
    if (key.length < prefix.length) return;
    for (let i = 0; i < prefix.length; i++) if (key[i] !== prefix[i]) return;
    const fence = fenceOf(key, prefix.length);
    let low = 0;
    let high = fences.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (fences[middle]! < fence) low = middle + 1;
      else high = middle;
    }
    this.from = low;
    high = fences.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (fences[middle]! <= fence) low = middle + 1;
      else high = middle;
    }
    this.to = low;
  }
}

function firstKeyOf(leaf: Leaf): Uint8Array {
  return leaf.slab.subarray(leaf.firstKeyStart, leaf.firstKeyStart + leaf.firstKeyLength);
}

/** Six bytes from `at` on as a number, zeros behind the end: never decreasing in key order. */
function fenceOf(key: Uint8Array, at: number): number {
  let fence = 0;
  for (let i = at; i < at + FENCE_BYTES; i++) fence = fence * 256 + (i < key.length ? key[i]! : 0);
  return fence;
}
