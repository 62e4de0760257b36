/** Snapshot files, spoilt with and without their checksums put right: every record that was written, or CORRUPT with file and offset. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { compareRecords, copyRecord, type StoredRecord } from '../../src/storage/record.ts';
import { encodeRecord, RecordReader, recordSizeBound } from '../../src/storage/snapshot/record_codec.ts';
import {
  BLOCK_HEADER_BYTES,
  encodeFooter,
  encodeHeader,
  extendBlocksCrc,
  sealBlock,
} from '../../src/storage/snapshot/snapshot_format.ts';
import { openSnapshot, verifySnapshot } from '../../src/storage/snapshot/snapshot_reader.ts';
import { plainRecord, RecordModel, seededRandom, showAll } from '../storage/record_model.ts';
import { test } from '../suite.ts';
import { edgeParameters, edgeRuns, guardedAsync, report, shownBytes } from './edge_guard.ts';
import { noise, spoilt, steps } from './mutations.ts';
import { resealSnapshot } from './resealed.ts';

const RUNS = edgeRuns(300);
const PATH = '/data/one.kvsnap';
const STATE = Uint8Array.from({ length: 60 }, (_, i) => i);

/** A snapshot of several small blocks, put together by the format's own functions. */
function specimen(seed: number): { bytes: Uint8Array; records: StoredRecord[] } {
  const random = seededRandom(seed);
  const model = new RecordModel();
  for (let i = 0; i < 30; i++) model.add(model.randomWrite(random, 60));
  const records = [...model.records].sort(compareRecords);
  const parts = [encodeHeader({ index: 12, term: 3, state: STATE })];
  let blocksCrc = 0;
  for (let at = 0; at < records.length; at += 5) {
    const page = records.slice(at, at + 5);
    const block = new Uint8Array(
      BLOCK_HEADER_BYTES + page.reduce((sum, one) => sum + recordSizeBound(one), 0),
    );
    let end = BLOCK_HEADER_BYTES;
    for (const record of page) end = encodeRecord(block, end, record);
    const sealed = block.slice(0, end);
    blocksCrc = extendBlocksCrc(blocksCrc, sealBlock(sealed, page.length));
    parts.push(sealed);
  }
  const sizeBytes = parts.reduce((sum, part) => sum + part.length, 0) + 28;
  parts.push(encodeFooter({ recordCount: records.length, sizeBytes, blocksCrc }));
  return { bytes: new Uint8Array(Buffer.concat(parts)), records };
}

const one = specimen(1);
const other = specimen(2);

async function diskWith(bytes: Uint8Array): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  await disk.makeDirectory('/data');
  const file = await disk.open(PATH, 'create');
  file.writeSync([bytes], 0);
  await file.close();
  return disk;
}

async function readAll(disk: MemoryDisk): Promise<StoredRecord[]> {
  const reader = await openSnapshot(disk, PATH);
  const records: StoredRecord[] = [];
  for await (const page of reader.records()) for (const record of page) records.push(copyRecord(record));
  return records;
}

async function play(name: string, bytes: Uint8Array): Promise<StoredRecord[] | undefined> {
  const disk = await diskWith(bytes);
  const input = () => shownBytes(bytes);
  const read = await guardedAsync(name, bytes.length, 1024 * 1024, ['CORRUPT'], input, () => readAll(disk));
  const checked = await guardedAsync(`${name}, checked`, bytes.length, 1024 * 1024, [], input, () =>
    verifySnapshot(disk, PATH),
  );
  assert.ok(checked.ok);
  if (checked.ok) assert.is(checked.value.length === 0, read.ok, `the checker disagrees: ${input()}`);
  if (read.ok) return read.value;
  const { file, offset } = read.error.details;
  assert.is(file, PATH);
  assert.ok(typeof offset === 'number' && offset >= 0 && offset <= bytes.length, `offset ${offset}`);
  return undefined;
}

test('the specimen is what the reader takes', async () => {
  assert.equal(showAll((await play('whole', one.bytes)) ?? []), showAll(one.records));
});

test('a spoilt snapshot is refused, or holds what was written', async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (how) => {
      const bytes = spoilt(one.bytes, other.bytes, how);
      const records = await play('snapshot', bytes);
      if (records !== undefined)
        assert.ok([one, other].some((known) => Buffer.compare(known.bytes, bytes) === 0));
    }),
    edgeParameters(RUNS),
  );
});

test('a spoilt snapshot whose checksums are right is refused or read without harm', async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (how) => {
      const bytes = resealSnapshot(new Uint8Array(spoilt(one.bytes, other.bytes, how)));
      const records = await play('sealed snapshot', bytes);
      if (records === undefined) return;
      for (const record of records) {
        for (const field of [
          'modRevision',
          'createRevision',
          'version',
          'subRevision',
          'expiresAtMs',
        ] as const)
          assert.ok(Number.isSafeInteger(record[field]) && record[field] >= 0, `${field} ${record[field]}`);
      }
      const ordered = records.every((record, i) => i === 0 || compareRecords(records[i - 1]!, record) < 0);
      assert.ok(ordered, 'records in order');
    }),
    edgeParameters(RUNS),
  );
});

test('noise and every cut', async () => {
  await fc.assert(
    fc.asyncProperty(noise, async (bytes) => {
      assert.is(await play('snapshot of noise', bytes), undefined);
      const sealed = resealSnapshot(new Uint8Array(Buffer.concat([one.bytes.subarray(0, 32), bytes])));
      await play('snapshot of noise', sealed);
    }),
    edgeParameters(Math.ceil(RUNS / 4)),
  );
  for (let size = 0; size < one.bytes.length; size++)
    assert.is(await play('cut snapshot', one.bytes.slice(0, size)), undefined);
});

test('a packed number of endless zero groups is refused', () => {
  const record = plainRecord('key', 5, Buffer.from('value'));
  const packed = new Uint8Array(recordSizeBound(record));
  const length = encodeRecord(packed, 0, record);
  for (const zeros of [1, 7, 8, 9, 146, 147, 148, 200, 2_000]) {
    for (const at of [0, 1, 2, 4]) {
      const bytes = Uint8Array.of(
        ...packed.subarray(0, at),
        ...new Uint8Array(zeros).fill(0x80),
        ...packed.subarray(at, length),
      );
      const reader = new RecordReader(bytes);
      try {
        reader.read(0);
        const numbers = [
          reader.modRevision,
          reader.keyLength,
          reader.valueLength,
          reader.createRevision,
          reader.end,
        ];
        assert.ok(numbers.every(Number.isSafeInteger), `${zeros} groups at ${at}: ${numbers}`);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
      }
    }
  }
});

test.after(report);
test.run();
