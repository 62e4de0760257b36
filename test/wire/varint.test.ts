/** The reader and the writer under all codecs: round trips, bounds, one encoding per number. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { ByteReader, ByteWriter, putVarint, varintBytes } from '../../src/wire/varint.ts';
import { test } from '../suite.ts';
import { safeInteger, someBytes } from './command_arbitraries.ts';

function isProtocol(error: unknown): boolean {
  return error instanceof KvError && error.code === 'PROTOCOL';
}
function refuses(bytes: number[], read: (reader: ByteReader) => unknown): void {
  assert.throws(() => read(new ByteReader(Uint8Array.from(bytes))), isProtocol);
}

test('what was written is read back, and nothing else', () => {
  fc.assert(
    fc.property(
      safeInteger,
      someBytes,
      fc.string({ unit: 'grapheme' }),
      fc.bigInt(0n, 2n ** 64n - 1n),
      (n, b, s, big) => {
        const writer = new ByteWriter(1);
        writer
          .u8(n & 255)
          .u16(n & 0xffff)
          .u32(n >>> 0)
          .u64(n)
          .varint(n);
        writer
          .bigU64(big)
          .bool(n % 2 === 0)
          .byteString(b)
          .string(s)
          .raw(b);
        assert.is(writer.sizeBytes, writer.view().length);
        assert.equal([...writer.copy()], [...writer.view()]);
        const reader = new ByteReader(writer.finish());
        assert.equal(
          [reader.u8(), reader.u16(), reader.u32(), reader.u64(), reader.varint()],
          [n & 255, n & 0xffff, n >>> 0, n, n],
        );
        assert.is(reader.bigU64(), big);
        assert.is(reader.bool(), n % 2 === 0);
        assert.equal([...reader.byteString()], [...b]);
        assert.is(reader.string(), s);
        assert.is(reader.remaining, b.length);
        assert.equal([...reader.rest()], [...b]);
        reader.expectEnd();
      },
    ),
  );
});

test('varintBytes and putVarint agree', () => {
  const target = new Uint8Array(16);
  for (let bits = 0; bits <= 53; bits++) {
    for (const value of [2 ** bits - 1, 2 ** bits]) {
      if (!Number.isSafeInteger(value)) continue;
      const end = putVarint(target, 0, value);
      assert.is(end, varintBytes(value));
      assert.is(new ByteReader(target, 0, end).varint(), value);
    }
  }
});

test('a reader stays within the range that it was given', () => {
  const bytes = Uint8Array.from([9, 1, 2, 3, 9]);
  const reader = new ByteReader(bytes, 1, 4);
  assert.equal([...reader.view(2)], [1, 2]);
  assert.throws(() => reader.u16(), isProtocol);
  assert.throws(() => reader.expectEnd(), isProtocol);
  assert.throws(() => reader.skip(2), isProtocol);
  reader.skip(1);
  assert.throws(() => reader.u8(), isProtocol);
  assert.is(reader.reset(bytes).u8(), 9);
  assert.throws(() => new ByteReader(bytes, 3, 6), isProtocol);
  assert.throws(() => new ByteReader(bytes, 3, 2), isProtocol);
});

test('refused: cut off, too large, in a longer form than needed, counts that cannot be', () => {
  refuses([], (reader) => reader.u8());
  refuses([1, 2, 3], (reader) => reader.u32());
  refuses([0, 0, 0, 0, 0, 0, 32, 0], (reader) => reader.u64());
  refuses([0x80], (reader) => reader.varint());
  refuses([0x80, 0], (reader) => reader.varint());
  refuses([255, 255, 255, 255, 255, 255, 255, 31], (reader) => reader.varint());
  refuses([255, 255, 255, 255, 255, 255, 255, 255, 1], (reader) => reader.varint());
  refuses([2], (reader) => reader.bool());
  refuses([5, 1, 2], (reader) => reader.byteString());
  refuses([255, 255, 255, 255, 15], (reader) => reader.byteString());
  refuses([2, 0xc3, 0x28], (reader) => reader.string());
  refuses([3, 0, 0, 0, 0, 0], (reader) => reader.count(2));
  refuses([255, 255, 255, 255, 255, 255, 255, 15], (reader) => reader.count(1));
  refuses([9], (reader) => reader.varintUpTo(8, 'it'));
  assert.is(new ByteReader(Uint8Array.of(2, 0, 0, 0, 0)).count(2), 2);
});

test('a writer refuses what is no number of its kind', () => {
  const writer = new ByteWriter();
  for (const bad of [-1, 1.5, Number.NaN, 2 ** 53, Number.POSITIVE_INFINITY]) {
    assert.throws(() => writer.varint(bad), /safe integer/);
    assert.throws(() => writer.u64(bad), /safe integer/);
  }
  assert.throws(() => writer.bigU64(-1n), /64-bit/);
  assert.throws(() => writer.bigU64(2n ** 64n), /64-bit/);
  assert.is(writer.sizeBytes, 0);
});

test('a writer can be reset or give its buffer away and go on', () => {
  const writer = new ByteWriter();
  const first = writer.string('first').finish();
  writer.raw(new Uint8Array(1_000)).reset().string('second');
  assert.is(new ByteReader(first).string(), 'first');
  assert.is(new ByteReader(writer.view()).string(), 'second');
});

test.run();
