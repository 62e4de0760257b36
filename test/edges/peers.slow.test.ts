/**
 * What comes in between nodes: spoilt handshakes and frames on real sockets, in any chunks, left half open or dripping; and spoilt frames of every kind to a real node.
 * Who sends them loses the connection; nothing is delivered that no valid hello came before, others are served on, and the node lives.
 */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import type { Service } from '../../src/api/service.ts';
import { readStatuses, writeStatuses } from '../../src/wire/client_admin_codec.ts';
import {
  decodeRequest,
  encodeAnswer,
  encodeJson,
  encodeRequest,
  FRAME_ANSWER,
  FRAME_RAFT,
  FRAME_REQUEST,
  PEER_MEMBER_ADD,
  PEER_MEMBER_PROMOTE,
  PEER_MEMBER_UPDATE,
  PEER_MEMBERS,
  PEER_MOVE_LEADER,
  PEER_SNAPSHOT,
  PEER_SNAPSHOT_READ,
  PEER_STATUS,
  PEER_WRITE,
  type PeerOperation,
} from '../../src/wire/peer_codec.ts';
import { decodeMessage } from '../../src/wire/raft_codec.ts';
import { ByteReader, ByteWriter } from '../../src/wire/varint.ts';
import {
  decodeHello,
  encodeHello,
  KIND_DATA,
  KIND_PING,
  MAX_HANDSHAKE_BYTES,
} from '../../transports/peer_handshake.ts';
import { waitFor } from '../api/raw_client.ts';
import { ClusterLab } from '../node/cluster_lab.ts';
import { test } from '../suite.ts';
import { until } from '../transports/conformance.ts';
import { framed, Lab, stillServes } from '../transports/tcp_lab.ts';
import { safeInteger } from '../wire/command_arbitraries.ts';
import { count, edgeParameters, edgeRuns, report } from './edge_guard.ts';
import { noise, spoilt, steps } from './mutations.ts';
import { commandBytes, kvError, raftBytes } from './valid_inputs.ts';

const RUNS = edgeRuns(20);
const STRANGERS = 8;
const HANDSHAKE_TIMEOUT_MS = 60;

const hello = fc
  .tuple(fc.constantFrom(77n, 78n), fc.integer({ min: 0, max: 9 }), fc.constantFrom(1, 1, 1, 2))
  .map(([cluster, from, to]) => encodeHello(cluster, from, to));
const stream = fc
  .tuple(
    hello,
    fc.array(fc.tuple(fc.constantFrom(KIND_DATA, KIND_DATA, KIND_PING), fc.uint8Array({ maxLength: 200 })), {
      maxLength: 4,
    }),
  )
  .map(([greeting, frames]) =>
    Buffer.concat([
      framed(greeting),
      ...frames.map(([kind, body]) => framed(Buffer.concat([Uint8Array.of(kind), body]))),
    ]),
  );
const stranger = fc.record({
  valid: stream,
  other: fc.oneof(stream, noise),
  how: fc.oneof({ weight: 6, arbitrary: steps }, { weight: 1, arbitrary: fc.constant([]) }),
  chunk: fc.constantFrom(1, 3, 17, 1_000_000),
  /** Says that it is done, or keeps the connection half open. */
  ends: fc.boolean(),
});

/** The ids that a stream may speak for: what its first frame says, if that is a hello which node 1 takes. */
function mayDeliver(bytes: Uint8Array): boolean {
  if (bytes.length < 4) return false;
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  if (length > MAX_HANDSHAKE_BYTES || length + 4 > bytes.length) return false;
  try {
    const said = decodeHello(bytes.subarray(4, 4 + length));
    return said.clusterId === 77n && said.to === 1 && said.from > 1;
  } catch {
    // No hello: nothing may be delivered.
    return false;
  }
}

