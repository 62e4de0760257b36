/** Transactions within transactions, comparisons and ranges in them, and what bounds them. */

import * as assert from 'uvu/assert';
import type { CommandResult, Operation } from '../../src/kv/command.ts';
import { type Meeting, writesMeeting } from '../../src/kv/overlap.ts';
import { test } from '../suite.ts';
import {
  asTxn,
  code,
  compare,
  key,
  keyName,
  NO_ID,
  nested,
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

/** What a result says, in short: [put 3], (then ...) */
function told(result: CommandResult): string {
  switch (result.type) {
    case 'txn':
      return `(${result.succeeded ? 'then' : 'else'}${result.results.map((one) => ` ${told(one)}`).join('')})`;
    case 'range':
      return `${result.records.map((one) => keyName(one.key)).join(',')}@${result.revision}`;
    case 'delete':
      return `${result.deleted} deleted@${result.revision}`;
    default:
      return `${result.type}@${result.revision}`;
  }
}
function filled(...names: string[]): Store {
  const store = new Store();
  for (const name of names) store.run(write(put(name, name)));
  return store;
}

test('nested transactions choose their branch by the store before the whole, at one revision, in the order of the operations', () => {
  const store = filled('a');
  const absent = compare('version', '=', 'b', 0);
  const result = store.run(
    txn([
      put('b', '1'),
      nested([put('c', '1'), nested([put('d', '1')], [absent])], [absent], [put('e', '1')]),
      nested([put('f', '1')], [compare('version', '>', 'b', 0)], [range('a', 'z')]),
      remove('a'),
    ]),
  );
  assert.is(told(result), '(then put@3 (then put@3 (then put@3)) (else a,b,c,d@3) 1 deleted@3)');
  assert.is(store.machine.revision, 3);
  const subs = ['b', 'c', 'd', 'a'].map((name) => store.engine.latest(key(name))!);
  assert.equal(
    subs.map((record) => [record.modRevision, record.subRevision]),
    [0, 1, 2, 3].map((sub) => [3, sub]),
  );
});

test('comparisons of a branch that is not taken do not count, nor do its operations', () => {
  const store = filled('a');
  const no = compare('version', '>', 'none', 0);
  const inner = nested([put('x', '')], [], [put('y', '')]);
  const result = store.run(txn([], [no], [nested([inner], [no], [range('a')]), nested([])]));
  assert.is(told(result), '(else (else a@2) (then))');
  assert.is(store.machine.revision, 2);
});

test('results carry the revision at which their turn was over, as in etcd', () => {
  const store = filled('a');
  const operations = [
    range('a'),
    remove('no'),
    touch('non', 1),
    put('b', ''),
    remove('no'),
    touch('nor', 1),
    range('b'),
  ];
  const result = asTxn(store.run(txn([nested(operations), range('a')])));
  assert.equal(
    asTxn(result.results[0]!).results.map((one) => one.revision),
    [2, 2, 2, 3, 3, 3, 3],
  );
  assert.equal([result.revision, result.results[0]!.revision, result.results[1]!.revision], [3, 3, 3]);
});

test('writes that may run together must not share a key, unless all of them are deletes', () => {
  const cases: readonly (readonly [Meeting, readonly Operation[]])[] = [
    ['deletes', [remove('a'), remove('a')]],
    ['deletes', [remove('a', 'c'), remove('b')]],
    ['deletes', [remove('a', 'c'), remove('b', 'd'), put('d', '')]],
    ['deletes', [remove('a'), nested([remove('a')])]],
    ['apart', [remove('b', 'b'), put('b', '')]],
    ['apart', [remove('c', 'a'), put('b', '')]],
    ['apart', [nested([put('a', '')], [], [put('a', '')])]],
    ['apart', [nested([put('a', '')], [], [remove('a', 'c')])]],
    ['apart', [nested([put('a', '')], [], [nested([remove('a')], [], [put('a', '')])])]],
    ['apart', [nested([put('a', '')]), put('b', ''), nested([remove('c', 'd')])]],
    ['writes', [nested([put('a', ''), put('a', '')])]],
    ['writes', [nested([], [], [put('a', ''), remove('a', 'b')])]],
    ['writes', [put('a', ''), nested([], [], [put('a', '')])]],
    ['writes', [nested([put('a', '')]), nested([], [], [put('a', '')])]],
    ['writes', [nested([put('a', '')]), nested([remove('a')])]],
    ['writes', [nested([remove('a')]), nested([put('a', '')])]],
    ['writes', [nested([nested([touch('b', 1)])]), nested([], [], [remove('a', 'c')])]],
    ['writes', [remove('a', 'z'), remove('b', 'c'), nested([put('d', '')])]],
    ['writes', [nested([remove('a', 'z')], [], [remove('a', 'y')]), remove('b'), put('x', '')]],
    ['deletes', [nested([remove('a', 'z'), remove('b')])]],
  ];
  for (const [expected, operations] of cases) {
    assert.is(writesMeeting(operations), expected);
    const store = filled('a', 'b');
    const outcome = code(store.run(txn([], [compare('version', '=', 'a', 1)], operations)));
    assert.is(
      outcome === 'DUPLICATE_KEY',
      expected === 'writes',
      'a branch that is not taken is looked at, too',
    );
  }
});

test('where deletes meet, the later one finds less', () => {
  const store = filled('a', 'b', 'c', 'd');
  const result = store.run(
    txn([remove('b'), nested([remove('a', 'd', true)]), remove('a', 'z'), remove('b')]),
  );
  assert.is(told(result), '(then 1 deleted@6 (then 2 deleted@6) 1 deleted@6 0 deleted@6)');
  const inner = asTxn(asTxn(result).results[1]!).results[0];
  assert.ok(inner?.type === 'delete');
  if (inner?.type === 'delete')
    assert.equal(
      inner.previous.map((one) => keyName(one.key)),
      ['a', 'c'],
    );
  assert.equal(store.all(), []);
  assert.equal(
    ['b', 'a', 'c', 'd'].map((name) => store.engine.latest(key(name))!.subRevision),
    [0, 1, 2, 3],
  );
});

test('a comparison over a range holds for each key; one that holds no key is compared as a missing key', () => {
  const store = filled('a', 'b', 'c');
  const holds = (...compares: ReturnType<typeof compare>[]) => asTxn(store.run(txn([], compares))).succeeded;
  assert.ok(holds(compare('version', '=', 'a', 1, 'd')));
  assert.not(holds(compare('modRevision', '<', 'a', 4, 'd')));
  assert.ok(holds(compare('modRevision', '<', 'a', 4, 'c')));
  assert.ok(holds(compare('value', '!=', 'a', 'c', 'c')));
  assert.not(holds(compare('value', '!=', 'a', 'b', 'c')));
  assert.ok(holds(compare('version', '=', 'x', 0, 'y')));
  assert.ok(holds(compare('version', '=', 'c', 0, 'a')));
  assert.not(holds(compare('version', '>', 'x', 0, 'y')));
  assert.not(holds(compare('value', '!=', 'x', 'q', 'y')));
  const many = new Store({ maxDeleteRangeKeys: 2_000 });
  for (let i = 0; i < 600; i++) many.run(write(put(`k${i}`, i === 577 ? 'odd' : 'even')));
  assert.ok(asTxn(many.run(txn([], [compare('version', '=', 'k', 1, 'l')]))).succeeded);
  assert.not(asTxn(many.run(txn([], [compare('value', '=', 'k', 'even', 'l')]))).succeeded);
});

test('leases are compared as the signed numbers that etcd keeps', () => {
  const store = filled('a');
  store.run({ type: 'leaseGrant', id: NO_ID, lease: 2n ** 62n, ttlMs: 1e6 });
  store.run(write(put('b', '', { lease: 2n ** 62n })));
  const holds = (one: ReturnType<typeof compare>) => asTxn(store.run(txn([], [one]))).succeeded;
  assert.ok(holds(compare('lease', '=', 'b', 2n ** 62n)));
  assert.ok(holds(compare('lease', '<', 'b', 2n ** 62n + 1n)));
  assert.ok(holds(compare('lease', '>', 'a', 2n ** 64n - 1n)), '-1');
});

test('a put may leave value or lease as they are; a missing key refuses the whole', () => {
  const store = new Store();
  for (const lease of [5n, 6n]) store.run({ type: 'leaseGrant', id: NO_ID, lease, ttlMs: 1e6 });
  store.run(write(put('a', 'kept', { lease: 5n, ttlMs: 100 })));
  const previous = store.run(write(put('a', '', { ignoreValue: true, lease: 6n, prevKv: true })));
  assert.ok(previous.type === 'put' && previous.previous?.lease === 5n);
  let record = store.engine.latest(key('a'))!;
  assert.equal([shown(record), record.lease, record.expiresAtMs], [['a', 'kept', 2, 3, 2], 6n, 0]);
  store.run(txn([put('a', 'new', { ignoreLease: true })]));
  record = store.engine.latest(key('a'))!;
  assert.equal([text(record.value), record.lease], ['new', 6n]);
  store.run(txn([put('a', '', { ignoreLease: true, ignoreValue: true })]));
  assert.equal(shown(store.engine.latest(key('a'))), ['a', 'new', 2, 5, 4]);
  store.run(write(remove('a')));
  assert.is(code(store.run(write(put('a', '', { ignoreValue: true })))), 'KEY_NOT_FOUND');
  assert.is(
    code(store.run(txn([put('b', ''), nested([put('a', '', { ignoreLease: true })])]))),
    'KEY_NOT_FOUND',
  );
  const both = txn([range('b', undefined, { revision: 99 }), put('a', '', { ignoreLease: true })]);
  assert.is(code(store.run(both)), 'KEY_NOT_FOUND', 'puts are looked at before ranges, as in etcd');
  assert.is(code(store.run(txn([nested([put('b', '', { lease: 9n })])]))), 'LEASE_NOT_FOUND');
  // Where both are missing etcd tells of the lease by itself, of the key within a transaction.
  const twice = put('none', '', { ignoreValue: true, lease: 9n });
  assert.is(code(store.run(write(twice))), 'LEASE_NOT_FOUND');
  assert.is(code(store.run(txn([twice]))), 'KEY_NOT_FOUND');
  assert.is(store.machine.revision, 6);
});

test('nesting and the sum of all operations are bounded', () => {
  const store = new Store();
  let deep: Operation = put('a', '1');
  for (let level = 0; level < 3; level++) deep = nested([deep]);
  assert.is(told(store.run(txn([deep]))), '(then (then (then (then put@2))))');
  assert.is(code(store.run(txn([], [], [nested([deep])]))), 'TXN_TOO_DEEP');
  const half = nested(Array.from({ length: 15 }, () => range('a')));
  assert.is(store.run(txn([half, half])).type, 'txn');
  assert.is(code(store.run(txn([half, half, range('a')]))), 'TOO_MANY_OPERATIONS');
  assert.is(
    code(store.run(txn([nested([], [compare('version', '=', 'k'.repeat(66), 0)])]))),
    'KEY_TOO_LARGE',
  );
});

test('what comparisons and ranges look at and what deletes remove is bounded over the whole transaction', () => {
  const store = new Store({ maxDeleteRangeKeys: 4 });
  for (const name of ['a', 'b', 'c']) store.run(write(put(name, name)));
  const all = range('a', 'z', { countOnly: true });
  assert.is(store.run(txn([all])).type, 'txn');
  assert.is(code(store.run(txn([all, all]))), 'REQUEST_TOO_LARGE');
  assert.is(code(store.run(txn([all], [compare('version', '>', 'a', 0, 'z')]))), 'REQUEST_TOO_LARGE');
  const twice = [compare('version', '>', 'a', 0, 'z'), compare('version', '>', 'a', 0, 'z')];
  assert.is(code(store.run(txn([], twice))), 'REQUEST_TOO_LARGE');
  assert.is(store.run(txn([range('a', 'z', { limit: 1 }), range('a', 'z', { limit: 1 })])).type, 'txn');
  assert.is(code(store.run(txn([remove('a', 'z'), remove('a', 'z')]))), 'REQUEST_TOO_LARGE');
  assert.is(store.machine.revision, 4);
  assert.is(told(store.run(txn([remove('a', 'z'), remove('a')]))), '(then 3 deleted@5 0 deleted@5)');
});

test('what is put in a transaction counts against the result of the ranges that follow', () => {
  const big = 'v'.repeat(700);
  const store = new Store({ maxCommandBytes: 2_000 });
  const puts = [put('a', big), put('b', big)];
  assert.is(told(store.run(txn([...puts, range('a', 'c')]))), '(then put@2 put@2 a,b@2)');
  const again = [range('a', 'c'), range('a', 'c')];
  assert.is(code(store.run(txn([...puts, ...again]))), 'REQUEST_TOO_LARGE');
  assert.is(store.machine.revision, 2);
  const fresh = new Store({ maxCommandBytes: 2_000 });
  assert.is(code(fresh.run(txn([...puts, ...again]))), 'REQUEST_TOO_LARGE');
  const light = [
    range('a', 'c', { keysOnly: true }),
    range('a', 'c', { keysOnly: true }),
    range('a', 'c', { countOnly: true }),
    range('c', 'z'),
    range('a'),
  ];
  assert.is(told(fresh.run(txn([...puts, ...light]))), '(then put@2 put@2 a,b@2 a,b@2 @2 @2 a@2)');
  const cut = [range('a', 'z', { limit: 9 }), range('a', 'z', { limit: 9 })];
  const result = asTxn(new Store({ maxCommandBytes: 2_000 }).run(txn([...puts, ...cut])));
  assert.is(told(result), '(then put@2 put@2 a,b@2 @2)');
  assert.ok(result.results[3]?.type === 'range' && result.results[3].more);
});

test('a count looks past limit and filters; more does not', () => {
  const store = filled('a', 'b', 'c', 'd');
  const one = (more: Parameters<typeof range>[2]) => {
    const result = asTxn(store.run(txn([range('a', 'z', more)]))).results[0];
    if (result?.type !== 'range') throw new Error('no range');
    return `${result.records.map((record) => keyName(record.key))} ${result.more} ${result.count}`;
  };
  assert.is(one({ limit: 2 }), 'a,b true 2');
  assert.is(one({ limit: 2, counted: true }), 'a,b true 4');
  assert.is(one({ limit: 4, counted: true }), 'a,b,c,d false 4');
  assert.is(one({ countOnly: true, limit: 1, minModRevision: 90 }), ' false 4');
  assert.is(one({ counted: true, limit: 1, minModRevision: 4 }), 'c true 4');
  assert.is(one({ counted: true, limit: 1, minModRevision: 5 }), 'd false 4');
  assert.is(one({ limit: 2, sortTarget: 'modRevision', sortOrder: 'descend' }), 'd,c true 2');
  assert.is(one({ limit: 2, sortOrder: 'descend', counted: true, keysOnly: true }), 'd,c true 4');
  store.run(write(put('d', 'Z')));
  assert.is(one({ limit: 1, sortTarget: 'value', sortOrder: 'ascend' }), 'd true 1');
  assert.is(one({ limit: 1, sortTarget: 'value' }), 'a true 1', 'of the first keys, as in etcd');
  assert.is(one({ limit: 3, sortTarget: 'value' }), 'd,a,b true 3', 'one more key than the limit is sorted');
});

test.run();
