/** The manifest file: what is written comes back, anything else is refused with its place, and no crash leaves a mixture. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import { crc32 } from '../../../src/storage/crc32.ts';
import { DiskError } from '../../../src/storage/disk.ts';
import { MemoryDisk } from '../../../src/storage/memory_disk.ts';
import { LOSS_RULES } from '../../../src/storage/memory_disk_nodes.ts';
import { LEVEL_COUNT, Levels, type PlacedTable } from '../../../src/storage/tables/levels.ts';
import {
  decodeManifest,
  encodeManifest,
  MANIFEST_TEMPORARY_NAME,
  type Manifest,
  readManifest,
  replaceManifest,
} from '../../../src/storage/tables/manifest.ts';
import { test } from '../../suite.ts';
import { bytesOf, seededRandom } from '../record_model.ts';
import { placed } from './placed_tables.ts';

function levelsOf(lists: PlacedTable[][], flushSequence = 5): Levels {
  return Levels.of(
    Array.from({ length: LEVEL_COUNT }, (_, level) => lists[level] ?? []),
    flushSequence,
  );
}

function manifestOf(lists: PlacedTable[][], changes: Partial<Manifest> = {}): Manifest {
  return {
    sequence: 3,
    nextFileNumber: 1_000_000,
    applied: { index: 42, term: 7, state: bytesOf('the state') },
    compactRevision: 17,
    levels: levelsOf(lists),
    ...changes,
  };
}

const SAMPLE = manifestOf([
  [
    placed('b', 'x', { flushSequence: 5, fileNumber: 50 }),
    placed('a', 'c', { flushSequence: 4, fileNumber: 40 }),
  ],
  [],
  [
    placed('a', 'f', {
      flushSequence: 3,
      fileNumber: 30,
      cleanedRevision: 12,
      tombstoneCount: 4,
      keyCount: 60,
    }),
    placed('g', 'z'.repeat(300), { flushSequence: 2, fileNumber: 999_999, largestRevision: 2 ** 53 - 1 }),
  ],
]);

/** What an error tells, as text: uvu cannot print a KvError. */
function problemOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (!(error instanceof KvError)) throw error;
    assert.is(error.details['file'], 'FILE');
    assert.type(error.details['offset'], 'number');
    return `${error.code} ${error.details['problem']}`;
  }
  return 'accepted';
}

/** The manifest's bytes with something changed, under a checksum that is right. */
function forged(change: (view: DataView, bytes: Uint8Array) => void): Uint8Array {
  const bytes = encodeManifest(SAMPLE);
  const view = new DataView(bytes.buffer);
  change(view, bytes);
  view.setUint32(bytes.length - 4, crc32(bytes.subarray(0, bytes.length - 4)), true);
  return bytes;
}

test('every field comes back', () => {
  const read = decodeManifest(encodeManifest(SAMPLE), 'FILE');
  assert.equal(read, SAMPLE);
  const empty: Manifest = {
    sequence: 1,
    nextFileNumber: 1,
    applied: undefined,
    compactRevision: 0,
    levels: Levels.empty,
  };
  assert.equal(decodeManifest(encodeManifest(empty), 'FILE'), empty);
  const emptyState = manifestOf([], { applied: { index: 0, term: 0, state: new Uint8Array(0) } });
  assert.equal(decodeManifest(encodeManifest(emptyState), 'FILE'), emptyState);
});

test('keys and state own their bytes', () => {
  const bytes = encodeManifest(SAMPLE);
  const read = decodeManifest(bytes, 'FILE');
  bytes.fill(0);
  assert.equal(read, SAMPLE);
});

