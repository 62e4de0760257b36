/**
 * A sorted run: leaves that follow each other in record order, and cursors over it.
 *
 * Invariants: leaves only ever leave at the front (a merge has taken their records over, `head` counts those of the first leaf that it took) and only
 * arrive at the back. Every look-up sees exactly the records behind `head`.
 */
import { modRevisionAt, RecordReader } from '../snapshot/record_codec.ts';
import { compareBytes, equalBytes } from './key_hash.ts';
import type { Leaf } from './leaf.ts';
import { LeafFences } from './leaf_fences.ts';

export class LeafRun {
  readonly leaves: Leaf[];
  /** Records of the first leaf that are gone. */
  head: number;
  #records = 0;
  #sizeBytes = 0;
  #fences: LeafFences | undefined;
  #searches = 0;

  constructor(leaves: Leaf[] = [], head = 0) {
    this.leaves = leaves;
    this.head = head;
    for (const leaf of leaves) this.#count(leaf, 1);
  }

  get recordCount(): number {
    return this.#records - this.head;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  append(leaf: Leaf): void {
    this.leaves.push(leaf);
    this.#count(leaf, 1);
  }

  /** Forgets everything before record `record` of leaf `leafIndex`. */
  dropBefore(leafIndex: number, record: number): void {
    for (const leaf of this.leaves.splice(0, leafIndex)) this.#count(leaf, -1);
    this.head = record;
  }

  #count(leaf: Leaf, sign: 1 | -1): void {
    this.#fences = undefined;
    this.#searches = 0;
    this.#records += sign * leaf.recordCount;
    this.#sizeBytes += sign * leaf.sizeBytes;
  }

  /** The run as it is now; later changes of this one do not show in it. */
  view(): LeafRun {
    return new LeafRun(this.leaves.slice(), this.head);
  }

  /** The first live record of one of a leaf's keys. */
  firstRecordOf(leafIndex: number, position: number): number {
    const start = this.leaves[leafIndex]!.starts[position]!;
    return leafIndex === 0 && start < this.head ? this.head : start;
  }

  /** Index of the last leaf that begins at or before (key, modRevision) in record order; 0 when all begin later. */
  findLeaf(key: Uint8Array, modRevision: number): number {
    const { leaves } = this;
    let low = 0;
    let high = leaves.length;
    // Building pays only when more searches than leaves come before the next change.
    if (this.#fences === undefined && ++this.#searches > high && high > 1)
      this.#fences = new LeafFences(leaves);
    if (this.#fences !== undefined) {
      this.#fences.search(key);
      low = this.#fences.from;
      high = this.#fences.to;
    }
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (leaves[middle]!.compareFirst(key, modRevision) <= 0) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? 0 : low - 1;
  }

  /** Puts `reader` on the newest version of a key at or below `revision`; false when there is none. */
  find(key: Uint8Array, hash: number, revision: number, reader: RecordReader): boolean {
    const { leaves } = this;
    if (leaves.length === 0) return false;
    const index = this.findLeaf(key, revision);
    const leaf = leaves[index]!;
    const position = leaf.findKey(key, hash, reader);
    if (position >= 0) {
      const end = leaf.endOf(position);
      const record = leaf.newestAtOrBelow(Math.min(end, this.firstRecordOf(index, position)), end, revision);
      if (record < end) {
        // findKey left the reader on the first one.
        if (record !== leaf.starts[position]) reader.read(leaf.offsets[record]!);
        return true;
      }
    }
    // The versions of a key may go on in the next leaf.
    const next = leaves[index + 1];
    if (next === undefined || next.firstKeyLength !== key.length || next.firstRevision > revision)
      return false;
    if (!equalBytes(next.slab, next.firstKeyStart, key, 0, key.length)) return false;
    reader.bytes = next.slab;
    reader.read(0);
    return true;
  }
}

/** Order of the key that a reader stands on against `key`. */
export function orderToKey(reader: RecordReader, key: Uint8Array): number {
  return compareBytes(reader.bytes, reader.keyStart, reader.keyLength, key, 0, key.length);
}

/** Walks over the distinct keys of a run, either way. A key whose versions lie in two leaves is met twice in a row. */
export class KeyCursor {
  readonly run: LeafRun;
  readonly reader = new RecordReader(new Uint8Array(0));
  #leafIndex = 0;
  #position = 0;
  valid = false;

  constructor(run: LeafRun) {
    this.run = run;
  }

