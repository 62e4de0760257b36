/**
 * The client protocol at the door, over real sockets: spoilt requests of every opcode to a real node, and spoilt streams of frames. A client may lose its connection
 * by that, never the node: each request is answered or its connection closed, no answer is INTERNAL, and others are served on.
 */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { startTcpDoor, type TcpDoor } from '../../src/api/tcp/door.ts';
import { parseConfig } from '../../src/config.ts';
import { KvError } from '../../src/errors.ts';
import type { Operation } from '../../src/kv/command.ts';
import { USER_SPACE_END } from '../../src/kv/keyspace.ts';
import { Conditions } from '../../src/node/conditions.ts';
import { realPorts } from '../../src/real_ports.ts';
import { writeCredentials } from '../../src/wire/client_auth_codec.ts';
import {
  MAX_TIMEOUT_MS,
  readGot,
  readPage,
  writeGet,
  writeHello,
  writeRange,
  writeScan,
  writeWatch,
} from '../../src/wire/client_codec.ts';
import { OPCODE } from '../../src/wire/client_frames.ts';
import { writeLease } from '../../src/wire/client_lease_codec.ts';
import { writeCompact, writeQuotaRequest } from '../../src/wire/client_upkeep_codec.ts';
import { encodeCommand } from '../../src/wire/command_codec.ts';
import { decodeError } from '../../src/wire/error_codec.ts';
import { decodeResult } from '../../src/wire/result_codec.ts';
import type { ByteWriter } from '../../src/wire/varint.ts';
import {
  type Frame,
  frame,
  getFields,
  putFields,
  RawClient,
  stored,
  waitFor,
  withDoor,
} from '../api/raw_client.ts';
import { key, NO_ID, put, range, remove, Store, touch, txn, write } from '../kv/commands.ts';
import { ClusterLab } from '../node/cluster_lab.ts';
import { test } from '../suite.ts';
import { rangeSelection, safeInteger } from '../wire/command_arbitraries.ts';
import { count, edgeParameters, edgeRuns, report } from './edge_guard.ts';
import { noise, spoilt, steps } from './mutations.ts';
import { written } from './valid_inputs.ts';

const RUNS = edgeRuns(60);
const MAX_FRAMES = 20;

interface Request {
  readonly opcode: number;
  readonly payload: Uint8Array;
}

const shortKey = fc.constantFrom('a', 'b', 'c', 'key', 'k'.repeat(200));
const shortValue = fc.constantFrom('', '1', 'v'.repeat(3_000));
const timeoutMs = fc.oneof(fc.nat(40), safeInteger);
const level = fc.constantFrom('linearizable' as const, 'sequential' as const, 'eventual' as const);
const lease = fc.constantFrom(0n, 1n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n);
/** Some of which are there. */
const signedLease = fc.constantFrom(0n, 1n, 2n, -1n, 2n ** 63n - 1n, -(2n ** 63n));
const operation = fc.oneof(
  fc
    .tuple(shortKey, shortValue, fc.nat(2_000), lease, fc.boolean())
    .map(([k, v, ttlMs, one, prevKv]) => put(k, v, { ttlMs, lease: one, prevKv })),
  fc.tuple(shortKey, fc.boolean()).map(([k, prevKv]) => ({ ...remove(k), prevKv })),
  fc.constant({ ...remove('a', 'c'), prevKv: true }),
  fc.tuple(shortKey, safeInteger).map(([k, ttlMs]) => touch(k, ttlMs)),
);
/** Sessions that may be there, and sequences at both ends. */
const id = fc
  .tuple(
    fc.nat(4),
    fc.oneof(fc.integer({ min: 1, max: 9 }), fc.constant(Number.MAX_SAFE_INTEGER)),
    fc.nat(20),
  )
  .map(([session, sequence, outstanding]) => ({
    session,
    sequence,
    acknowledgedBelow: Math.max(0, sequence - outstanding),
  }));
