/**
 * The tables of messages against others' work: the numbers of etcd's own .proto files (as the package etcd3 ships them), and protobufjs as a second encoder and decoder.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import * as fc from 'fast-check';
import protobuf from 'protobufjs';
import * as assert from 'uvu/assert';
import { ByteOutput } from '../../../src/api/grpc/byte_output.ts';
import * as auth from '../../../src/api/grpc/messages/auth.ts';
import * as cluster from '../../../src/api/grpc/messages/cluster.ts';
import * as kv from '../../../src/api/grpc/messages/kv.ts';
import * as lease from '../../../src/api/grpc/messages/lease.ts';
import * as watch from '../../../src/api/grpc/messages/watch.ts';
import { fromJson, toJson } from '../../../src/api/grpc/protobuf/json.ts';
import { type GenericMessage, MessageType } from '../../../src/api/grpc/protobuf/message_type.ts';
import { KvError } from '../../../src/errors.ts';
import { test } from '../../suite.ts';

const require = createRequire(import.meta.url);
const protoFolder = join(dirname(require.resolve('etcd3/package.json')), 'proto');

/** etcd's messages as others have written them down. */
function etcdRoot(): protobuf.Root {
  const root = new protobuf.Root();
  for (const name of ['kv.proto', 'auth.proto', 'rpc.proto']) {
    const text = readFileSync(join(protoFolder, name), 'utf8');
    protobuf.parse(text, root, { keepCase: true });
  }
  return root.resolveAll() as protobuf.Root;
}

const root = etcdRoot();
type AnyType = MessageType<Record<string, unknown>>;

function typesOf(...modules: readonly object[]): AnyType[] {
  return modules
    .flatMap((module) => Object.values(module))
    .filter((value): value is AnyType => value instanceof MessageType);
}

const types = typesOf(kv, watch, lease, cluster, auth);
const KINDS: Readonly<Record<string, string>> = { bigInt64: 'int64', bigUint64: 'uint64' };
/** Fields of later versions than the .proto files that we compare with. */
const NEWER = new Set([
  'etcdserverpb.AuthUserAddRequest.hashedPassword',
  'etcdserverpb.AuthUserChangePasswordRequest.hashedPassword',
]);

test('every field has the number, the type and the place that etcd gives it, and none is missing', () => {
  let compared = 0;
  for (const type of types) {
    if (type.name.startsWith('v3')) continue;
    const theirs = root.lookupType(type.name);
    for (const field of type.fields) {
      const name = `${type.name}.${field.name}`;
      if (NEWER.has(name)) continue;
      const their = theirs.fields[field.name];
      assert.ok(their, name);
      assert.is(field.number, their.id, name);
      assert.is(field.repeated, their.repeated, name);
      assert.is(field.oneof, their.partOf?.name, name);
      if (field.message !== undefined)
        assert.is(`.${field.message().name}`, their.resolvedType?.fullName, name);
      else if (field.enumType !== undefined) {
        assert.is(`.${field.enumType.name}`, their.resolvedType?.fullName, name);
        const numbers = Object.values((their.resolvedType as protobuf.Enum).values);
        assert.equal(Object.values(field.enumType.values).sort(), [...numbers].sort(), name);
      } else assert.is(KINDS[field.kind] ?? field.kind, their.type, name);
      compared++;
    }
    const known = new Set(type.fields.map(({ name }) => name));
    for (const name of Object.keys(theirs.fields))
      assert.ok(known.has(name), `${type.name}.${name} is missing`);
  }
  assert.ok(compared > 150, `${compared} fields were compared`);
});

