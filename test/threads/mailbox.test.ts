/** Both ends of a mailbox in one thread: time-outs, bounds, replies of every size, and what nobody sends. */
import { MessageChannel } from 'node:worker_threads';
import * as assert from 'uvu/assert';
import type { Service } from '../../src/api/service.ts';
import { KvError } from '../../src/errors.ts';
import type { CommandResult } from '../../src/kv/command.ts';
import { realPorts } from '../../src/real_ports.ts';
import { Doorbell, Mailbox, REQUEST, type ReaderHandle } from '../../src/threads/mailbox.ts';
import { MailboxClient } from '../../src/threads/mailbox_client.ts';
import { MailboxServer } from '../../src/threads/mailbox_server.ts';
import { decodeResult } from '../../src/wire/result_codec.ts';
import { test } from '../suite.ts';

const { clock } = realPorts();
const NO_SERVICE = {
  write: () => Promise.reject(new Error('no writes here')),
  get: () => {
    throw new KvError('CORRUPT', 'nothing can be read', { details: { file: 'f', offset: 3 } });
  },
  scan: (): Promise<never> => Promise.reject(new KvError('COMPACTED', 'long ago')),
};

interface Lab {
  readonly client: MailboxClient;
  readonly server: MailboxServer;
  readonly state: { closed: boolean; told: number };
  end(): void;
}

function lab(service: Partial<Service> = {}): Lab {
  const { port1, port2 } = new MessageChannel();
  const buffer = Mailbox.allocate();
  const handle: ReaderHandle = {
    port: port2,
    shared: { control: new SharedArrayBuffer(4), reader: 0, readers: 1, memories: [], tree: undefined },
    mailbox: buffer,
    doorbell: Doorbell.allocate(),
    limits: { maxKeyBytes: 100, maxValueBytes: 100, maxTxnOperations: 1, requestTimeoutMs: 100 },
    storeThread: 0,
  };
  const state = { closed: false, told: 0 };
  const client = new MailboxClient(handle, clock, () => state.closed);
  port2.on('message', (message: unknown) => client.take(message));
  const whole = { ...NO_SERVICE, ...service } as Partial<Service> as Service;
  const server = new MailboxServer(new Mailbox(buffer), port1, whole, () => state.told++);
  port1.on('message', (message: unknown) => server.take(message));
  return {
    client,
    server,
    state,
    end: () => {
      port1.close();
      port2.close();
    },
  };
}