const command = fc.oneof(
  operation.map((one) => write(one)),
  fc.tuple(operation, id).map(([one, under]) => write(one, under)),
  fc.array(operation, { maxLength: 4 }).map((all) => txn([...all, range('', 'z')])),
  // One within the other, to below the bottom.
  fc.tuple(operation, fc.nat(30)).map(([one, depth]) => {
    let inner: Operation = one;
    for (let i = 0; i < depth; i++) inner = { type: 'txn', compares: [], success: [inner], failure: [] };
    return txn([inner, range('', 'z')]);
  }),
  fc.constant({ type: 'openSession' as const }),
  fc
    .tuple(id, signedLease, fc.oneof(fc.nat(3_000), safeInteger))
    .map(([under, one, ttlMs]) => ({ type: 'leaseGrant' as const, id: under, lease: one, ttlMs })),
  signedLease.map((one) => ({ type: 'leaseRevoke' as const, id: NO_ID, lease: one })),
  fc.record({ type: fc.constant('closeSession' as const), session: fc.nat(10) }),
);
const readOptions = {
  level,
  minRevision: fc.oneof(fc.nat(5), safeInteger),
  revision: fc.oneof(fc.nat(5), safeInteger),
};

function request<T>(
  opcode: number,
  values: fc.Arbitrary<T>,
  fields: (writer: ByteWriter, value: T) => void,
): fc.Arbitrary<Request> {
  return written(fc.tuple(timeoutMs, values), (writer, [limitMs, value]) =>
    fields(writer.varint(limitMs), value),
  ).map((payload) => ({ opcode, payload }));
}

/** Requests that leave the members of the cluster alone. */
const dataRequest: fc.Arbitrary<Request> = fc.oneof(
  request(OPCODE.WRITE, command, (writer, one) => void writer.raw(encodeCommand(one))),
  request(OPCODE.WRITE, command, (writer, one) => void writer.raw(encodeCommand(one))),
  request(OPCODE.GET, fc.record({ ...readOptions, key: shortKey.map(key) }), writeGet),
  request(
    OPCODE.SCAN,
    fc.record({
      credit: fc.oneof(fc.constant(0), safeInteger),
      ...readOptions,
      start: shortKey.map(key),
      end: fc.constantFrom(undefined, USER_SPACE_END, key('b')),
      reverse: fc.boolean(),
      limit: safeInteger,
      maxBytes: safeInteger,
      keysOnly: fc.boolean(),
    }),
    (writer, one) => writeScan(writer.varint(one.credit), one),
  ),
  request(
    OPCODE.RANGE,
    fc
      .tuple(
        fc.record(readOptions),
        rangeSelection,
        fc.constantFrom(undefined, USER_SPACE_END, key('b')),
        safeInteger,
      )
      .map(([options, shown, end, maxBytes]) => ({ ...options, ...shown, key: key('a'), end, maxBytes })),
    writeRange,
  ),
  request(OPCODE.ALARMS, fc.constant(0), () => undefined),
  request(
    OPCODE.COMPACT,
    fc.record({ revision: fc.oneof(fc.nat(20), safeInteger), physical: fc.boolean() }),
    writeCompact,
  ),
  request(
    OPCODE.WATCH,
    fc.record({
      credit: safeInteger,
      start: shortKey.map(key),
      end: fc.constantFrom(undefined, USER_SPACE_END),
      fromRevision: fc.oneof(fc.nat(20), safeInteger),
      prevKv: fc.boolean(),
    }),
    (writer, one) => writeWatch(writer.varint(one.credit), one),
  ),
  request(
    OPCODE.SNAPSHOT,
    fc.oneof(fc.constantFrom(0, 1, 1_000, 1 << 24), safeInteger),
    (writer, credit) => void writer.varint(credit),
  ),
  request(OPCODE.LEASE_KEEP_ALIVE, signedLease, (writer, one) => void writeLease(writer, one)),
  request(
    OPCODE.LEASE_TIME_TO_LIVE,
    fc.tuple(signedLease, fc.boolean()),
    (writer, [one, keys]) => void writeLease(writer, one).bool(keys),
  ),
  request(OPCODE.LEASES, fc.constant(0), () => undefined),
  request(OPCODE.QUOTAS, fc.constant(0), () => undefined),
  request(
    OPCODE.QUOTA,
    fc.record({
      prefix: fc.oneof(shortKey.map(key), fc.uint8Array({ maxLength: 300 })),
      limits: fc.option(
        fc.record({ maxBytes: safeInteger, maxKeys: safeInteger, maxRequestsPerSecond: safeInteger }),
        { nil: undefined },
      ),
    }),
    writeQuotaRequest,
  ),
  request(OPCODE.STATUS, fc.constant(0), () => undefined),
  request(OPCODE.MEMBERS, fc.constant(0), () => undefined),
  safeInteger.map((credit) => ({
    opcode: OPCODE.CREDIT,
    payload: frame(0, 0, (w) => void w.varint(credit)).slice(9),
  })),
  fc
    .constantFrom(OPCODE.CANCEL, OPCODE.PING, OPCODE.PONG)
    .map((opcode) => ({ opcode, payload: new Uint8Array(0) })),
);
const adminRequest: fc.Arbitrary<Request> = fc.oneof(
  dataRequest,
  request(
    OPCODE.MEMBER_ADD,
    fc.tuple(fc.string({ maxLength: 20 }), fc.string({ maxLength: 20 })),
    (writer, [peer, client]) => void writer.string(peer).string(client),
  ),
  request(OPCODE.MEMBER_PROMOTE, safeInteger, (writer, id) => void writer.varint(id)),
  request(OPCODE.MEMBER_REMOVE, safeInteger, (writer, id) => void writer.varint(id)),
  request(OPCODE.MOVE_LEADER, safeInteger, (writer, id) => void writer.varint(id)),
  request(OPCODE.CLUSTER_STATUS, fc.constant(0), () => undefined),
  request(
    OPCODE.AUTHENTICATE,
    fc.record({ user: fc.string({ maxLength: 20 }), password: fc.string({ maxLength: 20 }) }),
    (writer, one) => void writeCredentials(writer, one),
  ),
  request(OPCODE.USER_GET, fc.string({ maxLength: 20 }), (writer, name) => void writer.string(name)),
);

