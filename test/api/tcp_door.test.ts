/** The TCP door against a raw socket: what it answers, what it refuses, and that everything stays bounded. */
import { connect, type Socket } from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { startTcpDoor, type TcpDoor, type TcpDoorOptions } from '../../src/api/tcp/door.ts';
import { type ConfigInput, parseConfig } from '../../src/config.ts';
import { KvError } from '../../src/errors.ts';
import { realPorts } from '../../src/real_ports.ts';
import {
  readBatch,
  readGot,
  readPage,
  readWelcome,
  writeGet,
  writeHello,
  writeScan,
  writeWatch,
} from '../../src/wire/client_codec.ts';
import { beginFrame, endFrame, FrameReader, OPCODE } from '../../src/wire/client_frames.ts';
import { encodePut } from '../../src/wire/command_codec.ts';
import { decodeError } from '../../src/wire/error_codec.ts';
import { decodeResult } from '../../src/wire/result_codec.ts';
import { ByteReader, ByteWriter } from '../../src/wire/varint.ts';
import { FakeService } from './fake_service.ts';

interface Frame {
  readonly opcode: number;
  readonly requestId: number;
  readonly reader: ByteReader;
}

/** A client without any intelligence: sends bytes, collects frames. */
class RawClient {
  readonly socket: Socket;
  readonly frames: Frame[] = [];
  ended = false;
  receivedBytes = 0;
  private readonly cutter = new FrameReader(1 << 28);
  private changed: () => void = () => {};

  constructor(address: string) {
    const colon = address.lastIndexOf(':');
    this.socket = connect(Number(address.slice(colon + 1)), address.slice(0, colon));
    this.socket.on('data', (chunk) => {
      this.receivedBytes += chunk.length;
      this.cutter.push(chunk);
      while (this.cutter.next()) {
        const reader = this.cutter.payload(new ByteReader(new Uint8Array(0)));
        this.frames.push({ opcode: this.cutter.opcode, requestId: this.cutter.requestId, reader });
      }
      this.changed();
    });
    this.socket.on('error', () => {});
    this.socket.on('close', () => {
      this.ended = true;
      this.changed();
    });
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await new Promise<void>((resolve) => {
        this.changed = resolve;
      });
    }
  }

  send(opcode: number, requestId: number, write: (writer: ByteWriter) => void = () => {}): void {
    this.socket.write(frame(opcode, requestId, write));
  }

  async hello(maxFrameBytes = 1 << 24): Promise<void> {
    this.send(OPCODE.HELLO, 0, (writer) =>
      writeHello(writer, { minVersion: 1, maxVersion: 1, maxFrameBytes, name: 'raw' }),
    );
    await this.until(() => this.frames.length > 0);
    const first = this.frames.shift()!;
    assert.is(first.opcode, OPCODE.WELCOME);
    assert.is(readWelcome(first.reader).nodeId, 1);
  }

  /** The next frame that answers a request. */
  async next(requestId?: number): Promise<Frame> {
    const matches = (one: Frame) => requestId === undefined || one.requestId === requestId;
    await this.until(() => this.frames.some(matches) || this.ended);
    const index = this.frames.findIndex(matches);
    assert.ok(index >= 0, 'the connection was closed without an answer');
    return this.frames.splice(index, 1)[0]!;
  }

  async nextError(requestId?: number): Promise<KvError> {
    const one = await this.next(requestId);
    assert.ok(one.opcode === OPCODE.ERROR || one.opcode === OPCODE.STREAM_END, `frame ${one.opcode}`);
    return decodeError(one.reader);
  }
}

function frame(opcode: number, requestId: number, write: (writer: ByteWriter) => void): Uint8Array {
  const writer = new ByteWriter();
  const start = beginFrame(writer, opcode, requestId);
  write(writer);
  endFrame(writer, start);
  return writer.copy();
}

const stored = (key: string) => Buffer.from(`\x01${key}`, 'latin1');
const getFields = (key: string) => (writer: ByteWriter) =>
  writeGet(writer.varint(0), { level: 'linearizable', minRevision: 0, revision: 0, key: stored(key) });
const putFields = (key: string, value: string | Uint8Array) => (writer: ByteWriter) =>
  void writer.varint(700).raw(encodePut(key, value, 0, 0, 0, 0));

