/** Several threads over one memtable's memory: slots keep them apart, views follow its growth, and published revisions are seen whole. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import * as assert from 'uvu/assert';
import { Memtable } from '../../src/storage/memtable.ts';
import { MemtableMemory } from '../../src/storage/memtable_memory.ts';
import { MemtableReads } from '../../src/storage/memtable_reads.ts';
import { test } from '../suite.ts';

const encoder = new TextEncoder();
const KEYS = 400;
const ROUNDS = 250;

function keyOf(i: number): Uint8Array {
  return encoder.encode(`key-${i % KEYS}`);
}

test('instances with slots of their own do not disturb each other', () => {
  const memtable = new Memtable({ sizeBytes: 1 << 20, readers: 2, build: 'debug' });
  for (let i = 0; i < 20; i++) memtable.put(keyOf(i), encoder.encode(`v${i}`), i + 1, i + 1, 1, 0, 0, 0n, 0);
  const a = new MemtableReads(MemtableMemory.attach(memtable.sharedMemory, 1, 'debug'));
  const b = new MemtableReads(MemtableMemory.attach(memtable.sharedMemory, 2, 'debug'));
  const [first, second] = [a.records(), b.records()];
  let count = 0;
  for (const record of memtable.records()) {
    for (const other of [first.next(), second.next()]) {
      assert.equal(other.value?.key, record.key);
      assert.equal(other.value?.value, record.value);
    }
    assert.is(a.modRevision(a.find(keyOf(3))), 4);
    assert.is(b.find(encoder.encode('nothing')), 0);
    count++;
  }
  assert.is(count, 20);
  assert.is(first.next().done, true);
});

test('reader slots do not count as data: such a memtable takes as much as any', () => {
  const fill = (memtable: Memtable): number => {
    let i = 0;
    while (!memtable.full)
      memtable.put(encoder.encode(`k${i}`), new Uint8Array(1000), ++i, i, 1, 0, 0, 0n, 0);
    return i;
  };
  const [plain, shared] = [
    new Memtable({ sizeBytes: 1 << 20 }),
    new Memtable({ sizeBytes: 1 << 20, readers: 30 }),
  ];
  assert.is(fill(plain), fill(shared));
});

/** Runs in the worker: reads random keys at the newest published revision until told to stop, and checks each value against its own words. */
const READER = `
import { parentPort, workerData } from 'node:worker_threads';
const { MemtableMemory } = await import(workerData.modules + 'memtable_memory.js');
const { MemtableReads } = await import(workerData.modules + 'memtable_reads.js');
const { memory, slot, words, keys } = workerData;
const control = new Int32Array(words);
const reads = new MemtableReads(MemtableMemory.attach(memory, slot, workerData.build));
const encoder = new TextEncoder();
const end = encoder.encode('l');
let found = 0, seed = slot + 1;
try {
  parentPort.postMessage('ready');
  while (Atomics.load(control, 1) === 0) {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    const published = Atomics.load(control, 0);
    const key = (seed >>> 8) % keys;
    const check = (record, index) => {
      const words = new Float64Array(record.value.slice(0, 16).buffer);
      if (words[0] !== index || words[1] !== record.modRevision) throw new Error('a torn value at ' + record.modRevision);
      if (record.modRevision > published) throw new Error('the future at ' + published);
      // Keys are overwritten round by round: at a revision, every key shows the newest round that it has had by then.
      const wanted = published - ((((published - 1 - index) % keys) + keys) % keys);
      if (record.modRevision !== wanted) throw new Error(record.modRevision + ' instead of ' + wanted + ' at ' + published);
      found++;
    };
    const record = reads.at(encoder.encode('key-' + key), published);
    if (record !== undefined) check(record, key);
    else if (published > key) throw new Error('key ' + key + ' is missing at ' + published);
    if (found % 64 === 0) {
      const page = reads.scan({ start: encoder.encode('key-'), end, revision: published, reverse: found % 128 === 0, limit: 50, maxBytes: 1e9, keysOnly: false });
      if (page.records.length < Math.min(50, published)) throw new Error('a scan gave ' + page.records.length + ' at ' + published);
      for (const one of page.records) check(one, Number(Buffer.from(one.key).toString().slice(4)));
    }
  }
  parentPort.postMessage({ found });
} catch (error) {
  parentPort.postMessage({ found, error: error.stack });
}
`;

for (const build of ['release', 'debug'] as const) {
  test(`two threads read beside the writer while the memory grows (${build})`, async () => {
    const memtable = new Memtable({ sizeBytes: 256 * 1024, readers: 2, build, hashSeed: 5n });
    const words = new SharedArrayBuffer(8);
    const control = new Int32Array(words);
    const before = memtable.memoryBytes;
    const modules = new URL('../../src/storage/', import.meta.url).href;
    const workers = [1, 2].map(
      (slot) =>
        new Worker(new URL(`data:text/javascript,${encodeURIComponent(READER)}`), {
          workerData: { memory: memtable.sharedMemory, slot, words, keys: KEYS, modules, build },
        }),
    );
    await Promise.all(workers.map((worker) => once(worker, 'message')));
    const value = new Uint8Array(400);
    const numbers = new Float64Array(value.buffer);
    for (let i = 0; i < KEYS * ROUNDS; i++) {
      numbers[0] = i % KEYS;
      numbers[1] = i + 1;
      memtable.put(keyOf(i), value, i + 1, i + 1, 1, 0, 0, 0n, 0);
      Atomics.store(control, 0, i + 1);
    }
    assert.ok(memtable.memoryBytes > before * 8, 'the memory has grown');
    const results = workers.map((worker) => once(worker, 'message'));
    Atomics.store(control, 1, 1);
    for (const [result] of await Promise.all(results)) {
      assert.is(result.error, undefined);
      assert.ok(result.found > 0);
    }
    await Promise.all(workers.map((worker) => worker.terminate()));
  });
}

test.run();
