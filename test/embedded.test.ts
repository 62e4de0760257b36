/** The embedded store on a real disk: what `open` promises. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { jsonCodec, type KvError, open } from '../src/index.ts';
import { test } from './suite.ts';

const decoder = new TextDecoder();
const text = (bytes: Uint8Array | undefined): string | undefined => bytes && decoder.decode(bytes);

async function inDirectory(run: (path: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'kvorum-embedded-'));
  try {
    await run(join(directory, 'data'));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

for (const durability of ['fsync', 'os', 'relaxed'] as const) {
  test(`what was written before a close is there after the next open (${durability})`, () =>
    inDirectory(async (path) => {
      const config = { storage: { durability } };
      let revision = 0;
      {
        await using store = await open({ path, config });
        for (let i = 0; i < 200; i++) await store.put(`k${i}`, `v${i}`);
        revision = (await store.delete('k7')).revision;
      }
      await using store = await open({ path, config });
      assert.is(text(await store.get('k199')), 'v199');
      assert.is(await store.get('k7'), undefined);
      assert.is((await store.put('next', '1')).revision, revision + 1);
    }));
}

test('put, get, scan, batch, txn, touch and watch work together', () =>
  inDirectory(async (path) => {
    await using store = await open({ path });
    await store.batch([
      { type: 'put', key: 'a/1', value: '1' },
      { type: 'put', key: 'a/2', value: '2' },
      { type: 'put', key: 'b/1', value: '3' },
    ]);
    const keys: string[] = [];
    for await (const { key } of store.scan({ prefix: 'a/', reverse: true })) keys.push(text(key)!);
    assert.equal(keys, ['a/2', 'a/1']);

    const swap = await store.txn({
      compare: [{ key: 'a/1', value: '1' }],
      then: [
        { type: 'put', key: 'a/1', value: 'one' },
        { type: 'get', key: 'a/1' },
      ],
      else: [{ type: 'get', key: 'b/1' }],
    });
    assert.is(swap.succeeded, true);
    const again = await store.txn({
      compare: [{ key: 'a/1', value: '1' }],
      then: [],
      else: [{ type: 'get', key: 'b/1' }],
    });
    assert.is(again.succeeded, false);
    assert.is(again.results[0]?.type, 'get');

    const events: string[] = [];
    for await (const event of store.watch({ prefix: 'a/', fromRevision: 2 })) {
      events.push(`${event.type} ${text(event.key)} ${text(event.value)}`);
      if (events.length === 3) break;
    }
    assert.equal(events, ['put a/1 1', 'put a/2 2', 'put a/1 one']);
    assert.is(await store.touch('a/2', { ttlMs: 50_000 }), true);
    assert.ok((await store.getEntry('a/2'))!.expiresAtMs! > Date.now());
  }));

test('a store is looked after: history, hashes, alarms, quotas', () =>
  inDirectory(async (path) => {
    await using store = await open({ path });
    const code = (call: Promise<unknown>) =>
      call.then(
        () => 'fine',
        (error: KvError) => error.code,
      );
    for (const value of ['1', '2', '3']) await store.put('a', value);
    const { revision } = await store.put('b', '1');
    const before = await store.upkeep.nodeHash();
    assert.equal([before.revision, before.versions], [revision, 4]);
    assert.is(await store.upkeep.compact(revision, { physical: true }), revision);
    assert.is(await code(store.get('a', { revision: revision - 1 })), 'COMPACTED');
    assert.is(await code(store.upkeep.compact(revision + 1)), 'FUTURE_REVISION');
    assert.is(await code(store.upkeep.compact(-1)), 'INVALID_ARGUMENT');
    const { members, differing, compactRevision } = await store.upkeep.hash();
    assert.equal([members.length, members[0]?.hash?.versions, differing], [1, 2, []]);
    assert.is(compactRevision, revision);
    assert.equal(await store.upkeep.changeAlarm('raise', { type: 'nospace', member: 1 }), {
      type: 'nospace',
      member: 1,
      byNode: false,
    });
    assert.is(await code(store.put('c', '1')), 'ALARM_NO_SPACE');
    assert.is((await store.upkeep.alarms()).length, 1);
    assert.is((await store.upkeep.changeAlarm('clear', { type: 'nospace', member: 1 }))?.member, 1);
    assert.is(await store.upkeep.changeAlarm('clear', { type: 'nospace', member: 1 }), undefined);
    assert.is(
      await code(store.upkeep.changeAlarm('raise', { type: 'smoke' as never, member: 1 })),
      'INVALID_ARGUMENT',
    );
    await store.upkeep.setQuota('user/', { maxKeys: 1 });
    const [quota] = await store.upkeep.quotas();
    assert.is(Buffer.from(quota?.prefix ?? '').toString(), 'user/');
    assert.equal([quota?.maxKeys, quota?.maxBytes, quota?.maxRequestsPerSecond], [1, 0, 0]);
    await store.upkeep.removeQuota('user/');
    assert.equal(await store.upkeep.quotas(), []);
    assert.is(await code(store.upkeep.removeQuota('user/')), 'NOT_FOUND');
  }));

test('a codec turns values into objects and back', () =>
  inDirectory(async (path) => {
    const bytes = await open({ path });
    const store = bytes.withCodec(jsonCodec<{ name: string }>());
    await store.put('user', { name: 'Ada' });
    assert.equal(await store.get('user'), { name: 'Ada' });
    assert.is(text(await bytes.get('user')), '{"name":"Ada"}');
    await store.close();
  }));

test('many callers at once, values of every size, all are there after a reopen', () =>
  inDirectory(async (path) => {
    const sizes = [0, 1, 100, 5_000, 70_000, 3_000_000];
    {
      await using store = await open({ path });
      await Promise.all(
        Array.from({ length: 120 }, (_, i) => store.put(`k${i}`, Buffer.alloc(sizes[i % sizes.length]!, i))),
      );
    }
    await using store = await open({ path });
    for (let i = 0; i < 120; i++) {
      const value = await store.get(`k${i}`);
      assert.is(value?.length, sizes[i % sizes.length]);
      assert.ok(value!.every((byte) => byte === i));
    }
  }));

test('what is read is a copy: changing it, or writing on, does not change the other', () =>
  inDirectory(async (path) => {
    await using store = await open({ path });
    await store.put('x', 'before');
    const value = await store.get('x');
    await store.put('x', 'after!');
    assert.is(text(value), 'before');
    value!.fill(0);
    assert.is(text(await store.get('x')), 'after!');
  }));

test('a second open of the same directory is refused, and a closed store says so', () =>
  inDirectory(async (path) => {
    const store = await open({ path });
    await open({ path }).then(
      () => assert.unreachable('opened twice'),
      (error: KvError) => {
        assert.is(error.code, 'LOCKED');
        assert.ok(error.message.includes(String(process.pid)));
      },
    );
    await store.close();
    await store.put('x', '1').then(
      () => assert.unreachable('wrote to a closed store'),
      (error: KvError) => assert.is(error.code, 'CLOSED'),
    );
    await (await open({ path })).close();
  }));

test('wrong settings are named', async () => {
  await open({ path: '/nowhere', config: { storage: { durability: 'maybe' as 'fsync' } } }).then(
    () => assert.unreachable('opened'),
    (error: KvError) => {
      assert.is(error.code, 'CONFIG_INVALID');
      assert.match(error.message, 'storage.durability');
      assert.match(error.message, 'fsync, os, relaxed');
    },
  );
});

test.run();
