/** The state machine's answers, case by case: etcd v3's data model, time to live, compaction. */

import * as assert from 'uvu/assert';
import type { KvEvent } from '../../src/kv/command.ts';
import { allExpiryRows, dueKeysRange, expiryRowKey, parseExpiryRow } from '../../src/kv/expiry.ts';
import { writesMeeting } from '../../src/kv/overlap.ts';
import { test } from '../suite.ts';
import {
  asTxn,
  code,
  compare,
  key,
  keyName,
  NO_ID,
  put,
  range,
  remove,
  Store,
  shown,
  text,
  touch,
  txn,
  write,
} from './commands.ts';

function due(store: Store, nowMs: number): string[] {
  const rows = store.engine.range(dueKeysRange(nowMs), store.machine.revision, false, 100);
  return rows.map((row) => keyName(parseExpiryRow(row.key)!.key));
}

test('an empty store is at revision 1; a put makes revision 2', () => {
  const store = new Store();
  assert.is(store.machine.revision, 1);
  const result = store.run(write(put('a', 'x')));
  assert.equal(result, { type: 'put', revision: 2, previous: undefined });
  assert.equal(store.get('a'), ['a', 'x', 2, 2, 1]);
});

test('an overwrite keeps createRevision and counts the version; a delete starts both anew', () => {
  const store = new Store();
  store.run(write(put('a', '1')));
  store.run(write(put('a', '2')));
  assert.equal(store.get('a'), ['a', '2', 2, 3, 2]);
  assert.is(store.run(write(remove('a'))).revision, 4);
  assert.is(store.get('a'), undefined);
  store.run(write(put('a', '3')));
  assert.equal(store.get('a'), ['a', '3', 5, 5, 1]);
});

test('a command that meets a block which cannot be read leaves the revision and tells nobody of anything', () => {
  const store = new Store();
  store.run(write(put('a', '1')));
  const told: number[] = [];
  store.machine.writer.onEvents = (revision) => void told.push(revision);
  const { latest } = store.engine;
  for (const command of [write(put('a', '2')), txn([put('b', '1'), put('a', '2')]), write(remove('a'))]) {
    store.engine.latest = () => {
      throw new Error('a block cannot be read');
    };
    assert.throws(() => store.run(command), /cannot be read/);
    assert.is(store.machine.revision, 2);
    store.engine.latest = latest;
  }
  assert.equal(told, []);
  // Watchers that were sent to the history read it from revision 3 on, so that is what the next change must have.
  assert.is(store.run(write(put('a', '3'))).revision, 3);
  assert.equal(told, [3]);
});

test('a delete, a touch or a transaction that changes nothing leaves the revision alone', () => {
  const store = new Store();
  store.run(write(put('a', '1')));
  assert.equal(store.run(write(remove('b'))), { type: 'delete', revision: 2, deleted: 0, previous: [] });
  assert.equal(store.run(write(touch('b', 5))), { type: 'touch', revision: 2, found: false });
  assert.equal(store.run(write(remove('x', 'z'))), { type: 'delete', revision: 2, deleted: 0, previous: [] });
  const nothing = asTxn(store.run(txn([remove('b'), touch('c', 1), range('a')])));
  assert.is(nothing.revision, 2);
  assert.is(store.run(txn([])).revision, 2);
  assert.is(store.machine.revision, 2);
});

test('prevKv gives a copy of what was replaced or removed', () => {
  const store = new Store();
  assert.is((store.run(write(put('a', '1', { prevKv: true }))) as { previous: unknown }).previous, undefined);
  const replaced = store.run(write(put('a', '2', { prevKv: true })));
  assert.is(replaced.type, 'put');
  if (replaced.type === 'put') assert.equal(shown(replaced.previous), ['a', '1', 2, 2, 1]);
  store.run(write(put('b', '3')));
  const removed = store.run(write(remove('a', 'c', true)));
  assert.is(removed.type, 'delete');
  if (removed.type !== 'delete') return;
  assert.is(removed.deleted, 2);
  assert.equal(removed.previous.map(shown), [
    ['a', '2', 2, 3, 2],
    ['b', '3', 4, 4, 1],
  ]);
});

