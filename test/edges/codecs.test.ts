/**
 * Every codec of bytes that come from a client, a peer or a disk, on spoilt valid inputs: a value that encodes to the very bytes (or at least reads back as
 * itself), or a KvError with a code that the codec names; memory and work in proportion to the input.
 */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { type ErrorCode, KvError } from '../../src/errors.ts';
import { decodeConfiguration, encodeConfiguration } from '../../src/raft/configuration.ts';
import type { StoredRecord } from '../../src/storage/record.ts';
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
import {
  readAlarmsAnswer,
  readSnapshotHead,
  writeAlarmsAnswer,
  writeSnapshotHead,
} from '../../src/wire/client_upkeep_codec.ts';
import { decodeCommand, encodeCommand } from '../../src/wire/command_codec.ts';
import { decodeEntry, EntryBuilder } from '../../src/wire/entry_codec.ts';
import { decodeError, encodeError } from '../../src/wire/error_codec.ts';
import type { RangeRequest } from '../../src/wire/messages.ts';
import {
  decodeAnswer,
  decodeJson,
  decodeRequest,
  encodeAnswer,
  encodeJson,
  encodeRequest,
  PEER_SNAPSHOT_READ,
  PEER_WRITE,
  type PeerOperation,
} from '../../src/wire/peer_codec.ts';
import { decodeMessage, encodeMessage } from '../../src/wire/raft_codec.ts';
import { decodeResult, encodeResult } from '../../src/wire/result_codec.ts';
import { decodeState, encodeState } from '../../src/wire/state_codec.ts';
import { ByteReader, ByteWriter } from '../../src/wire/varint.ts';
import { decodeHello, decodeWelcome, encodeHello, encodeWelcome } from '../../transports/peer_handshake.ts';
import { test } from '../suite.ts';
import {
  alarms,
  event,
  plain,
  rangeSelection,
  record,
  safeInteger,
  someBytes,
} from '../wire/command_arbitraries.ts';
import { edgeParameters, edgeRuns, guarded, report, shownBytes, tallyOf } from './edge_guard.ts';
import { noise, spoilt, steps } from './mutations.ts';
import {
  clusterId,
  commandBytes,
  configurationBytes,
  entryBytes,
  errorBytes,
  kvError,
  leaseAnswers,
  members,
  raftBytes,
  readLeaseAnswers,
  resultBytes,
  stateBytes,
  status,
  text,
  writeLeaseAnswers,
  written,
} from './valid_inputs.ts';

const RUNS = edgeRuns(400);

interface Codec<T> {
  readonly name: string;
  readonly valid: fc.Arbitrary<Uint8Array>;
  readonly codes?: readonly ErrorCode[];
  decode(bytes: Uint8Array): T;
  encode(value: T): Uint8Array;
  /** Whether a value has one encoding only: what decodes encodes to the very same bytes. */
  readonly exact: boolean;
}

function define<T>(codec: Codec<T>): Codec<unknown> {
  return codec as Codec<unknown>;
}

/** A payload: read with a reader, written with a writer. */
function payload<T>(
  name: string,
  values: fc.Arbitrary<T>,
  write: (writer: ByteWriter, value: T) => void,
  read: (reader: ByteReader) => T,
  exact: boolean,
  codes?: readonly ErrorCode[],
): Codec<unknown> {
  return define<T>({
    name,
    valid: written(values, write),
    decode: (bytes) => read(new ByteReader(bytes)),
    encode: (value) => {
      const writer = new ByteWriter();
      write(writer, value);
      return writer.copy();
    },
    exact,
    ...(codes === undefined ? {} : { codes }),
  });
}

/** Reads to the end, which not every reader demands by itself. */
function whole<T>(read: (reader: ByteReader) => T): (reader: ByteReader) => T {
  return (reader) => {
    const value = read(reader);
    reader.expectEnd();
    return value;
  };
}

