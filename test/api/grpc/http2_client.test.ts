/** Our HTTP/2 against the client of Node (nghttp2): bodies of every size, many streams, flow control in both directions, cancelling, going away. */
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2';
import * as assert from 'uvu/assert';
import { test } from '../../suite.ts';
import { respond, startH2Server } from './h2_server.ts';

interface Answer {
  readonly status: number;
  readonly body: Buffer;
  readonly trailers: Record<string, unknown>;
}

function answerOf(stream: ClientHttp2Stream): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let status = 0;
    let trailers: Record<string, unknown> = {};
    stream.on('response', (headers) => {
      status = Number(headers[':status']);
    });
    stream.on('trailers', (fields) => {
      trailers = fields;
    });
    stream.on('data', (part: Buffer) => parts.push(part));
    stream.on('error', reject);
    stream.on('end', () => resolve({ status, body: Buffer.concat(parts), trailers }));
  });
}

function send(session: ClientHttp2Session, body: Uint8Array, headers: Record<string, string> = {}) {
  const stream = session.request({ ':method': 'POST', ':path': '/x', ...headers });
  stream.end(body);
  return answerOf(stream);
}

const closed = (session: ClientHttp2Session): Promise<void> =>
  new Promise((resolve) => session.close(() => resolve()));

test('bodies from nothing to several windows come back as they were', async () => {
  const server = await startH2Server();
  const session = connect(`http://127.0.0.1:${server.port}`);
  for (const size of [0, 1, 16_383, 16_384, 16_385, 65_535, 65_536, 1_048_576, 3_500_000]) {
    const body = Buffer.alloc(size, `${size} `);
    const answer = await send(session, body);
    assert.is(answer.status, 200);
    assert.ok(answer.body.equals(body), `${size} bytes`);
  }
  await closed(session);
  await server.close();
});

test('many streams at once, each with its own answer', async () => {
  const server = await startH2Server({ limits: { maxStreams: 300 } });
  const session = connect(`http://127.0.0.1:${server.port}`);
  const answers = await Promise.all(
    Array.from({ length: 300 }, (_, i) => send(session, Buffer.alloc(i * 100, i))),
  );
  answers.forEach(({ body }, i) => {
    assert.ok(body.equals(Buffer.alloc(i * 100, i)));
  });
  await closed(session);
  await server.close();
});

test('a client with small windows and frames gets everything', async () => {
  const server = await startH2Server();
  const settings = { initialWindowSize: 1_000, maxFrameSize: 16_384 };
  const session = connect(`http://127.0.0.1:${server.port}`, { settings });
  const bodies = [40_000, 100_001, 5, 0].map((size) => Buffer.alloc(size, 'abc'));
  const answers = await Promise.all(bodies.map((body) => send(session, body)));
  answers.forEach(({ body }, i) => {
    assert.ok(body.equals(bodies[i]!));
  });
  await closed(session);
  await server.close();
});

test('data, then trailers, also when the data has to wait for the window', async () => {
  const server = await startH2Server({
    answer({ stream, body }) {
      stream.headers(200, ['x-first', 'yes'], false);
      for (let i = 0; i < 3; i++) {
        const start = stream.beginData();
        stream.out.bytes(body);
        stream.endData(start);
      }
      stream.trailers(['x-last', 'done', 'x-empty', '']);
    },
  });
  const session = connect(`http://127.0.0.1:${server.port}`);
  for (const size of [10, 100_000]) {
    const answer = await send(session, Buffer.alloc(size, 'z'));
    assert.is(answer.body.length, 3 * size);
    assert.is(answer.trailers['x-last'], 'done');
    assert.is(answer.trailers['x-empty'], '');
  }
  await closed(session);
  await server.close();
});

