/** The tree in memory: the suite of all trees, and what is its own: merging in slices, crash points, damage, memory. */
import { suite, test } from 'uvu';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { realPorts } from '../../src/real_ports.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { LOSS_RULES } from '../../src/storage/memory_disk_nodes.ts';
import { MemoryTree } from '../../src/storage/memory_tree/memory_tree.ts';
import type { StoredRecord } from '../../src/storage/record.ts';
import { plainRecord, RecordModel, runOf, seededRandom, show, showAll, tombstone } from './record_model.ts';
import { SteppedPorts } from './stepped_ports.ts';
import { treeConformance } from './tree_conformance.ts';

const NEWEST = Number.MAX_SAFE_INTEGER;
const ports = realPorts();
const EVERYTHING = { start: new Uint8Array(0), end: undefined };
const ALL_VERSIONS = {
  ...EVERYTHING,
  after: undefined,
  minRevision: 0,
  maxRevision: NEWEST,
  limit: 1e9,
  maxBytes: NEWEST,
};
const ALL_LIVE = {
  ...EVERYTHING,
  revision: NEWEST,
  reverse: false,
  limit: 1e9,
  maxBytes: NEWEST,
  keysOnly: false,
};

function stateAt(index: number): { index: number; term: number; state: Uint8Array } {
  return { index, term: 1, state: Uint8Array.of(index) };
}

function keyOf(i: number): Uint8Array {
  return Buffer.from(`\u0001key-${String(i).padStart(9, '0')}`);
}

const conformance = suite('memory tree: conformance');
treeConformance(conformance, async () => {
  const disk = new MemoryDisk();
  const open = (): Promise<MemoryTree> => MemoryTree.open({ disk, path: '/tree', ports });
  let tree = await open();
  return {
    tree,
    reopen: async () => {
      await tree.close();
      tree = await open();
      return tree;
    },
    dispose: () => tree.close(),
  };
});
conformance.run();

test('a key with more versions than a leaf holds is found at each revision, both ways', async () => {
  const tree = await MemoryTree.open({ disk: new MemoryDisk(), path: undefined, ports });
  const hot: StoredRecord[] = [];
  for (let revision = 2; revision <= 20_000; revision += 2)
    hot.push(plainRecord(keyOf(5), revision, new Uint8Array(60)));
  await tree.flush(
    runOf([...hot, plainRecord(keyOf(4), 1, new Uint8Array(1)), plainRecord(keyOf(6), 3, new Uint8Array(1))]),
    stateAt(1),
  );
  for (const revision of [2, 3, 8_191, 8_192, 12_345, 16_384, 20_000, NEWEST])
    assert.is(tree.get(keyOf(5), revision)?.modRevision, Math.min(20_000, revision - (revision % 2)));
  assert.is(tree.get(keyOf(5), 1), undefined);
  for (const reverse of [false, true]) {
    const page = tree.scan({ ...ALL_LIVE, revision: 777, reverse });
    const revisions = page.records.map((record) => record.modRevision);
    assert.equal(revisions, reverse ? [3, 776, 1] : [1, 776, 3]);
  }
  const after = tree.versions({ ...ALL_VERSIONS, after: { key: keyOf(5), modRevision: 9_001 }, limit: 3 });
  assert.equal(
    after.records.map((record) => record.modRevision),
    [9_000, 8_998, 8_996],
  );
  await tree.close();
});

test('keys far from what all others share are found, and not found, among many leaves', async () => {
  const tree = await MemoryTree.open({ disk: new MemoryDisk(), path: undefined, ports });
  const random = seededRandom(21);
  const model = new RecordModel();
  const prefixes = [
    '\u0001shared/',
    '\u0001shared/prefix/of/many/keys/',
    '\u0001shared/prefix/of/many/keys/\u0000',
  ];
  const anyKey = (): Uint8Array => {
    const text = `${prefixes[Math.floor(random() * 3)]}${Math.floor(random() * 4_000).toString(36)}`;
    return Buffer.from(text.slice(0, 1 + Math.floor(random() * 60)), 'latin1');
  };
  for (let revision = 1; revision <= 4_000; revision++)
    model.add(plainRecord(anyKey(), revision, new Uint8Array(300).fill(revision)));
  await tree.flush(runOf(model.records), stateAt(1));
  const odd = [
    '',
    '\u0000',
    '\u0001',
    '\u0001s',
    '\u0001shared',
    '\u0001sharec/zzz',
    '\u0001sharee',
    '\u0002',
    '\u00ff\u00ff',
  ];
  for (let i = 0; i < 4_000; i++) {
    const key = i < odd.length ? Buffer.from(odd[i]!, 'latin1') : anyKey();
    const revision = 1 + Math.floor(random() * 4_000);
    assert.is(show(tree.get(key, revision)), show(model.get(key, revision)));
    if (i % 40 !== 0 && i >= odd.length) continue;
    const request = { ...ALL_LIVE, start: key, revision, limit: 3, reverse: random() < 0.5 };
    assert.equal(showAll(tree.scan(request).records), showAll(model.scan(request).records));
  }
  await tree.close();
});

