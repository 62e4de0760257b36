/** A client of the TCP door without any intelligence, and a door over a fake service for it to talk to. */
import { connect, type Socket } from 'node:net';
import * as assert from 'uvu/assert';
import { startTcpDoor, type TcpDoor, type TcpDoorOptions } from '../../src/api/tcp/door.ts';
import { type ConfigInput, parseConfig } from '../../src/config.ts';
import type { KvError } from '../../src/errors.ts';
import { realPorts } from '../../src/real_ports.ts';
import { readWelcome, writeGet, writeHello, writeWatch } from '../../src/wire/client_codec.ts';
import { beginFrame, endFrame, FrameReader, OPCODE } from '../../src/wire/client_frames.ts';
import { encodePut } from '../../src/wire/command_codec.ts';
import { decodeError } from '../../src/wire/error_codec.ts';
import { ByteReader, ByteWriter } from '../../src/wire/varint.ts';
import { FakeService } from './fake_service.ts';

export interface Frame {
  readonly opcode: number;
  readonly requestId: number;
  readonly reader: ByteReader;
}

/** A client without any intelligence: sends bytes, collects frames. */
export class RawClient {
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

export function frame(opcode: number, requestId: number, write: (writer: ByteWriter) => void): Uint8Array {
  const writer = new ByteWriter();
  const start = beginFrame(writer, opcode, requestId);
  write(writer);
  endFrame(writer, start);
  return writer.copy();
}

export const stored = (key: string) => Buffer.from(`\x01${key}`, 'latin1');
export const getFields = (key: string) => (writer: ByteWriter) =>
  writeGet(writer.varint(0), { level: 'linearizable', minRevision: 0, revision: 0, key: stored(key) });
export const putFields = (key: string, value: string | Uint8Array) => (writer: ByteWriter) =>
  void writer.varint(700).raw(encodePut(key, value, 0, 0, 0, 0));

export async function withDoor(
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

export async function waitFor(condition: () => boolean): Promise<void> {
  while (!condition()) await turns(1);
}

/** Lets the event loop go round. */
export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise<void>((resolve) => setTimeout(resolve, 1));
}

export const watchFields =
  (credit: number, fromRevision = 0) =>
  (writer: ByteWriter) =>
    writeWatch(writer.varint(0).varint(credit), {
      start: stored(''),
      end: Uint8Array.of(2),
      fromRevision,
      prevKv: false,
    });