test('strangers with spoilt streams lose their connection, and nobody else does', async () => {
  const lab = new Lab();
  try {
    const node = await lab.node(1, { maxFrameBytes: 500, handshakeTimeoutMs: HANDSHAKE_TIMEOUT_MS });
    await fc.assert(
      fc.asyncProperty(fc.array(stranger, { minLength: 1, maxLength: STRANGERS }), async (crowd) => {
        const before = node.inbox.length;
        let mayHear = false;
        const strangers = crowd.map(({ valid, other, how, chunk, ends }) => {
          const bytes = spoilt(valid, other, how);
          const allowed = mayDeliver(bytes);
          mayHear ||= allowed;
          const one = lab.stranger(node.address);
          for (let at = 0; at < bytes.length; at += chunk) one.socket.write(bytes.subarray(at, at + chunk));
          if (ends) one.socket.end();
          return { one, allowed };
        });
        // Who was greeted may stay; everybody else is cut off, at the deadline of the handshake at the latest.
        await until('the others are closed', () =>
          strangers.every(({ one, allowed }) => one.closed || allowed),
        );
        for (const { one, allowed } of strangers) {
          count('peer stream', allowed);
          one.socket.destroy();
        }
        // What a greeted one sent may still arrive until its connection is gone.
        await until('all are gone', () => node.tcp.stats().connections === 0);
        if (!mayHear) assert.is(node.inbox.length, before, 'delivered without a hello');
      }),
      edgeParameters(RUNS),
    );
    await stillServes(lab, node);
    assert.is(lab.events.filter((event) => event.type === 'acceptFailed').length, 0);
  } finally {
    await lab.close();
  }
});

test('nodes that are answered with nonsense try again, and reach others', async () => {
  const lab = new Lab();
  try {
    const node = await lab.node(1, { handshakeTimeoutMs: HANDSHAKE_TIMEOUT_MS });
    await fc.assert(
      fc.asyncProperty(stream, fc.oneof(stream, noise), steps, async (valid, other, how) => {
        const bytes = spoilt(valid, other, how);
        let dialed = 0;
        const { address } = await lab.server((socket) => {
          dialed++;
          socket.end(bytes);
        });
        node.transport.setPeer(5, address);
        await until('it was dialed', () => dialed > 0);
        node.transport.removePeer(5);
        count('peer answer on a socket', false);
      }),
      edgeParameters(RUNS),
    );
    assert.is(node.inbox.length, 0, 'data from the accepting end is never delivered');
    await stillServes(lab, node);
  } finally {
    await lab.close();
  }
});

const operation = fc.constantFrom<PeerOperation>(
  PEER_WRITE,
  PEER_WRITE,
  PEER_STATUS,
  PEER_MEMBERS,
  PEER_MEMBER_ADD,
  PEER_MEMBER_PROMOTE,
  PEER_MEMBER_UPDATE,
  PEER_MOVE_LEADER,
  PEER_SNAPSHOT,
  PEER_SNAPSHOT_READ,
);
const json = fc
  .oneof(
    fc.jsonValue({ maxDepth: 3 }),
    fc.record({ id: fc.oneof(safeInteger, fc.double(), fc.string()) }),
    fc.record({ peerAddress: fc.string({ maxLength: 30 }), clientAddress: fc.string({ maxLength: 30 }) }),
    fc.record({
      index: safeInteger,
      term: safeInteger,
      offset: safeInteger,
      length: safeInteger,
      atLeast: safeInteger,
    }),
  )
  .map(encodeJson);
const requestFrame = fc
  .record({
    id: safeInteger,
    operation,
    timeoutMs: fc.oneof(fc.nat(50), safeInteger),
    body: fc.oneof(commandBytes, json),
  })
  .map((request) => new Uint8Array(Buffer.concat(encodeRequest(request))));
const answerFrame = fc
  .tuple(fc.nat(20), fc.oneof(json, kvError))
  .map(([id, answer]) =>
    answer instanceof Uint8Array
      ? encodeAnswer({ id, ok: true, body: answer })
      : encodeAnswer({ id, ok: false, error: answer }),
  )
  .map((parts) => new Uint8Array(Buffer.concat(parts)));
const raftFrame = raftBytes.map((bytes) => Uint8Array.of(FRAME_RAFT, ...bytes));

/** A whole Raft message from a node that is none of the cluster's is consensus' affair (known peers are trusted), not that of the codecs. */
function isForCodecs(payload: Uint8Array): boolean {
  if (payload[0] === FRAME_RAFT) {
    try {
      decodeMessage(payload.subarray(1));
      return false;
    } catch {
      return true;
    }
  }
  return true;
}