async function withDoor(
  run: (door: TcpDoor, service: FakeService, dial: () => RawClient) => Promise<void>,
  door: NonNullable<ConfigInput['door']> = {},
  more: Partial<TcpDoorOptions> = {},
): Promise<void> {
  const config = parseConfig({ door: { clientListen: '127.0.0.1:0', ...door } });
  const service = new FakeService();
  const options = { service, config: config.door, limits: config.limits, ports: realPorts(), ...more };
  const started = await startTcpDoor(options);
  const clients: RawClient[] = [];
  try {
    await run(started, service, () => {
      const client = new RawClient(started.address);
      clients.push(client);
      return client;
    });
  } finally {
    for (const client of clients) client.socket.destroy();
    await started.close();
  }
}

test('a put and a get are answered; a missing key reads as absent; the time-out is passed on', () =>
  withDoor(async (door, service, dial) => {
    const client = dial();
    await client.hello();
    client.send(OPCODE.WRITE, 1, putFields('a', 'one'));
    const put = decodeResult((await client.next(1)).reader);
    assert.is(put.type, 'put');
    assert.is(put.revision, 1);
    assert.is(service.lastTimeoutMs, 700);
    client.send(OPCODE.GET, 2, getFields('a'));
    client.send(OPCODE.GET, 3, getFields('b'));
    const got = readGot((await client.next(2)).reader);
    assert.is(Buffer.from(got.record!.value).toString(), 'one');
    assert.is(readGot((await client.next(3)).reader).record, undefined);
    assert.is(door.connections(), 1);
  }));

test('thousands of pipelined requests are all answered, in chunks cut anywhere', () =>
  withDoor(async (_door, _service, dial) => {
    const client = dial();
    await client.hello();
    const parts: Uint8Array[] = [];
    for (let id = 1; id <= 3000; id++) {
      parts.push(
        frame(
          id % 3 === 0 ? OPCODE.GET : OPCODE.WRITE,
          id,
          id % 3 === 0 ? getFields('k') : putFields('k', `v${id}`),
        ),
      );
    }
    const all = Buffer.concat(parts);
    for (let at = 0, step = 1; at < all.length; at += step, step = (step * 7) % 4093) {
      client.socket.write(all.subarray(at, at + step));
    }
    await client.until(() => client.frames.length === 3000);
    assert.is(new Set(client.frames.map(({ requestId }) => requestId)).size, 3000);
    assert.ok(client.frames.every(({ opcode }) => opcode === OPCODE.RESULT));
  }));

test('requests past the bound wait in the socket and are begun when others end', () =>
  withDoor(
    async (_door, service, dial) => {
      let release: () => void = () => {};
      const gate = new Promise<void>((resolve) => {
        release = resolve;
      });
      service.before = (name) => (name === 'write' ? gate : undefined);
      const client = dial();
      await client.hello();
      for (let id = 1; id <= 10; id++) client.send(OPCODE.WRITE, id, putFields('k', 'v'));
      await waitFor(() => service.calls.filter((name) => name === 'write').length >= 4);
      client.send(OPCODE.PING, 99);
      // Everything behind the bound is untouched as long as nothing ends.
      await turns(20);
      assert.is(service.calls.filter((name) => name === 'write').length, 4);
      assert.is(client.frames.length, 0);
      release();
      await client.until(() => client.frames.length === 11);
      assert.is(service.store.revision, 10);
    },
    { maxRequestsPerConnection: 4 },
  ));

test('an unknown opcode, a malformed payload and a foreign key space are errors of that request alone', () =>
  withDoor(async (_door, _service, dial) => {
    const client = dial();
    await client.hello();
    client.send(0x7e, 5);
    assert.is((await client.nextError(5)).code, 'UNSUPPORTED');
    client.send(OPCODE.GET, 6, (writer) => void writer.varint(0).u8(9));
    assert.is((await client.nextError(6)).code, 'PROTOCOL');
    client.send(OPCODE.GET, 7, (writer) =>
      writeGet(writer.varint(0), {
        level: 'eventual',
        minRevision: 0,
        revision: 0,
        key: Uint8Array.of(0, 1),
      }),
    );
    assert.is((await client.nextError(7)).code, 'INVALID_ARGUMENT');
    client.send(OPCODE.WRITE, 8, (writer) => void writer.varint(0).raw(Uint8Array.of(1, 99)));
    assert.ok(['UNSUPPORTED', 'PROTOCOL'].includes((await client.nextError(8)).code));
    client.send(OPCODE.STATUS, 9, (writer) => void writer.varint(0).u8(1));
    assert.is((await client.nextError(9)).code, 'PROTOCOL');
    client.send(OPCODE.GET, 10, getFields('a'));
    assert.is((await client.next(10)).opcode, OPCODE.RESULT);
  }));

