/** The codecs of a table's sections: what was encoded is decoded, and no bytes are taken for what they are not. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { compareKeys } from '../../../src/storage/record.ts';
import { BlockBuilder } from '../../../src/storage/tables/block_builder.ts';
import {
  type Decoded,
  decodeFilter,
  decodeFooter,
  decodeProperties,
  encodeFilter,
  encodeFooter,
  encodeProperties,
  filterBlocks,
  parseTableName,
  sealSection,
  tablePath,
  temporaryTablePath,
} from '../../../src/storage/tables/format.ts';
import {
  decodeIndex,
  INDEX_ENTRY,
  IndexBuilder,
  shortSeparator,
} from '../../../src/storage/tables/index_section.ts';
import { createWasmMemory, instantiateWasm } from '../../../src/storage/wasm_module.ts';
import { test } from '../../suite.ts';
import { anyKey } from '../memtable_model.ts';
import { must } from './table_kit.ts';

function problemOf<T>(decoded: Decoded<T>): string {
  return decoded.ok ? 'none' : decoded.problem;
}

test('names of tables are read as they are written, and nothing else is one', () => {
  for (const fileNumber of [0, 42, 9_999_999_999, 10_000_000_000, Number.MAX_SAFE_INTEGER]) {
    const name = tablePath('d', fileNumber).slice(2);
    assert.equal(parseTableName(name), { fileNumber, finished: true });
    assert.equal(parseTableName(temporaryTablePath('d', fileNumber).slice(2)), {
      fileNumber,
      finished: false,
    });
  }
  assert.is(tablePath('a/b', 42), 'a/b/t-0000000042.kvt');
  for (const name of [
    'MANIFEST',
    't-42.kvt',
    't-0000000042',
    't-0000000042.kvtx',
    'xt-0000000042.kvt',
    't-00000000042.kvt',
    't-9999999999999999.kvt',
    't-000000004x.kvt',
  ])
    assert.is(parseTableName(name), undefined, name);
});

test('a separator lies between the keys it separates, and is no longer than the one before it', () => {
  fc.assert(
    fc.property(anyKey, anyKey, (a, b) => {
      const [last, next] = compareKeys(a, b) <= 0 ? [a, b] : [b, a];
      const separator = shortSeparator(last, next);
      assert.ok(compareKeys(last, separator) <= 0);
      if (compareKeys(last, next) === 0) assert.is(compareKeys(separator, last), 0);
      else assert.ok(compareKeys(separator, next) < 0);
      assert.ok(separator.length <= last.length);
    }),
    { numRuns: 3000 },
  );
  const short = (last: string, next: string): string =>
    Buffer.from(shortSeparator(Buffer.from(last, 'latin1'), Buffer.from(next, 'latin1'))).toString('latin1');
  assert.is(short('user/0001/name', 'user/0007/name'), 'user/0002');
  assert.is(short('user/0001/name', 'user/0002/name'), 'user/0002');
  assert.is(short('user/0001/name', 'user/0002'), 'user/00010');
  assert.is(short('a\xff\xffb', 'b'), 'a\xff\xffb');
  assert.is(short('a\xff\x01b', 'b'), 'a\xff\x02');
  assert.is(short('abc', 'abcd'), 'abc');
});

const properties = {
  recordCount: 10,
  keyCount: 5,
  tombstoneCount: 2,
  blockCount: 3,
  smallestRevision: 4,
  largestRevision: 2 ** 53 - 1,
  dataBytes: 2 ** 40,
  smallestKey: Uint8Array.of(1),
  largestKey: Uint8Array.of(1, 2),
};

test('properties come back, and impossible ones are refused', () => {
  const section = encodeProperties(properties);
  assert.equal(must(decodeProperties(section)), properties);
  const wrong: [Partial<typeof properties>, RegExp][] = [
    [{ keyCount: 0 }, /contradict/],
    [{ keyCount: 11 }, /contradict/],
    [{ tombstoneCount: 11 }, /contradict/],
    [{ blockCount: 0 }, /number of blocks/],
    [{ blockCount: 11 }, /number of blocks/],
    [{ smallestRevision: -1 }, /out of range/],
    [{ largestRevision: 0.5 }, /out of range/],
    [{ dataBytes: Number.NaN }, /out of range/],
    [{ largestRevision: 3 }, /wrong order/],
    [{ largestKey: Uint8Array.of(0) }, /wrong order/],
    [{ smallestKey: new Uint8Array(0) }, /impossible length/],
    [{ largestKey: new Uint8Array(70_000) }, /impossible length/],
  ];
  for (const [change, expected] of wrong)
    assert.match(problemOf(decodeProperties(encodeProperties({ ...properties, ...change }))), expected);
  const long = sealSection(Buffer.concat([section, Buffer.alloc(1)]));
  assert.match(problemOf(decodeProperties(long)), /another length/);
});

const footer = {
  filterOffset: 100,
  filterLength: 72,
  indexOffset: 172,
  indexLength: 60,
  propertiesOffset: 232,
  propertiesLength: 55,
  fileBytes: 351,
  fileNumber: 2 ** 40,
  sectionsCrc: 0xdeadbeef,
};

test('a footer comes back, and one whose sections do not fit is refused', () => {
  assert.equal(must(decodeFooter(encodeFooter(footer), 351)), footer);
  const wrong: [Partial<typeof footer>, RegExp][] = [
    [{ filterOffset: 99 }, /follow each other/],
    [{ filterOffset: 0, filterLength: 172 }, /follow each other/],
    [{ filterLength: 0, indexOffset: 100 }, /follow each other/],
    [{ indexLength: 61 }, /follow each other/],
    [{ propertiesLength: 54 }, /follow each other/],
    [{ fileBytes: 352 }, /its footer says 352 B/],
    [{ fileNumber: -1 }, /out of range/],
    [{ fileNumber: 0.5 }, /out of range/],
  ];
  for (const [change, expected] of wrong)
    assert.match(problemOf(decodeFooter(encodeFooter({ ...footer, ...change }), 351)), expected);
  assert.match(problemOf(decodeFooter(encodeFooter(footer), 350)), /the file has 350 B/);
  assert.match(problemOf(decodeFooter(encodeFooter(footer).subarray(1), 351)), /cut off/);
  assert.match(problemOf(decodeFooter(new Uint8Array(64), 351)), /does not end like a table/);
});

test('a footer of another version, or with something in its reserved bytes, is refused', () => {
  const at = (where: number, value: number): string => {
    const bytes = encodeFooter(footer);
    bytes[where] = value;
    const crc = sealSection(bytes.slice(0, 56));
    bytes.set(crc.subarray(52), 52);
    return problemOf(decodeFooter(bytes, 351));
  };
  assert.match(at(36, 2), /format version 2 is unknown/);
  for (const where of [38, 44, 48, 51]) assert.match(at(where, 1), /reserved/);
});

function sampleIndex(): IndexBuilder {
  const index = new IndexBuilder();
  index.add(Uint8Array.of(5), 0, 105, 7, 1, 100);
  index.add(Uint8Array.of(5), 105, 50, 9, 2, 100);
  index.add(Uint8Array.of(9, 9), 155, 25, 2 ** 53 - 1, 0xffffffff, 20);
  return index;
}

test('an index comes back', () => {
  const view = must(decodeIndex(sampleIndex().encode(), 180));
  assert.is(view.count, 3);
  assert.equal([...view.separator(2)], [9, 9]);
  assert.equal(
    [view.offset(1), view.length(1), view.largestRevision(1), view.blockCrc(1), view.rawLength(1)],
    [105, 50, 9, 2, 100],
  );
  const large = new IndexBuilder();
  for (let i = 0; i < 2000; i++)
    large.add(Buffer.from(String(i).padStart(i === 1000 ? 60_000 : 6, '0')), i * 30, 30, i, i, 25);
  // The key of 60000 zeroes stands before its place.
  assert.match(problemOf(decodeIndex(large.encode(), 60_000)), /out of order/);
});

test('an index that contradicts itself is refused', () => {
  const change = (block: number, field: number, value: number): string => {
    const section = sampleIndex().encode();
    new DataView(section.buffer).setUint32(8 + 40 * block + field, value, true);
    return problemOf(decodeIndex(sealSection(section), 180));
  };
  assert.is(change(1, INDEX_ENTRY.keyOffset, 1), 'none');
  assert.match(change(1, INDEX_ENTRY.keyOffset, 0), /keys of the index do not follow/);
  assert.match(change(1, INDEX_ENTRY.keyLength, 0), /impossible length/);
  assert.match(change(2, INDEX_ENTRY.keyLength, 3), /impossible length/);
  assert.match(change(2, INDEX_ENTRY.keyLength, 1), /keys that no block uses/);
  assert.match(change(1, INDEX_ENTRY.offset, 104), /blocks of the index do not follow/);
  assert.match(change(1, INDEX_ENTRY.length, 51), /blocks of the index do not follow/);
  assert.match(change(2, INDEX_ENTRY.length, 5), /impossible length/);
  assert.match(change(2, INDEX_ENTRY.length, 24), /do not reach to the filter/);
  assert.match(change(2, INDEX_ENTRY.length, 0xffffffff), /impossible length/);
  assert.match(change(1, INDEX_ENTRY.rawLength, 15), /impossible length/);
  assert.match(change(1, INDEX_ENTRY.rawLength, 2 ** 24), /impossible length/);
  assert.match(change(1, INDEX_ENTRY.largestRevision + 4, 0x7ff00000), /out of range/);
  assert.match(change(1, INDEX_ENTRY.cacheFrame, 1), /reserved/);
  assert.match(change(1, INDEX_ENTRY.cacheWord, 1), /reserved/);
  const count = sampleIndex().encode();
  new DataView(count.buffer).setUint32(0, 0x7fffffff, true);
  assert.match(problemOf(decodeIndex(sealSection(count), 180)), /another length/);
  assert.match(problemOf(decodeIndex(sealSection(new Uint8Array(12)), 0)), /too short/);
});

test('a filter comes back, and one of another length is refused', () => {
  const bits = Uint8Array.from({ length: 128 }, (_, i) => i);
  const section = Buffer.concat(encodeFilter(bits));
  const decoded = must(decodeFilter(section));
  assert.is(decoded.blocks, 2);
  assert.is(Buffer.compare(decoded.bits, bits), 0);
  section[0] = 3;
  assert.match(problemOf(decodeFilter(section)), /checksum/);
  assert.match(problemOf(decodeFilter(sealSection(section))), /another length/);
  assert.match(problemOf(decodeFilter(sealSection(new Uint8Array(8)))), /too short/);
  assert.equal([filterBlocks(0, 10), filterBlocks(51, 10), filterBlocks(52, 10)], [1, 1, 2]);
});

test('no bytes make a decoder throw, and no flipped bit is missed', () => {
  const sections: [Uint8Array, (bytes: Uint8Array) => Decoded<unknown>][] = [
    [encodeProperties(properties), decodeProperties],
    [encodeFooter(footer), (bytes) => decodeFooter(bytes, 351)],
    [sampleIndex().encode(), (bytes) => decodeIndex(bytes, 180)],
    [Buffer.concat(encodeFilter(new Uint8Array(64))), decodeFilter],
  ];
  for (const [section, decode] of sections) {
    for (let bit = 0; bit < section.length * 8; bit++) {
      const changed = new Uint8Array(section);
      changed[bit >> 3]! ^= 1 << (bit & 7);
      assert.not(decode(changed).ok, `bit ${bit}`);
    }
    for (let length = 0; length < section.length; length++)
      assert.not(decode(section.subarray(0, length)).ok);
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 4, maxLength: 200 }),
        fc.array(fc.nat(255)),
        (bytes, changes) => {
          decode(bytes);
          decode(sealSection(bytes));
          const changed = new Uint8Array(section);
          changes.forEach((byte, i) => {
            changed[(i * 7 + byte) % changed.length] = byte;
          });
          decode(sealSection(changed));
        },
      ),
    );
  }
});

/** The hashes of keys, as a builder of blocks gives them for a table's filter. REQUIRES: ascending keys. */
function hashesOf(builder: BlockBuilder, keys: readonly Uint8Array[]): Buffer {
  const hashes: Uint8Array[] = [];
  const take = (): void => {
    hashes.push(new Uint8Array(builder.hashes));
    builder.drained();
  };
  for (const key of keys) {
    const record = {
      key,
      value: new Uint8Array(0),
      modRevision: 1,
      createRevision: 1,
      version: 1,
      subRevision: 0,
      flags: 0,
      lease: 0n,
      expiresAtMs: 0,
    };
    if (builder.addRecord(record) === 0) continue;
    take();
    assert.is(builder.addRecord(record), 0);
  }
  builder.finishBlock();
  take();
  builder.beginTable();
  const all = Buffer.concat(hashes);
  assert.is(all.length, 8 * keys.length);
  return all;
}

