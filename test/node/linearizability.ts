/**
 * Is a history of one register linearizable? The search of Wing and Gong with Lowe's memory of (operations taken, state) pairs.
 *
 * An operation whose outcome is not known returns at infinity: it may take effect at any moment after it began, or never.
 */

export type RegisterOperation =
  | { readonly kind: 'read'; readonly value: string | undefined }
  | { readonly kind: 'write'; readonly value: string }
  /** `succeeded` undefined: the outcome is not known. */
  | { readonly kind: 'cas'; readonly expected: string; readonly value: string; succeeded?: boolean };

export interface HistoryEntry {
  readonly operation: RegisterOperation;
  readonly invokedAt: number;
  /** Infinity: never answered. Times are unique. */
  returnedAt: number;
}

export type Verdict = 'linearizable' | 'not linearizable' | 'undecided';

/** A call, or the return of one, in a doubly linked list in the order of time. */
interface Node {
  readonly entry: HistoryEntry | undefined;
  readonly bit: bigint;
  /** On a call: its return, where there is one. On a return: itself undefined. */
  readonly match: Node | undefined;
  readonly isCall: boolean;
  previous: Node | undefined;
  next: Node | undefined;
}

type State = string | undefined;

/** The state after an operation, or false when it can't take effect in `state` with the answer that it gave. */
function step(state: State, operation: RegisterOperation): { state: State } | false {
  switch (operation.kind) {
    case 'read':
      return state === operation.value ? { state } : false;
    case 'write':
      return { state: operation.value };
    case 'cas': {
      const matches = state === operation.expected;
      if (operation.succeeded !== undefined && operation.succeeded !== matches) return false;
      return { state: matches ? operation.value : state };
    }
  }
}

/** @param maxSteps how long to search before giving up. */
export function checkRegister(history: readonly HistoryEntry[], maxSteps = 3_000_000): Verdict {
  const head = linked(history);
  let open = history.filter(({ returnedAt }) => returnedAt !== Number.POSITIVE_INFINITY).length;
  const seen = new Set<string>();
  const taken: { call: Node; before: State }[] = [];
  let state: State;
  let bits = 0n;
  let node = head.next;
  for (let steps = 0; open > 0; steps++) {
    if (steps > maxSteps) return 'undecided';
    if (node?.isCall === true) {
      const after = step(state, node.entry!.operation);
      const key = after === false ? '' : `${(bits | node.bit).toString(36)} ${after.state ?? ''}`;
      if (after === false || seen.has(key)) {
        node = node.next;
        continue;
      }
      seen.add(key);
      taken.push({ call: node, before: state });
      state = after.state;
      bits |= node.bit;
      if (node.match !== undefined) open--;
      lift(node);
      node = head.next;
    } else {
      // A return whose call was not taken: the last choice was wrong.
      const last = taken.pop();
      if (last === undefined) return 'not linearizable';
      state = last.before;
      bits &= ~last.call.bit;
      if (last.call.match !== undefined) open++;
      unlift(last.call);
      node = last.call.next;
    }
  }
  return 'linearizable';
}

function linked(history: readonly HistoryEntry[]): Node {
  const nodes: { at: number; node: Node }[] = [];
  history.forEach((entry, i) => {
    const bit = 1n << BigInt(i);
    const links = { previous: undefined, next: undefined };
    let match: Node | undefined;
    if (entry.returnedAt !== Number.POSITIVE_INFINITY) {
      match = { entry, bit, match: undefined, isCall: false, ...links };
      nodes.push({ at: entry.returnedAt, node: match });
    }
    nodes.push({ at: entry.invokedAt, node: { entry, bit, match, isCall: true, ...links } });
  });
  nodes.sort((a, b) => a.at - b.at);
  const head: Node = {
    entry: undefined,
    bit: 0n,
    match: undefined,
    isCall: false,
    previous: undefined,
    next: undefined,
  };
  let last = head;
  for (const { node } of nodes) {
    node.previous = last;
    last.next = node;
    last = node;
  }
  return head;
}

function lift(call: Node): void {
  unlink(call);
  if (call.match !== undefined) unlink(call.match);
}

function unlift(call: Node): void {
  if (call.match !== undefined) link(call.match);
  link(call);
}

function unlink(node: Node): void {
  node.previous!.next = node.next;
  if (node.next !== undefined) node.next.previous = node.previous;
}

function link(node: Node): void {
  node.previous!.next = node;
  if (node.next !== undefined) node.next.previous = node;
}
