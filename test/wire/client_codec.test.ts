/** The client protocol's bytes: the documented example, round trips of everything, and that damaged bytes are refused and never more than that. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import {
  readMembers,
  readStatus,
  readStatuses,
  writeMembers,
  writeStatus,
  writeStatuses,
} from '../../src/wire/client_admin_codec.ts';
import {
  readBatch,
  readGet,
  readGot,
  readHello,
  readPage,
  readRange,
  readRanged,
  readScan,
  readWatch,
  readWelcome,
  wireTimeoutMs,
  writeBatch,
  writeGet,
  writeGot,
  writeHello,
  writePage,
  writeRange,
  writeRanged,
  writeScan,
  writeWatch,
  writeWelcome,
} from '../../src/wire/client_codec.ts';
import { beginFrame, endFrame, FrameReader, OPCODE } from '../../src/wire/client_frames.ts';
import { encodePut } from '../../src/wire/command_codec.ts';
import { encodeError } from '../../src/wire/error_codec.ts';
import type { GetRequest, RangeRequest, ScanPageRequest } from '../../src/wire/messages.ts';
import { encodeResult } from '../../src/wire/result_codec.ts';
import { ByteReader, ByteWriter } from '../../src/wire/varint.ts';
import { test } from '../suite.ts';
import { alarms, rangeSelection } from './command_arbitraries.ts';

const number = fc.maxSafeNat();
const bytes = fc.uint8Array({ maxLength: 40 });
const text = fc.string({ unit: 'grapheme', maxLength: 20 });
const clusterId = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(String);
const optional = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
const record = fc.record({
  key: bytes,
  value: bytes,
  modRevision: number,
  createRevision: number,
  version: number,
  subRevision: number,
  flags: fc.nat(1),
  lease: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  expiresAtMs: number,
});
const readOptions = {
  level: fc.constantFrom('linearizable' as const, 'sequential' as const, 'eventual' as const),
  minRevision: number,
  revision: number,
  atTimeMs: fc.constant<number | undefined>(undefined),
};
const readAtTime = { ...readOptions, revision: fc.constant(0), atTimeMs: number };
const status = fc.record({
  id: number,
  clusterId,
  role: fc.constantFrom('leader', 'follower', 'candidate', 'preCandidate', 'learner' as const),
  pid: number,
  term: number,
  leader: number,
  commitIndex: number,
  appliedIndex: number,
  revision: number,
  compactRevision: number,
  version: text,
  uptimeMs: number,
  rssBytes: number,
  dataBytes: number,
  health: text,
  endpoints: fc.array(text, { maxLength: 3 }),
  alarms,
  metrics: fc.dictionary(
    fc.string({ minLength: 1, maxLength: 30 }).filter((name) => name !== '__proto__'),
    fc.double({ noNaN: true }),
    { maxKeys: 5 },
  ),
});
const members = fc.record({
  clusterId,
  leader: number,
  members: fc.array(
    fc.record({
      id: number,
      peerAddress: text,
      clientAddress: text,
      role: fc.constantFrom('voter' as const, 'learner' as const),
      leader: fc.boolean(),
      matchIndex: optional(number),
    }),
    { maxLength: 4 },
  ),
});
const limits = fc.record({
  maxFrameBytes: number,
  maxKeyBytes: number,
  maxValueBytes: number,
  maxCommandBytes: number,
  maxTxnOperations: number,
  maxDeleteRangeKeys: number,
  maxSessionResults: number,
  maxRequests: number,
  idleTimeoutMs: number,
});
const event = fc.record({
  type: fc.constantFrom('put' as const, 'delete' as const),
  record,
  previous: optional(record),
});

const filters = fc.constantFrom(
  { noPut: true, noDelete: false },
  { noPut: false, noDelete: true },
  { noPut: true, noDelete: true },
);

interface Case<T> {
  readonly name: string;
  readonly values: fc.Arbitrary<T>;
  write(writer: ByteWriter, value: T): void;
  read(reader: ByteReader): T;
}

function define<T>(one: Case<T>): Case<unknown> {
  return one as Case<unknown>;
}

const cases = [
  define({
    name: 'hello',
    values: fc.record({
      minVersion: fc.nat(255),
      maxVersion: fc.nat(255),
      maxFrameBytes: number,
      name: text,
    }),
    write: writeHello,
    read: readHello,
  }),
  define({
    name: 'welcome',
    values: fc.record({ version: fc.nat(255), nodeId: number, leader: number, clusterId, limits }),
    write: writeWelcome,
    read: readWelcome,
  }),
  define<GetRequest>({
    name: 'get',
    values: fc.oneof(fc.record({ ...readOptions, key: bytes }), fc.record({ ...readAtTime, key: bytes })),
    write: writeGet,
    read: readGet,
  }),
  define({
    name: 'got',
    values: fc.record({ revision: number, record: optional(record) }),
    write: writeGot,
    read: readGot,
  }),
  define<ScanPageRequest>({
    name: 'scan',
    values: fc.record({
      ...readOptions,
      start: bytes,
      end: optional(bytes),
      reverse: fc.boolean(),
      keysOnly: fc.boolean(),
      limit: number,
      maxBytes: number,
    }),
    write: writeScan,
    read: readScan,
  }),
  define({
    name: 'range',
    values: fc
      .tuple(
        fc.record(readOptions),
        rangeSelection,
        fc.record({ key: bytes, end: optional(bytes), maxBytes: number }),
      )
      .map(([options, shown, keys]): RangeRequest => ({ ...options, ...shown, ...keys })),
    write: writeRange,
    read: readRange,
  }),
  define({
    name: 'ranged',
    values: fc.record({
      revision: number,
      records: fc.array(record, { maxLength: 4 }),
      more: fc.boolean(),
      count: number,
    }),
    write: writeRanged,
    read: readRanged,
  }),
  define({
    name: 'page',
    values: fc.record({ revision: number, records: fc.array(record, { maxLength: 4 }), more: fc.boolean() }),
    write: writePage,
    read: readPage,
  }),
  define({
    name: 'watch',
    values: fc.record({
      start: bytes,
      end: optional(bytes),
      fromRevision: number,
      prevKv: fc.boolean(),
      filters: optional(filters),
    }),
    write: writeWatch,
    read: readWatch,
  }),
  define({
    name: 'batch',
    values: fc.record({ revision: number, events: fc.array(event, { maxLength: 3 }), partial: fc.boolean() }),
    write: (writer, batch) => writeBatch(writer, batch, 0, batch.events.length, batch.partial),
    read: readBatch,
  }),
  define({ name: 'status', values: status, write: writeStatus, read: readStatus }),
  define({
    name: 'statuses',
    values: fc.array(status, { maxLength: 3 }),
    write: writeStatuses,
    read: readStatuses,
  }),
  define({ name: 'members', values: members, write: writeMembers, read: readMembers }),
];

/** Views become plain arrays of bytes, so that a Buffer equals a Uint8Array. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value];
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]));
}

for (const { name, values, write, read } of cases) {
  test(`${name}: what is written is read; damaged bytes are refused as PROTOCOL or read as something else`, () => {
    fc.assert(
      fc.property(values, fc.nat(), fc.nat(255), fc.boolean(), (value, position, byte, cut) => {
        const writer = new ByteWriter();
        write(writer, value);
        const encoded = writer.copy();
        assert.equal(plain(read(new ByteReader(encoded))), plain(value));
        const at = encoded.length === 0 ? 0 : position % encoded.length;
        const damaged = cut ? encoded.slice(0, at) : encoded.map((old, index) => (index === at ? byte : old));
        try {
          read(new ByteReader(damaged));
        } catch (error) {
          assert.instance(error, KvError);
          assert.is((error as KvError).code, 'PROTOCOL');
        }
      }),
      { numRuns: 300 },
    );
  });
}

test('the example of the protocol document is what the code writes', () => {
  const frame = (opcode: number, requestId: number, write: (writer: ByteWriter) => void) => {
    const writer = new ByteWriter();
    const start = beginFrame(writer, opcode, requestId);
    write(writer);
    endFrame(writer, start);
    return Buffer.from(writer.view())
      .toString('hex')
      .replace(/..(?!$)/g, '$& ');
  };
  const key = Buffer.from('\x01k');
  const record = {
    key,
    value: Buffer.from('v'),
    modRevision: 300,
    createRevision: 300,
    version: 1,
    subRevision: 0,
    flags: 0,
    lease: 0n,
    expiresAtMs: 0,
  };
  const limits = {
    maxFrameBytes: 20 << 20,
    maxKeyBytes: 64 << 10,
    maxValueBytes: 8 << 20,
    maxCommandBytes: 16 << 20,
    maxTxnOperations: 10_000,
    maxDeleteRangeKeys: 100_000,
    maxSessionResults: 4_096,
    maxRequests: 4_095,
    idleTimeoutMs: 60_000,
  };
  const clusterId = String(0x0102030405060708n);
  const details = { leader: 2, leaderAddress: 'n2:7400' };
  const frames = [
    frame(OPCODE.HELLO, 0, (writer) =>
      writeHello(writer, { minVersion: 1, maxVersion: 1, maxFrameBytes: 1 << 20, name: 'doc' }),
    ),
    frame(OPCODE.WELCOME, 0, (writer) =>
      writeWelcome(writer, { version: 1, nodeId: 1, leader: 1, clusterId, limits }),
    ),
    frame(OPCODE.WRITE, 1, (writer) => void writer.varint(5000).raw(encodePut('k', 'v', 0, 7, 3, 2))),
    frame(OPCODE.RESULT, 1, (writer) =>
      encodeResult({ type: 'put', revision: 300, previous: undefined }, writer),
    ),
    frame(OPCODE.GET, 2, (writer) =>
      writeGet(writer.varint(0), { level: 'linearizable', minRevision: 0, revision: 0, key }),
    ),
    frame(OPCODE.RESULT, 2, (writer) => writeGot(writer, { revision: 300, record })),
    frame(OPCODE.ERROR, 3, (writer) =>
      encodeError(writer, new KvError('NOT_LEADER', 'node 2 leads', { details })),
    ),
  ];
  const page = readFileSync('docs/formats/tcp_protocol.md', 'utf8');
  const example = page.slice(page.indexOf('## Example'));
  const documented = [...example.matchAll(/^ {2}((?:[0-9a-f]{2} ?)+)$/gm)].map((match) => match[1]);
  assert.equal(documented, frames);
});

test('a stream of frames is cut the same however its bytes arrive', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(255), fc.nat(0xffffffff), fc.uint8Array({ maxLength: 300 })), {
        maxLength: 12,
      }),
      fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 8 }),
      (frames, steps) => {
        const writer = new ByteWriter();
        for (const [opcode, requestId, payload] of frames) {
          const start = beginFrame(writer, opcode, requestId);
          writer.raw(payload);
          assert.is(endFrame(writer, start), payload.length);
        }
        const all = writer.copy();
        const reader = new FrameReader(1_000);
        const seen: { opcode: number; requestId: number; payload: Uint8Array }[] = [];
        for (let at = 0, turn = 0; at < all.length; turn++) {
          const step = steps[turn % steps.length]!;
          reader.push(all.slice(at, at + step));
          at += step;
          // Every third chunk is not looked at yet: frames pile up and nothing is lost.
          if (turn % 3 === 2 && at < all.length) continue;
          while (reader.next()) {
            const payload = reader.payload(new ByteReader(new Uint8Array(0))).rest();
            seen.push({ opcode: reader.opcode, requestId: reader.requestId, payload });
          }
        }
        assert.is(reader.unreadBytes, 0);
        assert.equal(
          seen.map(plain),
          frames.map(([opcode, requestId, payload]) => plain({ opcode, requestId, payload })),
        );
      },
    ),
  );
});

test('a frame is refused by its length before its bytes are there', () => {
  const reader = new FrameReader(100);
  reader.push(Uint8Array.of(101, 0));
  assert.is(reader.next(), false);
  reader.push(Uint8Array.of(0, 0));
  assert.throws(
    () => reader.next(),
    (error: KvError) => error.code === 'FRAME_TOO_LARGE',
  );
  const short = new FrameReader(100);
  short.push(Uint8Array.of(4, 0, 0, 0, 1, 2, 3, 4));
  assert.throws(
    () => short.next(),
    (error: KvError) => error.code === 'PROTOCOL',
  );
});

test('time-outs on the wire are whole milliseconds from 1 to a day; 0 is the server\u2019s choice', () => {
  assert.equal([undefined, 0, 0.2, 7.1, 1e12].map(wireTimeoutMs), [0, 1, 1, 8, 86_400_000]);
});

test.run();
