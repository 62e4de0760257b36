/** Clients of etcd against a real node: etcd3's transactions, leases, locks, users; and what the door says of itself by reflection. */

import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Etcd3, EtcdLockFailedError, EtcdPermissionDeniedError, type IOptions, type Role } from 'etcd3';
import protobuf from 'protobufjs';
import * as assert from 'uvu/assert';
import { descriptorFiles } from '../../../src/api/grpc/protobuf/descriptor.ts';
import { etcdServices } from '../../../src/api/grpc/services/methods.ts';
import { parseConfig } from '../../../src/config.ts';
import { realPorts } from '../../../src/real_ports.ts';
import { type Server, startServer } from '../../../src/server.ts';
import { test } from '../../suite.ts';
import { FakeService } from '../fake_service.ts';

const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

async function withServer(
  run: (server: Server, connect: (more?: Partial<IOptions>) => Etcd3) => Promise<void>,
) {
  const path = mkdtempSync(join(tmpdir(), 'kvorum-etcd-'));
  const door = { clientListen: '127.0.0.1:0', peerListen: '127.0.0.1:0', etcdListen: '127.0.0.1:0' };
  const server = await startServer({ path, logger: silent, config: { door, storage: { durability: 'os' } } });
  const clients: Etcd3[] = [];
  try {
    await server.whenLed(10_000);
    await run(server, (more = {}) => {
      const client = new Etcd3({ hosts: `http://${server.etcdAddress}`, ...more });
      clients.push(client);
      return client;
    });
  } finally {
    for (const client of clients) client.close();
    await server.stop();
    rmSync(path, { recursive: true });
  }
}

test('transactions, ranges with options, compaction', async () => {
  await withServer(async (_server, connect) => {
    const client = connect();
    await client.put('a').value('1');
    const won = await client
      .if('a', 'Value', '==', '1')
      .then(client.put('a').value('2'), client.get('a'))
      .else(client.get('a'))
      .commit();
    assert.is(won.succeeded, true);
    assert.is(String(won.responses[1]!.response_range.kvs[0]!.value), '2');
    const lost = await client
      .if('a', 'Version', '==', 7)
      .then(client.delete().all())
      .else(client.get('a'))
      .commit();
    assert.is(lost.succeeded, false);
    for (const [key, value] of [
      ['b', 'y'],
      ['c', 'x'],
      ['d', 'z'],
    ] as const)
      await client.put(key).value(value);
    assert.equal(await client.getAll().sort('Value', 'Descend').limit(2).strings(), { d: 'z', b: 'y' });
    assert.is(await client.getAll().prefix('').count(), 4);
    const { header } = await client.put('a').value('3').exec();
    await client.kv.compact({ revision: header.revision });
    const error = await client
      .get('a')
      .revision(2)
      .exec()
      .catch((caught: Error) => caught);
    assert.match(String(error), 'required revision has been compacted');
  });
});

test('leases: keys go with them; locks exclude', async () => {
  await withServer(async (_server, connect) => {
    const client = connect();
    const lease = client.lease(30);
    await lease.put('with').value('lease');
    const id = await lease.grant();
    const left = await client.leaseClient.leaseTimeToLive({ ID: id, keys: true });
    assert.is(left.grantedTTL, '30');
    assert.equal(left.keys.map(String), ['with']);
    await lease.keepaliveOnce();
    assert.is((await client.leaseClient.leaseLeases()).leases.length, 1);
    await lease.revoke();
    assert.is(await client.get('with').string(), null);
    const first = client.lock('resource').ttl(10);
    await first.acquire();
    const second = await connect()
      .lock('resource')
      .ttl(10)
      .acquire()
      .catch((caught: Error) => caught);
    assert.instance(second, EtcdLockFailedError);
    await first.release();
    await connect().lock('resource').ttl(10).acquire();
  });
});

