/** What stands in front of the service and around it, through every door of a real server: metrics, hooks, requests per second, connections by address. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectTcp, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Etcd3 } from 'etcd3';
import * as assert from 'uvu/assert';
import type { Middleware } from '../../src/api/pipeline.ts';
import type { ConfigInput } from '../../src/config.ts';
import { KvError } from '../../src/errors.ts';
import { connect } from '../../src/index.ts';
import { storedKey } from '../../src/kv/keyspace.ts';
import { silentLogger } from '../../src/observability/logger.ts';
import { type Server, startServer } from '../../src/server.ts';
import { writeHello } from '../../src/wire/client_codec.ts';
import { OPCODE } from '../../src/wire/client_frames.ts';
import { test } from '../suite.ts';
import { frame, waitFor } from './raw_client.ts';

async function withServer(
  more: { door?: NonNullable<ConfigInput['door']>; middleware?: Middleware[] },
  run: (server: Server) => Promise<void>,
): Promise<void> {
  const path = mkdtempSync(join(tmpdir(), 'kvorum-doors-'));
  const loopback = '127.0.0.1:0';
  const door = { clientListen: loopback, peerListen: loopback, etcdListen: loopback, ...more.door };
  const config = { door, storage: { durability: 'os' as const } };
  const server = await startServer({ path, logger: silentLogger, config, middleware: more.middleware });
  try {
    await server.whenLed(10_000);
    await run(server);
  } finally {
    await server.stop();
    rmSync(path, { recursive: true });
  }
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** Through the JSON gateway. */
async function putJson(address: string, key: string): Promise<{ status: number; body: string }> {
  const body = JSON.stringify({ key: base64(key), value: base64('v') });
  const answer = await fetch(`http://${address}/v3/kv/put`, { method: 'POST', body });
  return { status: answer.status, body: await answer.text() };
}

async function metricsOf(server: Server): Promise<Map<string, number>> {
  const text = await (await fetch(`http://${server.etcdAddress}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  );
}

test('every door goes through the pipeline: hooks hear each call, and its counts and times stand in /metrics', async () => {
  const heard: string[] = [];
  const trace: Middleware = {
    begin: ({ operation }) => void heard.push(`begin ${operation}`),
    end: ({ operation }, _tookMs, error) =>
      void heard.push(`end ${operation} ${error instanceof KvError ? error.code : 'fine'}`),
  };
  await withServer({ middleware: [trace] }, async (server) => {
    const { etcdAddress = '' } = server;
    const heardOf = (operation: string): string[] => heard.filter((line) => line.includes(` ${operation}`));
    const store = await connect({ endpoints: [server.clientAddress] });
    await store.put('a', '1');
    assert.ok(heardOf('write').length > 0);
    heard.length = 0;
    await store.put('a', '2');
    assert.equal(heardOf('write'), ['begin write', 'end write fine'], 'our own protocol');
    const etcd = new Etcd3({ hosts: `http://${etcdAddress}` });
    await etcd.put('a').value('3');
    assert.equal(heardOf('write').slice(2), ['begin write', 'end write fine'], 'gRPC');
    assert.is((await putJson(etcdAddress, 'a')).status, 200);
    assert.equal(heardOf('write').slice(4), ['begin write', 'end write fine'], 'JSON');
    await store.get('a', { revision: 99 }).then(
      () => assert.unreachable(),
      () => undefined,
    );
    await server.service.compact({ revision: 3, physical: false });
    await etcd.put('b').value('');
    assert.ok(heard.includes('end get FUTURE_REVISION'));
    const before = await metricsOf(server);
    const writes = before.get('kvorum_calls_total{method="write",code="OK"}') ?? 0;
    assert.ok(writes >= 5);
    assert.is(before.get('kvorum_calls_total{method="get",code="FUTURE_REVISION"}'), 1);
    assert.is(before.get('kvorum_call_duration_seconds_count{method="write"}'), writes);
    assert.is(before.get('kvorum_call_duration_seconds_bucket{method="write",le="+Inf"}'), writes);
    assert.is(before.get('kvorum_calls_running{method="write"}'), 0);
    assert.ok((before.get('kvorum_call_duration_seconds_sum{method="write"}') ?? 0) > 0);
    assert.ok(before.has('kvorum_revision'), 'and what there was before');
    assert.not(
      [...before.keys()].some((name) => name.includes('knownMembers') || name.includes('standing')),
      'what doors ask for themselves is no call',
    );
    etcd.close();
    await store.close();
  });
});