const readOptions = {
  level: fc.constantFrom('linearizable' as const, 'sequential' as const, 'eventual' as const),
  minRevision: safeInteger,
  revision: safeInteger,
};
const maybeBytes = fc.option(someBytes, { nil: undefined });
const limits = fc.record({
  maxFrameBytes: safeInteger,
  maxKeyBytes: safeInteger,
  maxValueBytes: safeInteger,
  maxCommandBytes: safeInteger,
  maxTxnOperations: safeInteger,
  maxDeleteRangeKeys: safeInteger,
  maxSessionResults: safeInteger,
  maxRequests: safeInteger,
  idleTimeoutMs: safeInteger,
});
const joined = (parts: readonly Uint8Array[]) => new Uint8Array(Buffer.concat(parts));
const VERSIONED = ['PROTOCOL', 'UNSUPPORTED', 'UNSUPPORTED_VERSION'] as const;

const codecs: Codec<unknown>[] = [
  define({
    name: 'command',
    valid: commandBytes,
    codes: VERSIONED,
    decode: decodeCommand,
    encode: encodeCommand,
    exact: true,
  }),
  define({
    name: 'entry',
    valid: entryBytes,
    codes: VERSIONED,
    decode: (bytes) => {
      const commands: Uint8Array[] = [];
      const timeMs = decodeEntry(bytes, (one) => commands.push(one));
      return { timeMs, commands };
    },
    encode: ({ timeMs, commands }) => {
      const builder = new EntryBuilder();
      for (const one of commands) builder.add(one);
      return new Uint8Array(builder.finish(timeMs));
    },
    exact: true,
  }),
  define({
    name: 'result',
    valid: resultBytes,
    codes: VERSIONED,
    decode: (bytes) => whole(decodeResult)(new ByteReader(bytes)),
    encode: (value) => {
      const writer = new ByteWriter();
      encodeResult(value, writer);
      return writer.copy();
    },
    exact: false, // unknown error numbers become INTERNAL
  }),
  define({
    name: 'state',
    valid: stateBytes,
    codes: VERSIONED,
    decode: decodeState,
    encode: encodeState,
    exact: false,
  }),
  define({
    name: 'error',
    valid: errorBytes,
    decode: (bytes) => whole(decodeError)(new ByteReader(bytes)),
    encode: (error) => {
      const writer = new ByteWriter();
      encodeError(writer, error);
      return writer.copy();
    },
    exact: false,
  }),
  define({
    name: 'raft message',
    valid: raftBytes,
    codes: ['PROTOCOL', 'UNSUPPORTED_VERSION'],
    decode: decodeMessage,
    encode: (message) => joined(encodeMessage(message)),
    exact: true,
  }),
  define({
    name: 'configuration',
    valid: configurationBytes,
    codes: ['CORRUPT'],
    decode: decodeConfiguration,
    encode: encodeConfiguration,
    exact: true,
  }),
  define({
    name: 'peer request',
    valid: fc
      .record({
        id: safeInteger,
        operation: fc.integer({ min: PEER_WRITE, max: PEER_SNAPSHOT_READ }),
        timeoutMs: safeInteger,
        body: someBytes,
      })
      .map((one) => joined(encodeRequest({ ...one, operation: one.operation as PeerOperation }))),
    decode: (bytes) => ({ kind: bytes[0], request: decodeRequest(bytes) }),
    encode: ({ kind, request }) => {
      const encoded = joined(encodeRequest(request));
      encoded[0] = kind!;
      return encoded;
    },
    exact: true,
  }),
  define({
    name: 'peer answer',
    valid: fc
      .tuple(safeInteger, fc.oneof(someBytes, kvError))
      .map(([id, answer]) =>
        joined(
          encodeAnswer(
            answer instanceof Uint8Array ? { id, ok: true, body: answer } : { id, ok: false, error: answer },
          ),
        ),
      ),
    decode: decodeAnswer,
    encode: (answer) => joined(encodeAnswer(answer)),
    exact: false,
  }),
  define({
    name: 'peer JSON',
    valid: fc.jsonValue({ maxDepth: 4 }).map(encodeJson),
    // A number beyond the doubles reads as Infinity, which JSON cannot say: the schemas above this refuse it.
    decode: (bytes) => ({ bytes, value: decodeJson(bytes) }),
    encode: ({ bytes }) => bytes,
    exact: true,
  }),
  define({
    name: 'peer hello',
    valid: fc
      .tuple(clusterId, safeInteger, safeInteger)
      .map(([cluster, from, to]) => encodeHello(cluster, from, to)),
    codes: ['PROTOCOL', 'UNSUPPORTED_VERSION'],
    decode: decodeHello,
    encode: ({ clusterId: cluster, from, to }) => encodeHello(cluster, from, to),
    exact: true,
  }),
  define({
    name: 'peer welcome',
    valid: fc.tuple(clusterId, safeInteger).map(([cluster, id]) => encodeWelcome(cluster, id)),
    codes: ['PROTOCOL', 'UNSUPPORTED_VERSION'],
    decode: (bytes) => ({ bytes, welcome: decodeWelcome(bytes) }),
    encode: ({ bytes, welcome }) => ('id' in welcome ? encodeWelcome(welcome.clusterId, welcome.id) : bytes),
    exact: true,
  }),
  payload(
    'hello',
    fc.record({ minVersion: fc.nat(255), maxVersion: fc.nat(255), maxFrameBytes: safeInteger, name: text }),
    writeHello,
    // Longer names than the writer's are taken: they are for logs only, and MAX_HELLO_BYTES bounds them.
    (reader) => {
      const hello = readHello(reader);
      return { ...hello, name: hello.name.slice(0, 50) };
    },
    false,
  ),
  payload(
    'welcome',
    fc.record({
      version: fc.nat(255),
      nodeId: safeInteger,
      leader: safeInteger,
      clusterId: clusterId.map(String),
      limits,
    }),
    writeWelcome,
    readWelcome,
    false,
  ),
  payload('get', fc.record({ ...readOptions, key: someBytes }), writeGet, readGet, true),
  payload(
    'got',
    fc.record({ revision: safeInteger, record: fc.option(record, { nil: undefined }) }),
    writeGot,
    readGot,
    true,
  ),
  payload(
    'scan',
    fc.record({
      ...readOptions,
      start: someBytes,
      end: maybeBytes,
      reverse: fc.boolean(),
      limit: safeInteger,
      maxBytes: safeInteger,
      keysOnly: fc.boolean(),
    }),
    writeScan,
    readScan,
    true,
  ),
  payload(
    'page',
    fc.record({
      revision: safeInteger,
      records: fc.array(record, { maxLength: 4 }) as fc.Arbitrary<readonly StoredRecord[]>,
      more: fc.boolean(),
    }),
    writePage,
    readPage,
    true,
  ),
  payload(
    'range',
    fc
      .tuple(
        fc.record(readOptions),
        rangeSelection,
        fc.record({ key: someBytes, end: maybeBytes, maxBytes: safeInteger }),
      )
      .map(([options, shown, keys]): RangeRequest => ({ ...options, ...shown, ...keys })),
    writeRange,
    readRange,
    true,
  ),
  payload(
    'ranged',
    fc.record({
      revision: safeInteger,
      records: fc.array(record, { maxLength: 4 }) as fc.Arbitrary<readonly StoredRecord[]>,
      more: fc.boolean(),
      count: safeInteger,
    }),
    writeRanged,
    readRanged,
    true,
  ),
  payload(
    'snapshot head',
    fc.record({ revision: safeInteger, sizeBytes: safeInteger }),
    writeSnapshotHead,
    readSnapshotHead,
    true,
  ),
  payload(
    'alarms',
    fc.record({ revision: safeInteger, alarms }),
    writeAlarmsAnswer,
    whole(readAlarmsAnswer),
    false,
  ),
  payload(
    'watch',
    fc.record({ start: someBytes, end: maybeBytes, fromRevision: safeInteger, prevKv: fc.boolean() }),
    writeWatch,
    readWatch,
    true,
  ),
  payload(
    'watch batch',
    fc.record({ revision: safeInteger, partial: fc.boolean(), events: fc.array(event, { maxLength: 4 }) }),
    (writer, batch) => writeBatch(writer, batch, 0, batch.events.length, batch.partial),
    (reader) => {
      const { revision, partial, events } = readBatch(reader);
      return { revision, partial, events: [...events] };
    },
    true,
  ),
  payload('status', status, writeStatus, readStatus, false),
  payload('statuses', fc.array(status, { maxLength: 3 }), writeStatuses, readStatuses, false),
  payload('members', members, writeMembers, readMembers, false),
  payload('answers about leases', leaseAnswers, writeLeaseAnswers, readLeaseAnswers, true),
];

