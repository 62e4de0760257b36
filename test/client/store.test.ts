/** The store over a channel in the same process: what it checks, what it encodes, and how it deals with sessions. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import type { Channel } from '../../src/client/channel.ts';
import { jsonCodec, stringCodec } from '../../src/client/codecs.ts';
import { waitUntil } from '../../src/client/deadline.ts';
import { rangeOf } from '../../src/client/key_range.ts';
import { createStore } from '../../src/client/store.ts';
import type { Store } from '../../src/client/store_types.ts';
import { WriteSession } from '../../src/client/write_session.ts';
import { type ErrorCode, KvError } from '../../src/errors.ts';
import type { Command, CommandResult } from '../../src/kv/command.ts';
import { prefixEnd } from '../../src/kv/keyspace.ts';
import { realPorts } from '../../src/real_ports.ts';
import { keyAfter } from '../../src/storage/record.ts';
import { decodeCommand } from '../../src/wire/command_codec.ts';
import type {
  GetRequest,
  RangeRequest,
  RangeResponse,
  ScanPageRequest,
  WatchBatch,
} from '../../src/wire/messages.ts';
import { FakeStore } from '../api/fake_service.ts';
import { test } from '../suite.ts';

const limits = { maxKeyBytes: 16, maxValueBytes: 32, maxTxnOperations: 3 };

/** Straight to a fake store; remembers what it was asked. */
class DirectChannel implements Channel {
  readonly needsSession: boolean;
  readonly store = new FakeStore();
  readonly commands: Command[] = [];
  readonly reads: (GetRequest | ScanPageRequest)[] = [];
  /** Fails the next writes. */
  readonly failures: KvError[] = [];
  answer: ((command: Command) => CommandResult) | undefined;
  closed = 0;

  constructor(needsSession = false) {
    this.needsSession = needsSession;
  }

  async write(bytes: Uint8Array): Promise<CommandResult> {
    const command = decodeCommand(bytes);
    this.commands.push(command);
    const isOpening = command.type === 'openSession';
    const error = isOpening ? undefined : this.failures.shift();
    if (error !== undefined) throw error;
    return this.answer?.(command) ?? this.store.apply(command);
  }

  get(request: GetRequest) {
    this.reads.push(request);
    return { revision: this.store.revision, record: this.store.at(request.key, request.revision) };
  }

  scan(request: ScanPageRequest) {
    this.reads.push(request);
    return this.store.scan(request);
  }

  async range(request: RangeRequest): Promise<RangeResponse> {
    return this.store.range(request);
  }

  async *watch(): AsyncGenerator<WatchBatch> {
    const events = this.store.events.filter(({ record }) => record.modRevision === 1);
    yield { revision: 1, events };
    throw new KvError('COMPACTED', 'gone');
  }

  async close(): Promise<void> {
    this.closed++;
  }
}

