/** One client connection against a node that misbehaves: whatever it sends, every call is told an outcome. */
import { createServer, type Socket } from 'node:net';
import * as assert from 'uvu/assert';
import { type ConnectionCall, openConnection, type TcpConnection } from '../../src/client/tcp_connection.ts';
import { KvError } from '../../src/errors.ts';
import { realPorts } from '../../src/real_ports.ts';
import { writeWelcome } from '../../src/wire/client_codec.ts';
import { beginFrame, endFrame, FrameReader, OPCODE } from '../../src/wire/client_frames.ts';
import { encodeError } from '../../src/wire/error_codec.ts';
import { ByteWriter } from '../../src/wire/varint.ts';
import { test } from '../suite.ts';

type Answer = (
  opcode: number,
  requestId: number,
  send: (opcode: number, requestId: number, write?: (w: ByteWriter) => void) => void,
  socket: Socket,
) => void;

function welcome(version = 1, idleTimeoutMs = 60_000, maxFrameBytes = 4096): (writer: ByteWriter) => void {
  return (writer) =>
    writeWelcome(writer, {
      version,
      nodeId: 1,
      leader: 1,
      clusterId: '1',
      limits: {
        maxFrameBytes,
        maxKeyBytes: 9,
        maxValueBytes: 9,
        maxCommandBytes: 9,
        maxTxnOperations: 9,
        maxDeleteRangeKeys: 9,
        maxSessionResults: 9,
        maxRequests: 9,
        idleTimeoutMs,
      },
    });
}

interface Heard {
  readonly closed: KvError[];
  readonly leaders: number[];
}

/** A server that answers HELLO with WELCOME (unless `answer` does) and everything else with `answer`. */
async function withServer(
  answer: Answer,
  run: (connect: () => Promise<TcpConnection>, heard: Heard) => Promise<void>,
  greet = true,
): Promise<void> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    const frames = new FrameReader(1 << 20);
    const send = (opcode: number, requestId: number, write: (w: ByteWriter) => void = () => {}) => {
      const writer = new ByteWriter();
      const start = beginFrame(writer, opcode, requestId);
      write(writer);
      endFrame(writer, start);
      socket.write(writer.copy());
    };
    socket.on('data', (chunk) => {
      frames.push(chunk);
      while (frames.next()) {
        if (greet && frames.opcode === OPCODE.HELLO) send(OPCODE.WELCOME, 0, welcome());
        else answer(frames.opcode, frames.requestId, send, socket);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no address');
  const heard: Heard = { closed: [], leaders: [] };
  const opened: TcpConnection[] = [];
  try {
    await run(async () => {
      const connection = await openConnection(`127.0.0.1:${address.port}`, {
        ports: realPorts(),
        timeoutMs: 200,
        name: 'test',
        closed: (_connection, error) => heard.closed.push(error),
        leader: (_connection, leader) => heard.leaders.push(leader),
        progressed: () => {},
      });
      opened.push(connection);
      return connection;
    }, heard);
  } finally {
    for (const connection of opened) connection.close();
    for (const socket of sockets) socket.destroy();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }
}

/** A call and the error or bytes it ends with. */
function call(
  connection: TcpConnection,
  changes = true,
  sizeBytes = 1,
  deadlineMs = Number.POSITIVE_INFINITY,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const one: ConnectionCall = {
      opcode: OPCODE.WRITE,
      changes,
      attemptDeadlineMs: deadlineMs,
      write: (writer) => void writer.raw(new Uint8Array(sizeBytes)),
      answered: (reader) => resolve(Uint8Array.from(reader.view(1))),
      failed: reject,
    };
    connection.send(one);
  });
}

async function failure(promise: Promise<unknown>): Promise<KvError> {
  try {
    await promise;
  } catch (error) {
    assert.instance(error, KvError);
    return error as KvError;
  }
  return assert.unreachable('it did not fail') as never;
}

test('a greeting that is none, of another version, an error, or missing, fails the connection with its reason', async () => {
  const greetings: [Answer, string][] = [
    [(_opcode, _id, send) => send(OPCODE.PONG, 0), 'UNAVAILABLE'],
    [(_opcode, _id, send) => send(OPCODE.WELCOME, 0, welcome(2)), 'UNSUPPORTED_VERSION'],
    [
      (_opcode, _id, send) => send(OPCODE.ERROR, 0, (w) => encodeError(w, new KvError('OVERLOADED', 'full'))),
      'OVERLOADED',
    ],
    [(_opcode, _id, _send, socket) => socket.end(), 'UNAVAILABLE'],
    [() => {}, 'TIMEOUT'],
  ];
  for (const [answer, code] of greetings) {
    await withServer(answer, async (connect) => assert.is((await failure(connect())).code, code), false);
  }
});