test('the writes of a transaction share a revision and are numbered within it', () => {
  const store = new Store();
  store.run(write(put('b', '0')));
  const result = asTxn(store.run(txn([put('a', '1'), remove('b'), put('c', '2')])));
  assert.is(result.revision, 3);
  assert.equal(
    result.results.map((nested) => nested.type),
    ['put', 'delete', 'put'],
  );
  const subs = ['a', 'b', 'c'].map((name) => store.engine.latest(key(name))!);
  assert.equal(
    subs.map((record) => [record.modRevision, record.subRevision]),
    [
      [3, 0],
      [3, 1],
      [3, 2],
    ],
  );
});

test('compares on a missing key: value is false for every relation, the others compare with 0', () => {
  const store = new Store();
  for (const relation of ['=', '!=', '<', '>'] as const) {
    assert.is(asTxn(store.run(txn([], [compare('value', relation, 'no', '')]))).succeeded, false);
  }
  for (const target of ['version', 'createRevision', 'modRevision', 'lease'] as const) {
    const [zero, one] = target === 'lease' ? [0n, 1n] : [0, 1];
    assert.is(asTxn(store.run(txn([], [compare(target, '=', 'no', zero)]))).succeeded, true);
    assert.is(asTxn(store.run(txn([], [compare(target, '<', 'no', one)]))).succeeded, true);
    assert.is(asTxn(store.run(txn([], [compare(target, '>', 'no', zero)]))).succeeded, false);
    assert.is(asTxn(store.run(txn([], [compare(target, '!=', 'no', zero)]))).succeeded, false);
  }
});

test('compares on a key: values as bytes, a prefix being smaller; all of them must hold', () => {
  const store = new Store();
  store.run({ type: 'leaseGrant', id: NO_ID, lease: 7n, ttlMs: 60_000 });
  store.run(write(put('a', 'mm', { lease: 7n })));
  store.run(write(put('a', 'mm', { lease: 7n })));
  const holds = (...compares: ReturnType<typeof compare>[]) => asTxn(store.run(txn([], compares))).succeeded;
  assert.ok(
    holds(
      compare('value', '=', 'a', 'mm'),
      compare('value', '>', 'a', 'm'),
      compare('value', '<', 'a', 'mn'),
    ),
  );
  assert.ok(holds(compare('version', '=', 'a', 2), compare('createRevision', '=', 'a', 2)));
  assert.ok(
    holds(
      compare('modRevision', '>', 'a', 2),
      compare('lease', '=', 'a', 7n),
      compare('lease', '<', 'a', 8n),
    ),
  );
  assert.not(holds(compare('version', '=', 'a', 2), compare('lease', '>', 'a', 7n)));
  assert.not(holds(compare('value', '!=', 'a', 'mm')));
});

test('the branch is chosen by the compares; only that branch takes effect', () => {
  const store = new Store();
  const once = () => txn([put('a', 'first')], [compare('version', '=', 'a', 0)], [range('a')]);
  assert.is(asTxn(store.run(once())).succeeded, true);
  const second = asTxn(store.run(once()));
  assert.is(second.succeeded, false);
  assert.is(second.revision, 2);
  const read = second.results[0]!;
  assert.is(read.type, 'range');
  if (read.type === 'range') assert.equal(read.records.map(shown), [['a', 'first', 2, 2, 1]]);
});

test('a range in a transaction sees the earlier writes of the same transaction, unless it names a revision', () => {
  const store = new Store();
  store.run(write(put('a', 'old')));
  const ops = [
    range('a', 'z'),
    put('b', 'new'),
    remove('a'),
    range('a', 'z'),
    range('a'),
    range('a', 'z', { revision: 2 }),
  ];
  const result = asTxn(store.run(txn(ops)));
  const seen = result.results.flatMap((nested) =>
    nested.type === 'range' ? [nested.records.map((record) => keyName(record.key))] : [],
  );
  assert.equal(seen, [['a'], ['b'], [], ['a']]);
});