test('users: tokens, rights, and their loss', async () => {
  await withServer(async (_server, connect) => {
    const client = connect();
    const reader = client.role('reader');
    await reader.create();
    await reader.grant({ permission: 'Read', range: client.range({ prefix: 'pub/' }) } as Parameters<
      Role['grant']
    >[0]);
    const joe = client.user('joe');
    await joe.create('pw');
    await joe.addRole('reader');
    const root = client.user('root');
    await root.create('secret');
    await client.role('root').create();
    await root.addRole('root');
    await client.put('pub/a').value('1');
    await client.auth.authEnable();
    const asJoe = connect({ auth: { username: 'joe', password: 'pw' } });
    assert.is(await asJoe.get('pub/a').string(), '1');
    const denied = await asJoe
      .put('pub/a')
      .value('2')
      .exec()
      .catch((caught: Error) => caught);
    assert.instance(denied, EtcdPermissionDeniedError);
    const asRoot = connect({ auth: { username: 'root', password: 'secret' } });
    assert.equal(
      (await asRoot.getUsers()).map(({ name }) => name),
      ['joe', 'root'],
    );
    await asRoot.auth.authDisable();
    assert.is(await client.get('pub/a').string(), '1');
  });
});

test('the two ports: 2379 and that of other clients speak the same', async () => {
  await withServer(async (server) => {
    for (const address of [server.etcdAddress!, server.clientAddress]) {
      const client = new Etcd3({ hosts: `http://${address}` });
      const { members } = await client.cluster.memberList({});
      assert.equal(
        members.map(({ clientURLs }) => clientURLs),
        [[`http://${server.clientAddress}`]],
      );
      client.close();
      const version = await fetch(`http://${address}/version`);
      assert.is(((await version.json()) as { etcdserver: string }).etcdserver, '3.5.0');
    }
  });
});

test('descriptors describe what the tables say, for every service', () => {
  const require = createRequire(import.meta.url);
  const descriptor: { FileDescriptorSet: protobuf.Type } = require('protobufjs/ext/descriptor');
  const services = etcdServices({ service: new FakeService(), limits: parseConfig({}).limits }, realPorts());
  const files = descriptorFiles(services);
  const set = descriptor.FileDescriptorSet.create({
    file: [...files.values()].map(({ bytes }) =>
      (descriptor as unknown as Record<string, protobuf.Type>)['FileDescriptorProto']!.decode(bytes),
    ),
  });
  const fromDescriptor: unknown = Reflect.get(protobuf.Root, 'fromDescriptor');
  assert.type(fromDescriptor, 'function');
  const root = (fromDescriptor as (set: unknown) => protobuf.Root)(set).resolveAll();
  for (const { name, methods } of services) {
    const service = (root as protobuf.Root).lookupService(name);
    for (const method of methods) {
      const theirs = service.methods[method.name]!;
      assert.is(theirs.requestType.replace(/^\./, ''), method.request.name);
      assert.is(theirs.responseStream === true, method.kind === 'stream');
    }
  }
  const compare = (root as protobuf.Root).lookupType('etcdserverpb.Compare');
  assert.is(compare.fields['rangeEnd']?.id ?? compare.fields['range_end']?.id, 64);
  assert.equal(
    compare.oneofsArray.map(({ name }) => name.replace(/_u/, 'U')),
    ['targetUnion'],
  );
});

test('reflection lists services, and gives the file of a symbol with all that it needs', async () => {
  await withServer(async (server) => {
    const session = connectHttp2(`http://${server.etcdAddress}`);
    for (const version of ['v1', 'v1alpha']) {
      const stream = session.request({
        ':method': 'POST',
        ':path': `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`,
        'content-type': 'application/grpc',
      });
      let answer = '';
      stream.on('data', (part: Buffer) => {
        answer += part.toString('latin1');
      });
      for (const message of [
        [0x3a, 0],
        [0x22, 15, ...Buffer.from('etcdserverpb.KV')],
        [0x1a, 1, 0x78],
      ]) {
        stream.write(Buffer.from([0, 0, 0, 0, message.length, ...message]));
      }
      stream.end();
      await new Promise((resolve) => stream.on('end', resolve));
      for (const text of [
        'etcdserverpb.Watch',
        'grpc.health.v1.Health',
        'mvccpb.proto',
        'RangeRequest',
        'no such file',
      ]) {
        assert.ok(answer.includes(text), text);
      }
    }
    session.close();
  });
});

test.run();
