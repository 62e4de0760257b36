/** Quotas on running clusters: counted by the leader, enforced on every way in, alike on all nodes, and kept over everything that a store goes through. */

import * as assert from 'uvu/assert';
import { storedKey } from '../../src/kv/keyspace.ts';
import type { KvService } from '../../src/node/kv_service.ts';
import { QuotaCount } from '../../src/node/quota_count.ts';
import type { QuotaUsage } from '../../src/wire/upkeep_messages.ts';
import { codeOf } from '../outcomes.ts';
import { test } from '../suite.ts';
import { until, withLab } from './cluster_lab.ts';

const prefixOf = (text: string): Uint8Array => storedKey(new TextEncoder().encode(text));

function setQuota(service: KvService, prefix: string, maxBytes: number, maxKeys: number): Promise<number> {
  return service.quotas.set(prefixOf(prefix), { maxBytes, maxKeys, maxRequestsPerSecond: 0 });
}
async function counted(service: KvService): Promise<readonly QuotaUsage[]> {
  let quotas: readonly QuotaUsage[] = [];
  await until(async () => {
    ({ quotas } = await service.quotas.list());
    return quotas.every((quota) => quota.counted);
  }, 'the counts');
  return quotas;
}
const usage = ({ bytes, keys }: QuotaUsage): number[] => [bytes, keys];

test('what was there is counted while writes go on; then every node refuses what is too much, and shows the same', () =>
  withLab(3, async (lab) => {
    const leader = await lab.leader();
    const follower = lab.follower(leader);
    const { store } = follower;
    for (let i = 0; i < 2_500; i++)
      leader.store.put(`a/${i % 1_200}`, 'v'.repeat(i % 10)).catch(() => undefined);
    await store.put('b', 'v');
    await setQuota(follower.node.service, 'a/', 0, 1_250);
    const writes = Array.from({ length: 50 }, (_, i) => store.put(`a/x${i}`, 'v'));
    await Promise.all([...writes, ...Array.from({ length: 100 }, (_, i) => store.delete(`a/${i}`))]);
    const [quota] = await counted(follower.node.service);
    let bytes = 0;
    let keys = 0;
    for await (const entry of store.scan({ prefix: 'a/' })) {
      bytes += entry.key.length + entry.value.length;
      keys++;
    }
    assert.is(keys, 1_150);
    assert.equal(usage(quota!), [bytes, keys]);
    await Promise.all(Array.from({ length: 100 }, (_, i) => store.put(`a/y${i}`, '')));
    assert.is(await codeOf(store.put('a/z', '')), 'QUOTA_EXCEEDED');
    assert.is(await codeOf(leader.store.put('a/z', '')), 'QUOTA_EXCEEDED');
    assert.is(await codeOf(store.put('c', '')), 'fine');
    assert.is(await codeOf(store.delete('a/y0')), 'fine');
    assert.is(await codeOf(store.put('a/z', '')), 'fine');
    for (const { node } of lab.nodes.values())
      assert.is((await node.service.quotas.list()).quotas[0]!.keys, 1_250);
    await follower.node.service.quotas.remove(prefixOf('a/'));
    assert.is(await codeOf(follower.node.service.quotas.remove(prefixOf('a/'))), 'NOT_FOUND');
    assert.is(await codeOf(store.put('a/zz', '')), 'fine');
  }));

test('quotas outlive leaders, crashes and flushes', () =>
  withLab(3, async (lab) => {
    const leader = await lab.leader();
    await leader.store.put('a/1', 'four');
    await setQuota(leader.node.service, 'a/', 10, 0);
    await counted(leader.node.service);
    lab.crash(leader.id);
    const next = await lab.leader();
    assert.equal(usage((await counted(next.node.service))[0]!), [7, 1]);
    assert.is(await codeOf(next.store.put('a/2', 'x')), 'QUOTA_EXCEEDED');
    await next.store.put('a/2', '');
    await lab.startNode(leader.id);
    const back = lab.node(leader.id);
    assert.equal(usage((await back.node.service.quotas.list()).quotas[0]!), [10, 2]);
    await next.node.service.compact({ revision: next.node.service.status().revision, physical: true });
    lab.crash(next.id);
    await lab.startNode(next.id);
    assert.equal(usage((await lab.node(next.id).node.service.quotas.list()).quotas[0]!), [10, 2]);
    assert.is(await codeOf(back.store.put('a/1', 'fourth')), 'QUOTA_EXCEEDED');
  }));

test('keys and leases that end by themselves make room', () =>
  withLab(1, async (lab) => {
    const { store, node } = await lab.leader();
    await setQuota(node.service, '', 0, 1);
    await counted(node.service);
    await store.put('a', 'v', { ttlMs: 300 });
    assert.is(await codeOf(store.put('b', 'v')), 'QUOTA_EXCEEDED');
    await until(async () => (await codeOf(store.put('b', 'v'))) === 'fine', 'the room');
    assert.equal(usage((await node.service.quotas.list()).quotas[0]!), [2, 1]);
  }));

test('a count that compaction overtakes, or that nobody waits for any more, is given up and begun anew', () =>
  withLab(1, async (lab) => {
    const { store, node } = await lab.leader();
    for (let i = 0; i < 3_000; i++) await store.put(`a/${i}`, 'v');
    const { engine, stateMachine } = node.parts.storage;
    await setQuota(node.service, 'a/', 0, 9_999);
    await counted(node.service);
    const proposed: Uint8Array[] = [];
    let between: (() => Promise<unknown>) | undefined;
    let scans = 0;
    const count = new QuotaCount({
      engine: Object.assign(Object.create(engine), {
        scan: async (request: Parameters<typeof engine.scan>[0]) => {
          scans++;
          const page = await engine.scan(request);
          await between?.();
          between = undefined;
          return page;
        },
      }),
      stateMachine,
      pins: { touch: () => undefined } as never,
      timers: { afterIo: (call: () => void) => void setImmediate(call) } as never,
      replaced: () => undefined,
      leads: () => true,
      propose: async (command) => {
        proposed.push(command);
        return { type: 'done', revision: 1 };
      },
      warn: (message) => {
        throw new Error(message);
      },
    });
    count.run();
    assert.is(scans, 0, 'nothing waits for it');
    stateMachine.quotas.restore(
      stateMachine.quotas
        .capture()
        .map((quota) => ({ ...quota, countingFrom: stateMachine.revision, bytes: 0, keys: 0 })),
    );
    between = async () => {
      await store.put('a/0', 'w');
      await node.service.compact({ revision: stateMachine.revision, physical: false });
    };
    count.run();
    await until(async () => between === undefined, 'the page');
    // The node's own duties count it at its new revision.
    assert.is((await counted(node.service))[0]!.keys, 3_000);
    assert.is(proposed.length, 0);
  }));

test.run();