test('garbage, a wrong first frame, a second HELLO and an unknown version get an error and the connection is closed', () =>
  withDoor(async (door, _service, dial) => {
    const garbage = dial();
    garbage.socket.write('GET / HTTP/1.1\r\n\r\n');
    assert.is((await garbage.nextError()).code, 'FRAME_TOO_LARGE');
    await garbage.until(() => garbage.ended);
    const early = dial();
    early.send(OPCODE.PING, 1);
    assert.is((await early.nextError()).code, 'PROTOCOL');
    const wrong = dial();
    wrong.send(OPCODE.HELLO, 0, (writer) => void writer.u32(7).u8(1).u8(1).varint(9999).string('x'));
    assert.is((await wrong.nextError()).code, 'PROTOCOL');
    const future = dial();
    future.send(OPCODE.HELLO, 0, (writer) =>
      writeHello(writer, { minVersion: 2, maxVersion: 3, maxFrameBytes: 1 << 20, name: '' }),
    );
    const error = await future.nextError();
    assert.is(error.code, 'UNSUPPORTED_VERSION');
    assert.is(error.details['maxVersion'], 1);
    const tiny = dial();
    tiny.send(OPCODE.HELLO, 0, (writer) =>
      writeHello(writer, { minVersion: 1, maxVersion: 1, maxFrameBytes: 10, name: '' }),
    );
    assert.is((await tiny.nextError()).code, 'PROTOCOL');
    const twice = dial();
    await twice.hello();
    twice.send(OPCODE.HELLO, 0, (writer) =>
      writeHello(writer, { minVersion: 1, maxVersion: 1, maxFrameBytes: 1 << 20, name: '' }),
    );
    assert.is((await twice.nextError()).code, 'PROTOCOL');
    const short = dial();
    await short.hello();
    short.socket.write(Uint8Array.of(2, 0, 0, 0, 1, 1));
    assert.is((await short.nextError()).code, 'PROTOCOL');
    await waitFor(() => door.connections() === 0);
  }));

test('a frame above the limit is refused by its length alone', () =>
  withDoor(async (_door, _service, dial) => {
    const client = dial();
    await client.hello();
    const before = process.memoryUsage().arrayBuffers;
    client.socket.write(Uint8Array.of(0xff, 0xff, 0xff, 0x7f, OPCODE.WRITE));
    const error = await client.nextError(0);
    assert.is(error.code, 'FRAME_TOO_LARGE');
    assert.is(error.details['sizeBytes'], 0x7fffffff);
    assert.ok(process.memoryUsage().arrayBuffers - before < 64 << 20);
    await client.until(() => client.ended);
  }));

test('an answer that is longer than the client takes becomes an error, and says that a write was applied', () =>
  withDoor(async (_door, _service, dial) => {
    const client = dial();
    await client.hello(1024);
    client.send(OPCODE.WRITE, 1, putFields('big', 'x'.repeat(5000)));
    await client.next(1);
    client.send(OPCODE.GET, 2, getFields('big'));
    const error = await client.nextError(2);
    assert.is(error.code, 'FRAME_TOO_LARGE');
    assert.is(error.maybeApplied, false);
    client.send(
      OPCODE.WRITE,
      3,
      (writer) => void writer.varint(0).raw(encodePut('big', '', 0, 0, 0, 0, true)),
    );
    assert.is((await client.nextError(3)).maybeApplied, true);
  }));

test('errors of the service reach the client with code, flags and details; foreign errors are INTERNAL', () =>
  withDoor(async (_door, service, dial) => {
    const client = dial();
    await client.hello();
    service.before = () => {
      throw new KvError('NOT_LEADER', 'not me', { details: { leader: 2, leaderAddress: 'h:1' } });
    };
    client.send(OPCODE.WRITE, 1, putFields('a', 'b'));
    const error = await client.nextError(1);
    assert.is(error.code, 'NOT_LEADER');
    assert.equal(error.details, { leader: 2, leaderAddress: 'h:1' });
    service.before = async () => {
      throw new TypeError('oops');
    };
    for (const [opcode, fields] of [
      [OPCODE.GET, getFields('a')],
      [OPCODE.MEMBERS, (writer: ByteWriter) => void writer.varint(0)],
    ] as const) {
      client.send(opcode, 2, fields);
      assert.is((await client.nextError(2)).code, 'INTERNAL');
    }
  }));

