/**
 * Streams of frames, spoilt and cut into chunks of any size: both readers of frames give what a plain reader of the whole stream gives, up to the same error, and hold
 * no more than what has come (client protocol) or one frame of the limit (peers).
 */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { FRAME_HEADER_BYTES, FrameReader } from '../../src/wire/client_frames.ts';
import { FrameDecoder } from '../../src/wire/frame.ts';
import { ByteReader } from '../../src/wire/varint.ts';
import { frame } from '../api/raw_client.ts';
import { test } from '../suite.ts';
import { framed } from '../transports/tcp_lab.ts';
import { edgeParameters, edgeRuns, guarded, report } from './edge_guard.ts';
import { noise, spoilt, steps } from './mutations.ts';

const RUNS = edgeRuns(600);
const LIMIT = 5_000;

const payloads = fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 12 });
const cuts = fc.array(fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 40 }), fc.nat(2_000)), {
  minLength: 1,
  maxLength: 20,
});
const CODES = ['PROTOCOL', 'FRAME_TOO_LARGE'] as const;

function chunksOf(stream: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (let at = 0, i = 0; at < stream.length; i++) {
    const end = Math.min(stream.length, at + Math.max(1, sizes[i % sizes.length]!));
    chunks.push(stream.slice(at, end));
    at = end;
  }
  return chunks;
}

interface Said {
  readonly frames: string[];
  readonly error: string | undefined;
}

/** What a stream says, read at once. `headerBytes`: of the frame behind its length, which counts them. */
function plainly(stream: Uint8Array, headerBytes: number): Said {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.byteLength);
  const frames: string[] = [];
  for (let at = 0; at + 4 <= stream.length; ) {
    const length = view.getUint32(at, true);
    if (length > LIMIT) return { frames, error: 'FRAME_TOO_LARGE' };
    if (length < headerBytes) return { frames, error: 'PROTOCOL' };
    if (at + 4 + length > stream.length) break;
    frames.push(Buffer.from(stream.subarray(at + 4, at + 4 + length)).toString('hex'));
    at += 4 + length;
  }
  return { frames, error: undefined };
}

function byFrameReader(stream: Uint8Array, chunks: readonly Uint8Array[]): Said {
  const frames: string[] = [];
  const outcome = guarded('client frames', stream, CODES, () => {
    const reader = new FrameReader(LIMIT);
    const payload = new ByteReader(new Uint8Array(0));
    for (const chunk of chunks) {
      reader.push(chunk);
      while (reader.next()) {
        const { bytes, offset, end } = reader.payload(payload);
        frames.push(
          Buffer.from(bytes.buffer, bytes.byteOffset + offset - 5, end - offset + 5).toString('hex'),
        );
      }
      if (reader.unreadBytes > LIMIT + 4) throw new Error(`${reader.unreadBytes} bytes are kept`);
    }
  });
  return { frames, error: outcome.ok ? undefined : outcome.error.code };
}

function byFrameDecoder(stream: Uint8Array, chunks: readonly Uint8Array[]): Said {
  const frames: string[] = [];
  const outcome = guarded('peer frames', stream, CODES, () => {
    const decoder = new FrameDecoder(LIMIT);
    for (const chunk of chunks)
      decoder.push(chunk, (payload) => frames.push(Buffer.from(payload).toString('hex')));
  });
  return { frames, error: outcome.ok ? undefined : outcome.error.code };
}

test('the client protocol: spoilt streams in any chunks', () => {
  fc.assert(
    fc.property(payloads, steps, noise, cuts, (list, how, other, sizes) => {
      const valid = Buffer.concat(list.map((one, i) => frame(i, i, (writer) => void writer.raw(one))));
      const stream = spoilt(valid, other, how);
      const said = byFrameReader(stream, chunksOf(stream, sizes));
      assert.equal(said, plainly(stream, FRAME_HEADER_BYTES - 4));
    }),
    edgeParameters(RUNS),
  );
});

test('peers: spoilt streams in any chunks', () => {
  fc.assert(
    fc.property(payloads, steps, noise, cuts, (list, how, other, sizes) => {
      const stream = spoilt(Buffer.concat(list.map(framed)), other, how);
      const said = byFrameDecoder(stream, chunksOf(stream, sizes));
      assert.equal(said, plainly(stream, 0));
    }),
    edgeParameters(RUNS),
  );
});

test('noise in any chunks', () => {
  fc.assert(
    fc.property(noise, cuts, (stream, sizes) => {
      assert.equal(byFrameReader(stream, chunksOf(stream, sizes)), plainly(stream, FRAME_HEADER_BYTES - 4));
      assert.equal(byFrameDecoder(stream, chunksOf(stream, sizes)), plainly(stream, 0));
    }),
    edgeParameters(Math.ceil(RUNS / 2)),
  );
});

test('a frame that claims the largest length and drips in takes memory for what has come only', () => {
  const large = 1 << 27;
  const reader = new FrameReader(large);
  const header = new Uint8Array(9);
  new DataView(header.buffer).setUint32(0, large, true);
  const outcome = guarded('claimed frame', header, CODES, () => {
    for (const byte of header) reader.push(Uint8Array.of(byte));
    assert.not(reader.next());
  });
  assert.ok(outcome.ok);
  assert.throws(
    () => {
      new DataView(header.buffer).setUint32(0, 0xffff_ffff, true);
      const strict = new FrameReader(large);
      strict.push(header);
      strict.next();
    },
    (error: unknown) => error instanceof KvError && error.code === 'FRAME_TOO_LARGE',
  );
});

test.after(report);
test.run();
