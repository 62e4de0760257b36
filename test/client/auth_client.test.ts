/** A client with a name: against fake nodes (what is said when), and against a real server (that it is enough). */
import * as fs from 'node:fs/promises';
import * as os from 'node:os';
import * as path from 'node:path';
import * as assert from 'uvu/assert';
import type { ServiceCall } from '../../src/api/pipeline.ts';
import { connectAdmin } from '../../src/client/admin.ts';
import { connectWith } from '../../src/client/connect.ts';
import type { Store } from '../../src/client/store_types.ts';
import { open } from '../../src/embedded.ts';
import { KvError } from '../../src/errors.ts';
import { silentLogger } from '../../src/observability/logger.ts';
import { realPorts } from '../../src/real_ports.ts';
import { startServer } from '../../src/server.ts';
import { codeOf } from '../outcomes.ts';
import { test } from '../suite.ts';
import { type FakeNode, withCluster } from './fake_cluster.ts';

function enable(nodes: readonly FakeNode[]): void {
  for (const { service } of nodes) {
    service.auth.enabled = true;
    service.auth.passwords.set('ann', 'pa');
  }
}

const as = (nodes: readonly FakeNode[], user: string, password: string) =>
  connectWith(
    { endpoints: nodes.map(({ proxy }) => proxy.address), user, password, timeoutMs: 3_000 },
    realPorts(),
  );

test('a client authenticates once, and shows its token to the other nodes', () =>
  withCluster(3, async (nodes, _store, openNameless) => {
    enable(nodes);
    const nameless = await openNameless(500);
    assert.is(await codeOf(() => nameless.get('a')), 'USER_EMPTY');
    const kv = await as(nodes.slice(0, 1), 'ann', 'pa');
    try {
      await kv.put('a', '1');
      while (nodes.some(({ door }) => door.connections() === 0)) await kv.get('a', { level: 'eventual' });
      assert.equal(Buffer.from((await kv.get('a')) ?? ''), Buffer.from('1'));
      assert.equal(
        nodes.map(({ service }) => service.auth.authenticated),
        [1, 0, 0],
      );
    } finally {
      await kv.close();
    }
  }));

test('a wrong password fails at once, and says so', () =>
  withCluster(1, async (nodes) => {
    enable(nodes);
    assert.is(await codeOf(() => as(nodes, 'ann', 'wrong')), 'AUTH_FAILED');
    for (const options of [{ user: 'ann' }, { password: 'x' }, { user: '', password: 'x' }]) {
      const connecting = () => connectWith({ endpoints: ['127.0.0.1:1'], ...options }, realPorts());
      assert.is(await codeOf(connecting), 'INVALID_ARGUMENT');
    }
  }));

test('a client is told to authenticate again, and does, in calls and watches; rights that come to be enforced are no surprise', () =>
  withCluster(1, async (nodes) => {
    const { auth } = (nodes[0] as FakeNode).service;
    const kv = await as(nodes, 'ann', 'pa');
    try {
      await kv.put('a', '1');
      assert.is(auth.authenticated, 0, 'nobody asked');
      enable(nodes);
      await kv.put('a', '2');
      assert.is(auth.authenticated, 1);
      auth.generation++;
      const watch = kv.watch({ key: 'a', fromRevision: 1 })[Symbol.asyncIterator]();
      const seen: string[] = [];
      for (let i = 0; i < 2; i++) {
        const next = await watch.next();
        if (next.done !== true) seen.push(Buffer.from(next.value.value ?? '').toString());
      }
      assert.equal(seen, ['1', '2']);
      await watch.return?.();
      auth.generation++;
      await Promise.all(Array.from({ length: 20 }, (_, i) => kv.put(`k${i}`, '')));
      assert.ok(auth.authenticated <= 4, `${auth.authenticated} times`);
      auth.generation++;
      auth.passwords.set('ann', 'another');
      assert.is(await codeOf(() => kv.put('a', '3', { timeoutMs: 1_000 })), 'UNAUTHENTICATED');
    } finally {
      await kv.close();
    }
  }));

