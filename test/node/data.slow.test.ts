/** Expiry, watches and exactly-once writes on a running cluster. */

import * as assert from 'uvu/assert';
import type { WatchEvent } from '../../src/client/store_types.ts';
import type { KvError } from '../../src/errors.ts';
import { storedKey } from '../../src/kv/keyspace.ts';
import { encodeCommand } from '../../src/wire/command_codec.ts';
import { test } from '../suite.ts';
import { ClusterLab, persistentPut, text, until } from './cluster_lab.ts';

const MIB = 1024 * 1024;

test('a key with a time to live goes after its time, one that was touched or written anew stays', async () => {
  const lab = await ClusterLab.start(3);
  try {
    const { store } = await lab.leader();
    await store.put('short', '1', { ttlMs: 300 });
    await store.put('touched', '1', { ttlMs: 300 });
    await store.put('rewritten', '1', { ttlMs: 300 });
    await store.put('persistent', '1', { ttlMs: 300 });
    const entry = await store.getEntry('short');
    assert.ok(entry!.expiresAtMs! > Date.now());
    assert.is(await store.touch('touched', { ttlMs: 60_000 }), true);
    assert.is(await store.touch('persistent', { ttlMs: 0 }), true);
    assert.is(await store.touch('missing', { ttlMs: 1_000 }), false);
    await store.put('rewritten', '2');
    await until(async () => (await store.get('short')) === undefined, 'the key to expire');
    assert.ok(Date.now() >= entry!.expiresAtMs!, 'not before its time');
    assert.is(text(await store.get('touched')), '1');
    assert.is(text(await store.get('rewritten')), '2');
    assert.is((await store.getEntry('persistent'))?.expiresAtMs, undefined);
    for (const follower of lab.nodes.values()) assert.is(await follower.store.get('short'), undefined);
  } finally {
    await lab.stop();
  }
});

test('expiry goes on under the next leader', async () => {
  const lab = await ClusterLab.start(3);
  try {
    const { id, store } = await lab.leader();
    for (let i = 0; i < 20; i++) await store.put(`k${i}`, '1', { ttlMs: 400 });
    lab.crash(id);
    const next = await lab.leader();
    await until(async () => {
      for await (const _ of next.store.scan({ prefix: 'k' })) return false;
      return true;
    }, 'all keys to expire');
  } finally {
    await lab.stop();
  }
});

test('a watch on a follower sees every change once, in order, also from the past', async () => {
  const lab = await ClusterLab.start(3);
  try {
    const leader = await lab.leader();
    const follower = lab.follower(leader);
    for (let i = 0; i < 100; i++) await leader.store.put(`w/${i % 10}`, String(i));
    const stop = new AbortController();
    const events: WatchEvent[] = [];
    const watching = (async () => {
      for await (const event of follower.store.watch({
        prefix: 'w/',
        fromRevision: 2,
        signal: stop.signal,
      })) {
        events.push(event);
      }
    })();
    for (let i = 100; i < 200; i++) await leader.store.put(`w/${i % 10}`, String(i));
    await leader.store.put('elsewhere', 'x');
    await leader.store.delete('w/3');
    await until(() => events.at(-1)?.type === 'delete', 'the last event');
    stop.abort();
    await watching;
    assert.equal(
      events.slice(0, 200).map(({ value }) => Number(text(value))),
      Array.from({ length: 200 }, (_, i) => i),
    );
    assert.is(events.length, 201);
  } finally {
    await lab.stop();
  }
});

