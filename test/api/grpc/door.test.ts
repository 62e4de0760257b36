/**
 * The door for clients of etcd over a service in memory: @grpc/grpc-js and etcd3 as clients, gRPC's own rules with bare HTTP/2, the JSON gateway over both versions of HTTP, and closing.
 */
import { request as httpRequest } from 'node:http';
import { type ClientHttp2Session, connect as connectHttp2, type IncomingHttpHeaders } from 'node:http2';
import { connect as connectTcp } from 'node:net';
import { gzipSync } from 'node:zlib';
import { Etcd3 } from 'etcd3';
import * as assert from 'uvu/assert';
import { ByteOutput } from '../../../src/api/grpc/byte_output.ts';
import { EtcdDoor } from '../../../src/api/grpc/door.ts';
import { http1Server } from '../../../src/api/grpc/gateway/http1.ts';
import {
  DeleteRangeRequest,
  PutRequest,
  RangeRequest,
  RangeResponse,
} from '../../../src/api/grpc/messages/kv.ts';
import { WatchCreateRequest, WatchRequest, WatchResponse } from '../../../src/api/grpc/messages/watch.ts';
import type { MessageType } from '../../../src/api/grpc/protobuf/message_type.ts';
import { parseConfig } from '../../../src/config.ts';
import { realPorts } from '../../../src/real_ports.ts';
import { test } from '../../suite.ts';
import { FakeService } from '../fake_service.ts';
import { SOME_ALARM } from '../fake_upkeep.ts';

interface Served {
  readonly service: FakeService;
  readonly door: EtcdDoor;
  readonly address: string;
  readonly problems: unknown[];
}

async function serve(config: object = {}): Promise<Served> {
  const service = new FakeService();
  const { door: doorConfig, limits } = parseConfig(config);
  const problems: unknown[] = [];
  const door = new EtcdDoor({
    service,
    config: doorConfig,
    limits,
    ports: realPorts(),
    http1: http1Server,
    closeTimeoutMs: 1_000,
    handshakeTimeoutMs: 500,
    log: (message, details) => problems.push(message, details),
  });
  const address = await door.listen('127.0.0.1:0');
  return { service, door, address, problems };
}

function bytesOf<T extends object>(type: MessageType<T>, message: Partial<T>, compressed = false): Buffer {
  const out = new ByteOutput();
  type.encode(out, type.create(message));
  const body = compressed ? gzipSync(out.view()) : out.copyFrom(0);
  const prefix = Buffer.alloc(5);
  prefix[0] = compressed ? 1 : 0;
  prefix.writeUInt32BE(body.length, 1);
  return Buffer.concat([prefix, body]);
}

interface Outcome {
  readonly headers: IncomingHttpHeaders;
  readonly status: string;
  readonly message: string;
  readonly body: Buffer;
}

function call(
  session: ClientHttp2Session,
  path: string,
  body: Uint8Array | undefined,
  more: Record<string, string> = {},
): Promise<Outcome> {
  const headers = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' };
  const stream = session.request({ ...headers, ...more });
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let first: IncomingHttpHeaders = {};
    let last: IncomingHttpHeaders = {};
    stream.on('response', (given) => {
      first = given;
      if (given['grpc-status'] !== undefined) last = given;
    });
    stream.on('trailers', (given) => {
      last = given;
    });
    stream.on('data', (part: Buffer) => parts.push(part));
    stream.on('error', reject);
    stream.on('end', () =>
      resolve({
        headers: first,
        status: String(last['grpc-status']),
        message: decodeURIComponent(String(last['grpc-message'] ?? '')),
        body: Buffer.concat(parts),
      }),
    );
    stream.end(body);
  });
}

const text = (value: string): Buffer => Buffer.from(value);
const PUT = '/etcdserverpb.KV/Put';
const RANGE = '/etcdserverpb.KV/Range';
const DELETE = '/etcdserverpb.KV/DeleteRange';

