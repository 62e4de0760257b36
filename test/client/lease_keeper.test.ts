/** What keeps a lease alive, in virtual time: when it renews, what it does with failures, and when it gives the lease up for lost. */

import * as assert from 'uvu/assert';
import type { LeaseCalls } from '../../src/client/channel.ts';
import { LeaseKeeper } from '../../src/client/lease_keeper.ts';
import { type ErrorCode, KvError } from '../../src/errors.ts';
import type { Ports } from '../../src/ports.ts';
import { realPorts } from '../../src/real_ports.ts';
import { test } from '../suite.ts';

const TTL_MS = 9_000;

/** Time that goes on only when it is told to. */
class World {
  nowMs = 1_000;
  readonly asked: { readonly atMs: number; readonly timeoutMs: number | undefined }[] = [];
  answer: () => Promise<{ revision: number; ttlMs: number }> = async () => ({ revision: 1, ttlMs: TTL_MS });
  readonly closed = new AbortController();
  readonly #timers = new Map<number, { readonly atMs: number; readonly run: () => void }>();
  #last = 0;

  get timers(): number {
    return this.#timers.size;
  }

  keeper(ttlMs = TTL_MS): LeaseKeeper {
    const calls: LeaseCalls = {
      keepAlive: (_lease, { timeoutMs }) => {
        this.asked.push({ atMs: this.nowMs, timeoutMs });
        return this.answer();
      },
      timeToLive: () => Promise.reject(new Error('not asked')),
      list: () => Promise.reject(new Error('not asked')),
    };
    const { closed, nowMs: sentAtMs } = this;
    return new LeaseKeeper({ calls, ports: this.#ports(), closed: closed.signal, id: 7n, ttlMs, sentAtMs });
  }

  /** Runs what is due until then, and what follows from it. */
  async until(endMs: number): Promise<void> {
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      const due = [...this.#timers].sort(([, a], [, b]) => a.atMs - b.atMs)[0];
      if (due === undefined || due[1].atMs > endMs) break;
      const [id, { atMs, run }] = due;
      this.#timers.delete(id);
      this.nowMs = Math.max(this.nowMs, atMs);
      run();
    }
    this.nowMs = endMs;
  }

  #ports(): Ports {
    const real = realPorts();
    return {
      ...real,
      clock: { wallMs: () => 0, monotonicMs: () => this.nowMs },
      timers: {
        ...real.timers,
        after: (delayMs, run) => {
          // As Node's: longer ones come at once.
          assert.ok(delayMs < 2 ** 31, `a timer of ${delayMs} ms`);
          const id = ++this.#last;
          this.#timers.set(id, { atMs: this.nowMs + delayMs, run });
          return { cancel: () => void this.#timers.delete(id) };
        },
      },
    };
  }
}

function codeOf({ signal }: LeaseKeeper): ErrorCode | undefined {
  return signal.reason instanceof KvError ? signal.reason.code : undefined;
}

test('it renews three times in a life, until it is closed', async () => {
  const world = new World();
  const keeper = world.keeper();
  await world.until(1_000 + 10 * TTL_MS);
  assert.is(world.asked.length, 30);
  assert.is(world.asked[0]?.atMs, 1_000 + TTL_MS / 3);
  assert.not(keeper.signal.aborted);
  keeper[Symbol.dispose]();
  assert.is(world.timers, 0);
  await world.until(1_000 + 20 * TTL_MS);
  assert.is(world.asked.length, 30);
  assert.not(keeper.signal.aborted);
});

test('renewals that fail are tried again; the loss is told before the lease can have ended, with the reason', async () => {
  const world = new World();
  const keeper = world.keeper();
  const cause = new KvError('UNAVAILABLE', 'cut off');
  world.answer = () => Promise.reject(cause);
  const lastMs = 1_000 + TTL_MS * 0.98;
  await world.until(lastMs - 1);
  assert.ok(world.asked.length >= 10);
  assert.ok(world.asked.every(({ atMs, timeoutMs = 0 }) => timeoutMs >= 1 && atMs + timeoutMs <= lastMs + 1));
  assert.not(keeper.signal.aborted);
  await world.until(lastMs);
  assert.is(codeOf(keeper), 'LEASE_EXPIRED');
  assert.is((keeper.signal.reason as KvError).cause, cause);
  assert.is(world.timers, 0);
});

test('one renewal that comes through is enough; its time counts from when it was sent', async () => {
  const world = new World();
  const keeper = world.keeper();
  let answer: (value: { revision: number; ttlMs: number }) => void = () => undefined;
  world.answer = () =>
    new Promise((resolve) => {
      answer = resolve;
    });
  await world.until(1_000 + TTL_MS / 2);
  const sentMs = world.asked[0]?.atMs ?? 0;
  answer({ revision: 1, ttlMs: TTL_MS });
  await world.until(sentMs + TTL_MS * 0.98 - 1);
  assert.not(keeper.signal.aborted);
  await world.until(sentMs + TTL_MS * 0.98);
  assert.is(codeOf(keeper), 'LEASE_EXPIRED');
  answer({ revision: 1, ttlMs: TTL_MS });
  await world.until(world.nowMs + TTL_MS);
  assert.is(world.timers, 0, 'an answer that comes later changes nothing');
});

test('a lease that the store knows no more is lost at once, and so is all with a store that closes', async () => {
  const world = new World();
  const gone = world.keeper();
  world.answer = async () => ({ revision: 1, ttlMs: 0 });
  await world.until(1_000 + TTL_MS / 3);
  assert.is(codeOf(gone), 'LEASE_EXPIRED');
  const kept = world.keeper();
  world.closed.abort();
  assert.is(codeOf(kept), 'CLOSED');
  assert.is(codeOf(world.keeper()), 'CLOSED');
  assert.is(world.timers, 0);
});

test('a lease of years is kept alive, with timers that Node can have', async () => {
  const world = new World();
  const ttlMs = 9_000_000_000_000;
  const keeper = world.keeper(ttlMs);
  world.answer = async () => ({ revision: 1, ttlMs });
  await world.until(1_000 + 2 ** 33);
  assert.ok(world.asked.length >= 3);
  assert.not(keeper.signal.aborted);
  keeper.close();
  assert.is(world.timers, 0);
});

test.run();
