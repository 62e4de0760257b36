/** What the memtable does at its edges: sizes, growth beyond the soft size, the end of memory, recycling, and readers in other threads. */

import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { MAX_STORED_KEY_BYTES, MAX_STORED_VALUE_BYTES, Memtable } from '../../src/storage/memtable.ts';
import { MAX_STAGED_BYTES } from '../../src/storage/memtable_memory.ts';
import { MemtablePool } from '../../src/storage/memtable_pool.ts';
import type { ScanRequest } from '../../src/storage/record.ts';
import { createWasmMemory, instantiateWasm } from '../../src/storage/wasm_module.ts';
import { test } from '../suite.ts';

const EMPTY = new Uint8Array(0);
const MIB = 1024 * 1024;
const EVERYTHING: ScanRequest = {
  start: EMPTY,
  end: undefined,
  revision: Number.MAX_SAFE_INTEGER,
  reverse: false,
  limit: 1e9,
  maxBytes: 1e12,
  keysOnly: false,
  tombstones: true,
};

function put(memtable: Memtable, key: string | Uint8Array, value: Uint8Array, revision: number): void {
  memtable.put(typeof key === 'string' ? Buffer.from(key) : key, value, revision, revision, 1, 0, 0, 0n, 0);
}

function thrownBy(work: () => void): KvError {
  try {
    work();
  } catch (error) {
    assert.instance(error, KvError);
    return error as KvError;
  }
  throw new Error('nothing was thrown');
}

/** Everything that a caller can see of a memtable. */
function state(memtable: Memtable): unknown {
  const { recordCount, keyCount, dataBytes, largestRevision, smallestRevision } = memtable;
  const records = [...memtable.records()].map((r) => [
    Buffer.from(r.key).toString('hex'),
    r.modRevision,
    r.value.length,
  ]);
  return { recordCount, keyCount, dataBytes, largestRevision, smallestRevision, records };
}

for (const build of ['release', 'debug'] as const) {
  test(`${build}: the longest key and the largest value are stored; one byte more is refused and changes nothing`, () => {
    const memtable = new Memtable({ sizeBytes: MIB, build });
    const key = Buffer.alloc(MAX_STORED_KEY_BYTES, 0xff);
    const value = Buffer.alloc(MAX_STORED_VALUE_BYTES, 7);
    value.writeUInt32LE(0xdeadbeef, value.length - 4);
    put(memtable, key, value, 1);
    put(memtable, Buffer.alloc(1), EMPTY, 2);
    assert.is(Buffer.compare(memtable.getCopy(key)!, value), 0);
    assert.is(Buffer.compare(memtable.getView(key)!, value), 0);
    const before = state(memtable);
    assert.is(
      thrownBy(() => put(memtable, Buffer.alloc(MAX_STORED_KEY_BYTES + 1), EMPTY, 3)).code,
      'KEY_TOO_LARGE',
    );
    assert.is(
      thrownBy(() => put(memtable, 'k', Buffer.alloc(MAX_STORED_VALUE_BYTES + 1), 3)).code,
      'VALUE_TOO_LARGE',
    );
    assert.is(thrownBy(() => put(memtable, EMPTY, EMPTY, 3)).code, 'INVALID_ARGUMENT');
    assert.equal(state(memtable), before);
  });

  test(`${build}: a revision that does not grow is refused and changes nothing`, () => {
    const memtable = new Memtable({ sizeBytes: MIB, build });
    put(memtable, 'a', Buffer.from('1'), 5);
    const before = state(memtable);
    const used = memtable.usedBytes;
    for (const revision of [5, 4]) {
      assert.is(thrownBy(() => put(memtable, 'a', Buffer.from('2'), revision)).code, 'INTERNAL');
    }
    assert.equal(state(memtable), before);
    assert.is(memtable.usedBytes, used);
    put(memtable, 'b', Buffer.from('2'), 4);
    assert.is(memtable.recordCount, 2);
    assert.is(memtable.smallestRevision, 4);
    assert.is(memtable.largestRevision, 5);
  });

  test(`${build}: it is full at its soft size, and goes on far beyond it`, () => {
    const memtable = new Memtable({ sizeBytes: MIB, build });
    const value = Buffer.alloc(20_000);
    let revision = 0;
    while (!memtable.full) put(memtable, `k${revision}`, value.fill(revision), ++revision);
    assert.ok(memtable.usedBytes >= MIB && memtable.usedBytes < MIB + 70_000);
    // Views made before the memory grew stay valid.
    const early = memtable.getView(Buffer.from('k3'))!;
    while (memtable.usedBytes < 24 * MIB) put(memtable, `k${revision}`, value.fill(revision), ++revision);
    assert.ok(memtable.memoryBytes >= 24 * MIB);
    assert.ok(early.every((byte) => byte === 3));
    for (let i = 0; i < revision; i++) {
      const found = memtable.getView(Buffer.from(`k${i}`))!;
      assert.is(found.length, 20_000);
      assert.is(found[0], i & 255);
      assert.is(found[19_999], i & 255);
    }
  });

  test(`${build}: at the end of its memory a put is refused, changes nothing, and smaller ones still fit`, () => {
    const memtable = new Memtable({ sizeBytes: MIB, build, maximumBytes: 3 * MIB });
    put(memtable, 'a', Buffer.alloc(MIB, 1), 1);
    const before = state(memtable);
    assert.is(thrownBy(() => put(memtable, 'b', Buffer.alloc(2 * MIB), 2)).code, 'REQUEST_TOO_LARGE');
    assert.equal(state(memtable), before);
    put(memtable, 'b', Buffer.alloc(MIB, 2), 2);
    let revision = 2;
    const error = thrownBy(() => {
      for (;;) put(memtable, `c${revision}`, EMPTY, ++revision);
    });
    assert.is(error.code, 'REQUEST_TOO_LARGE');
    assert.is(memtable.recordCount, revision - 1);
    assert.is(memtable.scan({ ...EVERYTHING, keysOnly: true }).records.length, revision - 1);
    assert.is(memtable.getView(Buffer.from('b'))![5], 2);
  });

  test(`${build}: where memory is too short to double the hash index, keys still fit and are found`, () => {
    // At 2560 keys the next table of 64 KiB does not fit any more, while hundreds of keys do.
    const memtable = new Memtable({ sizeBytes: 256 * 1024, build, maximumBytes: 448 * 1024 });
    put(memtable, 'padding', Buffer.alloc(10_000), 1);
    const keys: string[] = [];
    const error = thrownBy(() => {
      for (;;) {
        put(memtable, `key-${keys.length}`, EMPTY, keys.length + 1);
        keys.push(`key-${keys.length}`);
      }
    });
    assert.is(error.code, 'REQUEST_TOO_LARGE');
    assert.ok(keys.length > 2800, `${keys.length} keys: the index was doubled, so this shows nothing`);
    assert.is(memtable.keyCount, keys.length + 1);
    for (const key of keys) assert.ok(memtable.has(Buffer.from(key)));
    for (let i = 0; i < 1000; i++) assert.not.ok(memtable.has(Buffer.from(`none-${i}`)));
  });
}