test('etcd3, a client of others: put, get, ranges, deletes, watches', async () => {
  const { door, address, service } = await serve();
  const client = new Etcd3({ hosts: `http://${address}` });
  await client.put('a/1').value('one');
  await client.put('a/2').value('two');
  await client.put('b').value('other');
  assert.is(await client.get('a/1').string(), 'one');
  assert.is(await client.get('nothing').string(), null);
  assert.equal(await client.getAll().prefix('a/').strings(), { 'a/1': 'one', 'a/2': 'two' });
  assert.equal(await client.getAll().keys(), ['a/1', 'a/2', 'b']);
  const watcher = await client.watch().prefix('a/').create();
  const seen: string[] = [];
  const both = new Promise<void>((resolve) => {
    watcher.on('put', ({ key, value }) => void seen.push(`put ${key} ${value}`));
    watcher.on('delete', ({ key }) => {
      seen.push(`delete ${key}`);
      resolve();
    });
  });
  await client.put('a/3').value('three');
  await client.put('b').value('unseen');
  const { deleted } = await client.delete().key('a/3');
  assert.is(Number(deleted), 1);
  await both;
  assert.equal(seen, ['put a/3 three', 'delete a/3']);
  await watcher.cancel();
  assert.is(Number((await client.delete().prefix('a/')).deleted), 2);
  while (service.store.watcherCount > 0) await new Promise((done) => setImmediate(done));
  client.close();
  await door.close();
});

test('a call by hand: what is answered, field by field', async () => {
  const { door, address } = await serve();
  const session = connectHttp2(`http://${address}`);
  const put = await call(session, PUT, bytesOf(PutRequest, { key: text('k'), value: text('v') }));
  assert.is(put.headers[':status'], 200);
  assert.is(put.headers['content-type'], 'application/grpc');
  assert.is(put.status, '0');
  const got = await call(session, RANGE, bytesOf(RangeRequest, { key: text('k') }));
  const answer = RangeResponse.decode(got.body.subarray(5));
  assert.is(answer.header?.cluster_id, 12345678901234567890n);
  assert.is(answer.header?.member_id, 1n);
  assert.is(answer.header?.raft_term, 3);
  assert.is(answer.header?.revision, 1);
  assert.is(answer.count, 1);
  assert.is(Buffer.from(answer.kvs[0]!.value).toString(), 'v');
  session.close();
  await door.close();
});

test("etcd's errors, with their codes and words", async () => {
  const { door, address, service } = await serve();
  const session = connectHttp2(`http://${address}`);
  const expectations: readonly (readonly [string, Buffer, string, string])[] = [
    [PUT, bytesOf(PutRequest, {}), '3', 'etcdserver: key is not provided'],
    [RANGE, bytesOf(RangeRequest, {}), '3', 'etcdserver: key is not provided'],
    [DELETE, bytesOf(DeleteRangeRequest, {}), '3', 'etcdserver: key is not provided'],
    [
      PUT,
      bytesOf(PutRequest, { key: text('k'), value: text('v'), ignore_value: true }),
      '3',
      'etcdserver: value is provided',
    ],
    [
      PUT,
      bytesOf(PutRequest, { key: text('k'), lease: 5n, ignore_lease: true }),
      '3',
      'etcdserver: lease is provided',
    ],
    [RANGE, bytesOf(RangeRequest, { key: text('k'), sort_order: 7 }), '3', 'etcdserver: invalid sort option'],
    [
      '/etcdserverpb.KV/Nothing',
      bytesOf(PutRequest, {}),
      '12',
      'unknown method Nothing for service etcdserverpb.KV',
    ],
    ['/nobody', Buffer.alloc(0), '12', 'unknown method  for service nobody'],
    [
      '/etcdserverpb.Cluster/MemberRemove',
      Buffer.from('0000000000', 'hex'),
      '5',
      'etcdserver: member not found',
    ],
  ];
  for (const [path, body, status, message] of expectations) {
    const outcome = await call(session, path, body);
    assert.equal([outcome.status, outcome.message], [status, message]);
  }
  service.store.leader = 0;
  const cut = await call(session, RANGE, bytesOf(RangeRequest, { key: text('k') }), { hasleader: 'true' });
  assert.equal([cut.status, cut.message], ['14', 'etcdserver: no leader']);
  const watching = await call(session, '/etcdserverpb.Watch/Watch', undefined, { hasleader: 'true' });
  assert.is(watching.message, 'etcdserver: no leader');
  session.close();
  await door.close();
});

