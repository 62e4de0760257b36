/** Raw bytes that break HTTP/2's rules, or keep them and mean harm: a stream or a connection ends with the right reason, and the server serves others. */

import * as assert from 'uvu/assert';
import { test } from '../../suite.ts';
import {
  type H2Server,
  literalBlock,
  RawClient,
  REQUEST_FIELDS,
  rawFrame,
  rawPreface,
  startH2Server,
  u32,
} from './h2_server.ts';

const PROTOCOL_ERROR = 1;
const FLOW_CONTROL_ERROR = 3;
const STREAM_CLOSED = 5;
const FRAME_SIZE_ERROR = 6;
const REFUSED_STREAM = 7;
const COMPRESSION_ERROR = 9;
const CALM = 11;

const DATA = 0;
const HEADERS = 1;
const PRIORITY = 2;
const RST = 3;
const SETTINGS = 4;
const PUSH = 5;
const PING = 6;
const GOAWAY = 7;
const WINDOW = 8;
const CONTINUATION = 9;
const END_STREAM = 1;
const ACK = 1;
const END_HEADERS = 4;
const PADDED = 8;

const block = literalBlock(REQUEST_FIELDS);
const request = (id: number, end = true): Buffer =>
  rawFrame(HEADERS, END_HEADERS | (end ? END_STREAM : 0), id, block);
const setting = (id: number, value: number): Buffer =>
  rawFrame(SETTINGS, 0, 0, Buffer.concat([Buffer.from([0, id]), u32(value)]));
const withFields = (fields: readonly (readonly [string, string])[], end = true): Buffer =>
  rawFrame(HEADERS, END_HEADERS | (end ? END_STREAM : 0), 1, literalBlock(fields));

async function serves(server: H2Server): Promise<void> {
  const client = new RawClient(server.port);
  client.send(rawPreface, request(1));
  const frame = await client.frame(HEADERS, 1);
  assert.ok(frame !== undefined, 'others are served');
  client.close();
}

