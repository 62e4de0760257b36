/** Commands and their bytes: round trips, one encoding each, spoilt bytes, what clients may send. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import type { Command, Operation } from '../../src/kv/command.ts';
import { USER_SPACE_END, USER_SPACE_START } from '../../src/kv/keyspace.ts';
import { MAX_TXN_DEPTH } from '../../src/kv/limits.ts';
import { checkClientCommand, decodeCommand, encodeCommand, encodePut } from '../../src/wire/command_codec.ts';
import {
  bytes,
  compare,
  key,
  LIMITS,
  nested,
  put,
  range,
  remove,
  touch,
  txn,
  write,
} from '../kv/commands.ts';
import { test } from '../suite.ts';
import { command, mutation, plain, spoil } from './command_arbitraries.ts';

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof KvError) return error.code;
    throw error;
  }
  return 'fine';
}

test('a command comes back as it was, its bytes end to end', () => {
  fc.assert(
    fc.property(command, (one) => {
      const encoded = encodeCommand(one);
      assert.equal(plain(decodeCommand(encoded)), plain(one));
      const padded = Uint8Array.of(7, 7, ...encoded, 7);
      assert.equal(plain(decodeCommand(padded, 2, padded.length - 1)), plain(one));
    }),
    { numRuns: 500 },
  );
});

test('the bytes of a put are what the document says', () => {
  const id = { session: 300, sequence: 9, acknowledgedBelow: 7 };
  const encoded = encodeCommand(write(put('k', 'vv', { ttlMs: 5, lease: 2n, prevKv: true }), id));
  const expected = [1, 1, 0xac, 2, 9, 2, 1, 7, 2, 1, 0x6b, 5, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0x76, 0x76];
  assert.equal([...encoded], expected);
});

test('encodePut gives the bytes of encodeCommand, from strings as from bytes', () => {
  const text = fc.oneof(fc.string({ maxLength: 300 }), fc.string({ unit: 'grapheme', maxLength: 100 }));
  const number = fc.oneof(fc.nat(200), fc.nat(1e9));
  fc.assert(
    fc.property(
      text,
      text,
      number,
      number,
      number,
      fc.boolean(),
      (k, v, ttlMs, session, sequence, prevKv) => {
        const id = { session, sequence: sequence + 1, acknowledgedBelow: Math.floor(sequence / 2) };
        const encoded = encodeCommand(write(put(k, v, { ttlMs, prevKv }), id));
        for (const [keyGiven, valueGiven] of [
          [k, v],
          [bytes(k), bytes(v)],
        ] as const) {
          const direct = encodePut(
            keyGiven,
            valueGiven,
            ttlMs,
            session,
            id.sequence,
            id.acknowledgedBelow,
            prevKv,
          );
          assert.equal([...direct], [...encoded]);
        }
      },
    ),
  );
});

test('spoilt bytes give a KvError or a command with this one encoding; nothing else', () => {
  let refused = 0;
  let taken = 0;
  fc.assert(
    fc.property(command, mutation, (one, how) => {
      const spoilt = spoil(encodeCommand(one), how);
      try {
        const decoded = decodeCommand(spoilt);
        assert.equal([...encodeCommand(decoded)], [...spoilt], 'one command, one encoding');
        taken++;
      } catch (error) {
        if (!(error instanceof KvError)) throw error;
        assert.ok(['PROTOCOL', 'UNSUPPORTED', 'UNSUPPORTED_VERSION'].includes(error.code));
        refused++;
      }
    }),
    { numRuns: 3_000 },
  );
  assert.ok(refused > 100 && taken > 100);
});

test('every cut of a valid command is refused', () => {
  const encoded = encodeCommand(
    txn(
      [
        put('a', 'b', { ttlMs: 1, lease: 3n }),
        remove('a', 'b'),
        touch('c', 4),
        range('a', 'b', { limit: 2 }),
      ],
      [compare('value', '=', 'a', 'x'), compare('lease', '>', 'b', 4)],
    ),
  );
  for (let size = 0; size < encoded.length; size++) {
    assert.is(
      codeOf(() => decodeCommand(encoded.subarray(0, size))),
      'PROTOCOL',
    );
  }
});

test('counts are checked against the bytes that are there before anything is allocated', () => {
  const huge = [255, 255, 255, 255, 255, 255, 255, 15];
  for (const head of [
    [1, 2, 0],
    [1, 2, 0, 0],
    [1, 2, 0, 0, 0],
    [1, 5],
    [1, 1, 0, 1, 0],
  ]) {
    assert.is(
      codeOf(() => decodeCommand(Uint8Array.from([...head, ...huge, 1, 1, 1]))),
      'PROTOCOL',
    );
  }
});

test('unknown versions, kinds and operations are told apart from garbage', () => {
  const decode = (...list: number[]) => codeOf(() => decodeCommand(Uint8Array.from(list)));
  assert.is(decode(2, 3), 'UNSUPPORTED_VERSION');
  assert.is(decode(1, 99), 'UNSUPPORTED');
  assert.is(decode(1, 1, 0, 7, 0, 0), 'UNSUPPORTED');
  assert.is(decode(1, 1, 0, 5, 0, 0, 0, 0), 'PROTOCOL', 'a transaction is no write');
  assert.is(decode(1, 3, 0), 'PROTOCOL');
  assert.is(decode(1, 1, 0, 3, 0, 1, 1), 'PROTOCOL', 'a range is no write');
  assert.is(decode(1, 1, 1, 0, 0, 4, 0, 1, 1, 1), 'PROTOCOL', 'sequence 0');
  assert.is(decode(1, 1, 1, 1, 2, 4, 0, 1, 1, 1), 'PROTOCOL', 'more outstanding than written');
  assert.is(decode(1, 1, 0, 1, 32, 1, 1, 0), 'PROTOCOL', 'unknown flag of a put');
  assert.is(decode(1, 1, 0, 1, 2, 1, 1, 0, 0), 'PROTOCOL', 'ttl 0 written out');
  assert.is(decode(1, 1, 0, 1, 4, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0), 'PROTOCOL', 'lease 0 written out');
  assert.is(decode(1, 1, 0, 1, 20, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0), 'PROTOCOL', 'a lease that is ignored');
  assert.is(decode(1, 1, 0, 1, 8, 1, 1, 0), 'PROTOCOL', 'a value that is ignored');
  assert.is(decode(1, 1, 0, 2, 4, 1, 1), 'PROTOCOL', 'unknown flag of a delete');
  assert.is(decode(1, 1, 0, 4, 1, 1, 1, 0), 'PROTOCOL', 'a touch has no flags');
  assert.is(decode(1, 2, 0, 0, 1, 3, 32, 1, 1), 'PROTOCOL', 'unknown flag of a range');
  assert.is(decode(1, 2, 0, 0, 1, 6, 0, 0, 0, 1, 1, 0), 'PROTOCOL', 'a range written as a select');
  assert.is(decode(1, 2, 0, 0, 1, 6, 0, 4, 0, 1, 1, 0), 'fine');
  assert.is(decode(1, 2, 0, 0, 1, 6, 1, 4, 0, 1, 1, 0), 'PROTOCOL', 'unknown flag of a select');
  assert.is(decode(1, 2, 0, 0, 1, 6, 0, 4, 5, 1, 1, 0), 'PROTOCOL', 'unknown target of a sort');
  assert.is(decode(1, 2, 0, 0, 1, 6, 0, 4, 48, 1, 1, 0), 'PROTOCOL', 'unknown order of a sort');
  assert.is(decode(1, 2, 0, 0, 1, 6, 0, 12, 0, 0, 1, 1, 0), 'PROTOCOL', 'limit 0 written out');
  assert.is(decode(1, 2, 0, 0, 1, 5, 1, 0, 0, 0, 0), 'PROTOCOL', 'a nested transaction has no flags');
  assert.is(decode(1, 2, 0, 1, 0x45, 1, 1, 0, 0, 0), 'PROTOCOL', 'unknown comparison');
  assert.is(decode(1, 2, 0, 1, 0x05, 1, 1, 0, 0, 0), 'PROTOCOL', 'unknown target of a comparison');
});

test('an id that makes no sense is not written', () => {
  const id = { session: 1, sequence: 2, acknowledgedBelow: 3 };
  assert.throws(() => encodeCommand(write(put('a', ''), id)), /sequence 2/);
});

test('what a client may send', () => {
  const check = (one: Command, size?: number) => codeOf(() => checkClientCommand(one, LIMITS, size));
  const raw = (...list: number[]) => Uint8Array.from(list);
  const within = { type: 'delete', key: USER_SPACE_START, end: USER_SPACE_END, prevKv: false } as const;
  assert.is(check(write(put('a', '1'))), 'fine');
  assert.is(check(write(put('k'.repeat(64), 'v'.repeat(1024)))), 'fine');
  assert.is(check(write(within)), 'fine');
  assert.is(
    check(txn([range('a'), range('', 'z'), touch('b', 1)], [compare('version', '=', 'a', 0)], [remove('c')])),
    'fine',
  );
  assert.is(check({ type: 'openSession' }), 'fine');
  assert.is(check({ type: 'closeSession', session: 4 }), 'fine');
  assert.is(check({ type: 'expire', keys: [] }), 'INVALID_ARGUMENT');
  assert.is(check({ type: 'compact', revision: 4 }), 'fine');
  assert.is(check(write(put('', '1'))), 'INVALID_ARGUMENT');
  assert.is(check(write({ ...put('', ''), key: raw() })), 'INVALID_ARGUMENT');
  assert.is(check(write({ ...put('', ''), key: raw(0, 0x74, 1) })), 'INVALID_ARGUMENT');
  assert.is(check(write({ ...put('', ''), key: raw(2, 1) })), 'INVALID_ARGUMENT');
  assert.is(check(write({ ...within, end: raw(2, 0) })), 'INVALID_ARGUMENT');
  assert.is(check(write({ ...within, end: raw() })), 'INVALID_ARGUMENT');
  assert.is(check(write({ ...within, key: raw(0) })), 'INVALID_ARGUMENT');
  assert.is(check(write({ ...within, key: raw() })), 'INVALID_ARGUMENT');
  assert.is(check(write({ ...within, end: key('k'.repeat(66)) })), 'KEY_TOO_LARGE');
  assert.is(check(txn([], [compare('version', '=', '', 0)])), 'INVALID_ARGUMENT');
  assert.is(check(write(put('k'.repeat(65), ''))), 'KEY_TOO_LARGE');
  assert.is(check(txn([], [], [put('a', 'v'.repeat(1025))])), 'VALUE_TOO_LARGE');
  assert.is(check(txn(Array.from({ length: 33 }, () => range('a')))), 'TOO_MANY_OPERATIONS');
  assert.is(check(write(put('a', '')), LIMITS.maxCommandBytes + 1), 'REQUEST_TOO_LARGE');
});

test('what a client may send within transactions: every level is looked at', () => {
  const check = (...operations: Operation[]) => codeOf(() => checkClientCommand(txn(operations), LIMITS));
  const deep = (levels: number, inner: Operation): Operation =>
    levels === 0 ? inner : nested([], [], [deep(levels - 1, inner)]);
  assert.is(check(deep(LIMITS.maxTxnDepth, put('a', '1'))), 'fine');
  assert.is(check(deep(LIMITS.maxTxnDepth + 1, put('a', '1'))), 'TXN_TOO_DEEP');
  assert.is(check(deep(2, put('', '1'))), 'INVALID_ARGUMENT');
  assert.is(check(deep(2, put('a', 'v'.repeat(1025)))), 'VALUE_TOO_LARGE');
  assert.is(check(nested([], [compare('version', '=', 'k'.repeat(65), 0)])), 'KEY_TOO_LARGE');
  assert.is(check(nested([], [compare('version', '=', '', 0, 'b')])), 'fine');
  const beyond = { ...compare('version', '=', 'a', 0), end: Uint8Array.of(2, 0) };
  assert.is(check(nested([], [beyond])), 'INVALID_ARGUMENT');
  const tenGets = nested(Array.from({ length: 10 }, () => range('a')));
  assert.is(check(tenGets, tenGets), 'fine');
  assert.is(check(tenGets, tenGets, tenGets), 'TOO_MANY_OPERATIONS');
});

test('transactions that nest too deep are neither written nor read', () => {
  let operation: Operation = put('a', '1');
  for (let level = 0; level < MAX_TXN_DEPTH; level++) operation = nested([operation]);
  const command = txn([operation]);
  assert.equal(plain(decodeCommand(encodeCommand(command))), plain(command));
  assert.is(
    codeOf(() => encodeCommand(txn([nested([operation])]))),
    'TXN_TOO_DEEP',
  );
  const levels = Array.from({ length: 100_000 }, () => [5, 0, 0, 1]).flat();
  assert.is(
    codeOf(() => decodeCommand(Uint8Array.from([1, 2, 0, 0, 1, ...levels]))),
    'TXN_TOO_DEEP',
  );
});

test.run();