test('header values of all bytes that clients may send, long ones, and many', async () => {
  const server = await startH2Server();
  const session = connect(`http://127.0.0.1:${server.port}`);
  // Repeated, so that the client finds them shorter in Huffman code.
  const all = Array.from({ length: 94 }, (_, i) => String.fromCharCode(0x21 + i)).join('');
  const long = `${all}eeeeeeaaaaaaa000011122`.repeat(20);
  for (let round = 0; round < 3; round++) {
    await send(session, Buffer.from('x'), { 'x-all': all, 'x-long': long, 'x-round': String(round) });
    const { fields } = server.requests.at(-1)!.head;
    assert.is(fields[fields.indexOf('x-all') + 1], all);
    assert.is(fields[fields.indexOf('x-long') + 1], long);
    assert.is(fields[fields.indexOf('x-round') + 1], String(round));
  }
  const many = Object.fromEntries(Array.from({ length: 150 }, (_, i) => [`x-${i}`, 'v'.repeat(40)]));
  await send(session, Buffer.from('x'), many);
  assert.is(server.requests.at(-1)!.head.fields.indexOf('x-149') > 0, true);
  await closed(session);
  await server.close();
});

test('a client that cancels is heard, and others go on', async () => {
  const server = await startH2Server({ answer: () => undefined });
  const session = connect(`http://127.0.0.1:${server.port}`);
  const stream = session.request({ ':method': 'POST', ':path': '/x' });
  stream.on('error', () => undefined);
  stream.write('begun');
  const begun = server.requests;
  while (begun.length === 0 || begun[0]!.body.length === 0) await new Promise((done) => setImmediate(done));
  stream.close(constants.NGHTTP2_CANCEL);
  while (!begun[0]!.aborted) await new Promise((done) => setImmediate(done));
  assert.is([...server.connections][0]!.streams.size, 0);
  session.destroy();
  await server.close();
});

test('an answer before the request has ended ends the stream, and the connection goes on', async () => {
  const server = await startH2Server({
    begin: ({ stream, head }) => {
      if (head.path === '/early') respond(stream, Buffer.from('no'));
    },
  });
  const session = connect(`http://127.0.0.1:${server.port}`);
  const stream = session.request({ ':method': 'POST', ':path': '/early' });
  stream.write('much more would follow');
  const answer = await answerOf(stream);
  assert.is(answer.body.toString(), 'no');
  assert.is((await send(session, Buffer.from('next'))).body.toString(), 'next');
  await closed(session);
  await server.close();
});

test('going away: open streams are answered, new ones are not taken, then the connection ends', async () => {
  let release: (() => void) | undefined;
  const server = await startH2Server({
    answer({ stream, body }) {
      release = () => respond(stream, body);
    },
  });
  const session = connect(`http://127.0.0.1:${server.port}`);
  const goneAway = new Promise<number>((resolve) => session.on('goaway', resolve));
  const ended = new Promise((resolve) => session.on('close', resolve));
  const answer = send(session, Buffer.from('late'));
  while (release === undefined) await new Promise((done) => setImmediate(done));
  for (const connection of server.connections) connection.goAway();
  assert.is(await goneAway, 0);
  release();
  assert.is((await answer).body.toString(), 'late');
  await ended;
  await server.close();
});

test('a receiver that fills its stream is told when there is room again', async () => {
  let told = 0;
  const part = Buffer.alloc(256 * 1024, 'p');
  let written = 0;
  const server = await startH2Server({
    answer({ stream }) {
      stream.headers(200, [], false);
      writeMore(stream);
    },
    roomAgain({ stream }) {
      told++;
      writeMore(stream);
    },
  });
  function writeMore(stream: (typeof server.requests)[number]['stream']): void {
    while (written < 40 && stream.hasRoom) {
      written++;
      const start = stream.beginData();
      stream.out.bytes(part);
      stream.endData(start, written === 40);
    }
  }
  const session = connect(`http://127.0.0.1:${server.port}`);
  const answer = await send(session, Buffer.from('go'));
  assert.is(answer.body.length, 40 * part.length);
  assert.ok(told > 2, `told ${told} times`);
  await closed(session);
  await server.close();
});

test.run();
