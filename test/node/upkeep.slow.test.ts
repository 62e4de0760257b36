/** Compaction, hashes, alarms and reads at a time on running clusters. */

import * as assert from 'uvu/assert';
import { storedKey } from '../../src/kv/keyspace.ts';
import type { Alarm } from '../../src/kv/upkeep_command.ts';
import type { KvService } from '../../src/node/kv_service.ts';
import { findDiffering } from '../../src/node/upkeep_service.ts';
import type { MemberHash } from '../../src/wire/upkeep_messages.ts';
import { codeOf } from '../outcomes.ts';
import { test } from '../suite.ts';
import { type ClusterLab, text, until, withLab } from './cluster_lab.ts';

const bytes = (words: string): Uint8Array => new TextEncoder().encode(words);

function servicesOf(lab: ClusterLab): KvService[] {
  return [...lab.nodes.values()].map(({ node }) => node.service);
}

test('compaction by hand: answers as etcd gives them, from any node, and in the past nothing can be read', () =>
  withLab(3, async (lab) => {
    const leader = await lab.leader();
    const { store, node } = lab.follower(leader);
    for (let i = 0; i < 10; i++) await leader.store.put('a', String(i));
    const compact = (revision: number, physical = false) => node.service.compact({ revision, physical });
    assert.is(await compact(5), 11);
    assert.is(await codeOf(compact(5)), 'COMPACTED');
    assert.is(await codeOf(compact(3)), 'COMPACTED');
    assert.is(await codeOf(compact(12)), 'FUTURE_REVISION');
    assert.is(await compact(6, true), 11);
    assert.ok((node.parts.storage.engine.durable?.index ?? 0) > 0, 'flushed');
    assert.is(await codeOf(store.get('a', { revision: 5 })), 'COMPACTED');
    assert.is(text(await store.get('a', { revision: 6 })), '4');
    const sink = { deliver: () => true, end: () => undefined };
    const watch = (fromRevision: number) =>
      node.service.watch({ start: storedKey(bytes('a')), end: undefined, fromRevision, prevKv: false }, sink);
    assert.is(await codeOf(watch(6)), 'COMPACTED');
    assert.is(await codeOf(watch(7)), 'fine');
  }));

test('hashes are equal on nodes whose trees have dropped more or less, and change with what is stored', () =>
  withLab(3, async (lab) => {
    const { store, node } = await lab.leader();
    for (let i = 0; i < 300; i++)
      await store.put(`k${i % 40}`, `value ${i}`, i % 7 === 0 ? { ttlMs: 1e9 } : {});
    for (let i = 0; i < 10; i++) await store.delete(`k${i}`);
    const before = await node.service.clusterHash();
    assert.equal(before.differing, []);
    assert.is(before.members.length, 3);
    assert.is(before.members[0]!.hash!.versions, 310);
    const asked = await node.service.hash({ revision: 0, compactRevision: 0 });
    assert.is(asked.hash, before.members[0]!.hash!.hash);

    // One node drops at once what may go, the others when they come to it.
    const other = servicesOf(lab).find((service) => service !== node.service)!;
    await other.compact({ revision: 305, physical: true });
    const after = await node.service.clusterHash();
    assert.equal(after.differing, []);
    assert.is(after.compactRevision, 305);
    const hashes = new Set(after.members.map(({ hash }) => hash?.hash));
    assert.is(hashes.size, 1);
    assert.not(hashes.has(before.members[0]!.hash!.hash), 'less is visible');
    // Of 40 keys at revision 305 three are deleted; seven more go later.
    assert.is(after.members[0]!.hash!.versions, 36 + 6);

    assert.is(await codeOf(other.hash({ revision: 304, compactRevision: 0 })), 'COMPACTED');
    assert.is(await codeOf(other.hash({ revision: 999, compactRevision: 0 })), 'FUTURE_REVISION');
    await store.put('k20', 'other');
    assert.not(hashes.has((await node.service.hash({ revision: 0, compactRevision: 0 })).hash));
    const then = await other.hash({ revision: after.revision, compactRevision: 0 });
    assert.ok(hashes.has(then.hash), 'at a revision in the past it is what it was');
  }));

