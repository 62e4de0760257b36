/**
 * The client behind a node that answers nonsense: a proxy before a real node spoils the payloads of its answers, puts one answer in another's place, or breaks the
 * stream. Every call and every stream of the caller ends with an answer or a KvError that is not INTERNAL, within its time-out, and the process lives on.
 */
import { createServer, connect as dial, type Socket } from 'node:net';
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { startTcpDoor } from '../../src/api/tcp/door.ts';
import { connectAdmin } from '../../src/client/admin.ts';
import type { Store } from '../../src/client/store_types.ts';
import { parseConfig } from '../../src/config.ts';
import { connect } from '../../src/connect.ts';
import { KvError } from '../../src/errors.ts';
import { realPorts } from '../../src/real_ports.ts';
import { writeWelcome } from '../../src/wire/client_codec.ts';
import { FrameReader, OPCODE } from '../../src/wire/client_frames.ts';
import { ByteReader } from '../../src/wire/varint.ts';
import { frame } from '../api/raw_client.ts';
import { ClusterLab } from '../node/cluster_lab.ts';
import { test } from '../suite.ts';
import { count, edgeParameters, edgeRuns, report } from './edge_guard.ts';
import { type Step, spoilt, steps } from './mutations.ts';

const RUNS = edgeRuns(8);
const CALL_TIMEOUT_MS = 120;
const MAX_FRAME_BYTES = 1 << 24;
const LIMITS = {
  maxKeyBytes: 100,
  maxValueBytes: 100,
  maxCommandBytes: 1000,
  maxTxnOperations: 10,
  maxDeleteRangeKeys: 10,
  maxSessionResults: 10,
  idleTimeoutMs: 60_000,
};

/** What is done to the frames from the node, one after the other. Empty: passed on as it is. */
interface Plan {
  readonly frames: readonly {
    readonly how: readonly Step[];
    readonly opcode: number;
    readonly early: boolean;
  }[];
  /** Spoil the greeting too. */
  readonly greeting: boolean;
  /** Break the stream itself, not the payload. */
  readonly raw: boolean;
}

/** Passes bytes on to a node and spoils its answers. */
class SpoilingProxy {
  address = '';
  plan: Plan = { frames: [], greeting: false, raw: false };
  private readonly target: string;
  private readonly sockets = new Set<Socket>();
  private readonly server = createServer((client) => this.accept(client));
  private at = 0;
  private previous: Uint8Array = new Uint8Array(0);

  constructor(target: string) {
    this.target = target;
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    const address = this.server.address();
    if (address === null || typeof address === 'string') throw new Error('no address');
    this.address = `127.0.0.1:${address.port}`;
  }

  use(plan: Plan): void {
    this.plan = plan;
    this.at = 0;
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }

  private accept(client: Socket): void {
    const colon = this.target.lastIndexOf(':');
    const server = dial(Number(this.target.slice(colon + 1)), this.target.slice(0, colon));
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const) {
      this.sockets.add(one);
      one.on('error', () => {});
      one.on('close', () => {
        this.sockets.delete(one);
        other.destroy();
      });
    }
    client.on('data', (chunk) => server.write(chunk));
    const frames = new FrameReader(MAX_FRAME_BYTES);
    const reader = new ByteReader(new Uint8Array(0));
    let greeted = false;
    server.on('data', (chunk) => {
      frames.push(chunk);
      while (frames.next()) {
        const payload = frames.payload(reader).rest();
        client.write(this.spoil(frames.opcode, frames.requestId, payload, greeted));
        greeted = true;
      }
    });
  }

  private spoil(opcode: number, requestId: number, payload: Uint8Array, greeted: boolean): Uint8Array {
    const plain = frame(opcode, requestId, (writer) => void writer.raw(payload));
    const { frames, greeting, raw } = this.plan;
    if (frames.length === 0 || (!greeted && !greeting)) return plain;
    const { how, opcode: by, early } = frames[this.at++ % frames.length]!;
    const other = this.previous;
    this.previous = payload;
    if (raw) return spoilt(plain, other, how);
    // Now and then another answer under this number, or another kind of frame.
    const now = early ? other : spoilt(payload, other, how);
    return frame(by === 0 ? opcode : by, requestId, (writer) => void writer.raw(now));
  }
}

const plan: fc.Arbitrary<Plan> = fc.record({
  frames: fc.array(
    fc.record({
      how: fc.oneof(steps, fc.constant([])),
      opcode: fc.oneof(
        { weight: 6, arbitrary: fc.constant(0) },
        { weight: 1, arbitrary: fc.integer({ min: 0x80, max: 0x87 }) },
      ),
      early: fc.oneof(
        { weight: 4, arbitrary: fc.constant(false) },
        { weight: 1, arbitrary: fc.constant(true) },
      ),
    }),
    { minLength: 1, maxLength: 8 },
  ),
  greeting: fc.oneof(
    { weight: 4, arbitrary: fc.constant(false) },
    { weight: 1, arbitrary: fc.constant(true) },
  ),
  raw: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
});