test('unreadable answers, unknown frames and errors of the whole connection lose it, and its calls hear so', async () => {
  const answers: Answer[] = [
    (_opcode, id, send) => send(OPCODE.RESULT, id),
    (_opcode, _id, send) => send(0xee, 0),
    (_opcode, _id, send) => send(OPCODE.ERROR, 0, (w) => encodeError(w, new KvError('PROTOCOL', 'you lie'))),
    (_opcode, _id, _send, socket) => socket.write(Uint8Array.of(0, 0, 0, 0)),
    (_opcode, _id, _send, socket) => socket.destroy(),
  ];
  for (const answer of answers) {
    await withServer(answer, async (connect, heard) => {
      const connection = await connect();
      const [write, read] = await Promise.all([failure(call(connection)), failure(call(connection, false))]);
      assert.is(write.code, 'UNAVAILABLE');
      assert.is(write.maybeApplied, true);
      assert.is(read.maybeApplied, false);
      assert.is(connection.usable, false);
      assert.is(heard.closed.length, 1);
      connection.cancel(1);
      connection.grant(1, 1);
    });
  }
});

test('streams end with the answer or with the connection; PING is answered; PONG tells the leader', () =>
  withServer(
    (opcode, id, send) => {
      if (opcode === OPCODE.WATCH) {
        send(OPCODE.PING, 77);
        send(OPCODE.STREAM_DATA, id, (w) => void w.u8(5));
        send(OPCODE.STREAM_DATA, 999);
        if (id === 1) send(OPCODE.STREAM_END, id);
        if (id === 2) send(OPCODE.ERROR, id, (w) => encodeError(w, new KvError('UNSUPPORTED', 'no')));
        if (id === 3) send(OPCODE.STREAM_END, id, (w) => encodeError(w, new KvError('COMPACTED', 'gone')));
      }
      if (opcode === OPCODE.PONG) send(OPCODE.PONG, id, (w) => void w.varint(3));
    },
    async (connect, heard) => {
      const connection = await connect();
      const ends: (string | undefined)[] = [];
      for (let i = 0; i < 4; i++) {
        let got = 0;
        await new Promise<void>((resolve) => {
          connection.open({
            opcode: OPCODE.WATCH,
            write: () => {},
            data: (reader) => {
              got = reader.u8();
              if (i === 3) connection.close();
            },
            ended: (error) => {
              ends.push(error?.code);
              resolve();
            },
          });
        });
        assert.is(got, 5);
      }
      assert.equal(ends, [undefined, 'UNSUPPORTED', 'COMPACTED', 'CLOSED']);
      assert.ok(heard.leaders.length > 0 && heard.leaders.every((leader) => leader === 3));
    },
  ));

test('a request longer than the node takes is refused here, and the connection goes on', () =>
  withServer(
    (_opcode, id, send) => send(OPCODE.RESULT, id, (w) => void w.u8(1)),
    async (connect) => {
      const connection = await connect();
      assert.throws(
        () =>
          void connection.send({
            opcode: 1,
            changes: true,
            attemptDeadlineMs: 0,
            write: (w) => void w.raw(new Uint8Array(5000)),
            answered: () => {},
            failed: () => {},
          }),
        (error: KvError) => error.code === 'REQUEST_TOO_LARGE',
      );
      assert.equal(await call(connection), Uint8Array.of(1));
      assert.is(connection.pendingCalls, 0);
    },
  ));

test('sweeps time calls out and give a silent node up, but not right after this process itself was paused', () =>
  withServer(
    () => {},
    async (connect, heard) => {
      const connection = await connect();
      const { clock } = realPorts();
      let now = clock.monotonicMs();
      const late = failure(call(connection, true, 1, now + 50));
      now += 100;
      connection.sweep(now);
      assert.is((await late).code, 'TIMEOUT');
      assert.is((await late).maybeApplied, true);
      const lost = failure(call(connection));
      now += 60_000;
      connection.sweep(now);
      assert.is(connection.usable, true);
      for (let i = 0; i < 30; i++) {
        now += 100;
        connection.sweep(now);
      }
      assert.is((await lost).code, 'UNAVAILABLE');
      assert.is(heard.closed.length, 1);
      connection.sweep(now);
    },
  ));

test('GOAWAY lets what was begun be answered and takes nothing more', () =>
  withServer(
    (_opcode, id, send) => {
      send(OPCODE.GOAWAY, 0, (w) => encodeError(w, new KvError('UNAVAILABLE', 'closing')));
      send(OPCODE.RESULT, id, (w) => void w.u8(4));
    },
    async (connect, heard) => {
      const connection = await connect();
      assert.equal(await call(connection), Uint8Array.of(4));
      assert.is(connection.usable, false);
      assert.equal(
        heard.closed.map(({ message }) => message),
        ['closing'],
      );
    },
  ));

test.run();
