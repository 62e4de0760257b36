/** Writes and reads of a node that is its whole cluster, carried out within the call: same answers, same order, same promises as the ordinary way. */

import * as assert from 'uvu/assert';
import { createStore } from '../../src/client/store.ts';
import type { Store } from '../../src/client/store_types.ts';
import { type ConfigInput, parseConfig } from '../../src/config.ts';
import { EmbeddedChannel } from '../../src/embedded_channel.ts';
import { KvError } from '../../src/errors.ts';
import type { CommandResult } from '../../src/kv/command.ts';
import { storedKey } from '../../src/kv/keyspace.ts';
import { StateMachine } from '../../src/kv/state_machine.ts';
import { Applier } from '../../src/node/applier.ts';
import { foundAlone } from '../../src/node/founding.ts';
import { KvorumNode } from '../../src/node/node.ts';
import { Proposals } from '../../src/node/proposals.ts';
import { silentLogger } from '../../src/observability/logger.ts';
import { ENTRY_COMMAND } from '../../src/raft/types.ts';
import { realPorts } from '../../src/real_ports.ts';
import { StorageEngine } from '../../src/storage/engine.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { TablesTree } from '../../src/storage/tables/tables_tree.ts';
import { decodeCommand, encodePut } from '../../src/wire/command_codec.ts';
import { SingleEntry } from '../../src/wire/entry_codec.ts';
import { MemoryNetwork } from '../../transports/memory.ts';
import { LateTree } from '../storage/late_tree.ts';
import { test } from '../suite.ts';
import { until } from './cluster_lab.ts';

const MIB = 1024 * 1024;

interface Lone {
  readonly node: KvorumNode;
  readonly store: Store;
  readonly ended: () => KvError | undefined;
}

async function start(
  disk: MemoryDisk,
  config: ConfigInput = {},
  batching: 'turn' | 'io' = 'turn',
): Promise<Lone> {
  const ports = realPorts();
  const parsed = parseConfig({
    ...config,
    storage: {
      durability: 'os',
      memtableSizeBytes: MIB,
      segmentSizeBytes: MIB,
      preallocateBytes: 64 * 1024,
      ...config.storage,
    },
  });
  let ended: KvError | undefined;
  const address = 'lone:0';
  const node = await KvorumNode.start({
    path: 'node',
    config: parsed,
    ports,
    disk,
    logger: silentLogger,
    version: 'test',
    pid: 1,
    rssBytes: () => 0,
    create: async () =>
      foundAlone(ports.random, { peerAddress: address, clientAddress: address }, parsed.storage.tree),
    transport: (identity) => new MemoryNetwork({ ports }).transport(identity.nodeId),
    endpoints: [],
    batching,
    onEnd: (error) => {
      ended = error;
    },
  });
  await node.whenLed(10_000);
  await node.whenApplied(10_000);
  const store = createStore({
    channel: new EmbeddedChannel(node.service, () => node.stop()),
    limits: parsed.limits,
    ports,
    maxSessionResults: parsed.limits.maxSessionResults,
  });
  return { node, store, ended: () => ended };
}

const text = (bytes: Uint8Array | undefined): string | undefined =>
  bytes === undefined ? undefined : Buffer.from(bytes).toString();

async function errorOf(work: Promise<unknown>): Promise<KvError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof KvError) return error;
    throw error;
  }
  throw new Error('expected a KvError');
}

test('a write is applied when the call returns, and a read of the same turn sees it', async () => {
  const { node, store } = await start(new MemoryDisk());
  const before = node.service.status().revision;
  const puts = [
    store.put('a', '1'),
    store.put('b', Buffer.from('2'), { ttlMs: 60_000 }),
    store.delete('none'),
  ];
  assert.is(node.service.status().revision, before + 2, 'before any of the promises was looked at');
  const batch = store.batch([
    { type: 'put', key: 'c', value: '3' },
    { type: 'delete', key: 'a' },
  ]);
  assert.is(node.service.status().revision, before + 3);
  const read = store.get('c');
  assert.equal(
    (await Promise.all(puts)).map(({ revision }) => revision),
    [before + 1, before + 2, before + 2],
  );
  assert.is((await batch).revision, before + 3);
  assert.is(text(await read), '3');
  assert.is(await store.get('a'), undefined);
  assert.ok((await store.getEntry('b'))!.expiresAtMs! > Date.now());
  assert.is(text(await store.get('b', { level: 'sequential' })), '2');
  await store.close();
});