/**
 * A peer may pass on any write, that which raises an alarm among them: it is obeyed, and then writes are refused. It may take effect at any time: one that came after
 * the look for alarms is cleared with the next.
 */
async function putPastAlarms(service: Service, put: () => Promise<unknown>): Promise<void> {
  for (let attempts = 1; ; attempts++) {
    for (const alarm of (await service.alarms()).alarms) await service.changeAlarm('clear', alarm);
    try {
      await put();
      return;
    } catch (error) {
      if (attempts === 20 || !/^the alarm \w+ is active/.test((error as Error).message)) throw error;
    }
  }
}

test('spoilt frames of every kind to a real node', async () => {
  const lab = await ClusterLab.start(1);
  const transport = lab.network.transport(2);
  let heard = 0;
  let answered = 0;
  try {
    await transport.start({
      frame: ({ payload }) => {
        heard++;
        if (payload[0] === FRAME_ANSWER) answered++;
      },
    });
    transport.setPeer(1, 'memory:1');
    const { node, store } = await lab.leader();
    // A learner, so that the node answers it.
    await node.service.memberAdd({ peerAddress: 'memory:2', clientAddress: 'memory:3' });
    await waitFor(() => heard > 0);
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.tuple(
            fc.oneof(requestFrame, requestFrame, answerFrame, raftFrame),
            fc.oneof(requestFrame, answerFrame, raftFrame, noise),
            fc.oneof(steps, steps, fc.constant([])),
          ),
          {
            minLength: 1,
            maxLength: 20,
          },
        ),
        async (frames) => {
          for (const [valid, other, how] of frames) {
            const payload = spoilt(valid, other, how);
            const isRequest = payload[0] !== FRAME_RAFT && payload[0] !== FRAME_ANSWER;
            if (!isForCodecs(payload) || (isRequest && obeys(payload))) continue;
            if (transport.send(1, [payload])) count('peer frame', true);
          }
          await putPastAlarms(node.service, async () => store.put('still', 'here'));
          assert.is(Buffer.from((await store.get('still'))!).toString(), 'here');
          assert.not(lab.node(1).ended.is, String(lab.node(1).ended.reason));
        },
      ),
      edgeParameters(RUNS * 3),
    );
    await waitFor(() => answered > 0);
  } finally {
    await transport.close();
    await lab.stop();
  }
});

test('a status of another node that no client could be told is left out', async () => {
  const lab = await ClusterLab.start(1);
  const transport = lab.network.transport(2);
  const { node } = await lab.leader();
  const own = node.service.status();
  let fields: readonly (readonly [string, unknown])[] = [];
  try {
    await transport.start({
      frame: ({ payload }) => {
        if (payload[0] !== FRAME_REQUEST) return;
        const { id } = decodeRequest(payload);
        const body = encodeJson({ ...own, id: 2, ...Object.fromEntries(fields) });
        transport.send(1, encodeAnswer({ id, ok: true, body }));
      },
    });
    transport.setPeer(1, 'memory:1');
    await node.service.memberAdd({ peerAddress: 'memory:2', clientAddress: 'memory:3' });
    const odd = fc.oneof(
      fc.constantFrom(1.5, -1, 2 ** 53, 1e300, '99999999999999999999', ''),
      fc.jsonValue(),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.constantFrom(...Object.keys(own)), odd), { maxLength: 2 }),
        async (changed) => {
          fields = changed;
          const statuses = await node.service.clusterStatus();
          count('status of a peer', statuses.length === 2);
          if (changed.length === 0) assert.is(statuses.length, 2);
          const writer = new ByteWriter();
          writeStatuses(writer, statuses);
          assert.is(readStatuses(new ByteReader(writer.copy())).length, statuses.length);
        },
      ),
      edgeParameters(RUNS * 3),
    );
  } finally {
    await transport.close();
    await lab.stop();
  }
});

/** Requests that end a node or change who is a member, and may: REMOVED, MEMBER_REMOVE. */
function obeys(payload: Uint8Array): boolean {
  return payload.subarray(1, 12).some((byte) => byte === 6 || byte === 8);
}

test.after(report);
test.run();
