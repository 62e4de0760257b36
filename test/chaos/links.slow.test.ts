/** Each fault of a link bites: what a cut, a silence, a hold, a delay, a throttle and an overtaking do to bytes and connections. */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import * as assert from 'uvu/assert';
import { writeHello } from '../../src/wire/client_codec.ts';
import { beginFrame, endFrame, OPCODE } from '../../src/wire/client_frames.ts';
import { ByteWriter } from '../../src/wire/varint.ts';
import { encodeHello } from '../../transports/peer_handshake.ts';
import { eventually, freePorts } from '../end_to_end/processes.ts';
import { test } from '../suite.ts';
import { clientName, peerName } from './hello_names.ts';
import type { LinkFault } from './link.ts';
import { Links } from './links.ts';

/** A listening end that keeps what each of its connections brought. */
class Listener {
  readonly connections: { socket: Socket; text: string; error: string | undefined; ended: boolean }[] = [];
  /** All that came, in the order in which it came. */
  text = '';
  readonly server: Server;

  constructor() {
    this.server = createServer((socket) => {
      const connection = { socket, text: '', error: undefined as string | undefined, ended: false };
      this.connections.push(connection);
      socket.on('data', (chunk) => {
        connection.text += chunk.toString('latin1');
        this.text += chunk.toString('latin1');
      });
      socket.on('end', () => {
        connection.ended = true;
      });
      socket.on('error', (error: NodeJS.ErrnoException) => {
        connection.error = error.code;
      });
    });
  }
}

interface Lab {
  readonly links: Links;
  readonly listener: Listener;
  dial(): Promise<Dialer>;
}
interface Dialer {
  readonly socket: Socket;
  text: string;
  error: string | undefined;
}

const hello = framed(encodeHello(7n, 1, 2));

function framed(payload: Uint8Array): Buffer {
  const frame = Buffer.alloc(4 + payload.length);
  frame.writeUInt32LE(payload.length);
  frame.set(payload, 4);
  return frame;
}

async function withLab(run: (lab: Lab) => Promise<void>): Promise<void> {
  const [doorPort, targetPort] = (await freePorts(2)) as [number, number];
  const listener = new Listener();
  await new Promise<void>((resolve) => listener.server.listen(targetPort, '127.0.0.1', resolve));
  const links = new Links(() => 0.5);
  await links.open({
    name: () => 'node-2',
    target: `127.0.0.1:${targetPort}`,
    port: doorPort,
    nameOf: peerName,
  });
  const dialers: Socket[] = [];
  try {
    await run({
      links,
      listener,
      async dial() {
        const socket = connect({ port: doorPort, host: '127.0.0.1', noDelay: true });
        dialers.push(socket);
        const dialer: Dialer = { socket, text: '', error: undefined };
        socket.on('data', (chunk) => {
          dialer.text += chunk.toString('latin1');
        });
        socket.on('error', (error: NodeJS.ErrnoException) => {
          dialer.error = error.code;
        });
        await once(socket, 'connect');
        // In two parts: the name must be found however the bytes are cut.
        socket.write(hello.subarray(0, 9));
        setTimeout(() => socket.write(hello.subarray(9)), 5);
        return dialer;
      },
    });
  } finally {
    for (const socket of dialers) socket.destroy();
    for (const { socket } of listener.connections) socket.destroy();
    await links.close();
    await new Promise((resolve) => listener.server.close(resolve));
  }
}

const THERE = ['node-1', 'node-2'] as const;
const BACK = ['node-2', 'node-1'] as const;

/** A connection over which something went each way. */
async function joined({ listener, dial }: Lab): Promise<Dialer> {
  const before = listener.connections.length;
  const dialer = await dial();
  await eventually('the hello to pass', () =>
    listener.connections[before]?.text.length === hello.length ? true : undefined,
  );
  listener.connections[before]!.socket.write('welcome');
  await eventually('the answer to pass', () => (dialer.text === 'welcome' ? true : undefined));
  return dialer;
}

/** What would have passed long since has not: other bytes, sent later by another way, have arrived. */
async function longEnough(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 150));
}

