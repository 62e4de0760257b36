/** Quotas: their numbers are exact whatever writes, they refuse what grows past them and nothing else, and they are part of the state. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import type { Command, Operation } from '../../src/kv/command.ts';
import { MAX_QUOTAS, QuotaTable, shownPrefix } from '../../src/kv/quotas.ts';
import { decodeCommand, encodeCommand } from '../../src/wire/command_codec.ts';
import { decodeState, encodeState } from '../../src/wire/state_codec.ts';
import { test } from '../suite.ts';
import {
  bytes,
  code,
  compare,
  key,
  keyName,
  NO_ID,
  nested,
  put,
  remove,
  Store,
  touch,
  txn,
  write,
} from './commands.ts';

function quota(prefix: string, maxBytes: number, maxKeys: number): Command {
  return { type: 'quota', prefix: key(prefix), limits: { maxBytes, maxKeys, maxRequestsPerSecond: 0 } };
}
function usage(store: Store, prefix: string, revision = store.machine.revision): [number, number] {
  const everything = { start: Uint8Array.of(1), end: Uint8Array.of(2) };
  let total = 0;
  let keys = 0;
  for (const record of store.engine.range(everything, revision, false, 1e9)) {
    if (!keyName(record.key).startsWith(prefix)) continue;
    total += record.key.length - 1 + record.value.length;
    keys++;
  }
  return [total, keys];
}
/** As the leader does it. */
function countAll(store: Store): void {
  for (const { prefix, countingFrom: revision } of store.machine.quotas.list) {
    if (revision === 0) continue;
    const [total, keys] = usage(store, keyName(prefix), revision);
    store.run({ type: 'quotaCounted', prefix, revision, bytes: total, keys });
  }
}
function limited(prefix: string, maxBytes: number, maxKeys: number): Store {
  const store = new Store();
  store.run(quota(prefix, maxBytes, maxKeys));
  countAll(store);
  return store;
}

test('what would take a prefix past its bytes or keys is refused whole; what shrinks it, and deletes, pass', () => {
  const store = limited('a/', 20, 3);
  assert.is(code(store.run(write(put('a/1', '1234567')))), 'fine');
  assert.is(code(store.run(write(put('a/2', '1234567')))), 'fine');
  assert.is(code(store.run(write(put('a/3', '')))), 'QUOTA_EXCEEDED');
  assert.is(code(store.run(write(put('b/3', 'elsewhere')))), 'fine');
  assert.is(code(store.run(write(put('a/2', '12345678')))), 'QUOTA_EXCEEDED');
  const before = store.machine.revision;
  assert.is(code(store.run(txn([put('b/4', 'x'), nested([put('a/3', 'x')])]))), 'QUOTA_EXCEEDED');
  assert.is(store.machine.revision, before);
  assert.is(store.get('b/4'), undefined, 'not half of it');
  assert.is(code(store.run(txn([put('a/3', ''), remove('a/1')]))), 'fine', 'what counts is the sum');
  assert.is(code(store.run(quota('a/', 5, 1))), 'fine', 'a quota may be set below what there is');
  assert.is(code(store.run(write(put('a/2', '123')))), 'fine', 'smaller, though still too large');
  assert.is(code(store.run(write(put('a/2', '321')))), 'fine', 'as large as it was');
  assert.is(code(store.run(write(touch('a/2', 50)))), 'fine');
  assert.is(code(store.run(write(put('a/2', '3214')))), 'QUOTA_EXCEEDED');
  assert.is(code(store.run(write(put('a/2', 'longer', { prevKv: true })))), 'QUOTA_EXCEEDED');
  assert.is(code(store.run(write(remove('a/', 'a0')))), 'fine');
  assert.is(code(store.run(write(put('a/1', '12')))), 'fine');
  assert.is(code(store.run(write(put('a/2', '')))), 'QUOTA_EXCEEDED');
  assert.equal(usage(store, 'a/'), [5, 1]);
});

