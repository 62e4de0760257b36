/** Raft messages survive the wire unchanged, entry data is never copied, and no bytes make the decoder do anything but refuse. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import type { AppendRequest, Entry, EntryKind, Message } from '../../src/raft/types.ts';
import { decodeMessage, encodeMessage } from '../../src/wire/raft_codec.ts';
import { test } from '../suite.ts';
import { plainMessages } from './raft_arbitraries.ts';

const number = fc.oneof(
  fc.nat({ max: 300 }),
  fc.maxSafeNat(),
  fc.constantFrom(0, 127, 128, 2 ** 31, 2 ** 32, Number.MAX_SAFE_INTEGER),
);
const bytes = fc.uint8Array({ maxLength: 40 });
const ids = fc.array(number, { maxLength: 5 });
const text = fc.string({ unit: 'grapheme', maxLength: 12 });
const configuration = fc.record({
  voters: ids,
  votersOutgoing: ids,
  learners: ids,
  members: fc.array(fc.record({ id: number, peerAddress: text, clientAddress: text }), { maxLength: 4 }),
  lastId: number,
});
const base = { from: number, to: number, term: number };
const append: fc.Arbitrary<Message> = fc
  .record({
    ...base,
    prevIndex: fc.nat(),
    prevTerm: number,
    commit: number,
    list: fc.array(
      fc.record({ share: fc.double({ min: 0, max: 1, noNaN: true }), kind: fc.nat({ max: 2 }), data: bytes }),
      { maxLength: 8 },
    ),
  })
  .map(({ list, ...rest }) => ({
    type: 'appendRequest' as const,
    ...rest,
    entries: list.map(
      ({ share, kind, data }, i): Entry => ({
        index: rest.prevIndex + 1 + i,
        term: Math.floor(rest.term * share),
        kind: kind as EntryKind,
        data,
      }),
    ),
  }));
const chunk: fc.Arbitrary<Message> = fc
  .record({
    ...base,
    index: number,
    snapshotTerm: number,
    configuration,
    offset: fc.nat(),
    rest: fc.nat(),
    data: bytes,
  })
  .map(({ index, snapshotTerm, configuration, rest, offset, data, ...head }) => ({
    type: 'snapshotChunkRequest' as const,
    ...head,
    snapshot: { index, term: snapshotTerm, configuration, sizeBytes: offset + data.length + rest },
    offset,
    data,
  }));
const message: fc.Arbitrary<Message> = fc.oneof(append, append, chunk, ...plainMessages(base, number));

/** Messages hold views of other kinds of byte arrays after decoding: compare them as plain values. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]));
}

function refusal(payload: Uint8Array): KvError | undefined {
  try {
    decodeMessage(payload);
    return undefined;
  } catch (error) {
    if (error instanceof KvError) return error;
    throw error;
  }
}

test('every message comes back as it was sent', () => {
  fc.assert(
    fc.property(message, (sent) => {
      assert.equal(plain(decodeMessage(Buffer.concat(encodeMessage(sent)))), plain(sent));
    }),
    { numRuns: 1000 },
  );
});

test('one message has one encoding: what decodes encodes to the same bytes, even after mutation', () => {
  fc.assert(
    fc.property(message, fc.nat(), fc.nat({ max: 255 }), (sent, place, byte) => {
      const payload = Buffer.concat(encodeMessage(sent));
      payload[place % payload.length] = byte;
      if (refusal(payload) !== undefined) return;
      assert.ok(Buffer.concat(encodeMessage(decodeMessage(payload))).equals(payload));
    }),
    { numRuns: 1000 },
  );
});

test('cut, lengthened, mutated and random bytes are refused with PROTOCOL or UNSUPPORTED_VERSION', () => {
  const allowed = (error: KvError | undefined) =>
    assert.ok(error === undefined || error.code === 'PROTOCOL' || error.code === 'UNSUPPORTED_VERSION');
  fc.assert(
    fc.property(message, fc.nat(), bytes, (sent, place, noise) => {
      const payload = Buffer.concat(encodeMessage(sent));
      const cut = place % payload.length;
      allowed(refusal(payload.subarray(0, cut)));
      allowed(refusal(Buffer.concat([payload.subarray(0, cut), noise, payload.subarray(cut)])));
      allowed(refusal(Buffer.concat([payload.subarray(0, cut), noise])));
      allowed(refusal(noise));
      if (sent.type !== 'snapshotChunkRequest')
        assert.is(refusal(Buffer.concat([payload, Buffer.from([0])]))?.code, 'PROTOCOL');
    }),
    { numRuns: 1000 },
  );
});

const request: AppendRequest = {
  type: 'appendRequest',
  from: 1,
  to: 2,
  term: 3,
  prevIndex: 4,
  prevTerm: 3,
  commit: 4,
  entries: [
    { index: 5, term: 3, kind: 0, data: Buffer.from('first') },
    { index: 6, term: 3, kind: 1, data: new Uint8Array(0) },
    { index: 7, term: 3, kind: 0, data: Buffer.from('second') },
  ],
};

test('entry data is sent as it is and received as views', () => {
  const parts = encodeMessage(request);
  assert.is(parts.length, 3);
  assert.is(parts[1], request.entries[0]!.data);
  assert.is(parts[2], request.entries[2]!.data);
  const payload = new Uint8Array(Buffer.concat(parts));
  const decoded = decodeMessage(payload);
  assert.is(decoded.type, 'appendRequest');
  if (decoded.type !== 'appendRequest') return;
  for (const entry of decoded.entries) assert.is(entry.data.buffer, payload.buffer);
  assert.is(Buffer.from(decoded.entries[2]!.data).toString(), 'second');
});

test('the bytes of version 1 stay what they are', () => {
  const hex = Buffer.concat(encodeMessage(request)).toString('hex');
  assert.is(
    hex,
    `010501020304030403${'030005'}${'030100'}${'030006'}${Buffer.from('firstsecond').toString('hex')}`,
  );
  const heartbeat: Message = { type: 'heartbeatRequest', from: 1, to: 300, term: 2, commit: 5, readRound: 6 };
  assert.is(Buffer.concat(encodeMessage(heartbeat)).toString('hex'), '010701ac02020506');
});

test('another version, an unknown type, an unknown kind and impossible counts are named', () => {
  assert.is(refusal(Buffer.from([2, 7, 1, 1, 1, 1, 1]))?.code, 'UNSUPPORTED_VERSION');
  assert.match(refusal(Buffer.from([1, 14, 1, 1, 1]))?.message ?? '', 'type 14');
  assert.is(refusal(Buffer.from([1, 5, 1, 2, 3, 0, 0, 0, 1, 3, 3, 0]))?.code, 'PROTOCOL');
  // An entry of a later term than the leader's own.
  assert.is(refusal(Buffer.from([1, 5, 1, 2, 3, 0, 0, 0, 1, 4, 0, 0]))?.code, 'PROTOCOL');
  // More entries than bytes are left: refused before an array is made.
  assert.is(refusal(Buffer.from([1, 5, 1, 2, 3, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]))?.code, 'PROTOCOL');
  const lastIndexes = Buffer.concat(
    encodeMessage({ ...request, prevIndex: Number.MAX_SAFE_INTEGER, entries: [] }),
  );
  assert.is(refusal(lastIndexes), undefined);
  lastIndexes[lastIndexes.length - 1] = 1;
  assert.is(refusal(Buffer.concat([lastIndexes, Buffer.from([1, 0, 0])]))?.code, 'PROTOCOL');
});

test('a snapshot chunk beyond the end of its snapshot and a configuration of thousands are refused', () => {
  const snapshot = {
    index: 1,
    term: 1,
    sizeBytes: 10,
    configuration: { voters: [1], votersOutgoing: [], learners: [], members: [], lastId: 1 },
  };
  const sent: Message = {
    type: 'snapshotChunkRequest',
    from: 1,
    to: 2,
    term: 1,
    snapshot,
    offset: 5,
    data: new Uint8Array(6),
  };
  assert.match(refusal(Buffer.concat(encodeMessage(sent)))?.message ?? '', 'beyond');
  const crowd = Array.from({ length: 5000 }, (_, i) => i);
  const large: Message = {
    ...sent,
    data: new Uint8Array(0),
    snapshot: { ...snapshot, configuration: { ...snapshot.configuration, voters: crowd } },
  };
  assert.match(refusal(Buffer.concat(encodeMessage(large)))?.message ?? '', '5000');
});

test('entries that do not follow each other are a bug of the caller', () => {
  assert.throws(() => encodeMessage({ ...request, prevIndex: 5 }), /entry 5/);
});

test.run();
