/**
 * The files of the log, spoilt: opening gives entries that were appended, from the first on and without a gap, or CORRUPT with file and offset. Never other entries,
 * another error, or more memory than the files explain. Sealed anew, hostile segments may say what they like; they are still read without harm.
 */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { crc32 } from '../../src/storage/crc32.ts';
import {
  encodeHeader,
  HEADER_BYTES,
  parseSegmentName,
  RECORD_HEADER_BYTES,
  recordBytes,
  writeRecordHeader,
} from '../../src/storage/log/format.ts';
import { RangeChecksums } from '../../src/storage/log/range_checksums.ts';
import type { SegmentedLog } from '../../src/storage/log/segmented_log.ts';
import { verifyLog } from '../../src/storage/log/verify.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { contents, entry, LOG_PATH, openLog, VirtualPorts } from '../storage/log/log_fixture.ts';
import { test } from '../suite.ts';
import { edgeParameters, edgeRuns, guardedAsync, report, shownBytes } from './edge_guard.ts';
import { noise, spoilt, steps } from './mutations.ts';
import { resealSegment } from './resealed.ts';

const RUNS = edgeRuns(250);
const MIB = 1024 * 1024;
const OPTIONS = { segmentSizeBytes: 1024, preallocateBytes: 512 };
/** Windows for reading and zeroing, and the caches of an open log. */
const WINDOW_BYTES = 4 * 1024 * 1024;

interface File {
  readonly name: string;
  readonly bytes: Uint8Array;
}

async function filesOf(disk: MemoryDisk): Promise<File[]> {
  const names = await disk.list(LOG_PATH);
  return Promise.all(
    names.map(async (name) => ({ name, bytes: new Uint8Array(await disk.readFile(`${LOG_PATH}/${name}`)) })),
  );
}

async function diskOf(files: readonly File[]): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  await disk.makeDirectory(LOG_PATH);
  for (const { name, bytes } of files) {
    const file = await disk.open(`${LOG_PATH}/${name}`, 'create');
    file.writeSync([bytes], 0);
    await file.close();
  }
  return disk;
}

/** A log with entries of several terms, marks, a truncation and a cut, in several segments. */
async function specimen(): Promise<File[]> {
  const disk = new MemoryDisk();
  const ports = new VirtualPorts();
  const log = await openLog(disk, { ...OPTIONS, ports });
  for (let i = 1; i <= 24; i++) {
    const hardState = i % 6 === 1 ? { term: 1 + Math.floor(i / 6), vote: 1, commit: i - 1 } : undefined;
    await log.append(hardState, [entry(i, 1 + Math.floor((i - 1) / 6), (i * 13) % 90)], true);
  }
  await ports.advance(3_000);
  await log.close();
  return filesOf(disk);
}

const files = await specimen();
const whole = contents(await openLog(await diskOf(files), OPTIONS));
const totalBytes = files.reduce((sum, { bytes }) => sum + bytes.length, 0);

/** One or two files spoilt, and now and then one in another's place, doubled or missing. */
const damage = fc.record({
  file: fc.nat(files.length - 1),
  other: fc.nat(files.length - 1),
  how: steps,
  again: fc.option(fc.tuple(fc.nat(files.length - 1), steps), { nil: undefined }),
  move: fc.constantFrom('none', 'none', 'none', 'none', 'replace', 'remove', 'double'),
});
type DamageOf<T> = T extends fc.Arbitrary<infer D> ? D : never;