test('a scan streams pages of one revision as far as its credit goes, and can be cancelled', () =>
  withDoor(async (_door, service, dial) => {
    const client = dial();
    await client.hello();
    for (let i = 0; i < 50; i++)
      client.send(OPCODE.WRITE, 1, putFields(`k${String(i).padStart(2, '0')}`, 'v'.repeat(100)));
    await client.until(() => client.frames.length === 50);
    client.frames.length = 0;
    const scan = (id: number, credit: number, reverse: boolean, limit = 1000) =>
      client.send(OPCODE.SCAN, id, (writer) =>
        writeScan(writer.varint(0).varint(credit), {
          level: 'linearizable',
          minRevision: 0,
          revision: 0,
          start: stored(''),
          end: Uint8Array.of(2),
          reverse,
          keysOnly: false,
          limit,
          maxBytes: 1000,
        }),
      );
    for (const reverse of [false, true]) {
      scan(7, 1, reverse);
      const keys: string[] = [];
      for (;;) {
        const next = await client.next(7);
        if (next.opcode === OPCODE.STREAM_END) break;
        const sizeBytes = next.reader.remaining;
        const page = readPage(next.reader);
        assert.is(page.revision, 50);
        for (const record of page.records) keys.push(Buffer.from(record.key).toString());
        // Nothing more comes without credit.
        await turns(5);
        assert.is(client.frames.length, page.more ? 0 : 1);
        client.send(OPCODE.CREDIT, 7, (writer) => void writer.varint(sizeBytes));
      }
      assert.is(keys.length, 50);
      assert.equal(keys, reverse ? [...keys].sort().reverse() : [...keys].sort());
    }
    scan(8, 1 << 20, false, 25);
    let count = 0;
    for (;;) {
      const next = await client.next(8);
      if (next.opcode === OPCODE.STREAM_END) break;
      count += readPage(next.reader).records.length;
    }
    assert.is(count, 25);
    scan(9, 1, false);
    await client.next(9);
    client.send(OPCODE.CANCEL, 9);
    assert.is((await client.next(9)).opcode, OPCODE.STREAM_END);
    scan(10, 0, false);
    const single = await client.next(10);
    assert.is(single.opcode, OPCODE.RESULT);
    assert.is(readPage(single.reader).more, true);
    scan(11, 0, false, 0);
    assert.is((await client.nextError(11)).code, 'INVALID_ARGUMENT');
    service.before = async () => {
      throw new KvError('COMPACTED', 'gone');
    };
    scan(12, 1, false);
    assert.is((await client.nextError(12)).code, 'COMPACTED');
    scan(13, 0, false);
    assert.is((await client.nextError(13)).code, 'COMPACTED');
  }));

const watchFields =
  (credit: number, fromRevision = 0) =>
  (writer: ByteWriter) =>
    writeWatch(writer.varint(0).varint(credit), {
      start: stored(''),
      end: Uint8Array.of(2),
      fromRevision,
      prevKv: false,
    });

