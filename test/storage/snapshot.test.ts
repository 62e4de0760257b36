/** Snapshot files: what is written comes back, and no damage goes unnoticed. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { compareRecords, copyRecord, type StoredRecord } from '../../src/storage/record.ts';
import { encodeRecord, RecordReader, recordSizeBound } from '../../src/storage/snapshot/record_codec.ts';
import { openSnapshot, verifySnapshot } from '../../src/storage/snapshot/snapshot_reader.ts';
import { writeSnapshot } from '../../src/storage/snapshot/snapshot_writer.ts';
import { test } from '../suite.ts';
import { plainRecord, RecordModel, seededRandom, show, showAll } from './record_model.ts';

const APPLIED = { index: 2 ** 40 + 3, term: 7, state: Uint8Array.from({ length: 300 }, (_, i) => i % 256) };

/** Pages of records for the writer. */
function pages(records: readonly StoredRecord[], size: number): () => StoredRecord[] {
  let at = 0;
  return () => {
    const page = records.slice(at, at + size);
    at += size;
    return page;
  };
}

async function readAll(disk: MemoryDisk, path: string): Promise<StoredRecord[]> {
  const reader = await openSnapshot(disk, path);
  assert.equal(reader.applied, APPLIED);
  const records: StoredRecord[] = [];
  for await (const page of reader.records()) for (const record of page) records.push(copyRecord(record));
  return records;
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'done',
    (error: unknown) => (error instanceof KvError ? error.code : String(error)),
  );
}

function randomRecords(count: number, maxValueBytes: number): StoredRecord[] {
  const random = seededRandom(count);
  const model = new RecordModel();
  for (let i = 0; i < count; i++) model.add(model.randomWrite(random, maxValueBytes));
  return [...model.records];
}

test('any record survives packing, and cutting the bytes short anywhere is noticed', () => {
  const revision = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
  const anyRecord = fc.record({
    key: fc.uint8Array({ minLength: 1, maxLength: 300 }),
    value: fc.uint8Array({ maxLength: 300 }),
    modRevision: revision,
    createRevision: revision,
    version: fc.nat(),
    subRevision: fc.nat(),
    flags: fc.constantFrom(0, 1),
    lease: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    expiresAtMs: fc.constantFrom(0, 1, 1_700_000_000_000, Number.MAX_SAFE_INTEGER),
  });
  fc.assert(
    fc.property(anyRecord, fc.nat(), (record, cut) => {
      const bytes = new Uint8Array(recordSizeBound(record) + 5);
      const end = encodeRecord(bytes, 5, record);
      const reader = new RecordReader(bytes);
      reader.read(5);
      assert.is(reader.end, end);
      assert.is(show(reader.record()), show(record));
      const short = new RecordReader(bytes.subarray(0, 5 + (cut % (end - 5))));
      assert.throws(
        () => short.read(5),
        (error: unknown) => error instanceof RangeError,
      );
    }),
    { numRuns: 300 },
  );
});

test('a record that breaks every limit is refused by the encoder and by the decoder', () => {
  const huge = plainRecord(new Uint8Array(70_000), 1, new Uint8Array(0));
  assert.throws(() => encodeRecord(new Uint8Array(100_000), 0, huge), /larger than any limit/);
  assert.throws(() =>
    encodeRecord(new Uint8Array(1_000), 0, { ...plainRecord('a', 1, new Uint8Array(1)), flags: 64 }),
  );
  // keyLength 2^27
  const bytes = Uint8Array.of(1, 0x80, 0x80, 0x80, 0x40, 0, 0, 0, 0, 0, 0, 0, 0);
  assert.throws(() => new RecordReader(bytes).read(0), /longer than allowed/);
  // A revision of 70 bits.
  assert.throws(() => new RecordReader(new Uint8Array(20).fill(0xff)).read(0), /out of range/);
});

test('what is written comes back, whatever the sizes of pages and values', async () => {
  const cases: [StoredRecord[], number][] = [
    [[], 1],
    [randomRecords(1, 10), 1],
    [randomRecords(3_000, 300), 97],
    [randomRecords(900, 3_000), 900],
    [
      [plainRecord('a', 1, new Uint8Array(8 * 1024 * 1024).fill(3)), plainRecord('b', 2, new Uint8Array(1))],
      2,
    ],
  ];
  for (const [records, size] of cases) {
    const disk = new MemoryDisk();
    const sizeBytes = await writeSnapshot(disk, '/s', APPLIED, pages(records, size));
    const file = await disk.open('/s', 'read');
    assert.is(file.sizeBytes(), sizeBytes);
    assert.equal(showAll(await readAll(disk, '/s')), showAll(records));
    assert.equal(await verifySnapshot(disk, '/s'), []);
  }
});

