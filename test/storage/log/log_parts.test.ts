/** The parts of the log one by one, where the log as a whole would take too long to bring them to their edges. */

import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import { crc32 } from '../../../src/storage/crc32.ts';
import { EntryCache } from '../../../src/storage/log/entry_cache.ts';
import { EntryPositions } from '../../../src/storage/log/entry_positions.ts';
import {
  decodeHeader,
  encodeHeader,
  HEADER_BYTES,
  KIND_CUT,
  KIND_HARD_STATE,
  KIND_WATERMARK,
  parseSegmentName,
  readU64,
  type SegmentHeader,
  segmentName,
  writeU64,
} from '../../../src/storage/log/format.ts';
import { RecordEncoder } from '../../../src/storage/log/record_encoder.ts';
import { TermRuns } from '../../../src/storage/log/term_runs.ts';
import { MemoryDisk } from '../../../src/storage/memory_disk.ts';
import { test } from '../../suite.ts';
import { contents, entries, entry, LOG_PATH, openLog } from './log_fixture.ts';

test('tens of thousands of entries: the tables grow, shrink at both ends and stay right', async () => {
  const disk = new MemoryDisk();
  const options = {
    segmentSizeBytes: 1 << 18,
    preallocateBytes: 1 << 16,
    cacheBytes: 1 << 22,
    durability: 'os' as const,
  };
  const log = await openLog(disk, options);
  for (let i = 1; i <= 20_000; i += 100)
    await log.append({ term: 1, vote: 1, commit: 0 }, entries(i, i + 99, 1, 8), true);
  await log.cut(15_000);
  assert.ok(log.firstIndex() > 8_000);
  for (let i = 20_001; i <= 24_000; i += 100) await log.append(undefined, entries(i, i + 99, 1, 8), true);
  await log.append({ term: 2, vote: 1, commit: 0 }, entries(23_001, 23_500, 2, 8), true);
  const before = contents(log);
  assert.is(before.entries.length, 23_501 - log.firstIndex());
  await log.close();
  assert.equal(contents(await openLog(disk, options)), before);
});

test('positions: growing after drops keeps what is there; look-ups by position find the edges', () => {
  const table = new EntryPositions();
  table.reset(1);
  for (let i = 1; i <= 1024; i++) table.push(i * 10, i);
  table.dropBefore(1000);
  for (let i = 1025; i <= 4000; i++) table.push(i * 10, i);
  assert.equal(
    [table.first, table.next, table.position(1000), table.length(4000)],
    [1000, 4001, 10_000, 4000],
  );
  assert.equal(
    [0, 10_000, 10_001, 40_000, 40_001].map((at) => table.firstAtOrAfter(at)),
    [1000, 1000, 1001, 4000, 4001],
  );
  table.truncate(3000);
  assert.is(table.next, 3000);
  table.truncate(500);
  assert.equal([table.first, table.next], [500, 500]);
  table.dropBefore(900);
  assert.equal([table.first, table.next], [900, 900]);
});

test('the cache: a ring that grows, evicts the oldest, and forgets what is cut off at either end', () => {
  const cache = new EntryCache();
  cache.reset(10);
  for (let i = 10; i < 5000; i++) cache.push(entry(i, 1, 4));
  assert.equal(
    [10, 2000, 4999].map((i) => cache.get(i)?.index),
    [10, 2000, 4999],
  );
  cache.evict(132 * 100);
  assert.is(cache.first, 4900);
  assert.is(cache.get(4899), undefined);
  cache.truncate(4950);
  assert.is(cache.get(4950), undefined);
  cache.dropBefore(4940);
  assert.is(cache.get(4939), undefined);
  assert.is(cache.get(4940)?.index, 4940);
  cache.dropBefore(6000);
  assert.is(cache.first, 6000);
});

test('term runs answer for every index over truncations and drops', () => {
  const runs = new TermRuns();
  const terms = new Map<number, number>();
  for (let i = 1; i <= 100; i++) {
    runs.push(i, Math.ceil(i / 10));
    terms.set(i, Math.ceil(i / 10));
  }
  runs.truncate(75);
  for (let i = 75; i <= 90; i++) {
    runs.push(i, 20);
    terms.set(i, 20);
  }
  runs.dropBefore(34);
  for (let i = 34; i <= 90; i++) assert.is(runs.at(i), terms.get(i));
  runs.clear();
  assert.is(runs.at(5), 0);
});

test('names: sequence and salt come back; anything else is no segment', () => {
  const name = segmentName(0x1234, 0xdeadbeef);
  assert.is(name.name, '0000000000001234-deadbeef.log');
  assert.equal(parseSegmentName(name.name), name);
  for (const bad of [
    'x',
    '0000000000000000-00000000.log',
    'ffffffffffffffff-00000000.log',
    `${name.name}~`,
  ]) {
    assert.is(parseSegmentName(bad), undefined);
  }
});

