/** The verifier: nothing to say of sound tables; every flipped byte, cut, swapped or lying part of others is found, at its place. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import type { Disk } from '../../../src/storage/disk.ts';
import { MemoryDisk } from '../../../src/storage/memory_disk.ts';
import { NodeDisk } from '../../../src/storage/node_disk.ts';
import { compareKeys, type StoredRecord } from '../../../src/storage/record.ts';
import {
  decodeFooter,
  decodeProperties,
  encodeFooter,
  encodeProperties,
  FOOTER_BYTES,
  sealSection,
  sectionCrc,
  sectionsCrc,
  type TableFooter,
  type TableInfo,
  type TableOptions,
  tablePath,
} from '../../../src/storage/tables/format.ts';
import { decodeIndex, IndexBuilder } from '../../../src/storage/tables/index_section.ts';
import { buildTables } from '../../../src/storage/tables/record_table_builder.ts';
import { type TableDamage, verifyTable } from '../../../src/storage/tables/verify_table.ts';
import { test } from '../../suite.ts';
import { seededRandom } from '../record_model.ts';
import { BlockDecoder, hardRecords, must, readTable } from './table_kit.ts';

const MIB = 1024 * 1024;
const OPTIONS: TableOptions = {
  blockSizeBytes: 400,
  bitsPerKey: 10,
  compression: 'none',
  tableSizeBytes: 64 * MIB,
};
const PATH = tablePath('', 1);
const decoder = new BlockDecoder();

async function build(
  disk: Disk,
  directory: string,
  records: StoredRecord[],
  options = OPTIONS,
): Promise<TableInfo> {
  async function* pages(): AsyncGenerator<StoredRecord[]> {
    yield records;
  }
  const tables = await buildTables({
    disk,
    directory,
    records: pages(),
    options,
    nextFileNumber: () => 1,
  });
  assert.is(tables.length, 1);
  return tables[0]!;
}

function someRecords(seed: number, keys = 60): StoredRecord[] {
  return hardRecords(seededRandom(seed), { keys, versions: 5, valueBytes: 60 });
}

async function replace(disk: Disk, bytes: Uint8Array): Promise<void> {
  await disk.remove(PATH);
  const file = await disk.open(PATH, 'create');
  file.writeSync([bytes], 0);
  await file.close();
}

const problems = (damages: TableDamage[]): string[] => damages.map(({ problem }) => problem);

test('nothing is said of sound tables', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'kvorum-verify-'));
  try {
    for (const [disk, place] of [
      [new MemoryDisk(), ''],
      [new NodeDisk(), directory],
    ] as const)
      for (const compression of ['none', 'lz4'] as const)
        for (const shape of [
          { keys: 1, versions: 1, valueBytes: 1 },
          { keys: 300, versions: 6, valueBytes: 200 },
          { keys: 5, versions: 900, valueBytes: 300 },
          { keys: 9, versions: 2, valueBytes: 200_000 },
        ]) {
          const options = { ...OPTIONS, compression, blockSizeBytes: 4096 };
          const info = await build(disk, place, hardRecords(seededRandom(7), shape), options);
          const path = tablePath(place, 1);
          assert.equal(await verifyTable(disk, path, info, { build: 'debug' }), []);
          assert.equal(await verifyTable(disk, path), []);
          await disk.remove(path);
        }
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('every flipped byte is found (every fifth of a compressed table), and told where it is and whose keys it may concern', async () => {
  for (const compression of ['none', 'lz4'] as const) {
    const disk = new MemoryDisk();
    const info = await build(disk, '', someRecords(1, 9), { ...OPTIONS, blockSizeBytes: 200, compression });
    const { index, footer, blocks } = await readTable(disk, PATH, decoder);
    assert.ok(index.count > 5 && info.fileBytes < 10_000);
    for (let offset = 0; offset < info.fileBytes; offset += compression === 'lz4' ? 5 : 1) {
      const mask = 1 << (offset & 7);
      disk.damage(PATH, offset, mask);
      const damages = await verifyTable(disk, PATH, info);
      disk.damage(PATH, offset, mask);
      assert.ok(damages.length >= 1, `offset ${offset}`);
      assert.ok(damages.every(({ file, keyRange }) => file === PATH && keyRange !== undefined));
      if (offset >= footer.filterOffset) continue;
      assert.is(damages.length, 1, `offset ${offset}: ${problems(damages).join('; ')}`);
      let block = index.count - 1;
      while (index.offset(block) > offset) block--;
      assert.is(damages[0]!.offset, index.offset(block));
      const { start, end } = damages[0]!.keyRange!;
      for (const { key } of blocks[block]!)
        assert.ok(compareKeys(start, key) <= 0 && compareKeys(key, end!) < 0);
    }
    assert.equal(await verifyTable(disk, PATH, info), []);
  }
});

test('a file that is cut off, longer, empty or missing is found', async () => {
  const disk = new MemoryDisk();
  const info = await build(disk, '', someRecords(2));
  const whole = await disk.readFile(PATH);
  for (let length = 0; length < whole.length; length += length < 100 ? 1 : 97) {
    await replace(disk, whole.subarray(0, length));
    assert.ok((await verifyTable(disk, PATH, info)).length >= 1, `${length} B`);
  }
  await replace(disk, Buffer.concat([whole, Buffer.alloc(1)]));
  assert.is((await verifyTable(disk, PATH)).length, 1);
  await replace(disk, Buffer.concat([Buffer.alloc(1), whole]));
  assert.match(problems(await verifyTable(disk, PATH)).join(), /its footer says/);
  await disk.remove(PATH);
  const [missing] = await verifyTable(disk, PATH, info);
  assert.match(missing!.problem, /cannot be opened/);
  assert.equal(missing!.keyRange!.start, info.smallestKey);
  assert.is((await verifyTable(disk, PATH))[0]!.keyRange, undefined);
});

test('a part that cannot be read is told, and the rest is checked', async () => {
  const disk = new MemoryDisk();
  const records = hardRecords(seededRandom(3), { keys: 900, versions: 6, valueBytes: 1500 });
  const info = await build(disk, '', records, { ...OPTIONS, blockSizeBytes: 4096 });
  // Footer, three sections, then windows of 1 MiB and, when one fails, its first block.
  for (let nth = 1; nth <= 6; nth++) {
    disk.failRead(nth);
    const damages = await verifyTable(disk, PATH, info);
    // A window that fails once can be read in smaller pieces.
    assert.is(damages.length, nth <= 4 ? 1 : 0, `read ${nth}`);
    if (nth <= 4) assert.match(damages[0]!.problem, /cannot be read/);
  }
});

/** A disk one region of which can't be read. */
function withBadSector(disk: MemoryDisk, at: number): Disk {
  const open: Disk['open'] = async (path, mode) => {
    const file = await disk.open(path, mode);
    const read = file.read.bind(file);
    file.read = async (target, offset) => {
      if (offset <= at && at < offset + target.length) disk.failRead(1);
      return read(target, offset);
    };
    return file;
  };
  return new Proxy(disk, { get: (inner, name) => (name === 'open' ? open : Reflect.get(inner, name)) });
}