/** A message of a type with values that survive both ways; few levels deep. */
function arbitrary(type: AnyType, depth = 0): fc.Arbitrary<GenericMessage> {
  const fields: Record<string, fc.Arbitrary<unknown>> = {};
  for (const field of type.fields) {
    let value: fc.Arbitrary<unknown>;
    switch (field.kind) {
      case 'bytes':
        value = fc.uint8Array({ maxLength: 200 });
        break;
      case 'string':
        value = fc.string({ unit: 'grapheme', maxLength: 20 });
        break;
      case 'bool':
        value = fc.boolean();
        break;
      case 'bigInt64':
        value = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
        break;
      case 'bigUint64':
        value = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
        break;
      case 'int64':
        value = fc.maxSafeInteger();
        break;
      case 'uint64':
        value = fc.maxSafeNat();
        break;
      case 'uint32':
        value = fc.nat({ max: 2 ** 32 - 1 });
        break;
      case 'message':
        value = depth > 2 ? fc.constant(undefined) : arbitrary(field.message!() as AnyType, depth + 1);
        break;
      default:
        value = fc.constantFrom(0, 1);
    }
    if (field.repeated) {
      fields[field.name] = fc
        .array(value, { maxLength: 3 })
        .map((list) => list.filter((item) => item !== undefined));
    } else if (field.oneof === undefined) {
      fields[field.name] = field.kind === 'message' ? fc.option(value, { nil: undefined }) : value;
    } else {
      fields[field.name] = fc.constant(undefined);
    }
  }
  // At most one of each oneof.
  const groups = type.fields.filter(({ oneof }) => oneof !== undefined);
  return fc.record(fields, { noNullPrototype: true }).chain((message) => {
    if (groups.length === 0 || depth > 2) return fc.constant(message);
    return fc.constantFrom(...groups).chain((field) => {
      const value =
        field.kind === 'message'
          ? arbitrary(field.message!() as AnyType, depth + 1)
          : field.kind === 'bytes'
            ? fc.uint8Array({ maxLength: 20 })
            : field.kind === 'bigInt64'
              ? fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
              : fc.maxSafeInteger();
      return value.map((one): GenericMessage => ({ ...message, [field.name]: one }));
    });
  });
}

function encoded(type: AnyType, message: GenericMessage): Buffer {
  const out = new ByteOutput();
  type.encode(out, message);
  return out.copyFrom(0);
}

const arbitraryOfAny = fc
  .constantFrom(...types)
  .chain((type) => arbitrary(type).map((message) => ({ type, message })));

test('what is encoded is decoded to the same, by us', () => {
  fc.assert(
    fc.property(arbitraryOfAny, ({ type, message }) => {
      assert.equal(type.decode(encoded(type, message)), type.create(message));
    }),
    { numRuns: 2_000 },
  );
});

test('and protobufjs reads and writes the same bytes', () => {
  fc.assert(
    fc.property(arbitraryOfAny, ({ type, message }) => {
      if (type.name.startsWith('v3') || type.fields.some(({ name }) => NEWER.has(`${type.name}.${name}`)))
        return;
      const bytes = encoded(type, message);
      const theirs = root.lookupType(type.name);
      const again = theirs.encode(theirs.decode(bytes)).finish();
      assert.equal(type.decode(Buffer.from(again)), type.create(message));
    }),
    { numRuns: 1_000 },
  );
});

test('JSON there and back', () => {
  fc.assert(
    fc.property(arbitraryOfAny, ({ type, message }) => {
      const json: unknown = JSON.parse(JSON.stringify(toJson(type, message)));
      assert.equal(fromJson(type, json), type.create(message));
    }),
    { numRuns: 1_000 },
  );
});

test('JSON as etcd writes it', () => {
  const response = kv.RangeResponse.create({
    header: kv.ResponseHeader.create({ cluster_id: 2n ** 63n + 1n, revision: 7 }),
    kvs: [kv.KeyValue.create({ key: Buffer.from('foo'), version: 1, lease: -5n })],
  });
  assert.equal(toJson(kv.RangeResponse, response), {
    header: { cluster_id: '9223372036854775809', revision: '7' },
    kvs: [{ key: 'Zm9v', version: '1', lease: '-5' }],
  });
  const event = kv.Event.create({ type: 1, kv: kv.KeyValue.create() });
  assert.equal(toJson(kv.Event, event), { type: 'DELETE', kv: {} });
});

test('JSON in the forms that clients use', () => {
  const wanted = { key: Buffer.from('k'), sort_order: 2, limit: 5, keys_only: true };
  for (const json of [
    { key: 'aw==', sort_order: 'DESCEND', limit: '5', keys_only: true },
    { key: 'aw', sortOrder: 2, limit: 5, keysOnly: true, revision: null },
  ]) {
    const message = kv.RangeRequest.typed(fromJson(kv.RangeRequest, json));
    for (const [name, value] of Object.entries(wanted)) {
      assert.equal(
        Buffer.isBuffer(value) ? [...value] : value,
        name === 'key' ? [...message.key] : Object(message)[name],
      );
    }
  }
});