test('a link without a fault passes bytes both ways, and the end of a connection', async () => {
  await withLab(async (lab) => {
    const dialer = await joined(lab);
    dialer.socket.write('x'.repeat(3_000_000));
    await eventually('three megabytes', () =>
      lab.listener.connections[0]!.text.length === 3_000_000 + hello.length ? true : undefined,
    );
    dialer.socket.end();
    await eventually('the end', () => (lab.listener.connections[0]!.ended ? true : undefined));
    assert.is(dialer.error, undefined);
  });
});

test('a cut resets both ends, and each new connection until it is lifted', async () => {
  await withLab(async (lab) => {
    const dialer = await joined(lab);
    lab.links.set(...THERE, { kind: 'cut' });
    await eventually('a reset at both ends', () =>
      dialer.error === 'ECONNRESET' && lab.listener.connections[0]!.error === 'ECONNRESET' ? true : undefined,
    );
    const second = await lab.dial();
    await eventually('a reset of the next', () => (second.error === 'ECONNRESET' ? true : undefined));
    assert.is(lab.listener.text, hello.toString('latin1'), 'nothing of the second came through');
    lab.links.set(...THERE, undefined);
    await joined(lab);
  });
});

test('a cut of the way back alone ends connections as well', async () => {
  await withLab(async (lab) => {
    const dialer = await joined(lab);
    lab.links.set(...BACK, { kind: 'cut' });
    await eventually('a reset', () => (dialer.error === 'ECONNRESET' ? true : undefined));
    const second = await lab.dial();
    await eventually('a reset of the next', () => (second.error === 'ECONNRESET' ? true : undefined));
  });
});

test('a silent link swallows: no byte, no end, no reset; the other direction goes on; afterwards the connection is reset', async () => {
  await withLab(async (lab) => {
    const dialer = await joined(lab);
    const [incoming] = lab.listener.connections;
    lab.links.set(...THERE, { kind: 'silent' });
    dialer.socket.write('lost');
    incoming!.socket.write(' again');
    await eventually('the other direction', () => (dialer.text === 'welcome again' ? true : undefined));
    dialer.socket.end();
    await longEnough();
    assert.is(incoming!.text, hello.toString('latin1'));
    assert.is(incoming!.ended, false, 'the end is not told either');
    assert.ok(lab.links.counts.bytesSwallowed >= 4);
    lab.links.set(...THERE, undefined);
    await eventually('a reset after the silence', () =>
      incoming!.error === 'ECONNRESET' ? true : undefined,
    );
    assert.is(incoming!.text, hello.toString('latin1'), 'what was swallowed never comes');
  });
});

test('a silent link lets new connections be made and says nothing on them', async () => {
  await withLab(async (lab) => {
    lab.links.set(...THERE, { kind: 'silent' });
    const dialer = await lab.dial();
    await eventually('the hello to be swallowed', () =>
      lab.links.counts.bytesSwallowed === hello.length ? true : undefined,
    );
    assert.is(lab.listener.text, '');
    assert.is(dialer.error, undefined);
    assert.is(dialer.socket.destroyed, false);
  });
});

test('a connection that lost nothing survives a silence', async () => {
  await withLab(async (lab) => {
    const dialer = await joined(lab);
    lab.links.set(...THERE, { kind: 'silent' });
    lab.links.heal();
    dialer.socket.write('!');
    await eventually('the byte', () => (lab.listener.text.endsWith('!') ? true : undefined));
  });
});

test('a held link delivers everything, in order, when it is let go', async () => {
  await withLab(async (lab) => {
    const dialer = await joined(lab);
    lab.links.set(...THERE, { kind: 'held' });
    dialer.socket.write('one ');
    await longEnough();
    dialer.socket.write('two ');
    // More than may wait: the rest stays in the sender's own buffers.
    dialer.socket.write('x'.repeat(5_000_000));
    dialer.socket.end();
    await longEnough();
    assert.is(lab.listener.text, hello.toString('latin1'));
    lab.links.heal();
    await eventually('all of it', () => (lab.listener.connections[0]!.ended ? true : undefined));
    assert.is(lab.listener.text.length, hello.length + 8 + 5_000_000);
    assert.ok(lab.listener.text.startsWith(`${hello.toString('latin1')}one two xxx`));
  });
});

