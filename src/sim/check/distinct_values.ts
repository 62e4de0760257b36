/**
 * Registers whose observed values were each written by one operation only: decided exactly, in O(n log n).
 *
 * Gibbons and Korach, "Testing shared memories" (1997), with compare-and-set chained in. When every observed value has one writer, what must stand together
 * is known: a write, the reads of its value, the compare-and-set that replaced it, the reads of that one's value, and so on. Call that a block. Nothing may
 * stand between the members of a block but its own members (a write between would hide the value for ever, as nobody writes it again), so a linearization is an order
 * of blocks, and inside each the chain.
 * - Inside: no operation of a later link may return before one of an earlier link begins.
 * - Between: A must precede B when some member of A returns before some member of B begins: first(A) < last(B), first being the earliest return and last
 *   the latest beginning. There is an order unless the relation has a cycle; if it has one, it has one of two blocks: take the block of a cycle with the
 *   largest `last`; all of the cycle precede it, and it precedes its successor.
 *
 * Unknown outcomes: one whose value was observed did happen; one whose value nobody observed can be left out of every linearization (what stands after it
 * up to the next write observes nothing). Not for histories with DIFFERS, for which the latter is not so.
 */
import { CAS, type Compiled, DIFFERS, READ, WRITE } from './compiled.ts';

const NONE = -1;
/** Observed, and written by more than one operation. */
const MANY = -2;

interface Links {
  /** Of each value: the operation that wrote it; INITIAL for the initial value. */
  readonly writer: Int32Array;
  /** Of each value: the compare-and-set that replaced it. */
  readonly replacedBy: Int32Array;
  readonly readsOf: Map<number, number[]>;
  readonly happened: Uint8Array;
}
const INITIAL = -3;

export type DistinctVerdict = 'linearizable' | 'not linearizable' | 'does not apply';

export function checkDistinct(compiled: Compiled): DistinctVerdict {
  const { kind } = compiled;
  if (compiled.step !== undefined || kind.includes(DIFFERS)) return 'does not apply';
  const links = linksOf(compiled);
  if (typeof links === 'string') return links;
  const blocks = blocksOf(compiled, links);
  if (blocks === undefined) return 'not linearizable';
  return conflict(blocks) ? 'not linearizable' : 'linearizable';
}

function linksOf(compiled: Compiled): Links | DistinctVerdict {
  const { kind, a, b, returnedAt, events, values } = compiled;
  const count = kind.length;
  const writer = new Int32Array(values).fill(NONE);
  writer[0] = INITIAL;
  for (let op = 0; op < count; op++)
    if (kind[op] !== READ) writer[b[op]!] = writer[b[op]!] === NONE ? op : MANY;
  const happened = new Uint8Array(count);
  const readsOf = new Map<number, number[]>();
  const replacedBy = new Int32Array(values).fill(NONE);
  const queue: number[] = [];
  for (let op = 0; op < count; op++)
    if (returnedAt[op]! < events.length) {
      happened[op] = 1;
      queue.push(op);
    }
  let twice = false;
  let many = false;
  for (let op = queue.pop(); op !== undefined; op = queue.pop()) {
    if (kind[op] === WRITE) continue;
    const value = a[op]!;
    const from = writer[value]!;
    if (from === NONE) return 'not linearizable';
    if (from === MANY) many = true;
    if (from >= 0 && happened[from] === 0) {
      happened[from] = 1;
      queue.push(from);
    }
    if (kind[op] === CAS) {
      // Its one writer put the value there once: it can't be replaced twice.
      if (replacedBy[value] !== NONE) twice = true;
      replacedBy[value] = op;
    } else {
      const reads = readsOf.get(value);
      if (reads === undefined) readsOf.set(value, [op]);
      else reads.push(op);
    }
  }
  if (many) return 'does not apply';
  return twice ? 'not linearizable' : { writer, replacedBy, readsOf, happened };
}

interface Blocks {
  readonly first: number[];
  readonly last: number[];
}

/** The blocks, or undefined when one can't be put in order by itself. */
function blocksOf(compiled: Compiled, links: Links): Blocks | undefined {
  const { kind, b } = compiled;
  const { happened } = links;
  const blocks: Blocks = { first: [], last: [] };
  let placed = 0;
  for (let op = NONE; op < kind.length; op++) {
    // NONE stands for whatever set the initial value.
    if (op !== NONE && (happened[op] === 0 || kind[op] !== WRITE)) continue;
    const members = addBlock(compiled, links, op, op === NONE ? 0 : b[op]!, blocks);
    if (members < 0) return undefined;
    placed += members;
  }
  // What is in no block hangs on a ring of compare-and-sets, each of which needs the one before it.
  let expected = 0;
  for (let op = 0; op < kind.length; op++) expected += happened[op]!;
  return placed === expected ? blocks : undefined;
}

/** Adds the block that begins with `root` (NONE: the initial value). @returns how many operations are in it, or -1 when it has no order */
function addBlock(compiled: Compiled, links: Links, root: number, rootValue: number, blocks: Blocks): number {
  const { b, invokedAt, returnedAt } = compiled;
  let first = root === NONE ? -1 : returnedAt[root]!;
  /** The latest beginning among the links before this one. */
  let last = root === NONE ? -1 : invokedAt[root]!;
  let members = root === NONE ? 0 : 1;
  // The value of a root that nobody observed may have other writers: they are roots of their own.
  for (let value = rootValue; ; ) {
    let latest = last;
    for (const read of links.readsOf.get(value) ?? []) {
      if (returnedAt[read]! < last) return -1;
      latest = Math.max(latest, invokedAt[read]!);
      first = Math.min(first, returnedAt[read]!);
      members++;
    }
    last = latest;
    const next = links.replacedBy[value]!;
    if (next === NONE) break;
    if (returnedAt[next]! < last) return -1;
    last = Math.max(last, invokedAt[next]!);
    first = Math.min(first, returnedAt[next]!);
    members++;
    value = b[next]!;
  }
  blocks.first.push(first);
  blocks.last.push(last);
  return members;
}

/** Whether two blocks must each precede the other. */
function conflict({ first, last }: Blocks): boolean {
  // Forward: [first, last] is an interval in which the value must be there. Two of them may not overlap, ...
  const forward = first.map((_, i) => i).filter((i) => first[i]! < last[i]!);
  forward.sort((x, y) => first[x]! - first[y]!);
  for (let i = 1; i < forward.length; i++) if (first[forward[i]!]! < last[forward[i - 1]!]!) return true;
  // ... and no other block, which may be anywhere in [last, first], may lie inside of one.
  for (let i = 0; i < first.length; i++) {
    if (first[i]! < last[i]!) continue;
    let low = 0;
    let high = forward.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (first[forward[middle]!]! < last[i]!) low = middle + 1;
      else high = middle;
    }
    if (low > 0 && first[i]! < last[forward[low - 1]!]!) return true;
  }
  return false;
}
