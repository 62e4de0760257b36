/**
 * Group commit: one fdatasync at a time, and everything written while it runs shares the next one.
 *
 * Invariants: a promise resolves after an fdatasync that began after its bytes were written; promises resolve in the order in which they were
 * asked for; segments are synced oldest first, so `syncedPosition` means everything before it; a failed sync is reported once and never tried
 * again (after it, the kernel may call lost pages clean).
 */
import type { Segment } from './segment.ts';

class Group {
  promise: Promise<void> | undefined;
  #resolve: (() => void) | undefined;
  #reject: ((error: unknown) => void) | undefined;

  /** Made on demand: most background syncs have nobody waiting. */
  wait(): Promise<void> {
    this.promise ??= new Promise<void>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    return this.promise;
  }

  resolve(): void {
    this.#resolve?.();
  }

  reject(error: unknown): void {
    this.#reject?.(error);
  }
}

export class GroupCommit {
  syncedPosition: number;
  #current: Segment;
  /** Full segments with bytes that are not synced, oldest first. */
  #rolled: Segment[] = [];
  #running: Group | undefined;
  #next: Group | undefined;
  /** The sync that was begun last; never rejects. */
  #work: Promise<void> = Promise.resolve();
  #failure: unknown;
  readonly #onFailure: (error: unknown) => void;

  /** Everything up to `syncedPosition` is durable. */
  constructor(current: Segment, syncedPosition: number, onFailure: (error: unknown) => void) {
    this.#current = current;
    this.syncedPosition = syncedPosition;
    this.#onFailure = onFailure;
  }

  /** `segment` is the one written to from now on. */
  roll(segment: Segment): void {
    this.#rolled.push(this.#current);
    this.#current = segment;
  }

  /** A new log: everything of before is durable or given up. REQUIRES: `idle()` has resolved. */
  reset(segment: Segment, syncedPosition: number): void {
    this.#rolled = [];
    this.#current = segment;
    this.syncedPosition = syncedPosition;
  }

  /** Sees to it that what is written now gets synced. */
  request(): void {
    if (this.#failure !== undefined) return;
    if (this.#running === undefined) {
      const group = new Group();
      this.#running = group;
      this.#work = this.#run(group);
    } else {
      this.#next ??= new Group();
    }
  }

  /** Resolves when everything written by now is durable. */
  durable(): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    this.request();
    return (this.#next ?? this.#running)?.wait() ?? Promise.resolve();
  }

  /** Resolves when no sync runs or is asked for. */
  async idle(): Promise<void> {
    for (;;) {
      const group = this.#next ?? this.#running;
      if (group === undefined) return;
      await group.wait();
    }
  }

  /** Resolves when the disk is at rest, whatever came of it: only then may files be closed. REQUIRES: nothing is requested any more. */
  async quiet(): Promise<void> {
    for (let work: Promise<void> | undefined; work !== this.#work; ) {
      work = this.#work;
      await work;
    }
  }

  /** No sync is started any more; whoever waits is told. */
  fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    const groups = [this.#running, this.#next];
    this.#running = undefined;
    this.#next = undefined;
    for (const group of groups) group?.reject(error);
  }

  async #run(group: Group): Promise<void> {
    const current = this.#current;
    const target = current.endPosition;
    const rolled = this.#rolled;
    this.#rolled = [];
    try {
      for (const segment of rolled) await segment.file.sync();
      await current.file.sync();
    } catch (error) {
      this.#onFailure(error);
      return;
    }
    if (this.#failure !== undefined) return;
    this.syncedPosition = target;
    const next = this.#next;
    this.#next = undefined;
    this.#running = next;
    if (next !== undefined) this.#work = this.#run(next);
    group.resolve();
  }
}