test('property: any tables come back', () => {
  const count = fc.nat(2 ** 32);
  const fact = fc.record({
    records: fc.integer({ min: 1, max: 2 ** 32 - 1 }),
    a: count,
    b: count,
    level: fc.nat(6),
  });
  fc.assert(
    fc.property(fc.array(fact, { maxLength: 20 }), (facts) => {
      const lists: PlacedTable[][] = Array.from({ length: LEVEL_COUNT }, () => []);
      facts.forEach(({ records, a, b, level }, i) => {
        lists[level]!.push(
          placed(`${String(i).padStart(3, '0')}a`, `${String(i).padStart(3, '0')}b`, {
            recordCount: records,
            keyCount: 1 + (a % records),
            tombstoneCount: b % (records + 1),
            blockCount: 1 + (b % records),
            smallestRevision: Math.min(a, b),
            largestRevision: Math.max(a, b),
            dataBytes: a * 1000,
            fileBytes: 1 + (b % (2 ** 31 - 2)),
            fileNumber: i + 1,
            cleanedRevision: a,
          }),
        );
      });
      const manifest = manifestOf(lists);
      assert.equal(decodeManifest(encodeManifest(manifest), 'FILE'), manifest);
    }),
    { numRuns: 200 },
  );
});

test('every flipped bit and every cut is noticed', () => {
  const bytes = encodeManifest(SAMPLE);
  for (let at = 0; at < bytes.length; at++) {
    const damaged = new Uint8Array(bytes);
    damaged[at]! ^= 1 << (at % 8);
    assert.match(
      problemOf(() => decodeManifest(damaged, 'FILE')),
      /^CORRUPT /,
      `byte ${at}`,
    );
    assert.match(
      problemOf(() => decodeManifest(bytes.subarray(0, at), 'FILE')),
      /^CORRUPT /,
      `cut at ${at}`,
    );
  }
  const longer = new Uint8Array(bytes.length + 1);
  longer.set(bytes);
  assert.match(
    problemOf(() => decodeManifest(longer, 'FILE')),
    /the file has/,
  );
});

test('no number is believed, even under a right checksum', () => {
  const firstTable = 80 + 9;
  const wrong: [string, (view: DataView, bytes: Uint8Array) => void, RegExp][] = [
    ['version', (view) => view.setUint16(8, 2, true), /version 2 is unknown/],
    ['reserved', (view) => view.setUint16(10, 1, true), /reserved/],
    ['flag', (view) => view.setUint32(12, 2, true), /neither 0 nor 1/],
    ['applied, but not', (view) => view.setUint32(12, 0, true), /there is none/],
    ['sequence', (view) => view.setUint32(16, 0, true), /out of range/],
    ['past 2^53', (view) => view.setUint32(36, 2 ** 31, true), /out of range/],
    ['state length', (view) => view.setUint32(72, 2 ** 31, true), /longer than the file/],
    ['tables', (view) => view.setUint32(76, 2 ** 31, true), /more tables/],
    ['fewer tables', (view) => view.setUint32(76, 3, true), /bytes follow/],
    ['one table too many', (view) => view.setUint32(76, 5, true), /cut off|more tables/],
    ['level', (view) => view.setUint32(firstTable, 7, true), /level 7/],
    ['order of levels', (view) => view.setUint32(firstTable, 3, true), /comes after/],
    ['blocks', (view) => view.setUint32(firstTable + 4, 0, true), /0 blocks/],
    ['more blocks than records', (view) => view.setUint32(firstTable + 4, 101, true), /101 blocks/],
    ['key length', (view) => view.setUint32(firstTable + 8, 0, true), /0 bytes/],
    ['key length', (view) => view.setUint32(firstTable + 12, 70_000, true), /70000 bytes/],
    ['key length', (view) => view.setUint32(firstTable + 12, 60_000, true), /longer than the file/],
    ['file number', (view) => view.setUint32(firstTable + 16, 0, true), /out of range/],
    ['file number', (view) => view.setUint32(firstTable + 16, 1_000_000, true), /out of range/],
    ['twice', (view) => view.setUint32(firstTable + 16, 40, true), /twice/],
    ['file bytes', (view) => view.setUint32(firstTable + 24, 2 ** 31, true), /out of range/],
    ['flush', (view) => view.setUint32(firstTable + 32, 6, true), /flush 6/],
    ['revisions', (view) => view.setUint32(firstTable + 48, 1001, true), /out of range/],
    ['keys', (view) => view.setUint32(firstTable + 72, 101, true), /out of range/],
    ['tombstones', (view) => view.setUint32(firstTable + 80, 101, true), /out of range/],
    ['reserved', (view) => view.setUint32(firstTable + 100, 1, true), /reserved/],
    ['key order', (_, bytes) => bytes.set(bytesOf('z'), firstTable + 112), /end before/],
  ];
  for (const [what, change, problem] of wrong)
    assert.match(
      problemOf(() => decodeManifest(forged(change), 'FILE')),
      problem,
      what,
    );
});