test('a range in a transaction: limit, order, keysOnly, more, a single key in the past', () => {
  const store = new Store();
  for (const name of ['a', 'b', 'c', 'd']) store.run(write(put(name, name)));
  store.run(write(put('a', 'later')));
  const ops = [
    range('a', 'z', { limit: 2, sortOrder: 'descend', keysOnly: true }),
    range('a', undefined, { revision: 2 }),
  ];
  const [page, past] = asTxn(store.run(txn(ops))).results;
  assert.ok(page?.type === 'range' && past?.type === 'range');
  if (page?.type !== 'range' || past?.type !== 'range') return;
  assert.equal(
    page.records.map((record) => keyName(record.key) + text(record.value)),
    ['d', 'c'],
  );
  assert.is(page.more, true);
  assert.equal(past.records.map(shown), [['a', 'a', 2, 2, 1]]);
});

test('a range with a limit is cut off where the result would grow past the size of a command, one without is refused', () => {
  const store = new Store({ maxCommandBytes: 2_000 });
  for (const name of ['a', 'b', 'c', 'd']) store.run(write(put(name, 'v'.repeat(800))));
  const read = asTxn(store.run(txn([range('a', 'z', { limit: 3 })]))).results[0];
  assert.ok(read?.type === 'range' && read.records.length === 2 && read.more);
  assert.is(code(store.run(txn([range('a', 'z')]))), 'REQUEST_TOO_LARGE');
});

test('known failure 27: a transaction that reads a compacted or a future revision fails whole', () => {
  const store = new Store();
  for (let i = 0; i < 5; i++) store.run(write(put('a', `${i}`)));
  assert.is(store.run({ type: 'compact', revision: 4 }).type, 'done');
  const before = store.engine.dump().length;
  assert.is(code(store.run(txn([put('b', '1'), range('a', undefined, { revision: 3 })]))), 'COMPACTED');
  assert.is(code(store.run(txn([put('b', '1'), range('a', 'c', { revision: 7 })]))), 'FUTURE_REVISION');
  assert.is(store.engine.dump().length, before);
  assert.is(store.machine.revision, 6);
  const kept = asTxn(store.run(txn([range('a', undefined, { revision: 4 })]))).results[0];
  assert.ok(kept?.type === 'range' && text(kept.records[0]!.value) === '2');
});

test('compaction moves forward only, and not past the present', () => {
  const store = new Store();
  for (let i = 0; i < 5; i++) store.run(write(put('a', `${i}`)));
  assert.is(store.run({ type: 'compact', revision: 0 }).type, 'done', 'as in etcd');
  assert.is(store.machine.compactRevision, 0);
  assert.is(code(store.run({ type: 'compact', revision: 7 })), 'FUTURE_REVISION');
  assert.is(store.run({ type: 'compact', revision: 6 }).type, 'done');
  assert.is(code(store.run({ type: 'compact', revision: 6 })), 'COMPACTED');
  assert.is(code(store.run({ type: 'compact', revision: 0 })), 'COMPACTED');
  assert.is(store.machine.compactRevision, 6);
  assert.is(store.engine.compactRevision, 6);
  assert.equal(store.get('a'), ['a', '4', 2, 6, 5]);
});

test('a key written twice in one transaction is refused whatever the branch, and nothing is applied', () => {
  const bad = [
    [put('a', '1'), put('a', '2')],
    [put('a', '1'), remove('a')],
    [touch('a', 1), put('a', '1')],
    [put('b', '1'), remove('a', 'c')],
    [remove('a', 'z'), remove('b', 'c'), put('d', '1')],
    [remove('b', 'd'), remove('a', 'b'), put('c', '1')],
  ];
  for (const operations of bad) {
    const store = new Store();
    store.run(write(put('b', '0')));
    assert.is(code(store.run(txn(operations))), 'DUPLICATE_KEY');
    assert.is(code(store.run(txn([], [], operations))), 'DUPLICATE_KEY');
    assert.is(store.machine.revision, 2);
    assert.is(store.engine.dump().length, 1);
  }
  assert.is(
    writesMeeting([remove('a', 'c'), put('c', '1'), range('a'), range('a', 'z'), remove('x', 'x')]),
    'apart',
  );
});

