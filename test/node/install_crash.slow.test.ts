/**
 * A follower that is far behind installs a snapshot, and its power is cut at every operation of its disk in turn. It must come back, catch up and end up
 * with the very same state as the leader.
 */

import * as assert from 'uvu/assert';
import type { ConfigInput } from '../../src/config.ts';
import { checkDirectory } from '../../src/node/check_directory.ts';
import { LOSS_RULES } from '../../src/storage/memory_disk_nodes.ts';
import { test } from '../suite.ts';
import { seeded } from './chaos.ts';
import { ClusterLab, type LabNode, until } from './cluster_lab.ts';
import { assertSameState } from './state_dump.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const BUDGET_MS = Number(process.env['KVORUM_CRASH_MS'] ?? 20_000);
const CONFIG = {
  raft: { snapshotChunkBytes: 64 * KIB },
  storage: {
    checkpointLogBytes: MIB,
    logRetainBytes: 0,
    segmentSizeBytes: 128 * KIB,
    preallocateBytes: 16 * KIB,
  },
  node: { historyRevisions: 12 },
} satisfies ConfigInput;

/** Writes until the leader's log no longer holds what it holds now: who has not more than that needs a snapshot. */
async function writeAway(lab: ClusterLab, leader: LabNode, round: number): Promise<void> {
  const segments = async (): Promise<number[]> =>
    (await lab.disks.get(leader.id)!.list(`node-${leader.id}/log`)).map((name) => Number.parseInt(name, 16));
  const newest = Math.max(...(await segments()));
  await leader.store.put(`round/${round % 5}`, `${round}`, { ttlMs: 3_600_000 });
  await until(async () => {
    for (let i = 0; i < 5; i++) await leader.store.put(`k/${i}`, `${round}/${i}`.padEnd(60 * KIB, '.'));
    return Math.min(...(await segments())) > newest + 1;
  }, 'the log to be cut');
}

test('a power cut at any operation of an installation leaves a follower that catches up to the same state', async () => {
  const lab = await ClusterLab.start(3, CONFIG, new Map(), 20);
  try {
    const leader = await lab.leader();
    const { id } = lab.follower(leader);
    const started = performance.now();
    let operations = 0;
    let cuts = 0;
    let installed = 0;
    for (let at = 1; performance.now() - started < BUDGET_MS; at++) {
      if (operations > 0 && at > operations) at = 1;
      const rule = LOSS_RULES[cuts % LOSS_RULES.length]!;
      const random = seeded(cuts);
      lab.crash(id);
      await writeAway(lab, leader, cuts);
      const disk = lab.disks.get(id)!;
      const before = disk.operations;
      disk.crashAt(at + 1);
      // It may die while it starts, while it installs, or not at all when the operation never comes.
      await lab.startNode(id).catch((error) => {
        if (!disk.down) throw error;
      });
      const caughtUp = (): boolean =>
        lab.nodes.get(id)?.node.service.status().appliedIndex ===
        lab.nodes.get(leader.id)!.node.service.status().appliedIndex;
      await until(() => disk.down || caughtUp(), 'the power cut or the end of the installation');
      if (!disk.down) operations = Math.max(operations, at - 1, disk.operations - before);
      if (lab.nodes.has(id)) lab.crash(id, rule, random);
      else disk.crash(rule, random);
      await lab.startNode(id);
      try {
        await assertSameState(lab, [leader.id, id]);
      } catch (error) {
        console.error(`power cut at operation ${at}, rule ${rule}`);
        throw error;
      }
      if ((await disk.list(`node-${id}/snapshots`)).some((name) => name.endsWith('.kvsnap'))) installed++;
      await lab.stopNode(id);
      const { damages } = await checkDirectory(disk, `node-${id}`, () => undefined);
      assert.equal(damages, []);
      await lab.startNode(id);
      cuts++;
    }
    if (process.env['KVORUM_VERBOSE'] !== undefined)
      console.log(
        `${cuts} power cuts, ${installed} installations, ${operations} operations in one that was left alone`,
      );
    assert.ok(installed > 5, `only ${installed} snapshots were installed`);
  } finally {
    await lab.stop();
  }
});

test.run();