test('keys in ascending, descending and shuffled order are all found and come out sorted, through growth of the index', () => {
  const memtable = new Memtable({ sizeBytes: MIB, build: 'debug' });
  const sorted = Array.from({ length: 20_000 }, (_, i) => Buffer.from(String(i).padStart(6, '0')));
  const shuffled = sorted.map((_, i) => sorted[(i * 7919) % sorted.length]!);
  for (const keys of [sorted, sorted.toReversed(), shuffled]) {
    memtable.reset();
    for (const [i, key] of keys.entries()) put(memtable, key, EMPTY, i + 1);
    for (const key of keys) assert.ok(memtable.has(key));
    const walked = [...memtable.records()].map((record) => Buffer.from(record.key).toString());
    assert.equal(
      walked,
      sorted.map((key) => key.toString()),
    );
  }
});

test('a key too long to exist is not found; a range bound too long to exist is refused', () => {
  const memtable = new Memtable({ sizeBytes: MIB });
  put(memtable, 'a', EMPTY, 1);
  const long = Buffer.alloc(MAX_STAGED_BYTES + 1, 0x61);
  assert.is(memtable.find(long), 0);
  assert.is(memtable.findAt(long, 9), 0);
  assert.is(thrownBy(() => memtable.scan({ ...EVERYTHING, start: long })).code, 'KEY_TOO_LARGE');
});

test('impossible sizes are refused', () => {
  for (const sizeBytes of [0, 1000, 2 ** 30 + 1, 1.5 * MIB + 0.5, Number.NaN]) {
    assert.is(thrownBy(() => new Memtable({ sizeBytes })).code, 'CONFIG_INVALID');
  }
  assert.is(
    thrownBy(() => new Memtable({ sizeBytes: 64 * MIB, maximumBytes: 65536 * 2 })).code,
    'CONFIG_INVALID',
  );
  assert.is(thrownBy(() => createWasmMemory(2 ** 40, 2 ** 40)).code, 'UNAVAILABLE');
});

test('an assertion of the debug build comes out as an error; the release build has none', () => {
  const memory = createWasmMemory(MIB, MIB);
  const debug = instantiateWasm(memory, 'debug');
  assert.is(debug.reset(6, 0n, 1), 1);
  const error = thrownBy(() => debug.find(MAX_STAGED_BYTES + 1000));
  assert.is(error.code, 'INTERNAL');
  assert.match(error.message, /assertion .* at line \d+/);
  assert.is(instantiateWasm(memory, 'release').find(MAX_STAGED_BYTES + 1000), 0);
});