/** Runs a call; whatever it ends with is a KvError that tells of the node, not of a bug. */
async function settles(what: string, run: () => Promise<unknown>): Promise<void> {
  try {
    await run();
    count(`client ${what}`, true);
  } catch (error) {
    count(`client ${what}`, false);
    if (!(error instanceof KvError))
      throw new Error(`${what}: ${error instanceof Error ? error.stack : String(error)}`);
    // A foreign error that became INTERNAL is a bug of ours; an INTERNAL without a cause was read from the wire.
    for (let at: unknown = error; at instanceof KvError; at = at.cause)
      if (at.code === 'INTERNAL' && at.cause instanceof Error && !(at.cause instanceof KvError))
        throw new Error(`${what}: ${at.cause.stack}`);
  }
}

async function drain(what: string, stream: AsyncIterable<unknown>, most: number): Promise<void> {
  await settles(what, async () => {
    let left = most;
    for await (const _one of stream) if (--left === 0) return;
  });
}

async function useStore(store: Store): Promise<void> {
  const more = { timeoutMs: CALL_TIMEOUT_MS };
  const watching = new AbortController();
  const watch = drain('watch', store.watch({ prefix: '', fromRevision: 1, signal: watching.signal }), 5);
  await Promise.all([
    settles('put', () => store.put('a', 'one', more)),
    settles('get', () => store.get('a', more)),
    settles('getEntry', () => store.getEntry('b', more)),
    settles('delete', () => store.delete('b', more)),
    settles('touch', () => store.touch('a', { ttlMs: 100_000, ...more })),
    settles('batch', () =>
      store.batch(
        [
          { type: 'put', key: 'c', value: '3' },
          { type: 'delete', key: 'd' },
        ],
        more,
      ),
    ),
    settles('txn', () =>
      store.txn(
        {
          compare: [{ key: 'a', exists: true }],
          then: [{ type: 'get', key: 'a' }],
          else: [{ type: 'touch', key: 'c', ttlMs: 9_000 }],
        },
        more,
      ),
    ),
    drain('scan', store.scan({ prefix: '', ...more }), 100),
  ]);
  watching.abort();
  await watch;
}

test('a client of a node that answers nonsense', async () => {
  const lab = await ClusterLab.start(1);
  const config = parseConfig({ door: { clientListen: '127.0.0.1:0' } });
  const { service } = (await lab.leader()).node;
  const door = await startTcpDoor({
    service,
    config: config.door,
    limits: config.limits,
    ports: realPorts(),
  });
  const proxy = new SpoilingProxy(door.address);
  await proxy.start();
  const endpoints = [proxy.address];
  try {
    await fc.assert(
      fc.asyncProperty(plan, async (how) => {
        proxy.use(how.greeting ? how : { ...how, frames: [] });
        let store: Store | undefined;
        await settles('connect', async () => {
          store = await connect({ endpoints, timeoutMs: CALL_TIMEOUT_MS });
        });
        proxy.use(how);
        if (store !== undefined) {
          await useStore(store);
          await settles('close', () => store!.close());
        }
        const admin = connectAdmin({ endpoints, ports: realPorts(), timeoutMs: CALL_TIMEOUT_MS });
        await Promise.all([
          settles('status', () => admin.status()),
          settles('statuses', () => admin.clusterStatus()),
          settles('members', () => admin.members()),
        ]);
        await admin.close();
        assert.not(lab.node(1).ended.is);
      }),
      edgeParameters(RUNS),
    );
    proxy.use({ frames: [], greeting: false, raw: false });
    const store = await connect({ endpoints });
    await store.put('still', 'here');
    assert.is(Buffer.from((await store.get('still'))!).toString(), 'here');
    await store.close();
  } finally {
    await proxy.close();
    await door.close();
    await lab.stop();
  }
});

test('a node whose greeting says that it takes no frames is refused, and no unhandled error is left', async () => {
  const welcome = (maxFrameBytes: number, maxRequests: number) =>
    frame(OPCODE.WELCOME, 0, (writer) =>
      writeWelcome(writer, {
        version: 1,
        nodeId: 1,
        leader: 1,
        clusterId: '7',
        limits: { ...LIMITS, maxFrameBytes, maxRequests },
      }),
    );
  let greeting = welcome(0, 9);
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.resume();
    socket.write(greeting);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no address');
  for (const next of [greeting, welcome(1023, 9), welcome(1 << 20, 0)]) {
    greeting = next;
    const error: unknown = await connect({ endpoints: [`127.0.0.1:${address.port}`], timeoutMs: 100 }).catch(
      (refusal: unknown) => refusal,
    );
    assert.ok(error instanceof KvError && /takes frames of/.test(error.message), String(error));
  }
  await new Promise((resolve) => server.close(resolve));
});

test.after(report);
test.run();