const HELLO = frame(OPCODE.HELLO, 0, (writer) =>
  writeHello(writer, { minVersion: 1, maxVersion: 1, maxFrameBytes: 1 << 24, name: 'edge' }),
);
const LAST_PING = 0xffff_ff00;

/** What a client may be told for what it has sent. */
function checkAnswer(answer: Frame): void {
  if (answer.opcode !== OPCODE.ERROR && answer.opcode !== OPCODE.GOAWAY) {
    if (answer.opcode !== OPCODE.STREAM_END || answer.reader.remaining === 0) return;
  }
  const error = decodeError(answer.reader);
  if (error.code === 'INTERNAL' || error.code === 'CORRUPT' || error.code === 'STORAGE_FAILED')
    throw new Error(`request ${answer.requestId} is answered with ${error.code}: ${error.message}`);
}

/** Sends bytes after a greeting and waits until the door has gone through them all, or has hung up. */
async function play(door: TcpDoor, stream: Uint8Array): Promise<void> {
  const client = new RawClient(door.address);
  try {
    client.socket.write(HELLO);
    client.socket.write(stream);
    client.socket.write(frame(OPCODE.PING, LAST_PING, () => undefined));
    await client.until(() => client.ended || client.frames.some((one) => one.requestId === LAST_PING));
    for (const answer of client.frames) checkAnswer(answer);
    count('door', !client.ended);
  } finally {
    client.socket.destroy();
  }
}

async function stillServes(door: TcpDoor): Promise<void> {
  const client = new RawClient(door.address);
  try {
    await client.hello();
    client.send(OPCODE.WRITE, 1, putFields('still', 'here'));
    const answer = await client.next(1);
    assert.is(answer.opcode, OPCODE.RESULT, 'a write of another client');
    assert.is(decodeResult(answer.reader).type, 'put');
    client.send(OPCODE.GET, 2, getFields('still'));
    const got = readGot((await client.next(2)).reader);
    assert.is(Buffer.from(got.record!.value).toString(), 'here');
  } finally {
    client.socket.destroy();
  }
}

const spoiltRequests = (requests: fc.Arbitrary<Request>) =>
  fc.array(
    fc.tuple(
      requests,
      requests,
      fc.oneof(steps, fc.constant([]), fc.constant([])),
      fc.oneof(fc.constant(-1), fc.nat(255)),
    ),
    {
      minLength: 1,
      maxLength: MAX_FRAMES,
    },
  );

