/** The TCP door against a raw socket: what it answers, what it refuses, and that everything stays bounded. */

import * as assert from 'uvu/assert';
import { startTcpDoor } from '../../src/api/tcp/door.ts';
import { parseConfig } from '../../src/config.ts';
import { KvError } from '../../src/errors.ts';
import { realPorts } from '../../src/real_ports.ts';
import { readGot, writeGet, writeHello } from '../../src/wire/client_codec.ts';
import { OPCODE } from '../../src/wire/client_frames.ts';
import { encodePut } from '../../src/wire/command_codec.ts';
import { decodeResult } from '../../src/wire/result_codec.ts';
import type { ByteWriter } from '../../src/wire/varint.ts';
import { test } from '../suite.ts';
import { FakeService } from './fake_service.ts';

import { frame, getFields, putFields, turns, waitFor, watchFields, withDoor } from './raw_client.ts';

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

test.run();