test('a watcher that reads slowly loses nothing and keeps memory bounded', async () => {
  const lab = await ClusterLab.start(1, { node: { maxWatchQueueBytes: 64 * 1024 } });
  try {
    const { store } = await lab.leader();
    const stop = new AbortController();
    const seen: number[] = [];
    const watching = (async () => {
      for await (const event of store.watch({ prefix: 'w/', signal: stop.signal })) {
        seen.push(Number(text(event.value)!.slice(0, 6)));
        if (seen.length % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      }
    })();
    await store.put('w/start', '000000');
    await until(() => seen.length === 1, 'the watch to be there');
    for (let i = 1; i <= 1_500; i++) await store.put(`w/${i}`, String(i).padStart(6, '0') + 'v'.repeat(500));
    await until(() => seen.at(-1) === 1_500, 'the slow watcher to see the end');
    stop.abort();
    await watching;
    assert.equal(
      seen,
      Array.from({ length: 1_501 }, (_, i) => i),
    );
  } finally {
    await lab.stop();
  }
});

test('a watch from a compacted revision ends with COMPACTED', async () => {
  const lab = await ClusterLab.start(1, { node: { historyRevisions: 20 } });
  try {
    const { store, node } = await lab.leader();
    for (let i = 0; i < 60; i++) await store.put('x', String(i));
    await until(() => node.service.status().compactRevision > 2, 'compaction');
    const code = await (async () => {
      for await (const _ of store.watch({ key: 'x', fromRevision: 2 })) return 'an event';
      return 'the end';
    })().catch((error: KvError) => error.code);
    assert.is(code, 'COMPACTED');
  } finally {
    await lab.stop();
  }
});

test('a scan that has come whole holds no history back, one that has pages to come does', async () => {
  const lab = await ClusterLab.start(1, { node: { historyRevisions: 20 } });
  try {
    const { store, node } = await lab.leader();
    const compacted = (): number => node.service.status().compactRevision;
    const put = async (): Promise<void> => {
      for (let i = 0; i < 60; i++) await store.put(`x${i % 3}`, String(i));
    };
    await store.put('x', '');
    let count = 0;
    for await (const _ of store.scan({ prefix: 'x' })) count++;
    assert.is(count, 1);
    await put();
    await until(() => compacted() > 10, 'compaction past what was scanned');
    const pages = store.scan({ prefix: 'x', limit: 1 })[Symbol.asyncIterator]();
    assert.not((await pages.next()).done);
    const { revision } = node.service.status();
    await put();
    await until(() => compacted() >= revision, 'compaction up to what is being scanned');
    assert.is(compacted(), revision);
  } finally {
    await lab.stop();
  }
});

test('a watch goes on without a gap on a node that was brought forward by a snapshot', async () => {
  const lab = await ClusterLab.start(3, {
    storage: {
      memtableSizeBytes: MIB,
      checkpointLogBytes: MIB,
      logRetainBytes: 0,
      segmentSizeBytes: 256 * 1024,
    },
  });
  try {
    const leader = await lab.leader();
    const cut = lab.follower(leader);
    const stop = new AbortController();
    const seen: number[] = [];
    const watching = (async () => {
      for await (const event of cut.store.watch({ prefix: 'w/', fromRevision: 2, signal: stop.signal })) {
        seen.push(event.revision);
      }
    })();
    await leader.store.put('w/first', '1');
    await until(() => seen.length === 1, 'the first event');
    lab.network.partition(
      [cut.id],
      [1, 2, 3].filter((id) => id !== cut.id),
    );
    const revisions = [...seen];
    const segments = (): Promise<string[]> => lab.disks.get(leader.id)!.list(`node-${leader.id}/log`);
    const [firstSegment] = await segments();
    for (let i = 0; i < 1_200; i++) {
      revisions.push((await leader.store.put(`w/${i}`, 'v'.repeat(2_000))).revision);
    }
    await until(async () => !(await segments()).includes(firstSegment!), 'the log to be cut');
    lab.network.heal();
    await until(() => seen.length >= revisions.length, 'the watcher to see everything');
    stop.abort();
    await watching;
    assert.equal(seen, revisions);
  } finally {
    await lab.stop();
  }
});

test('a repeated write of a session is applied once, through whichever node it comes, also after a crash of the leader', async () => {
  const lab = await ClusterLab.start(3);
  try {
    const leader = await lab.leader();
    const opened = await leader.node.service.write(encodeCommand({ type: 'openSession' }));
    assert.is(opened.type, 'session');
    const session = opened.type === 'session' ? opened.session : 0;
    const command = encodeCommand({
      type: 'write',
      id: { session, sequence: 1, acknowledgedBelow: 1 },
      operation: {
        type: 'put',
        key: storedKey(Buffer.from('once')),
        value: Buffer.from('x'),
        ttlMs: 0,
        lease: 0n,
        prevKv: false,
        ignoreValue: false,
        ignoreLease: false,
      },
    });
    const first = await leader.node.service.write(command);
    const second = await lab.follower(leader).node.service.write(command);
    assert.is(second.revision, first.revision);
    lab.crash(leader.id);
    await persistentPut(lab, 'other', 'y');
    const third = await (await lab.leader()).node.service.write(command);
    assert.is(third.revision, first.revision);
    assert.is((await (await lab.leader()).store.getEntry('once'))?.version, 1);
  } finally {
    await lab.stop();
  }
});

test.run();
