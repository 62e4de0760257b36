/**
 * Which ways between nodes were cut when, and who was apart from whom, from the fault events of a trace. Invariant: changes at one instant count as one.
 */
import type { Lane } from '../core/trace.ts';

/** A stretch in which ways from or to a node were cut. */
export interface CutSpan {
  readonly lane: Lane;
  readonly fromMs: number;
  readonly toMs: number;
  /** True while the node is apart from the greatest group of nodes that reach each other. */
  readonly apart: boolean;
  readonly text: string;
}

interface Change {
  readonly atMs: number;
  readonly from: Lane;
  readonly to: Lane;
  readonly cut: boolean;
}

export class Links {
  readonly #changes: Change[] = [];
  readonly #cut = new Map<string, Change>();

  /** Takes a link's new fault, as JSON. False: the text is none. */
  set(from: Lane, to: Lane, text: string, atMs: number): boolean {
    let fault: unknown;
    try {
      fault = JSON.parse(text);
    } catch {
      // Not written by the simulator: an event like any other.
      return false;
    }
    if (typeof fault !== 'object' || fault === null) return false;
    this.#change(from, to, 'blocked' in fault && fault.blocked === true, atMs);
    return true;
  }

  heal(atMs: number): void {
    for (const { from, to } of [...this.#cut.values()]) this.#change(from, to, false, atMs);
  }

  #change(from: Lane, to: Lane, cut: boolean, atMs: number): void {
    const key = `${from}>${to}`;
    if (this.#cut.has(key) === cut) return;
    const change = { atMs, from, to, cut };
    this.#changes.push(change);
    if (cut) this.#cut.set(key, change);
    else this.#cut.delete(key);
  }

  /** The stretches in which something was cut, for each node concerned. @param since when each node was first heard of. */
  cuts(since: ReadonlyMap<Lane, number>, endMs: number): CutSpan[] {
    const spans: CutSpan[] = [];
    const open = new Map<Lane, CutSpan>();
    const cut = new Set<string>();
    for (let i = 0; i < this.#changes.length; ) {
      const { atMs } = this.#changes[i]!;
      for (; i < this.#changes.length && this.#changes[i]!.atMs === atMs; i++) {
        const { from, to, cut: isCut } = this.#changes[i]!;
        if (isCut) cut.add(`${from}>${to}`);
        else cut.delete(`${from}>${to}`);
      }
      const nodes = [...since.keys()].filter((lane) => (since.get(lane) ?? 0) <= atMs);
      const together = greatestGroup(nodes, cut);
      for (const lane of nodes) {
        const text = describeCut(lane, nodes, cut);
        const apart = !together.has(lane);
        const now = open.get(lane);
        if (now?.text === text && now.apart === apart) continue;
        if (now !== undefined) spans.push({ ...now, toMs: atMs });
        if (text === '') open.delete(lane);
        else open.set(lane, { lane, fromMs: atMs, toMs: atMs, apart, text });
      }
    }
    for (const now of open.values()) spans.push({ ...now, toMs: endMs });
    return spans.filter(({ fromMs, toMs }) => toMs > fromMs);
  }
}

function describeCut(lane: Lane, nodes: readonly Lane[], cut: ReadonlySet<string>): string {
  const silent = nodes.filter((other) => cut.has(`${other}>${lane}`));
  const unreachable = nodes.filter((other) => cut.has(`${lane}>${other}`));
  const parts: string[] = [];
  if (unreachable.length > 0) parts.push(`nothing gets to ${unreachable.join(', ')}`);
  if (silent.length > 0) parts.push(`nothing comes from ${silent.join(', ')}`);
  return parts.join('; ');
}

/** Nodes that reach each other both ways, directly or over others; of two equal groups the one with the first node. */
function greatestGroup(nodes: readonly Lane[], cut: ReadonlySet<string>): Set<Lane> {
  let greatest = new Set<Lane>();
  const seen = new Set<Lane>();
  for (const start of nodes) {
    if (seen.has(start)) continue;
    const group = new Set([start]);
    for (const a of group) {
      for (const b of nodes) {
        if (!group.has(b) && !cut.has(`${a}>${b}`) && !cut.has(`${b}>${a}`)) group.add(b);
      }
    }
    for (const lane of group) seen.add(lane);
    if (group.size > greatest.size) greatest = group;
  }
  return greatest;
}