test('between any two slices of a merge readers see everything once', async () => {
  const stepped = new SteppedPorts();
  const tree = await MemoryTree.open({ disk: new MemoryDisk(), path: undefined, ports: stepped });
  const model = new RecordModel();
  const random = seededRandom(5);
  let revision = 0;
  for (let run = 0; run < 3; run++) {
    const records: StoredRecord[] = [];
    for (let i = 0; i < 7_000; i++) {
      const key = keyOf(Math.floor(random() * 9_000));
      revision++;
      const record =
        run > 0 && random() < 0.4
          ? tombstone(key, revision)
          : plainRecord(key, revision, new Uint8Array(90).fill(i));
      records.push(record);
      model.add(record);
    }
    if (run === 2) {
      tree.compact(revision - 2_000);
      stepped.held = true;
    }
    let done = false;
    const flushed = tree.flush(runOf(records), stateAt(run + 1)).then(() => {
      done = true;
    });
    while (!done) await stepped.step();
    await flushed;
  }
  const expected = showAll(model.scan(ALL_LIVE).records);
  const backwards = [...expected].reverse();
  let steps = 0;
  for (; stepped.waiting > 0; steps++) {
    assert.equal(showAll(tree.scan(ALL_LIVE).records), expected);
    assert.equal(showAll(tree.scan({ ...ALL_LIVE, reverse: true }).records), backwards);
    for (let i = 0; i < 200; i++) {
      const key = keyOf(Math.floor(random() * 9_000));
      const wanted = model.get(key, NEWEST);
      const found = tree.get(key, NEWEST);
      if (found === undefined) assert.ok(wanted === undefined || wanted.flags === 1);
      else assert.is(show(found), show(wanted));
    }
    const all = tree.versions(ALL_VERSIONS).records;
    assert.is(new Set(showAll(all)).size, all.length, 'nothing twice');
    await stepped.step();
  }
  assert.ok(steps > 3, `the merge came in ${steps} slices`);
  assert.equal(showAll(tree.scan(ALL_LIVE).records), expected);
  const left = tree.versions(ALL_VERSIONS).records.length;
  assert.is(
    left,
    model.retained(revision - 2_000).length,
    'all that may go is gone after a merge into the oldest run',
  );
  stepped.release();
  await tree.close();
});

test('compaction alone gives the memory of overwritten and deleted keys back', async () => {
  const tree = await MemoryTree.open({ disk: new MemoryDisk(), path: undefined, ports });
  const records: StoredRecord[] = [];
  for (let i = 0; i < 8_000; i++) records.push(plainRecord(keyOf(i % 2_000), i + 1, new Uint8Array(100)));
  for (let i = 0; i < 1_000; i++) records.push(tombstone(keyOf(i), 8_001 + i));
  await tree.flush(runOf(records), stateAt(1));
  const before = tree.stats();
  tree.compact(9_000);
  await tree.settled();
  const after = tree.stats();
  assert.is(after.recordCount, 1_000);
  assert.ok(after.sizeBytes < before.sizeBytes / 3, `${before.sizeBytes} -> ${after.sizeBytes}`);
  assert.is(tree.get(keyOf(5), NEWEST), undefined);
  assert.is(tree.get(keyOf(1_005), NEWEST)?.modRevision, 7_006);
  await tree.close();
});

