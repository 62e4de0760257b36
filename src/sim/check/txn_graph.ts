/**
 * The order that transactions must have had, as a graph, and its rings.
 *
 * Nodes 0 to n-1 are transactions; further ones only join edges (all that ended by some moment; all that read the last version of a key), so that orders
 * that hold between all pairs take few edges. Two transactions in one strongly connected component contradict each other (Adya 1999; Kingsbury and Alvaro, "Elle", 2020).
 * An edge out of a transaction says why; those out of other nodes carry it on.
 */
export type EdgeKind = 'ww' | 'wr' | 'rw' | 'realtime' | 'revision' | 'on';

interface Edge {
  readonly to: number;
  readonly kind: EdgeKind;
  readonly text: string;
}

export interface Ring {
  /** Transactions; each precedes the next, and the last the first. */
  readonly nodes: readonly number[];
  readonly kinds: readonly EdgeKind[];
  readonly because: readonly string[];
}

const MAX_STARTS = 64;

export class TxnGraph {
  readonly #transactions: number;
  readonly #edges: Edge[][] = [];

  constructor(transactions: number) {
    this.#transactions = transactions;
    for (let i = 0; i < transactions; i++) this.#edges.push([]);
  }

  /** A node that only joins edges. */
  join(): number {
    this.#edges.push([]);
    return this.#edges.length - 1;
  }

  /** `from` precedes `to`. An edge from a transaction to itself says nothing and is left out. */
  add(from: number, to: number, kind: EdgeKind, text: string): void {
    if (from !== to) this.#edges[from]!.push({ to, kind, text });
  }

  /** A short ring of at least two transactions, made of data alone where there is one; undefined: the transactions have an order. */
  ring(): Ring | undefined {
    const all = this.#components(() => true);
    if (all.length === 0) return undefined;
    const isData = ({ kind }: Edge): boolean => kind !== 'realtime' && kind !== 'revision';
    const data = this.#components(isData);
    const component = smallest(data.length > 0 ? data : all);
    return this.#shortest(component, data.length > 0 ? isData : () => true);
  }

  /** Strongly connected components with two transactions or more (Tarjan's algorithm, without recursion). */
  #components(use: (edge: Edge) => boolean): number[][] {
    const count = this.#edges.length;
    const index = new Int32Array(count).fill(-1);
    const low = new Int32Array(count);
    const onStack = new Uint8Array(count);
    const nextEdge = new Int32Array(count);
    const stack: number[] = [];
    const found: number[][] = [];
    let counter = 0;
    for (let root = 0; root < count; root++) {
      if (index[root] !== -1) continue;
      const path = [root];
      while (path.length > 0) {
        const node = path[path.length - 1]!;
        if (index[node] === -1) {
          index[node] = low[node] = counter++;
          stack.push(node);
          onStack[node] = 1;
        }
        const edges = this.#edges[node]!;
        if (nextEdge[node]! < edges.length) {
          const edge = edges[nextEdge[node]!++]!;
          if (!use(edge)) continue;
          if (index[edge.to] === -1) path.push(edge.to);
          else if (onStack[edge.to] === 1) low[node] = Math.min(low[node]!, index[edge.to]!);
          continue;
        }
        path.pop();
        const parent = path[path.length - 1];
        if (parent !== undefined) low[parent] = Math.min(low[parent]!, low[node]!);
        if (low[node] !== index[node]) continue;
        const component = stack.splice(stack.lastIndexOf(node));
        for (const member of component) onStack[member] = 0;
        if (component.filter((member) => member < this.#transactions).length > 1) found.push(component);
      }
    }
    return found;
  }

  #shortest(component: readonly number[], use: (edge: Edge) => boolean): Ring | undefined {
    const inside = new Set(component);
    const starts = component.filter((node) => node < this.#transactions).slice(0, MAX_STARTS);
    let best: Ring | undefined;
    for (const start of starts) {
      const ring = this.#ringFrom(start, inside, use);
      if (ring !== undefined && (best === undefined || ring.nodes.length < best.nodes.length)) best = ring;
    }
    return best;
  }

  /** The ring through `start` with the fewest edges that passes through another transaction. */
  #ringFrom(start: number, inside: ReadonlySet<number>, use: (edge: Edge) => boolean): Ring | undefined {
    // Nodes twice: before and after the path has met another transaction.
    const count = this.#edges.length;
    const cameFrom = new Map<number, { readonly from: number; readonly edge: Edge }>();
    let queue = [start];
    while (queue.length > 0) {
      const next: number[] = [];
      for (const state of queue) {
        const node = state % count;
        for (const edge of this.#edges[node]!) {
          if (!inside.has(edge.to) || !use(edge)) continue;
          const met = state >= count || (edge.to < this.#transactions && edge.to !== start);
          if (edge.to === start && !met) continue;
          const to = edge.to + (met ? count : 0);
          if (cameFrom.has(to)) continue;
          cameFrom.set(to, { from: state, edge });
          if (edge.to === start) return this.#traced(start, to, cameFrom);
          next.push(to);
        }
      }
      queue = next;
    }
    return undefined;
  }

  #traced(
    start: number,
    end: number,
    cameFrom: ReadonlyMap<number, { readonly from: number; readonly edge: Edge }>,
  ): Ring {
    const nodes: number[] = [];
    const kinds: EdgeKind[] = [];
    const because: string[] = [];
    const count = this.#edges.length;
    for (let state = end; state !== start; ) {
      const { from, edge } = cameFrom.get(state)!;
      const node = from % count;
      if (node < this.#transactions) {
        nodes.unshift(node);
        kinds.unshift(edge.kind);
        because.unshift(edge.text);
      }
      state = from;
    }
    return { nodes, kinds, because };
  }
}

function smallest(components: readonly number[][]): number[] {
  return components.reduce((best, one) => (one.length < best.length ? one : best));
}

/** What Adya and Elle call a ring of such edges. */
export function ringName(kinds: readonly EdgeKind[]): string {
  const reads = kinds.filter((kind) => kind === 'rw').length;
  const base =
    reads > 1
      ? 'G2'
      : reads === 1
        ? 'G-single'
        : kinds.includes('wr')
          ? 'G1c'
          : kinds.includes('ww')
            ? 'G0'
            : 'order';
  if (kinds.includes('revision')) return `${base}-revision`;
  return kinds.includes('realtime') ? `${base}-realtime` : base;
}