test("gRPC's rules: compression, prefixes, lengths, time-outs, one message a call", async () => {
  const { door, address, service } = await serve({
    limits: { maxCommandBytes: 70_000, maxValueBytes: 1_000, maxKeyBytes: 1_000 },
  });
  const session = connectHttp2(`http://${address}`);
  const range = bytesOf(RangeRequest, { key: text('k') });
  const zipped = bytesOf(RangeRequest, { key: text('k') }, true);
  assert.is((await call(session, RANGE, zipped, { 'grpc-encoding': 'gzip' })).status, '0');
  const deflate = await call(session, RANGE, zipped, { 'grpc-encoding': 'deflate' });
  assert.is(deflate.status, '12');
  assert.is(deflate.headers['grpc-accept-encoding'], 'identity,gzip');
  const outcomes: readonly (readonly [string, Buffer, Record<string, string>])[] = [
    ['13', zipped, {}],
    ['13', Buffer.alloc(0), {}],
    ['13', range.subarray(0, 6), {}],
    ['13', Buffer.concat([range, range]), {}],
    ['13', Buffer.from('0000000002ffff', 'hex'), {}],
    ['13', range, { 'grpc-timeout': 'soon' }],
    ['8', bytesOf(PutRequest, { key: text('k'), value: Buffer.alloc(700_000) }), {}],
  ];
  for (const [status, body, headers] of outcomes) {
    assert.is((await call(session, RANGE, body, headers)).status, status, body.toString('hex', 0, 20));
  }
  await call(session, PUT, bytesOf(PutRequest, { key: text('k') }), { 'grpc-timeout': '1500m' });
  assert.is(service.lastTimeoutMs, 1_500);
  const other = await call(session, RANGE, range, { 'content-type': 'text/html' });
  assert.is(other.headers[':status'], 404);
  session.close();
  await door.close();
});

/** A stream of watches by hand. */
class WatchClient {
  readonly responses: WatchResponse[] = [];
  status: string | undefined;
  readonly #stream: ReturnType<ClientHttp2Session['request']>;
  #rest: Buffer = Buffer.alloc(0);
  #wake: (() => void) | undefined;

  constructor(session: ClientHttp2Session, more: Record<string, string> = {}) {
    const headers = {
      ':method': 'POST',
      ':path': '/etcdserverpb.Watch/Watch',
      'content-type': 'application/grpc',
    };
    this.#stream = session.request({ ...headers, ...more });
    this.#stream.on('data', (part: Buffer) => {
      this.#rest = Buffer.concat([this.#rest, part]);
      while (this.#rest.length >= 5 && this.#rest.length >= 5 + this.#rest.readUInt32BE(1)) {
        const end = 5 + this.#rest.readUInt32BE(1);
        this.responses.push(WatchResponse.decode(this.#rest.subarray(5, end)));
        this.#rest = this.#rest.subarray(end);
      }
      this.#wake?.();
    });
    this.#stream.on('trailers', (given) => {
      this.status = String(given['grpc-status']);
      this.#wake?.();
    });
    this.#stream.on('error', () => undefined);
  }

  send(request: Partial<WatchRequest>): this {
    this.#stream.write(bytesOf(WatchRequest, request));
    return this;
  }

  create(request: Partial<WatchCreateRequest>): this {
    return this.send({ create_request: WatchCreateRequest.create(request) });
  }

  async next(): Promise<WatchResponse> {
    while (this.responses.length === 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.responses.shift()!;
  }

  async ended(): Promise<string> {
    while (this.status === undefined) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.status;
  }

  cancel(): void {
    this.#stream.close();
  }
}

function shown({ events }: WatchResponse): string[] {
  return events.map(({ type, kv, prev_kv: before }) => {
    const value = type === 0 ? `=${Buffer.from(kv!.value)}` : ' gone';
    return `${Buffer.from(kv!.key)}${value}${before === undefined ? '' : ` was ${Buffer.from(before.value)}`}`;
  });
}

