/** Leases in the state machine: granting, attaching, renewing, and both ends. */

import * as assert from 'uvu/assert';
import type { CommandResult, KvEvent } from '../../src/kv/command.ts';
import { keyOfLeaseRow, leaseRowKey, leaseRows } from '../../src/kv/lease_rows.ts';
import { LeaseTable } from '../../src/kv/lease_table.ts';
import { MAX_LEASE_TTL_MS } from '../../src/kv/leases.ts';
import { compareKeys } from '../../src/storage/record.ts';
import { decodeState, encodeState } from '../../src/wire/state_codec.ts';
import { test } from '../suite.ts';
import { key, keyName, NO_ID, put, remove, Store, touch, txn, write } from './commands.ts';

function grant(store: Store, lease: bigint, ttlMs: number): CommandResult {
  return store.run({ type: 'leaseGrant', id: NO_ID, lease, ttlMs });
}
function revoke(store: Store, lease: bigint): CommandResult {
  return store.run({ type: 'leaseRevoke', id: NO_ID, lease });
}
function code(result: CommandResult): string {
  return result.type === 'failed' ? result.code : 'fine';
}
/** The keys that the index names. */
function attached(store: Store, lease: bigint): string[] {
  const rows = store.engine.range(leaseRows(lease), store.machine.revision, false, 100);
  return rows.map((row) => keyName(keyOfLeaseRow(row.key)!));
}

test('a lease is granted with the id asked for, or with one of the store, and a time to live within the bounds', () => {
  const store = new Store();
  assert.equal(grant(store, 5n, 1_000), { type: 'lease', revision: 1, lease: 5n, ttlMs: 1_000 });
  assert.is(code(grant(store, 5n, 1_000)), 'LEASE_EXISTS');
  const [first, second] = [grant(store, 0n, 1), grant(store, 0n, 1)];
  assert.ok(first.type === 'lease' && second.type === 'lease');
  assert.ok(first.lease !== second.lease && first.lease > 0n && second.lease > 0n);
  assert.is(first.ttlMs, 100, 'raised to the least one');
  assert.is(code(grant(store, 6n, MAX_LEASE_TTL_MS + 1)), 'LEASE_TTL_TOO_LARGE');
  assert.is(code(grant(store, -6n, MAX_LEASE_TTL_MS)), 'fine');
  for (let id = 100n; store.machine.leases.size < 8; id++) grant(store, id, 1_000);
  assert.is(code(grant(store, 0n, 1_000)), 'OVERLOADED');
  assert.is(store.machine.revision, 1, 'no revision is used up');
});

test('an id that was given is not given again after its lease has ended', () => {
  const store = new Store();
  const first = grant(store, 0n, 1_000);
  assert.ok(first.type === 'lease');
  revoke(store, first.lease);
  const captured = decodeState(encodeState(store.machine.captureState()));
  const second = grant(store, 0n, 1_000);
  assert.ok(second.type === 'lease' && second.lease !== first.lease);
  const restored = new Store();
  restored.machine.restore(captured);
  assert.equal(grant(restored, 0n, 1_000), second);
});

test('a put moves its key to the lease that it names, or to none; a key that is touched stays', () => {
  const store = new Store();
  grant(store, 1n, 1_000);
  grant(store, 2n, 1_000);
  store.run(write(put('a', 'x', { lease: 1n })));
  store.run(txn([put('b', 'x', { lease: 1n }), put('c', 'x', { lease: 2n })]));
  assert.equal(attached(store, 1n), ['a', 'b']);
  store.run(write(put('a', 'y', { lease: 2n })));
  store.run(write(touch('c', 50)));
  store.run(write(put('b', 'y')));
  assert.equal(attached(store, 1n), []);
  assert.equal(attached(store, 2n), ['a', 'c']);
  store.run(write(remove('a')));
  store.timeMs += 50;
  store.run({ type: 'expire', keys: [key('c')] });
  assert.equal(attached(store, 2n), []);
  assert.is(store.machine.leases.get(2n)!.keys, 0);
});

test('a put with a lease that is not there is refused, alone and in the branch that is taken', () => {
  const store = new Store();
  assert.is(code(store.run(write(put('a', 'x', { lease: 9n })))), 'LEASE_NOT_FOUND');
  assert.is(code(store.run(txn([put('b', 'x'), put('a', 'x', { lease: 9n })]))), 'LEASE_NOT_FOUND');
  assert.is(store.machine.revision, 1);
  assert.is(code(store.run(txn([put('b', 'x')], [], [put('a', 'x', { lease: 9n })]))), 'fine');
});

test('a lease has at most so many keys; a key that it has already counts once', () => {
  const store = new Store();
  grant(store, 1n, 1_000);
  for (const name of ['a', 'b', 'c', 'd']) store.run(write(put(name, 'x', { lease: 1n })));
  assert.is(code(store.run(txn([put('e', 'x', { lease: 1n }), put('f', 'x', { lease: 1n })]))), 'LEASE_FULL');
  assert.is(code(store.run(txn([put('a', 'y', { lease: 1n }), put('e', 'x', { lease: 1n })]))), 'fine');
  assert.is(code(store.run(write(put('f', 'x', { lease: 1n })))), 'LEASE_FULL');
  assert.is(code(store.run(write(put('e', 'y', { lease: 1n })))), 'fine');
});

