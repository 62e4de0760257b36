/** Leases on a running cluster: ends, keep-alives through any node, what is asked about them, and the change of leaders. */

import * as assert from 'uvu/assert';
import type { KvError } from '../../src/errors.ts';
import type { CommandResult } from '../../src/kv/command.ts';
import { userKey } from '../../src/kv/keyspace.ts';
import { encodeCommand } from '../../src/wire/command_codec.ts';
import { NO_WRITE_ID } from '../../src/wire/write_id.ts';
import { put } from '../kv/commands.ts';
import { test } from '../suite.ts';
import { ClusterLab, LAB_CONFIG, type LabNode, text, until } from './cluster_lab.ts';

const LEASES_CONFIG = { ...LAB_CONFIG, limits: { minLeaseTtlMs: 50 } };

async function grant({ node }: LabNode, ttlMs: number, lease = 0n): Promise<bigint> {
  const result = await node.service.write(
    encodeCommand({ type: 'leaseGrant', id: NO_WRITE_ID, lease, ttlMs }),
  );
  assert.is(
    result.type,
    'lease',
    JSON.stringify(result, (_, value) => String(value)),
  );
  return (result as Extract<CommandResult, { type: 'lease' }>).lease;
}

async function attach({ node }: LabNode, name: string, lease: bigint): Promise<void> {
  const operation = put(name, 'v', { lease });
  const result = await node.service.write(encodeCommand({ type: 'write', id: NO_WRITE_ID, operation }));
  assert.is(result.type, 'put');
}

test('a lease ends after its time with its keys; one that is kept alive through a follower stays', async () => {
  const lab = await ClusterLab.start(3, LEASES_CONFIG);
  try {
    const leader = await lab.leader();
    const follower = lab.follower(leader);
    const began = Date.now();
    const short = await grant(leader, 400);
    const kept = await grant(follower, 400);
    for (let i = 0; i < 3; i++) await attach(follower, `short/${i}`, short);
    await attach(leader, 'kept', kept);
    let stop = false;
    const keeping = (async () => {
      for (let at = 0; !stop; at++) {
        const { service } = (at % 2 === 0 ? leader : follower).node;
        assert.is((await service.leases.keepAlive(kept)).ttlMs, 400);
        await new Promise((resolve) => setTimeout(resolve, 60));
      }
    })();
    const states = await follower.node.service.leases.timeToLive(short, true);
    assert.is(states.ttlMs, 400);
    assert.ok(states.remainingMs >= 0 && states.remainingMs <= 400);
    assert.equal(
      states.keys.map((key) => text(userKey(key))),
      ['short/0', 'short/1', 'short/2'],
    );
    assert.equal([...(await follower.node.service.leases.list()).leases], [short, kept]);
    await until(async () => (await leader.store.get('short/2')) === undefined, 'the lease to end');
    assert.ok(Date.now() - began >= 390, 'not before its time');
    assert.is(await follower.store.get('short/0'), undefined);
    const end = began + 2_000;
    await until(() => Date.now() > end, 'some time to pass');
    assert.is(text(await follower.store.get('kept')), 'v');
    stop = true;
    await keeping;
    assert.equal(await follower.node.service.leases.timeToLive(short, true), {
      revision: leader.node.service.status().revision,
      lease: short,
      ttlMs: 0,
      remainingMs: -1,
      keys: [],
    });
    assert.is((await follower.node.service.leases.keepAlive(short)).ttlMs, 0);
    await until(async () => (await leader.store.get('kept')) === undefined, 'the other lease to end');
    assert.equal([...(await follower.node.service.leases.list()).leases], []);
  } finally {
    await lab.stop();
  }
});

test('renewals survive the death of a leader, and what is due under the next one ends', async () => {
  const lab = await ClusterLab.start(3, LEASES_CONFIG);
  try {
    const first = await lab.leader();
    const long = await grant(first, 60_000);
    const short = await grant(first, 500);
    await attach(first, 'long', long);
    await attach(first, 'short', short);
    await first.node.service.leases.keepAlive(long);
    lab.crash(first.id);
    const next = await lab.leader();
    const { remainingMs } = await next.node.service.leases.timeToLive(long, false);
    assert.ok(remainingMs > 50_000 && remainingMs < 60_000, `goes on, not anew: ${remainingMs}`);
    await until(async () => (await next.store.get('short')) === undefined, 'the short lease to end');
    assert.is(text(await next.store.get('long')), 'v');
  } finally {
    await lab.stop();
  }
});

test('a lease and its keys are there after a restart, from the tree and the log', async () => {
  const lab = await ClusterLab.start(1, LEASES_CONFIG);
  try {
    const node = await lab.leader();
    const lease = await grant(node, 60_000, 0x1234n);
    for (let i = 0; i < 50; i++) await attach(node, `k${i}`, lease);
    await node.node.parts.consensus.replica.propose(
      encodeCommand({ type: 'leaseRenew', leases: [lease] }),
      Number.MAX_SAFE_INTEGER,
    );
    const { engine, stateMachine } = node.node.parts.storage;
    const { applier } = node.node.parts.consensus;
    await engine.checkpoint(applier.appliedIndex, applier.appliedTerm, applier.capture);
    await grant(node, 60_000, 0x1235n);
    const before = stateMachine.leases.get(lease)?.expiresAtMs;
    await lab.nodes.get(node.id)?.node.stop();
    const again = await lab.startNode(node.id);
    await lab.leader();
    assert.is(again.node.parts.storage.stateMachine.leases.get(lease)?.expiresAtMs, before);
    const answer = await again.node.service.leases.timeToLive(lease, true);
    assert.is(answer.keys.length, 50);
    await again.node.service.write(encodeCommand({ type: 'leaseRevoke', id: NO_WRITE_ID, lease }));
    assert.is(await again.store.get('k0'), undefined, 'keys that are only in the tree go, too');
    assert.equal([...(await again.node.service.leases.list()).leases], [0x1235n]);
  } finally {
    await lab.stop();
  }
});

test('leases that are not there, and ids that are none, are told', async () => {
  const lab = await ClusterLab.start(1, LEASES_CONFIG);
  try {
    const { node } = await lab.leader();
    const revoked = await node.service.write(
      encodeCommand({ type: 'leaseRevoke', id: NO_WRITE_ID, lease: 5n }),
    );
    assert.is(revoked.type === 'failed' && revoked.code, 'LEASE_NOT_FOUND');
    for (const lease of [0n, 2n ** 63n]) {
      const code = await node.service.leases.keepAlive(lease).then(
        () => 'fine',
        (error: KvError) => error.code,
      );
      assert.is(code, 'INVALID_ARGUMENT');
    }
    assert.is((await node.service.leases.keepAlive(6n)).ttlMs, 0);
  } finally {
    await lab.stop();
  }
});

test.run();