function openStore(channel: Channel = new DirectChannel(), maxSessionResults = 4): Store {
  return createStore({ channel, limits, ports: realPorts(), maxSessionResults, timeoutMs: 500 });
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

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

test('what is wrong with a call is said before anything is sent', async () => {
  const channel = new DirectChannel();
  const kv = openStore(channel);
  const long = 'k'.repeat(17);
  const wrong: [Promise<unknown>, ErrorCode][] = [
    [kv.put('', 'v'), 'INVALID_ARGUMENT'],
    [kv.put(long, 'v'), 'KEY_TOO_LARGE'],
    [kv.put(new Uint8Array(17), 'v'), 'KEY_TOO_LARGE'],
    [kv.put('\u20ac'.repeat(6), 'v'), 'KEY_TOO_LARGE'],
    [kv.put('k', 'v'.repeat(33)), 'VALUE_TOO_LARGE'],
    [kv.put('k', new Uint8Array(33)), 'VALUE_TOO_LARGE'],
    [kv.put('k', 5 as unknown as string), 'INVALID_ARGUMENT'],
    [kv.put(5 as unknown as string, 'v'), 'INVALID_ARGUMENT'],
    [kv.put('k', 'v', { ttlMs: -1 }), 'INVALID_ARGUMENT'],
    [kv.touch('k', { ttlMs: 0.5 }), 'INVALID_ARGUMENT'],
    [kv.get(''), 'INVALID_ARGUMENT'],
    [kv.get('k', { revision: -1 }), 'INVALID_ARGUMENT'],
    [kv.getEntry(long), 'KEY_TOO_LARGE'],
    [kv.delete(long), 'KEY_TOO_LARGE'],
    [
      kv.batch([
        { type: 'put', key: 'a', value: '1' },
        { type: 'delete', key: Buffer.from('a') },
      ]),
      'DUPLICATE_KEY',
    ],
    [
      kv.batch([
        { type: 'delete', key: Uint8Array.of(9) },
        { type: 'delete', key: Uint8Array.of(9) },
      ]),
      'DUPLICATE_KEY',
    ],
    [
      kv.batch(Array.from({ length: 4 }, (_, i) => ({ type: 'delete' as const, key: `${i}` }))),
      'TOO_MANY_OPERATIONS',
    ],
    [kv.batch([{ type: 'grow' as 'delete', key: 'a' }]), 'INVALID_ARGUMENT'],
    [kv.txn({ then: [{ type: 'deleteRange', start: 'b', end: 'a' }] }), 'INVALID_ARGUMENT'],
    [
      kv.txn({ compare: [{ key: 'a' } as unknown as { key: string; version: number }], then: [] }),
      'INVALID_ARGUMENT',
    ],
    [all(kv.scan({ limit: -1 })), 'INVALID_ARGUMENT'],
    [all(kv.scan({ prefix: long })), 'KEY_TOO_LARGE'],
  ];
  for (const [promise, code] of wrong) assert.is((await failure(promise)).code, code);
  assert.is(channel.commands.length, 0);
  assert.is(channel.reads.length, 0);
});

test('commands carry what the caller said', async () => {
  const channel = new DirectChannel();
  const kv = openStore(channel);
  await kv.put('k', 'v', { ttlMs: 9 });
  await kv.txn({
    compare: [
      { key: 'a', value: 'x', is: '!=' },
      { key: 'a', version: 2 },
      { key: 'a', modRevision: 3, is: '>' },
      { key: 'a', createRevision: 4, is: '<' },
    ].slice(0, 3) as { key: string; version: number }[],
    then: [
      { type: 'touch', key: 'k', ttlMs: 7 },
      { type: 'deleteRange', start: 'x', end: 'y' },
    ],
    else: [{ type: 'get', key: 'k' }],
  });
  await kv.txn({
    compare: [
      { key: 'a', createRevision: 4, is: '<' },
      { key: 'a', exists: true },
      { key: 'b', exists: false },
    ],
    then: [],
  });
  const [put, first, second] = channel.commands;
  assert.ok(
    put?.type === 'write' &&
      put.operation.type === 'put' &&
      put.operation.ttlMs === 9 &&
      put.id.session === 0,
  );
  assert.ok(first?.type === 'txn' && second?.type === 'txn');
  assert.equal(
    first.compares.map(({ target, result, number }) => [target, result, number]),
    [
      ['value', '!=', 0],
      ['version', '=', 2],
      ['modRevision', '>', 3],
    ],
  );
  assert.equal(
    first.success.map(({ type }) => type),
    ['touch', 'delete'],
  );
  assert.equal(
    first.failure.map(({ type }) => type),
    ['range'],
  );
  assert.equal(
    second.compares.map(({ target, result }) => [target, result]),
    [
      ['createRevision', '<'],
      ['version', '>'],
      ['version', '='],
    ],
  );
});

test('results of a transaction come back in order, with values decoded', async () => {
  const kv = openStore().withCodec(jsonCodec<number[]>());
  await kv.put('a', [1]);
  const answer = await kv.txn({
    then: [
      { type: 'get', key: 'a' },
      { type: 'get', key: 'b' },
      { type: 'touch', key: 'a', ttlMs: 5 },
    ],
  });
  const [got, none, touched] = answer.results;
  assert.ok(got?.type === 'get' && none?.type === 'get');
  assert.equal(got.entry!.value, [1]);
  assert.is(none.entry, undefined);
  assert.equal(touched, { type: 'touch', found: true });
  const removed = await kv.txn({
    then: [
      { type: 'delete', key: 'a' },
      { type: 'put', key: 'c', value: [] },
    ],
  });
  assert.equal(removed.results, [{ type: 'delete', deleted: 1 }, { type: 'put' }]);
});

test('sequential reads never go behind what was seen', async () => {
  const channel = new DirectChannel();
  const kv = openStore(channel);
  await kv.put('a', '1');
  await kv.put('a', '2');
  await kv.get('a', { level: 'sequential' });
  await kv.get('a', { level: 'eventual' });
  assert.equal(
    channel.reads.map(({ minRevision }) => minRevision),
    [2, 0],
  );
  assert.is(Buffer.from((await kv.get('a', { revision: 1 }))!).toString(), '1');
});

test('a scan pins the first page\u2019s revision and asks no node for more than that', async () => {
  const channel = new DirectChannel();
  const kv = createStore({
    channel,
    limits: { ...limits, maxTxnOperations: 5000 },
    ports: realPorts(),
    maxSessionResults: 1,
  });
  const names = Array.from({ length: 2100 }, (_, i) => `k${String(i).padStart(4, '0')}`);
  await kv.batch(names.map((key) => ({ type: 'put' as const, key, value: '' })));
  const keys = (await all(kv.scan())).map(({ key }) => Buffer.from(key).toString());
  assert.equal(keys, names);
  assert.equal(
    channel.reads.map(({ level, revision, minRevision }) => [level, revision, minRevision]),
    [
      ['linearizable', 0, 0],
      ['sequential', 1, 1],
      ['sequential', 1, 1],
    ],
  );
  assert.equal(await all(kv.scan({ start: 'b', end: 'a' })), []);
  assert.equal(await all(kv.scan({ limit: 0 })), []);
  assert.is((await all(kv.scan({ limit: 1001, level: 'eventual' }))).length, 1001);
  const before = channel.reads.length;
  for await (const _entry of kv.scan()) break;
  assert.is(channel.reads.length, before + 2);
});

test('a watch gives events with their previous values and ends with the channel\u2019s error', async () => {
  const channel = new DirectChannel();
  const kv = openStore(channel).withCodec(stringCodec);
  await kv.put('a', 'x');
  const iterator = kv.watch({ fromRevision: 1 })[Symbol.asyncIterator]();
  const { value } = await iterator.next();
  assert.is(value!.value, 'x');
  assert.is(value!.previous, undefined);
  assert.is((await failure(iterator.next())).code, 'COMPACTED');
});

test('codecs refuse what has no form', async () => {
  const kv = openStore();
  const json = kv.withCodec(jsonCodec<unknown>());
  assert.is((await failure(json.put('a', undefined))).code, 'INVALID_ARGUMENT');
  await kv.put('a', Uint8Array.of(0xff));
  assert.is((await failure(json.get('a'))).code, 'INVALID_ARGUMENT');
  assert.is((await failure(kv.withCodec(stringCodec).get('a'))).code, 'INVALID_ARGUMENT');
});

test('an unexpected result is an error: a failed one with its own code', async () => {
  const channel = new DirectChannel();
  const kv = openStore(channel);
  channel.answer = () => ({ type: 'done', revision: 1 });
  const calls = () => [
    kv.put('a', '1'),
    kv.delete('a'),
    kv.touch('a', { ttlMs: 1 }),
    kv.batch([]),
    kv.txn({ then: [] }),
  ];
  for (const call of calls()) assert.is((await failure(call)).code, 'PROTOCOL');
  channel.answer = () => ({ type: 'failed', revision: 1, code: 'NO_SPACE', message: 'full' });
  for (const call of calls()) assert.is((await failure(call)).code, 'NO_SPACE');
});

test('closing closes the channel once, for all forms of the store', async () => {
  const channel = new DirectChannel();
  const kv = openStore(channel);
  {
    await using typed = kv.withCodec(stringCodec);
    await typed.put('a', 'b');
  }
  await kv.close();
  assert.is(channel.closed, 1);
  assert.is((await failure(kv.put('a', 'b'))).code, 'CLOSED');
  assert.is((await failure(all(kv.watch()))).code, 'CLOSED');
});

test('writes share a session, number themselves, and say which are answered', async () => {
  const channel = new DirectChannel(true);
  const kv = openStore(channel);
  await Promise.all([kv.put('a', '1'), kv.put('b', '2'), kv.delete('a')]);
  await kv.put('c', '3');
  const ids = channel.commands.flatMap((command) => (command.type === 'write' ? [command.id] : []));
  assert.is(channel.commands.filter(({ type }) => type === 'openSession').length, 1);
  assert.equal(
    ids.map(({ sequence }) => sequence),
    [1, 2, 3, 4],
  );
  assert.is(ids[3]!.acknowledgedBelow, 4);
  await kv.close();
  assert.is(channel.commands.at(-1)!.type, 'closeSession');
});

test('a write under a lost session is sent again under a new one, unless it may have been applied', async () => {
  const channel = new DirectChannel(true);
  const kv = openStore(channel);
  await kv.put('a', '1');
  channel.failures.push(new KvError('SESSION_EXPIRED', 'gone'));
  assert.equal(await kv.put('a', '2'), { revision: 2 });
  channel.failures.push(new KvError('SESSION_EXPIRED', 'gone', { maybeApplied: true }));
  const error = await failure(kv.put('a', '3'));
  assert.is(error.maybeApplied, true);
  assert.is(channel.store.revision, 2);
  for (let i = 0; i < 4; i++) channel.failures.push(new KvError('SESSION_EXPIRED', 'gone'));
  assert.is((await failure(kv.put('a', '4'))).code, 'SESSION_EXPIRED');
  channel.failures.length = 0;
  assert.equal(await kv.put('a', '5'), { revision: 3 });
});

test('a session that cannot be opened fails its writes, and the next write tries again', async () => {
  const channel = new DirectChannel(true);
  const kv = openStore(channel);
  channel.answer = () => ({ type: 'failed', revision: 0, code: 'OVERLOADED', message: 'too many sessions' });
  assert.is((await failure(kv.put('a', '1'))).code, 'OVERLOADED');
  channel.answer = (command) =>
    command.type === 'openSession'
      ? { type: 'session', revision: 0, session: 0 }
      : channel.store.apply(command);
  assert.is((await failure(kv.put('a', '1'))).code, 'PROTOCOL');
  channel.answer = undefined;
  assert.equal(await kv.put('a', '1'), { revision: 1 });
});

test('a full window makes writes wait, and an out-of-order answer does not move it', async () => {
  const session = new WriteSession(async () => 7, 2);
  assert.is(session.tryBegin(), undefined);
  await session.ready();
  const [first, second] = [session.tryBegin()!, session.tryBegin()!];
  assert.is(session.tryBegin(), undefined);
  session.end(second);
  assert.is(session.tryBegin(), undefined);
  const waiting = session.ready();
  session.end(first);
  await waiting;
  assert.equal(session.tryBegin(), { session: 7, sequence: 3, acknowledgedBelow: 3 });
  session.expired(6);
  assert.is(session.id, 7);
  session.expired(7);
  assert.is(session.id, 0);
});

test('waiting ends with the time-out or the signal', async () => {
  const ports = realPorts();
  const never = new Promise<void>(() => {});
  const now = ports.clock.monotonicMs();
  assert.is((await failure(waitUntil(never, now + 5, undefined, ports))).code, 'TIMEOUT');
  assert.is((await failure(waitUntil(never, now + 9e5, AbortSignal.abort(), ports))).code, 'CANCELLED');
  const abort = new AbortController();
  const waiting = waitUntil(never, now + 9e5, abort.signal, ports);
  abort.abort();
  assert.is((await failure(waiting)).code, 'CANCELLED');
  assert.is(
    await waitUntil(Promise.resolve(3), now + 9e5, abort.signal.aborted ? undefined : abort.signal, ports),
    3,
  );
});

test('a prefix names exactly the keys that begin with it, 0xff bytes included', () => {
  const bytes = fc.uint8Array({ maxLength: 4 }).map((list) => list.map((byte) => (byte > 200 ? 0xff : byte)));
  fc.assert(
    fc.property(bytes, bytes, (prefix, key) => {
      const range = rangeOf({ prefix }, 16)!;
      const stored = Uint8Array.of(1, ...key);
      const inside = Buffer.compare(stored, range.start) >= 0 && Buffer.compare(stored, range.end) < 0;
      const begins = key.length >= prefix.length && prefix.every((byte, index) => key[index] === byte);
      assert.is(inside, begins);
    }),
  );
  assert.is(prefixEnd(Uint8Array.of(0xff, 0xff)), undefined);
  assert.equal(keyAfter(Uint8Array.of(1)), Uint8Array.of(1, 0));
  const given = Buffer.from('ab');
  prefixEnd(given);
  assert.is(given.toString(), 'ab', 'the prefix itself is left alone');
});

test.run();