test('many keys in one transaction: duplicates are found in any order', () => {
  const names = Array.from({ length: 20 }, (_, i) => `k${(i * 7) % 20}`);
  assert.is(writesMeeting(names.map((name) => put(name, ''))), 'apart');
  assert.is(writesMeeting([...names].sort().map((name) => put(name, ''))), 'apart');
  assert.is(writesMeeting([...names, 'k3'].map((name) => put(name, ''))), 'writes');
});

test('limits are checked before anything is written', () => {
  const store = new Store();
  const long = 'k'.repeat(65);
  assert.is(code(store.run(write(put(long, '')))), 'KEY_TOO_LARGE');
  assert.is(store.run(write(put('k'.repeat(64), ''))).type, 'put');
  assert.is(code(store.run(write(put('a', 'v'.repeat(1025))))), 'VALUE_TOO_LARGE');
  assert.is(code(store.run(txn([put('a', '1'), remove(long)]))), 'KEY_TOO_LARGE');
  assert.is(code(store.run(txn([], [], [put('a', 'v'.repeat(1025))]))), 'VALUE_TOO_LARGE');
  const many = Array.from({ length: 33 }, (_, i) => put(`k${i}`, ''));
  assert.is(code(store.run(txn(many))), 'TOO_MANY_OPERATIONS');
  for (let i = 0; i < 17; i++) store.run(write(put(`r${i}`, 'v'.repeat(900))));
  assert.is(code(store.run(write(remove('r', 's')))), 'REQUEST_TOO_LARGE');
  assert.is(code(store.run(txn([put('a', '1'), remove('r', 's')]))), 'REQUEST_TOO_LARGE');
  assert.is(store.get('a'), undefined);
  store.run(write(remove('r0')));
  const whole = new Store({ maxCommandBytes: 2_000 });
  for (const name of ['a', 'b', 'c']) whole.run(write(put(name, 'v'.repeat(900))));
  assert.is(code(whole.run(write(remove('a', 'z', true)))), 'REQUEST_TOO_LARGE');
  assert.is(
    code(whole.run(txn(['a', 'b', 'c'].map((name) => put(name, '', { prevKv: true }))))),
    'REQUEST_TOO_LARGE',
  );
  assert.is(whole.machine.revision, 4);
  assert.is(whole.run(write(remove('a', 'z'))).type, 'delete');
});

test('a key with a time to live is due after it, and expire removes only what is due', () => {
  const store = new Store();
  store.run(write(put('a', '1', { ttlMs: 100 })));
  store.run(write(put('b', '1', { ttlMs: 200 })));
  store.run(write(put('c', '1')));
  assert.is(store.engine.latest(key('a'))!.expiresAtMs, 1_100);
  assert.equal(due(store, 1_099), []);
  assert.equal(due(store, 1_200), ['a', 'b']);
  const all = { type: 'expire', keys: [key('a'), key('b'), key('c'), key('none'), key('a')] } as const;
  assert.is(store.run(all).revision, 4, 'nothing is due yet');
  store.timeMs = 1_250;
  assert.is(store.run(all).revision, 5);
  assert.equal([store.get('a'), store.get('b'), store.get('c')], [undefined, undefined, ['c', '1', 4, 4, 1]]);
  assert.equal(store.engine.range(allExpiryRows(), 5, false, 10), []);
  assert.is(store.run(all).revision, 5);
});

