/** Leases, locks and elections of the public store over real nodes in one process: contenders, losses, and the change of leaders. */

import * as assert from 'uvu/assert';
import type { ElectionLeader, Lock } from '../../src/client/lock_types.ts';
import { type ErrorCode, KvError } from '../../src/errors.ts';
import { ClusterLab, LAB_CONFIG, text, until } from '../node/cluster_lab.ts';
import { test } from '../suite.ts';

const CONFIG = { ...LAB_CONFIG, limits: { minLeaseTtlMs: 50 } };

async function withLab(run: (lab: ClusterLab) => Promise<void>, nodes = 1): Promise<void> {
  const lab = await ClusterLab.start(nodes, CONFIG);
  try {
    await run(lab);
  } finally {
    await lab.stop();
  }
}

async function code(promise: Promise<unknown>): Promise<ErrorCode> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof KvError) return error.code;
    throw new Error(`not a KvError: ${String(error)}`);
  }
  throw new Error('it did not fail');
}

function lossOf(signal: AbortSignal): ErrorCode | undefined {
  return signal.reason instanceof KvError ? signal.reason.code : undefined;
}

/** Resolves in a moment, or says that it does not. */
async function pending(promise: Promise<unknown>): Promise<boolean> {
  const waited = new Promise<'waits'>((resolve) => setTimeout(() => resolve('waits'), 100));
  return (await Promise.race([promise, waited])) === 'waits';
}

test('a lease is granted, holds keys, tells its time and is revoked with them', async () => {
  await withLab(async (lab) => {
    const { store } = await lab.leader();
    const lease = await store.leases.grant({ ttlMs: 60_000 });
    assert.is(lease.ttlMs, 60_000);
    assert.is((await store.leases.grant({ ttlMs: 1, id: -5n })).ttlMs, 50, 'raised to the least');
    await store.put('a', '1', { lease: lease.id });
    await store.batch([{ type: 'put', key: 'b', value: '2', lease: lease.id }]);
    await store.txn({ then: [{ type: 'put', key: 'c', value: '3', lease: lease.id }] });
    await store.put('d', '4');
    const times = await store.leases.timeToLive(lease.id, { keys: true });
    assert.is(times?.id, lease.id);
    assert.is(times?.ttlMs, 60_000);
    assert.ok(times !== undefined && times.remainingMs > 50_000 && times.remainingMs <= 60_000);
    assert.equal(times?.keys.map(text), ['a', 'b', 'c']);
    assert.equal((await store.leases.timeToLive(lease.id))?.keys, []);
    assert.ok((await store.leases.list()).includes(lease.id));
    assert.is(await code(store.leases.grant({ ttlMs: 1_000, id: lease.id })), 'LEASE_EXISTS');
    await store.leases.revoke(lease.id);
    assert.is(await store.get('a'), undefined);
    assert.is(await store.get('c'), undefined);
    assert.is(text(await store.get('d')), '4');
    assert.is(await store.leases.timeToLive(lease.id), undefined);
    assert.is(await code(store.leases.revoke(lease.id)), 'LEASE_NOT_FOUND');
    assert.is(await code(store.leases.keepAlive(lease.id)), 'LEASE_NOT_FOUND');
    assert.is(await code(store.put('a', '1', { lease: lease.id })), 'LEASE_NOT_FOUND');
    assert.is(await code(store.put('a', '1', { lease: 0n })), 'INVALID_ARGUMENT');
    assert.is(await code(store.put('a', '1', { lease: 7 as unknown as bigint })), 'INVALID_ARGUMENT');
    assert.is(await code(store.leases.grant({ ttlMs: 0 })), 'INVALID_ARGUMENT');
    assert.is(await code(store.leases.grant({ ttlMs: 1e13 })), 'LEASE_TTL_TOO_LARGE');
  });
});

test('a lease that is kept alive stays; closed, it ends; revoked by another, its keeper hears of it', async () => {
  await withLab(async (lab) => {
    const { store } = await lab.leader();
    const { id } = await store.leases.grant({ ttlMs: 300 });
    const kept = await store.leases.keepAlive(id);
    await store.put('k', 'v', { lease: id });
    const began = Date.now();
    await until(() => Date.now() - began > 1_000, 'some lives of the lease');
    assert.is(text(await store.get('k')), 'v');
    assert.not(kept.signal.aborted);
    kept.close();
    await until(async () => (await store.get('k')) === undefined, 'the lease to end');
    assert.not(kept.signal.aborted, 'nobody listens any more');
    const other = await store.leases.grant({ ttlMs: 300 });
    const lost = await store.leases.keepAlive(other.id);
    await store.leases.revoke(other.id);
    await until(() => lost.signal.aborted, 'the loss');
    assert.is(lossOf(lost.signal), 'LEASE_EXPIRED');
  });
});