test('the refusal says what is allowed and what there is; a retry of it gets the same answer', () => {
  const store = limited('a/"\u00e9', 0, 1);
  store.run(write(put('a/"\u00e91', '')));
  store.run({ type: 'openSession' });
  const id = { session: store.index, sequence: 1, acknowledgedBelow: 1 };
  const refused = store.run(write(put('a/"\u00e92', ''), id));
  assert.equal(refused, {
    type: 'failed',
    revision: 2,
    code: 'QUOTA_EXCEEDED',
    message: 'the quota of "a/\\x22\\xc3\\xa9" allows 1 keys: there are 1, 1 would be added',
  });
  store.run(write(remove('a/"\u00e91')));
  assert.equal(store.run(write(put('a/"\u00e92', ''), id)), refused);
  assert.is(shownPrefix(key('x'.repeat(70))), `"${'x'.repeat(64)}"...`);
});

test('keys that expire, and those of a lease that ends, make room', () => {
  const store = limited('', 0, 2);
  store.run({ type: 'leaseGrant', id: NO_ID, lease: 1n, ttlMs: 500 });
  store.run(write(put('a', 'x', { lease: 1n })));
  store.run(write(put('b', 'x', { ttlMs: 500 })));
  assert.is(code(store.run(write(put('c', 'x')))), 'QUOTA_EXCEEDED');
  store.timeMs += 500;
  store.run({ type: 'expire', keys: [key('b')] });
  assert.is(code(store.run(write(put('c', 'x')))), 'fine');
  store.run({ type: 'leaseExpire', leases: [1n] });
  assert.is(code(store.run(write(put('d', 'x')))), 'fine');
  assert.is(code(store.run(write(put('e', 'x')))), 'QUOTA_EXCEEDED');
});

test('a quota is enforced from the moment at which all that lay under it before is counted', () => {
  const store = new Store();
  for (const name of ['a1', 'a2', 'b1']) store.run(write(put(name, '12')));
  store.run(quota('a', 0, 2));
  const [counting] = store.machine.quotas.capture();
  store.run(write(put('a3', '1')));
  store.run(write(remove('a1')));
  const revision = counting!.countingFrom;
  const count: Command = { type: 'quotaCounted', prefix: key('a'), revision, bytes: 8, keys: 2 };
  store.run({ ...count, revision: revision + 1 });
  store.run({ ...count, prefix: key('b') });
  assert.is(store.machine.quotas.capture()[0]!.countingFrom, revision, 'a count of something else');
  store.run(count);
  store.run(count);
  const [counted] = store.machine.quotas.capture();
  assert.equal([counted!.countingFrom, counted!.bytes, counted!.keys], [0, 7, 2], 'counted once');
  assert.is(code(store.run(write(put('a4', '')))), 'QUOTA_EXCEEDED');
});

test('a compaction past the revision that is to be counted begins the count anew', () => {
  const store = new Store();
  store.run(write(put('a1', '12')));
  store.run(quota('a', 0, 2));
  store.run(write(put('a2', '1')));
  store.run({ type: 'compact', revision: 2 });
  assert.is(store.machine.quotas.list[0]!.countingFrom, 2);
  store.run({ type: 'compact', revision: 3 });
  assert.equal(store.machine.quotas.capture()[0]!.countingFrom, 3);
  store.run(write(remove('a1')));
  countAll(store);
  assert.equal(usage(store, 'a'), [3, 1]);
  assert.equal(store.machine.quotas.capture()[0]!.bytes, 3);
});

test('quotas are bounded in number; one that is not there cannot be removed', () => {
  const store = new Store();
  for (let i = 0; i < MAX_QUOTAS; i++) assert.is(code(store.run(quota(`q${i}`, 1, 1))), 'fine');
  assert.is(code(store.run(quota('one more', 1, 1))), 'OVERLOADED');
  assert.is(code(store.run(quota('q7', 2, 2))), 'fine');
  assert.is(code(store.run({ type: 'quota', prefix: key('x'), limits: undefined })), 'NOT_FOUND');
  assert.is(code(store.run({ type: 'quota', prefix: key('q7'), limits: undefined })), 'fine');
  assert.is(code(store.run(quota('one more', 1, 1))), 'fine');
});