test('a page or an event that the client cannot take ends its stream; a single page can be cancelled while it is fetched', () =>
  withDoor(async (_door, service, dial) => {
    const client = dial();
    await client.hello(1024);
    const scanAll = (id: number, credit: number, maxBytes = 1000) =>
      client.send(OPCODE.SCAN, id, (writer) =>
        writeScan(writer.varint(400).varint(credit), {
          level: 'eventual',
          minRevision: 0,
          revision: 0,
          start: stored(''),
          end: undefined,
          reverse: false,
          keysOnly: false,
          limit: 10,
          maxBytes,
        }),
      );
    client.send(OPCODE.WATCH, 1, watchFields(100_000));
    await client.next(1);
    client.send(OPCODE.WRITE, 2, putFields('big', 'x'.repeat(3000)));
    await client.next(2);
    assert.is((await client.nextError(1)).code, 'FRAME_TOO_LARGE');
    assert.is(service.store.watcherCount, 0);
    scanAll(3, 0);
    assert.is((await client.nextError(3)).code, 'FRAME_TOO_LARGE');
    scanAll(4, 100);
    assert.is((await client.nextError(4)).code, 'FRAME_TOO_LARGE');
    scanAll(5, 0, 0);
    assert.is((await client.nextError(5)).code, 'INVALID_ARGUMENT');
    let release: () => void = () => {};
    service.before = () =>
      new Promise<void>((resolve) => {
        release = resolve;
      });
    scanAll(6, 0);
    client.send(OPCODE.CANCEL, 6);
    assert.is((await client.nextError(6)).code, 'CANCELLED');
    release();
    scanAll(7, 0);
    client.send(OPCODE.PING, 8);
    await client.next(8);
    client.socket.destroy();
    await turns(5);
    release();
    service.before = () => {};
    const other = dial();
    await other.hello();
    other.send(OPCODE.GET, 9, getFields('big'));
    assert.is((await other.next(9)).opcode, OPCODE.RESULT);
  }));

test('a watch says from where it delivers, stops at the end of its credit, and goes on in order', () =>
  withDoor(async (_door, service, dial) => {
    const client = dial();
    await client.hello();
    client.send(OPCODE.WATCH, 1, watchFields(1));
    const opening = readBatch((await client.next(1)).reader);
    assert.equal(opening, { revision: 0, events: [], partial: false });
    for (let i = 1; i <= 5; i++) client.send(OPCODE.WRITE, 100 + i, putFields('k', `v${i}`));
    for (let i = 1; i <= 5; i++) await client.next(100 + i);
    assert.is(client.frames.length, 0);
    client.send(OPCODE.CREDIT, 1, (writer) => void writer.varint(1000));
    for (let i = 1; i <= 5; i++) {
      const batch = readBatch((await client.next(1)).reader);
      assert.is(batch.revision, i);
      assert.is(Buffer.from(batch.events[0]!.record.value).toString(), `v${i}`);
    }
    client.send(OPCODE.WATCH, 1, watchFields(1));
    assert.is((await client.nextError(1)).code, 'PROTOCOL');
    client.send(OPCODE.CANCEL, 1);
    assert.is((await client.next(1)).opcode, OPCODE.STREAM_END);
    assert.is(service.store.watcherCount, 0);
    client.send(OPCODE.WATCH, 2, watchFields(1000, 3));
    assert.is(readBatch((await client.next(2)).reader).revision, 2);
    assert.is(readBatch((await client.next(2)).reader).revision, 3);
    service.store.compactRevision = 3;
    client.send(OPCODE.WATCH, 3, watchFields(1000, 2));
    assert.is((await client.nextError(3)).code, 'COMPACTED');
    client.socket.destroy();
    await waitFor(() => service.store.watcherCount === 0);
  }));

test('a revision larger than a frame arrives in parts', () =>
  withDoor(async (_door, service, dial) => {
    const client = dial();
    await client.hello(4096);
    client.send(OPCODE.WATCH, 1, watchFields(1 << 30));
    await client.next(1);
    const value = Buffer.alloc(1500, 'v');
    service.store.apply({
      type: 'txn',
      id: { session: 0, sequence: 0, acknowledgedBelow: 0 },
      compares: [],
      success: Array.from({ length: 20 }, (_, i) => ({
        type: 'put' as const,
        key: stored(`k${i}`),
        value,
        ttlMs: 0,
        lease: 0n,
        prevKv: false,
      })),
      failure: [],
    });
    let events = 0;
    let frames = 0;
    for (let partial = true; partial; frames++) {
      const batch = readBatch((await client.next(1)).reader);
      assert.is(batch.revision, 1);
      events += batch.events.length;
      partial = batch.partial;
    }
    assert.is(events, 20);
    assert.ok(frames > 5);
  }));

