/**
 * Waiting for something that the node will notice by itself: a leader, a revision, a configuration.
 *
 * Invariants: every waiter is settled once: when its test holds, at its deadline, or when the node closes. Tests are cheap and have no
 * side effects: they run after every run of applied entries and every change of role. There are at most MAX_WAITERS: a client may ask for revisions that are
 * far away, with a long deadline, and go away.
 */
import { KvError } from '../errors.ts';

const MAX_WAITERS = 65_536;

interface Waiter {
  readonly test: () => boolean;
  readonly deadlineMs: number;
  readonly late: () => KvError;
  readonly resolve: () => void;
  readonly reject: (error: KvError) => void;
}

export class Conditions {
  #waiters: Waiter[] = [];

  /** Resolves once `test()` holds; rejects with `late()` at the deadline, with OVERLOADED when too many wait. */
  until(test: () => boolean, deadlineMs: number, late: () => KvError): Promise<void> {
    if (test()) return Promise.resolve();
    if (this.#waiters.length >= MAX_WAITERS)
      return Promise.reject(
        new KvError('OVERLOADED', `${MAX_WAITERS} calls wait for something here already`),
      );
    return new Promise((resolve, reject) => {
      this.#waiters.push({ test, deadlineMs, late, resolve, reject });
    });
  }

  check(): void {
    if (this.#waiters.length === 0) return;
    this.#waiters = this.#waiters.filter((waiter) => {
      if (!waiter.test()) return true;
      waiter.resolve();
      return false;
    });
  }

  sweep(nowMs: number): void {
    this.check();
    this.#waiters = this.#waiters.filter((waiter) => {
      if (waiter.deadlineMs > nowMs) return true;
      waiter.reject(waiter.late());
      return false;
    });
  }

  close(): void {
    for (const waiter of this.#waiters.splice(0))
      waiter.reject(new KvError('UNAVAILABLE', 'the node is stopping'));
  }
}
