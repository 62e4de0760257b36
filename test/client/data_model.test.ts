/** Ranges, counts, transactions and reads of the past, through the public store: in this process and over TCP alike. */

import * as assert from 'uvu/assert';
import { jsonCodec } from '../../src/client/codecs.ts';
import type { KeyEntry, Store, TxnCompare, TxnOperation } from '../../src/client/store_types.ts';
import { connect } from '../../src/connect.ts';
import { type ErrorCode, KvError } from '../../src/errors.ts';
import { type OneServer, startOneServer } from '../api/conformance/one_server.ts';
import { test } from '../suite.ts';

const decoder = new TextDecoder();
const text = (bytes: Uint8Array | undefined): string | undefined => bytes && decoder.decode(bytes);
const keys = (entries: readonly KeyEntry<unknown>[]): string => entries.map(({ key }) => text(key)).join(' ');

let one: OneServer;
const stores: { readonly name: string; readonly store: Store }[] = [];

test.before(async () => {
  one = await startOneServer();
  stores.push({ name: 'embedded', store: one.embedded() });
  stores.push({ name: 'cluster', store: await connect({ endpoints: [one.tcp] }) });
});

test.after(async () => {
  for (const { store } of stores) if (store !== stores[0]?.store) await store.close();
  await one.stop();
});

/** With keys of its own for each kind of store. */
function onBoth(name: string, run: (store: Store, prefix: string) => Promise<void>): void {
  test(name, async () => {
    for (const { name: kind, store } of stores) {
      try {
        await run(store, `${name}/${kind}/`);
      } catch (error) {
        if (!(error instanceof KvError)) throw error;
        throw new Error(`${kind}: ${error.code}: ${error.message}`, { cause: error });
      }
    }
  });
}

async function rejects(promise: Promise<unknown>, code: ErrorCode): Promise<KvError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.instance(error, KvError, `a ${code}`);
  assert.is((error as KvError).code, code);
  return error as KvError;
}

/** a to e, with values 5 to 1; a written last, c twice. */
async function five(store: Store, prefix: string): Promise<number[]> {
  const revisions: number[] = [];
  const write = async (name: string, value: string): Promise<void> => {
    revisions.push((await store.put(prefix + name, value)).revision);
  };
  for (const [name, value] of ['b4', 'c9', 'd2', 'e1', 'c3', 'a5'].map((both) => [...both]))
    await write(name!, value!);
  return revisions;
}

onBoth('ranges are sorted, limited, filtered and counted', async (store, prefix) => {
  const revisions = await five(store, prefix);
  const all = await store.range({ prefix });
  assert.is(keys(all.entries).replaceAll(prefix, ''), 'a b c d e');
  assert.equal([all.more, all.count, all.revision], [false, 5, revisions[5]]);
  assert.equal(all.entries.map(({ value }) => text(value)).join(''), '54321');
  const shown = async (options: Parameters<Store['range']>[0]): Promise<string> => {
    const answer = await store.range({ prefix, ...options });
    return `${keys(answer.entries).replaceAll(prefix, '')} ${answer.count}${answer.more ? ' more' : ''}`;
  };
  assert.is(await shown({ sortOrder: 'descend' }), 'e d c b a 5');
  assert.is(await shown({ sortTarget: 'value' }), 'e d c b a 5');
  assert.is(await shown({ sortTarget: 'modRevision', sortOrder: 'descend' }), 'a c e d b 5');
  assert.is(await shown({ sortTarget: 'createRevision' }), 'b c d e a 5');
  assert.is(await shown({ sortTarget: 'version', sortOrder: 'descend', limit: 2 }), 'c a 2 more');
  assert.is(await shown({ limit: 2 }), 'a b 2 more');
  assert.is(await shown({ limit: 2, counted: true }), 'a b 5 more');
  assert.is(await shown({ limit: 5, counted: true }), 'a b c d e 5');
  assert.is(await shown({ minModRevision: revisions[3]! }), 'a c e 3');
  assert.is(await shown({ minModRevision: revisions[3]!, maxModRevision: revisions[4]! }), 'c e 2');
  assert.is(await shown({ maxCreateRevision: revisions[1]!, counted: true }), 'b c 5');
  assert.is(await shown({ minCreateRevision: revisions[5]! }), 'a 1');
  assert.is(await shown({ revision: revisions[1]! }), 'b c 2');
  assert.is(await shown({ countOnly: true }), ' 5');
  assert.is(await shown({ start: `${prefix}b`, end: `${prefix}d` }), 'b c 2');
  for (const level of ['linearizable', 'sequential', 'eventual'] as const)
    assert.is(await shown({ level, limit: 1 }), 'a 1 more');
  const single = await store.range({ key: `${prefix}c` });
  assert.equal([keys(single.entries), single.count], [`${prefix}c`, 1]);
  const none = await store.range({ start: 'z', end: 'a' });
  assert.equal([none.entries.length, none.count, none.more], [0, 0, false]);
  assert.ok(none.revision >= revisions[5]!, 'an empty range tells the revision, too');
  assert.is(await store.count({ prefix }), 5);
  assert.is(await store.count({ prefix, revision: revisions[2]! }), 3);
  assert.is(await store.count({ key: `${prefix}c` }), 1);
  assert.is(await store.count({ key: `${prefix}x` }), 0);
});

