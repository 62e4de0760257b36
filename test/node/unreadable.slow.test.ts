/**
 * A disk that refuses reads of tables: whatever needs the bytes fails with CORRUPT that names the place and keeps what the disk said, all else goes on, and nothing is
 * logged that could not be applied.
 */

import * as assert from 'uvu/assert';
import type { ConfigInput } from '../../src/config.ts';
import { KvError } from '../../src/errors.ts';
import { DiskError } from '../../src/storage/disk.ts';
import type { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { test } from '../suite.ts';
import { ClusterLab, type LabNode, text, until } from './cluster_lab.ts';

const KIB = 1024;
const KEYS = 120;
const SLOW_READ_MS = 3;
const CONFIG: ConfigInput = {
  // Every read goes to the disk.
  storage: { blockCacheBytes: 0, memtableSizeBytes: 1024 * KIB, logRetainBytes: 0 },
  node: { historyRevisions: 0 },
};

const keyOf = (i: number): string => `key-${String(i).padStart(4, '0')}`;
const contentOf = (i: number): string => `<value of ${keyOf(i)}>`.padEnd(4 * KIB, '.');

/** A cluster whose tables hold all keys. */
async function filled(count: number, config = CONFIG): Promise<ClusterLab> {
  const lab = await ClusterLab.start(count, config);
  const { store } = await lab.leader();
  for (let i = 0; i < KEYS; i++) await store.put(keyOf(i), contentOf(i));
  // Moves the last of them into a table as well.
  for (let i = 0; i < 30; i++) await store.put(`pad-${i}`, 'p'.repeat(40 * KIB));
  await until(
    async () =>
      (await Promise.all([...lab.disks.values()].map((disk) => hasTable(disk, keyOf(KEYS - 1))))).every(
        Boolean,
      ),
    'the keys in tables',
  );
  return lab;
}

async function hasTable(disk: MemoryDisk, key: string): Promise<boolean> {
  for (const path of await tables(disk)) {
    const bytes = await disk.readFile(path).catch(() => new Uint8Array(0));
    if (Buffer.from(bytes).includes(`<value of ${key}>`)) return true;
  }
  return false;
}

async function tables(disk: MemoryDisk): Promise<string[]> {
  for (const node of await disk.list('')) {
    const directory = `${node}/tree/tables`;
    if (!(await disk.exists(directory))) continue;
    return (await disk.list(directory)).map((name) => `${directory}/${name}`);
  }
  return [];
}

function busyFor(ms: number): void {
  const endMs = performance.now() + ms;
  while (performance.now() < endMs);
}

/** The error of a call; undefined: there was none. Anything but a KvError fails the test. */
async function failureOf(call: () => Promise<unknown>): Promise<KvError | undefined> {
  try {
    await call();
    return undefined;
  } catch (error) {
    if (error instanceof KvError) return error;
    throw new Error(`not a KvError: ${String(error)}`, { cause: error });
  }
}

function assertUnreadable(failure: KvError | undefined, what: string): void {
  assert.ok(failure !== undefined, `${what}: it failed`);
  assert.is(failure.code, 'CORRUPT', `${what}: ${failure.message}`);
  assert.is(failure.details['diskError'], 'IO', what);
  assert.match(String(failure.details['file']), /node-1\/tree\/tables\/t-\d+\.kvt/, what);
  assert.is(failure.maybeApplied, false, what);
  assert.instance(failure.cause, DiskError, what);
}

/** Makes reads of tables fail from the nth one on, for as long as `failing`. */
class Refusal {
  reads = 0;
  #from = Number.POSITIVE_INFINITY;
  readonly #disk: MemoryDisk;

  /** @param slow every read takes so long that the tables count as cold: reads go through the thread pool. */
  constructor(disk: MemoryDisk, slow: boolean) {
    this.#disk = disk;
    disk.observer = {
      read: (path) => {
        if (!path.endsWith('.kvt')) return;
        if (slow) for (const start = performance.now(); performance.now() - start < 0.2; );
        if (++this.reads >= this.#from) throw new DiskError('IO', path, `${path}: EIO: i/o error, read`);
      },
    };
  }

  /** Reads that a call needs. */
  async needed(call: () => Promise<unknown>): Promise<number> {
    const before = this.reads;
    await call();
    return this.reads - before;
  }

  async during<T>(nth: number, call: () => Promise<T>): Promise<T> {
    this.#from = this.reads + nth;
    try {
      return await call();
    } finally {
      this.#from = Number.POSITIVE_INFINITY;
    }
  }

  end(): void {
    this.#disk.observer = undefined;
  }
}

async function all(store: LabNode['store'], reverse: boolean): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.scan({ prefix: 'key-', reverse })) keys.push(text(key)!);
  return keys;
}