/** What a decoded value says, for comparing. */
function said(value: unknown): unknown {
  if (!(value instanceof Error)) return plain(value);
  const { message, ...fields } = value as Error & Record<string, unknown>;
  return plain({ message, ...fields });
}

function check(codec: Codec<unknown>, bytes: Uint8Array): void {
  const { name, codes = ['PROTOCOL'] } = codec;
  const outcome = guarded(name, bytes, codes, () => codec.decode(bytes));
  if (!outcome.ok) return;
  const encoded = codec.encode(outcome.value);
  if (codec.exact) {
    if (Buffer.compare(encoded, bytes) !== 0)
      throw new Error(`${name}: taken, but has another encoding: ${shownBytes(bytes)}`);
  } else {
    assert.equal(said(codec.decode(encoded)), said(outcome.value), shownBytes(bytes));
  }
}

for (const codec of codecs) {
  test(`${codec.name}: spoilt bytes are refused, or are another valid input`, () => {
    fc.assert(
      fc.property(codec.valid, codec.valid, steps, (bytes, other, how) =>
        check(codec, spoilt(bytes, other, how)),
      ),
      edgeParameters(RUNS),
    );
    const { taken, refused } = tallyOf(codec.name);
    assert.ok(refused > 0 && taken + refused >= RUNS, `${taken} taken, ${refused} refused`);
  });

  test(`${codec.name}: noise and every cut`, () => {
    fc.assert(
      fc.property(noise, (bytes) => check(codec, bytes)),
      edgeParameters(Math.ceil(RUNS / 4)),
    );
    fc.assert(
      fc.property(codec.valid, (bytes) => {
        for (let size = 0; size <= Math.min(bytes.length, 300); size++) check(codec, bytes.slice(0, size));
      }),
      edgeParameters(Math.ceil(RUNS / 100)),
    );
  });
}

