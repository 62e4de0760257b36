/** Settings are checked once: an error names the setting, the value given and what is allowed, and what comes out is whole and frozen. */

import * as assert from 'uvu/assert';
import { parseConfig } from '../src/config.ts';
import { KvError } from '../src/errors.ts';
import { test } from './suite.ts';

/** The message with which an input is refused. */
function refusal(input: unknown): string {
  try {
    parseConfig(input);
  } catch (error) {
    assert.instance(error, KvError);
    assert.is((error as KvError).code, 'CONFIG_INVALID');
    assert.is((error as KvError).retryable, false);
    return (error as KvError).message;
  }
  throw new Error(`accepted: ${JSON.stringify(input)}`);
}

test('no settings at all: every default is there, and the defaults pass their own checks', () => {
  const config = parseConfig(undefined);
  assert.is(config.storage.durability, 'fsync');
  assert.is(config.storage.tree, 'tables');
  assert.is(config.storage.blockSizeBytes, 4096);
  assert.is(config.storage.tableSizeBytes, 64 * 1024 * 1024);
  assert.is(config.storage.blockCacheBytes, 128 * 1024 * 1024);
  assert.is(config.storage.compression, 'none');
  assert.is(config.storage.compactionRateBytes, undefined);
  assert.is(config.door.clientListen, '127.0.0.1:7400');
  assert.is(config.door.clientAdvertise, undefined);
  assert.is(config.raft.heartbeatTicks, 2);
  assert.equal(parseConfig({}), config);
  assert.equal(parseConfig({ storage: {} }), config);
});

test('what is given stands, and what is not given keeps its default', () => {
  const config = parseConfig({ storage: { durability: 'os' }, door: { clientListen: '[::1]:0' } });
  assert.is(config.storage.durability, 'os');
  assert.is(config.storage.relaxedFlushMs, 50);
  assert.is(config.door.clientListen, '[::1]:0');
  assert.is(parseConfig({ node: { historyRevisions: 0 } }).node.historyRevisions, 0);
});

test('a whole parsed configuration can be parsed again', () => {
  const config = parseConfig({ limits: { maxKeyBytes: 100 } });
  assert.equal(parseConfig(config), config);
});

test('a configuration cannot be changed afterwards', () => {
  const config = parseConfig({});
  assert.ok(Object.isFrozen(config));
  for (const section of Object.values(config)) assert.ok(Object.isFrozen(section));
  assert.throws(() => {
    (config.limits as { maxKeyBytes: number }).maxKeyBytes = 1;
  }, TypeError);
});

/** What is wrong, and the three things that the message must say: setting, value, what is allowed. */
const WRONG: readonly (readonly [unknown, string])[] = [
  [{ limits: { maxKeyBytes: 0 } }, 'limits.maxKeyBytes is 0, allowed: at least 1'],
  [{ limits: { maxKeyBytes: 65_537 } }, 'limits.maxKeyBytes is 65537, allowed: at most 65536'],
  [{ limits: { maxKeyBytes: '10' } }, 'limits.maxKeyBytes is "10", allowed: a value of type number'],
  [{ limits: { maxKeyBytes: 1.5 } }, 'limits.maxKeyBytes is 1.5, allowed: a value of type int'],
  [{ limits: { maxKeyBytes: null } }, 'limits.maxKeyBytes is null, allowed: a value of type number'],
  [{ storage: { durability: 'never' } }, 'storage.durability is "never", allowed: fsync, os, relaxed'],
  [{ storage: { tree: 'b' } }, 'storage.tree is "b", allowed: tables, rocksdb'],
  [
    { door: { clientListen: 'here' } },
    'door.clientListen is "here", allowed: must be HOST:PORT; door.clientListen is "here", allowed: the port must be 0 to 65535',
  ],
  [{ storage: { compression: 'zip' } }, 'storage.compression is "zip", allowed: none, lz4'],
  [{ storage: { blockSizeBytes: 512 } }, 'storage.blockSizeBytes is 512, allowed: at least 1024'],
  [
    { storage: { tableSizeBytes: 2 ** 31 } },
    'storage.tableSizeBytes is 2147483648, allowed: at most 1073741824',
  ],
  [{ storage: { compactionRateBytes: 0 } }, 'storage.compactionRateBytes is 0, allowed: at least 1048576'],
  [{ door: { clientListen: '::1:80' } }, 'door.clientListen is "::1:80", allowed: must be HOST:PORT'],
  [{ door: { peerListen: 'h:65536' } }, 'door.peerListen is "h:65536", allowed: the port must be 0 to 65535'],
  [{ door: { peerAdvertise: 7 } }, 'door.peerAdvertise is 7, allowed: a value of type string'],
  [{ storage: 5 }, 'storage is 5, allowed: a value of type object'],
  [5, 'configuration is 5, allowed: a value of type object'],
  ['{}', 'configuration is "{}", allowed: a value of type object'],
];

for (const [input, message] of WRONG) {
  test(`refused: ${JSON.stringify(input)}`, () => {
    assert.is(refusal(input), `wrong configuration: ${message}`);
  });
}

test('a setting that nobody knows is refused by its name, wherever it stands', () => {
  assert.is(
    refusal({ limits: { maxKeyBites: 5 } }),
    'wrong configuration: unknown setting limits.maxKeyBites',
  );
  assert.is(refusal({ a: 1, b: 2 }), 'wrong configuration: unknown setting a, b');
});

test('every wrong setting is named, not only the first', () => {
  assert.is(
    refusal({ raft: { tickMs: 1 }, node: { logLevel: 'loud' } }),
    'wrong configuration: raft.tickMs is 1, allowed: at least 5; ' +
      'node.logLevel is "loud", allowed: silent, fatal, error, warn, info, debug, trace',
  );
});

test('an election must take longer than two heartbeats', () => {
  assert.is(
    refusal({ raft: { heartbeatTicks: 5, electionTicks: 10 } }),
    'wrong configuration: raft.electionTicks is 10, allowed: more than twice raft.heartbeatTicks (5)',
  );
  assert.is(parseConfig({ raft: { heartbeatTicks: 5, electionTicks: 11 } }).raft.electionTicks, 11);
});

test('the largest value must fit a command, and the largest command a frame', () => {
  const small = { maxKeyBytes: 1024, maxValueBytes: 64 * 1024 };
  assert.match(
    refusal({ limits: { ...small, maxCommandBytes: 66 * 1024 - 1 } }),
    'limits.maxCommandBytes is 67583, allowed: at least maxValueBytes + maxKeyBytes + 1 KiB',
  );
  assert.is(
    parseConfig({ limits: { ...small, maxCommandBytes: 66 * 1024 } }).limits.maxCommandBytes,
    66 * 1024,
  );
  assert.match(
    refusal({ door: { maxFrameBytes: 16 * 1024 * 1024 } }),
    'door.maxFrameBytes is 16777216, allowed: at least limits.maxCommandBytes + 1 KiB (16778240)',
  );
});

test.run();
