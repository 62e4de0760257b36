/** Blocks as they are packed and read in WebAssembly: every record is found at every revision, and hostile bytes never lead a reader out of its bounds. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { compareKeys, type StoredRecord } from '../../../src/storage/record.ts';
import { BlockBuilder } from '../../../src/storage/tables/block_builder.ts';
import { ADDED, BLOCK, DESCRIPTOR } from '../../../src/storage/tables/block_layout.ts';
import { createWasmMemory, instantiateWasm, type WasmBuild } from '../../../src/storage/wasm_module.ts';
import { test } from '../../suite.ts';
import { seededRandom, show, showAll } from '../record_model.ts';
import { BlockDecoder, hardRecords } from './table_kit.ts';

const MIB = 1024 * 1024;
const FOUND = 1;
const decoder = new BlockDecoder();
const release = instantiateWasm(decoder.memory, 'release');
const KEY_BUFFER = 400 * 1024;
const DESCRIPTOR_AT = 390 * 1024;
const LOOKED_FOR = 500 * 1024;

/** Packs records into one block, as many as fit; gives its payload and how many there are. */
function packOne(
  records: StoredRecord[],
  blockSizeBytes: number,
  build: WasmBuild,
): { payload: Uint8Array; count: number } {
  const memory = createWasmMemory(MIB, 32 * MIB);
  const builder = new BlockBuilder(memory, instantiateWasm(memory, build), 8192, { blockSizeBytes });
  let count = 0;
  while (count < records.length && builder.blockCount === 0) {
    assert.is(builder.addRecord(records[count]!), ADDED);
    count++;
  }
  // The record that closed the block lies in the next one.
  if (builder.blockCount > 0) count--;
  builder.finishBlock();
  const start = builder.blockWord(0, BLOCK.start);
  return { payload: new Uint8Array(builder.view(start, builder.blockWord(0, BLOCK.payloadLength))), count };
}

function seek(
  payload: Uint8Array,
  key: Uint8Array,
  revision: number,
  wasm = decoder.wasm,
): { answer: number; modRevision: number; value: Uint8Array } {
  decoder.u8.set(payload, decoder.payload);
  decoder.u8.set(key, LOOKED_FOR);
  const answer = wasm.seekInBlock(
    decoder.payload,
    payload.length,
    LOOKED_FOR,
    key.length,
    revision,
    DESCRIPTOR_AT,
    KEY_BUFFER,
  );
  const view = new DataView(decoder.memory.buffer);
  const start = view.getUint32(DESCRIPTOR_AT + DESCRIPTOR.value, true);
  return {
    answer,
    modRevision: view.getFloat64(DESCRIPTOR_AT + DESCRIPTOR.modRevision, true),
    value:
      answer === FOUND
        ? decoder.u8.slice(start, start + view.getUint32(DESCRIPTOR_AT + DESCRIPTOR.valueLength, true))
        : new Uint8Array(0),
  };
}

/** What a search of these records alone must answer: 0 not here, 1 found, 2 perhaps in the next block. */
function modelSeek(
  records: StoredRecord[],
  key: Uint8Array,
  revision: number,
): [number, StoredRecord | undefined] {
  for (const record of records) {
    const order = compareKeys(record.key, key);
    if (order > 0) return [0, undefined];
    if (order === 0 && record.modRevision <= revision) return [1, record];
  }
  return [2, undefined];
}

test('a block holds its records, and a search finds each at each revision, in both builds', () => {
  let seed = 1;
  for (const build of ['debug', 'release'] as const)
    for (const blockSizeBytes of [64, 500, 4096, 60_000])
      for (const shape of [
        { keys: 200, versions: 1, valueBytes: 5 },
        { keys: 20, versions: 40, valueBytes: 30 },
        { keys: 900, versions: 3, valueBytes: 2 },
      ]) {
        const random = seededRandom(seed++);
        const all = hardRecords(random, shape);
        const { payload, count } = packOne(all, blockSizeBytes, build);
        const records = all.slice(0, count);
        decoder.u8.set(payload, decoder.payload);
        assert.equal(showAll(decoder.decode(payload.length)), showAll(records));
        const wanted = [...records, ...all.slice(count, count + 2)].flatMap(
          ({ key, modRevision }) =>
            [
              [key, modRevision],
              [key, modRevision - 1],
              [key, modRevision + 1],
              [key.subarray(0, -1), modRevision],
              [Buffer.concat([key, Buffer.alloc(1)]), modRevision],
            ] as const,
        );
        for (const [key, revision] of wanted.filter(() => random() < 0.3)) {
          if (key.length === 0) continue;
          const found = seek(payload, key, revision, random() < 0.5 ? release : decoder.wasm);
          const [answer, record] = modelSeek(records, key, revision);
          assert.is(found.answer, answer);
          if (record === undefined) continue;
          assert.is(found.modRevision, record.modRevision, show(record));
          assert.is(Buffer.compare(found.value, record.value), 0);
        }
      }
});