test('numbers of 64 bits: up to the safe integers, and refused beyond', () => {
  const view = new DataView(new ArrayBuffer(8));
  for (const value of [0, 1, 0xffffffff, 0x100000000, Number.MAX_SAFE_INTEGER]) {
    writeU64(view, 0, value);
    assert.is(readU64(view, 0), value);
  }
  view.setUint32(4, 0x200000, true);
  assert.is(readU64(view, 0), -1);
});

const HEADER: SegmentHeader = {
  sequence: 1,
  position: 0,
  synced: 0,
  lowestSequence: 1,
  startIndex: 0,
  startTerm: 0,
  lastIndex: 0,
  lastTerm: 0,
  term: 1,
  vote: 1,
  commit: 0,
};

test('a header with a valid checksum and impossible contents is damaged', () => {
  const seed = crc32('x');
  const bytes = encodeHeader(HEADER, seed);
  assert.equal(decodeHeader(bytes, seed), HEADER);
  const forge = (change: (view: DataView) => void): unknown => {
    const copy = bytes.slice();
    const view = new DataView(copy.buffer);
    change(view);
    view.setUint32(12, 0, true);
    view.setUint32(12, crc32(copy, seed), true);
    return decodeHeader(copy, seed);
  };
  assert.is(
    forge((view) => view.setUint8(0, 1)),
    'damaged',
  );
  assert.is(
    forge((view) => view.setUint32(20, 0xffffffff, true)),
    'damaged',
  );
  assert.is(
    forge((view) => view.setUint32(8, 2, true)),
    'version',
  );
  assert.is(decodeHeader(bytes.subarray(0, 50), seed), 'damaged');
  assert.is(decodeHeader(new Uint8Array(50), seed), 'blank');
});

/** One segment with the given records, and a watermark that vouches for all of them. */
async function forgedLog(write: (encoder: RecordEncoder) => void): Promise<KvError | number> {
  const disk = new MemoryDisk();
  await disk.makeDirectory(LOG_PATH);
  const { name, seed } = segmentName(1, 5);
  const encoder = new RecordEncoder();
  encoder.begin(seed, 0);
  write(encoder);
  const file = await disk.open(`${LOG_PATH}/${name}`, 'create');
  file.writeSync([encodeHeader(HEADER, seed), ...encoder.finish()], 0);
  const end = file.sizeBytes();
  encoder.begin(seed, end);
  encoder.record(KIND_WATERMARK, 0, 0);
  file.writeSync(encoder.finish(), end);
  return openLog(disk).then(
    (log) => log.lastIndex(),
    (error: unknown) => {
      if (error instanceof KvError) return error;
      throw error;
    },
  );
}

test('valid records that contradict each other are damage', async () => {
  const eight = new Uint8Array(8);
  const cases: [RegExp, (encoder: RecordEncoder) => void][] = [
    [/does not belong/, (e) => e.entry(entry(2, 1))],
    [/does not belong/, (e) => e.entry(entry(0, 1))],
    [
      /term below/,
      (e) => {
        e.entry(entry(1, 3));
        e.entry(entry(2, 2));
      },
    ],
    [/the term goes back/, (e) => e.record(KIND_HARD_STATE, 0, 0, eight)],
    [/wrong length/, (e) => e.record(KIND_HARD_STATE, 0, 5, new Uint8Array(3))],
    [/outside of the log/, (e) => e.record(KIND_CUT, 7, 1, eight)],
  ];
  for (const [message, write] of cases) {
    const result = await forgedLog(write);
    assert.ok(result instanceof KvError && result.code === 'CORRUPT', String(result));
    assert.match(result.message, message);
  }
  assert.is(await forgedLog((e) => e.entry(entry(1, 1))), 1);
});

test('an entry replaced below the start of what is still there needs the cut that says so', async () => {
  const disk = new MemoryDisk();
  const log = await openLog(disk, { segmentSizeBytes: 1024, preallocateBytes: 512 });
  for (let i = 1; i <= 30; i++) await log.append({ term: 1, vote: 1, commit: 0 }, [entry(i, 1, 30)], true);
  // The newest segment now holds entries that replace some of the one before it.
  await log.append({ term: 2, vote: 1, commit: 0 }, entries(22, 24, 2, 30), true);
  for (let i = 25; i <= 40; i++) await log.append(undefined, [entry(i, 2, 30)], true);
  await log.cut(21);
  const before = contents(log);
  await log.close();
  const again = await openLog(disk);
  assert.equal(contents(again), before);
  assert.is(again.term(again.firstIndex() - 1), 1);
  await again.close();
});

test('the encoder: a batch larger than its scratch memory comes out whole', () => {
  const encoder = new RecordEncoder();
  encoder.begin(1, 0);
  const many = entries(1, 300, 1, 3000);
  for (const each of many) encoder.entry(each);
  const bytes = Buffer.concat([...encoder.finish()]);
  assert.is(bytes.length, 300 * 3040);
  for (let i = 0; i < 300; i++) {
    const at = i * 3040 + 40;
    assert.is(Buffer.compare(bytes.subarray(at, at + 3000), many[i]!.data), 0);
  }
  assert.ok(HEADER_BYTES % 8 === 0);
});

test.run();