function spoiltFiles({ file, other, how, again, move }: DamageOf<typeof damage>, reseal: boolean): File[] {
  const now = files.map(({ name, bytes }) => ({ name, bytes }));
  const spoil = (at: number, by: DamageOf<typeof steps>) => {
    const { name, bytes } = now[at]!;
    const changed = new Uint8Array(spoilt(bytes, files[other]!.bytes, by));
    now[at] = { name, bytes: reseal ? resealSegment(changed, name) : changed };
  };
  spoil(file, how);
  if (again !== undefined) spoil(again[0], again[1]);
  if (move === 'remove') now.splice(other, 1);
  if (move === 'replace') now[file] = { name: now[file]!.name, bytes: now[other]!.bytes };
  if (move === 'double') {
    const name = `${(other + 40).toString(16).padStart(16, '0')}-0000abcd.log`;
    const bytes = new Uint8Array(now[other]!.bytes);
    now.push({ name, bytes: reseal ? resealSegment(bytes, name) : bytes });
  }
  return now;
}

function shown(now: readonly File[]): string {
  return now
    .filter(({ name, bytes }) => {
      const before = files.find((one) => one.name === name);
      return before === undefined || Buffer.compare(before.bytes, bytes) !== 0;
    })
    .map(({ name, bytes }) => `${name}: ${shownBytes(bytes)}`)
    .join('\n');
}

async function openSpoilt(
  name: string,
  now: readonly File[],
): Promise<ReturnType<typeof contents> | undefined> {
  const disk = await diskOf(now);
  const checked = disk.fork();
  const input = () => shown(now);
  const opened = await guardedAsync(
    name,
    totalBytes,
    WINDOW_BYTES,
    ['CORRUPT', 'UNSUPPORTED_VERSION'],
    input,
    () => openLog(disk, OPTIONS),
  );
  const findings = await guardedAsync(
    `${name}, checked`,
    totalBytes,
    WINDOW_BYTES,
    ['UNSUPPORTED_VERSION'],
    input,
    () => verifyLog(checked, LOG_PATH),
  );
  if (!opened.ok) {
    assert.type(opened.error.details['file'], 'string', opened.error.message);
    if (opened.error.code === 'CORRUPT') assert.type(opened.error.details['offset'], 'number');
    if (findings.ok)
      assert.ok(
        findings.value.some(({ severity }) => severity === 'damage'),
        'the checker sees nothing',
      );
    return undefined;
  }
  const said = contents(opened.value);
  await opened.value.close();
  // What was repaired must read back the same.
  const again: SegmentedLog = await openLog(disk, OPTIONS);
  assert.equal(contents(again), said, `opened twice: ${input()}`);
  await again.close();
  return said;
}

test('spoilt segments give a prefix of what was appended, or CORRUPT with the place', async () => {
  await fc.assert(
    fc.asyncProperty(damage, async (how) => {
      const now = spoiltFiles(how, false);
      const said = await openSpoilt('log', now);
      if (said === undefined) return;
      assert.is(said.first, whole.first, shown(now));
      assert.equal(said.entries, whole.entries.slice(0, said.entries.length), `other entries: ${shown(now)}`);
    }),
    edgeParameters(RUNS),
  );
});

test('spoilt segments whose checksums are right are read without harm', async () => {
  await fc.assert(
    fc.asyncProperty(damage, async (how) => {
      await openSpoilt('sealed log', spoiltFiles(how, true));
    }),
    edgeParameters(RUNS),
  );
});

test('checksums of ranges are those of their bytes', async () => {
  const bytes = new Uint8Array(3 * 4096 * 3).map((_, i) => (i * 2_654_435_761) >>> 13);
  for (const size of [0, 1, 4095, 4096, 4097, 8192, bytes.length]) {
    const disk = await diskOf([{ name: 'x', bytes: bytes.subarray(0, size) }]);
    const ranges = await RangeChecksums.read(await disk.open(`${LOG_PATH}/x`, 'read'));
    fc.assert(
      fc.property(fc.nat(size), fc.nat(size), fc.nat(0xffff_ffff), (a, b, seed) => {
        const [start, end] = [Math.min(a, b), Math.max(a, b)];
        assert.is(ranges.of(start, end, seed), crc32(bytes.subarray(start, end), seed));
      }),
      edgeParameters(Math.ceil(RUNS / 3)),
    );
  }
});

