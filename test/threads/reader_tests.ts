/** Reader threads of an embedded store: the API, its errors, and the ends of threads. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import * as assert from 'uvu/assert';
import type { KeyEntry } from '../../src/client/store_types.ts';
import type { ConfigInput } from '../../src/config.ts';
import { type EmbeddedStore, open } from '../../src/embedded.ts';
import { KvError } from '../../src/errors.ts';
import { attachReader } from '../../src/readers.ts';
import { suite } from '../suite.ts';

const encoder = new TextEncoder();

/** Trees whose memory readers share, and one where they have to ask. */
let tree: 'tables' | 'rocksdb' = 'tables';

/** A module for a reader's thread: the body of its default export, which has `reader` and `args`. */
function code(body: string): URL {
  const text = `const text = (bytes) => bytes === undefined ? undefined : Buffer.from(bytes).toString();
const failure = (run) => { try { run(); return 'nothing'; } catch (error) { return error.code; } };
export default async function (reader, args) { ${body} }`;
  return new URL(`data:text/javascript,${encodeURIComponent(text)}`);
}

async function withStore(
  run: (store: EmbeddedStore) => Promise<void>,
  config: ConfigInput = {},
  readers = 2,
): Promise<void> {
  const path = mkdtempSync(join(tmpdir(), 'kvorum-readers-'));
  const durability = { durability: 'os', tree, ...config.storage } as const;
  const store = await open({ path, readers, config: { ...config, storage: durability } });
  try {
    await run(store);
  } finally {
    await store.close();
    rmSync(path, { recursive: true, force: true });
  }
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'nothing',
    (error: unknown) => (error instanceof KvError ? error.code : String(error)),
  );
}

interface Seen {
  readonly entry: KeyEntry;
  readonly put: { revision: number };
  readonly later: { revision: number };
  readonly gone: { revision: number; deleted: boolean };
  readonly twice: { deleted: boolean };
  readonly batch: { revision: number };
}

