/**
 * Where each written entry lies: index -> position in the log and length of its data, 12 bytes an entry.
 *
 * Invariant: covers the indexes [first, next) without gaps; positions ascend with the index, since an entry that replaces another is
 * written later and takes all above it away.
 */
export class EntryPositions {
  #positions = new Float64Array(1024);
  #lengths = new Uint32Array(1024);
  /** Slot of `first`; the slots before it belong to dropped entries. */
  #head = 0;
  #tail = 0;
  #first = 1;

  get first(): number {
    return this.#first;
  }

  /** The index that the next push is for. */
  get next(): number {
    return this.#first + this.#tail - this.#head;
  }

  reset(first: number): void {
    this.#head = 0;
    this.#tail = 0;
    this.#first = first;
  }

  push(position: number, length: number): void {
    if (this.#tail === this.#positions.length) this.#makeRoom();
    this.#positions[this.#tail] = position;
    this.#lengths[this.#tail] = length;
    this.#tail++;
  }

  #makeRoom(): void {
    const count = this.#tail - this.#head;
    const capacity = count * 2 > this.#positions.length ? this.#positions.length * 2 : this.#positions.length;
    const positions = new Float64Array(capacity);
    const lengths = new Uint32Array(capacity);
    positions.set(this.#positions.subarray(this.#head, this.#tail));
    lengths.set(this.#lengths.subarray(this.#head, this.#tail));
    this.#positions = positions;
    this.#lengths = lengths;
    this.#head = 0;
    this.#tail = count;
  }

  /** Forgets the entries from `index` on; below `first` the table becomes empty and starts at `index`. */
  truncate(index: number): void {
    if (index < this.#first) this.reset(index);
    else if (index < this.next) this.#tail = this.#head + (index - this.#first);
  }

  /** Forgets the entries before `index`. */
  dropBefore(index: number): void {
    if (index >= this.next) {
      this.reset(index);
    } else if (index > this.#first) {
      this.#head += index - this.#first;
      this.#first = index;
    }
  }

  /** REQUIRES: first <= index < next. */
  position(index: number): number {
    return this.#positions[this.#head + index - this.#first]!;
  }

  length(index: number): number {
    return this.#lengths[this.#head + index - this.#first]!;
  }

  /** The first index whose entry lies at or after `position`; `next` when there is none. */
  firstAtOrAfter(position: number): number {
    let low = this.#head;
    let high = this.#tail;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#positions[middle]! < position) low = middle + 1;
      else high = middle;
    }
    return this.#first + low - this.#head;
  }
}
