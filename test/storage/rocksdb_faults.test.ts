/** The RocksDB tree where something is wrong: a binding that aborts the process, one that fails to write, damaged rows; and its order of rows. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { realPorts } from '../../src/real_ports.ts';
import { compareRecords, type StoredRecord } from '../../src/storage/record.ts';
import {
  type LevelBatch,
  type LevelDatabase,
  type LevelIterator,
  type LevelOpen,
  levelOpen,
  rocksDbError,
} from '../../src/storage/rocksdb/level_binding.ts';
import { probeRocksDb } from '../../src/storage/rocksdb/rocksdb_probe.ts';
import { RocksDbTree } from '../../src/storage/rocksdb/rocksdb_tree.ts';
import {
  decodeState,
  encodeRowKey,
  encodeRowValue,
  encodeState,
  Row,
} from '../../src/storage/rocksdb/row_codec.ts';
import { failureOf } from '../outcomes.ts';
import { test } from '../suite.ts';
import { bytesOf, plainRecord, runOf, show } from './record_model.ts';
import { disk, ports } from './rocksdb_lab.ts';

const NEWEST = Number.MAX_SAFE_INTEGER;

/** A package in a directory of its own, to be probed. */
async function withPackage(source: string, run: (path: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'kvorum-probe-'));
  try {
    await writeFile(join(directory, 'index.cjs'), source);
    await run(join(directory, 'index.cjs'));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const timers = realPorts().timers;

test('the probe survives a binding that aborts, and says what happened and what to do', async () => {
  const source = 'process.stderr.write("terminate called\\n  what():  std::bad_alloc\\n"); process.abort();';
  await withPackage(source, async (packageName) => {
    const error = await failureOf(probeRocksDb({ timers, packageName }));
    assert.is(error.code, 'TREE_UNAVAILABLE');
    assert.match(error.message, 'SIGABRT');
    assert.match(error.message, 'std::bad_alloc');
    assert.match(error.message, 'storage.tree "tables"');
  });
});

test('the probe tells a binding that throws, one that hangs and one that is missing', async () => {
  await withPackage("throw new Error('no native build was found')", async (packageName) => {
    const error = await failureOf(probeRocksDb({ timers, packageName }));
    assert.match(error.message, 'no native build was found');
  });
  await withPackage('for (;;);', async (packageName) => {
    const error = await failureOf(probeRocksDb({ timers, packageName, limitMs: 300 }));
    assert.match(error.message, 'no answer within 300 ms');
  });
  const missing = await failureOf(probeRocksDb({ timers, packageName: 'kvorum-no-such-package' }));
  assert.is(missing.code, 'TREE_UNAVAILABLE');
  assert.match(missing.message, 'npm install');
  await withPackage('module.exports = 1;', async (packageName) => {
    assert.match(await probeRocksDb({ timers, packageName }), /^file:\/\/.*index\.cjs$/);
  });
});

test('a binding that is not what it should be is refused', async () => {
  for (const wrong of [undefined, 7, {}, { default: {} }])
    assert.throws(() => levelOpen(wrong), /level-rocksdb/);
  const odd = levelOpen({
    default: (_path: string, _options: object, done: (e: null, db: object) => void) => done(null, {}),
  });
  assert.is((await failureOf(odd('/nowhere', true))).code, 'TREE_UNAVAILABLE');
  const failing = levelOpen({
    default: (_path: string, _options: object, done: (e: Error) => void) =>
      done(new Error('Corruption: bad block')),
  });
  assert.is((await failureOf(failing('/nowhere', true))).code, 'CORRUPT');
});

test("RocksDB's complaints become codes", () => {
  const codeOf = (message: string) =>
    rocksDbError(new Error('wrapped', { cause: new Error(message) }), 'x').code;
  assert.is(codeOf('Corruption: block checksum mismatch'), 'CORRUPT');
  assert.is(codeOf('IO error: While lock file: /x/LOCK: Resource temporarily unavailable'), 'LOCKED');
  assert.is(codeOf('IO error: No space left on device'), 'STORAGE_FAILED');
  assert.is(rocksDbError('text', 'x').code, 'STORAGE_FAILED');
  const own = new KvError('CLOSED', 'x');
  assert.is(rocksDbError(own, 'y'), own);
});

const record = fc
  .record({
    key: fc.uint8Array({ maxLength: 12, max: 3 }),
    value: fc.uint8Array({ maxLength: 20 }),
    modRevision: fc.oneof(fc.nat({ max: 5 }), fc.maxSafeNat()),
    createRevision: fc.maxSafeNat(),
    version: fc.maxSafeNat(),
    subRevision: fc.nat(),
    flags: fc.constantFrom(0, 1),
    lease: fc.oneof(fc.constant(0n), fc.bigInt({ min: 0n, max: (1n << 64n) - 1n })),
    expiresAtMs: fc.oneof(fc.constant(0), fc.maxSafeNat()),
  })
  .map((fields): StoredRecord => fields);

test('the order of row keys as bytes is record order, then newest flush first, for any bytes in keys', () => {
  fc.assert(
    fc.property(record, record, fc.nat({ max: 3 }), fc.nat({ max: 3 }), (a, b, flushA, flushB) => {
      const bytes = Math.sign(Buffer.compare(encodeRowKey(a, flushA), encodeRowKey(b, flushB)));
      const records = Math.sign(compareRecords(a, b) || flushB - flushA || a.flags - b.flags);
      assert.is(bytes, records);
    }),
    { numRuns: 3000 },
  );
});

test('a record comes back from its row, and a row with one byte changed does not pass', () => {
  fc.assert(
    fc.property(record, fc.nat(), fc.integer({ min: 1, max: 255 }), (written, place, change) => {
      const key = encodeRowKey(written, 7);
      const value = encodeRowValue(written, key, Buffer.alloc(48));
      const row = new Row();
      row.parse(key);
      assert.is(row.flushId, 7);
      assert.is(show(row.record(value)), show(written));
      assert.is(row.record(value, true).value.length, 0);
      const damaged = Buffer.from(value);
      damaged[place % value.length]! ^= change;
      assert.throws(() => row.record(damaged), /damaged/);
    }),
    { numRuns: 500 },
  );
});

test('row keys and states of another form are called damage', () => {
  const row = new Row();
  const key = encodeRowKey(plainRecord('abc', 5, bytesOf('v')), 1);
  for (const wrong of [
    Buffer.alloc(0),
    Buffer.from([1, 2, 3]),
    key.subarray(1),
    key.subarray(0, key.length - 1),
  ])
    assert.throws(() => row.parse(wrong), /damaged/);
  row.parse(Buffer.concat([Buffer.from([1, 97, 0, 7]), key.subarray(4)]));
  assert.throws(() => row.storedKey(), /wrong escape/);
  const huge = Buffer.from(key);
  huge.fill(0xff, key.length - 17, key.length - 9);
  assert.throws(() => row.parse(huge), /impossible number/);
  const state = encodeState({ flushId: 3, applied: { index: 4, term: 2, state: bytesOf('blob') } });
  assert.is(decodeState(state).applied.index, 4);
  for (let i = 0; i < state.length; i++) {
    const damaged = Buffer.from(state);
    damaged[i]! ^= 1;
    assert.throws(() => decodeState(damaged), /checksum/);
  }
});

/** A database in memory that fails when told to. */
class FakeDatabase implements LevelDatabase {
  readonly rows = new Map<string, Buffer>();
  failWrites = false;
  failReads = false;
  batches = 0;
  batch(): LevelBatch {
    const pending: [string, Buffer | undefined][] = [];
    return {
      put: (key, value) => void pending.push([key.toString('hex'), Buffer.from(value)]),
      del: (key) => void pending.push([key.toString('hex'), undefined]),
      write: async () => {
        this.batches++;
        if (this.failWrites) throw new Error('IO error: No space left on device');
        for (const [key, value] of pending)
          value === undefined ? this.rows.delete(key) : this.rows.set(key, value);
      },
    };
  }
  async getMany(keys: readonly Buffer[]): Promise<(Buffer | undefined)[]> {
    return keys.map((key) => this.rows.get(key.toString('hex')));
  }
  iterator(range: { gte?: Buffer; gt?: Buffer; lt: Buffer }): LevelIterator {
    const from = (range.gte ?? range.gt)!.toString('hex');
    const keys = [...this.rows.keys()].filter((key) => key >= from && key < range.lt.toString('hex')).sort();
    return {
      next: (callback) => {
        setImmediate(() => {
          if (this.failReads) return callback(new Error('Corruption: bad block'));
          const key = keys.shift();
          if (key === undefined) callback(null);
          else callback(null, Buffer.from(key, 'hex'), this.rows.get(key)!);
        });
      },
      seek: () => undefined,
      end: (callback) => void setImmediate(callback),
    };
  }
  approximateSize(
    _start: Buffer,
    _end: Buffer,
    callback: (error: Error | null, size?: number) => void,
  ): void {
    callback(null, 0);
  }
  async close(): Promise<void> {}
}

async function withFake(run: (tree: RocksDbTree, database: FakeDatabase) => Promise<void>): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'kvorum-fake-'));
  const database = new FakeDatabase();
  const binding: LevelOpen = async (directory) => {
    await mkdir(directory, { recursive: true });
    return database;
  };
  const tree = await RocksDbTree.open({ disk, path: join(root, 'tree'), ports, binding });
  try {
    await run(tree, database);
  } finally {
    await tree.close();
    await rm(root, { recursive: true, force: true });
  }
}

