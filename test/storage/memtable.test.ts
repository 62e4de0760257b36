/** The memtable against a plain model, on the release and on the debug build (whose assertions watch its invariants). */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { Memtable } from '../../src/storage/memtable.ts';
import { FLAG_TOMBSTONE, type StoredRecord } from '../../src/storage/record.ts';
import { test } from '../suite.ts';
import {
  anyBound,
  anyKey,
  anyWrites,
  MemtableModel,
  plain,
  plainPage,
  type Write,
} from './memtable_model.ts';

const EMPTY = new Uint8Array(0);

function apply(writes: readonly Write[], memtable: Memtable): MemtableModel {
  const model = new MemtableModel();
  let revision = 0;
  for (const [i, write] of writes.entries()) {
    revision += write.revisionStep;
    const record: StoredRecord = {
      key: write.key,
      value: write.tombstone ? EMPTY : write.value,
      modRevision: revision,
      createRevision: write.tombstone ? 0 : 2 ** 40 + i,
      version: write.tombstone ? 0 : i + 1,
      subRevision: i % 7,
      flags: write.tombstone ? FLAG_TOMBSTONE : 0,
      lease: write.lease,
      expiresAtMs: write.expiresAtMs,
    };
    model.put(record);
    putRecord(memtable, record);
  }
  return model;
}

function putRecord(memtable: Memtable, r: StoredRecord): void {
  memtable.put(
    r.key,
    r.value,
    r.modRevision,
    r.createRevision,
    r.version,
    r.subRevision,
    r.flags,
    r.lease,
    r.expiresAtMs,
  );
}

const anyLimit = fc.oneof(fc.integer({ min: 1, max: 6 }), fc.constant(1000));
const anyMaxBytes = fc.oneof(fc.integer({ min: 1, max: 200 }), fc.constant(1e9));
const anyRevision = fc.oneof(fc.integer({ min: 0, max: 200 }), fc.constant(Number.MAX_SAFE_INTEGER));
const anyEnd = fc.option(anyBound, { nil: undefined });

