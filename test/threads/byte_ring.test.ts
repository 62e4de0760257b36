/** The ring of frames against a queue, and between two threads. */
import { Worker } from 'node:worker_threads';
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { ByteRing, RING_WORDS_BYTES } from '../../src/threads/byte_ring.ts';
import { test } from '../suite.ts';

function ring(sizeBytes: number): ByteRing {
  return new ByteRing(new SharedArrayBuffer(RING_WORDS_BYTES + sizeBytes), 0, RING_WORDS_BYTES, sizeBytes);
}

test('frames come out as they went in, or are refused for want of room', () => {
  const step = fc.oneof(
    fc.record({ push: fc.constant(true), bytes: fc.uint8Array({ maxLength: 300 }) }),
    fc.record({ push: fc.constant(false), bytes: fc.constant(new Uint8Array(0)) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const subject = ring(1024);
      const model: { kind: number; bytes: Uint8Array }[] = [];
      let kind = 0;
      for (const { push, bytes } of steps) {
        if (push) {
          kind++;
          const promised = subject.hasRoom(bytes.length);
          const taken = subject.push(kind, kind * 3, bytes);
          assert.is(taken, promised);
          if (model.length === 0) assert.ok(taken, 'an empty ring takes what is no larger than the promise');
          if (taken) model.push({ kind, bytes });
          continue;
        }
        assert.is(subject.next(), model.length > 0);
        const wanted = model.shift();
        if (wanted === undefined) continue;
        assert.is(subject.kind, wanted.kind);
        assert.is(subject.id, wanted.kind * 3);
        assert.equal(new Uint8Array(subject.payload), wanted.bytes);
        subject.release();
      }
      assert.is(subject.empty, model.length === 0);
    }),
  );
});

test('the counters go round', () => {
  const buffer = new SharedArrayBuffer(RING_WORDS_BYTES + 256);
  const words = new Int32Array(buffer);
  words[0] = -64;
  words[RING_WORDS_BYTES / 8] = -64;
  const subject = new ByteRing(buffer, 0, RING_WORDS_BYTES, 256);
  for (let i = 0; i < 20; i++) {
    assert.ok(subject.push(1, i, Uint8Array.of(i, i, i)));
    assert.ok(subject.next());
    assert.is(subject.id, i);
    assert.is(subject.payload[2], i);
    subject.release();
  }
});

test('a payload up to the promised size fits an empty ring wherever its end is; a damaged length is noticed', () => {
  const subject = ring(512);
  const largest = new Uint8Array(subject.maxPayloadBytes);
  for (let i = 0; i < 30; i++) {
    assert.ok(subject.push(1, 1, new Uint8Array(i % 7)));
    subject.next();
    subject.release();
    assert.ok(subject.push(1, 1, largest));
    subject.next();
    assert.is(subject.payload.length, largest.length);
    subject.release();
  }
  const buffer = new SharedArrayBuffer(RING_WORDS_BYTES + 64);
  const damaged = new ByteRing(buffer, 0, RING_WORDS_BYTES, 64);
  damaged.push(1, 1, new Uint8Array(4));
  new Int32Array(buffer)[RING_WORDS_BYTES / 4] = 1000;
  assert.throws(() => damaged.next(), /a frame of 1000 bytes/);
});

const PUTTER = `
import { workerData } from 'node:worker_threads';
const { ByteRing } = await import(workerData.module);
const ring = new ByteRing(workerData.buffer, 0, 128, 4096);
for (let i = 0; i < workerData.frames; ) {
  const payload = new Uint8Array(i % 1500).fill(i);
  if (ring.push(i & 7, i, payload)) i++;
}
`;

test('one thread puts in while another takes out', async () => {
  const buffer = new SharedArrayBuffer(RING_WORDS_BYTES + 4096);
  const frames = 20_000;
  const module = new URL('../../src/threads/byte_ring.js', import.meta.url).href;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(PUTTER)}`), {
    workerData: { buffer, frames, module },
  });
  let failure: unknown;
  worker.on('error', (error) => {
    failure = error;
  });
  const subject = new ByteRing(buffer, 0, RING_WORDS_BYTES, 4096);
  for (let i = 0; i < frames; ) {
    if (failure !== undefined) throw failure;
    if (!subject.next()) {
      await new Promise((resolve) => setImmediate(resolve));
      continue;
    }
    assert.is(subject.id, i);
    assert.is(subject.kind, i & 7);
    assert.is(subject.payload.length, i % 1500);
    for (let at = 0; at < subject.payload.length; at += 97) assert.is(subject.payload[at], i & 255);
    subject.release();
    i++;
  }
  await worker.terminate();
});

test.run();
