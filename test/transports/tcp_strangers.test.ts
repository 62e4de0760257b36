/** What strangers, impostors and broken peers can do to a node over TCP: lose their own connection, and nothing else. */
import { connect } from 'node:net';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { parseAddress } from '../../transports/address.ts';
import { encodeHello, encodeRefusal, encodeWelcome } from '../../transports/peer_handshake.ts';
import { test } from '../suite.ts';
import { until } from './conformance.ts';
import { framed, Stranger, scenariosOf, stillServes } from './tcp_lab.ts';

const scenario = scenariosOf(test);

for (const [name, bytes, reason] of [
  ['an over-long length prefix', Buffer.from([0xff, 0xff, 0xff, 0x7f]), /FRAME_TOO_LARGE/],
  ['a request of another protocol', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'), /FRAME_TOO_LARGE/],
  ['a frame that is no hello', framed(Buffer.from([6, 1, 2, 3])), /PROTOCOL/],
  ['a hello with the wrong magic', framed(Buffer.from([1, 0x4b, 0x56, 0x50, 0x51, 1, 0, 0])), /PROTOCOL/],
  ['a hello that is cut off', framed(encodeHello(77n, 5, 1).subarray(0, 9)), /PROTOCOL/],
  [
    'a hello with something behind it',
    framed(Buffer.concat([encodeHello(77n, 5, 1), Buffer.from([0])])),
    /PROTOCOL/,
  ],
  ['an empty frame', framed(new Uint8Array(0)), /PROTOCOL/],
] as const) {
  scenario(`${name} closes that connection, and the others are served`, async (lab) => {
    const node = await lab.node(1);
    const stranger = lab.stranger(node.address);
    stranger.socket.write(bytes);
    await until('the connection is closed', () => stranger.closed);
    assert.is(stranger.heard.length, 0);
    const event = lab.events.find((candidate) => candidate.type === 'incomingClosed');
    assert.match(event?.type === 'incomingClosed' ? event.reason : '', reason);
    await stillServes(lab, node);
  });
}

scenario('after the handshake, too, bad frames end the connection and nothing else', async (lab) => {
  const node = await lab.node(1, { maxFrameBytes: 1000 });
  const noise = [
    framed(Buffer.from([99])),
    framed(new Uint8Array(0)),
    Buffer.from([0xea, 0x03, 0, 0]),
    framed(encodeHello(77n, 5, 1)),
  ];
  for (const bytes of noise) {
    const stranger = lab.stranger(node.address);
    stranger.socket.write(framed(encodeHello(77n, 5, 1)));
    await until('welcome', () => stranger.heard.length === 1);
    stranger.socket.write(framed(Buffer.from([6, 42])));
    stranger.socket.write(bytes);
    await until('the connection is closed', () => stranger.closed);
  }
  assert.is(node.inbox.length, noise.length, 'what came before was delivered');
  await stillServes(lab, node);
});

scenario('a payload that the node above finds malformed ends the connection that brought it', async (lab) => {
  const node = await lab.node(1);
  node.onFrame = () => {
    throw new KvError('PROTOCOL', 'not a message');
  };
  const stranger = lab.stranger(node.address);
  stranger.socket.write(Buffer.concat([framed(encodeHello(77n, 5, 1)), framed(Buffer.from([6, 1]))]));
  await until('the connection is closed', () => stranger.closed);
  node.onFrame = undefined;
  await stillServes(lab, node);
});

scenario('another cluster is refused with a typed reason, and tried again at a slow pace', async (lab) => {
  const node = await lab.node(1);
  const other = await lab.node(2, { clusterId: '78', refusedRetryMs: 200 });
  other.transport.setPeer(1, node.address);
  const failures = () => lab.events.filter((event) => event.type === 'connectFailed');
  await until('two attempts were refused', () => failures().length === 2);
  for (const event of failures()) {
    if (event.type !== 'connectFailed') continue;
    assert.is(event.error.code, 'CLUSTER_MISMATCH');
    assert.ok(event.retryMs >= 200);
  }
  assert.not(other.transport.send(1, [new Uint8Array(1)]));
  assert.ok(
    lab.events.some((event) => event.type === 'incomingRefused' && event.code === 'CLUSTER_MISMATCH'),
  );
  await stillServes(lab, node);
});

scenario('another protocol version is told so, in both directions', async (lab) => {
  const node = await lab.node(1);
  const stranger = lab.stranger(node.address);
  const hello = Buffer.from(encodeHello(77n, 5, 1));
  hello[5] = 9;
  stranger.socket.write(framed(hello));
  await until('it was refused', () => stranger.closed);
  assert.is(Buffer.from(stranger.heard[0]!).readUInt16LE(1), 21, 'UNSUPPORTED_VERSION');
  const { address } = await lab.server((socket) =>
    socket.write(framed(encodeRefusal('UNSUPPORTED_VERSION', 'I speak version 9'))),
  );
  node.transport.setPeer(3, address);
  await until('the refusal is reported', () =>
    lab.events.some((event) => event.type === 'connectFailed' && event.error.code === 'UNSUPPORTED_VERSION'),
  );
});

scenario('an address where another node lives is refused', async (lab) => {
  const node = await lab.node(1);
  const two = await lab.node(2);
  two.transport.setPeer(3, node.address);
  await until('refused', () =>
    lab.events.some((event) => event.type === 'connectFailed' && event.error.code === 'MEMBER_NOT_FOUND'),
  );
  const impostor = lab.stranger(node.address);
  impostor.socket.write(framed(encodeHello(77n, 1, 1)));
  await until('somebody with our own id is refused', () => impostor.closed);
});

scenario('a wrong answer to the hello is not trusted', async (lab) => {
  const node = await lab.node(1);
  const answers = [encodeWelcome(78n, 3), encodeWelcome(77n, 4), Buffer.from([2, 0]), encodeHello(77n, 3, 1)];
  let next = 0;
  const { address } = await lab.server((socket) => {
    socket.write(framed(answers[next++ % answers.length]!));
  });
  node.transport.setPeer(3, address);
  await until('every answer was tried', () => next > answers.length);
  assert.is(node.connected.size, 0);
  const codes = new Set(lab.events.map((event) => (event.type === 'connectFailed' ? event.error.code : '')));
  assert.ok(codes.has('CLUSTER_MISMATCH'));
});

scenario('data from the accepting end closes the connection', async (lab) => {
  const node = await lab.node(1);
  const { address } = await lab.server((socket) => {
    socket.write(framed(encodeWelcome(77n, 3)));
    socket.write(framed(Buffer.from([6, 1])));
  });
  node.transport.setPeer(3, address);
  await until('it was lost', () => node.lost.length > 0);
  assert.is(node.inbox.length, 0);
});

scenario('a handshake that drips in or never comes is cut off, on both ends', async (lab) => {
  const node = await lab.node(1, { handshakeTimeoutMs: 60 });
  const silent = lab.stranger(node.address);
  const dripping = lab.stranger(node.address);
  const hello = framed(encodeHello(77n, 5, 1));
  let at = 0;
  const drip = setInterval(() => dripping.socket.write(hello.subarray(at, ++at)), 20);
  await until('both are closed', () => silent.closed && dripping.closed);
  clearInterval(drip);
  assert.ok(at < hello.length);
  const { address } = await lab.server(() => {});
  node.transport.setPeer(3, address);
  await until('the attempt was given up', () =>
    lab.events.some((event) => event.type === 'connectFailed' && /no handshake/.test(event.error.message)),
  );
  await stillServes(lab, node);
});

scenario('one that was refused and does not hang up is cut off, too', async (lab) => {
  const node = await lab.node(1, { handshakeTimeoutMs: 60 });
  const socket = connect({ ...parseAddress(node.address), allowHalfOpen: true });
  const stranger = new Stranger(socket);
  socket.write(framed(encodeHello(1n, 5, 1)));
  await until('refused', () => stranger.heard.length === 1);
  socket.on('error', () => {});
  await until('the node has let go', () => node.tcp.stats().connections === 0);
  socket.destroy();
});

scenario('strangers without a handshake are bounded, and the newest gets its turn', async (lab) => {
  const node = await lab.node(1, { maxConnections: 4 });
  const crowd = Array.from({ length: 20 }, () => lab.stranger(node.address));
  await until('all but four are closed', () => crowd.filter(({ closed }) => closed).length >= 16);
  assert.ok(node.tcp.stats().connections <= 5);
  await stillServes(lab, node);
});

scenario('peers are bounded, too', async (lab) => {
  const node = await lab.node(1, { maxConnections: 2 });
  for (const id of [2, 3]) {
    const peer = await lab.node(id);
    peer.transport.setPeer(1, node.address);
    await until('connected', () => peer.connected.has(1));
  }
  const third = await lab.node(4);
  third.transport.setPeer(1, node.address);
  await until('refused', () =>
    lab.events.some((event) => event.type === 'connectFailed' && event.error.code === 'OVERLOADED'),
  );
});

scenario("a peer's newer connection takes the place of its older one", async (lab) => {
  const node = await lab.node(1);
  const older = lab.stranger(node.address);
  older.socket.write(framed(encodeHello(77n, 5, 1)));
  await until('welcome', () => older.heard.length === 1);
  const newer = lab.stranger(node.address);
  newer.socket.write(Buffer.concat([framed(encodeHello(77n, 5, 1)), framed(Buffer.from([6, 1]))]));
  await until('the older is closed', () => older.closed);
  await until('the newer is heard', () => node.inbox.length === 1);
  node.transport.removePeer(5);
  await until('a removed peer is closed', () => newer.closed);
});

test.run();