async function withRealNode(run: (door: TcpDoor, lab: ClusterLab) => Promise<void>): Promise<void> {
  const lab = await ClusterLab.start(1);
  const config = parseConfig({ door: { clientListen: '127.0.0.1:0' } });
  const { service } = await lab.leader().then(({ node }) => node);
  const door = await startTcpDoor({
    service,
    config: config.door,
    limits: config.limits,
    ports: realPorts(),
  });
  try {
    await run(door, lab);
  } finally {
    await door.close();
    await lab.stop();
  }
}

test('spoilt requests to a real node harm nobody else', async () => {
  await withRealNode(async (door, lab) => {
    await fc.assert(
      fc.asyncProperty(spoiltRequests(dataRequest), async (requests) => {
        const frames = requests.map(([{ opcode, payload }, other, how, swapped], i) => {
          // Now and then under the opcode of another request.
          const under = swapped >= 0 && swapped < 8 ? other.opcode : opcode;
          return frame(under, i + 1, (writer) => void writer.raw(spoilt(payload, other.payload, how)));
        });
        await play(door, Buffer.concat(frames));
        await stillServes(door);
        assert.not(lab.node(1).ended.is, String(lab.node(1).ended.reason));
      }),
      edgeParameters(RUNS),
    );
  });
});

test('spoilt requests about members, and unknown opcodes, harm nobody else', async () => {
  await withDoor(async (door) => {
    await fc.assert(
      fc.asyncProperty(spoiltRequests(adminRequest), async (requests) => {
        const frames = requests.map(([{ opcode, payload }, other, how, swapped], i) =>
          frame(swapped < 0 ? opcode : swapped, i + 1, (writer) => {
            writer.raw(spoilt(payload, other.payload, how));
          }),
        );
        await play(door, Buffer.concat(frames));
        await stillServes(door);
      }),
      edgeParameters(RUNS),
    );
  });
});

test('spoilt streams: frames cut, spliced and with wrong lengths', async () => {
  await withDoor(async (door) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(adminRequest, { minLength: 1, maxLength: 6 }),
        steps,
        noise,
        async (requests, how, more) => {
          const stream = Buffer.concat(
            requests.map(({ opcode, payload }, i) =>
              frame(opcode, i + 1, (writer) => void writer.raw(payload)),
            ),
          );
          const client = new RawClient(door.address);
          client.socket.write(spoilt(Buffer.concat([HELLO, stream]), more, how));
          client.socket.end();
          await client.until(() => client.ended);
          for (const answer of client.frames) if (answer.opcode !== OPCODE.WELCOME) checkAnswer(answer);
          count('door stream', client.frames.length > 0);
          await stillServes(door);
        },
      ),
      edgeParameters(RUNS),
    );
    await waitFor(() => door.connections() === 0);
  });
});

test('a time-out of the wire is cut to the longest one allowed', async () => {
  await withDoor(async (_door, service, dialed) => {
    const client = dialed();
    await client.hello();
    const longest = Number.MAX_SAFE_INTEGER;
    client.send(OPCODE.WRITE, 1, (w) => void w.varint(longest).raw(encodeCommand(write(put('a', '1')))));
    assert.is((await client.next(1)).opcode, OPCODE.RESULT);
    assert.is(service.lastTimeoutMs, MAX_TIMEOUT_MS);
  });
});

test('a session whose sequences end at the largest number can be closed', () => {
  const store = new Store();
  for (const behind of [0, 1, 9, 15, 16, 17]) {
    const opened = store.run({ type: 'openSession' });
    if (opened.type !== 'session') throw new Error(opened.type);
    const { session } = opened;
    const acknowledgedBelow = Number.MAX_SAFE_INTEGER - behind;
    const last = { session, sequence: Number.MAX_SAFE_INTEGER, acknowledgedBelow };
    const written = store.run(write(put('a', '1'), last));
    assert.is(written.type, 'put');
    assert.equal(store.run(write(put('a', '2'), last)), written, 'applied once');
    assert.is(store.run({ type: 'closeSession', session }).type, 'done');
  }
});

test('calls that wait for revisions far away are bounded', async () => {
  const conditions = new Conditions();
  const late = () => new KvError('TIMEOUT', 'late');
  const wait = () =>
    conditions.until(() => false, Number.MAX_SAFE_INTEGER, late).then(String, (error: KvError) => error.code);
  const waiting = Array.from({ length: 65_536 }, wait);
  assert.is(await wait(), 'OVERLOADED');
  conditions.close();
  assert.equal(new Set(await Promise.all(waiting)), new Set(['UNAVAILABLE']));
  await conditions.until(() => true, 0, late);
});