test('a bad sector costs one block', async () => {
  const disk = new MemoryDisk();
  const info = await build(disk, '', someRecords(4, 300));
  const { index } = await readTable(disk, PATH, decoder);
  for (const block of [0, 7, index.count - 1]) {
    const damages = await verifyTable(withBadSector(disk, index.offset(block) + 9), PATH, info);
    assert.is(damages.length, 1);
    assert.is(damages[0]!.offset, index.offset(block));
    assert.match(damages[0]!.problem, /cannot be read/);
  }
});

test('the pace is told of all that is read, and may stop it', async () => {
  const disk = new MemoryDisk();
  await build(disk, '', someRecords(5, 300));
  const { footer } = await readTable(disk, PATH, decoder);
  let bytes = 0;
  const add = (more: number): void => {
    bytes += more;
  };
  await verifyTable(disk, PATH, undefined, { pace: { step: (more) => add(more) } });
  assert.is(bytes, footer.filterOffset);
  const step = (): never => {
    throw new KvError('CANCELLED', 'enough');
  };
  const error = await verifyTable(disk, PATH, undefined, { pace: { step } }).catch((e: unknown) => e);
  assert.ok(error instanceof KvError && error.code === 'CANCELLED');
});

interface Parts {
  blocks: Uint8Array;
  filter: Uint8Array;
  index: Uint8Array;
  properties: Uint8Array;
}