const APPLIED = { index: 1, term: 1, state: bytesOf('s') };

test('after a write that failed nothing more is written, and what was there can still be read', async () => {
  await withFake(async (tree, database) => {
    await tree.flush(runOf([plainRecord('a', 1, bytesOf('x'))]), APPLIED);
    database.failWrites = true;
    const error = await failureOf(
      tree.flush(runOf([plainRecord('b', 2, bytesOf('y'))]), { ...APPLIED, index: 2 }),
    );
    assert.is(error.code, 'STORAGE_FAILED');
    assert.match(error.message, 'No space left');
    database.failWrites = false;
    const batches = database.batches;
    assert.is((await failureOf(tree.flush(runOf([]), { ...APPLIED, index: 2 }))).code, 'STORAGE_FAILED');
    assert.is((await failureOf(tree.install(APPLIED, (async function* () {})()))).code, 'STORAGE_FAILED');
    assert.is(database.batches, batches);
    assert.is((await tree.get(bytesOf('a'), NEWEST))?.modRevision, 1);
    assert.is(tree.durable?.index, 1);
  });
});

test('a failure in the background is told by the next flush', async () => {
  await withFake(async (tree, database) => {
    await tree.flush(runOf([plainRecord('a', 2, bytesOf('y')), plainRecord('a', 1, bytesOf('x'))]), APPLIED);
    database.failWrites = true;
    tree.compact(2);
    await tree.settled();
    assert.match((await failureOf(tree.flush(runOf([]), APPLIED))).message, 'cannot remove rows');
  });
});

test('a block that cannot be read is damage, and the tree that has one at open does not open', async () => {
  await withFake(async (tree, database) => {
    await tree.flush(runOf([plainRecord('a', 1, bytesOf('x'))]), APPLIED);
    database.failReads = true;
    assert.is((await failureOf(tree.get(bytesOf('a'), 1))).code, 'CORRUPT');
    const root = await mkdtemp(join(tmpdir(), 'kvorum-fake-'));
    database.rows.delete('00');
    const binding: LevelOpen = async (directory) => {
      await mkdir(directory, { recursive: true });
      return database;
    };
    const open = RocksDbTree.open({ disk, path: join(root, 'tree'), ports, binding });
    assert.is((await failureOf(open)).code, 'CORRUPT');
    await rm(root, { recursive: true, force: true });
  });
});

test.run();