const CONNECTION_ERRORS: readonly (readonly [what: string, reason: number, ...bytes: Buffer[]])[] = [
  ['no settings first', PROTOCOL_ERROR, rawFrame(PING, 0, 0, Buffer.alloc(8))],
  ['DATA on stream 0', PROTOCOL_ERROR, rawFrame(SETTINGS, 0, 0), rawFrame(DATA, 0, 0)],
  ['DATA on an idle stream', PROTOCOL_ERROR, rawFrame(SETTINGS, 0, 0), rawFrame(DATA, 0, 5)],
  ['HEADERS on stream 0', PROTOCOL_ERROR, rawFrame(SETTINGS, 0, 0), rawFrame(HEADERS, 4, 0, block)],
  ['HEADERS on an even stream', PROTOCOL_ERROR, rawFrame(SETTINGS, 0, 0), rawFrame(HEADERS, 4, 2, block)],
  [
    'a frame inside a header block',
    PROTOCOL_ERROR,
    rawFrame(SETTINGS, 0, 0),
    rawFrame(HEADERS, 0, 1, block),
    rawFrame(PING, 0, 0, Buffer.alloc(8)),
  ],
  [
    'CONTINUATION of another stream',
    PROTOCOL_ERROR,
    rawFrame(SETTINGS, 0, 0),
    rawFrame(HEADERS, 0, 1, block),
    rawFrame(CONTINUATION, 4, 3),
  ],
  ['CONTINUATION of nothing', PROTOCOL_ERROR, rawFrame(SETTINGS, 0, 0), rawFrame(CONTINUATION, 4, 1)],
  ['PUSH_PROMISE', PROTOCOL_ERROR, rawFrame(SETTINGS, 0, 0), request(1, false), rawFrame(PUSH, 4, 1, block)],
  [
    'a frame that is too long',
    FRAME_SIZE_ERROR,
    rawFrame(SETTINGS, 0, 0),
    Buffer.from('00400100010000', 'hex'),
    Buffer.alloc(20),
  ],
  ['SETTINGS of a stream', PROTOCOL_ERROR, rawFrame(SETTINGS, 0, 1)],
  ['SETTINGS of 5 bytes', FRAME_SIZE_ERROR, rawFrame(SETTINGS, 0, 0, Buffer.alloc(5))],
  [
    'ACK with settings',
    FRAME_SIZE_ERROR,
    rawFrame(SETTINGS, 0, 0),
    rawFrame(SETTINGS, ACK, 0, Buffer.alloc(6)),
  ],
  ['ACK first', PROTOCOL_ERROR, rawFrame(SETTINGS, ACK, 0)],
  ['ENABLE_PUSH 2', PROTOCOL_ERROR, setting(2, 2)],
  ['a window of 2^31', FLOW_CONTROL_ERROR, setting(4, 2 ** 31)],
  ['frames of 100 bytes', PROTOCOL_ERROR, setting(5, 100)],
  ['PING of a stream', PROTOCOL_ERROR, rawFrame(SETTINGS, 0, 0), rawFrame(PING, 0, 1, Buffer.alloc(8))],
  ['PING of 7 bytes', FRAME_SIZE_ERROR, rawFrame(SETTINGS, 0, 0), rawFrame(PING, 0, 0, Buffer.alloc(7))],
  ['GOAWAY of a stream', PROTOCOL_ERROR, rawFrame(SETTINGS, 0, 0), rawFrame(GOAWAY, 0, 1, Buffer.alloc(8))],
  ['GOAWAY of 7 bytes', FRAME_SIZE_ERROR, rawFrame(SETTINGS, 0, 0), rawFrame(GOAWAY, 0, 0, Buffer.alloc(7))],
  ['RST_STREAM of an idle stream', PROTOCOL_ERROR, rawFrame(SETTINGS, 0, 0), rawFrame(RST, 0, 1, u32(8))],
  [
    'RST_STREAM of 3 bytes',
    FRAME_SIZE_ERROR,
    rawFrame(SETTINGS, 0, 0),
    request(1, false),
    rawFrame(RST, 0, 1, Buffer.alloc(3)),
  ],
  [
    'WINDOW_UPDATE of an idle stream',
    PROTOCOL_ERROR,
    rawFrame(SETTINGS, 0, 0),
    rawFrame(WINDOW, 0, 1, u32(1)),
  ],
  ['WINDOW_UPDATE by 0', PROTOCOL_ERROR, rawFrame(SETTINGS, 0, 0), rawFrame(WINDOW, 0, 0, u32(0))],
  [
    'WINDOW_UPDATE of 3 bytes',
    FRAME_SIZE_ERROR,
    rawFrame(SETTINGS, 0, 0),
    rawFrame(WINDOW, 0, 0, Buffer.alloc(3)),
  ],
  [
    'a window above 2^31 - 1',
    FLOW_CONTROL_ERROR,
    rawFrame(SETTINGS, 0, 0),
    rawFrame(WINDOW, 0, 0, u32(2 ** 31 - 1)),
  ],
  [
    'PRIORITY of stream 0',
    PROTOCOL_ERROR,
    rawFrame(SETTINGS, 0, 0),
    rawFrame(PRIORITY, 0, 0, Buffer.alloc(5)),
  ],
  [
    'padding longer than the frame',
    PROTOCOL_ERROR,
    rawFrame(SETTINGS, 0, 0),
    rawFrame(HEADERS, END_HEADERS | PADDED, 1, Buffer.from([9, 1])),
  ],
  [
    'a block that does not decode',
    COMPRESSION_ERROR,
    rawFrame(SETTINGS, 0, 0),
    rawFrame(HEADERS, END_HEADERS, 1, Buffer.from([0xff, 0xff])),
  ],
  [
    'HEADERS that are cut off',
    PROTOCOL_ERROR,
    rawFrame(SETTINGS, 0, 0),
    rawFrame(HEADERS, END_HEADERS | 0x20, 1, Buffer.alloc(3)),
  ],
  [
    'DATA on a stream that has ended',
    STREAM_CLOSED,
    rawFrame(SETTINGS, 0, 0),
    request(1),
    request(3),
    rawFrame(DATA, 0, 1),
  ],
  ['HEADERS on a stream that has ended', STREAM_CLOSED, rawFrame(SETTINGS, 0, 0), request(1), request(1)],
];

test('mistakes that cost the connection are answered with GOAWAY and their reason', async () => {
  const server = await startH2Server();
  for (const [what, reason, ...bytes] of CONNECTION_ERRORS) {
    const client = new RawClient(server.port);
    client.send(rawPreface.subarray(0, 24), ...bytes);
    assert.is(await client.goAwayReason(), reason, what);
    client.close();
  }
  await serves(server);
  await server.close();
});