test('a block ends at 1024 entries and at 16 KiB of keys', () => {
  const record = (key: Uint8Array, modRevision: number): StoredRecord => ({
    key,
    value: new Uint8Array(0),
    modRevision,
    createRevision: 1,
    version: 1,
    subRevision: 0,
    flags: 0,
    lease: 0n,
    expiresAtMs: 0,
  });
  const versions = Array.from({ length: 2000 }, (_, i) => record(Uint8Array.of(1), 5000 - i));
  assert.is(packOne(versions, 60_000, 'debug').count, 1024);
  const long = Array.from({ length: 100 }, (_, i) =>
    record(Buffer.alloc(1000, 65 + (i >> 6)).fill(i & 63, 999), 1),
  );
  assert.is(packOne(long, 60_000, 'debug').count, 16);
  assert.is(
    packOne([record(Buffer.alloc(65_000, 1), 2), record(Buffer.alloc(65_000, 1), 1)], 60_000, 'debug').count,
    1,
  );
});

/** Reads a payload every way there is; what is written must stay inside the places that were given. */
function readHostile(payload: Uint8Array): void {
  const { u8 } = decoder;
  const guards = [
    decoder.descriptors - 64,
    decoder.descriptors + 65536,
    decoder.keys - 64,
    decoder.keys + 128 * 1024,
    DESCRIPTOR_AT - 64,
    DESCRIPTOR_AT + 64,
    KEY_BUFFER - 64,
    KEY_BUFFER + 65536 + 128,
  ];
  for (const guard of guards) u8.fill(0xa7, guard, guard + 64);
  u8.set(payload, decoder.payload);
  for (const wasm of [decoder.wasm, release]) {
    const count = wasm.decodeBlock(
      decoder.payload,
      payload.length,
      decoder.descriptors,
      decoder.keys,
      128 * 1024,
    );
    assert.ok(count === -1 || (count > 0 && count <= 1024));
    if (count > 0) {
      const view = new DataView(decoder.memory.buffer);
      for (let i = 0; i < count; i++) {
        const at = decoder.descriptors + 64 * i;
        const value = view.getUint32(at + DESCRIPTOR.value, true);
        const end = value + view.getUint32(at + DESCRIPTOR.valueLength, true);
        assert.ok(value >= decoder.payload && end <= decoder.payload + payload.length);
        const key = view.getUint32(at + DESCRIPTOR.key, true);
        assert.ok(
          key >= decoder.keys &&
            key + view.getUint32(at + DESCRIPTOR.keyLength, true) <= decoder.keys + 128 * 1024,
        );
      }
    }
    for (const key of [Uint8Array.of(1, 0x75), Uint8Array.of(255), new Uint8Array(300).fill(0x61)])
      assert.ok([-1, 0, 1, 2].includes(seek(payload, key, 50, wasm).answer));
  }
  for (const guard of guards)
    for (let i = 0; i < 64; i++) assert.is(u8[guard + i], 0xa7, `written at ${guard + i}`);
}

test('damaged and hostile payloads are refused or read within bounds', () => {
  const records = hardRecords(seededRandom(5), { keys: 60, versions: 3, valueBytes: 20 });
  const { payload } = packOne(records, 2000, 'debug');
  const random = seededRandom(6);
  for (let round = 0; round < 1500; round++) {
    const changed = new Uint8Array(payload);
    for (let flips = 1 + Math.floor(random() * 3); flips > 0; flips--)
      changed[Math.floor(random() ** 2 * changed.length)] = [
        0,
        1,
        0x7f,
        0x80,
        0xff,
        Math.floor(random() * 256),
      ][Math.floor(random() * 6)]!;
    readHostile(changed);
  }
  const tail = fc.constantFrom(
    [1, 0, 0, 0],
    [0, 0, 0, 0, 1, 0, 0, 0],
    [0, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0, 0],
    [255, 255, 255, 255],
  );
  const byte = fc.oneof(fc.constantFrom(0, 1, 2, 0x7f, 0x80, 0xff, 0xc0), fc.nat(255));
  fc.assert(
    fc.property(fc.array(byte, { maxLength: 120 }), tail, (bytes, end) =>
      readHostile(Uint8Array.from([...bytes, ...end])),
    ),
    { numRuns: 1500 },
  );
});

test.run();