/** Puts a table together again with right checksums, whatever its parts say. */
function assemble(parts: Parts, change: Partial<TableFooter> = {}): Uint8Array {
  const { blocks, filter, index, properties } = parts;
  const indexOffset = blocks.length + filter.length;
  const propertiesOffset = indexOffset + index.length;
  const footer = encodeFooter({
    filterOffset: blocks.length,
    filterLength: filter.length,
    indexOffset,
    indexLength: index.length,
    propertiesOffset,
    propertiesLength: properties.length,
    fileBytes: propertiesOffset + properties.length + FOOTER_BYTES,
    fileNumber: 1,
    sectionsCrc: sectionsCrc(sectionCrc(filter), sectionCrc(index), sectionCrc(properties)),
    ...change,
  });
  return Buffer.concat([blocks, filter, index, properties, footer]);
}

function partsOf(file: Uint8Array): Parts {
  const footer = must(decodeFooter(file.subarray(file.length - FOOTER_BYTES), file.length));
  return {
    blocks: new Uint8Array(file.subarray(0, footer.filterOffset)),
    filter: new Uint8Array(file.subarray(footer.filterOffset, footer.indexOffset)),
    index: new Uint8Array(file.subarray(footer.indexOffset, footer.propertiesOffset)),
    properties: new Uint8Array(file.subarray(footer.propertiesOffset, file.length - FOOTER_BYTES)),
  };
}

interface Row {
  separator: Uint8Array;
  offset: number;
  length: number;
  largestRevision: number;
  crc: number;
  rawLength: number;
}

function rowsOf({ index, blocks }: Parts): Row[] {
  const view = must(decodeIndex(index, blocks.length));
  return Array.from({ length: view.count }, (_, i) => ({
    separator: new Uint8Array(view.separator(i)),
    offset: view.offset(i),
    length: view.length(i),
    largestRevision: view.largestRevision(i),
    crc: view.blockCrc(i),
    rawLength: view.rawLength(i),
  }));
}

function indexOf(rows: Row[]): Uint8Array {
  const index = new IndexBuilder();
  for (const row of rows)
    index.add(row.separator, row.offset, row.length, row.largestRevision, row.crc, row.rawLength);
  return index.encode();
}

/** Recomputes a block's checksum, in its trailer and in the index. */
function resealBlock(parts: Parts, block: number): void {
  const rows = rowsOf(parts);
  const { offset, length } = rows[block]!;
  const stored = parts.blocks.subarray(offset, offset + length);
  rows[block]!.crc = crc32(stored.subarray(0, length - 4));
  Buffer.from(stored.buffer, stored.byteOffset).writeUInt32LE(rows[block]!.crc, length - 4);
  parts.index = indexOf(rows);
}

type Lie = (parts: Parts) => Partial<TableFooter> | undefined;

function changedRow(block: number, change: (row: Row, rows: Row[]) => void): Lie {
  return (parts) => {
    const rows = rowsOf(parts);
    change(rows[block]!, rows);
    parts.index = indexOf(rows);
    return undefined;
  };
}

function changedProperties(change: Partial<TableInfo>): Lie {
  return (parts) => {
    parts.properties = encodeProperties({ ...must(decodeProperties(parts.properties)), ...change });
    return undefined;
  };
}

/** Changes one byte of a payload, counted from its end when negative. */
function changedByte(block: number, at: number, mask: number): Lie {
  return (parts) => {
    const { offset, rawLength } = rowsOf(parts)[block]!;
    parts.blocks[offset + (at < 0 ? rawLength + at : at)]! ^= mask;
    resealBlock(parts, block);
    return undefined;
  };
}