for (const build of ['release', 'debug'] as const) {
  // One memtable serves all runs of a property: every run also shows that a reset leaves nothing behind.
  const memtable = new Memtable({ sizeBytes: 1 << 20, build, hashSeed: 77n });

  test(`${build}: point reads at any revision give what the model gives`, () => {
    fc.assert(
      fc.property(anyWrites, fc.array(anyKey, { maxLength: 5 }), anyRevision, (writes, others, revision) => {
        memtable.reset();
        const model = apply(writes, memtable);
        for (const key of [...writes.map((write) => write.key), ...others]) {
          const newest = model.at(key, Number.MAX_SAFE_INTEGER);
          assert.equal(plain(memtable.latest(key)), plain(newest));
          assert.equal(plain(memtable.at(key, revision)), plain(model.at(key, revision)));
          assert.is(memtable.has(key), newest !== undefined);
          const live = newest !== undefined && newest.flags === 0 ? Buffer.from(newest.value) : undefined;
          const view = memtable.getView(key);
          const copy = memtable.getCopy(key);
          assert.equal(view && Buffer.from(view), live);
          assert.equal(copy && Buffer.from(copy), live);
        }
      }),
      { numRuns: 150 },
    );
  });

  test(`${build}: scans of any range, direction, revision, limit and byte bound give what the model gives`, () => {
    const anyScan = fc.record({
      start: anyBound,
      end: anyEnd,
      revision: anyRevision,
      reverse: fc.boolean(),
      limit: anyLimit,
      maxBytes: anyMaxBytes,
      keysOnly: fc.boolean(),
      tombstones: fc.boolean(),
    });
    fc.assert(
      fc.property(anyWrites, fc.array(anyScan, { minLength: 1, maxLength: 12 }), (writes, scans) => {
        memtable.reset();
        const model = apply(writes, memtable);
        for (const scan of scans) assert.equal(plainPage(memtable.scan(scan)), plainPage(model.scan(scan)));
      }),
      { numRuns: 200 },
    );
  });

  test(`${build}: versions of any range, filter and continuation give what the model gives`, () => {
    const anyVersions = fc.record({
      start: anyBound,
      end: anyEnd,
      after: fc.option(fc.record({ key: anyKey, modRevision: fc.integer({ min: 0, max: 200 }) }), {
        nil: undefined,
      }),
      minRevision: fc.integer({ min: 0, max: 100 }),
      maxRevision: anyRevision,
      limit: anyLimit,
      maxBytes: anyMaxBytes,
    });
    fc.assert(
      fc.property(
        anyWrites,
        fc.array(anyVersions, { minLength: 1, maxLength: 12 }),
        fc.nat(),
        (writes, requests, pick) => {
          memtable.reset();
          const model = apply(writes, memtable);
          const stored = model.all[pick % model.all.length]!;
          const after = { key: stored.key, modRevision: stored.modRevision };
          for (const request of requests) {
            assert.equal(plainPage(memtable.versions(request)), plainPage(model.versions(request)));
            const resumed = { ...request, after };
            assert.equal(plainPage(memtable.versions(resumed)), plainPage(model.versions(resumed)));
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  test(`${build}: records() walks every version in record order, and the counters add up`, () => {
    fc.assert(
      fc.property(anyWrites, (writes) => {
        memtable.reset();
        const model = apply(writes, memtable);
        assert.equal([...memtable.records()].map(plain), model.all.map(plain));
        assert.is(memtable.recordCount, model.all.length);
        assert.is(memtable.keyCount, new Set(model.all.map((r) => Buffer.from(r.key).toString('hex'))).size);
        const bytes = model.all.reduce((sum, r) => sum + r.key.length + r.value.length, 0);
        assert.is(memtable.dataBytes, bytes);
        assert.is(memtable.smallestRevision, Math.min(...model.all.map((r) => r.modRevision)));
        assert.is(memtable.largestRevision, Math.max(...model.all.map((r) => r.modRevision)));
        assert.ok(memtable.usedBytes > bytes);
      }),
      { numRuns: 100 },
    );
  });

  test(`${build}: paging by limit meets every key once, in both directions, and a walk may be read beside`, () => {
    memtable.reset();
    const keys = Array.from({ length: 3000 }, (_, i) =>
      Buffer.from(`k${(i * 7919) % 3000}`.padStart(9, '0')),
    );
    for (const [i, key] of keys.entries()) memtable.put(key, key, i + 1, i + 1, 1, 0, 0, 0n, 0);
    const sorted = keys.map((key) => key.toString()).sort();
    for (const reverse of [false, true]) {
      const seen: string[] = [];
      let start: Uint8Array = EMPTY;
      let end: Uint8Array | undefined;
      for (let more = true; more; ) {
        const page = memtable.scan({
          start,
          end,
          revision: 1e9,
          reverse,
          limit: 700,
          maxBytes: 1e9,
          keysOnly: true,
        });
        seen.push(...page.records.map((record) => Buffer.from(record.key).toString()));
        more = page.more;
        if (reverse) end = Buffer.from(seen.at(-1)!);
        else start = Buffer.from(`${seen.at(-1)!}\0`);
      }
      assert.equal(seen, reverse ? sorted.toReversed() : sorted);
    }
    // A flush is such a walk; scans go on while it waits for the disk, and use the same batch in memory.
    const walked: string[] = [];
    for (const record of memtable.records()) {
      walked.push(Buffer.from(record.key).toString());
      if (walked.length % 500 === 0) {
        memtable.scan({
          start: EMPTY,
          end: undefined,
          revision: 1e9,
          reverse: true,
          limit: 300,
          maxBytes: 1e9,
          keysOnly: true,
        });
      }
    }
    assert.equal(walked, sorted);
  });

  test(`${build}: a key overwritten very often is found at every revision, also through long pages of versions`, () => {
    memtable.reset();
    const key = Buffer.from('hot');
    const value = Buffer.alloc(8);
    for (let revision = 1; revision <= 5000; revision++) {
      value.writeUInt32LE(revision);
      memtable.put(key, value, revision * 2, 1, revision, 0, 0, 0n, 0);
    }
    for (let revision = 1; revision <= 5000; revision++) {
      assert.is(Buffer.from(memtable.at(key, revision * 2 + 1)!.value).readUInt32LE(), revision);
    }
    assert.is(memtable.at(key, 1), undefined);
    assert.is(memtable.keyCount, 1);
    let after: { key: Uint8Array; modRevision: number } | undefined;
    const seen: number[] = [];
    for (let more = true; more; ) {
      const page = memtable.versions({
        start: EMPTY,
        end: undefined,
        after,
        minRevision: 100,
        maxRevision: 9000,
        limit: 600,
        maxBytes: 1e9,
      });
      seen.push(...page.records.map((record) => record.modRevision));
      after = { key, modRevision: seen.at(-1)! };
      more = page.more;
    }
    assert.equal(
      seen,
      Array.from({ length: 4451 }, (_, i) => 9000 - 2 * i),
    );
  });
}

test('the fields of a handle are those of the record', () => {
  const memtable = new Memtable({ sizeBytes: 1 << 20 });
  const key = Buffer.from('a');
  assert.is(memtable.find(key), 0);
  memtable.put(key, Buffer.from('one'), 5, 3, 2, 0, 0, -7n, 99.5);
  memtable.put(key, EMPTY, 8, 0, 0, 1, FLAG_TOMBSTONE, 0n, 0);
  const old = memtable.findAt(key, 7);
  assert.is(memtable.modRevision(old), 5);
  assert.is(memtable.createRevision(old), 3);
  assert.is(memtable.versionCount(old), 2);
  assert.is(memtable.lease(old), -7n);
  assert.is(memtable.expiresAtMs(old), 99.5);
  assert.is(memtable.isTombstone(old), false);
  assert.is(Buffer.from(memtable.valueView(old)).toString(), 'one');
  const newest = memtable.find(key);
  assert.is(memtable.modRevision(newest), 8);
  assert.is(memtable.isTombstone(newest), true);
  assert.is(memtable.getCopy(key), undefined);
  assert.is(memtable.findAt(key, 4), 0);
});

test('copies stay what they were while the memtable and other copies go on', () => {
  const memtable = new Memtable({ sizeBytes: 1 << 20 });
  const copies: { size: number; fill: number; copy: Uint8Array }[] = [];
  for (let i = 0; i < 200; i++) {
    const size = [0, 1, 100, 4095, 4096, 4097, 40_000][i % 7]!;
    const key = Buffer.from(`k${i}`);
    memtable.put(key, Buffer.alloc(size, i), i + 1, i + 1, 1, 0, 0, 0n, 0);
    copies.push({ size, fill: i, copy: memtable.getCopy(key)! });
  }
  memtable.reset();
  memtable.put(Buffer.from('x'), Buffer.alloc(900_000, 0xee), 1, 1, 1, 0, 0, 0n, 0);
  for (const { size, fill, copy } of copies) {
    assert.is(copy.length, size);
    assert.ok(copy.every((byte) => byte === fill));
  }
});

test('values keep their bytes, lease and expiry wherever in a buffer they come from', () => {
  const buffer = Uint8Array.from({ length: 6000 }, (_, i) => (i * 7) & 255);
  for (const build of ['release', 'debug'] as const) {
    const memtable = new Memtable({ sizeBytes: 1 << 20, build });
    const key = new Uint8Array(3);
    let revision = 0;
    for (const length of [0, 1, 7, 8, 63, 64, 65, 71, 200, 5000]) {
      for (let offset = 0; offset < 8; offset++) {
        key.set([length & 255, length >> 8, offset]);
        const value = buffer.subarray(offset, offset + length);
        revision++;
        const [lease, expiresAtMs] = [offset & 1 ? -5n : 0n, offset & 2 ? 17 : 0];
        memtable.put(key, value, revision, 1, 1, 0, FLAG_TOMBSTONE & offset, lease, expiresAtMs);
        const handle = memtable.find(key);
        assert.equal(new Uint8Array(memtable.valueCopy(handle)), new Uint8Array(value));
        assert.equal(new Uint8Array(memtable.valueView(handle)), new Uint8Array(value));
        assert.is(memtable.lease(handle), lease);
        assert.is(memtable.expiresAtMs(handle), expiresAtMs);
      }
    }
    assert.is([...memtable.records()].length, revision);
  }
});

test('a put after a look-up of its key, or of another one, goes where it belongs', () => {
  const memtable = new Memtable({ sizeBytes: 1 << 20, build: 'debug' });
  const [a, b] = [Uint8Array.of(1), Uint8Array.of(2)];
  const put = (key: Uint8Array, revision: number): void =>
    memtable.put(key, key, revision, 1, 1, 0, 0, 0n, 0);
  assert.is(memtable.find(a), 0);
  put(a, 1);
  put(a, 2);
  assert.is(memtable.find(b), 0);
  put(a, 3);
  put(b, 4);
  assert.is(memtable.find(a) === 0, false);
  memtable.scan({
    start: b,
    end: undefined,
    revision: 9,
    reverse: false,
    limit: 1,
    maxBytes: 99,
    keysOnly: false,
  });
  put(b, 5);
  assert.is(memtable.find(a) === 0, false);
  memtable.reset();
  put(a, 6);
  assert.is(memtable.keyCount, 1);
  assert.equal(
    [...memtable.records()].map((record) => record.modRevision),
    [6],
  );
});

test.run();