function errorOf(run: () => unknown): KvError {
  try {
    run();
  } catch (error) {
    if (error instanceof KvError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

const rejection = (promise: Promise<unknown>): Promise<KvError> =>
  promise.then(
    () => {
      throw new Error('it did not fail');
    },
    (error: unknown) => {
      if (error instanceof KvError) return error;
      throw error;
    },
  );

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

test('a request that nobody answers times out; a write says that it may have been applied', () => {
  const { client, end } = lab();
  const write = errorOf(() => client.callSync(REQUEST.WRITE, new Uint8Array(5), decodeResult, 20));
  assert.is(write.code, 'TIMEOUT');
  assert.ok(write.maybeApplied);
  const read = errorOf(() => client.get(Uint8Array.of(1, 65), 7, 20));
  assert.is(read.code, 'TIMEOUT');
  assert.not(read.maybeApplied);
  end();
});

test('an answer that comes after the time-out is dropped', async () => {
  const { client, server, state, end } = lab({
    write: async () => ({ type: 'put', revision: 9 }) as CommandResult,
  });
  errorOf(() => client.callSync(REQUEST.WRITE, new Uint8Array(5), decodeResult, 10));
  assert.is(server.drain(), 1);
  await turns(1);
  assert.is(state.told, 1);
  const later = client.call(REQUEST.WRITE, new Uint8Array(5), decodeResult, undefined);
  server.drain();
  await turns(1);
  server.flush();
  assert.is((await later).revision, 9);
  end();
});

test('what waits is bounded; the end of the store settles all of it', async () => {
  const { client, state, end } = lab();
  const piece = new Uint8Array(100_000);
  const waiting: Promise<KvError>[] = [];
  let overloaded = 0;
  for (let i = 0; i < 400; i++) {
    waiting.push(
      rejection(client.call(REQUEST.WRITE, piece, decodeResult, 1000)).then((error) => {
        if (error.code === 'OVERLOADED') overloaded++;
        return error;
      }),
    );
  }
  await turns(1);
  assert.ok(overloaded > 30 && overloaded < 100, `${overloaded} refused`);
  state.closed = true;
  client.close();
  const codes = (await Promise.all(waiting)).filter((error) => error.code !== 'OVERLOADED');
  assert.ok(codes.every((error) => error.code === 'CLOSED' && error.maybeApplied));
  assert.is((await rejection(client.call(REQUEST.WRITE, piece, decodeResult, 1000))).code, 'CLOSED');
  assert.is(errorOf(() => client.get(Uint8Array.of(1), 1, 1000)).code, 'CLOSED');
  end();
});

test('what waited for room goes on in its order when there is some, large ones too', async () => {
  const seen: number[] = [];
  const { client, server, end } = lab({
    write: async (command) => {
      seen.push(command[0]!);
      return { type: 'put', revision: seen.length } as CommandResult;
    },
  });
  const all = Array.from({ length: 12 }, (_, i) =>
    client.call(
      REQUEST.WRITE,
      new Uint8Array(i % 5 === 4 ? 500_000 : 60_000).fill(i),
      decodeResult,
      undefined,
    ),
  );
  while (seen.length < 12) {
    server.drain();
    await turns(1);
    server.flush();
    await turns(1);
  }
  server.flush();
  const results = await Promise.all(all);
  assert.equal(seen, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  assert.equal(
    results.map(({ revision }) => revision),
    seen.map((one) => one + 1),
  );
  end();
});

test('failures come over with code and details; unknown kinds and malformed bytes are refused', async () => {
  const { client, server, end } = lab();
  const kinds: [number, Uint8Array][] = [
    [REQUEST.WRITE, new Uint8Array(3)],
    [REQUEST.GET, Uint8Array.of(2, 0, 0, 1, 65)],
    [REQUEST.GET, Uint8Array.of(99)],
    [REQUEST.SCAN, Uint8Array.of(2, 0, 0, 0, 1, 65, 1, 1)],
    [77, new Uint8Array(0)],
  ];
  const all = kinds.map(([kind, payload]) => rejection(client.call(kind, payload, decodeResult, undefined)));
  server.drain();
  await turns(1);
  server.flush();
  const errors = await Promise.all(all);
  assert.equal(
    errors.map(({ code }) => code),
    ['INTERNAL', 'CORRUPT', 'PROTOCOL', 'COMPACTED', 'PROTOCOL'],
  );
  assert.equal(errors[1]!.details, { file: 'f', offset: 3 });
  end();
});

test('a reply that is not what was asked for fails the request', async () => {
  const { client, server, end } = lab({ write: async () => ({ type: 'put', revision: 9 }) as CommandResult });
  const odd = rejection(
    client.call(
      REQUEST.WRITE,
      new Uint8Array(1),
      () => {
        throw new RangeError('odd');
      },
      undefined,
    ),
  );
  server.drain();
  await turns(1);
  server.flush();
  assert.is((await odd).code, 'INTERNAL');
  server.end();
  const after = client.call(REQUEST.WRITE, new Uint8Array(1), decodeResult, undefined);
  assert.is(server.drain(), 0, 'it ended');
  client.close();
  assert.is((await rejection(after)).code, 'CLOSED');
  assert.throws(() => new Mailbox(new SharedArrayBuffer(8)), /a mailbox of 8 bytes/);
  end();
});

test.run();