test('revoking removes all keys of a lease at one revision, and watchers see what was there', () => {
  const store = new Store();
  const seen: [number, KvEvent[]][] = [];
  grant(store, 1n, 1_000);
  for (const name of ['a', 'b', 'c']) store.run(write(put(name, 'x', { lease: 1n })));
  store.run(write(put('d', 'x')));
  store.machine.writer.onEvents = (revision, events) => seen.push([revision, events]);
  store.machine.writer.eventsWithPrevious = true;
  const before = store.machine.revision;
  assert.equal(revoke(store, 1n), { type: 'done', revision: before + 1 });
  assert.equal(
    store.all().map((record) => keyName(record.key)),
    ['d'],
  );
  assert.is(seen.length, 1);
  const [revision, events] = seen[0]!;
  assert.is(revision, before + 1);
  assert.equal(
    events.map(({ type, record, previous }) => [
      type,
      record.subRevision,
      previous?.value.length,
      previous?.lease,
    ]),
    [0, 1, 2].map((sub) => ['delete', sub, 1, 1n]),
  );
  assert.is(code(revoke(store, 1n)), 'LEASE_NOT_FOUND');
  grant(store, 2n, 1_000);
  assert.equal(revoke(store, 2n), { type: 'done', revision: before + 1 }, 'nothing to remove: no revision');
});

test('a lease ends by the time of the entry, not before, and not when it was renewed', () => {
  const store = new Store();
  grant(store, 1n, 1_000);
  grant(store, 2n, 1_000);
  for (const lease of [1n, 2n]) store.run(write(put(`k${lease}`, 'x', { lease })));
  store.timeMs += 999;
  store.run({ type: 'leaseExpire', leases: [1n, 2n] });
  assert.is(store.machine.leases.size, 2);
  store.run({ type: 'leaseRenew', leases: [2n, 77n] });
  store.timeMs += 1;
  assert.equal(
    store.machine.leases.due(store.timeMs, 10).map(({ id }) => id),
    [1n],
  );
  const before = store.machine.revision;
  const result = store.run({ type: 'leaseExpire', leases: [1n, 2n, 1n, 77n] });
  assert.equal(result, { type: 'done', revision: before + 1 });
  assert.is(store.get('k1'), undefined);
  assert.ok(store.get('k2') !== undefined);
  assert.is(store.machine.leases.get(2n)!.expiresAtMs, store.timeMs + 998 + 1);
});

test('what a lease is given counts in a session once', () => {
  const store = new Store();
  store.run({ type: 'openSession' });
  const id = { session: 1, sequence: 1, acknowledgedBelow: 1 };
  const first = store.run({ type: 'leaseGrant', id, lease: 0n, ttlMs: 500 });
  assert.equal(store.run({ type: 'leaseGrant', id, lease: 0n, ttlMs: 500 }), first);
  assert.is(store.machine.leases.size, 1);
});

test('a record from before there were leases can be touched and removed', () => {
  const store = new Store();
  store.machine.writer.revision++;
  store.engine.put(key('old'), key('v'), store.machine.revision, 2, 1, 0, 0, 44n, 0);
  store.run(write(touch('old', 500)));
  assert.is(store.engine.latest(key('old'))!.lease, 0n);
  assert.equal(attached(store, 44n), []);
});

test('rows of a lease lie together, apart from those of every other', () => {
  const ids = [1n, 2n, 255n, 256n, 2n ** 63n - 1n, -(2n ** 63n), -1n];
  for (const id of ids) {
    const { start, end } = leaseRows(id);
    for (const other of ids) {
      for (const name of ['', '\xff\xff', 'k']) {
        const row = leaseRowKey(other, key(name));
        const inside = compareKeys(row, start) >= 0 && compareKeys(row, end!) < 0;
        assert.is(inside, id === other, `${id} and ${other}`);
        assert.is(keyName(keyOfLeaseRow(row)!), keyName(key(name)));
      }
    }
  }
  assert.is(keyOfLeaseRow(key('k')), undefined);
});

test('what is due comes soonest first however often leases were renewed, and places of leases that are gone do not pile up', () => {
  const table = new LeaseTable();
  for (let i = 1; i <= 3_000; i++) table.grant(BigInt(i), 1_000 + ((i * 7_919) % 3_000), 0);
  for (let i = 1; i <= 3_000; i += 2) table.renew(BigInt(i), 500);
  for (let i = 3; i <= 3_000; i += 3) table.remove(BigInt(i));
  const ends: number[] = [];
  for (let nowMs = 0; nowMs <= 5_000; nowMs += 10) {
    for (const lease of table.due(nowMs, 7)) {
      assert.ok(lease.expiresAtMs <= nowMs);
      ends.push(lease.expiresAtMs);
      table.remove(lease.id);
    }
  }
  while (table.size > 0) for (const lease of table.due(6_000, 100)) table.remove(lease.id);
  assert.is(table.due(6_000, 5).length, 0);
  assert.ok(ends.length > 1_000);
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 1_000; i++) table.grant(BigInt(i + 1), 1e9, 0);
    for (let i = 0; i < 1_000; i++) table.remove(BigInt(i + 1));
  }
  assert.ok((table as unknown as { heap: unknown[] }).heap.length <= 3_000);
});

test.run();