test('known failure 9: a node whose data differ is found out, and nothing is written until somebody has looked', () =>
  withLab(3, async (lab) => {
    const leader = await lab.leader();
    const strange = lab.follower(leader);
    await leader.store.put('a', '1');
    await until(async () => (await strange.store.get('a', { level: 'eventual' })) !== undefined, 'the write');
    strange.node.parts.storage.engine.put(storedKey(bytes('b')), bytes('x'), 2, 2, 1, 9, 0, 0n, 0);
    const { differing } = await leader.node.service.clusterHash();
    assert.equal(differing, [strange.id]);
    const { alarms } = await strange.node.service.alarms();
    assert.equal(alarms, [{ type: 'corrupt', member: strange.id, byNode: true }]);
    assert.is(await codeOf(leader.store.put('a', '2')), 'ALARM_CORRUPT');
    assert.is(text(await leader.store.get('a')), '1');
    await strange.node.service.changeAlarm('clear', { ...alarms[0]!, byNode: false });
    assert.is(await codeOf(leader.store.put('a', '2')), 'fine');
  }));

test('an alarm raised by hand is seen on every node, and stays until it is cleared', () =>
  withLab(3, async (lab) => {
    const alarm: Alarm = { type: 'nospace', member: 7, byNode: false };
    const leader = await lab.leader();
    const follower = lab.follower(leader);
    assert.equal((await follower.node.service.changeAlarm('raise', alarm)).alarms, [alarm]);
    for (const service of servicesOf(lab)) assert.equal((await service.alarms()).alarms, [alarm]);
    assert.is(await codeOf(leader.store.put('a', '1')), 'ALARM_NO_SPACE');
    assert.is(await codeOf(leader.store.delete('a')), 'fine');
    lab.crash(leader.id);
    const next = await lab.leader();
    assert.is(await codeOf(next.store.put('a', '1')), 'ALARM_NO_SPACE');
    assert.equal((await next.node.service.changeAlarm('clear', alarm)).alarms, [alarm]);
    assert.equal((await next.node.service.changeAlarm('clear', alarm)).alarms, []);
    assert.is(await codeOf(next.store.put('a', '1')), 'fine');
  }));

test('the leader takes back an alarm that another node raised for want of room, when it has room itself', () =>
  withLab(3, async (lab) => {
    const { node, store } = await lab.leader();
    await node.service.changeAlarm('raise', { type: 'nospace', member: 9, byNode: true });
    await until(async () => (await node.service.alarms()).alarms.length === 0, 'the alarm to go');
    assert.is(await codeOf(store.put('a', '1')), 'fine');
  }));

test('reads at a time show what was there then', () =>
  withLab(1, async (lab) => {
    const { node, store, ports } = await lab.leader();
    const key = storedKey(bytes('a'));
    await store.put('a', '1');
    // The store's clock and this one agree to some milliseconds only.
    const firstMs = ports.clock.wallMs() + 50;
    const at = async (atTimeMs: number): Promise<string | undefined> => {
      const request = { key, level: 'linearizable', minRevision: 0, revision: 0, atTimeMs } as const;
      const { record } = await node.service.get(request);
      return record === undefined ? undefined : text(new Uint8Array(record.value));
    };
    await until(async () => ports.clock.wallMs() > firstMs + 1_000, 'a second to pass');
    await store.put('a', '2');
    assert.is(await at(firstMs), '1');
    assert.is(await at(firstMs - 1e6), undefined, 'before the first write');
    assert.is(await at(ports.clock.wallMs() + 50), '2', 'a clock that is a little ahead is waited for');
    assert.is(await codeOf(at(ports.clock.wallMs() + 1e6)), 'FUTURE_REVISION');
    await node.service.compact({ revision: 3, physical: false });
    assert.is(await codeOf(at(firstMs)), 'COMPACTED');
    assert.is(await at(ports.clock.wallMs()), '2');
    const both = { key, level: 'eventual', minRevision: 0, revision: 3, atTimeMs: 5 } as const;
    assert.is(await codeOf((async () => node.service.get(both))()), 'INVALID_ARGUMENT');
  }));

test('who differs: those that do not hold what most hold', () => {
  const member = (id: number, hash: string | undefined): MemberHash => ({
    id,
    hash: hash === undefined ? undefined : { revision: 1, compactRevision: 1, hash, versions: 1 },
    problem: '',
  });
  assert.equal(findDiffering([member(1, 'a'), member(2, 'a'), member(3, undefined)]), []);
  assert.equal(findDiffering([member(1, 'a'), member(2, 'b'), member(3, 'a')]), [2]);
  assert.equal(findDiffering([member(1, 'a'), member(2, 'b'), member(3, undefined)]), [1, 2]);
  assert.equal(findDiffering([member(1, 'a'), member(2, 'b'), member(3, 'c')]), [1, 2, 3]);
  assert.equal(findDiffering([]), []);
});

test.run();
