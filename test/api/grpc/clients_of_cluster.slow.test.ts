/**
 * Clients of etcd as their users have them, unchanged, against three nodes: the npm package `etcd3`, and `curl` at the JSON gateway. They use different nodes, and go on when the leader dies.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { Etcd3, EtcdLockFailedError } from 'etcd3';
import * as assert from 'uvu/assert';
import {
  endAllWithin,
  endWithTest,
  eventually,
  type LocalCluster,
  localBasePort,
  signal,
  startLocal,
  statusOf,
  temporaryDirectory,
} from '../../end_to_end/processes.ts';
import { test } from '../../suite.ts';

let cluster: LocalCluster;
const clients: Etcd3[] = [];
/** Of locks and elections. etcd3 leaves a timer of this length behind where the answer to a keep-alive comes after the release. */
const TTL_SECONDS = 10;
const CURL = ['--silent', '--show-error', '--max-time', '20'];

function connect(...nodes: number[]): Etcd3 {
  const client = new Etcd3({ hosts: nodes.map((node) => `http://${cluster.endpoints[node]}`) });
  clients.push(client);
  return client;
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const plain = (text: string): string => Buffer.from(text, 'base64').toString();

interface Curled {
  readonly [name: string]: unknown;
  readonly header?: { readonly revision: string };
  readonly kvs?: readonly { readonly key: string; readonly value: string }[];
  readonly error?: string;
  readonly code?: number;
}

function curl(path: string, body: object | undefined, headers: readonly string[] = [], node = 0): Curled {
  const data = body === undefined ? [] : ['--data', JSON.stringify(body)];
  const more = headers.flatMap((header) => ['--header', header]);
  const { status, stdout, stderr } = spawnSync(
    'curl',
    [...CURL, ...data, ...more, `http://${cluster.endpoints[node]}${path}`],
    { encoding: 'utf8' },
  );
  assert.is(status, 0, `curl ${path}: ${stderr}`);
  return JSON.parse(stdout);
}

test('etcd3: keys, ranges, transactions, watches and leases over different nodes', async () => {
  cluster = await startLocal(3, temporaryDirectory(), await localBasePort(3));
  const [one, other] = [connect(0), connect(1, 2)];
  // The lines of the README.
  await one.put('greeting').value('hello');
  const lease = one.lease(30);
  const kept = once(lease, 'keepaliveSucceeded');
  await lease.put('service/1').value('10.0.0.1');
  assert.is(await other.get('greeting').string(), 'hello');
  assert.equal(await other.getAll().prefix('service/').strings(), { 'service/1': '10.0.0.1' });
  const watcher = await other.watch().prefix('w/').create();
  const seen: string[] = [];
  watcher.on('put', ({ key, value }) => void seen.push(`${key}=${value}`));
  watcher.on('delete', ({ key }) => void seen.push(`${key} gone`));
  const { succeeded } = await one
    .if('greeting', 'Value', '==', 'hello')
    .then(one.put('w/a').value('1'), one.put('w/b').value('2'))
    .else(one.get('greeting'))
    .commit();
  assert.is(succeeded, true);
  await one.delete().key('w/a');
  await eventually('all events', () => (seen.length === 3 ? true : undefined));
  assert.equal(seen, ['w/a=1', 'w/b=2', 'w/a gone']);
  await watcher.cancel();
  await kept;
  await lease.revoke();
  assert.is(await other.get('service/1').string(), null);
});

test('etcd3: a lock excludes, an election has one leader', async () => {
  const [one, other] = [connect(0), connect(2)];
  const held = one.lock('resource').ttl(TTL_SECONDS);
  await held.acquire();
  const refused = await other
    .lock('resource')
    .ttl(TTL_SECONDS)
    .acquire()
    .catch((error: Error) => error);
  assert.instance(refused, EtcdLockFailedError);
  await held.release();
  const later = other.lock('resource').ttl(TTL_SECONDS);
  await later.acquire();
  await later.release();
  const election = one.election('post', TTL_SECONDS);
  const campaign = election.campaign('one');
  await new Promise((resolve, reject) => {
    campaign.on('elected', () => resolve(undefined));
    campaign.on('error', reject);
  });
  assert.is(await other.election('post', TTL_SECONDS).leader(), 'one');
  await campaign.resign();
});

test('curl: the JSON gateway, with bytes as base64 and numbers as texts', async () => {
  const put = curl('/v3/kv/put', { key: base64('json'), value: base64('1') });
  assert.match(put.header!.revision, /^\d+$/);
  const [kv] = curl('/v3/kv/range', { key: base64('json') }, [], 1).kvs!;
  assert.equal([plain(kv!.key), plain(kv!.value)], ['json', '1']);
  const txn = curl('/v3/kv/txn', {
    compare: [{ key: base64('json'), target: 'VALUE', result: 'EQUAL', value: base64('1') }],
    success: [{ request_put: { key: base64('json'), value: base64('2') } }],
  });
  assert.is(txn['succeeded'], true);
  const { ID } = curl('/v3/lease/grant', { TTL: '60' });
  assert.type(ID, 'string');
  curl('/v3/kv/put', { key: base64('leased'), lease: ID });
  assert.is(curl('/v3/lease/timetolive', { ID, keys: true }, [], 2)['grantedTTL'], '60');
  curl('/v3/lease/revoke', { ID });
  assert.is(curl('/v3/kv/range', { key: base64('leased') })['kvs'], undefined);
  const wrong = curl('/v3/kv/range', {});
  assert.equal([wrong.error, wrong.code], ['etcdserver: key is not provided', 3]);
  assert.is(curl('/health', undefined)['health'], 'true');
  assert.type(curl('/version', undefined)['etcdserver'], 'string');
  const { stdout } = spawnSync('curl', [...CURL, `http://${cluster.endpoints[0]}/metrics`], {
    encoding: 'utf8',
  });
  assert.match(stdout, /^# TYPE \w+ \w+$/m);
});

test('curl: a watch is a stream of JSON', async () => {
  const body = JSON.stringify({ create_request: { key: base64('stream') } });
  const url = `http://${cluster.endpoints[1]}/v3/watch`;
  const child = spawn('curl', ['--silent', '--no-buffer', '--data', body, url], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  endWithTest(child.pid!);
  let out = '';
  child.stdout.on('data', (part: Buffer) => {
    out += part.toString();
  });
  await eventually('created', () => (out.includes('"created":true') ? true : undefined));
  curl('/v3/kv/put', { key: base64('stream'), value: base64('came') });
  await eventually('the event', () => (out.includes(base64('came')) ? true : undefined));
  for (const line of out.trim().split('\n')) assert.ok(JSON.parse(line).result, line);
  child.kill();
});

test('users: etcd3 and curl with tokens', async () => {
  const client = connect(0);
  const root = client.user('root');
  await root.create('secret');
  await client.role('root').create();
  await root.addRole('root');
  await client.auth.authEnable();
  const asRoot = new Etcd3({
    hosts: cluster.endpoints.map((endpoint) => `http://${endpoint}`),
    auth: { username: 'root', password: 'secret' },
  });
  clients.push(asRoot);
  assert.is(await asRoot.get('greeting').string(), 'hello');
  assert.is(curl('/v3/kv/range', { key: base64('greeting') }).error, 'etcdserver: user name is empty');
  const { token } = curl('/v3/auth/authenticate', { name: 'root', password: 'secret' });
  const authorization = [`Authorization: ${token}`];
  // A token counts at every node.
  const { kvs } = curl('/v3/kv/range', { key: base64('greeting') }, authorization, 2);
  assert.is(plain(kvs![0]!.value), 'hello');
  await asRoot.auth.authDisable();
});

test('the leader dies: etcd3 goes on with the others', async () => {
  const client = connect(0, 1, 2);
  await client.put('before').value('1');
  const nodes = await statusOf(cluster.endpoints);
  for (const { pid } of nodes) endWithTest(pid);
  signal(nodes.find(({ role }) => role === 'leader')!.pid, 'SIGKILL');
  await eventually('a write through who is left', async () => {
    await client.put('after').value('2');
    return true;
  });
  assert.is(await client.get('before').string(), '1');
  assert.is(await client.get('after').string(), '2');
});

test.after(async () => {
  for (const client of clients) client.close();
  await endAllWithin(TTL_SECONDS * 1_000 + 3_000);
});

test.run();