onBoth(
  'entries without values have none, also where a codec could not read nothing',
  async (store, prefix) => {
    const typed = store.withCodec(jsonCodec<{ n: number }>());
    await typed.put(`${prefix}a`, { n: 1 });
    const { entries } = await typed.range({ prefix, keysOnly: true });
    const value: undefined = entries[0]!.value;
    assert.is(value, undefined);
    for await (const entry of typed.scan({ prefix, keysOnly: true })) assert.is(entry.value, undefined);
    const full = await typed.range({ prefix });
    assert.is(full.entries[0]!.value.n, 1);
    const { results } = await typed.txn({ then: [{ type: 'range', prefix, keysOnly: true }] });
    assert.is(results[0]?.type === 'range' && results[0].entries[0]!.value, undefined);
  },
);

onBoth('what makes no sense is refused before it is sent', async (store, prefix) => {
  const refused = (promise: Promise<unknown>): Promise<KvError> => rejects(promise, 'INVALID_ARGUMENT');
  await refused(store.range({ limit: 0 }));
  await refused(store.range({ limit: 1.5 }));
  await refused(store.range({ minModRevision: -1 }));
  await refused(store.range({ key: 'a', prefix: 'b' }));
  await refused(store.range({ sortTarget: 'size' as 'key' }));
  await refused(store.range({ sortOrder: 'up' as 'ascend' }));
  await refused(store.range({ revision: 1, atTimeMs: 1 }));
  await refused(store.get('a', { atTimeMs: -1 }));
  const then = [{ type: 'get', key: 'a' }] as const;
  const compares: object[] = [
    { key: 'a' },
    { version: 1 },
    { key: 'a', prefix: 'b', version: 1 },
    { prefix: 'a', end: 'b', version: 1 },
    { key: 'b', end: 'a', version: 1 },
    { key: 'a', version: -1 },
    { key: 'a', version: 1, is: '~' },
    { key: 'a', lease: 1 },
    { key: 'a', lease: 2n ** 63n },
    { key: 'a', exists: 1 },
  ];
  for (const compare of compares) await refused(store.txn({ compare: [compare as TxnCompare], then }));
  const operations: object[] = [
    { type: 'put', key: 'a' },
    { type: 'put', key: 'a', value: 'x', ignoreValue: true },
    { type: 'deleteRange', start: 'b', end: 'a' },
    { type: 'range', limit: -1 },
    { type: 'txn', then: 'a' },
    { type: 'list' },
  ];
  for (const operation of operations) await refused(store.txn({ then: [operation as TxnOperation] }));
  let deep: TxnOperation = { type: 'put', key: `${prefix}deep`, value: '1' };
  for (let i = 0; i < 9; i++) deep = { type: 'txn', then: [deep] };
  await rejects(store.txn({ then: [deep] }), 'TXN_TOO_DEEP');
  for (let i = 0; i < 30; i++) deep = { type: 'txn', then: [deep] };
  await rejects(store.txn({ then: [deep] }), 'TXN_TOO_DEEP');
  assert.is(await store.get(`${prefix}deep`), undefined);
});