test('with rights enforced, only root sets quotas, and what a leader counts needs no name', () => {
  const store = limited('a', 0, 1);
  const command = quota('a', 0, 2);
  if (command.type !== 'quota') throw new Error('unreachable');
  for (const change of [
    { type: 'userAdd', user: 'root', passwordHash: undefined },
    { type: 'roleAdd', role: 'root' },
    { type: 'userGrantRole', user: 'root', role: 'root' },
    { type: 'userAdd', user: 'eve', passwordHash: undefined },
    { type: 'enable', secret: new Uint8Array(32) },
  ] as const) {
    store.run({ type: 'authChange', change });
  }
  if (!store.machine.auth.enabled) throw new Error('rights are not enforced');
  const as = (user: string): Command => {
    const { generation } = store.machine.auth.user(user)!;
    return { type: 'asUser', user, generation, command };
  };
  assert.is(code(store.run(command)), 'AUTH_STALE');
  assert.is(code(store.run(as('eve'))), 'PERMISSION_DENIED');
  assert.is(code(store.run(as('root'))), 'fine');
  assert.is(
    code(store.run({ type: 'quotaCounted', prefix: key('a'), revision: 1, bytes: 0, keys: 0 })),
    'fine',
  );
});

const RUNS = Number(process.env['KVORUM_QUOTA_RUNS'] ?? 200);
const prefixes = ['', 'a', 'a/', 'a/b', 'a/b/c', 'b', 'ab'];
const names = fc.constantFrom('a', 'a/1', 'a/b', 'a/b/1', 'a/b/c', 'a/b/c/d', 'ab1', 'b', 'b/1', 'c');
const value = fc.integer({ min: 0, max: 12 }).map((length) => 'v'.repeat(length));
const puts = fc
  .record({
    name: names,
    value,
    lease: fc.constantFrom(0n, 0n, 1n),
    ttlMs: fc.constantFrom(0, 0, 30),
    ...bools(),
  })
  .map(({ name, value: one, ignoreValue, ...more }) =>
    put(name, ignoreValue ? '' : one, { ...more, ignoreValue }),
  );
function bools() {
  return { prevKv: fc.boolean(), ignoreValue: fc.constantFrom(false, false, false, true) };
}
const removes = fc
  .tuple(names, fc.option(names, { nil: undefined }))
  .map(([from, to]) => remove(from, to === undefined || to <= from ? undefined : to));
const simple: fc.Arbitrary<Operation> = fc.oneof(
  puts,
  puts,
  removes,
  names.map((name) => touch(name, 20)),
);
const inner = fc
  .tuple(fc.array(simple, { maxLength: 2 }), fc.array(simple, { maxLength: 2 }), names)
  .map(([success, failure, name]) => nested(success, [compare('version', '>', name, 0)], failure));
const commands: fc.Arbitrary<Command> = fc.oneof(
  { weight: 8, arbitrary: fc.oneof(puts, puts, removes).map((one) => write(one)) },
  { weight: 6, arbitrary: fc.array(fc.oneof(simple, inner), { maxLength: 4 }).map((list) => txn(list)) },
  { weight: 1, arbitrary: fc.uniqueArray(names, { maxLength: 4 }).map(expireOf) },
  { weight: 1, arbitrary: fc.constant<Command>({ type: 'leaseGrant', id: NO_ID, lease: 1n, ttlMs: 40 }) },
  { weight: 1, arbitrary: fc.constant<Command>({ type: 'leaseRevoke', id: NO_ID, lease: 1n }) },
  { weight: 1, arbitrary: fc.constant<Command>({ type: 'leaseExpire', leases: [1n] }) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.constantFrom(...prefixes), fc.nat(40), fc.nat(5))
      .map(([prefix, maxBytes, maxKeys]) => quota(prefix, maxBytes, maxKeys)),
  },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom(...prefixes)
      .map((prefix): Command => ({ type: 'quota', prefix: key(prefix), limits: undefined })),
  },
);
function expireOf(list: string[]): Command {
  return { type: 'expire', keys: list.map(key) };
}
/** count: the leader has counted. compact: so many revisions stay. again: the state goes through its bytes into another machine. */
type Step = Command | 'count' | 'again' | { readonly keep: number };
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 12, arbitrary: commands },
    { weight: 3, arbitrary: fc.constantFrom<Step>('count', 'count', 'again') },
    { weight: 1, arbitrary: fc.record({ keep: fc.nat(3) }) },
  ),
  { minLength: 5, maxLength: 60, size: 'max' },
);

/** The store without quotas, for what a command would do. */
function unlimited(store: Store): Store {
  const copy = new Store();
  for (const chain of store.engine.chains)
    copy.engine.chains.push({ ...chain, versions: [...chain.versions] });
  const { quotas: _, ...state } = store.machine.captureState();
  copy.machine.restore(state);
  copy.timeMs = store.timeMs;
  return copy;
}