test('flushes are merged into few runs, and the filter grows with the keys', async () => {
  const tree = await MemoryTree.open({ disk: new MemoryDisk(), path: undefined, ports });
  for (let run = 0; run < 40; run++) {
    const records: StoredRecord[] = [];
    for (let i = 0; i < 1_500; i++)
      records.push(plainRecord(keyOf(run * 1_500 + i), run * 1_500 + i + 1, new Uint8Array(20)));
    await tree.flush(runOf(records), stateAt(run + 1));
  }
  await tree.settled();
  assert.is(tree.stats().recordCount, 60_000);
  let wrong = 0;
  for (let i = 0; i < 60_000; i++) assert.ok(tree.mayContain(keyOf(i)));
  for (let i = 60_000; i < 80_000; i++) if (tree.mayContain(keyOf(i))) wrong++;
  assert.ok(wrong < 400, `${wrong} of 20000 absent keys may be there`);
  await tree.close();
});

test('a crash at any disk operation of a checkpoint leaves the old or the new one', async () => {
  for (const rule of LOSS_RULES) {
    for (let operation = 1; ; operation++) {
      const disk = new MemoryDisk();
      await disk.makeDirectory('/data');
      const tree = await MemoryTree.open({ disk, path: '/data/tree', ports });
      const model = new RecordModel();
      const random = seededRandom(operation);
      const write = (): StoredRecord => {
        const record = model.randomWrite(random);
        model.add(record);
        return record;
      };
      await tree.flush(runOf(Array.from({ length: 60 }, write)), stateAt(1));
      await tree.checkpoint();
      await disk.syncDirectory('/');
      const old = showAll(model.records);
      await tree.flush(runOf(Array.from({ length: 60 }, write)), stateAt(2));
      disk.crashAt(operation);
      const failure = await tree.checkpoint().then(
        () => undefined,
        (error: Error) => error,
      );
      const done = failure === undefined;
      assert.is(tree.durable?.index, done ? 2 : 1);
      disk.crash(rule, random);
      const again = await MemoryTree.open({ disk, path: '/data/tree', ports });
      const index = again.durable?.index;
      assert.ok(
        index === 2 || (index === 1 && !done),
        `operation ${operation}, rule ${rule}: found ${index}`,
      );
      assert.equal(showAll(again.versions(ALL_VERSIONS).records), index === 1 ? old : showAll(model.records));
      const files = await disk.list('/data/tree');
      assert.is(files.length, 1, `leftovers: ${files.join(' ')}`);
      await again.close();
      await tree.close();
      if (done) {
        assert.ok(operation > 5);
        break;
      }
    }
  }
});

test('a checkpoint that fails is not durable, can be repeated, and then counts', async () => {
  for (let operation = 1; operation <= 7; operation++) {
    const disk = new MemoryDisk();
    const tree = await MemoryTree.open({ disk, path: '/tree', ports });
    await tree.flush(runOf([plainRecord('a', 1, new Uint8Array(10))]), stateAt(1));
    await tree.checkpoint();
    await tree.flush(runOf([plainRecord('b', 2, new Uint8Array(10))]), stateAt(2));
    disk.failAt(operation);
    await tree.checkpoint().then(
      () => assert.unreachable(`operation ${operation} fails`),
      (error: Error) => assert.match(error.message, 'injected'),
    );
    await tree.checkpoint();
    assert.is(tree.durable?.index, 2);
    await tree.close();
    const again = await MemoryTree.open({ disk, path: '/tree', ports });
    assert.equal(again.versions(ALL_VERSIONS).records.length, 2);
    assert.is((await disk.list('/tree')).length, 1);
    await again.close();
  }
});

test('a damaged checkpoint is refused with its file and offset, never taken for an empty tree', async () => {
  const disk = new MemoryDisk();
  const tree = await MemoryTree.open({ disk, path: '/tree', ports });
  await tree.flush(runOf([plainRecord('a', 1, new Uint8Array(1000))]), stateAt(1));
  await tree.checkpoint();
  await tree.close();
  const path = `/tree/${(await disk.list('/tree'))[0]}`;
  disk.damage(path, 500, 4);
  await MemoryTree.open({ disk, path: '/tree', ports }).then(
    () => assert.unreachable('the file is damaged'),
    (error: unknown) => {
      assert.ok(error instanceof KvError && error.code === 'CORRUPT');
      assert.is(error.details['file'], path);
      assert.type(error.details['offset'], 'number');
    },
  );
});

test('when merging fails, reads go on and the next flush says so', async () => {
  const stepped = new SteppedPorts();
  const tree = await MemoryTree.open({ disk: new MemoryDisk(), path: undefined, ports: stepped });
  await tree.flush(runOf([plainRecord('a', 1, new Uint8Array(1))]), stateAt(1));
  stepped.timers.afterIo = () => {
    throw new Error('out of memory');
  };
  await tree.flush(runOf([plainRecord('b', 2, new Uint8Array(1))]), stateAt(2));
  await tree.settled();
  const code = await tree.flush(runOf([]), stateAt(3)).then(
    () => 'done',
    (error: KvError) => error.code,
  );
  assert.is(code, 'STORAGE_FAILED');
  assert.equal(tree.scan(ALL_LIVE).records.length, 2);
  await tree.close();
});

