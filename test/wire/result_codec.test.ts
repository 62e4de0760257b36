/** Results, records and events: round trips and spoilt bytes. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { MAX_TXN_DEPTH } from '../../src/kv/limits.ts';
import {
  decodeEvent,
  decodeRecord,
  decodeResult,
  encodeEvent,
  encodeRecord,
  encodeResult,
} from '../../src/wire/result_codec.ts';
import { ByteReader, ByteWriter } from '../../src/wire/varint.ts';
import { test } from '../suite.ts';
import { event, mutation, plain, record, result, spoil } from './command_arbitraries.ts';

interface Form<T> {
  readonly name: string;
  readonly values: fc.Arbitrary<T>;
  readonly encode: (value: T, writer: ByteWriter) => void;
  readonly decode: (reader: ByteReader) => T;
}

function check<T>({ name, values, encode, decode }: Form<T>): void {
  test(`${name}: comes back as it was`, () => {
    fc.assert(
      fc.property(values, (value) => {
        const writer = new ByteWriter();
        encode(value, writer);
        const reader = new ByteReader(writer.finish());
        assert.equal(plain(decode(reader)), plain(value));
        reader.expectEnd();
      }),
      { numRuns: 300 },
    );
  });

  test(`${name}: spoilt bytes give a KvError or a value with these bytes`, () => {
    let refused = 0;
    fc.assert(
      fc.property(values, mutation, (value, how) => {
        const writer = new ByteWriter();
        encode(value, writer);
        const spoilt = spoil(writer.finish(), how);
        const reader = new ByteReader(spoilt);
        try {
          const decoded = decode(reader);
          encode(decoded, writer);
          // An unknown error code reads as INTERNAL: the one thing that may change.
          if (!JSON.stringify(plain(decoded), bigints).includes('INTERNAL')) {
            assert.equal([...writer.view()], [...spoilt.subarray(0, reader.offset)]);
          }
        } catch (error) {
          if (!(error instanceof KvError)) throw error;
          assert.ok(['PROTOCOL', 'UNSUPPORTED'].includes(error.code));
          refused++;
        }
      }),
      { numRuns: 1_000 },
    );
    assert.ok(refused > 50);
  });
}

function bigints(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? `${value}` : value;
}

check({ name: 'record', values: record, encode: encodeRecord, decode: decodeRecord });
check({ name: 'event', values: event, encode: encodeEvent, decode: decodeEvent });
check({ name: 'result', values: result, encode: encodeResult, decode: decodeResult });

test('refused: unknown kinds, results that nest too deep, numbers written out that need not be', () => {
  const codeOf = (decode: (reader: ByteReader) => unknown, ...list: number[]): string => {
    try {
      decode(new ByteReader(Uint8Array.from(list)));
    } catch (error) {
      return error instanceof KvError ? error.code : 'other';
    }
    return 'fine';
  };
  assert.is(codeOf(decodeResult, 99, 0), 'UNSUPPORTED');
  assert.is(codeOf(decodeResult, 11, 1, 1, 0, 0), 'fine');
  assert.is(codeOf(decodeResult, 11, 1, 0, 0, 0), 'PROTOCOL');
  const levels = Array.from({ length: 1_000 }, () => [6, 1, 1, 1]).flat();
  assert.is(codeOf(decodeResult, ...levels.slice(0, 4 * (MAX_TXN_DEPTH + 1)), 1, 1), 'fine');
  assert.is(codeOf(decodeResult, ...levels, 1, 1), 'PROTOCOL');
  assert.is(codeOf(decodeResult, 6, 1, 1, 1, 9, 1), 'PROTOCOL');
  assert.is(codeOf(decodeResult, 6, 1, 1, 255, 255, 3), 'PROTOCOL');
  assert.is(codeOf(decodeRecord, 4, 0, 0, 0, 0, 0, 0, 0), 'PROTOCOL');
  assert.is(codeOf(decodeRecord, 2, 0, 0, 0, 0, 0, 0, 0, 0), 'PROTOCOL');
  assert.is(codeOf(decodeRecord, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 'PROTOCOL');
  assert.is(codeOf(decodeEvent, 4), 'PROTOCOL');
});

test.run();