test('sixteen memtables of 64 MiB, each able to grow by 1 GiB, exist at once', () => {
  const memtables = Array.from({ length: 16 }, () => new Memtable({ sizeBytes: 64 * MIB }));
  for (const [i, memtable] of memtables.entries()) put(memtable, 'k', Buffer.alloc(4, i), 1);
  for (const [i, memtable] of memtables.entries()) assert.is(memtable.getView(Buffer.from('k'))![0], i);
});

test('a recycled memtable shows nothing of its past', () => {
  const pool = new MemtablePool({ sizeBytes: MIB, build: 'debug' }, 2);
  const first = pool.acquire();
  for (let i = 0; i < 5000; i++) put(first, `old${i}`, Buffer.alloc(50, 0xaa), i + 1000);
  const pristine = state(new Memtable({ sizeBytes: MIB }));
  pool.release(first);
  assert.is(pool.pooled, 1);
  assert.is(pool.pooledBytes, first.memoryBytes);
  const again = pool.acquire();
  assert.is(again, first);
  assert.equal(state(again), pristine);
  assert.equal(again.scan(EVERYTHING), { records: [], more: false });
  assert.equal(again.scan({ ...EVERYTHING, reverse: true }), { records: [], more: false });
  for (let i = 0; i < 5000; i++) assert.is(again.find(Buffer.from(`old${i}`)), 0);
  // Lower revisions than in its past are fine, and nodes lie elsewhere than before.
  for (let i = 0; i < 3000; i++) put(again, `new${i % 700}`, EMPTY, i + 1);
  assert.is(again.keyCount, 700);
  assert.is(again.smallestRevision, 1);
  assert.is([...again.records()].length, 3000);
});

test('the pool keeps no more than it may, drops memories that grew far, and refuses what it did not lend', () => {
  const pool = new MemtablePool({ sizeBytes: MIB }, 1);
  const [a, b, c] = [pool.acquire(), pool.acquire(), pool.acquire()];
  put(c, 'big', Buffer.alloc(8 * MIB), 1);
  put(c, 'big', Buffer.alloc(8 * MIB), 2);
  pool.release(c);
  assert.is(pool.pooled, 0);
  pool.release(a);
  pool.release(b);
  assert.is(pool.pooled, 1);
  assert.is(thrownBy(() => pool.release(a)).code, 'INTERNAL');
  assert.is(thrownBy(() => pool.release(new Memtable({ sizeBytes: MIB }))).code, 'INTERNAL');
  assert.is(pool.acquire(), a);
});

/** Walks level 0 by the documented layout (docs/formats/memtable.md), without any call into the writer's instance. */
const READER = `
const { parentPort, workerData } = require('node:worker_threads');
const HEAD = 4096 + 256;
let walks = 0, seen = 0;
function walk() {
  const u32 = new Uint32Array(workerData.memory.buffer), f64 = new Float64Array(workerData.memory.buffer), u8 = new Uint8Array(workerData.memory.buffer);
  const next = (node) => Atomics.load(u32, (node - 4) >> 2);
  let count = 0, last = '';
  for (let node = next(HEAD); node !== 0; node = next(node)) {
    const length = u32[(node + 8) >> 2];
    const key = Buffer.from(u8.slice(node + 12, node + 12 + length)).toString('latin1');
    if (key <= last) throw new Error('keys out of order: ' + last + ' ' + key);
    last = key;
    let newer = Infinity;
    for (let v = Atomics.load(u32, node >> 2); v !== 0; v = u32[v >> 2]) {
      const revision = f64[(v + 8) >> 3];
      if (!(revision < newer)) throw new Error('versions out of order under ' + key);
      newer = revision;
      // The value is the revision, written before the version was linked.
      if (f64[(v + 48) >> 3] !== revision) throw new Error('half a version under ' + key);
    }
    count++;
  }
  if (count < seen) throw new Error('keys went away');
  seen = count;
  walks++;
}
const stop = new Int32Array(workerData.stop);
parentPort.postMessage('started');
while (Atomics.load(stop, 0) === 0) walk();
walk();
parentPort.postMessage({ walks, seen });
`;

test('another thread walks the memory while the writer writes, and only ever sees whole versions in order', async () => {
  const memtable = new Memtable({ sizeBytes: 8 * MIB });
  const stop = new SharedArrayBuffer(4);
  const worker = new Worker(READER, { eval: true, workerData: { memory: memtable.sharedMemory, stop } });
  await once(worker, 'message');
  const finished = once(worker, 'message');
  const value = Buffer.alloc(8);
  const keys = Array.from({ length: 3000 }, (_, i) => Buffer.from(`k${(i * 7919) % 3000}`));
  for (let revision = 1; revision <= 60_000; revision++) {
    value.writeDoubleLE(revision);
    put(memtable, keys[(revision * 31) % keys.length]!, value, revision);
  }
  Atomics.store(new Int32Array(stop), 0, 1);
  const [result] = (await finished) as [{ walks: number; seen: number }];
  assert.is(result.seen, memtable.keyCount);
  assert.ok(result.walks >= 1);
  await worker.terminate();
});

test.run();