test('requests past a quota a second are refused through every door, others are served; what was refused in apply counts by its code', () =>
  withServer({}, async (server) => {
    const { etcdAddress = '' } = server;
    const { quotas } = server.service;
    const prefix = storedKey(Buffer.from('slow/'));
    await quotas.set(prefix, { maxBytes: 0, maxKeys: 3, maxRequestsPerSecond: 3 });
    await waitFor(() => quotas.inForce()[0]?.countingFrom === 0);
    const answers = await Promise.all(Array.from({ length: 12 }, () => putJson(etcdAddress, 'slow/1')));
    const refused = answers.filter(({ status }) => status !== 200);
    assert.ok(refused.length >= 6, `${refused.length} of 12 refused`);
    assert.ok(refused.every(({ status, body }) => status === 429 && body.includes('too many requests')));
    const store = await connect({ endpoints: [server.clientAddress], timeoutMs: 300 });
    for (let i = 0; i < 12; i++) await store.put(`fast/${i}`, '');
    const codes = await Promise.all(
      Array.from({ length: 12 }, () =>
        store.get('slow/1').then(
          () => 'fine',
          (error: unknown) => (error instanceof KvError ? error.code : 'else'),
        ),
      ),
    );
    assert.ok(codes.includes('RATE_LIMITED'), codes.join());
    assert.is(codes.filter((code) => code !== 'fine' && code !== 'RATE_LIMITED').length, 0, codes.join());
    await quotas.set(prefix, { maxBytes: 0, maxKeys: 1, maxRequestsPerSecond: 0 });
    const full = await putJson(etcdAddress, 'slow/2');
    assert.is(full.status, 429);
    assert.ok(full.body.includes('the quota of'), full.body);
    const metrics = await metricsOf(server);
    assert.ok((metrics.get('kvorum_calls_total{method="write",code="RATE_LIMITED"}') ?? 0) >= 6);
    assert.is(metrics.get('kvorum_calls_total{method="write",code="QUOTA_EXCEEDED"}'), 1);
    await store.close();
  }));

/** What the server says to a connection from an address, up to its first bytes or its end. */
function dial(
  address: string,
  from: string,
  says: Uint8Array | string,
): { socket: Socket; said: Promise<Buffer> } {
  const [host = '', port] = address.split(':');
  const socket = connectTcp({ host, port: Number(port), localAddress: from });
  socket.write(says);
  const said = new Promise<Buffer>((resolve) => {
    socket.on('data', resolve);
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(Buffer.alloc(0)));
  });
  return { socket, said };
}

test('an address has so many connections, over all doors; other addresses are not concerned, and what is closed makes room', () =>
  withServer({ door: { maxConnectionsPerAddress: 3 } }, async (server) => {
    const { clientAddress, etcdAddress = '' } = server;
    const hello = frame(OPCODE.HELLO, 0, (writer) =>
      writeHello(writer, { minVersion: 1, maxVersion: 1, maxFrameBytes: 1 << 20, name: 'test' }),
    );
    const status = 'GET /version HTTP/1.1\r\nHost: x\r\n\r\n';
    const open = [
      dial(clientAddress, '127.0.0.1', hello),
      dial(clientAddress, '127.0.0.1', status),
      dial(etcdAddress, '127.0.0.1', status),
    ];
    for (const { said } of open) assert.ok((await said).length > 0);
    const tooMany = await dial(clientAddress, '127.0.0.1', hello).said;
    assert.is(tooMany[4], OPCODE.ERROR);
    assert.ok(tooMany.includes('all 3 connections that one address may have'), tooMany.toString('latin1'));
    assert.is((await dial(etcdAddress, '127.0.0.1', status).said).length, 0);
    const other = dial(etcdAddress, '127.0.0.2', status);
    assert.ok((await other.said).includes('200 OK'));
    const silent = Array.from({ length: 5 }, () => dial(clientAddress, '127.0.0.3', ''));
    await Promise.race(silent.map(({ said }) => said));
    assert.is(silent.filter(({ socket }) => !socket.destroyed).length > 0, true);
    open[1]!.socket.destroy();
    let again = await dial(etcdAddress, '127.0.0.1', status).said;
    while (again.length === 0) again = await dial(etcdAddress, '127.0.0.1', status).said;
    assert.ok(again.includes('200 OK'));
    for (const { socket } of [...open, other, ...silent]) socket.destroy();
  }));

test.run();