test('watches: created first, in order; ids; filters; prev_kv; cancel; progress', async () => {
  const { door, address, service } = await serve();
  const session = connectHttp2(`http://${address}`);
  const put = (key: string, value: string) =>
    call(session, PUT, bytesOf(PutRequest, { key: text(key), value: text(value) }));
  await put('a', '1');
  const client = new WatchClient(session);
  client.create({ key: text('a'), start_revision: 1 });
  client.create({ key: text('a'), range_end: text('c'), prev_kv: true, watch_id: 7, filters: [0] });
  client.create({ key: text('x'), watch_id: 7 });
  client.create({ key: text('z'), range_end: text('b'), watch_id: 7 });
  client.create({ key: text('a'), start_revision: -1 });
  const first = await client.next();
  assert.equal([first.watch_id, first.created, first.events.length], [0, true, 0]);
  const created: WatchResponse[] = [];
  let history: WatchResponse | undefined;
  while (created.length < 4) {
    const response = await client.next();
    if (response.created) created.push(response);
    else history = response;
  }
  history ??= await client.next();
  assert.equal([history.watch_id, shown(history)], [0, ['a=1']]);
  assert.equal(
    created.map(({ watch_id, canceled, cancel_reason }) => [watch_id, canceled, cancel_reason]),
    [
      [7, false, ''],
      [-1, true, 'mvcc: duplicate watch ID provided on the WatchStream'],
      [-1, true, 'mvcc: watcher range is empty'],
      [-1, true, 'etcdserver: mvcc: required revision has been compacted'],
    ],
  );
  client.create({ key: text('none') });
  assert.is((await client.next()).watch_id, 1, 'watches that were refused took no id');
  await put('a', '2');
  assert.equal(shown(await client.next()), ['a=2']);
  await call(session, DELETE, bytesOf(DeleteRangeRequest, { key: text('a') }));
  const gone = [await client.next(), await client.next()].sort((a, b) => a.watch_id - b.watch_id);
  assert.equal(gone.map(shown), [['a gone'], ['a gone was 2']]);
  assert.is(gone[0]!.events[0]!.kv!.mod_revision, 3);
  assert.is(gone[0]!.header?.revision, 3);
  client.send({ progress_request: {} });
  const progress = await client.next();
  assert.equal([progress.watch_id, progress.header?.revision, progress.events.length], [-1, 3, 0]);
  client.send({ cancel_request: { watch_id: 7 } });
  const canceled = await client.next();
  assert.equal([canceled.watch_id, canceled.canceled, canceled.cancel_reason], [7, true, '']);
  assert.is(service.store.watcherCount, 2);
  client.cancel();
  while (service.store.watcherCount > 0) await new Promise((done) => setImmediate(done));
  session.close();
  await door.close();
});

test('a watch from a compacted revision is created, then canceled with the oldest one there is', async () => {
  const { door, address, service } = await serve();
  const session = connectHttp2(`http://${address}`);
  service.store.compactRevision = 5;
  service.store.revision = 9;
  const client = new WatchClient(session).create({ key: text('a'), start_revision: 2 });
  assert.is((await client.next()).created, true);
  const canceled = await client.next();
  assert.equal([canceled.canceled, canceled.cancel_reason], [true, '']);
  assert.is(canceled.compact_revision, 6, 'the first that can be watched from');
  client.cancel();
  session.close();
  await door.close();
});

test('a revision with many events comes in fragments where the client takes them, else whole', async () => {
  const { door, address, service } = await serve();
  const session = connectHttp2(`http://${address}`);
  for (let i = 0; i < 3; i++) {
    await call(
      session,
      PUT,
      bytesOf(PutRequest, { key: text(`a${i}`), value: Buffer.alloc(1_500_000, 97 + i) }),
    );
  }
  const whole = new WatchClient(session).create({ key: text('a'), range_end: text('b'), prev_kv: true });
  const parts = new WatchClient(session).create({
    key: text('a'),
    range_end: text('b'),
    prev_kv: true,
    fragment: true,
  });
  await whole.next();
  await parts.next();
  await call(session, DELETE, bytesOf(DeleteRangeRequest, { key: text('a'), range_end: text('b') }));
  assert.is((await whole.next()).events.length, 3);
  const got = [await parts.next(), await parts.next(), await parts.next()];
  assert.equal(
    got.map(({ fragment, events }) => [fragment, events.length]),
    [
      [true, 1],
      [true, 1],
      [false, 1],
    ],
  );
  assert.is(service.store.watcherCount, 2);
  session.destroy();
  await door.close();
});

