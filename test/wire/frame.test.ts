/** Frames survive any cutting of the stream, cost no more than one copy, and never more memory than the limit. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import {
  EAGER_WRITE_BYTES,
  FRAME_HEADER_BYTES,
  FrameDecoder,
  FrameWriter,
  GATHER_COPY_BYTES,
  type WritableSocket,
} from '../../src/wire/frame.ts';
import { test } from '../suite.ts';

function frame(payload: Uint8Array): Buffer {
  const header = Buffer.alloc(FRAME_HEADER_BYTES);
  header.writeUInt32LE(payload.length);
  return Buffer.concat([header, payload]);
}

function codeOf(run: () => void): string {
  try {
    run();
  } catch (error) {
    if (error instanceof KvError) return error.code;
    throw error;
  }
  return 'none';
}

class FakeSocket implements WritableSocket {
  writes: Uint8Array[] = [];
  corks = 0;
  writableLength = 0;
  destroyed = false;
  drain: (() => void) | undefined;
  /** While true, what is written stays in the socket's queue. */
  stuck = false;
  write(chunk: Uint8Array): boolean {
    this.writes.push(chunk);
    if (this.stuck) this.writableLength += chunk.length;
    return !this.stuck;
  }
  cork(): void {
    this.corks++;
  }
  uncork(): void {
    this.corks--;
  }
  on(_event: 'drain', listener: () => void): void {
    this.drain = listener;
  }
}

function writerOn(socket: FakeSocket, maxQueuedBytes = 1 << 20, maxFrameBytes = 1 << 20) {
  const turns: (() => void)[] = [];
  let drains = 0;
  const writer = new FrameWriter(socket, {
    maxFrameBytes,
    maxQueuedBytes,
    schedule: (run) => void turns.push(run),
    onDrain: () => drains++,
  });
  const endTurn = () => {
    for (const run of turns.splice(0)) run();
  };
  return { writer, endTurn, turns, drains: () => drains };
}

test('frames come out whole and in order however the stream is cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 }),
      fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 50 }),
      (payloads, cuts) => {
        const stream = Buffer.concat(payloads.map(frame));
        const decoder = new FrameDecoder(300);
        const got: string[] = [];
        let at = 0;
        for (let i = 0; at < stream.length; i++) {
          const to = Math.min(stream.length, at + cuts[i % cuts.length]!);
          decoder.push(stream.subarray(at, to), (payload) => got.push(Buffer.from(payload).toString('hex')));
          at = to;
        }
        assert.equal(
          got,
          payloads.map((payload) => Buffer.from(payload).toString('hex')),
        );
        assert.ok(decoder.atBoundary);
        decoder.end();
      },
    ),
  );
});

test('many small frames in one chunk are views of it: no copy', () => {
  const payloads = Array.from({ length: 100 }, (_, i) => Buffer.alloc(10, i));
  const stream = Buffer.concat(payloads.map(frame));
  let count = 0;
  new FrameDecoder(100).push(stream, (payload) => {
    assert.is(payload.buffer, stream.buffer);
    assert.is(payload[0], count++);
  });
  assert.is(count, 100);
});

test('a length above the limit is refused before the frame is there, and ends the decoder', () => {
  const decoder = new FrameDecoder(1000);
  const header = Buffer.from([0xff, 0xff, 0xff, 0xff]);
  assert.is(
    codeOf(() => decoder.push(header, () => assert.unreachable())),
    'FRAME_TOO_LARGE',
  );
  decoder.push(frame(Buffer.from('later')), () => assert.unreachable());
  const bytewise = new FrameDecoder(1000);
  for (let i = 0; i < 3; i++) bytewise.push(header.subarray(i, i + 1), () => assert.unreachable());
  assert.is(
    codeOf(() => bytewise.push(header.subarray(3), () => assert.unreachable())),
    'FRAME_TOO_LARGE',
  );
});

test('the limit can grow between frames, even inside one chunk', () => {
  const decoder = new FrameDecoder(4);
  const sizes: number[] = [];
  decoder.push(Buffer.concat([frame(Buffer.alloc(4)), frame(Buffer.alloc(400))]), (payload) => {
    sizes.push(payload.length);
    decoder.setMaxFrameBytes(400);
  });
  assert.equal(sizes, [4, 400]);
});

test('a stream that ends inside a header or a payload is a protocol error', () => {
  const inHeader = new FrameDecoder(100);
  inHeader.push(Buffer.from([1, 0]), () => assert.unreachable());
  assert.is(
    codeOf(() => inHeader.end()),
    'PROTOCOL',
  );
  const inPayload = new FrameDecoder(100);
  inPayload.push(frame(Buffer.alloc(50)).subarray(0, 20), () => assert.unreachable());
  assert.not(inPayload.atBoundary);
  assert.is(
    codeOf(() => inPayload.end()),
    'PROTOCOL',
  );
  inPayload.end();
});