test('revisions follow the order of the calls, whichever way each of them goes', async () => {
  const disk = new MemoryDisk();
  const { node, store } = await start(disk);
  const large = Buffer.alloc(300 * 1024, 7);
  const first = node.service.status().revision;
  const calls: Promise<{ revision: number }>[] = [];
  for (let i = 0; i < 500; i++) {
    // Every 50th does not fit the short way, every 64th gives way to I/O: what comes behind them must not overtake.
    calls.push(store.put(`k${i % 100}`, i % 50 === 49 ? large : `v${i}`));
    if (i % 7 === 0) calls.push(store.delete(`k${i % 100}`));
    if (i % 30 === 0) await calls.at(-1);
  }
  const revisions = (await Promise.all(calls)).map(({ revision }) => revision);
  assert.equal(
    revisions,
    [...revisions.keys()].map((i) => first + 1 + i),
  );
  const entries: string[] = [];
  for await (const { key, modRevision } of store.scan()) entries.push(`${text(key)}@${modRevision}`);
  await store.close();
  const again = await start(disk);
  const after: string[] = [];
  for await (const { key, modRevision } of again.store.scan()) after.push(`${text(key)}@${modRevision}`);
  assert.equal(after, entries);
  await again.store.close();
});

test('what was acknowledged survives the end of the process, through flushes and segments', async () => {
  const disk = new MemoryDisk();
  const { node, store } = await start(disk);
  const value = 'x'.repeat(1000);
  for (let i = 0; i < 4000; i++) await store.put(`k${i}`, `${value}${i}`);
  await store.delete('k17');
  const { revision } = node.service.status();
  // Not synced, but with the operating system.
  node.halt();
  disk.crash('none', Math.random);
  const again = await start(disk);
  assert.is(again.node.service.status().revision, revision);
  assert.is(text(await again.store.get('k3999')), `${value}3999`);
  assert.is(await again.store.get('k17'), undefined);
  await again.store.close();
});

test('a caller who awaits each write, or each read, does not keep timers and I/O from running', async () => {
  const { store } = await start(new MemoryDisk());
  for (const work of [() => store.put('k', 'v'), () => store.get('k')]) {
    let turns = 0;
    let going = true;
    const turn = (): void => {
      turns++;
      if (going) setImmediate(turn);
    };
    setImmediate(turn);
    for (let i = 0; i < 4_000; i++) await work();
    going = false;
    assert.ok(turns >= 5, `${turns} turns`);
  }
  await store.close();
});

test('a failed write to the log ends the node: nothing is applied, and the outcome is called unknown', async () => {
  const disk = new MemoryDisk();
  const { node, store, ended } = await start(disk);
  await store.put('a', '1');
  const { revision } = node.service.status();
  disk.failWrite(1);
  const error = await errorOf(store.put('a', '2'));
  assert.is(error.code, 'UNAVAILABLE');
  assert.is(error.maybeApplied, true);
  assert.is(ended()?.code, 'STORAGE_FAILED');
  assert.is(node.service.status().revision, revision);
  assert.is((await errorOf(store.put('a', '3'))).code, 'UNAVAILABLE');
  assert.is((await errorOf(store.get('a'))).code, 'UNAVAILABLE');
  await store.close();
});

test('limits and refusals are those of the ordinary way', async () => {
  const config = { limits: { maxKeyBytes: 10, maxValueBytes: 20 } };
  for (const batching of ['turn', 'io'] as const) {
    const { store } = await start(new MemoryDisk(), config, batching);
    assert.is((await errorOf(store.put('', 'v'))).code, 'INVALID_ARGUMENT');
    assert.is((await errorOf(store.put('k'.repeat(11), 'v'))).code, 'KEY_TOO_LARGE');
    assert.is((await errorOf(store.put('k', 'v'.repeat(21)))).code, 'VALUE_TOO_LARGE');
    assert.is((await errorOf(store.get(''))).code, 'INVALID_ARGUMENT');
    await store.put('ä'.repeat(5), 'ß'.repeat(10));
    assert.is(text(await store.get('ä'.repeat(5))), 'ß'.repeat(10));
    await store.close();
    assert.is((await errorOf(store.put('k', 'v'))).code, 'CLOSED');
    assert.is((await errorOf(store.get('k'))).code, 'CLOSED');
  }
});

test('batches of any size: one revision, a key stands in them once, and their memory is the caller’s again', async () => {
  const { node, store } = await start(new MemoryDisk());
  const before = node.service.status().revision;
  const value = Buffer.alloc(3000);
  for (const [round, count] of [2, 16, 17, 300].entries()) {
    value.fill(round);
    const operations = Array.from({ length: count }, (_, i) => ({
      type: 'put' as const,
      key: Buffer.from(`${count}/${i}`),
      value,
    }));
    const done = store.batch(operations);
    // The largest does not fit the short way.
    assert.is(node.service.status().revision, before + round + (count < 300 ? 1 : 0));
    value.fill(99);
    assert.is((await done).revision, before + round + 1);
    const twice = await errorOf(store.batch([...operations, { type: 'delete', key: `${count}/0` }]));
    assert.is(twice.code, 'DUPLICATE_KEY');
    assert.is(twice.details['key'], `${count}/0`);
  }
  for (const [round, count] of [2, 16, 17, 300].entries()) {
    for (let i = 0; i < count; i++) {
      const entry = await store.getEntry(`${count}/${i}`);
      assert.ok(entry!.value.every((byte) => byte === round));
      assert.is(entry!.modRevision, before + round + 1);
    }
  }
  await store.close();
});

