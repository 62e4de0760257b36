/**
 * Finds the watchers of a key: exact keys through a hash table, ranges through an interval tree.
 *
 * The tree is a treap ordered by (start, id) in which every node also knows the greatest end below it (Cormen et al., "Introduction to Algorithms", interval
 * trees). Priorities are a mix of the id's bits instead of random numbers, so that the same watchers always give the same tree.
 * Invariants: heap order by priority, search order by (start, id), `greatestEnd` right in every node. Finding k of n ranges takes O(k log n) at worst.
 */
import { compareKeys } from '../storage/record.ts';
import { equalKeys, hashKey } from './key_order.ts';

export interface Watched {
  /** Unique, a safe integer. */
  readonly id: number;
  readonly start: Uint8Array;
  /** undefined: only the key `start`. */
  readonly end: Uint8Array | undefined;
}

interface TreapNode<T> {
  readonly watched: T;
  readonly start: Uint8Array;
  readonly end: Uint8Array;
  readonly priority: number;
  left: TreapNode<T> | undefined;
  right: TreapNode<T> | undefined;
  greatestEnd: Uint8Array;
}

export class WatcherIndex<T extends Watched> {
  private readonly exact = new Map<number, T[]>();
  private root: TreapNode<T> | undefined;
  private count = 0;

  get size(): number {
    return this.count;
  }

  /** REQUIRES: not in it yet. */
  add(watched: T): void {
    this.count++;
    if (watched.end === undefined) {
      const hash = hashKey(watched.start);
      const bucket = this.exact.get(hash);
      if (bucket === undefined) this.exact.set(hash, [watched]);
      else bucket.push(watched);
      return;
    }
    this.root = insert(this.root, newNode(watched, watched.end));
  }

  /** REQUIRES: in it. */
  remove(watched: T): void {
    this.count--;
    if (watched.end !== undefined) {
      this.root = remove(this.root, watched);
      return;
    }
    const hash = hashKey(watched.start);
    const bucket = this.exact.get(hash) ?? [];
    const at = bucket.indexOf(watched);
    const last = bucket.pop();
    if (last !== undefined && at < bucket.length) bucket[at] = last;
    if (bucket.length === 0) this.exact.delete(hash);
  }

  /** Calls `visit` once for each watcher of the key, in no particular order. Watchers must not come or go meanwhile. */
  match(key: Uint8Array, visit: (watched: T) => void): void {
    if (this.exact.size > 0) {
      const bucket = this.exact.get(hashKey(key));
      if (bucket !== undefined) {
        for (const watched of bucket) if (equalKeys(watched.start, key)) visit(watched);
      }
    }
    if (this.root !== undefined) stab(this.root, key, visit);
  }

  /** Whether anybody watches the key. */
  has(key: Uint8Array): boolean {
    const bucket = this.exact.size > 0 ? this.exact.get(hashKey(key)) : undefined;
    if (bucket?.some((watched) => equalKeys(watched.start, key))) return true;
    return this.root !== undefined && stabbed(this.root, key);
  }
}

function stabbed<T>(node: TreapNode<T>, key: Uint8Array): boolean {
  if (compareKeys(key, node.greatestEnd) >= 0) return false;
  if (node.left !== undefined && stabbed(node.left, key)) return true;
  if (compareKeys(node.start, key) > 0) return false;
  return compareKeys(key, node.end) < 0 || (node.right !== undefined && stabbed(node.right, key));
}

function stab<T>(node: TreapNode<T>, key: Uint8Array, visit: (watched: T) => void): void {
  if (compareKeys(key, node.greatestEnd) >= 0) return;
  if (node.left !== undefined) stab(node.left, key, visit);
  if (compareKeys(node.start, key) > 0) return;
  if (compareKeys(key, node.end) < 0) visit(node.watched);
  if (node.right !== undefined) stab(node.right, key, visit);
}

function newNode<T extends Watched>(watched: T, end: Uint8Array): TreapNode<T> {
  const start = watched.start;
  const priority = mix(watched.id);
  return { watched, start, end, priority, left: undefined, right: undefined, greatestEnd: end };
}

/** The finalizer of MurmurHash3: neighbouring ids get unrelated priorities. */
function mix(id: number): number {
  let bits = (id ^ (id / 0x1_0000_0000)) | 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}

function before(start: Uint8Array, id: number, node: TreapNode<Watched>): boolean {
  const order = compareKeys(start, node.start);
  return order !== 0 ? order < 0 : id < node.watched.id;
}

function insert<T extends Watched>(root: TreapNode<T> | undefined, node: TreapNode<T>): TreapNode<T> {
  if (root === undefined) return node;
  if (node.priority > root.priority) {
    [node.left, node.right] = split(root, node.start, node.watched.id);
    return updated(node);
  }
  if (before(node.start, node.watched.id, root)) root.left = insert(root.left, node);
  else root.right = insert(root.right, node);
  return updated(root);
}

/** Nodes before (start, id), and the others. */
function split<T extends Watched>(
  root: TreapNode<T> | undefined,
  start: Uint8Array,
  id: number,
): [TreapNode<T> | undefined, TreapNode<T> | undefined] {
  if (root === undefined) return [undefined, undefined];
  if (before(start, id, root)) {
    const [left, right] = split(root.left, start, id);
    root.left = right;
    return [left, updated(root)];
  }
  const [left, right] = split(root.right, start, id);
  root.right = left;
  return [updated(root), right];
}

function remove<T extends Watched>(
  root: TreapNode<T> | undefined,
  watched: Watched,
): TreapNode<T> | undefined {
  if (root === undefined) return undefined;
  if (root.watched.id === watched.id) return join(root.left, root.right);
  if (before(watched.start, watched.id, root)) root.left = remove(root.left, watched);
  else root.right = remove(root.right, watched);
  return updated(root);
}

/** REQUIRES: every node of `left` lies before every node of `right`. */
function join<T>(left: TreapNode<T> | undefined, right: TreapNode<T> | undefined): TreapNode<T> | undefined {
  if (left === undefined) return right;
  if (right === undefined) return left;
  if (left.priority > right.priority) {
    left.right = join(left.right, right);
    return updated(left);
  }
  right.left = join(left, right.left);
  return updated(right);
}

function updated<T>(node: TreapNode<T>): TreapNode<T> {
  let greatest = node.end;
  if (node.left !== undefined && compareKeys(node.left.greatestEnd, greatest) > 0) {
    greatest = node.left.greatestEnd;
  }
  if (node.right !== undefined && compareKeys(node.right.greatestEnd, greatest) > 0) {
    greatest = node.right.greatestEnd;
  }
  node.greatestEnd = greatest;
  return node;
}
