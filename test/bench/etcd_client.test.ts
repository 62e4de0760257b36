/** The hand-written etcd client: its encoding, and what it makes of good and bad answers of a gRPC server. */
import { createServer, type Http2Server, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import * as assert from 'uvu/assert';
import { EtcdClient, encodeMessage, findField } from '../../bench/etcd_client.ts';
import { test } from '../suite.ts';

test('fields are encoded as gRPC and protobuf have them, and found again', () => {
  const message = encodeMessage([Buffer.from('k'), Buffer.alloc(300, 7)]);
  assert.equal([...message.subarray(0, 12)], [0, 0, 0, 1, 50, 0x0a, 1, 0x6b, 0x12, 0xac, 0x02, 7]);
  const body = message.subarray(5);
  assert.equal(findField(body, 1), Buffer.from('k'));
  assert.is(findField(body, 2)?.length, 300);
  assert.is(findField(body, 3), undefined);
});

test('a message that is cut off is refused', () => {
  const body = encodeMessage([Buffer.from('key')]).subarray(5);
  for (let length = 1; length < body.length; length++)
    assert.throws(() => findField(body.subarray(0, length), 1));
});

/** Runs `work` against a server that answers every request with the given message and trailers. */
async function withServer(
  message: Buffer,
  trailers: Record<string, string>,
  work: (client: EtcdClient, paths: string[]) => Promise<void>,
): Promise<void> {
  const paths: string[] = [];
  const server: Http2Server = createServer();
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    paths.push(String(headers[':path']));
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    stream.resume();
    stream.end(message);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const client = await EtcdClient.connect([`http://127.0.0.1:${(server.address() as AddressInfo).port}`]);
  try {
    await work(client, paths);
  } finally {
    await client.close();
    await new Promise((resolve) => server.close(resolve));
  }
}

const OK = { 'grpc-status': '0' };

async function failure(call: Promise<unknown>): Promise<string> {
  try {
    await call;
  } catch (error) {
    return String(error);
  }
  throw new Error('the call did not fail');
}

test('a put is acknowledged by a message with a header', async () => {
  await withServer(encodeMessage([Buffer.alloc(4)]), OK, async (client, paths) => {
    await client.put(Buffer.from('k'), Buffer.from('v'));
    assert.equal(paths, ['/etcdserverpb.KV/Put']);
  });
});

test('a value is read from the first key-value, and a missing key gives undefined', async () => {
  const value = Buffer.from('the value');
  const pair = encodeMessage([
    Buffer.from('k'),
    Buffer.alloc(0),
    Buffer.alloc(0),
    Buffer.alloc(0),
    value,
  ]).subarray(5);
  await withServer(encodeMessage([Buffer.alloc(0), pair]), OK, async (client, paths) => {
    assert.equal(await client.get(Buffer.from('k')), value);
    assert.equal(paths, ['/etcdserverpb.KV/Range']);
  });
  await withServer(encodeMessage([Buffer.alloc(0)]), OK, async (client) => {
    assert.is(await client.get(Buffer.from('k')), undefined);
  });
});

test('a status other than 0 fails the call, whatever the message says', async () => {
  const bad = { 'grpc-status': '14', 'grpc-message': 'etcdserver: no leader' };
  await withServer(encodeMessage([Buffer.alloc(4)]), bad, async (client) => {
    assert.match(
      await failure(client.put(Buffer.from('k'), Buffer.from('v'))),
      'status 14: etcdserver: no leader',
    );
  });
});

test('half a message is no acknowledgement', async () => {
  await withServer(encodeMessage([Buffer.alloc(4)]).subarray(0, 7), OK, async (client) => {
    assert.match(await failure(client.put(Buffer.from('k'), Buffer.from('v'))), 'not one whole message');
  });
});

test.run();