/** A segment of one long record, as a client's values may fill it: every 40 bytes what looks like the header of a record of `length`. */
function disguised(name: string, valueBytes: number, length: number): Uint8Array<ArrayBuffer> {
  const value = new Uint8Array(valueBytes);
  const view = new DataView(value.buffer);
  for (let at = 0; at + RECORD_HEADER_BYTES <= valueBytes; at += RECORD_HEADER_BYTES) {
    writeRecordHeader(view, at, length, 1, 2, 1, 2 ** 40);
    view.setUint32(at, at, true);
  }
  const start = { startIndex: 0, startTerm: 0, lastIndex: 0, lastTerm: 0, term: 1, vote: 1, commit: 0 };
  const bytes = new Uint8Array(HEADER_BYTES + RECORD_HEADER_BYTES + valueBytes);
  const seed = parseSegmentName(name)!.seed;
  bytes.set(encodeHeader({ sequence: 1, position: 0, synced: 0, lowestSequence: 1, ...start }, seed));
  writeRecordHeader(new DataView(bytes.buffer), HEADER_BYTES, valueBytes, 1, 1, 1, 0);
  bytes.set(value, HEADER_BYTES + RECORD_HEADER_BYTES);
  return resealSegment(bytes, name);
}

test('a torn record full of what looks like headers does not hold up the start', async () => {
  const name = `${'1'.padStart(16, '0')}-0000abcd.log`;
  const whole = disguised(name, 4 * MIB, 2 * MIB);
  const sound = await openLog(await diskOf([{ name, bytes: whole }]), OPTIONS);
  assert.is(sound.lastIndex(), 1, 'the record itself is fine');
  await sound.close();
  // Torn: its first sector never reached the disk. With a checksum of each it took minutes.
  const torn = whole.slice();
  torn.fill(0xee, HEADER_BYTES + 256, HEADER_BYTES + 512);
  const log = await openLog(await diskOf([{ name, bytes: torn }]), OPTIONS);
  assert.is(log.lastIndex(), 0);
  await log.close();
});

test('a long record behind damage still proves that acknowledged data is gone', async () => {
  const name = `${'1'.padStart(16, '0')}-0000abcd.log`;
  const seed = parseSegmentName(name)!.seed;
  const head = disguised(name, 4096, 100_000);
  const bytes = new Uint8Array(head.length + recordBytes(100_001));
  bytes.set(head);
  writeRecordHeader(new DataView(bytes.buffer), head.length, 100_001, 1, 2, 1, head.length);
  bytes.fill(7, head.length + RECORD_HEADER_BYTES, head.length + RECORD_HEADER_BYTES + 100_001);
  const record = bytes.subarray(head.length);
  new DataView(bytes.buffer).setUint32(head.length, crc32(record, seed), true);
  const sound = await openLog(await diskOf([{ name, bytes }]), OPTIONS);
  assert.is(sound.lastIndex(), 2);
  await sound.close();
  bytes[HEADER_BYTES + RECORD_HEADER_BYTES + 9]! ^= 1;
  const refusal: unknown = await openLog(await diskOf([{ name, bytes }]), OPTIONS).catch(
    (error: unknown) => error,
  );
  assert.ok(refusal instanceof KvError && refusal.code === 'CORRUPT', String(refusal));
  assert.is(refusal.details['offset'], HEADER_BYTES);
});

test('noise under the names of segments', async () => {
  await fc.assert(
    fc.asyncProperty(noise, fc.nat(files.length - 1), async (bytes, at) => {
      const now = files.map((file, i) => (i === at ? { name: file.name, bytes } : file));
      const said = await openSpoilt('log of noise', now);
      if (said !== undefined) assert.equal(said.entries, whole.entries.slice(0, said.entries.length));
    }),
    edgeParameters(Math.ceil(RUNS / 4)),
  );
});

test.after(report);
test.run();