test('two contend for a lock: one has it at a time, in order, with growing fences', async () => {
  await withLab(async (lab) => {
    const leader = await lab.leader();
    const follower = lab.follower(leader);
    const first = await leader.store.lock('job', { ttlMs: 60_000 });
    const second = follower.store.lock('job', { ttlMs: 60_000 });
    assert.ok(await pending(second));
    const third = leader.store.lock('job', { ttlMs: 60_000 });
    assert.ok(await pending(third));
    assert.is(text(first.key), `job/${first.lease.toString(16)}`);
    // What is done under the lock compares the fence.
    const guarded = (lock: Lock, value: string) =>
      leader.store.txn({ compare: [lock.held], then: [{ type: 'put', key: 'done', value }] });
    assert.ok((await guarded(first, 'first')).succeeded);
    await first.release();
    await first.release();
    const next = await second;
    assert.ok(next.fence > first.fence);
    assert.not((await guarded(first, 'late')).succeeded);
    assert.ok((await guarded(next, 'next')).succeeded);
    assert.ok(await pending(third));
    await next[Symbol.asyncDispose]();
    const last = await third;
    assert.ok(last.fence > next.fence);
    assert.not(first.signal.aborted || next.signal.aborted, 'giving up is no loss');
    await last.release();
    assert.equal(await leader.store.leases.list(), [], 'no lease is left');
  }, 3);
});

test('who gives up waiting leaves no place behind', async () => {
  await withLab(async (lab) => {
    const { store } = await lab.leader();
    const first = await store.lock('l');
    assert.is(await code(store.lock('l', { timeoutMs: 80 })), 'TIMEOUT');
    const stop = new AbortController();
    const waiting = code(store.lock('l', { signal: stop.signal }));
    assert.ok(await pending(waiting));
    stop.abort();
    assert.is(await waiting, 'CANCELLED');
    assert.is(await code(store.lock('l', { signal: stop.signal })), 'CANCELLED');
    assert.is((await store.leases.list()).length, 1);
    await first.release();
    await (await store.lock('l', { timeoutMs: 5_000 })).release();
    assert.is(await code(store.lock('')), 'INVALID_ARGUMENT');
    assert.is(await code(store.lock('l', { timeoutMs: -1 })), 'INVALID_ARGUMENT');
    assert.is(await code(store.lock('l', { ttlMs: -1 })), 'INVALID_ARGUMENT');
  });
});

test('locks share a lease that they are given, which outlives them', async () => {
  await withLab(async (lab) => {
    const { store } = await lab.leader();
    const lease = await store.leases.keepAlive((await store.leases.grant({ ttlMs: 5_000 })).id);
    const one = await store.lock('one', { lease });
    const two = await store.lock('two', { lease });
    await one.release();
    assert.is((await store.leases.timeToLive(lease.id, { keys: true }))?.keys.length, 1);
    const blocked = code(store.lock('two', { timeoutMs: 50 }));
    assert.is(await blocked, 'TIMEOUT');
    assert.is(
      await code(store.lock('one', { lease, timeoutMs: 0, signal: AbortSignal.abort() })),
      'CANCELLED',
    );
    await store.leases.revoke(lease.id);
    await until(() => two.signal.aborted, 'the loss of what stands on the lease');
    assert.not(one.signal.aborted, 'what was released cannot be lost');
    lease.close();
  });
});

test('a lock is lost with its lease, or its key, and the holder hears of it at once; the waiter has it', async () => {
  await withLab(async (lab) => {
    const { store } = await lab.leader();
    const first = await store.lock('l', { ttlMs: 60_000 });
    const second = store.lock('l', { ttlMs: 60_000 });
    assert.ok(await pending(second));
    await store.leases.revoke(first.lease);
    await until(() => first.signal.aborted, 'the loss');
    assert.is(lossOf(first.signal), 'LEASE_EXPIRED');
    const next = await second;
    await store.delete(next.key);
    await until(() => next.signal.aborted, 'the second loss');
    await next.release();
    await first.release();
    assert.equal(await store.leases.list(), []);
    // A place that is lost while waiting.
    const holder = await store.lock('l');
    const waiter = code(store.lock('l', { ttlMs: 600 }));
    await until(async () => (await store.leases.list()).length === 2, 'the lease of the waiter');
    const lease = (await store.leases.list()).find((id) => id !== holder.lease)!;
    await store.leases.revoke(lease);
    assert.is(await waiter, 'LEASE_EXPIRED');
    await holder.release();
  });
});