const lies: [string, Lie, RegExp][] = [
  [
    'a crc of the index',
    changedRow(3, (row) => Object.assign(row, { crc: row.crc ^ 1 })),
    /another checksum than the index/,
  ],
  [
    'a separator too low',
    changedRow(3, (row, rows) => Object.assign(row, { separator: rows[2]!.separator })),
    /behind its separator/,
  ],
  [
    'a separator too high',
    changedRow(3, (row, rows) => Object.assign(row, { separator: rows[4]!.separator })),
    /separator before it/,
  ],
  [
    'a largest revision',
    changedRow(3, (row) => Object.assign(row, { largestRevision: row.largestRevision + 1 })),
    /its largest revision is/,
  ],
  [
    'two blocks as one',
    changedRow(3, (row, rows) => {
      const [next] = rows.splice(4, 1);
      row.length += next!.length;
      row.rawLength = row.length - 5;
      row.separator = next!.separator;
    }),
    /its checksum is wrong|another checksum/,
  ],
  [
    'a count of records',
    changedProperties({ recordCount: 999 }),
    /recordCount is \d+, the properties say 999/,
  ],
  ['a count of keys', changedProperties({ keyCount: 1 }), /keyCount/],
  ['a count of tombstones', changedProperties({ tombstoneCount: 0 }), /tombstoneCount/],
  ['a count of blocks', changedProperties({ blockCount: 3 }), /blockCount/],
  ['a largest revision of all', changedProperties({ largestRevision: 2 ** 52 }), /largestRevision/],
  ['a smallest revision of all', changedProperties({ smallestRevision: 0 }), /smallestRevision/],
  ['bytes of data', changedProperties({ dataBytes: 5 }), /dataBytes/],
  ['a smallest key', changedProperties({ smallestKey: Uint8Array.of(0) }), /smallest key/],
  ['a largest key', changedProperties({ largestKey: Uint8Array.of(255, 1) }), /largest key/],
  [
    'an empty filter',
    (parts) => {
      parts.filter.fill(0, 4);
      sealSection(parts.filter);
      return undefined;
    },
    /the filter does not know/,
  ],
  ['an order of sections', () => ({ sectionsCrc: 5 }), /do not belong together/],
  ['a file number', () => ({ fileNumber: 2 }), /the file is table 2, expected: 1/],
  ['a count of restarts', changedByte(2, -4, 0xff), /malformed/],
  ['a restart', changedByte(2, -8, 0x04), /search does not find|malformed/],
];

for (const [name, lie, expected] of lies)
  test(`a lie with a right checksum is found: ${name}`, async () => {
    const disk = new MemoryDisk();
    await build(disk, '', someRecords(6));
    const parts = partsOf(await disk.readFile(PATH));
    assert.ok(rowsOf(parts).length > 8);
    const change = lie(parts);
    await replace(disk, assemble(parts, change));
    const damages = await verifyTable(disk, PATH, undefined, { build: 'debug' });
    assert.ok(damages.length >= 1);
    assert.match(problems(damages).join('; '), expected);
  });

test('any change of a payload whose checksums were made right is found, or is another sound record', async () => {
  const disk = new MemoryDisk();
  await build(disk, '', someRecords(6));
  const whole = await disk.readFile(PATH);
  const random = seededRandom(9);
  let found = 0;
  for (let round = 0; round < 200; round++) {
    const parts = partsOf(whole);
    const rows = rowsOf(parts);
    const block = Math.floor(random() * rows.length);
    changedByte(block, Math.floor(random() * rows[block]!.rawLength), 1 << Math.floor(random() * 8))(parts);
    await replace(disk, assemble(parts));
    const damages = await verifyTable(disk, PATH, undefined, {
      build: round % 2 === 0 ? 'debug' : 'release',
    });
    if (damages.length > 0) found++;
  }
  // Most bytes are those of values, which nothing else tells about.
  assert.ok(found > 30 && found < 200, `${found}`);
});

