/** What a real node does with requests that no client should send, and with clients that do not read: an error with its code, and others are served as before. */
import { Client, credentials, type ServiceError, status } from '@grpc/grpc-js';
import * as assert from 'uvu/assert';
import { ByteOutput } from '../../../src/api/grpc/byte_output.ts';
import { AlarmRequest } from '../../../src/api/grpc/messages/cluster.ts';
import {
  Compare,
  PutRequest,
  RangeRequest,
  RequestOp,
  TxnRequest,
} from '../../../src/api/grpc/messages/kv.ts';
import { WatchCreateRequest, WatchRequest, WatchResponse } from '../../../src/api/grpc/messages/watch.ts';
import type { MessageType } from '../../../src/api/grpc/protobuf/message_type.ts';
import { type Running, startKvorum } from '../../differential/servers.ts';
import { endAll, eventually } from '../../end_to_end/processes.ts';
import { test } from '../../suite.ts';

const PUT = '/etcdserverpb.KV/Put';
const RANGE = '/etcdserverpb.KV/Range';
const TXN = '/etcdserverpb.KV/Txn';
const WATCH = '/etcdserverpb.Watch/Watch';
const same = (bytes: Buffer): Buffer => bytes;
const key = Buffer.from('k');

let node: Running;
let client: Client;

function encoded<T extends object>(type: MessageType<T>, message: Partial<T>): Buffer {
  const out = new ByteOutput();
  type.encode(out, type.create(message));
  return out.copyFrom(0);
}

/** The status of a call; `OK` without a text. */
function ask(path: string, bytes: Buffer): Promise<[code: number, text: string]> {
  return new Promise((resolve) => {
    client.makeUnaryRequest(path, same, same, bytes, (error: ServiceError | null) => {
      resolve(error === null ? [status.OK, ''] : [error.code, error.details]);
    });
  });
}

function nestedTxn(depth: number): Buffer {
  let txn = TxnRequest.create({});
  for (let i = 0; i < depth; i++)
    txn = TxnRequest.create({ success: [RequestOp.create({ request_txn: txn })] });
  return encoded(TxnRequest, txn);
}

async function servesOthers(): Promise<void> {
  assert.equal(await ask(PUT, encoded(PutRequest, { key, value: key })), [status.OK, '']);
}

test.before(async () => {
  node = await startKvorum(100);
  client = new Client(node.url.replace('http://', ''), credentials.createInsecure(), {
    'grpc.max_send_message_length': -1,
  });
});

test('malformed messages, wrong types, nesting without end', async () => {
  for (const [what, bytes] of [
    ['cut off', Buffer.from([0x0a, 5, 1])],
    ['field 0', Buffer.from([0x02, 0])],
    ['a number where bytes belong', Buffer.from([0x08, 1])],
    ['a group', Buffer.from([0x0b, 0x0c])],
  ] as const) {
    const [code, text] = await ask(PUT, bytes);
    assert.is(code, status.INTERNAL, what);
    assert.match(text, 'error unmarshalling request', what);
  }
  assert.equal(await ask(TXN, nestedTxn(3)), [status.OK, '']);
  assert.is((await ask(TXN, nestedTxn(20)))[0], status.INVALID_ARGUMENT);
  assert.is((await ask(TXN, nestedTxn(200)))[0], status.INTERNAL);
  await servesOthers();
});

test('values of enumerations that do not exist', async () => {
  const sort = 'etcdserver: invalid sort option';
  assert.equal(await ask(RANGE, encoded(RangeRequest, { key, sort_order: 9 })), [
    status.INVALID_ARGUMENT,
    sort,
  ]);
  assert.equal(await ask(RANGE, encoded(RangeRequest, { key, sort_target: -1 })), [
    status.INVALID_ARGUMENT,
    sort,
  ]);
  for (const wrong of [{ target: 9 }, { result: 9 }, { target: -3 }]) {
    const compare = [Compare.create({ key, ...wrong })];
    assert.is((await ask(TXN, encoded(TxnRequest, { compare })))[0], status.INVALID_ARGUMENT);
  }
  const alarm = encoded(AlarmRequest, { action: 7 });
  assert.is((await ask('/etcdserverpb.Maintenance/Alarm', alarm))[0], status.INVALID_ARGUMENT);
  await servesOthers();
});

test('messages, keys and transactions that are too large', async () => {
  const message = encoded(PutRequest, { key, value: Buffer.alloc(32 * 1024 * 1024) });
  assert.is((await ask(PUT, message))[0], status.RESOURCE_EXHAUSTED);
  const tooLarge = [status.INVALID_ARGUMENT, 'etcdserver: request is too large'];
  assert.equal(await ask(PUT, encoded(PutRequest, { key: Buffer.alloc(70_000) })), tooLarge);
  assert.equal(await ask(PUT, encoded(PutRequest, { key, value: Buffer.alloc(9_000_000) })), tooLarge);
  const success = Array.from({ length: 101 }, (_, i) =>
    RequestOp.create({ request_put: PutRequest.create({ key: Buffer.from(`k${i}`) }) }),
  );
  assert.equal(await ask(TXN, encoded(TxnRequest, { success })), [
    status.INVALID_ARGUMENT,
    'etcdserver: too many operations in txn request',
  ]);
  await servesOthers();
});

test('a watcher that does not read holds nobody up, and loses nothing', async () => {
  const events = 600;
  const watch = client.makeBidiStreamRequest(WATCH, same, same);
  watch.on('error', () => undefined);
  const create_request = WatchCreateRequest.create({ key: Buffer.from('slow'), prev_kv: false });
  watch.write(encoded(WatchRequest, { create_request }));
  const parts: Buffer[] = [];
  watch.on('data', (part: Buffer) => parts.push(part));
  await eventually('created', () => (parts.length > 0 ? true : undefined));
  watch.pause();
  const value = Buffer.alloc(64 * 1024, 7);
  for (let i = 0; i < events; i++) {
    assert.equal(await ask(PUT, encoded(PutRequest, { key: Buffer.from('slow'), value })), [status.OK, '']);
  }
  watch.resume();
  const seen = () => parts.flatMap((part) => WatchResponse.decode(part).events.map(({ kv }) => kv!.version));
  await eventually('all events', () => (seen().length >= events ? true : undefined));
  assert.equal(
    seen(),
    Array.from({ length: events }, (_, i) => i + 1),
  );
  watch.cancel();
});

test.after(async () => {
  client.close();
  await node.stop();
  await endAll();
});

test.run();