onBoth(
  'transactions nest, read ranges, compare ranges and leases, and tell what they replaced',
  async (store, prefix) => {
    await five(store, prefix);
    const key = (name: string): string => prefix + name;
    const answer = await store.txn({
      compare: [
        { prefix, version: 0, is: '>' },
        { key: key('a'), end: key('c'), lease: 0n },
        { key: key('a'), end: key('c'), value: '3', is: '>' },
        { prefix: `${prefix}z`, exists: false },
      ],
      then: [
        { type: 'put', key: key('a'), value: 'new', prevKv: true },
        { type: 'put', key: key('b'), ignoreValue: true, ttlMs: 60_000, prevKv: true },
        { type: 'range', prefix, sortTarget: 'value', limit: 2, counted: true },
        {
          type: 'txn',
          compare: [{ key: key('a'), value: 'new' }],
          then: [{ type: 'get', key: key('a') }],
          else: [
            { type: 'get', key: key('a') },
            { type: 'deleteRange', start: key('d'), end: key('f'), prevKv: true },
            { type: 'txn', then: [{ type: 'range', prefix, countOnly: true }] },
          ],
        },
        { type: 'delete', key: key('c'), prevKv: true },
        { type: 'delete', key: key('nothing'), prevKv: true },
        { type: 'put', key: key('g'), value: 'x', prevKv: true },
        { type: 'touch', key: key('absent'), ttlMs: 5 },
      ],
    });
    assert.is(answer.succeeded, true);
    const [put, kept, range, nested, deleted, nothing, fresh, touched] = answer.results;
    assert.is((await store.getEntry(key('a')))?.lease, undefined, 'attached to none');
    assert.equal([put?.type, put?.type === 'put' && text(put.previous?.value)], ['put', '5']);
    assert.is(kept?.type === 'put' && text(kept.previous?.value), '4');
    const entry = await store.getEntry(key('b'), { revision: answer.revision });
    assert.equal([text(entry?.value), entry?.version, entry?.expiresAtMs === undefined], ['4', 2, false]);
    if (range?.type !== 'range') throw new Error('no range');
    assert.equal([keys(range.entries).replaceAll(prefix, ''), range.more, range.count], ['e d', true, 5]);
    if (nested?.type !== 'txn') throw new Error('no txn');
    // Comparisons see the store as it was before the whole, operations what those before them wrote.
    assert.is(nested.succeeded, false);
    const [got, removed, inner] = nested.results;
    assert.is(got?.type === 'get' && text(got.entry?.value), 'new');
    if (removed?.type !== 'delete') throw new Error('no delete');
    assert.equal([removed.deleted, removed.previous?.map(({ value }) => text(value)).join('')], [2, '21']);
    assert.equal(inner, {
      type: 'txn',
      succeeded: true,
      results: [{ type: 'range', entries: [], more: false, count: 3 }],
    });
    assert.is(deleted?.type === 'delete' && text(deleted.previous?.[0]?.value), '3');
    assert.equal(nothing, { type: 'delete', deleted: 0, previous: [] });
    assert.equal(fresh, { type: 'put' });
    assert.equal(touched, { type: 'touch', found: false });
    await rejects(
      store.txn({ then: [{ type: 'put', key: key('none'), ignoreValue: true }] }),
      'KEY_NOT_FOUND',
    );
    const ignoreLease = await store.txn({
      then: [{ type: 'put', key: key('a'), value: '1', ignoreLease: true }],
    });
    assert.equal(ignoreLease.results, [{ type: 'put' }]);
    const twice = [key('h'), key('h')].map((one) => ({ type: 'put', key: one, value: '1' }) as const);
    await rejects(store.txn({ then: [{ type: 'txn', then: [twice[0]!] }, twice[1]!] }), 'DUPLICATE_KEY');
  },
);

onBoth('the past is read by revision and by time, by every read', async (store, prefix) => {
  const key = `${prefix}k`;
  await store.put(key, 'old');
  const before = one.server.service.status().revision;
  const { revision } = await store.put(`${prefix}l`, 'old');
  // A second of the store's clock: what is written later is later than this.
  const atTimeMs = await timeOf(store, revision);
  await until(() => Date.now() > atTimeMs + 1_100);
  await store.put(key, 'new');
  await store.put(`${prefix}m`, 'new');
  assert.is(text(await store.get(key, { atTimeMs })), 'old');
  assert.is(text((await store.getEntry(key, { atTimeMs, level: 'eventual' }))?.value), 'old');
  assert.is(keys((await store.range({ prefix, atTimeMs })).entries).replaceAll(prefix, ''), 'k l');
  assert.is(await store.count({ prefix, atTimeMs }), 2);
  const scanned: KeyEntry[] = [];
  for await (const entry of store.scan({ prefix, atTimeMs })) scanned.push(entry);
  assert.is(keys(scanned).replaceAll(prefix, ''), 'k l');
  assert.is(await store.count({ prefix, revision: before }), 1);
  assert.is(text(await store.get(key)), 'new');
  await rejects(store.get(key, { atTimeMs: Date.now() + 3_600_000 }), 'FUTURE_REVISION');
  assert.is(
    await store.count({ prefix, atTimeMs: 1 }),
    0,
    'nothing is compacted: the beginning of all is known',
  );
});

/** The store's time when it had come to a revision, and nothing more: looked for with reads. */
async function timeOf(store: Store, revision: number): Promise<number> {
  for (;;) {
    const now = Date.now();
    try {
      const { revision: shown } = await store.range({ atTimeMs: now, limit: 1 });
      if (shown === revision) return now;
    } catch (error) {
      if (!(error instanceof KvError) || error.code !== 'FUTURE_REVISION') throw error;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

onBoth('a scan of the past goes on where it began, page after page', async (store, prefix) => {
  const written: { type: 'put'; key: string; value: string }[] = [];
  for (let i = 0; i < 2_500; i++)
    written.push({ type: 'put', key: `${prefix}${String(i).padStart(5, '0')}`, value: 'v' });
  const { revision } = await store.batch(written);
  const atTimeMs = await timeOf(store, revision);
  let count = 0;
  for await (const { modRevision } of store.scan({ prefix, atTimeMs, reverse: true })) {
    if (count++ === 500) await store.put(`${prefix}99999`, 'later');
    assert.is(modRevision, revision);
  }
  assert.is(count, 2_500);
});

test.run();
