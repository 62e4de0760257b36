/** etcd's services Lock and Election on a real node, over the JSON gateway and bare gRPC: waiting, cancelling, deadlines, and the words of their errors. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ByteOutput } from '../../../src/api/grpc/byte_output.ts';
import { LockRequest } from '../../../src/api/grpc/messages/lease.ts';
import { connect } from '../../../src/connect.ts';
import { type Server, startServer } from '../../../src/server.ts';
import { until } from '../../node/cluster_lab.ts';
import { test } from '../../suite.ts';

const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

/** What the gateway may answer, as far as it is looked at here. */
interface Message {
  readonly ID: string;
  readonly key: string;
  readonly message: string;
  readonly header: object;
  readonly kvs?: readonly { readonly key: string }[];
  readonly kv: { readonly value: string };
  readonly leases: readonly object[];
  readonly leader: {
    readonly name: string;
    readonly key: string;
    readonly rev: string;
    readonly lease: string;
  };
}

class Client {
  readonly #base: string;

  constructor(server: Server) {
    this.#base = `http://${server.etcdAddress}/v3/`;
  }

  async post(
    path: string,
    message: object,
    signal?: AbortSignal,
  ): Promise<{ readonly status: number; readonly body: Message }> {
    const init: RequestInit = { method: 'POST', body: JSON.stringify(message) };
    const answer = await fetch(this.#base + path, signal === undefined ? init : { ...init, signal });
    return { status: answer.status, body: (await answer.json()) as Message };
  }

  async lease(seconds: number): Promise<string> {
    return (await this.post('lease/grant', { TTL: String(seconds) })).body.ID;
  }

  /** Until the signal aborts, which throws. */
  async observe(name: string, signal: AbortSignal, take: (value: string) => void): Promise<void> {
    const init = { method: 'POST', body: JSON.stringify({ name }), signal };
    const answer = await fetch(`${this.#base}election/observe`, init);
    const decoder = new TextDecoder();
    for await (const part of answer.body ?? []) {
      for (const line of decoder.decode(part).trim().split('\n')) {
        const { result } = JSON.parse(line) as { result: Message };
        take(text(result.kv.value));
      }
    }
  }

  async keys(prefix: string): Promise<string[]> {
    const end = `${prefix.slice(0, -1)}${String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1)}`;
    const { body } = await this.post('kv/range', { key: b64(prefix), range_end: b64(end), keys_only: true });
    return (body.kvs ?? []).map(({ key }) => text(key));
  }
}

const b64 = (plain: string): string => Buffer.from(plain).toString('base64');
const text = (encoded: string | undefined): string => Buffer.from(encoded ?? '', 'base64').toString();
const hex = (lease: string): string => BigInt(lease).toString(16);

async function withServer(run: (client: Client, server: Server) => Promise<void>): Promise<void> {
  const path = mkdtempSync(join(tmpdir(), 'kvorum-locks-'));
  const door = { clientListen: '127.0.0.1:0', peerListen: '127.0.0.1:0', etcdListen: '127.0.0.1:0' };
  const config = { door, storage: { durability: 'os' as const }, limits: { minLeaseTtlMs: 1_000 } };
  const server = await startServer({ path, logger: silent, config });
  try {
    await server.whenLed(10_000);
    await run(new Client(server), server);
  } finally {
    await server.stop();
    rmSync(path, { recursive: true });
  }
}

async function pending(promise: Promise<unknown>): Promise<boolean> {
  const waited = new Promise<'waits'>((resolve) => setTimeout(() => resolve('waits'), 100));
  return (await Promise.race([promise, waited])) === 'waits';
}

test('a lock is had by one at a time, also against the client of this store', async () => {
  await withServer(async (client, server) => {
    const first = await client.lease(60);
    const second = await client.lease(60);
    const had = await client.post('lock/lock', { name: b64('job'), lease: first });
    assert.is(text(had.body.key), `job/${hex(first)}`);
    assert.ok(had.body.header);
    const again = await client.post('lock/lock', { name: b64('job'), lease: first });
    assert.is(again.body.key, had.body.key, 'the same lease has it already');
    const waiting = client.post('lock/lock', { name: b64('job'), lease: second });
    await until(async () => (await client.keys('job/')).length === 2, 'a place in the line');
    assert.ok(await pending(waiting));
    const store = await connect({ endpoints: [server.clientAddress] });
    const ours = store.lock('job');
    await until(async () => (await client.keys('job/')).length === 3, 'our place in the line');
    assert.is((await client.post('lock/unlock', { key: had.body.key })).status, 200);
    const next = await waiting;
    assert.is(text(next.body.key), `job/${hex(second)}`);
    assert.ok(await pending(ours));
    await client.post('lock/unlock', { key: next.body.key });
    const lock = await ours;
    const blocked = client.post('lock/lock', { name: b64('job'), lease: first });
    assert.ok(await pending(blocked));
    await lock.release();
    assert.is((await blocked).status, 200);
    await store.close();
  });
});

test('without a lease the server takes one; an unknown one is named, and an empty key of an unlock', async () => {
  await withServer(async (client) => {
    const had = await client.post('lock/lock', { name: b64('own') });
    assert.match(text(had.body.key), /^own\/[0-9a-f]+$/);
    assert.is((await client.post('lease/leases', {})).body.leases.length, 1);
    const unknown = await client.post('lock/lock', { name: b64('own'), lease: '4711' });
    assert.is(unknown.status, 404);
    assert.is(unknown.body.message, 'etcdserver: requested lease not found');
    const empty = await client.post('lock/unlock', {});
    assert.is(empty.body.message, 'etcdserver: key is not provided');
  });
});

test('who goes away while waiting leaves no place, and no lease of the server', async () => {
  await withServer(async (client) => {
    const first = await client.lease(60);
    const had = await client.post('lock/lock', { name: b64('job'), lease: first });
    const gone = new AbortController();
    const waiting = client.post('lock/lock', { name: b64('job') }, gone.signal).catch(() => 'gone');
    await until(async () => (await client.keys('job/')).length === 2, 'a place in the line');
    gone.abort();
    assert.is(await waiting, 'gone');
    await until(async () => (await client.keys('job/')).length === 1, 'the place to be left');
    await until(
      async () => (await client.post('lease/leases', {})).body.leases.length === 1,
      'the lease of the server to be revoked',
    );
    // A place whose lease ends while it waits is told so once it is its turn.
    const short = await client.lease(60);
    const late = client.post('lock/lock', { name: b64('job'), lease: short });
    await until(async () => (await client.keys('job/')).length === 2, 'another place');
    await client.post('lease/revoke', { ID: short });
    await client.post('lock/unlock', { key: had.body.key });
    assert.is((await late).body.message, 'mutex: session is expired');
  });
});

test('a deadline ends the wait, and a node that closes does', async () => {
  await withServer(async (client, server) => {
    await client.post('lock/lock', { name: b64('job') });
    const session = connectHttp2(`http://${server.etcdAddress}`);
    session.on('error', () => undefined);
    const out = new ByteOutput();
    LockRequest.encode(out, LockRequest.create({ name: Buffer.from('job') }));
    const message = out.copyFrom(0);
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(message.length, 1);
    const lock = (more: Record<string, string>): Promise<[string, string]> => {
      const headers = {
        ':method': 'POST',
        ':path': '/v3lockpb.Lock/Lock',
        'content-type': 'application/grpc',
      };
      const stream = session.request({ ...headers, ...more });
      stream.end(Buffer.concat([prefix, message]));
      return new Promise((resolve, reject) => {
        const take = (given: Record<string, unknown>): void => {
          if (given['grpc-status'] !== undefined)
            resolve([String(given['grpc-status']), decodeURIComponent(String(given['grpc-message']))]);
        };
        stream.on('response', take).on('trailers', take).on('error', reject).resume();
      });
    };
    assert.equal(await lock({ 'grpc-timeout': '200m' }), ['4', 'context deadline exceeded']);
    await until(async () => (await client.keys('job/')).length === 1, 'the place to be left');
    const closing = lock({});
    await until(async () => (await client.keys('job/')).length === 2, 'a place in the line');
    const stopped = server.stop();
    assert.equal(await closing, ['14', 'etcdserver: server stopped']);
    session.close();
    await stopped;
  });
});

test('an election: campaign, proclaim, leader, observe, resign', async () => {
  await withServer(async (client) => {
    const name = b64('office');
    assert.is((await client.post('election/leader', { name })).body.message, 'election: no leader');
    const stop = new AbortController();
    const seen: string[] = [];
    const observed = client.observe(name, stop.signal, (value) => seen.push(value)).catch(() => undefined);
    const lease = await client.lease(60);
    const { leader } = (await client.post('election/campaign', { name, lease, value: b64('anna') })).body;
    assert.is(text(leader.key), `office/${hex(lease)}`);
    assert.is(text(leader.name), 'office');
    assert.is(leader.lease, lease);
    await until(() => seen.length === 1, 'the first leader');
    const other = await client.lease(60);
    const waiting = client.post('election/campaign', { name, lease: other, value: b64('bert') });
    await until(async () => (await client.keys('office/')).length === 2, 'another candidate');
    await client.post('election/proclaim', { leader, value: b64('anna again') });
    assert.is(text((await client.post('election/leader', { name })).body.kv.value), 'anna again');
    await until(() => seen.length === 2, 'what she says');
    assert.ok(await pending(waiting));
    assert.is((await client.post('election/resign', { leader })).status, 200);
    assert.is((await waiting).status, 200);
    await until(() => seen.length === 3, 'the next leader');
    assert.equal(seen, ['anna', 'anna again', 'bert']);
    const late = { leader, value: b64('late') };
    assert.is((await client.post('election/proclaim', late)).body.message, 'election: not leader');
    const unnamed = await client.post('election/resign', {});
    assert.is(unnamed.body.message, '"leader" field must be provided');
    const forged = { leader: { ...leader, rev: '0', key: b64('nobody') } };
    assert.is((await client.post('election/proclaim', forged)).body.message, 'election: not leader');
    assert.equal(await client.keys('nobody'), []);
    stop.abort();
    await observed;
  });
});

test.run();
