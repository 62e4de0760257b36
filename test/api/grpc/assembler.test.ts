/** Messages of gRPC out of bytes that come in pieces: bounds, compression, the shared budget. */
import { gzipSync } from 'node:zlib';
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { ByteBudget, MessageAssembler } from '../../../src/api/grpc/message_assembler.ts';
import { CODE, encodeMessage, GrpcError, timeoutMsOf } from '../../../src/api/grpc/status.ts';
import { test } from '../../suite.ts';

function framed(message: Uint8Array, compressed = 0): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = compressed;
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

function codeOf(run: () => unknown): number {
  try {
    run();
  } catch (error) {
    assert.instance(error, GrpcError);
    return (error as GrpcError).code;
  }
  return CODE.OK;
}

test('messages come out whole and in order, however the bytes are cut, and nothing stays counted', () => {
  const messages = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 });
  fc.assert(
    fc.property(messages, fc.array(fc.nat({ max: 30 }), { minLength: 1, maxLength: 20 }), (sent, sizes) => {
      const budget = new ByteBudget(10_000);
      const assembler = new MessageAssembler(100, budget, false);
      const all = Buffer.concat(sent.map((message) => framed(message)));
      const got: number[][] = [];
      for (let at = 0, i = 0; at < all.length; i++) {
        const size = Math.max(1, sizes[i % sizes.length]!);
        assembler.push(Buffer.from(all.subarray(at, at + size)), (message) => got.push([...message]));
        at += size;
      }
      assert.equal(
        got,
        sent.map((message) => [...message]),
      );
      assert.is(assembler.isPartial, false);
      assert.is(budget.used, 0);
    }),
    { numRuns: 1_000 },
  );
});

test('a message that is too long is refused by its length, before its bytes are there', () => {
  const assembler = new MessageAssembler(100, new ByteBudget(1_000), false);
  const long = framed(Buffer.alloc(101)).subarray(0, 5);
  assert.is(
    codeOf(() => assembler.push(long, () => undefined)),
    CODE.RESOURCE_EXHAUSTED,
  );
  const parts = new MessageAssembler(100, new ByteBudget(1_000), false);
  parts.push(long.subarray(0, 3), () => undefined);
  assert.is(
    codeOf(() => parts.push(long.subarray(3), () => undefined)),
    CODE.RESOURCE_EXHAUSTED,
  );
});

test('what unfinished messages hold is bounded for all together, and given back', () => {
  const budget = new ByteBudget(100);
  const one = new MessageAssembler(1_000, budget, false);
  const other = new MessageAssembler(1_000, budget, false);
  const begun = framed(Buffer.alloc(500)).subarray(0, 60);
  one.push(begun, () => undefined);
  assert.is(
    codeOf(() => other.push(begun, () => undefined)),
    CODE.RESOURCE_EXHAUSTED,
  );
  one.release();
  other.push(begun, () => undefined);
  assert.is(budget.used, 60);
});

test('gzip: taken where it was announced, refused elsewhere, bounded, and damaged data is told', () => {
  const text = Buffer.from('hello '.repeat(10));
  const got: string[] = [];
  const gzip = new MessageAssembler(100, new ByteBudget(1_000), true);
  gzip.push(Buffer.concat([framed(gzipSync(text), 1), framed(text)]), (message) => got.push(String(message)));
  assert.equal(got, [String(text), String(text)]);
  const bomb = framed(gzipSync(Buffer.alloc(1_000_000)), 1);
  assert.is(bomb.length > 100, true);
  const roomy = new MessageAssembler(2_000, new ByteBudget(10_000), true);
  assert.is(
    codeOf(() => roomy.push(bomb, () => undefined)),
    CODE.RESOURCE_EXHAUSTED,
  );
  assert.is(
    codeOf(() => gzip.push(framed(text, 1), () => undefined)),
    CODE.INTERNAL,
  );
  assert.is(
    codeOf(() => gzip.push(framed(text, 2), () => undefined)),
    CODE.INTERNAL,
  );
  const plain = new MessageAssembler(100, new ByteBudget(1_000), false);
  assert.is(
    codeOf(() => plain.push(framed(gzipSync(text), 1), () => undefined)),
    CODE.INTERNAL,
  );
});

test('time-outs', () => {
  assert.is(timeoutMsOf('5S'), 5_000);
  assert.is(timeoutMsOf('2H'), 7_200_000);
  assert.is(timeoutMsOf('3M'), 180_000);
  assert.is(timeoutMsOf('99999999m'), 99_999_999);
  assert.is(timeoutMsOf('1500u'), 2);
  assert.is(timeoutMsOf('0n'), 1);
  for (const text of ['', '5', 'S', '-1S', '123456789S', '1.5S', '5s', '5S ']) {
    assert.is(
      codeOf(() => timeoutMsOf(text)),
      CODE.INTERNAL,
      text,
    );
  }
});

test('messages of errors are percent-encoded, and of bounded length', () => {
  assert.is(encodeMessage('plain: text (v3), 100%'), 'plain: text (v3), 100%25');
  assert.is(encodeMessage('ä\n'), '%C3%A4%0A');
  assert.ok(encodeMessage('\n'.repeat(100_000)).length < 16_000);
});

test.run();