/** Which nodes refuse calls for want of a name, and which take them, from now on. */
function tellingWhoChecks(nodes: readonly FakeNode[]): { refused: number[]; taken: number[] } {
  const told = { refused: [] as number[], taken: [] as number[] };
  for (const { service } of nodes) {
    const check = service.auth.check.bind(service.auth);
    service.auth.check = (identity) => {
      try {
        check(identity);
      } catch (error) {
        told.refused.push(service.id);
        throw error;
      }
      told.taken.push(service.id);
    };
    service.snapshot = async (options) => {
      service.auth.check(options?.identity);
      const all = {
        sizeBytes: 1,
        chunks: (async function* () {
          yield Uint8Array.of(7);
        })(),
      };
      return { revision: 1, ...all, withTrailer: () => all };
    };
  }
  return told;
}

const namedAtAll = async (kv: Store, nodes: readonly FakeNode[]): Promise<void> => {
  while (nodes.some(({ service }) => !service.calls.includes('get')))
    await kv.get('a', { level: 'eventual' });
};

test('a call, a watch or a snapshot that was refused for want of a name goes on at the same node, once that knows it', () =>
  withCluster(3, async (nodes) => {
    enable(nodes);
    const kv = await as(nodes, 'ann', 'pa');
    try {
      await kv.put('a', '1');
      await namedAtAll(kv, nodes);
      const told = tellingWhoChecks(nodes);
      const asked: Record<string, () => Promise<unknown>> = {
        put: () => kv.put('a', '2'),
        get: () => kv.get('a', { level: 'eventual' }),
        watch: () => kv.watch({ key: 'a', fromRevision: 1 })[Symbol.asyncIterator]().next(),
        snapshot: () => kv.snapshot(),
      };
      for (let round = 0; round < 5; round++) {
        for (const [what, ask] of Object.entries(asked)) {
          for (const { service } of nodes) service.auth.generation++;
          told.refused.length = 0;
          told.taken.length = 0;
          await ask();
          assert.is(told.refused.length, 1, `${what}: refused by ${told.refused}`);
          assert.equal(told.taken, told.refused, what);
          // The others are told as well, before the next round.
          while (new Set(told.taken).size < nodes.length) await kv.get('a', { level: 'eventual' });
        }
      }
    } finally {
      await kv.close();
    }
  }));

test('a node that cannot say who a client is does not hold it up: the call goes on elsewhere', () =>
  withCluster(2, async (nodes) => {
    enable(nodes);
    const kv = await as(nodes, 'ann', 'pa');
    try {
      await kv.put('a', '1');
      await namedAtAll(kv, nodes);
      const told = tellingWhoChecks(nodes);
      const { auth } = (nodes[0] as FakeNode).service;
      let unanswered = 0;
      auth.generation++;
      auth.authenticate = async () => {
        unanswered++;
        throw new KvError('UNAVAILABLE', 'not now');
      };
      await kv.put('a', '2');
      assert.equal([told.refused, told.taken, unanswered], [[1], [2], 1]);
      // One that never says so costs a call no more than its time.
      auth.authenticate = () => new Promise(() => undefined);
      const late = codeOf(() => kv.put('a', '3', { timeoutMs: 300 }));
      assert.is(await late, 'TIMEOUT');
    } finally {
      await kv.close();
    }
  }));