test('a record that cannot be written ends its stream, and the connection goes on', async () => {
  await withDoor(async (_door, service, dialed) => {
    const client = dialed();
    await client.hello();
    client.send(OPCODE.WRITE, 1, (w) => void w.varint(0).raw(encodeCommand(write(put('a', '1')))));
    await client.next(1);
    const { store } = service;
    const record = { ...store.at(key('a'), 0)!, modRevision: -1 };
    store.scan = () => ({ revision: 1, records: [record], more: false });
    store.events[0] = {
      type: 'put',
      record: {
        ...record,
        get modRevision() {
          return 1;
        },
        version: -1,
      },
      previous: undefined,
    };
    const range = { start: stored(''), end: USER_SPACE_END };
    const scan = {
      ...range,
      level: 'linearizable' as const,
      minRevision: 0,
      revision: 0,
      reverse: false,
      limit: 9,
      maxBytes: 99,
      keysOnly: false,
    };
    client.send(OPCODE.SCAN, 2, (w) => writeScan(w.varint(0).varint(1000), scan));
    assert.is((await client.nextError(2)).code, 'INTERNAL');
    client.send(OPCODE.WATCH, 3, (w) =>
      writeWatch(w.varint(0).varint(1000), { ...range, fromRevision: 1, prevKv: false }),
    );
    assert.is((await client.next(3)).opcode, OPCODE.STREAM_DATA, 'from where it begins');
    assert.is((await client.nextError(3)).code, 'INTERNAL');
    client.send(OPCODE.PING, 4);
    assert.is((await client.next(4)).opcode, OPCODE.PONG);
  });
});

test('a put with a lease above 2^63, which is a negative one, can be read, scanned and watched', async () => {
  await withRealNode(async (door, lab) => {
    const client = new RawClient(door.address);
    await client.hello();
    const watch = { start: stored(''), end: USER_SPACE_END, fromRevision: 1, prevKv: true };
    client.send(OPCODE.WATCH, 9, (writer) => writeWatch(writer.varint(0).varint(1 << 20), watch));
    for (const [i, big] of [2n ** 64n - 1n, 2n ** 63n].entries()) {
      const grant = encodeCommand({ type: 'leaseGrant', id: NO_ID, lease: big, ttlMs: 60_000 });
      client.send(OPCODE.WRITE, 20 + i, (writer) => void writer.varint(0).raw(grant));
      assert.is((await client.next(20 + i)).opcode, OPCODE.RESULT);
      const bytes = encodeCommand(write(put('leased', 'v', { lease: big, prevKv: true })));
      client.send(OPCODE.WRITE, 10 + i, (writer) => void writer.varint(0).raw(bytes));
      const answer = await client.next(10 + i);
      assert.is(answer.opcode, OPCODE.RESULT);
      const result = decodeResult(answer.reader);
      if (i === 1) assert.is(result.type === 'put' && result.previous?.lease, -1n);
    }
    client.send(OPCODE.GET, 2, getFields('leased'));
    const got = await client.next(2);
    assert.is(got.opcode, OPCODE.RESULT, 'the key can be read');
    assert.is(readGot(got.reader).record?.lease, -(2n ** 63n));
    const scan = {
      level: 'linearizable' as const,
      minRevision: 0,
      revision: 0,
      start: stored(''),
      end: USER_SPACE_END,
      reverse: false,
      limit: 10,
      maxBytes: 1 << 20,
      keysOnly: false,
    };
    client.send(OPCODE.SCAN, 3, (writer) => writeScan(writer.varint(0).varint(0), scan));
    const page = await client.next(3);
    assert.is(page.opcode, OPCODE.RESULT, 'the range can be scanned');
    assert.is(readPage(page.reader).records.length, 1);
    assert.is((await client.next(9)).opcode, OPCODE.STREAM_DATA);
    client.socket.destroy();
    await stillServes(door);
    assert.not(lab.node(1).ended.is, String(lab.node(1).ended.reason));
  });
});

test.after(report);
test.run();
