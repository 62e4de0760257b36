/**
 * The control block: what reader threads must know of the engine, in a few shared words that the engine's thread alone writes.
 *
 *     words (32 bits)   0 closed    16 version of the newest list    32 visible revision    48 compact revision    64 lists    then the epochs (epochs.ts)
 *     revision          high low high    (Lamport 1977, "Concurrent reading and writing": written from left to right, read from right to left, right when both highs agree)
 *     list              16 of 64 words: count id...    memtables, newest first; list v lies at 64 + 64 * (v mod 16)
 *
 * Invariants: a list is never changed while it may be read: it is written before its version is published, and who has copied one looks whether the version has
 * meanwhile come so near to going round that its place may have been written again. A reader that loads the visible revision first and the newest list after it
 * finds every version up to that revision in the list's memtables, or else in the tree as it was published before the list.
 */
import { KvError } from '../../errors.ts';
import { epochWords } from './epochs.ts';

const CLOSED = 0;
const LIST_VERSION = 16;
const VISIBLE = 32;
const COMPACTED = 48;
const LISTS = 64;
const LIST_WORDS = 64;
const LIST_COUNT = 16;
/** More memtables than a list can name: readers then have to ask. */
export const MAX_LISTED = LIST_WORDS - 1;
const EPOCHS = LISTS + LIST_WORDS * LIST_COUNT;
const TWO_32 = 2 ** 32;

/** A tree of tables has 62 places, one of them its own. */
export const MAX_READERS = 60;

function loadRevision(words: Int32Array, at: number): number {
  for (;;) {
    const high = Atomics.load(words, at + 2);
    const low = Atomics.load(words, at + 1);
    if (Atomics.load(words, at) === high) return high * TWO_32 + (low >>> 0);
  }
}

function storeRevision(words: Int32Array, at: number, revision: number): void {
  const high = Math.floor(revision / TWO_32);
  const low = revision | 0;
  if (high === Atomics.load(words, at + 2)) {
    Atomics.store(words, at + 1, low);
    return;
  }
  Atomics.store(words, at, high);
  Atomics.store(words, at + 1, low);
  Atomics.store(words, at + 2, high);
}

/** The words of the epochs within a control block. */
export function epochsOf(buffer: SharedArrayBuffer, readers: number): Int32Array {
  return new Int32Array(buffer, EPOCHS * 4, epochWords(readers));
}

/** The engine's side. */
export class ControlWriter {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  #version = 0;
  #visible = 0;
  #compacted = 0;

  constructor(readers: number) {
    this.buffer = new SharedArrayBuffer((EPOCHS + epochWords(readers)) * 4);
    this.#words = new Int32Array(this.buffer);
  }

  get visibleRevision(): number {
    return this.#visible;
  }

  /** Memtables by id, newest first. */
  publishList(ids: readonly number[]): void {
    const version = (this.#version + 1) | 0;
    const at = listAt(version);
    const count = ids.length <= MAX_LISTED ? ids.length : 0;
    for (let i = 0; i < count; i++) Atomics.store(this.#words, at + 1 + i, ids[i]!);
    // A list that is too long tells nothing, which is right: a reader that finds nothing asks the engine's thread.
    Atomics.store(this.#words, at, count);
    Atomics.store(this.#words, LIST_VERSION, version);
    this.#version = version;
  }

  /** Everything up to this revision is in the memtables and the tree. Lower ones than before are ignored. */
  publishRevision(revision: number): void {
    if (revision <= this.#visible) return;
    this.#visible = revision;
    storeRevision(this.#words, VISIBLE, revision);
  }

  /** Versions that are superseded at or below this revision may go from now on. */
  publishCompacted(revision: number): void {
    if (revision <= this.#compacted) return;
    this.#compacted = revision;
    storeRevision(this.#words, COMPACTED, revision);
  }

  close(): void {
    Atomics.store(this.#words, CLOSED, 1);
  }
}

function listAt(version: number): number {
  return LISTS + LIST_WORDS * (version & (LIST_COUNT - 1));
}

/** A reader's side. */
export class ControlReader {
  readonly #words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    if (buffer.byteLength < (EPOCHS + epochWords(1)) * 4) {
      throw new KvError('INVALID_ARGUMENT', `a control block of ${buffer.byteLength} bytes`);
    }
    this.#words = new Int32Array(buffer);
  }

  get closed(): boolean {
    return Atomics.load(this.#words, CLOSED) !== 0;
  }
  get visibleRevision(): number {
    return loadRevision(this.#words, VISIBLE);
  }
  get compactRevision(): number {
    return loadRevision(this.#words, COMPACTED);
  }
  get listVersion(): number {
    return Atomics.load(this.#words, LIST_VERSION);
  }

  /** Puts the newest list into `ids`; gives its version. */
  readList(ids: number[]): number {
    for (;;) {
      const version = this.listVersion;
      const at = listAt(version);
      const count = Atomics.load(this.#words, at);
      ids.length = 0;
      for (let i = 0; i < count && i < MAX_LISTED; i++) ids.push(Atomics.load(this.#words, at + 1 + i));
      if (((this.listVersion - version) | 0) < LIST_COUNT - 1) return version;
    }
  }
}
