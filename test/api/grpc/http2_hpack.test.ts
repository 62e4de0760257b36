/** HPACK: examples of RFC 7541, what node:http2 makes of header lists, and bytes that are no header blocks. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { ByteOutput } from '../../../src/api/grpc/byte_output.ts';
import { HeaderDecoder } from '../../../src/api/grpc/http2/hpack/decoder.ts';
import { HeaderEncoder } from '../../../src/api/grpc/http2/hpack/encoder.ts';
import { decodedBytesAtMost, decodeHuffman } from '../../../src/api/grpc/http2/hpack/huffman.ts';
import { Http2Error } from '../../../src/api/grpc/http2/http2_error.ts';
import { test } from '../../suite.ts';

const LIMITS = { maxTableBytes: 4096, maxListBytes: 16 * 1024 };
const hex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ''), 'hex');

function refused(block: Buffer, decoder = new HeaderDecoder(LIMITS)): boolean {
  try {
    decoder.decode(block);
    return false;
  } catch (error) {
    assert.instance(error, Http2Error);
    return true;
  }
}

// RFC 7541, C.4: requests with Huffman coding; C.6: answers with a table of 256 bytes, from which entries are evicted.
test('the requests of the standard, which share a table', () => {
  const decoder = new HeaderDecoder(LIMITS);
  const first = [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'www.example.com'];
  assert.equal(decoder.decode(hex('8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff')), first);
  assert.is(decoder.tableBytes, 57);
  assert.equal(decoder.decode(hex('8286 84be 5886 a8eb 1064 9cbf')), [...first, 'cache-control', 'no-cache']);
  assert.is(decoder.tableBytes, 110);
  assert.equal(decoder.decode(hex('8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf')), [
    ...[':method', 'GET', ':scheme', 'https', ':path', '/index.html', ':authority', 'www.example.com'],
    ...['custom-key', 'custom-value'],
  ]);
  assert.is(decoder.tableBytes, 164);
});

test('the answers of the standard, with eviction', () => {
  const decoder = new HeaderDecoder({ maxTableBytes: 256, maxListBytes: 16 * 1024 });
  const date = 'Mon, 21 Oct 2013 20:13:21 GMT';
  const location = 'https://www.example.com';
  assert.equal(
    decoder.decode(
      hex(
        '4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3',
      ),
    ),
    [':status', '302', 'cache-control', 'private', 'date', date, 'location', location],
  );
  assert.is(decoder.tableBytes, 222);
  assert.equal(decoder.decode(hex('4883 640e ffc1 c0bf')), [
    ...[':status', '307', 'cache-control', 'private', 'date', date, 'location', location],
  ]);
  assert.is(decoder.tableBytes, 222);
  const third = decoder.decode(
    hex(
      '88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07',
    ),
  );
  assert.equal(third?.slice(-4), [
    ...['content-encoding', 'gzip', 'set-cookie'],
    'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1',
  ]);
  assert.is(decoder.tableBytes, 215);
});

test('a size of the table that is too large, or stands inside a block, is refused; smaller ones evict', () => {
  const decoder = new HeaderDecoder(LIMITS);
  decoder.decode(hex('4003 6162 63 03 646566'));
  assert.is(decoder.tableBytes, 38);
  decoder.decode(hex('20'));
  assert.is(decoder.tableBytes, 0);
  assert.ok(refused(hex('be'), decoder));
  assert.ok(refused(hex('3fe2 1f')));
  assert.ok(refused(hex('82 20')));
});

test('blocks that are cut off, and indexes of nothing', () => {
  for (const block of [
    '80',
    'c0',
    '41',
    '00',
    '0003 6162',
    '0003 616263',
    '40ff',
    'ffffff ffff ffff ffff ff7f',
  ]) {
    assert.ok(refused(hex(block)), block);
  }
});

test('Huffman strings: padding must be ones, less than a byte, and no end-of-string symbol', () => {
  const target = Buffer.alloc(64);
  const decode = (text: string): string => {
    const bytes = hex(text);
    return target.toString('latin1', 0, decodeHuffman(bytes, 0, bytes.length, target));
  };
  assert.is(decode('1f'), 'a');
  assert.throws(() => decode('18'));
  assert.throws(() => decode('1fff'));
  assert.throws(() => decode('fffffffc'));
  assert.is(decode(''), '');
  assert.is(decodedBytesAtMost(5), 8);
});

test('a list that is too long is not kept, but the table stays right', () => {
  const decoder = new HeaderDecoder({ maxTableBytes: 4096, maxListBytes: 100 });
  const long = Buffer.concat([hex('4001 61 7f 49'), Buffer.alloc(200, 0x62)]);
  assert.is(decoder.decode(long), undefined);
  assert.is(decoder.tableBytes, 233);
  assert.equal(decoder.decode(hex('82')), [':method', 'GET']);
});

test('any bytes are decoded or refused, and the table stays within its bound', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 6 }), (blocks) => {
      const decoder = new HeaderDecoder({ maxTableBytes: 128, maxListBytes: 1_000 });
      try {
        for (const block of blocks) decoder.decode(block);
      } catch (error) {
        assert.instance(error, Http2Error);
      }
      assert.ok(decoder.tableBytes <= 128);
    }),
    { numRuns: 2_000 },
  );
});

test('what the encoder writes is what a decoder reads, whatever the order of blocks', () => {
  const block = fc.oneof(
    fc.constant('grpc'),
    fc.constant('ok'),
    fc.constant('table'),
    fc.array(
      fc.tuple(
        fc.constantFrom('grpc-message', 'x-name', 'content-length'),
        fc.string({ unit: 'binary-ascii', maxLength: 300 }),
      ),
    ),
  );
  fc.assert(
    fc.property(fc.array(block, { maxLength: 12 }), (blocks) => {
      const encoder = new HeaderEncoder();
      const decoder = new HeaderDecoder({ maxTableBytes: 4096, maxListBytes: 1 << 20 });
      for (const one of blocks) {
        const out = new ByteOutput();
        if (one === 'table') {
          encoder.tableSize(100);
          continue;
        }
        if (one === 'grpc') encoder.grpcHeaders(out);
        else if (one === 'ok') encoder.grpcOk(out);
        else if (typeof one !== 'string') encoder.block(out, 503, one.flat());
        const expected =
          one === 'grpc'
            ? [':status', '200', 'content-type', 'application/grpc']
            : one === 'ok'
              ? ['grpc-status', '0']
              : [':status', '503', ...(typeof one === 'string' ? [] : one.flat())];
        assert.equal(decoder.decode(out.view()), expected);
      }
    }),
  );
});

test.run();