test('an error with a detail that is no finite number can be passed on', () => {
  const tell = (error: KvError): KvError => {
    const writer = new ByteWriter();
    encodeError(writer, error);
    return decodeError(new ByteReader(writer.copy()));
  };
  for (const [value, as] of [
    [Number.NaN, 'NaN'],
    [Number.NEGATIVE_INFINITY, '-Infinity'],
  ] as const)
    assert.is(tell(new KvError('OVERLOADED', 'x', { details: { value } })).details['value'], as);
  // One node gets it from another, and tells a client.
  const text = new ByteWriter().u16(14).u8(1).string('x').varint(1).string('n').string('1e999').copy();
  const heard = decodeError(new ByteReader(text));
  assert.is(tell(heard).code, 'OVERLOADED');
});

test('the guard itself sees what is allocated, how often bytes are read, and foreign errors', () => {
  const bytes = new Uint8Array(10);
  const claims = (run: () => unknown) => () => guarded('guard', bytes, ['PROTOCOL'], run);
  assert.throws(
    claims(() => new Uint8Array(1 << 20)),
    /1048576 bytes allocated/,
  );
  assert.throws(
    claims(() => new Array(1 << 20)),
    /8388608 bytes allocated/,
  );
  assert.throws(
    claims(() => Buffer.allocUnsafe(1 << 20)),
    /1048576 bytes allocated/,
  );
  assert.throws(
    claims(() => {
      for (let i = 0; i < 1_000; i++) new ByteReader(bytes).u8();
    }),
    /1000 reads/,
  );
  assert.throws(
    claims(() => (undefined as unknown as { x: number }).x),
    /TypeError/,
  );
});

test.after(report);
test.run();