test('users and rights, from a program: on a server, and in this process', async () => {
  const directory = await fs.mkdtemp(path.join(os.tmpdir(), 'kvorum-auth-'));
  const listen = { clientListen: '127.0.0.1:0', peerListen: '127.0.0.1:0' };
  const named = new Set<string>();
  const middleware = [
    {
      begin: ({ operation, identity }: ServiceCall) =>
        void named.add(`${operation} ${identity?.user ?? '-'}`),
    },
  ];
  const server = await startServer({
    path: directory,
    config: { door: listen },
    logger: silentLogger,
    middleware,
  });
  const ports = realPorts();
  const endpoints = [server.clientAddress];
  const opened: { close(): Promise<void> }[] = [];
  const connected = async (user?: string, password?: string) => {
    const kv = await connectWith({ endpoints, user, password, timeoutMs: 10_000 }, ports);
    opened.push(kv);
    return kv;
  };
  try {
    await server.whenLed(10_000);
    const kv = await connected();
    await kv.auth.addUser('root', 'secret');
    await kv.auth.grantRole('root', 'root');
    await kv.auth.addUser('ann', 'pa');
    await kv.auth.addUser('robot', undefined);
    await kv.auth.addRole('app');
    await kv.auth.grant('app', 'readwrite', { prefix: 'app/' });
    await kv.auth.grant('app', 'read', { key: 'motd' });
    await kv.auth.grant('app', 'read', { start: 'x' });
    await kv.auth.revoke('app', { start: 'x' });
    await kv.auth.grantRole('ann', 'app');
    await kv.put('motd', 'hello');
    assert.equal(await kv.auth.status(), { enabled: false, authRevision: 11 });
    assert.is(
      await codeOf(() => kv.auth.grant('app', 'read', { start: 'b', end: 'a' })),
      'INVALID_AUTH_MANAGEMENT',
    );
    assert.is(await codeOf(() => kv.auth.addUser(7 as never, 'x')), 'INVALID_ARGUMENT');
    assert.is(await codeOf(() => kv.auth.addUser('u', 7 as never)), 'INVALID_ARGUMENT');
    await kv.auth.enable();
    assert.is(await codeOf(() => kv.put('app/1', 'x')), 'USER_EMPTY');

    const ann = await connected('ann', 'pa');
    const root = await connected('root', 'secret');
    await ann.put('app/1', 'one');
    assert.equal(Buffer.from((await ann.get('motd')) ?? '').toString(), 'hello');
    assert.is(await codeOf(() => ann.put('motd', 'mine')), 'PERMISSION_DENIED');
    assert.is(await codeOf(() => ann.get('other')), 'PERMISSION_DENIED');
    const keys: string[] = [];
    for await (const { key } of ann.scan({ prefix: 'app/' })) keys.push(Buffer.from(key).toString());
    assert.equal(keys, ['app/1']);
    assert.is(await codeOf(() => ann.scan()[Symbol.asyncIterator]().next()), 'PERMISSION_DENIED');
    assert.equal(await ann.auth.user('ann'), { name: 'ann', roles: ['app'] });
    assert.is(await codeOf(() => ann.auth.users()), 'PERMISSION_DENIED');
    assert.equal(await root.auth.users(), ['ann', 'robot', 'root']);
    assert.equal(await root.auth.roles(), ['app']);
    const { grants } = await root.auth.role('app');
    assert.equal(
      grants.map(({ permission, key, end }) => [
        permission,
        `${Buffer.from(key)}`,
        end && `${Buffer.from(end)}`,
      ]),
      [
        ['readwrite', 'app/', 'app0'],
        ['read', 'motd', undefined],
      ],
    );
    assert.is(
      await codeOf(() => connectWith({ endpoints, user: 'robot', password: '', timeoutMs: 10_000 }, ports)),
      'AUTH_FAILED',
    );

    const watch = ann.watch({ prefix: 'app/' })[Symbol.asyncIterator]();
    const first = watch.next();
    await root.put('app/2', 'two');
    assert.is((await first).done, false);
    const ended = codeOf(() => watch.next());
    await root.auth.revoke('app', { prefix: 'app/' });
    assert.is(await ended, 'PERMISSION_DENIED');

    const admin = connectAdmin({ endpoints, ports, user: 'ann', password: 'pa' });
    assert.is(await codeOf(() => admin.memberRemove(9)), 'PERMISSION_DENIED');
    assert.is((await admin.members()).members.length, 1);
    await admin.close();

    await root.auth.changePassword('ann', 'pb');
    assert.is(await codeOf(() => ann.get('motd', { timeoutMs: 2_000 })), 'UNAUTHENTICATED');
    await root.auth.revokeRole('ann', 'app');
    await root.auth.deleteRole('app');
    await root.auth.deleteUser('ann');
    for (const call of ['write -', 'auth.change root', 'get ann', 'auth.authenticate -', 'watch ann'])
      assert.ok(named.has(call), call);
  } finally {
    await Promise.all(opened.map((kv) => kv.close()));
    await server.stop();
  }
  // What is on its own disk is the process's own.
  const store = await open({ path: directory });
  try {
    assert.equal(await store.auth.users(), ['robot', 'root']);
    await store.put('mine', 'yes');
    await store.batch([{ type: 'put', key: 'b', value: '1' }]);
    assert.equal(Buffer.from((await store.get('mine')) ?? '').toString(), 'yes');
    await store.auth.disable();
    assert.is((await store.auth.status()).enabled, false);
  } finally {
    await store.close();
    await fs.rm(directory, { recursive: true, force: true });
  }
});

test.run();