const STREAM_ERRORS: readonly (readonly [what: string, reason: number, ...bytes: Buffer[]])[] = [
  ['no method', PROTOCOL_ERROR, withFields(REQUEST_FIELDS.slice(1))],
  ['no path', PROTOCOL_ERROR, withFields([...REQUEST_FIELDS.slice(0, 2), [':authority', 'a']])],
  ['an empty path', PROTOCOL_ERROR, withFields([...REQUEST_FIELDS.slice(0, 2), [':path', '']])],
  ['two methods', PROTOCOL_ERROR, withFields([[':method', 'GET'], ...REQUEST_FIELDS])],
  ['an unknown pseudo-header', PROTOCOL_ERROR, withFields([...REQUEST_FIELDS, [':status', '200']])],
  ['a pseudo-header behind others', PROTOCOL_ERROR, withFields([['x', 'y'], ...REQUEST_FIELDS])],
  ['a name with capitals', PROTOCOL_ERROR, withFields([...REQUEST_FIELDS, ['X-a', 'y']])],
  ['an empty name', PROTOCOL_ERROR, withFields([...REQUEST_FIELDS, ['', 'y']])],
  ['a line end in a value', PROTOCOL_ERROR, withFields([...REQUEST_FIELDS, ['x', 'a\r\nb: c']])],
  ['a header of HTTP/1.1', PROTOCOL_ERROR, withFields([...REQUEST_FIELDS, ['transfer-encoding', 'chunked']])],
  ['te with something else', PROTOCOL_ERROR, withFields([...REQUEST_FIELDS, ['te', 'gzip']])],
  [
    'more than the length said',
    PROTOCOL_ERROR,
    withFields([...REQUEST_FIELDS, ['content-length', '2']], false),
    rawFrame(DATA, 0, 1, Buffer.alloc(3)),
  ],
  [
    'less than the length said',
    PROTOCOL_ERROR,
    withFields([...REQUEST_FIELDS, ['content-length', '2']], false),
    rawFrame(DATA, 1, 1, Buffer.alloc(1)),
  ],
  [
    'no data although a length was said',
    PROTOCOL_ERROR,
    withFields([...REQUEST_FIELDS, ['content-length', '2']]),
  ],
  ['a length that is no number', PROTOCOL_ERROR, withFields([...REQUEST_FIELDS, ['content-length', '+2']])],
  ['trailers that do not end the request', PROTOCOL_ERROR, request(1, false), request(1, false)],
  ['trailers with a pseudo-header', PROTOCOL_ERROR, request(1, false), request(1)],
  ['WINDOW_UPDATE by 0', PROTOCOL_ERROR, request(1, false), rawFrame(WINDOW, 0, 1, u32(0))],
  [
    'a window above 2^31 - 1',
    FLOW_CONTROL_ERROR,
    request(1, false),
    rawFrame(WINDOW, 0, 1, u32(2 ** 31 - 1)),
  ],
  ['PRIORITY of 4 bytes', FRAME_SIZE_ERROR, request(1, false), rawFrame(PRIORITY, 0, 1, Buffer.alloc(4))],
  [
    'headers that are too many',
    CALM,
    withFields([...REQUEST_FIELDS, ...Array.from({ length: 400 }, () => ['x', '1'.repeat(20)] as const)]),
  ],
];

test('mistakes that cost a stream reset it with their reason, and the connection goes on', async () => {
  const server = await startH2Server();
  for (const [what, reason, ...bytes] of STREAM_ERRORS) {
    const client = new RawClient(server.port);
    client.send(rawPreface, ...bytes);
    assert.is(await client.resetReason(1), reason, what);
    client.send(request(3));
    assert.ok((await client.frame(HEADERS, 3)) !== undefined, `${what}: the next stream`);
    client.close();
  }
  await server.close();
});

test('what is allowed though it is odd: padding, priorities, unknown frames and settings, bytes one by one', async () => {
  const server = await startH2Server();
  const client = new RawClient(server.port);
  const bytes = Buffer.concat([
    rawPreface,
    setting(99, 7),
    rawFrame(200, 255, 77, Buffer.from('what is this')),
    rawFrame(PRIORITY, 0, 9, Buffer.alloc(5)),
    rawFrame(
      HEADERS,
      END_HEADERS | PADDED | 0x20,
      1,
      Buffer.concat([Buffer.from([3, 0, 0, 0, 0, 7]), block, Buffer.alloc(3)]),
    ),
    rawFrame(DATA, PADDED, 1, Buffer.from([2, 0x61, 0x62, 0, 0])),
    rawFrame(DATA, END_STREAM, 1, Buffer.from('c')),
    rawFrame(SETTINGS, ACK, 0),
  ]);
  for (const byte of bytes) client.send(Buffer.from([byte]));
  const data = await client.frame(DATA, 1);
  assert.is(data?.payload.toString(), 'abc');
  client.close();
  await server.close();
});

test('a header block in several frames is put together; too many or too long ones are cut off', async () => {
  const server = await startH2Server();
  const client = new RawClient(server.port);
  client.send(
    rawPreface,
    rawFrame(HEADERS, END_STREAM, 1, block.subarray(0, 3)),
    rawFrame(CONTINUATION, 0, 1, block.subarray(3, 9)),
    rawFrame(CONTINUATION, END_HEADERS, 1, block.subarray(9)),
  );
  assert.ok((await client.frame(HEADERS, 1)) !== undefined);
  client.close();
  for (const part of [Buffer.alloc(0), Buffer.alloc(16_000)]) {
    const flood = new RawClient(server.port);
    flood.send(rawPreface, rawFrame(HEADERS, 0, 1, block));
    for (let i = 0; i < 20; i++) flood.send(rawFrame(CONTINUATION, 0, 1, part));
    assert.is(await flood.goAwayReason(), CALM);
  }
  await serves(server);
  await server.close();
});

