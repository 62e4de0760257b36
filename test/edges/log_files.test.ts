/**
 * The files of the log, spoilt: opening gives entries that were appended, from the first on and without a gap, or CORRUPT with file and offset. Never other entries,
 * another error, or more memory than the files explain. Sealed anew, hostile segments may say what they like; they are still read without harm.
 */
import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { SegmentedLog } from '../../src/storage/log/segmented_log.ts';
import { verifyLog } from '../../src/storage/log/verify.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { contents, entry, LOG_PATH, openLog, VirtualPorts } from '../storage/log/log_fixture.ts';
import { edgeParameters, edgeRuns, guardedAsync, report, shownBytes } from './edge_guard.ts';
import { noise, spoilt, steps } from './mutations.ts';
import { resealSegment } from './resealed.ts';

const RUNS = edgeRuns(250);
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