interface HttpResult {
  readonly status: number;
  readonly body: string;
}

function http(address: string, method: string, path: string, body?: string): Promise<HttpResult> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(`http://${address}${path}`, { method }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(parts).toString() }),
      );
    });
    request.on('error', reject);
    request.end(body);
  });
}

test('the JSON gateway: puts and ranges, errors, other pages', async () => {
  const { door, address } = await serve();
  const key = text('foo').toString('base64');
  const put = await http(
    address,
    'POST',
    '/v3/kv/put',
    JSON.stringify({ key, value: text('bar').toString('base64') }),
  );
  assert.equal(JSON.parse(put.body), {
    header: { cluster_id: '12345678901234567890', member_id: '1', revision: '1', raft_term: '3' },
  });
  const range = await http(address, 'POST', '/v3beta/kv/range', JSON.stringify({ key }));
  assert.equal(JSON.parse(range.body).kvs, [
    { key, create_revision: '1', mod_revision: '1', version: '1', value: 'YmFy' },
  ]);
  const failures: readonly (readonly [string, string, string | undefined, number])[] = [
    ['POST', '/v3/kv/range', '{}', 400],
    ['POST', '/v3/kv/range', '', 400],
    ['POST', '/v3/kv/range', 'no json', 400],
    ['POST', '/v3/kv/range', '[]', 400],
    ['POST', '/v3/kv/range', '{"nobody":1}', 400],
    ['POST', '/v3/nothing', '{}', 404],
    ['GET', '/v3/kv/range', undefined, 405],
    ['GET', '/', undefined, 404],
    ['POST', '/v3/maintenance/downgrade', '{}', 501],
  ];
  for (const [method, path, body, status] of failures) {
    assert.is((await http(address, method, path, body)).status, status, `${method} ${path} ${body}`);
  }
  const refused = await http(address, 'POST', '/v3/kv/range', '{}');
  const words = 'etcdserver: key is not provided';
  assert.equal(JSON.parse(refused.body), { error: words, message: words, code: 3 });
  assert.equal(JSON.parse((await http(address, 'GET', '/health?serializable=true')).body), {
    health: 'true',
  });
  assert.is(JSON.parse((await http(address, 'GET', '/version')).body).etcdserver, '3.5.0');
  const metrics = (await http(address, 'GET', '/metrics')).body;
  assert.match(metrics, /\nkvorum_raft_term 3\n/);
  assert.match(metrics, /\n# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes \d+\n/);
  await door.close();
});

test('the gateway says when the node is not well', async () => {
  const { door, address, service } = await serve();
  service.store.leader = 0;
  const sick = async (): Promise<void> => {
    const { status, body } = await http(address, 'GET', '/health');
    assert.equal([status, body], [503, '{"health":"false"}']);
  };
  await sick();
  service.store.leader = 1;
  assert.is((await http(address, 'GET', '/health')).status, 200);
  service.store.alarms = [SOME_ALARM];
  await sick();
  const status = await http(address, 'POST', '/v3/maintenance/status', '{}');
  assert.equal(JSON.parse(status.body).errors, ['memberID:2 alarm:NOSPACE ']);
  await door.close();
});

test('a watch through the gateway: a line an answer, ended by closing the door', async () => {
  const { door, address, service } = await serve();
  const key = text('w').toString('base64');
  const lines: string[] = [];
  let wake: (() => void) | undefined;
  const ended = new Promise<void>((resolve, reject) => {
    const request = httpRequest(`http://${address}/v3/watch`, { method: 'POST' }, (response) => {
      response.on('data', (part: Buffer) => {
        lines.push(...part.toString().trim().split('\n'));
        wake?.();
      });
      response.on('end', resolve);
    });
    request.on('error', reject);
    request.end(JSON.stringify({ create_request: { key } }));
  });
  const line = async (): Promise<string> => {
    while (lines.length === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return lines.shift()!;
  };
  assert.is(JSON.parse(await line()).result.created, true);
  await http(address, 'POST', '/v3/kv/put', JSON.stringify({ key, value: 'YQ==' }));
  assert.equal(JSON.parse(await line()).result.events, [
    { kv: { key, create_revision: '1', mod_revision: '1', version: '1', value: 'YQ==' } },
  ]);
  const closing = door.close();
  assert.equal(JSON.parse(await line()).error.message, 'etcdserver: server stopped');
  await ended;
  await closing;
  assert.is(service.store.watcherCount, 0);
});

test('JSON over HTTP/2, too', async () => {
  const { door, address } = await serve();
  const session = connectHttp2(`http://${address}`);
  const body = Buffer.from(JSON.stringify({ key: 'YQ==', value: 'Yg==' }));
  const put = await call(session, '/v3/kv/put', body, { 'content-type': 'application/json' });
  assert.is(put.headers[':status'], 200);
  assert.is(JSON.parse(put.body.toString()).header.revision, '1');
  const version = await call(session, '/version', undefined, { ':method': 'GET', 'content-type': 'x' });
  assert.is(JSON.parse(version.body.toString()).etcdcluster, '3.5.0');
  session.close();
  await door.close();
});

test('connections past the bound, silent ones and ones that speak something else are closed; others are served', async () => {
  const { door, address } = await serve({ door: { maxConnections: 2 } });
  const [host, port] = address.split(':') as [string, string];
  const silent = connectTcp(Number(port), host);
  const odd = connectTcp(Number(port), host);
  const gone = (socket: typeof silent): Promise<unknown> =>
    new Promise((resolve) => {
      socket.on('close', resolve);
      socket.on('error', () => undefined);
      socket.resume();
    });
  const both = [gone(silent), gone(odd)];
  while (door.connections < 2) await new Promise((done) => setImmediate(done));
  await gone(connectTcp(Number(port), host));
  odd.write('\0\0\0\0 what is this');
  await Promise.all(both);
  assert.is((await http(address, 'GET', '/health')).status, 200);
  await door.close();
});

test('health: by name and for the whole, and watched', async () => {
  const { door, address, service } = await serve();
  const session = connectHttp2(`http://${address}`);
  const check = (name: string): Promise<Outcome> => {
    const body =
      name === '' ? Buffer.alloc(0) : Buffer.concat([Buffer.from([0x0a, name.length]), text(name)]);
    const prefix = Buffer.from([0, 0, 0, 0, body.length]);
    return call(session, '/grpc.health.v1.Health/Check', Buffer.concat([prefix, body]));
  };
  assert.equal([...(await check('')).body.subarray(5)], [8, 1]);
  assert.equal([...(await check('etcdserverpb.KV')).body.subarray(5)], [8, 1]);
  assert.is((await check('nobody')).status, '5');
  service.store.leader = 0;
  assert.equal([...(await check('')).body.subarray(5)], [8, 2]);
  session.close();
  await door.close();
});

test('closing: a call under way is answered, a watch is told, new connections are refused', async () => {
  const { door, address, service } = await serve();
  const session = connectHttp2(`http://${address}`);
  const watcher = new WatchClient(session).create({ key: text('a') });
  await watcher.next();
  let release: (() => void) | undefined;
  service.before = (name) =>
    name === 'write'
      ? new Promise((resolve) => {
          release = resolve;
        })
      : undefined;
  const put = call(session, PUT, bytesOf(PutRequest, { key: text('k') }));
  while (release === undefined) await new Promise((done) => setImmediate(done));
  const closing = door.close();
  assert.is(await watcher.ended(), '14');
  release();
  assert.is((await put).status, '0');
  await closing;
  await new Promise((resolve) => connectHttp2(`http://${address}`).on('error', resolve));
});

test('an error of ours ends the call, is logged, and costs nobody else', async () => {
  const { door, address, service, problems } = await serve();
  const session = connectHttp2(`http://${address}`);
  service.before = () => Promise.reject(new TypeError('a mistake'));
  const outcome = await call(session, PUT, bytesOf(PutRequest, { key: text('k') }));
  assert.equal([outcome.status, outcome.message], ['13', 'internal error']);
  assert.is(problems.length, 2);
  service.before = () => undefined;
  assert.is((await call(session, PUT, bytesOf(PutRequest, { key: text('k') }))).status, '0');
  session.close();
  await door.close();
});

test.run();