test('more streams than allowed are refused, and taken again when there is room', async () => {
  const server = await startH2Server({ limits: { maxStreams: 3 } });
  const client = new RawClient(server.port);
  client.send(rawPreface, request(1, false), request(3, false), request(5, false), request(7));
  assert.is(await client.resetReason(7), REFUSED_STREAM);
  client.send(rawFrame(DATA, END_STREAM, 7, Buffer.alloc(3)), rawFrame(DATA, END_STREAM, 1), request(9));
  assert.ok((await client.frame(HEADERS, 9)) !== undefined);
  client.close();
  await server.close();
});

test('more data than a window allows', async () => {
  const server = await startH2Server({ answer: () => undefined });
  const client = new RawClient(server.port);
  // The window is given back while data arrives: only a sender that ignores it altogether passes it. Stream windows are 1 MiB, that of the connection 16 MiB.
  client.send(rawPreface, request(1, false));
  client.send(rawFrame(DATA, 0, 1, Buffer.alloc(16_384)));
  client.send(request(3));
  await client.until(() => (server.requests.length === 2 ? true : undefined));
  assert.is(server.requests[0]?.body.length, 16_384);
  client.close();
  await server.close();
});

/** Sends `frames` until the server has had enough; gives the reason it tells, which must arrive although the client still writes. */
async function flood(server: H2Server, begin: Buffer, frames: (i: number) => Buffer, count: number) {
  const client = new RawClient(server.port);
  client.send(rawPreface, begin);
  for (let i = 0; i < count && !client.ended; i += 500) {
    client.send(...Array.from({ length: 500 }, (_, k) => frames(i + k)));
    // Lets the other side speak.
    await new Promise((done) => setImmediate(done));
  }
  const reason = await client.goAwayReason();
  client.close();
  return reason;
}

const none = Buffer.alloc(0);

test('rapid resets end the connection', async () => {
  const server = await startH2Server({ answer: () => undefined });
  const frames = (i: number): Buffer =>
    Buffer.concat([request(2 * i + 1, false), rawFrame(RST, 0, 2 * i + 1, u32(8))]);
  assert.is(await flood(server, none, frames, 5_000), CALM);
  assert.ok(server.requests.length < 2_000, `${server.requests.length} requests were begun`);
  await server.close();
});

test('floods of pings, settings, empty data, priorities, unknown frames and windows end the connection', async () => {
  const server = await startH2Server();
  const floods: readonly (readonly [string, Buffer, (i: number) => Buffer])[] = [
    ['ping', none, () => rawFrame(PING, 0, 0, Buffer.alloc(8))],
    ['settings', none, () => setting(3, 1)],
    ['empty data', request(1, false), () => rawFrame(DATA, 0, 1)],
    ['priority', none, () => rawFrame(PRIORITY, 0, 1, Buffer.alloc(5))],
    ['unknown', none, () => rawFrame(111, 0, 0)],
    ['window', none, () => rawFrame(WINDOW, 0, 0, u32(1))],
  ];
  for (const [what, begin, frames] of floods) {
    assert.is(await flood(server, begin, frames, 2_000_000), CALM, what);
  }
  await serves(server);
  await server.close();
});

test('who is silent is pinged, and cut off when there is no answer', async () => {
  const server = await startH2Server({ limits: { idleTimeoutMs: 1_000, handshakeTimeoutMs: 500 } });
  const silent = new RawClient(server.port);
  const greeted = new RawClient(server.port).send(rawPreface);
  // The server has read our settings.
  await greeted.until(() => greeted.frames.find(({ type, flags }) => type === SETTINGS && flags === ACK));
  while (server.connections.size < 2) await new Promise((done) => setImmediate(done));
  const at = performance.now();
  for (const connection of server.connections) connection.checkLiveness(at + 600);
  await silent.until(() => undefined);
  assert.ok((await greeted.frame(PING)) !== undefined);
  for (const connection of server.connections) connection.checkLiveness(performance.now() + 1_100);
  await greeted.until(() => undefined);
  assert.ok(greeted.ended);
  await server.close();
});

test('what is no HTTP/2 at all', async () => {
  const server = await startH2Server();
  const client = new RawClient(server.port);
  client.send(Buffer.from('PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n'));
  assert.is(await client.goAwayReason(), PROTOCOL_ERROR);
  await serves(server);
  await server.close();
});

test.run();