test('stop() from within a frame and an error from within a frame end the push', () => {
  const two = Buffer.concat([frame(Buffer.from('a')), frame(Buffer.from('b'))]);
  const stopping = new FrameDecoder(10);
  let seen = 0;
  stopping.push(two, () => {
    seen++;
    stopping.stop();
  });
  assert.is(seen, 1);
  const failing = new FrameDecoder(10);
  assert.throws(() =>
    failing.push(two, () => {
      throw new Error('boom');
    }),
  );
  failing.push(two, () => assert.unreachable());
});

test('random bytes give frames or FRAME_TOO_LARGE, nothing else', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 20 }), (chunks) => {
      const decoder = new FrameDecoder(1 << 16);
      const code = codeOf(() => {
        for (const chunk of chunks)
          decoder.push(chunk, (payload) => {
            if (payload.length > 1 << 16) throw new Error('above the limit');
          });
      });
      assert.ok(code === 'none' || code === 'FRAME_TOO_LARGE', code);
    }),
  );
});

test('what a writer writes, a decoder reads, for any mix of small and large parts', () => {
  const part = fc.oneof(
    fc.uint8Array({ maxLength: 50 }),
    fc
      .integer({ min: GATHER_COPY_BYTES - 2, max: GATHER_COPY_BYTES + 2 })
      .map((n) => new Uint8Array(n).fill(n)),
  );
  fc.assert(
    fc.property(fc.array(fc.array(part, { maxLength: 4 }), { maxLength: 12 }), (frames) => {
      const socket = new FakeSocket();
      const { writer, endTurn } = writerOn(socket, 1 << 30);
      for (const parts of frames) {
        if (parts.length === 1) assert.ok(writer.writePayload(parts[0]!));
        else assert.ok(writer.writeFrame(parts));
      }
      endTurn();
      assert.is(writer.queuedBytes, 0);
      assert.is(socket.corks, 0);
      const got: Buffer[] = [];
      const decoder = new FrameDecoder(1 << 20);
      for (const chunk of socket.writes) decoder.push(chunk, (payload) => got.push(Buffer.from(payload)));
      decoder.end();
      assert.is(got.length, frames.length);
      for (let i = 0; i < got.length; i++) assert.ok(got[i]!.equals(Buffer.concat(frames[i]!)));
    }),
    { numRuns: 60 },
  );
});

test('the frames of one turn leave in one write; large parts are not copied', () => {
  const socket = new FakeSocket();
  const { writer, endTurn, turns } = writerOn(socket);
  for (let i = 0; i < 100; i++) writer.writeFrame([Buffer.from('head'), Buffer.alloc(20, i)]);
  assert.is(socket.writes.length, 0);
  assert.is(turns.length, 1);
  assert.is(writer.queuedBytes, 100 * 28);
  endTurn();
  assert.is(socket.writes.length, 1);
  const large = Buffer.alloc(GATHER_COPY_BYTES + 1);
  writer.writeFrame([Buffer.from('head'), large, Buffer.from('tail')]);
  writer.flush();
  endTurn();
  assert.is(socket.writes.length, 4);
  assert.is(socket.writes[2], large);
});

test('a burst does not wait for the end of the turn', () => {
  const socket = new FakeSocket();
  const { writer } = writerOn(socket, 1 << 30, 1 << 30);
  writer.writePayload(Buffer.alloc(EAGER_WRITE_BYTES));
  assert.is(socket.writes.length, 2);
});

test('past the bound a writer says no, counts the socket queue, and tells when it drained', () => {
  const socket = new FakeSocket();
  const { writer, endTurn, drains } = writerOn(socket, 1000);
  socket.stuck = true;
  assert.ok(writer.writePayload(Buffer.alloc(600)));
  assert.not(writer.writePayload(Buffer.alloc(600)));
  endTurn();
  assert.is(socket.writableLength, 604);
  assert.not(writer.writeFrame([Buffer.alloc(600)]));
  assert.ok(writer.writeFrame([Buffer.alloc(300)]));
  socket.stuck = false;
  socket.writableLength = 0;
  socket.drain?.();
  assert.is(drains(), 1);
  endTurn();
  assert.ok(writer.writePayload(Buffer.alloc(5000)), 'an empty queue takes any legal frame');
});

test('a frame above the limit is refused, and a destroyed socket takes nothing', () => {
  const socket = new FakeSocket();
  const { writer, endTurn } = writerOn(socket, 1 << 20, 100);
  assert.is(
    codeOf(() => void writer.writePayload(Buffer.alloc(101))),
    'FRAME_TOO_LARGE',
  );
  assert.is(
    codeOf(() => void writer.writeFrame([Buffer.alloc(60), Buffer.alloc(60)])),
    'FRAME_TOO_LARGE',
  );
  writer.writePayload(Buffer.alloc(10));
  socket.destroyed = true;
  endTurn();
  assert.is(socket.writes.length, 0);
  assert.is(writer.queuedBytes, 0);
  assert.not(writer.writePayload(Buffer.alloc(10)));
});

test.run();