/** Runs the tests of readers over a tree. */
export function readerTests(kind: 'tables' | 'rocksdb'): void {
  const test = suite(`readers, ${kind}`);
  test.before(() => {
    tree = kind;
  });

  test('a reader sees what was written before, and what it writes itself', () =>
    withStore(async (store) => {
      await store.put('a', 'one');
      const { revision } = await store.put('b', 'two', { ttlMs: 1_000_000 });
      const result = await store.readers[0]!.run<Seen>(
        code(`
        const entry = reader.getEntry('b');
        const put = reader.putSync('c', 'three');
        const later = await reader.put(new Uint8Array([99]), new Uint8Array([52]), { ttlMs: 5000 });
        const gone = reader.deleteSync('a');
        const twice = reader.deleteSync('a');
        const batch = await reader.store.batch([{ type: 'put', key: 'd', value: '1' }, { type: 'put', key: 'e', value: '2' }]);
        return {
          a: text(reader.get('a')), b: text(entry.value), entry, put, later, gone, twice, batch,
          c: text(reader.get('c')), none: reader.get('none'), noEntry: reader.getEntry('none'), revision: reader.revision,
          viaStore: text(await reader.store.get('d')), old: text(reader.at(args).get('a')), sees: reader.getEntry('c').version,
        };`),
        revision,
      );
      const { entry, put, later, gone, twice, batch, ...rest } = result;
      assert.equal(entry.key, encoder.encode('b'));
      assert.is(entry.modRevision, revision);
      assert.is(entry.version, 1);
      assert.ok(entry.expiresAtMs !== undefined && entry.expiresAtMs > 1_000_000);
      assert.is(put.revision, revision + 1);
      assert.is(later.revision, revision + 2);
      assert.equal(gone, { revision: revision + 3, deleted: true });
      assert.is(twice.deleted, false);
      assert.ok(batch.revision > revision + 3);
      assert.equal(rest, {
        a: undefined,
        b: 'two',
        c: '4',
        none: undefined,
        noEntry: undefined,
        revision: batch.revision,
        viaStore: '1',
        old: 'one',
        sees: 2,
      });
      assert.equal(await store.get('c'), encoder.encode('4'));
    }));

  test('what is in the tree by now is read over the store, values of any size, at any revision that is kept', () =>
    withStore(
      async (store) => {
        const large = new Uint8Array(700_000).fill(7);
        const first = await store.put('early', large);
        await store.put('early', 'newer');
        for (let i = 0; i < 40; i++) await store.put(`fill ${i % 4}`, new Uint8Array(100_000));
        const answer = await store.readers[0]!.run<{
          newest: string;
          older: Uint8Array;
          put: number;
          back: Uint8Array;
        }>(
          code(`
          const older = reader.at(args).get('early');
          const large = new Uint8Array(3_000_000).fill(9);
          const [put] = await Promise.all([reader.put('large', large), reader.put('after', '1'), reader.put('after', '2')]);
          return { newest: text(reader.get('early')), older, put: put.revision, back: reader.get('large'), after: text(reader.get('after')) };`),
          first.revision,
        );
        assert.is(answer.newest, 'newer');
        assert.equal(answer.older, large);
        assert.is(answer.back.length, 3_000_000);
        // RocksDB's values are Buffers.
        assert.equal(new Uint8Array((await store.get('large'))!), new Uint8Array(3_000_000).fill(9));
        assert.equal(
          await store.get('after'),
          encoder.encode('2'),
          'writes keep their order beside a large one',
        );
      },
      { storage: { memtableSizeBytes: 1024 * 1024 } },
    ));

  test('scans show one revision, both ways, in pages; limits and ranges hold', () =>
    withStore(async (store) => {
      for (let i = 0; i < 1200; i++) await store.put(`k${String(i).padStart(5, '0')}`, `v${i}`);
      const result = await store.readers[0]!.run<Record<string, unknown>>(
        code(`
        const keys = (options, from = reader) => [...from.scan(options)].map((entry) => text(entry.key));
        const snapshot = reader.snapshot();
        const scan = reader.scan({ prefix: 'k' });
        const first = text(scan.next().value.value);
        for (let i = 0; i < 5; i++) reader.putSync('k99999', 'new');
        let count = 1, last;
        for (const entry of scan) { count++; last = text(entry.key); }
        return {
          first, count, last, all: keys({}).length, snapshot: keys({}, snapshot).length,
          reverse: keys({ reverse: true, limit: 3 }), range: keys({ start: 'k00010', end: 'k00013' }),
          keysOnly: [...reader.scan({ limit: 1, keysOnly: true })][0].value.length, none: keys({ start: 'x', end: 'a' }), zero: keys({ limit: 0 }),
          wrong: failure(() => reader.scan({ limit: -1 })), half: failure(() => reader.scan({ limit: 1.5 })),
        };`),
      );
      assert.equal(result, {
        first: 'v0',
        count: 1200,
        last: 'k01199',
        all: 1201,
        snapshot: 1200,
        reverse: ['k99999', 'k01199', 'k01198'],
        range: ['k00010', 'k00011', 'k00012'],
        keysOnly: 0,
        none: [],
        zero: [],
        wrong: 'INVALID_ARGUMENT',
        half: 'INVALID_ARGUMENT',
      });
    }));

  test('bad keys, values and revisions are refused with their codes', () =>
    withStore(
      async (store) => {
        for (let i = 0; i < 5; i++) await store.put('a', `${i}`);
        const codes = await store.readers[0]!.run(
          code(`
          return [
            failure(() => reader.get('')), failure(() => reader.get('x'.repeat(200))), failure(() => reader.get(7)),
            failure(() => reader.putSync('a', 5)), failure(() => reader.putSync('a', 'x'.repeat(2000))), failure(() => reader.putSync('a', '1', { ttlMs: -1 })),
            failure(() => reader.at(1e6)), failure(() => reader.at(0)), failure(() => reader.at(-1)), failure(() => reader.deleteSync('')),
            failure(() => reader.store.watch().next), failure(() => reader.store.channel?.nothing),
            await reader.put('', '').catch((error) => error.code),
          ];`),
        );
        assert.equal(codes, [
          'INVALID_ARGUMENT',
          'KEY_TOO_LARGE',
          'INVALID_ARGUMENT',
          'INVALID_ARGUMENT',
          'VALUE_TOO_LARGE',
          'INVALID_ARGUMENT',
          'FUTURE_REVISION',
          'COMPACTED',
          'INVALID_ARGUMENT',
          'INVALID_ARGUMENT',
          'nothing',
          'nothing',
          'INVALID_ARGUMENT',
        ]);
        const watch = await store.readers[0]!.run(
          code(
            `try { for await (const event of reader.store.watch({ key: 'a' })) return event; } catch (error) { return error.code; }`,
          ),
        );
        assert.is(watch, 'UNSUPPORTED');
      },
      { limits: { maxKeyBytes: 100, maxValueBytes: 1000 } },
    ));

  test('what the code throws comes back; a module that is none, or has no function, says so', () =>
    withStore(async (store) => {
      const [thread] = store.readers;
      const error = await thread!.run(code(`throw new RangeError('mine');`)).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      assert.ok(error instanceof RangeError && error.message === 'mine');
      assert.is(await codeOf(thread!.run(code('reader.at(12345);'))), 'FUTURE_REVISION');
      assert.is(await codeOf(thread!.run('data:text/javascript,export default 5')), 'INVALID_ARGUMENT');
      assert.is(await codeOf(thread!.run('./relative.js')), 'INVALID_ARGUMENT');
      assert.match(await codeOf(thread!.run('file:///nowhere/at/all.js')), /Cannot find module/);
      assert.match(await codeOf(thread!.run(code('return () => 1;'))), /could not be cloned/);
      assert.match(await codeOf(thread!.run(code('return 1;'), () => 1)), /could not be cloned/);
      assert.is(await thread!.run(code('return args + 1;'), 41), 42);
    }));

  test('a thread that ends in the middle of its work fails its runs, frees its place, and is replaced', () =>
    withStore(async (store) => {
      await store.put('a', '1');
      const [thread] = store.readers;
      assert.not(thread!.running);
      await thread!.terminate();
      assert.is(await codeOf(thread!.run(code('process.exit(3);'))), 'UNAVAILABLE');
      const busy = codeOf(thread!.run(code('for (;;) reader.get("a");')));
      await thread!.terminate();
      assert.is(await busy, 'UNAVAILABLE');
      assert.not(thread!.running);
      // At moments from before the thread has begun to when it reads.
      for (let turns = 0; turns < 40; turns += 8) {
        const early = codeOf(thread!.run(code('for (;;) reader.get("a");')));
        for (let i = 0; i < turns; i++) await store.put('a', '1');
        await thread!.terminate();
        assert.is(await early, 'UNAVAILABLE');
      }
      assert.is(await thread!.run(code('return text(reader.get("a"));')), '1');
      assert.is(
        await codeOf(
          thread!.run(code('setImmediate(() => { throw new Error("late"); }); await new Promise(() => {});')),
        ),
        'UNAVAILABLE',
      );
    }));

  test("the caller's own worker takes a reader by its handle; the place is free when it ends or closes", () =>
    withStore(async (store) => {
      await store.put('a', '1');
      const [thread] = store.readers;
      const readers = new URL('../../src/readers.js', import.meta.url).href;
      const text = `
      import { parentPort } from 'node:worker_threads';
      import { attachReader } from ${JSON.stringify(readers)};
      parentPort.once('message', async ({ handle, close }) => {
        const reader = attachReader(handle);
        const put = reader.put('own', 'x');
        if (close) { await put; reader.close(); }
        let code;
        try { reader.get('a'); } catch (error) { code = error.code; }
        parentPort.postMessage({ value: close ? code : Buffer.from(reader.get('a')).toString(), late: await reader.put('own', 'y').then(() => 'done', (error) => error.code) });
        if (close) setInterval(() => {}, 1000);
      });`;
      const url = new URL(`data:text/javascript,${encodeURIComponent(text)}`);
      for (const close of [false, true]) {
        const worker = new Worker(url);
        const handle = thread!.handle();
        worker.postMessage({ handle, close }, [handle.port]);
        const [message] = await once(worker, 'message');
        assert.equal(message, close ? { value: 'CLOSED', late: 'CLOSED' } : { value: '1', late: 'done' });
        if (!close) {
          assert.throws(
            () => thread!.handle(),
            (error: unknown) => error instanceof KvError && error.code === 'LOCKED',
          );
          assert.is(await codeOf(thread!.run(code('return 1;'))), 'LOCKED');
        }
        // By the end of the thread the first time, by the close of the reader the second time.
        if (!close) await once(worker, 'exit');
        let again: unknown;
        while (again === undefined) {
          await new Promise((resolve) => setImmediate(resolve));
          again = await thread!.run(code('return text(reader.get("own"));')).catch((error: unknown) => {
            assert.ok(error instanceof KvError && error.code === 'LOCKED');
          });
        }
        assert.is(again, close ? 'x' : 'y');
        await thread!.terminate();
        await worker.terminate();
      }
      const here = thread!.handle();
      assert.throws(() => attachReader(here), /another thread/);
      here.port.close();
    }));

  test('the close of the store reaches readers that run, wait, or come late', async () => {
    const path = mkdtempSync(join(tmpdir(), 'kvorum-readers-'));
    const store = await open({ path, readers: 3, config: { storage: { durability: 'os', tree } } });
    await store.put('a', '1');
    const [first, second, third] = store.readers;
    const spinning = codeOf(first!.run(code('for (;;) reader.get("a");')));
    const asking = codeOf(second!.run(code('for (;;) reader.get("absent");')));
    assert.is(await second!.running, true);
    const handle = third!.handle();
    await store.close();
    assert.ok(['CLOSED', 'UNAVAILABLE'].includes(await spinning));
    assert.ok(['CLOSED', 'UNAVAILABLE'].includes(await asking));
    assert.is(await codeOf(first!.run(code('return 1;'))), 'CLOSED');
    assert.throws(() => third!.handle(), /closed/);
    handle.port.close();
    rmSync(path, { recursive: true, force: true });
  });

  test('a reopened store shows its readers everything from the start', async () => {
    const path = mkdtempSync(join(tmpdir(), 'kvorum-readers-'));
    const config = { storage: { durability: 'os', tree, memtableSizeBytes: 1024 * 1024 } } as const;
    let store = await open({ path, config });
    assert.equal(store.readers, []);
    for (let i = 0; i < 30; i++) await store.put(`k${i}`, new Uint8Array(100_000).fill(i));
    const { revision } = await store.put('last', 'x');
    await store.close();
    store = await open({ path, readers: 1, config });
    const seen = await store.readers[0]!.run(
      code('return [reader.revision, ...[0, 15, 29].map((i) => reader.get("k" + i)?.[5])];'),
    );
    assert.equal(seen, [revision, 0, 15, 29]);
    await store.close();
    rmSync(path, { recursive: true, force: true });
  });

  test('a wake-up that a read takes out of the port is not lost', () =>
    withStore(
      async (store) => {
        const word = new Int32Array(new SharedArrayBuffer(4));
        const put = store.readers[0]!.run<number>(
          code(`
          const put = reader.put('w', '1');
          Atomics.wait(args, 0, 0);
          // The list of memtables has changed meanwhile, so this looks for messages.
          reader.get('w');
          return (await put).revision;`),
          word,
        );
        while ((await store.get('w')) === undefined) await new Promise((resolve) => setImmediate(resolve));
        for (let i = 0; i < 30; i++) await store.put('fill', new Uint8Array(100_000));
        Atomics.store(word, 0, 1);
        Atomics.notify(word, 0);
        assert.ok((await put) > 0);
      },
      { storage: { memtableSizeBytes: 1024 * 1024 } },
    ));

  test('getMany gives what many gets would, with threads and without', () =>
    withStore(async (store) => {
      const keys: (string | Uint8Array)[] = [];
      for (let i = 0; i < 300; i++) {
        keys.push(i % 2 === 0 ? `k${i}` : encoder.encode(`k${i}`));
        if (i % 3 !== 0) await store.put(`k${i}`, `v${i}`);
      }
      const wanted = Array.from({ length: 300 }, (_, i) => (i % 3 === 0 ? undefined : `v${i}`));
      const values = async () =>
        (await store.getMany(keys)).map((value) => value && Buffer.from(value).toString());
      assert.equal(await values(), wanted);
      await Promise.all(store.readers.map((thread) => thread.run(code('return 1;'))));
      assert.equal(await values(), wanted);
      assert.equal(await store.getMany([]), []);
      assert.is(await codeOf(store.getMany(['a', ''])), 'INVALID_ARGUMENT');
    }));

  test('an impossible number of readers is refused, and the directory is free again', async () => {
    const path = mkdtempSync(join(tmpdir(), 'kvorum-readers-'));
    assert.is(await codeOf(open({ path, readers: 61 })), 'CONFIG_INVALID');
    assert.is(await codeOf(open({ path, readers: -1 })), 'CONFIG_INVALID');
    await (await open({ path, readers: 0 })).close();
    rmSync(path, { recursive: true, force: true });
  });

  test.run();
}