test('blocks in another order, twice or under an unknown compression are found', async () => {
  const disk = new MemoryDisk();
  await build(disk, '', someRecords(6));
  const whole = await disk.readFile(PATH);
  const parts = partsOf(whole);
  const [a, b] = [rowsOf(parts)[2]!, rowsOf(parts)[3]!];
  const blockOf = ({ offset, length }: Row): Uint8Array => whole.subarray(offset, offset + length);
  parts.blocks = Buffer.concat([
    whole.subarray(0, a.offset),
    blockOf(b),
    blockOf(a),
    parts.blocks.subarray(b.offset + b.length),
  ]);
  parts.index = indexOf(
    rowsOf(partsOf(whole)).map((row, i) => {
      const { separator, offset } = row;
      if (i === 2) return { ...b, separator, offset };
      return i === 3 ? { ...a, separator, offset: a.offset + b.length } : row;
    }),
  );
  await replace(disk, assemble(parts));
  assert.match(problems(await verifyTable(disk, PATH)).join('; '), /come before those of the block before/);

  const again = partsOf(whole);
  again.blocks[a.offset + a.length - 5] = 9;
  resealBlock(again, 2);
  await replace(disk, assemble(again));
  assert.match(problems(await verifyTable(disk, PATH)).join('; '), /compression 9 is unknown/);

  const unpacked = partsOf(whole);
  unpacked.blocks[a.offset + a.length - 5] = 1;
  resealBlock(unpacked, 2);
  await replace(disk, assemble(unpacked));
  assert.match(problems(await verifyTable(disk, PATH)).join('; '), /another length than the index says/);
});

test('a compressed block that does not decompress is found', async () => {
  const disk = new MemoryDisk();
  await build(disk, '', someRecords(6), { ...OPTIONS, compression: 'lz4' });
  const parts = partsOf(await disk.readFile(PATH));
  const rows = rowsOf(parts);
  const block = rows.findIndex(({ offset, length }) => parts.blocks[offset + length - 5] === 1);
  assert.ok(block >= 0);
  // A match before there is anything to match.
  parts.blocks[rows[block]!.offset + 4] = 0;
  resealBlock(parts, block);
  await replace(disk, assemble(parts));
  assert.match(problems(await verifyTable(disk, PATH)).join('; '), /cannot be decompressed/);
});

test('what the manifest says otherwise is told, field by field', async () => {
  const disk = new MemoryDisk();
  const info = await build(disk, '', someRecords(8));
  const wrong: [Partial<TableInfo>, RegExp][] = [
    [{ fileNumber: 9 }, /expected: 9/],
    [{ fileBytes: 9 }, /the manifest says 9 B/],
    [{ recordCount: 9 }, /recordCount/],
    [{ keyCount: 9 }, /keyCount/],
    [{ tombstoneCount: 99 }, /tombstoneCount/],
    [{ blockCount: 99 }, /blockCount/],
    [{ smallestRevision: 0 }, /smallestRevision/],
    [{ largestRevision: 9 }, /largestRevision/],
    [{ dataBytes: 9 }, /dataBytes/],
    [{ smallestKey: Uint8Array.of(9) }, /smallestKey/],
    [{ largestKey: Uint8Array.of(9) }, /largestKey/],
  ];
  for (const [change, expected] of wrong) {
    const damages = await verifyTable(disk, PATH, { ...info, ...change });
    assert.is(damages.length, 1);
    assert.match(damages[0]!.problem, expected);
  }
});

test('findings end at a thousand', async () => {
  const disk = new MemoryDisk();
  const records = hardRecords(seededRandom(3), { keys: 900, versions: 9, valueBytes: 100 });
  await build(disk, '', records, { ...OPTIONS, blockSizeBytes: 64 });
  const { index } = await readTable(disk, PATH, decoder);
  assert.ok(index.count > 1500);
  for (let block = 0; block < index.count; block++) disk.damage(PATH, index.offset(block), 1);
  assert.is((await verifyTable(disk, PATH)).length, 1000);
});

test.run();
