/** Files whose checksums are right and whose content makes no sense (a bug of a writer, or malice): refused when opened or read, never trusted. */

import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import { crc32 } from '../../../src/storage/crc32.ts';
import { compareRecords } from '../../../src/storage/record.ts';
import {
  decodeFooter,
  encodeFooter,
  FOOTER_BYTES,
  sealSection,
  sectionCrc,
  sectionsCrc,
  type TableFooter,
  tablePath,
} from '../../../src/storage/tables/format.ts';
import { test } from '../../suite.ts';
import { seededRandom } from '../record_model.ts';
import { keyName, makeDisk, makeSet, recordOf, writeTable } from './set_lab.ts';
import { must } from './table_kit.ts';

const HEADER = 8;
const ENTRY = 40;

interface Forged {
  readonly file: Uint8Array;
  readonly footer: TableFooter;
  /** The index section, writable. */
  readonly index: DataView;
  readonly count: number;
}

/** Seals everything anew after a change. */
function reseal({ file, footer, index, count }: Forged, blocks: boolean): Uint8Array {
  const section = (at: number, length: number): Uint8Array => file.subarray(at, at + length);
  if (blocks) {
    for (let block = 0; block < count; block++) {
      const at = HEADER + block * ENTRY;
      const offset = index.getUint32(at + 8, true);
      const end = offset + index.getUint32(at + 12, true) - 4;
      const crc = crc32(file.subarray(offset, end));
      new DataView(file.buffer, file.byteOffset).setUint32(end, crc, true);
      index.setUint32(at + 24, crc, true);
    }
  }
  const crcs = [
    sectionCrc(sealSection(section(footer.filterOffset, footer.filterLength))),
    sectionCrc(sealSection(section(footer.indexOffset, footer.indexLength))),
    sectionCrc(sealSection(section(footer.propertiesOffset, footer.propertiesLength))),
  ] as const;
  file.set(encodeFooter({ ...footer, sectionsCrc: sectionsCrc(...crcs) }), file.length - FOOTER_BYTES);
  return file;
}

async function makeTable(compression: 'none' | 'lz4') {
  const disk = await makeDisk();
  const records = Array.from({ length: 60 }, (_, i) =>
    recordOf(keyName(i), i + 1, new Uint8Array(80).fill(i)),
  ).sort(compareRecords);
  const info = await writeTable(disk, 'tables', 1, records, { compression, blockSizeBytes: 512 });
  const original = await disk.readFile(tablePath('tables', 1));
  /** Reads every record of a changed file: the problems that were found. */
  const problemsOf = async (change: (forged: Forged) => void, blocks = false, cacheBytes = 0) => {
    const file = new Uint8Array(original);
    const footer = must(decodeFooter(file.subarray(file.length - FOOTER_BYTES), file.length));
    const index = new DataView(file.buffer, footer.indexOffset, footer.indexLength);
    const forged = { file, footer, index, count: info.blockCount };
    change(forged);
    const target = await disk.open(tablePath('tables', 1), 'open');
    target.writeSync([reseal(forged, blocks)], 0);
    await target.close();
    const set = makeSet(disk, { cacheBytes });
    const problems: string[] = [];
    set.onDamage = ({ problem }) => problems.push(problem);
    let opened = true;
    try {
      await set.openTable(info);
    } catch (error) {
      if (!(error instanceof KvError) || error.code !== 'CORRUPT') throw error;
      opened = false;
      assert.is(set.stats().metaBytes, 0);
    }
    if (opened) set.publish([[1]]);
    for (const { key } of opened ? records : []) {
      try {
        set.getNow(key, 1000);
      } catch (error) {
        if (!(error instanceof KvError) || error.code !== 'CORRUPT') throw error;
      }
    }
    await set.close();
    return { opened, problems };
  };
  return { info, problemsOf };
}

async function refused(
  problemsOf: Awaited<ReturnType<typeof makeTable>>['problemsOf'],
  change: (forged: Forged) => void,
  why: RegExp,
): Promise<void> {
  const { opened, problems } = await problemsOf(change);
  assert.is(opened, false);
  assert.match(problems[0] ?? 'nothing was found', why);
}

function entryAt(block: number): number {
  return HEADER + block * ENTRY;
}

