/** LZ4: what was compressed comes back, whatever the bytes; and no bytes make the decompressor read or write where it may not. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { createWasmMemory, instantiateWasm } from '../../../src/storage/wasm_module.ts';
import { test } from '../../suite.ts';
import { seededRandom } from '../record_model.ts';

const MIB = 1024 * 1024;
const memory = createWasmMemory(32 * MIB, 32 * MIB);
const builds = { debug: instantiateWasm(memory, 'debug'), release: instantiateWasm(memory, 'release') };
const u8 = new Uint8Array(memory.buffer);
const TABLE = 8192;
const SOURCE = MIB + 3;
const TARGET = 11 * MIB + 5;
const BACK = 21 * MIB + 1;
const GUARD = 0xa7;
const GUARD_BYTES = 64;

/** Runs `work` on a region and sees that the bytes around it stay as they are. */
function guarded<T>(start: number, length: number, work: () => T): T {
  u8.fill(GUARD, start - GUARD_BYTES, start);
  u8.fill(GUARD, start + length, start + length + GUARD_BYTES);
  const result = work();
  for (let i = 1; i <= GUARD_BYTES; i++) {
    assert.is(u8[start - i], GUARD, 'written before the region');
    assert.is(u8[start + length + i - 1], GUARD, 'written behind the region');
  }
  return result;
}

function compress(build: 'debug' | 'release', bytes: Uint8Array, capacity: number): Uint8Array | undefined {
  u8.set(bytes, SOURCE);
  const length = guarded(TARGET, capacity, () =>
    builds[build].lz4Compress(SOURCE, bytes.length, TARGET, capacity, TABLE),
  );
  assert.ok(length <= capacity);
  return length === 0 ? undefined : new Uint8Array(u8.subarray(TARGET, TARGET + length));
}

function decompress(build: 'debug' | 'release', bytes: Uint8Array, capacity: number): Uint8Array | undefined {
  u8.set(bytes, TARGET);
  const length = guarded(BACK, capacity, () =>
    builds[build].lz4Decompress(TARGET, bytes.length, BACK, capacity),
  );
  assert.ok(length <= capacity);
  return length < 0 ? undefined : new Uint8Array(u8.subarray(BACK, BACK + length));
}

/** The format's worst case. */
const bound = (length: number): number => length + Math.ceil(length / 255) + 16;

function roundTrip(bytes: Uint8Array): number {
  for (const build of ['debug', 'release'] as const) {
    const packed = compress(build, bytes, bound(bytes.length));
    assert.ok(packed !== undefined);
    const back = decompress(build, packed, bytes.length);
    assert.ok(back !== undefined && Buffer.compare(back, bytes) === 0);
    // One byte less does not fit, on either side.
    assert.is(compress(build, bytes, packed.length - 1), undefined);
    if (bytes.length > 0) assert.is(decompress(build, packed, bytes.length - 1), undefined);
  }
  return compress('release', bytes, bound(bytes.length))!.length;
}

/** Bytes with repeats near and far, runs, and noise. */
const repetitive = fc
  .array(
    fc.oneof(
      fc.uint8Array({ maxLength: 30 }),
      fc
        .tuple(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 1, max: 700 }))
        .map(([byte, length]) => new Uint8Array(length).fill(byte)),
      fc
        .tuple(fc.constantFrom('abc', 'user/0001/', 'x'.repeat(20)), fc.integer({ min: 1, max: 40 }))
        .map(([text, times]) => new Uint8Array(Buffer.from(text.repeat(times)))),
    ),
    { maxLength: 30 },
  )
  .map((parts) => new Uint8Array(Buffer.concat(parts)));

test('what was compressed comes back, and fits exactly', () => {
  fc.assert(
    fc.property(repetitive, (bytes) => void roundTrip(bytes)),
    { numRuns: 300 },
  );
});

test('sizes at the edges of lengths and offsets come back', () => {
  const random = seededRandom(1);
  for (const length of [
    0, 1, 4, 5, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 64, 254, 255, 269, 270, 271, 272, 273, 524, 525, 4096,
    65535, 65536, 65537, 70_000, 200_000,
  ]) {
    roundTrip(new Uint8Array(length));
    roundTrip(Uint8Array.from({ length }, () => Math.floor(random() * 256)));
    roundTrip(Uint8Array.from({ length }, (_, i) => (i % 65_600 < 300 ? i : 7)));
  }
});

test('text shrinks, noise does not grow beyond the bound, and 8 MiB work', () => {
  const text = Buffer.from(
    Array.from({ length: 100 }, (_, i) => `{"id":${i},"name":"user ${i}","active":true}`).join(','),
  );
  assert.ok(roundTrip(text) < text.length / 2);
  const random = seededRandom(2);
  const large = new Uint8Array(8 * MIB);
  for (let i = 0; i < large.length; i++) large[i] = i % 3000 < 1500 ? Math.floor(random() * 256) : 5;
  const packed = compress('release', large, bound(large.length))!;
  assert.ok(packed.length < large.length * 0.6);
  assert.is(Buffer.compare(decompress('release', packed, large.length)!, large), 0);
});

test('a known block of the format is read', () => {
  // "abcd" as literals, then 12 bytes from 4 back, then "hello".
  const block = Uint8Array.of(0x48, 97, 98, 99, 100, 4, 0, 0x50, ...Buffer.from('hello'));
  assert.is(Buffer.from(decompress('debug', block, 100)!).toString(), 'abcdabcdabcdabcdhello');
});

test('malformed blocks are refused', () => {
  const wrong: [string, number[]][] = [
    ['nothing', []],
    ['literals that are not there', [0x30, 1, 2]],
    ['a length without end', [0xf0, 255, 255, 255]],
    ['ends behind a match', [0x10, 1, 1, 0]],
    ['an offset of zero', [0x10, 1, 0, 0, 0x10, 1]],
    ['an offset before the start', [0x10, 1, 2, 0, 0x10, 1]],
    ['half an offset', [0x10, 1, 1]],
    ['a match length without end', [0x1f, 1, 1, 0, 255]],
    ['a match past the capacity', [0x1f, 1, 1, 0, 255, 255, 0, 0x00]],
  ];
  for (const [name, bytes] of wrong)
    for (const build of ['debug', 'release'] as const)
      assert.is(decompress(build, Uint8Array.from(bytes), 300), undefined, name);
});

test('no bytes make the decompressor leave its bounds', () => {
  const token = fc.constantFrom(0x00, 0x0f, 0x10, 0x1f, 0x4f, 0xf0, 0xff, 0x80);
  const hostile = fc.array(
    fc.oneof(token, fc.constantFrom(0, 1, 2, 3, 7, 8, 9, 255), fc.integer({ min: 0, max: 255 })),
    { minLength: 1, maxLength: 60 },
  );
  fc.assert(
    fc.property(hostile, fc.integer({ min: 0, max: 600 }), fc.boolean(), (bytes, capacity, debug) => {
      decompress(debug ? 'debug' : 'release', Uint8Array.from(bytes), capacity);
    }),
    { numRuns: 3000 },
  );
});

test('flipped bits give other bytes or a refusal, never more', () => {
  const random = seededRandom(3);
  const bytes = Buffer.from('some words that come again, some words that come again and again. '.repeat(20));
  const packed = compress('release', bytes, bound(bytes.length))!;
  for (let round = 0; round < 2000; round++) {
    const changed = new Uint8Array(packed);
    changed[Math.floor(random() * changed.length)]! ^= 1 << Math.floor(random() * 8);
    decompress('release', changed, bytes.length);
  }
});

test.run();