function refused(run: () => unknown, code: string): void {
  try {
    run();
  } catch (error) {
    assert.instance(error, KvError);
    assert.is((error as KvError).code, code);
    return;
  }
  assert.unreachable('nothing was thrown');
}

test('JSON that is none of a message', () => {
  const bad: unknown[] = [
    ...[
      5,
      'x',
      [],
      null,
      { nobody: 1 },
      { key: 5 },
      { key: '*' },
      { limit: 'x' },
      { limit: 1.5 },
      { limit: {} },
    ],
    ...[
      { sort_order: 'UP' },
      { sort_order: 1.5 },
      { keys_only: 'yes' },
      { limit: '9223372036854775808' },
      { key: ['a'] },
    ],
  ];
  for (const json of bad) refused(() => fromJson(kv.RangeRequest, json), 'INVALID_ARGUMENT');
  refused(() => fromJson(kv.TxnRequest, { success: {} }), 'INVALID_ARGUMENT');
  let deep: unknown = {};
  for (let i = 0; i < 5_000; i++) deep = { success: [{ request_txn: deep }] };
  refused(() => fromJson(kv.TxnRequest, deep), 'INVALID_ARGUMENT');
});

test('any bytes are decoded or refused as malformed', () => {
  fc.assert(
    fc.property(fc.constantFrom(...types), fc.uint8Array({ maxLength: 100 }), (type, bytes) => {
      try {
        type.decode(bytes);
      } catch (error) {
        assert.instance(error, KvError);
        assert.is((error as KvError).code, 'PROTOCOL');
      }
    }),
    { numRuns: 5_000 },
  );
});

test('messages that are damaged are decoded or refused as malformed', () => {
  const flips = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(arbitraryOfAny, flips, fc.nat(), ({ type, message }, damage, cut) => {
      const bytes = encoded(type, message);
      if (bytes.length === 0) return;
      for (const [at, value] of damage) bytes[at % bytes.length] = value;
      try {
        type.decode(bytes.subarray(0, bytes.length - (cut % 2)));
      } catch (error) {
        assert.instance(error, KvError);
        assert.is((error as KvError).code, 'PROTOCOL');
      }
    }),
    { numRuns: 2_000 },
  );
});

test('nesting without end, groups, field 0, wrong wire types, numbers without end, text that is not UTF-8', () => {
  let deep: Buffer = Buffer.alloc(0);
  for (let i = 0; i < 200; i++) {
    for (const tag of [0x22, 0x12]) {
      const head = new ByteOutput();
      head.u8(tag);
      head.varint(deep.length);
      deep = Buffer.concat([head.view(), deep]);
    }
  }
  refused(() => kv.TxnRequest.decode(deep), 'PROTOCOL');
  for (const hex of [
    '0b',
    '0c',
    '0200',
    '0801',
    '0a05',
    '18ffffffffffffffffffffff01',
    '0d00000000',
    '0affffffffff01',
  ]) {
    refused(() => kv.RangeRequest.decode(Buffer.from(hex, 'hex')), 'PROTOCOL');
  }
  refused(() => auth.AuthUserGetRequest.decode(Buffer.from('0a02c328', 'hex')), 'PROTOCOL');
});

test('what others may send: unknown fields of every wire type, packed and unpacked lists, the last of a oneof, 64 bits', () => {
  const unknown = Buffer.from(
    'a00601 a906 0102030405060708 b206 02 6162 bd06 01020304 0a0161'.replace(/ /g, ''),
    'hex',
  );
  assert.equal([...kv.RangeRequest.decode(unknown).key], [0x61]);
  for (const filters of ['2a020001', '28002801']) {
    assert.equal(watch.WatchCreateRequest.decode(Buffer.from(filters, 'hex')).filters, [0, 1]);
  }
  const compare = kv.Compare.decode(Buffer.from('20053a0178', 'hex'));
  assert.is(compare.version, undefined);
  assert.equal([...compare.value!], [0x78]);
  // A sort order that nobody knows is kept: the service says that it is none.
  assert.is(kv.RangeRequest.decode(Buffer.from('2863', 'hex')).sort_order, 99);
  const largest = Buffer.from('18ffffffffffffffff7f', 'hex');
  assert.is(kv.RangeRequest.decode(largest).limit, Number.MAX_SAFE_INTEGER);
  const smallest = Buffer.from('1880808080808080808001', 'hex');
  assert.is(kv.RangeRequest.decode(smallest).limit, Number.MIN_SAFE_INTEGER);
});

test.run();
