/** Slow and stuck disks, peers that do not take what they are sent: the others go on, and nothing grows without bound. */

import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { test } from '../suite.ts';
import { ClusterLab, text, until } from './cluster_lab.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** A disk whose operations wait while `stuck` is set. */
function stickyDisk(): { disk: MemoryDisk; stick(): void; release(): void } {
  let gate: Promise<void> | undefined;
  let open: () => void = () => undefined;
  const disk = new MemoryDisk({ delay: (operation) => (operation === 'read' ? undefined : gate) });
  return {
    disk,
    stick: () => {
      gate = new Promise((resolve) => {
        open = resolve;
      });
    },
    release: () => {
      gate = undefined;
      open();
    },
  };
}

test('a follower whose disk hangs holds nobody up, and catches up when it goes on', async () => {
  const sticky = stickyDisk();
  const lab = await ClusterLab.start(3, {}, new Map([[3, sticky.disk]]));
  try {
    await until(async () => {
      const { id } = await lab.leader();
      if (id !== 3) return true;
      await lab.node(3).node.service.moveLeader(0);
      return false;
    }, 'another node to lead');
    const leader = await lab.leader();
    sticky.stick();
    for (let i = 0; i < 200; i++) await leader.store.put(`k${i}`, 'v'.repeat(4 * KIB), { timeoutMs: 2_000 });
    assert.is(lab.node(3).ended.is, false);
    sticky.release();
    await until(
      async () => text(await lab.node(3).store.get('k199', { level: 'eventual' })) !== undefined,
      'the slow one to catch up',
    );
  } finally {
    sticky.release();
    await lab.stop();
  }
});

test('writes without end to a leader whose followers take nothing fill no memory: they are refused', async () => {
  const lab = await ClusterLab.start(3, {
    node: { maxPendingBytes: 4 * MIB, requestTimeoutMs: 300 },
    raft: { maxUncommittedBytes: 2 * MIB, maxInflightBytes: MIB, electionTicks: 12 },
  });
  try {
    const leader = await lab.leader();
    for (const id of lab.nodes.keys())
      if (id !== leader.id) lab.network.setLink(leader.id, id, { held: true });
    const value = 'v'.repeat(64 * KIB);
    const codes = new Map<string, number>();
    let pending = 0;
    let mostPending = 0;
    const before = process.memoryUsage().arrayBuffers + process.memoryUsage().external;
    for (let i = 0; i < 3_000; i++) {
      pending++;
      mostPending = Math.max(mostPending, pending);
      leader.store
        .put(`k${i}`, value)
        .then(
          () => 'ok',
          (error: unknown) => (error instanceof KvError ? error.code : 'other'),
        )
        .then((code) => {
          pending--;
          codes.set(code, (codes.get(code) ?? 0) + 1);
        });
      if (i % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await until(() => pending === 0, 'every write to be answered');
    assert.ok((codes.get('OVERLOADED') ?? 0) > 500, JSON.stringify([...codes]));
    assert.is(codes.get('other'), undefined);
    // Here 4 MiB; once another leads, also what the connection to it may hold: 64 MiB.
    assert.ok(mostPending < 1_200, `${mostPending} writes of 64 KiB were waiting at once`);
    const grown = process.memoryUsage().arrayBuffers + process.memoryUsage().external - before;
    assert.ok(grown < 500 * MIB, `${Math.round(grown / MIB)} MiB more`);
    lab.network.heal();
    await until(
      () =>
        leader.store.put('after', '1').then(
          () => true,
          () => false,
        ),
      'writes to go on',
    );
  } finally {
    await lab.stop();
  }
});

test('a follower that takes nothing does not make the leader grow: not by its queue, not by what is kept for it', async () => {
  const lab = await ClusterLab.start(
    3,
    {
      storage: { checkpointLogBytes: MIB, logRetainBytes: 0, logCacheBytes: MIB },
      raft: { maxInflightBytes: 4 * MIB },
      node: { historyRevisions: 10 },
    },
    new Map(),
    10,
  );
  try {
    const leader = await lab.leader();
    const slow = lab.follower(leader);
    lab.network.setLink(leader.id, slow.id, { held: true });
    const value = new Uint8Array(256 * KIB).fill(7);
    const memory = (): number => process.memoryUsage().arrayBuffers + process.memoryUsage().external;
    const before = memory();
    for (let i = 0; i < 1_200; i++) await leader.store.put(`k${i % 4}`, value);
    const grown = memory() - before;
    // The disks are in memory too: what is written and not cut counts.
    // Two logs that wait for the follower may hold all of it for a while; a queue towards the follower may not hold it once more.
    assert.ok(grown < 700 * MIB, `300 MiB were written, memory grew by ${Math.round(grown / MIB)} MiB`);
    lab.network.heal();
    await until(
      () => slow.node.service.status().appliedIndex === leader.node.service.status().appliedIndex,
      'the follower to catch up',
    );
  } finally {
    await lab.stop();
  }
});

test.run();