/** How long bytes take through a fault. */
async function passageMs(fault: LinkFault, sizeBytes: number): Promise<number> {
  let elapsedMs = 0;
  await withLab(async (lab) => {
    const dialer = await joined(lab);
    lab.links.set(...THERE, fault);
    const beganMs = performance.now();
    dialer.socket.write('x'.repeat(sizeBytes));
    await eventually('the bytes', () =>
      lab.listener.text.length === hello.length + sizeBytes ? true : undefined,
    );
    elapsedMs = performance.now() - beganMs;
  });
  return elapsedMs;
}

test('a delayed link delays, by its jitter too', async () => {
  const elapsedMs = await passageMs({ kind: 'delayed', delayMs: 200, jitterMs: 100 }, 10);
  assert.ok(elapsedMs >= 245, `${elapsedMs} ms`);
});

test('a throttled link takes as long as its rate says', async () => {
  const elapsedMs = await passageMs({ kind: 'throttled', bytesPerSecond: 1_000_000 }, 400_000);
  assert.ok(elapsedMs >= 390, `${elapsedMs} ms`);
});

test('bytes that a new connection has overtaken arrive late, on the old one, and then it ends', async () => {
  await withLab(async (lab) => {
    const old = await joined(lab);
    lab.links.set(...THERE, { kind: 'held' });
    old.socket.write('old');
    await longEnough();
    assert.is(lab.links.overtake(...THERE, 400), 1);
    lab.links.heal();
    await eventually('the reset of the dialing end', () => (old.error === 'ECONNRESET' ? true : undefined));
    const young = await joined(lab);
    young.socket.write('young');
    await eventually('the old bytes', () => (lab.listener.text.includes('old') ? true : undefined));
    assert.ok(lab.listener.text.indexOf('young') < lab.listener.text.indexOf('old'), 'overtaken');
    assert.is(lab.listener.connections[0]!.text, `${hello.toString('latin1')}old`);
    const [first] = lab.listener.connections;
    // A reset right behind bytes is shown as an end of the stream.
    await eventually('the end of the old connection', () =>
      first!.error === 'ECONNRESET' || first!.ended ? true : undefined,
    );
    assert.is(lab.listener.connections[1]!.error, undefined);
  });
});

test('faults of other links leave a connection alone', async () => {
  await withLab(async (lab) => {
    const dialer = await joined(lab);
    lab.links.set('node-1', 'node-3', { kind: 'cut' });
    lab.links.set('node-3', 'node-2', { kind: 'silent' });
    dialer.socket.write('!');
    await eventually('the byte', () => (lab.listener.text.endsWith('!') ? true : undefined));
  });
});

test('who speaks no protocol of ours is shown out', async () => {
  await withLab(async (lab) => {
    const dialer = await lab.dial();
    await eventually('the hello to pass', () => (lab.listener.text.length > 0 ? true : undefined));
    const stranger = connect(dialer.socket.remotePort!, '127.0.0.1');
    let error: string | undefined;
    stranger.on('error', (reason: NodeJS.ErrnoException) => {
      error = reason.code;
    });
    stranger.write('GET / HTTP/1.1\r\n\r\n');
    await eventually('a reset', () => (error === 'ECONNRESET' ? true : undefined));
  });
});

test('a client is known by the name in its hello', () => {
  const writer = new ByteWriter();
  const start = beginFrame(writer, OPCODE.HELLO, 0);
  writeHello(writer, { minVersion: 1, maxVersion: 1, maxFrameBytes: 4096, name: 'client-3' });
  endFrame(writer, start);
  const bytes = writer.copy();
  for (let length = 0; length < bytes.length; length++)
    assert.is(clientName(bytes.subarray(0, length)), undefined);
  assert.is(clientName(bytes), 'client-3');
});

test.run();