test('many versions outside the asked revisions are passed over, wherever the wanted ones lie', async () => {
  const tree = await MemoryTree.open({ disk: new MemoryDisk(), path: undefined, ports });
  const model = new RecordModel();
  for (let revision = 1; revision <= 9_000; revision++)
    model.add(plainRecord(keyOf((revision * 7_919) % 3_000), revision, new Uint8Array(80)));
  await tree.flush(runOf(model.records), stateAt(1));
  const windows = [
    [8_990, NEWEST],
    [1, 3],
    [4_000, 4_000],
    [9_001, NEWEST],
    [4_495, 4_505],
  ] as const;
  for (const [minRevision, maxRevision] of windows) {
    let after: { key: Uint8Array; modRevision: number } | undefined;
    for (let more = true; more; ) {
      const request = { ...ALL_VERSIONS, minRevision, maxRevision, after, limit: 4 };
      const page = tree.versions(request);
      assert.equal(showAll(page.records), showAll(model.versions(request).records));
      assert.is(page.more, model.versions(request).more);
      ({ more } = page);
      after = page.records.at(-1);
    }
  }
  await tree.close();
});

test('close gives a checkpoint under way up and refuses what comes later', async () => {
  const disk = new MemoryDisk();
  const tree = await MemoryTree.open({ disk, path: '/tree', ports });
  const records = Array.from({ length: 30_000 }, (_, i) => plainRecord(keyOf(i), i + 1, new Uint8Array(50)));
  await tree.flush(runOf(records), stateAt(1));
  const checkpoint = tree.checkpoint();
  const flush = tree.flush(runOf([plainRecord('z', 99_999, new Uint8Array(1))]), stateAt(2));
  const outcomes = Promise.allSettled([checkpoint, flush]);
  await tree.close();
  for (const outcome of await outcomes) {
    assert.is(outcome.status, 'rejected');
    assert.is((outcome as PromiseRejectedResult).reason.code, 'CLOSED');
  }
  const again = await MemoryTree.open({ disk, path: '/tree', ports });
  assert.is(again.durable, undefined);
  await again.close();
});

test('a tree without a path keeps nothing durable', async () => {
  const tree = await MemoryTree.open({ disk: new MemoryDisk(), path: undefined, ports });
  const missing = await tree.snapshot().then(
    () => undefined,
    (error: KvError) => error.code,
  );
  assert.is(missing, 'NOT_FOUND');
  await tree.flush(runOf([plainRecord('a', 1, new Uint8Array(1))]), stateAt(1));
  await tree.checkpoint();
  assert.is(tree.durable, undefined);
  await tree.install(stateAt(2), (async function* () {})());
  assert.is(tree.durable, undefined);
  assert.is(tree.stats().recordCount, 0);
  await tree.close();
});

test('values lie outside the JavaScript heap', async () => {
  const { gc } = globalThis;
  assert.type(gc, 'function', 'the test runner passes --expose-gc');
  const tree = await MemoryTree.open({ disk: new MemoryDisk(), path: undefined, ports });
  const collect = async (): Promise<void> => {
    // Twice, with a turn between: buffers are freed after the objects that held them.
    for (let i = 0; i < 3; i++) {
      gc?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  await collect();
  const before = process.memoryUsage();
  const value = new Uint8Array(1_000);
  const run = {
    recordCount: 50_000,
    dataBytes: 50_000_000,
    *records(): IterableIterator<StoredRecord> {
      for (let i = 0; i < 50_000; i++) yield plainRecord(keyOf(i), i + 1, value);
    },
  };
  await tree.flush(run, stateAt(1));
  await tree.settled();
  await collect();
  const after = process.memoryUsage();
  assert.ok(
    after.heapUsed - before.heapUsed < 5_000_000,
    `the heap grew by ${after.heapUsed - before.heapUsed} B`,
  );
  assert.ok(after.arrayBuffers - before.arrayBuffers > 50_000_000);
  assert.ok(after.arrayBuffers - before.arrayBuffers < 60_000_000, 'with little on top');
  await tree.close();
});

test.run();