for (const slow of [false, true]) {
  const how = slow ? 'cold' : 'warm';

  test(`reads that the disk refuses fail with a typed error, and the node goes on (${how})`, async () => {
    const lab = await filled(1);
    const refusal = new Refusal(lab.disks.get(1)!, slow);
    try {
      const { store, ended } = lab.node(1);
      const first = await store.getEntry(keyOf(5));
      const revision = first!.modRevision;
      const calls: Record<string, () => Promise<unknown>> = {
        get: () => store.get(keyOf(5)),
        getEntry: () => store.getEntry(keyOf(6)),
        'get at a revision': () => store.get(keyOf(5), { revision }),
        scan: () => all(store, false),
        'scan in reverse': () => all(store, true),
        'transaction that only reads': () => store.txn({ then: [{ type: 'get', key: keyOf(7) }] }),
      };
      for (const [name, call] of Object.entries(calls)) {
        const needed = await refusal.needed(call);
        assert.ok(needed > 0, `${name} reads the disk`);
        for (let nth = 1; nth <= (name.startsWith('transaction') ? 1 : Math.min(needed, 8)); nth++) {
          const failure = await refusal.during(nth, () => failureOf(call));
          assertUnreadable(failure, `${name}, read ${nth} of ${needed}`);
          await call();
        }
      }
      assert.is((await all(store, false)).length, KEYS);
      assert.is(ended.is, false);
    } finally {
      refusal.end();
      await lab.stop();
    }
  });

  test(`a node alone refuses writes whose reads the disk refuses, and logs nothing of them (${how})`, async () => {
    const lab = await filled(1);
    const refusal = new Refusal(lab.disks.get(1)!, slow);
    try {
      const { store, node, ended } = lab.node(1);
      const writes: Record<string, () => Promise<unknown>> = {
        put: () => store.put(keyOf(20), 'new'),
        'put with a time to live': () => store.put(keyOf(21), 'new', { ttlMs: 3_600_000 }),
        delete: () => store.delete(keyOf(22)),
        touch: () => store.touch(keyOf(23), { ttlMs: 3_600_000 }),
        'delete of a range': () =>
          store.txn({ then: [{ type: 'deleteRange', start: keyOf(30), end: keyOf(33) }] }),
        batch: () =>
          store.batch([
            { type: 'put', key: 'fresh', value: 'f' },
            { type: 'put', key: keyOf(40), value: 'new' },
          ]),
        'compare of a transaction': () =>
          store.txn({
            compare: [{ key: keyOf(50), version: 1 }],
            then: [{ type: 'put', key: 'fresh', value: 'f' }],
          }),
      };
      for (const [name, write] of Object.entries(writes)) {
        const before = positions(node);
        assertUnreadable(await refusal.during(1, () => failureOf(write)), name);
        assert.equal(positions(node), before, `${name}: nothing was logged`);
        assert.is(await store.get('fresh'), undefined, name);
      }
      assert.is(ended.is, false);
      for (const i of [20, 21, 22, 23, 30, 31, 32, 40])
        assert.is(text(await store.get(keyOf(i))), contentOf(i));
      for (const [name, write] of Object.entries(writes))
        assert.is((await failureOf(write))?.message, undefined, name);
      assert.is(text(await store.get(keyOf(20))), 'new');
      assert.is(await store.get(keyOf(31)), undefined);
    } finally {
      refusal.end();
      await lab.stop();
    }
  });

  test(`a watch from history that the disk refuses ends with a typed error, the others go on (${how})`, async () => {
    const lab = await filled(1);
    const refusal = new Refusal(lab.disks.get(1)!, slow);
    try {
      const { store, ended } = lab.node(1);
      const old = store.watch({ key: keyOf(5), fromRevision: 1 })[Symbol.asyncIterator]();
      const fresh = store.watch({ prefix: 'later' })[Symbol.asyncIterator]();
      const next = fresh.next();
      const failure = await refusal.during(1, () => failureOf(() => old.next()));
      assertUnreadable(failure, 'the watch');
      await store.put('later', 'on');
      assert.is((await next).done, false);
      await fresh.return?.(undefined);
      const again = store.watch({ key: keyOf(5), fromRevision: 1 })[Symbol.asyncIterator]();
      assert.is((await again.next()).done, false);
      await again.return?.(undefined);
      assert.is(ended.is, false);
    } finally {
      refusal.end();
      await lab.stop();
    }
  });
}