test('what could not be read back is not written', () => {
  const wrong = manifestOf([[placed('a', 'b', { keyCount: 101, fileNumber: 5 })]]);
  assert.throws(
    () => encodeManifest(wrong),
    (error: unknown) => error instanceof KvError && error.code === 'INTERNAL',
  );
});

async function diskWith(manifest: Manifest): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  await disk.makeDirectory('/tree');
  await disk.syncDirectory('/');
  await replaceManifest(disk, '/tree', manifest);
  return disk;
}

test('a crash at any operation of a replacement leaves the old or the new manifest, whole', async () => {
  const next = manifestOf([[placed('q', 'r', { fileNumber: 77, flushSequence: 5 })]], { sequence: 4 });
  for (const rule of LOSS_RULES) {
    let operations = 0;
    for (let operation = 1; operations === 0; operation++) {
      for (let seed = 0; seed < 4; seed++) {
        const disk = await diskWith(SAMPLE);
        disk.crashAt(operation);
        const error = await replaceManifest(disk, '/tree', next).then(
          () => undefined,
          (failure: unknown) => failure,
        );
        disk.crash(rule, seededRandom(operation * 31 + seed));
        const found = await readManifest(disk, '/tree');
        if (error === undefined) {
          assert.equal(found, next);
          operations = operation;
        } else assert.ok(found?.sequence === 3 || found?.sequence === 4, `${rule} ${operation}`);
        assert.equal(found, found?.sequence === 3 ? SAMPLE : next);
      }
    }
    assert.ok(operations >= 5, 'create, write, sync, rename, sync of the directory');
  }
});

test('a failure says whether it may be tried again', async () => {
  const next = manifestOf([], { sequence: 4 });
  const outcome = async (arm: (disk: MemoryDisk) => void): Promise<string> => {
    const disk = await diskWith(SAMPLE);
    arm(disk);
    const code = await replaceManifest(disk, '/tree', next).then(
      () => 'done',
      (error: unknown) =>
        error instanceof DiskError ? `disk ${error.code}` : error instanceof KvError ? error.code : 'other',
    );
    disk.capacityBytes = Number.POSITIVE_INFINITY;
    assert.is((await readManifest(disk, '/tree'))?.sequence, code === 'done' || code === 'late' ? 4 : 3);
    if (code.startsWith('disk'))
      assert.not(await disk.exists(`/tree/${MANIFEST_TEMPORARY_NAME}`), 'its space is given back');
    return code;
  };
  assert.is(await outcome((disk) => disk.failAt(1)), 'disk IO');
  assert.is(await outcome((disk) => disk.failWrite(1)), 'disk IO');
  assert.is(await outcome((disk) => disk.failSync(1)), 'STORAGE_FAILED');
  assert.is(
    await outcome((disk) => {
      disk.capacityBytes = disk.usedBytes() + 10;
    }),
    'disk NO_SPACE',
  );
  const disk = await diskWith(SAMPLE);
  disk.failSync(2);
  const error = await replaceManifest(disk, '/tree', next).catch((failure: unknown) => failure);
  assert.ok(error instanceof KvError && error.code === 'STORAGE_FAILED');
});

test('what an earlier attempt left is no obstacle; a missing manifest is none', async () => {
  const disk = new MemoryDisk();
  await disk.makeDirectory('/tree');
  assert.is(await readManifest(disk, '/tree'), undefined);
  const file = await disk.open(`/tree/${MANIFEST_TEMPORARY_NAME}`, 'create');
  await file.write([new Uint8Array(10_000).fill(1)], 0);
  await file.close();
  await replaceManifest(disk, '/tree', SAMPLE);
  assert.equal(await readManifest(disk, '/tree'), SAMPLE);
  assert.equal(await disk.list('/tree'), ['MANIFEST']);
});

test.run();