test('a client that does not read is not served beyond the bound, and its neighbour is', () =>
  withDoor(
    async (_door, service, dial) => {
      const slow = dial();
      await slow.hello();
      slow.send(OPCODE.WRITE, 1, putFields('big', Buffer.alloc(500_000)));
      await slow.next(1);
      slow.socket.pause();
      for (let id = 10; id < 210; id++) slow.send(OPCODE.GET, id, getFields('big'));
      const other = dial();
      await other.hello();
      await waitFor(() => service.calls.filter((name) => name === 'get').length > 1);
      await turns(50);
      const begun = service.calls.filter((name) => name === 'get').length;
      // The kernel's socket buffers take some megabytes; the rest of the 100 MB must not be produced.
      assert.ok(begun < 60, `${begun} answers of 0.5 MB were produced`);
      other.send(OPCODE.GET, 1, getFields('none'));
      assert.is((await other.next(1)).opcode, OPCODE.RESULT);
      slow.socket.resume();
      await slow.until(() => slow.frames.length === 200);
    },
    { maxQueuedBytesPerConnection: 64 * 1024 },
  ));

test('a connection past the bound is told so and closed', () =>
  withDoor(
    async (door, _service, dial) => {
      const [first, second] = [dial(), dial()];
      await Promise.all([first.hello(), second.hello()]);
      const third = dial();
      assert.is((await third.nextError(0)).code, 'OVERLOADED');
      await third.until(() => third.ended);
      first.socket.destroy();
      await waitFor(() => door.connections() === 1);
      await dial().hello();
    },
    { maxConnections: 2 },
  ));

test('a client that never says HELLO is closed; one that falls silent is pinged and then closed', () =>
  withDoor(
    async (door, _service, dial) => {
      const mute = dial();
      assert.is((await mute.nextError(0)).code, 'TIMEOUT');
      const silent = dial();
      await silent.hello();
      const alive = dial();
      await alive.hello();
      const ping = await silent.next();
      assert.is(ping.opcode, OPCODE.PING);
      assert.is((await alive.next()).opcode, OPCODE.PING);
      alive.send(OPCODE.PONG, 0);
      await silent.until(() => silent.ended);
      assert.is(alive.ended, false);
      alive.send(OPCODE.PING, 4);
      const pong = await alive.next(4);
      assert.is(pong.opcode, OPCODE.PONG);
      assert.is(pong.reader.varint(), 1);
      assert.is(door.connections(), 1);
    },
    { idleTimeoutMs: 1_000 },
    { handshakeTimeoutMs: 100 },
  ));

test('close says goodbye, lets running requests finish, ends streams and takes no new ones', () =>
  withDoor(async (door, service, dial) => {
    let release: () => void = () => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const client = dial();
    await client.hello();
    client.send(OPCODE.WATCH, 2, watchFields(1000));
    await client.next(2);
    service.before = (name) => (name === 'write' ? gate : undefined);
    client.send(OPCODE.WRITE, 1, putFields('a', 'b'));
    await waitFor(() => service.calls.includes('write'));
    const closed = door.close();
    assert.is((await client.nextError(2)).code, 'UNAVAILABLE');
    const goodbye = await client.next(0);
    assert.is(goodbye.opcode, OPCODE.GOAWAY);
    client.send(OPCODE.GET, 3, getFields('a'));
    const refused = await client.nextError(3);
    assert.is(refused.code, 'UNAVAILABLE');
    assert.is(refused.maybeApplied, false);
    release();
    assert.is((await client.next(1)).opcode, OPCODE.RESULT);
    await closed;
    await client.until(() => client.ended);
    assert.is(door.connections(), 0);
  }));

test('close does not wait for ever', () =>
  withDoor(
    async (door, service, dial) => {
      service.before = () => new Promise<void>(() => {});
      const client = dial();
      await client.hello();
      client.send(OPCODE.WRITE, 1, putFields('a', 'b'));
      await waitFor(() => service.calls.includes('write'));
      await door.close();
      await client.until(() => client.ended);
    },
    {},
    { closeTimeoutMs: 20 },
  ));

test('an address that is taken is refused with its name', async () => {
  await withDoor(async (door) => {
    const config = parseConfig({ door: { clientListen: door.address } });
    const service = new FakeService();
    try {
      await startTcpDoor({ service, config: config.door, limits: config.limits, ports: realPorts() });
      assert.unreachable();
    } catch (error) {
      assert.instance(error, KvError);
      assert.ok((error as KvError).message.includes(door.address));
    }
  });
});

async function waitFor(condition: () => boolean): Promise<void> {
  while (!condition()) await turns(1);
}

/** Lets the event loop go round. */
async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise<void>((resolve) => setTimeout(resolve, 1));
}

test.run();