test('values that were read are the caller’s own', async () => {
  const { store } = await start(new MemoryDisk());
  for (let i = 0; i < 50; i++) await store.put(`k${i}`, Buffer.alloc(900 + i, i));
  const kept: Uint8Array[] = [];
  for (let i = 0; i < 50; i++) kept.push((await store.get(`k${i}`))!);
  kept[3]!.fill(255);
  for (let i = 0; i < 50; i++) await store.put(`k${i}`, 'other');
  for (const [i, value] of kept.entries()) {
    assert.is(value.length, 900 + i);
    assert.ok(value.every((byte) => byte === (i === 3 ? 255 : i)));
  }
  assert.is(text(await store.get('k3')), 'other');
  await store.close();
});

test('a watch sees what is written within calls, and a learner that joins gets it', async () => {
  const { node, store } = await start(new MemoryDisk());
  const stop = new AbortController();
  const seen: string[] = [];
  const watching = (async () => {
    for await (const { value } of store.watch({ key: 'w', fromRevision: 1, signal: stop.signal })) {
      seen.push(text(value!)!);
      if (seen.length === 300) break;
    }
  })();
  for (let i = 0; i < 300; i++) await store.put('w', String(i));
  await watching;
  assert.equal(
    seen,
    Array.from({ length: 300 }, (_, i) => String(i)),
  );
  // With another member the node is not alone any more: its log must be able to give the entries that it did not keep in memory.
  await node.service.memberAdd({ peerAddress: 'other:0', clientAddress: 'other:1' });
  await store.put('w', 'after');
  await until(async () => text(await store.get('w')) === 'after', 'the write beside a learner');
  await store.close();
});

test('an entry whose reads must come from the disk is applied when they are there', async () => {
  const ports = realPorts();
  const tree = new LateTree(await TablesTree.open({ disk: new MemoryDisk(), path: '/tree', ports }));
  const config = { memtableSizeBytes: MIB, maxFrozenMemtables: 2 };
  const engine = new StorageEngine({ config, tree, ports });
  const { limits } = parseConfig({});
  const stateMachine = new StateMachine({ engine, limits });
  const proposals = new Proposals({
    maxEntryBytes: MIB,
    maxPendingBytes: MIB,
    propose: () => ({ ok: false, reason: 'notLeader' }),
    hasRoom: () => true,
    held: () => false,
  });
  const indexes: number[] = [];
  const failures: unknown[] = [];
  const applier = new Applier({
    engine,
    stateMachine,
    proposals,
    clock: ports.clock,
    timers: ports.timers,
    appliedIndex: 0,
    appliedTerm: 1,
    appliedConfiguration: { voters: [1], votersOutgoing: [], learners: [], members: [], lastId: 1 },
    captureState: () => new Uint8Array(0),
    onApplied: (index) => indexes.push(index),
    onConfiguration: () => undefined,
    onDamage: (error) => failures.push(error),
    onFailure: (error) => failures.push(error),
  });
  const single = new SingleEntry(1000);
  const apply = (index: number): CommandResult | undefined => {
    const command = encodePut('k', `v${index}`, 0, 0, 0, 0);
    const at = single.begin(command.length, 5);
    single.bytes.set(command, at);
    const data = single.end(at + command.length);
    return applier.applyAtOnce({ index, term: 1, kind: ENTRY_COMMAND, data }, decodeCommand(command), 5);
  };
  assert.equal(apply(1), { type: 'put', revision: 2, previous: undefined });
  assert.equal(apply(2), { type: 'put', revision: 3, previous: undefined });
  await engine.checkpoint(2, 1, () => new Uint8Array(0));

  assert.is(apply(3), undefined, 'the tree is asked for the version before');
  const waiting = proposals.resultOf(3, 1, 10, Number.POSITIVE_INFINITY);
  assert.equal([applier.idle, stateMachine.revision, proposals.pending], [false, 3, true]);
  // The caller's memory is free for the next entry.
  single.bytes.fill(0);
  assert.equal(await waiting, { type: 'put', revision: 4, previous: undefined });
  await until(async () => applier.idle, 'the applier to come to rest');
  assert.equal([applier.appliedIndex, proposals.pending], [3, false]);
  assert.equal(indexes, [3]);
  const record = await engine.get(storedKey(Buffer.from('k')), 4);
  assert.equal([text(record?.value), record?.version], ['v3', 3]);
  assert.equal(failures, []);
  await engine.close();
});

test.run();