/** Whether a filter knows a hash, by the text of docs/formats/table.md. */
function filterHas(bits: Uint8Array, blocks: number, hash: bigint): boolean {
  const block = Number(((hash >> 32n) * BigInt(blocks)) >> 32n);
  let probes = BigInt.asUintN(64, hash * 0xff51afd7ed558ccdn);
  probes ^= probes >> 29n;
  for (let i = 0; i < 7; i++, probes >>= 9n) {
    const bit = Number(probes & 511n);
    if ((bits[64 * block + (bit >>> 3)]! & (1 << (bit & 7))) === 0) return false;
  }
  return true;
}

const keyShapes: readonly ((i: number) => Buffer)[] = [
  (i) => Buffer.from(`key-${String(i).padStart(12, '0')}`),
  (i) => Buffer.from(`/registry/pods/default/${i}${'x'.repeat(i % 9)}`),
  (i) => Buffer.from([i >>> 24, i >>> 16, i >>> 8, i]),
  (i) => Buffer.concat([Buffer.alloc(300, 0x61), Buffer.from(String(i)), Buffer.alloc(9)]),
];

test('a filter of ten bits a key knows its keys, and takes about one foreign key in a hundred for one of them', () => {
  const count = 12_000;
  const blocks = filterBlocks(count, 10);
  const memory = createWasmMemory(8 * 1024 * 1024, 16 * 1024 * 1024);
  const builder = new BlockBuilder(memory, instantiateWasm(memory, 'release'), 65536, {
    blockSizeBytes: 4096,
  });
  for (const shape of keyShapes) {
    const keysFrom = (first: number): Buffer[] =>
      Array.from({ length: count }, (_, i) => shape(first + i)).sort(Buffer.compare);
    const own = hashesOf(builder, keysFrom(0));
    const foreign = hashesOf(builder, keysFrom(count));
    const bits = builder.buildFilter(own, blocks);
    let wrong = 0;
    for (let at = 0; at < own.length; at += 8) {
      assert.ok(filterHas(bits, blocks, own.readBigUInt64LE(at)));
      if (filterHas(bits, blocks, foreign.readBigUInt64LE(at))) wrong++;
    }
    const rate = wrong / count;
    assert.ok(rate > 0.004 && rate < 0.016, `${(100 * rate).toFixed(2)} % of keys like ${shape(1)}`);
  }
});

test.run();