  /** Goes to the first key not below `key`. */
  seek(key: Uint8Array): void {
    const { leaves } = this.run;
    this.#leafIndex = this.run.findLeaf(key, Number.POSITIVE_INFINITY);
    const leaf = leaves[this.#leafIndex];
    this.#position = leaf === undefined ? 0 : leaf.lowerBound(key, this.reader);
    const { head } = this.run;
    if (leaf !== undefined && this.#leafIndex === 0 && head > 0)
      this.#position = Math.max(this.#position, leaf.positionOf(head));
    this.#settle();
  }

  /** Goes to the last key below `key`, or to the very last. */
  seekBefore(key: Uint8Array | undefined): void {
    if (key === undefined) {
      this.#leafIndex = this.run.leaves.length;
      this.#position = 0;
    } else {
      this.#leafIndex = this.run.findLeaf(key, Number.POSITIVE_INFINITY);
      this.#position = this.run.leaves[this.#leafIndex]?.lowerBound(key, this.reader) ?? 0;
    }
    this.previous();
  }

  next(): void {
    this.#position++;
    this.#settle();
  }

  previous(): void {
    this.#position--;
    if (this.#position < 0) {
      this.#leafIndex--;
      this.#position = (this.run.leaves[this.#leafIndex]?.keyCount ?? 0) - 1;
    }
    this.#show();
    if (this.valid && this.#isGone()) this.valid = false;
  }

  /** Offset of the newest version at or below `revision` among those met here, or -1; its bytes are `reader.bytes`. */
  newestAtOrBelow(revision: number): number {
    const leaf = this.run.leaves[this.#leafIndex]!;
    const end = leaf.endOf(this.#position);
    const record = leaf.newestAtOrBelow(
      this.run.firstRecordOf(this.#leafIndex, this.#position),
      end,
      revision,
    );
    return record < end ? leaf.offsets[record]! : -1;
  }

  #isGone(): boolean {
    if (this.#leafIndex !== 0 || this.run.head === 0) return false;
    return this.run.leaves[0]!.endOf(this.#position) <= this.run.head;
  }

  #settle(): void {
    const leaf = this.run.leaves[this.#leafIndex];
    if (leaf !== undefined && this.#position >= leaf.keyCount) {
      this.#leafIndex++;
      this.#position = 0;
    }
    this.#show();
  }

  #show(): void {
    const leaf = this.run.leaves[this.#leafIndex];
    this.valid = leaf !== undefined;
    if (leaf === undefined) return;
    this.reader.bytes = leaf.slab;
    this.reader.read(leaf.offsets[leaf.starts[this.#position]!]!);
  }
}

/** Walks over every record of a run, forward. */
export class RecordCursor {
  readonly run: LeafRun;
  readonly reader = new RecordReader(new Uint8Array(0));
  readonly #minRevision: number;
  readonly #maxRevision: number;
  leafIndex = 0;
  record = 0;
  #position = 0;
  valid = false;

  /** Versions outside of [minRevision, maxRevision] are passed over, by leaves where possible. */
  constructor(run: LeafRun, minRevision = 0, maxRevision = Number.MAX_SAFE_INTEGER) {
    this.run = run;
    this.#minRevision = minRevision;
    this.#maxRevision = maxRevision;
  }

  /** Hash of the key that it stands on. */
  get hash(): number {
    return this.run.leaves[this.leafIndex]!.hashes[this.#position]!;
  }

  /** Goes to the first record. */
  rewind(): void {
    this.leafIndex = 0;
    this.record = this.run.head;
    this.#position = this.run.leaves[0]?.positionOf(this.record) ?? 0;
    this.#settle();
  }

  /** Goes to the first record that is not before (key, modRevision) in record order. */
  seek(key: Uint8Array, modRevision: number): void {
    this.leafIndex = this.run.findLeaf(key, modRevision);
    const leaf = this.run.leaves[this.leafIndex];
    this.#position = leaf?.lowerBound(key, this.reader) ?? 0;
    this.record = leaf?.recordCount ?? 0;
    if (leaf !== undefined && this.#position < leaf.keyCount) {
      const start = leaf.starts[this.#position]!;
      const end = leaf.endOf(this.#position);
      this.reader.read(leaf.offsets[start]!);
      const found = orderToKey(this.reader, key) === 0;
      this.record = found ? leaf.newestAtOrBelow(start, end, modRevision) : start;
      if (this.record === end) this.#position++;
    }
    if (this.leafIndex === 0 && this.record < this.run.head) this.rewind();
    else this.#settle();
  }

  next(): void {
    do {
      const leaf = this.run.leaves[this.leafIndex]!;
      this.record++;
      if (this.record >= leaf.recordCount) this.#enter(this.leafIndex + 1);
      else if (this.record === leaf.endOf(this.#position)) this.#position++;
    } while (this.valid && !this.#show());
  }

  /** The run has dropped everything before this cursor. */
  rebase(): void {
    this.leafIndex = 0;
  }

  #settle(): void {
    const leaf = this.run.leaves[this.leafIndex];
    if (leaf !== undefined && this.#isWanted(leaf) && this.record < leaf.recordCount) this.valid = true;
    else this.#enter(this.leafIndex + (leaf === undefined ? 0 : 1));
    if (this.valid && !this.#show()) this.next();
  }

  /** Goes to the beginning of the first leaf from `leafIndex` on that has a wanted version. */
  #enter(leafIndex: number): void {
    const { leaves } = this.run;
    let index = leafIndex;
    while (index < leaves.length && !this.#isWanted(leaves[index]!)) index++;
    this.leafIndex = index;
    this.record = 0;
    this.#position = 0;
    this.valid = index < leaves.length;
  }

  #isWanted(leaf: Leaf): boolean {
    return leaf.maxRevision >= this.#minRevision && leaf.minRevision <= this.#maxRevision;
  }

  /** Unpacks the record that it stands on; false, without unpacking it, for one that is not wanted. */
  #show(): boolean {
    const leaf = this.run.leaves[this.leafIndex]!;
    const offset = leaf.offsets[this.record]!;
    const modRevision = modRevisionAt(leaf.slab, offset);
    if (modRevision < this.#minRevision || modRevision > this.#maxRevision) return false;
    this.reader.bytes = leaf.slab;
    this.reader.read(offset);
    return true;
  }
}
