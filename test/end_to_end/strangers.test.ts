/** Garbage, cut and over-long frames on both ports of a live cluster: the connection is closed and everybody else is served as before. */
import { connect as dial } from 'node:net';
import * as assert from 'uvu/assert';
import { connect } from '../../src/index.ts';
import { test } from '../suite.ts';
import { endAll, freePorts, kvorum, serve, statusOf, temporaryDirectory } from './processes.ts';
import { RecordedWriter } from './recorded_writer.ts';

const CLOSED_WITHIN_MS = 15_000;

/** Sends bytes and waits until the server closes; with `half` the client ends its side, as one that dies in mid-frame does. */
function closedAfter(port: number, bytes: Uint8Array, half = false): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = dial(port, '127.0.0.1');
    const startedMs = performance.now();
    const timer = setTimeout(() => {
      socket.destroy();
      reject(
        new Error(
          `not closed within ${CLOSED_WITHIN_MS} ms after ${Buffer.from(bytes).toString('hex', 0, 16)}`,
        ),
      );
    }, CLOSED_WITHIN_MS);
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(performance.now() - startedMs);
    });
    socket.resume();
    if (half) socket.end(bytes);
    else socket.write(bytes);
  });
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

const HTTP = Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(40));
const OVER_LONG = Buffer.concat([u32(0xffff_fff0), Buffer.alloc(64)]);
const ZEROS = Buffer.alloc(4_096);
const ONES = Buffer.alloc(4_096, 0xff);
const CUT = Buffer.concat([u32(100), Buffer.alloc(10, 1)]);

/** The same noise in every run. */
function noise(seed: number, sizeBytes: number): Buffer {
  let state = seed;
  const bytes = Buffer.alloc(sizeBytes);
  for (let i = 0; i < sizeBytes; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = state >>> 24;
  }
  // A first length that is a plausible one half of the time, so that what follows it is looked at.
  if (seed % 2 === 0) bytes.writeUInt32LE(20 + (seed % 200), 0);
  return bytes;
}

test('strangers on the client and the peer port are closed, and clients are served all the while', async () => {
  const [clientPort, peerPort] = (await freePorts(2)) as [number, number];
  const node = await serve({ data: `${temporaryDirectory()}/node`, clientPort, peerPort });
  const writer = await RecordedWriter.start([node.endpoint], { lanes: 2 });
  // Clients are served over HTTP, too (the gateway of etcd's JSON): what asks for nothing that exists is told so, and only peers speak one protocol.
  const answer = await fetch(`http://127.0.0.1:${clientPort}/`, { headers: { connection: 'close' } });
  assert.is(answer.status, 404);
  await answer.arrayBuffer();
  await closedAfter(peerPort, HTTP);
  for (const port of [clientPort, peerPort]) {
    for (const bytes of [OVER_LONG, ZEROS, ONES]) await closedAfter(port, bytes);
    for (const bytes of [CUT, CUT.subarray(0, 3), new Uint8Array(0)]) await closedAfter(port, bytes, true);
    const seeds = Array.from({ length: 60 }, (_, i) => i + 1);
    await Promise.all(seeds.map((seed) => closedAfter(port, noise(seed, 2_000), true)));
  }
  const [status] = await statusOf([node.endpoint]);
  assert.is(status!.health, 'ok');
  assert.is(status!.pid, node.pid, 'the same process as before');
  const before = writer.acknowledged;
  assert.ok(before > 0);
  await writer.stop();
  await writer.verify();
  await writer.close();
  // A command after a proper greeting that makes no sense must not end the node either.
  const other = await connect({ endpoints: [node.endpoint] });
  await other.put('after', 'all');
  await other.close();
  assert.is((await kvorum(['get', 'after', '--endpoints', node.endpoint])).stdout, 'all\n');
  const ended = await node.command.stop();
  assert.is(ended.status, 0, ended.stderr);
});

test('bad frames after a good greeting end that connection alone', async () => {
  const [clientPort, peerPort] = (await freePorts(2)) as [number, number];
  const node = await serve({ data: `${temporaryDirectory()}/node`, clientPort, peerPort });
  const bystander = await connect({ endpoints: [node.endpoint] });
  // HELLO: versions 1 to 1, frames up to 1 MiB, a name of one byte (docs/formats/tcp_protocol.md).
  const greeting = await recordedGreeting(clientPort);
  const frame = (opcode: number, payload: Uint8Array): Buffer => {
    const head = Buffer.alloc(9);
    head.writeUInt32LE(payload.length + 5, 0);
    head.writeUInt8(opcode, 4);
    head.writeUInt32LE(7, 5);
    return Buffer.concat([greeting, head, payload]);
  };
  for (const opcode of [0x01, 0x10, 0x11, 0x12, 0x13, 0x15, 0x23, 0x77, 0x81]) {
    for (let seed = 1; seed <= 12; seed++)
      await closedAfter(clientPort, frame(opcode, noise(seed * 2 + 1, seed * 9)), true);
  }
  await closedAfter(clientPort, Buffer.concat([greeting, OVER_LONG]));
  await bystander.put('still', 'here');
  await bystander.close();
  assert.is((await node.command.stop()).status, 0);
});

/** What a real client sends first. */
async function recordedGreeting(port: number): Promise<Buffer> {
  const { createServer } = await import('node:net');
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      socket.once('data', (chunk) => {
        socket.destroy();
        server.close();
        resolve(chunk);
      });
      socket.on('error', () => undefined);
    });
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const own = typeof address === 'object' && address !== null ? address.port : 0;
      assert.is.not(own, port);
      connect({ endpoints: [`127.0.0.1:${own}`], timeoutMs: 500 }).then(
        () => reject(new Error('nobody greets there')),
        () => undefined,
      );
    });
  });
}

test.after(endAll);

test.run();