test('an index that does not hold together does not open', async () => {
  const { info, problemsOf } = await makeTable('none');
  const { opened, problems } = await problemsOf(() => {});
  assert.is(opened, true);
  assert.equal(problems, [], 'sealing alone changes nothing');
  const set32 = (at: number, change: (value: number) => number) => (forged: Forged) =>
    forged.index.setUint32(at, change(forged.index.getUint32(at, true)) >>> 0, true);
  const last = info.blockCount - 1;
  const checks: [(forged: Forged) => void, RegExp][] = [
    [set32(0, (count) => count + 1), /another length/],
    [set32(4, (length) => length + 1), /another length/],
    [set32(entryAt(1), (keyOffset) => keyOffset + 1), /keys of the index do not follow/],
    [set32(entryAt(1), () => 0xffffffff), /keys of the index do not follow/],
    [set32(entryAt(0) + 4, () => 0), /keys of the index do not follow/],
    [set32(entryAt(0) + 4, () => 0xfffffff0), /keys of the index do not follow/],
    [set32(entryAt(last) + 4, (length) => length - 1), /keys of the index do not follow|largest key/],
    [set32(entryAt(1) + 8, (offset) => offset + 1), /blocks of the index do not follow/],
    [set32(entryAt(2) + 12, () => 0xffffff00), /blocks of the index do not follow/],
    [set32(entryAt(last) + 12, (length) => length - 1), /blocks of the index do not follow/],
    [set32(entryAt(1) + 28, () => 8), /impossible length/],
    [set32(entryAt(1) + 28, () => 0x7fffffff), /impossible length/],
    [set32(entryAt(1) + 28, (length) => length - 1), /impossible length/],
    [(forged) => forged.index.setFloat64(entryAt(1) + 16, 1e9, true), /revision of the index/],
    [(forged) => forged.index.setFloat64(entryAt(1) + 16, Number.NaN, true), /revision of the index/],
    [set32(entryAt(1) + 32, () => 65_536), /reserved field/],
    [set32(entryAt(1) + 36, () => 1), /reserved field/],
    [(forged) => forged.index.setUint8(entryAt(info.blockCount), 0xff), /out of order/],
    [(forged) => forged.index.setUint8(entryAt(info.blockCount), 0), /out of order/],
  ];
  for (const [change, why] of checks) await refused(problemsOf, change, why);
  // The last separator before the largest key.
  await refused(
    problemsOf,
    ({ index, footer }) => {
      const at = footer.indexLength - 5;
      index.setUint8(at, index.getUint8(at) - 1);
    },
    /largest key/,
  );
});

test('sections of another table are not taken for this one', async () => {
  const { problemsOf } = await makeTable('none');
  await refused(
    problemsOf,
    ({ file, footer }) => {
      // A filter that says another number of blocks than it has.
      new DataView(file.buffer).setUint32(footer.filterOffset, 7, true);
    },
    /filter has another length/,
  );
});

test('blocks that make no sense are found when they are read', async () => {
  const { problemsOf } = await makeTable('none');
  const random = seededRandom(6);
  const seen = new Set<string>();
  for (let round = 0; round < 300; round++) {
    const { opened, problems } = await problemsOf(
      ({ file, footer, index }) => {
        const block = Math.floor(random() * 5);
        const offset = index.getUint32(entryAt(block) + 8, true);
        const length = index.getUint32(entryAt(block) + 12, true);
        const kind = round % 3;
        if (kind === 0) file[offset + length - 5] = 1 + Math.floor(random() * 3);
        else if (kind === 1) for (let i = 1; i < 9; i++) file[offset + length - 5 - i] = random() * 256;
        else for (let i = 0; i < 20; i++) file[offset + Math.floor(random() * (length - 5))] = random() * 256;
        assert.ok(offset + length <= footer.filterOffset);
      },
      true,
      round % 2 === 0 ? 0 : 65_536,
    );
    assert.is(opened, true);
    for (const problem of problems) seen.add(problem);
  }
  const all = [...seen].join('; ');
  assert.match(all, /makes no sense/);
  assert.match(all, /cannot be decompressed/);
  assert.match(all, /compressed in an unknown way/);
});

test('compressed blocks that lie about themselves', async () => {
  const { problemsOf } = await makeTable('lz4');
  for (const cacheBytes of [0, 65_536]) {
    const changes: [(file: Uint8Array, offset: number, length: number) => void, RegExp][] = [
      [(file, offset) => (file[offset] = file[offset]! ^ 1), /cannot be decompressed/],
      [(file, offset, length) => file.fill(0xff, offset + 4, offset + length - 5), /cannot be decompressed/],
      [(file, offset, length) => (file[offset + length - 5] = 0), /another length than the index says/],
    ];
    for (const [change, why] of changes) {
      const { problems } = await problemsOf(
        ({ file, index }) => {
          const offset = index.getUint32(entryAt(1) + 8, true);
          change(file, offset, index.getUint32(entryAt(1) + 12, true));
        },
        true,
        cacheBytes,
      );
      assert.match(problems[0] ?? 'nothing was found', why);
    }
  }
});

test.run();