test('a flipped bit at any offset is found', async () => {
  const disk = new MemoryDisk();
  const sizeBytes = await writeSnapshot(disk, '/s', APPLIED, pages(randomRecords(60, 60), 20));
  assert.ok(sizeBytes > 2_000 && sizeBytes < 8_000);
  for (let offset = 0; offset < sizeBytes; offset++) {
    const mask = 1 << (offset % 8);
    disk.damage('/s', offset, mask);
    const problems = await verifySnapshot(disk, '/s');
    assert.is(problems.length, 1, `offset ${offset}`);
    assert.is(problems[0]?.file, '/s');
    assert.is(await codeOf(readAll(disk, '/s')), 'CORRUPT');
    disk.damage('/s', offset, mask);
  }
  assert.equal(await verifySnapshot(disk, '/s'), []);
});

test('a file cut off or grown at any place is found', async () => {
  const disk = new MemoryDisk();
  const sizeBytes = await writeSnapshot(disk, '/s', APPLIED, pages(randomRecords(30, 60), 20));
  const whole = await disk.readFile('/s');
  const file = await disk.open('/cut', 'open');
  for (let length = 0; length <= sizeBytes + 40; length += length < sizeBytes - 40 ? 13 : 1) {
    if (length === sizeBytes) continue;
    await file.truncate(0);
    const bytes = new Uint8Array(length);
    bytes.set(whole.subarray(0, length));
    await file.write([bytes], 0);
    assert.is((await verifySnapshot(disk, '/cut')).length, 1, `${length} of ${sizeBytes} B`);
  }
});

test('blocks moved or left out are found although each is whole', async () => {
  const disk = new MemoryDisk();
  const records = Array.from({ length: 30 }, (_, i) =>
    plainRecord(`\u0001${10 + i}`, i + 1, new Uint8Array(20_000)),
  );
  await writeSnapshot(disk, '/s', APPLIED, pages(records, 30));
  const whole = await disk.readFile('/s');
  const view = new DataView(whole.buffer, whole.byteOffset, whole.length);
  const first = 32 + APPLIED.state.length + 4;
  const second = first + 12 + view.getUint32(first, true);
  const third = second + 12 + view.getUint32(second, true);
  const write = async (path: string, parts: Uint8Array[]): Promise<void> => {
    const file = await disk.open(path, 'create');
    await file.write(parts, 0);
  };
  const [head, one, two, rest] = [
    whole.subarray(0, first),
    whole.subarray(first, second),
    whole.subarray(second, third),
    whole.subarray(third),
  ];
  await write('/swapped', [head, two, one, rest]);
  assert.match((await verifySnapshot(disk, '/swapped'))[0]?.problem ?? '', 'out of order');
  await write('/missing', [head, one, rest]);
  assert.match((await verifySnapshot(disk, '/missing'))[0]?.problem ?? '', 'footer says');
});

test('a file of another kind or version is refused', async () => {
  const disk = new MemoryDisk();
  const file = await disk.open('/text', 'create');
  await file.write([new Uint8Array(100).fill(65)], 0);
  assert.match((await verifySnapshot(disk, '/text'))[0]?.problem ?? '', 'not a snapshot');
  await writeSnapshot(disk, '/s', APPLIED, pages([], 1));
  disk.damage('/s', 8, 3);
  assert.match((await verifySnapshot(disk, '/s'))[0]?.problem ?? '', 'version 2 is unknown');
  assert.is(await codeOf(openSnapshot(disk, '/nowhere')), 'DiskError: /nowhere: no such file or directory');
});

test('the writer refuses records out of order, and leaves no half file behind', async () => {
  const disk = new MemoryDisk();
  const records = randomRecords(20, 10);
  for (const wrong of [[...records].sort((a, b) => compareRecords(b, a)), [records[0]!, records[0]!]]) {
    assert.is(await codeOf(writeSnapshot(disk, '/s', APPLIED, pages(wrong, 5))), 'INTERNAL');
    assert.not(await disk.exists('/s'));
  }
  disk.capacityBytes = 1_000;
  assert.match(await codeOf(writeSnapshot(disk, '/s', APPLIED, pages(randomRecords(100, 100), 5))), 'space');
  assert.not(await disk.exists('/s'));
});

test.run();