for (const met of ['a read', 'an entry that is applied', 'a watch from history'] as const) {
  test(`a follower with a table that cannot be read is mended from the others, met by ${met}`, async () => {
    const lab = await filled(3);
    try {
      const leader = await lab.leader();
      const { id, store, ended, node } = lab.follower(leader);
      const disk = lab.disks.get(id)!;
      const dead = new Set(await tables(disk));
      disk.observer = {
        read: (path) => {
          if (dead.has(path)) throw new DiskError('IO', path, `${path}: EIO: i/o error, read`);
        },
      };
      const changed = keyOf(5);
      if (met === 'a read') {
        const failure = await failureOf(() => store.get(changed, { level: 'eventual' }));
        assert.is(failure?.code, 'CORRUPT', failure?.message);
      } else if (met === 'a watch from history') {
        const watch = store.watch({ key: changed, fromRevision: 1 })[Symbol.asyncIterator]();
        const failure = await failureOf(() => watch.next());
        assert.is(failure?.code, 'UNAVAILABLE', failure?.message);
        assert.is(failure?.retryable, true);
      }
      await leader.store.put(changed, 'changed');
      await until(() => node.service.status().health === 'CORRUPT', 'the node to notice');
      await until(() => node.service.status().health === 'ok', 'the node to be whole');
      await until(
        async () => text(await store.get(changed, { level: 'eventual' })) === 'changed',
        'the node to go on',
      );
      assert.is((await all(store, false)).length, KEYS);
      assert.is(ended.is, false);
    } finally {
      await lab.stop();
    }
  });
}

function positions(node: LabNode['node']): { revision: number; commitIndex: number } {
  const { revision, commitIndex } = node.service.status();
  return { revision, commitIndex };
}

test('writes of a lone node keep their order, though one of them waits for what it reads', async () => {
  const lab = await filled(1, { ...CONFIG, storage: { ...CONFIG.storage, durability: 'os' } });
  try {
    const { store } = await lab.leader();
    // Reads that take long are no longer made within the call.
    lab.disks.get(1)!.observer = { read: () => busyFor(SLOW_READ_MS) };
    const order = ['in memory 1', keyOf(3), 'in memory 2', keyOf(50), 'in memory 3', 'in memory 4', keyOf(3)];
    for (let round = 0; round < 3; round++) {
      for (let i = 60; i < 70; i++) await store.get(keyOf(i));
      const answers = await Promise.all(order.map((key, at) => store.put(key, `${round}.${at}`)));
      const first = answers[0]!.revision;
      assert.equal(
        answers.map(({ revision }) => revision - first),
        order.map((_, at) => at),
      );
      assert.is(text(await store.get(keyOf(3))), `${round}.6`);
    }
  } finally {
    await lab.stop();
  }
});

test.run();
