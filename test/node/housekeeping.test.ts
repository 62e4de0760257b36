/** Checkpoints and log cuts: the log must stay short whatever is written, also after a disk was full for a while. */

import * as assert from 'uvu/assert';
import type { KvError } from '../../src/errors.ts';
import { FollowerNeeds } from '../../src/node/housekeeping.ts';
import type { RaftCore } from '../../src/raft/types.ts';
import { test } from '../suite.ts';
import { ClusterLab, until } from './cluster_lab.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const HURRY = 50;
const STORAGE = {
  checkpointLogBytes: MIB,
  logRetainBytes: 0,
  segmentSizeBytes: 256 * KIB,
  preallocateBytes: 32 * KIB,
};

async function logBytes(lab: ClusterLab): Promise<number> {
  const disk = lab.disks.get(1)!;
  const files = await disk.list('node-1/log');
  let bytes = 0;
  for (const file of files) bytes += (await disk.readFile(`node-1/log/${file}`)).length;
  return bytes;
}

test('a store that only grows is flushed again and again: its log stays short', async () => {
  const lab = await ClusterLab.start(1, { storage: STORAGE }, new Map(), HURRY);
  try {
    const { store } = await lab.leader();
    const value = 'v'.repeat(40 * KIB);
    const flushed = new Set<string>();
    for (let i = 0; i < 600; i++) {
      await store.put(`insert/${i}`, value);
      if (i % 20 !== 0) continue;
      for (const table of await lab.disks.get(1)!.list('node-1/tree/tables')) flushed.add(table);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.ok(flushed.size >= 3, `${flushed.size} tables of 24 MiB`);
    await until(async () => (await logBytes(lab)) < 4 * MIB, 'the log to be cut');
  } finally {
    await lab.stop();
  }
});

test('a flush that found no room is made when there is some, without any write: else the log could never be cut', async () => {
  const lab = await ClusterLab.start(1, { storage: STORAGE }, new Map(), HURRY);
  try {
    const { store } = await lab.leader();
    const disk = lab.disks.get(1)!;
    // Room for the log, not for a table beside it.
    disk.capacityBytes = 1.7 * MIB;
    let refused: KvError | undefined;
    for (let i = 0; i < 400 && refused === undefined; i++) {
      await store.put(`k/${i}`, 'v'.repeat(30 * KIB)).catch((error: KvError) => {
        refused = error;
      });
    }
    assert.is(refused?.code, 'NO_SPACE');
    const firstSegment = async (): Promise<string> => (await disk.list('node-1/log'))[0]!;
    const before = await firstSegment();
    disk.capacityBytes = Number.POSITIVE_INFINITY;
    await until(async () => (await firstSegment()) !== before, 'the log to be cut');
    await until(
      () =>
        store.put('again', '1').then(
          () => true,
          () => false,
        ),
      'writes to go on',
    );
  } finally {
    await lab.stop();
  }
});

test('a follower that was quiet for a moment keeps its place in the log; one that is silent for long does not', () => {
  const peers = [
    { id: 2, match: 40, next: 41, state: 'replicate', recentlyActive: true },
    { id: 3, match: 70, next: 71, state: 'replicate', recentlyActive: true },
  ];
  const raft = { id: 1, role: 'leader', status: () => ({ progress: peers }) } as unknown as RaftCore;
  const needs = new FollowerNeeds();
  assert.is(needs.lowest(raft, 0), 40);
  peers[0]!.recentlyActive = false;
  for (let round = 0; round < 5; round++)
    assert.is(needs.lowest(raft, 0), 40, `quiet for ${round + 1} rounds`);
  assert.is(needs.lowest(raft, 0), 70, 'silent for too long');
  peers[0]!.recentlyActive = true;
  peers[0]!.state = 'snapshot';
  assert.is(needs.lowest(raft, 55), 55, 'it will go on after the snapshot');
  assert.is(needs.lowest({ ...raft, role: 'follower' } as RaftCore, 0), undefined);
});

test.run();