/** What the command must be answered with. */
function expected(store: Store, command: Command): string {
  const free = unlimited(store);
  const answer = code(free.run(command));
  if (answer !== 'fine' || (command.type !== 'write' && command.type !== 'txn')) return answer;
  for (const { prefix, maxBytes, maxKeys, countingFrom } of store.machine.quotas.list) {
    if (countingFrom !== 0) continue;
    const [bytesBefore, keysBefore] = usage(store, keyName(prefix));
    const [bytesAfter, keysAfter] = usage(free, keyName(prefix));
    if (maxBytes > 0 && bytesAfter > bytesBefore && bytesAfter > maxBytes) return 'QUOTA_EXCEEDED';
    if (maxKeys > 0 && keysAfter > keysBefore && keysAfter > maxKeys) return 'QUOTA_EXCEEDED';
  }
  return 'fine';
}

function checkNumbers(store: Store): void {
  for (const { prefix, countingFrom, bytes: total, keys } of store.machine.quotas.list) {
    const [bytesNow, keysNow] = usage(store, keyName(prefix));
    const [bytesThen, keysThen] = countingFrom === 0 ? [0, 0] : usage(store, keyName(prefix), countingFrom);
    assert.equal(
      [total, keys],
      [bytesNow - bytesThen, keysNow - keysThen],
      `usage of ${shownPrefix(prefix)}`,
    );
  }
}

test('random histories: the numbers are those of the store, and refused is exactly what would grow past a quota', () => {
  const tally = new Map<string, number>();
  fc.assert(
    fc.property(steps, (history) => {
      let store = new Store();
      for (const step of history) {
        store.timeMs += 7;
        if (step === 'count') countAll(store);
        else if (step === 'again') {
          const next = new Store();
          for (const chain of store.engine.chains) next.engine.chains.push(chain);
          next.index = store.index;
          next.timeMs = store.timeMs;
          const encoded = encodeState(store.machine.captureState());
          next.machine.restore(decodeState(encoded));
          assert.equal(encodeState(next.machine.captureState()), encoded);
          store = next;
        } else if ('keep' in step) {
          store.run({ type: 'compact', revision: Math.max(0, store.machine.revision - step.keep) });
        } else {
          const command = decodeCommand(encodeCommand(step));
          const removesOrSets = command.type === 'quota';
          const wanted = removesOrSets ? undefined : expected(store, command);
          const got = code(store.run(command));
          if (wanted !== undefined) assert.is(got, wanted);
          tally.set(got, (tally.get(got) ?? 0) + 1);
        }
        checkNumbers(store);
      }
    }),
    { numRuns: RUNS },
  );
  assert.ok(
    (tally.get('QUOTA_EXCEEDED') ?? 0) > 20 && (tally.get('fine') ?? 0) > 1_000,
    `the test meets both: ${JSON.stringify([...tally])}`,
  );
});

test('the quotas of a key are those whose prefix it begins with, however prefixes lie in each other', () => {
  const binary = fc
    .array(fc.constantFrom(1, 2, 255), { maxLength: 5 })
    .map((rest) => Uint8Array.from([1, ...rest]));
  fc.assert(
    fc.property(fc.uniqueArray(binary, { selector: String, maxLength: 12 }), binary, (all, one) => {
      const table = new QuotaTable();
      for (const prefix of all) table.set(prefix, { maxBytes: 0, maxKeys: 0, maxRequestsPerSecond: 0 }, 1);
      table.note(one, 5, 1);
      for (const { prefix, keys } of table.list) {
        const within = prefix.every((byte, at) => one[at] === byte) && prefix.length <= one.length;
        assert.is(keys, within ? 1 : 0);
      }
      assert.is(
        table.covers(one),
        table.list.some(({ keys }) => keys > 0),
      );
    }),
  );
});

test('bytes that no state can hold are refused', () => {
  const store = limited('a', 5, 5);
  const state = store.machine.captureState();
  const spoiled = [
    [{ ...state.quotas![0]!, countingFrom: 99 }],
    [{ ...state.quotas![0]!, prefix: bytes('system') }],
    [state.quotas![0]!, state.quotas![0]!],
  ];
  for (const quotas of spoiled) {
    assert.throws(
      () => decodeState(encodeState({ ...state, quotas })),
      (error: { code?: string }) => error.code === 'PROTOCOL',
    );
  }
});

test.run();
