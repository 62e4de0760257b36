/** Calls and answers in words. */

import * as assert from 'uvu/assert';
import type { Command, CommandResult, Operation } from '../../src/kv/command.ts';
import { storedKey, USER_SPACE_END } from '../../src/kv/keyspace.ts';
import {
  describeCommand,
  describeGet,
  describeGot,
  describeResult,
  describeScan,
  describeScanned,
} from '../../src/sim/timeline/call_text.ts';
import type { StoredRecord } from '../../src/storage/record.ts';
import { encodeCommand } from '../../src/wire/command_codec.ts';
import { test } from '../suite.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const key = (text: string): Uint8Array => storedKey(bytes(text));
const id = { session: 0, sequence: 0, acknowledgedBelow: 0 };

const put = (name: string, value: string, ttlMs = 0) =>
  ({
    type: 'put',
    key: key(name),
    value: bytes(value),
    ttlMs,
    lease: 0n,
    prevKv: false,
    ignoreValue: false,
    ignoreLease: false,
  }) as const;

const told = (command: Command): string => describeCommand(encodeCommand(command));

const record = (name: string, value: string): StoredRecord => ({
  key: key(name),
  value: bytes(value),
  modRevision: 7,
  createRevision: 5,
  version: 2,
  subRevision: 0,
  flags: 0,
  lease: 0n,
  expiresAtMs: 0,
});

test('commands', () => {
  assert.is(told({ type: 'write', id, operation: put('a', '1') }), 'put "a" = "1"');
  assert.is(told({ type: 'write', id, operation: put('a', '1', 50) }), 'put "a" = "1" for 50 ms');
  assert.is(
    told({ type: 'write', id, operation: { type: 'touch', key: key('a'), ttlMs: 9 } }),
    'touch "a" for 9 ms',
  );
  const all: Operation = { type: 'delete', key: key('a'), end: key('b'), prevKv: false };
  assert.is(told({ type: 'write', id, operation: all }), 'delete "a" to "b"');
  assert.is(told({ type: 'openSession' }), 'openSession');
  const compare = {
    target: 'value',
    result: '=',
    key: key('a'),
    end: undefined,
    value: bytes('1'),
    lease: 0n,
    number: 0,
  } as const;
  const version = {
    target: 'version',
    result: '>',
    key: key('a'),
    end: undefined,
    value: bytes(''),
    lease: 0n,
    number: 3,
  } as const;
  assert.is(
    told({ type: 'txn', id, compares: [compare, version], success: [put('a', '2')], failure: [all] }),
    'txn if value of "a" = "1", version of "a" > 3: put "a" = "2", else delete "a" to "b"',
  );
  assert.is(told({ type: 'txn', id, compares: [], success: [], failure: [] }), 'txn: nothing');
});

test('what is long or many is cut short', () => {
  const long = told({ type: 'write', id, operation: put('a', 'x'.repeat(5_000)) });
  assert.is(long, `put "a" = "${'x'.repeat(24)}"… (5000 bytes)`);
  const puts = Array.from({ length: 20 }, (_, i) => put(`k${i}`, 'v'));
  const many = told({ type: 'txn', id, compares: [], success: puts, failure: [] });
  assert.match(many, /put "k7" = "v", and 12 more$/);
});

test('reads and what they found', () => {
  assert.is(
    describeGet({ key: key('a'), level: 'linearizable', revision: 0, minRevision: 0 }),
    'get "a" (linearizable)',
  );
  assert.is(describeGot({ revision: 9, record: undefined }), 'nothing at 9');
  assert.is(describeGot({ revision: 9, record: record('a', '1') }), '"1" of 7 (version 2), at 9');
  const request = {
    start: key('a'),
    end: key('c'),
    reverse: false,
    limit: 0,
    maxBytes: 0,
    keysOnly: false,
    level: 'eventual',
    revision: 0,
    minRevision: 0,
  } as const;
  assert.is(describeScan(request), 'scan from "a" to "c" (eventual)');
  assert.is(describeScan({ ...request, end: USER_SPACE_END }), 'scan from "a" to the end (eventual)');
  assert.is(describeScan({ ...request, end: undefined }), 'scan from "a" (eventual)');
  assert.is(describeScanned({ revision: 9, records: [], more: false }), 'nothing, at 9');
  const records = [record('a', '1'), record('b', '2')];
  assert.is(describeScanned({ revision: 9, records, more: true }), '"a" = "1", "b" = "2" and more, at 9');
});

test('results of commands', () => {
  const results: readonly (readonly [CommandResult, string])[] = [
    [{ type: 'put', revision: 3, previous: undefined }, 'revision 3'],
    [{ type: 'delete', revision: 3, deleted: 2, previous: [] }, 'revision 3, deleted 2'],
    [{ type: 'touch', revision: 3, found: true }, 'revision 3'],
    [{ type: 'touch', revision: 3, found: false }, 'revision 3, no such key'],
    [{ type: 'range', revision: 3, records: [record('a', '1')], more: true, count: 1 }, '"a" = "1" and more'],
    [{ type: 'session', revision: 3, session: 8 }, 'session 8'],
    [{ type: 'failed', revision: 3, code: 'COMPACTED', message: 'gone' }, 'refused: COMPACTED'],
    [{ type: 'done', revision: 3 }, 'revision 3'],
    [{ type: 'txn', revision: 3, succeeded: false, results: [] }, 'revision 3, went the other way: nothing'],
    [
      {
        type: 'txn',
        revision: 3,
        succeeded: true,
        results: [{ type: 'put', revision: 3, previous: undefined }],
      },
      'revision 3, succeeded: revision 3',
    ],
  ];
  for (const [result, words] of results) assert.is(describeResult(result), words);
});

test.run();