test('a lock is held through the death of the leader', async () => {
  await withLab(async (lab) => {
    const leader = await lab.leader();
    const { store } = lab.follower(leader);
    const lock = await store.lock('l', { ttlMs: 3_000 });
    const other = store.lock('l', { ttlMs: 3_000 });
    assert.ok(await pending(other));
    lab.crash(leader.id);
    await lab.leader();
    const began = Date.now();
    await until(() => Date.now() - began > 4_000, 'more than a life of the lease');
    assert.not(lock.signal.aborted, String(lock.signal.reason));
    const held = await store.txn({ compare: [lock.held], then: [{ type: 'get', key: lock.key }] });
    assert.ok(held.succeeded);
    await lock.release();
    const next = await other;
    assert.ok(next.fence > lock.fence);
    await next.release();
  }, 3);
});

test('who is cut off hears of the loss before the store gives the lock to another', async () => {
  await withLab(async (lab) => {
    const leader = await lab.leader();
    const cut = lab.follower(leader);
    const lock = await cut.store.lock('l', { ttlMs: 1_000 });
    const lossMs = new Promise<number>((resolve) => {
      lock.signal.addEventListener('abort', () => resolve(Date.now()));
    });
    lab.network.partition(
      [cut.id],
      [...lab.nodes.keys()].filter((id) => id !== cut.id),
    );
    const next = await (await lab.leader()).store.lock('l', { ttlMs: 1_000 });
    const gainedMs = Date.now();
    assert.ok((await lossMs) <= gainedMs, 'the loss is told first');
    assert.is(lossOf(lock.signal), 'LEASE_EXPIRED');
    assert.ok(next.fence > lock.fence);
    await next.release();
  }, 3);
});

test('an election has one leader, whom the others observe, until it resigns', async () => {
  await withLab(async (lab) => {
    const leader = await lab.leader();
    const election = leader.store.election('office');
    assert.is(await election.leader(), undefined);
    const seen: ElectionLeader<Uint8Array>[] = [];
    const stop = new AbortController();
    const observed = (async () => {
      const observer = lab.follower(leader).store.election('office');
      for await (const one of observer.observe({ signal: stop.signal })) seen.push(one);
    })();
    const values = (): string[] => seen.map(({ value }) => text(value) ?? '');
    const first = await election.campaign('anna');
    await until(() => values().join() === 'anna', 'the first leader');
    const second = election.campaign('bert');
    assert.ok(await pending(second));
    await first.proclaim('anna again');
    await until(() => values().join() === 'anna,anna again', 'what she says');
    assert.is(text((await election.leader())?.value), 'anna again');
    assert.is((await election.leader())?.fence, first.fence);
    await first.resign();
    const next = await second;
    await until(() => values().join() === 'anna,anna again,bert', 'the second leader');
    assert.is(seen[2]?.fence, next.fence);
    assert.is(seen[2]?.lease, next.lease);
    assert.is(await code(first.proclaim('late')), 'NOT_ELECTED');
    await leader.store.delete(next.key);
    await until(() => next.signal.aborted, 'the loss of the office');
    assert.is(await code(next.proclaim('late')), 'LEASE_EXPIRED');
    stop.abort();
    await observed;
    assert.is(values().length, 3);
  }, 3);
});

test('with the same lease a candidate keeps its office and says something new', async () => {
  await withLab(async (lab) => {
    const { store } = await lab.leader();
    const lease = await store.leases.keepAlive((await store.leases.grant({ ttlMs: 5_000 })).id);
    const election = store.election('office');
    const first = await election.campaign('one', { lease });
    const again = await election.campaign('two', { lease });
    assert.is(again.fence, first.fence);
    assert.is(text((await election.leader())?.value), 'two');
    await again.resign();
    await until(() => first.signal.aborted, 'the loss');
    assert.is(await election.leader(), undefined);
    lease.close();
  });
});

test('closing the store ends what stands on its leases', async () => {
  await withLab(async (lab) => {
    const { store } = await lab.leader();
    const lock = await store.lock('l');
    const waiting = code(store.lock('l'));
    assert.ok(await pending(waiting));
    await store.close();
    assert.is(lossOf(lock.signal), 'CLOSED');
    assert.is(await waiting, 'CLOSED');
    assert.is(await code(store.lock('l')), 'CLOSED');
  });
});

test.run();