test('overwriting, touching and deleting move the row of the expiry', () => {
  const store = new Store();
  store.run(write(put('a', '1', { ttlMs: 100 })));
  store.run(write(put('a', '2', { ttlMs: 300 })));
  assert.equal(due(store, 1_200), []);
  assert.equal(due(store, 1_300), ['a']);
  assert.equal(store.run(write(touch('a', 500))), { type: 'touch', revision: 4, found: true });
  assert.equal(store.get('a'), ['a', '2', 2, 4, 3]);
  assert.equal(due(store, 1_499), []);
  assert.equal(due(store, 1_500), ['a']);
  store.run(write(touch('a', 0)));
  assert.equal(due(store, 1e12), []);
  store.run(write(put('a', '3', { ttlMs: 500 })));
  store.run(write(remove('a')));
  assert.equal(due(store, 1e12), []);
  store.run(write(put('a', '4', { ttlMs: Number.MAX_SAFE_INTEGER })));
  assert.is(store.engine.latest(key('a'))!.expiresAtMs, Number.MAX_SAFE_INTEGER);
});

test('the store never lets its time go back', () => {
  const store = new Store();
  store.run(write(put('a', '1')));
  store.timeMs = 10;
  store.run(write(put('b', '1', { ttlMs: 5 })));
  assert.is(store.machine.timeMs, 1_000);
  assert.is(store.engine.latest(key('b'))!.expiresAtMs, 1_005);
});

test('an expiry row names its key and time; other keys are no such rows', () => {
  const time = 2 ** 45 + 12_345;
  assert.equal(parseExpiryRow(expiryRowKey(time, key('abc'))), { expiresAtMs: time, key: key('abc') });
  assert.is(parseExpiryRow(key('abcdefghijkl')), undefined);
  assert.is(parseExpiryRow(expiryRowKey(time, new Uint8Array(0))), undefined);
});

test('events: user keys only, in order, with previous versions where they are asked for', () => {
  const store = new Store();
  store.run(write(put('silent', '1')));
  const heard: [number, unknown[]][] = [];
  const show = ({ type, record, previous }: KvEvent) => [
    type,
    keyName(record.key),
    record.subRevision,
    shown(previous),
  ];
  store.machine.writer.onEvents = (revision, events) => {
    assert.is(store.machine.revision, revision, 'the revision is in force when events are told');
    heard.push([revision, events.map(show)]);
  };
  store.run(write(put('a', '1', { ttlMs: 1 })));
  store.machine.writer.eventsWithPrevious = true;
  store.run(txn([put('b', '2'), remove('a'), remove('none'), touch('silent', 3)]));
  store.run(write(remove('none')));
  store.timeMs += 10;
  store.run({ type: 'expire', keys: [key('silent')] });
  assert.equal(heard, [
    [3, [['put', 'a', 0, undefined]]],
    [
      4,
      [
        ['put', 'b', 0, undefined],
        ['delete', 'a', 1, ['a', '1', 3, 3, 1]],
        ['put', 'silent', 2, ['silent', '1', 2, 2, 1]],
      ],
    ],
    [5, [['delete', 'silent', 0, ['silent', '1', 2, 4, 2]]]],
  ]);
});

test('results and events are copies: they outlive changes to the bytes of the command', () => {
  const store = new Store();
  const operation = put('a', 'value', { prevKv: true });
  let event: KvEvent | undefined;
  store.machine.writer.onEvents = (_, events) => {
    event = events[0];
  };
  store.run(write(operation));
  operation.value.fill(0);
  operation.key.fill(0);
  assert.equal(shown(event?.record), ['a', 'value', 2, 2, 1]);
});

test('reads names every key and range that a command looks at', () => {
  const { machine } = new Store();
  assert.equal(machine.reads(write(put('a', '1'))), { keys: [key('a')], ranges: [] });
  const both = machine.reads(
    txn([range('a', 'b'), put('c', '')], [compare('version', '=', 'd', 0)], [remove('e', 'f'), range('g')]),
  );
  assert.equal(both.keys.map(keyName), ['d', 'c', 'g']);
  assert.equal(
    both.ranges.map(({ start, end }) => [keyName(start), keyName(end!)]),
    [
      ['a', 'b'],
      ['e', 'f'],
    ],
  );
  assert.equal(machine.reads(write(remove('a', 'b'))).ranges.length, 1);
  assert.equal(machine.reads({ type: 'expire', keys: [key('a')] }).keys, [key('a')]);
  assert.equal(machine.reads({ type: 'openSession' }), { keys: [], ranges: [] });
});

test.run();
