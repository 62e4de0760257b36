/**
 * Trees that do not open: a node whose cluster has the data sets its tree aside, votes on with the log that it still has, and is filled from another node; a node
 * alone refuses to start and touches nothing.
 */

import * as assert from 'uvu/assert';
import type { ConfigInput } from '../../src/config.ts';
import { checkDirectory } from '../../src/node/check_directory.ts';
import { DiskError } from '../../src/storage/disk.ts';
import type { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { failureOf } from '../outcomes.ts';
import { test } from '../suite.ts';
import { ClusterLab, type LabNode, persistentPut, text, until } from './cluster_lab.ts';

const KIB = 1024;
const KEYS = 60;
const HURRY = 20;
const CONFIG: ConfigInput = {
  raft: { tickMs: 10, electionTicks: 25 },
  storage: {
    memtableSizeBytes: 1024 * KIB,
    segmentSizeBytes: 256 * KIB,
    logRetainBytes: 0,
    checkpointLogBytes: 1024 * KIB,
  },
};

const keyOf = (i: number): string => `key-${String(i).padStart(4, '0')}`;
const contentOf = (i: number): string => `<value of ${keyOf(i)}>`.padEnd(30 * KIB, '.');

/** A cluster whose logs have been cut. */
async function filled(count: number): Promise<ClusterLab> {
  const lab = await ClusterLab.start(count, CONFIG, new Map(), HURRY);
  const { store } = await lab.leader();
  for (let round = 0; round < 2; round++)
    for (let i = 0; i < KEYS; i++) await store.put(keyOf(i), contentOf(i));
  for (const id of lab.disks.keys()) await until(() => logIsCut(lab, id), `the log of node ${id} to be cut`);
  return lab;
}

async function logIsCut(lab: ClusterLab, id: number): Promise<boolean> {
  const names = await lab.disks.get(id)!.list(`node-${id}/log`);
  return Math.min(...names.map((name) => Number.parseInt(name, 16))) > 1;
}

async function tableOf(disk: MemoryDisk, id: number): Promise<string> {
  const directory = `node-${id}/tree/tables`;
  const name = (await disk.list(directory)).find((one) => one.endsWith('.kvt'));
  return `${directory}/${name}`;
}

type Harm = (disk: MemoryDisk, id: number) => Promise<void>;

const HARMS: Record<string, Harm> = {
  'a manifest': async (disk, id) => disk.damage(`node-${id}/tree/MANIFEST`, 40, 0x10),
  'a manifest that is gone': async (disk, id) => disk.remove(`node-${id}/tree/MANIFEST`),
  'a footer': async (disk, id) => {
    const path = await tableOf(disk, id);
    disk.damage(path, (await disk.readFile(path)).length - 20, 0x10);
  },
  'an index': async (disk, id) => {
    const path = await tableOf(disk, id);
    disk.damage(path, (await disk.readFile(path)).length - 400, 0x10);
  },
  'a table that is gone': async (disk, id) => disk.remove(await tableOf(disk, id)),
  'a table that is cut short': async (disk, id) => disk.cutShort(await tableOf(disk, id), 10_000),
  'a table that cannot be read': async (disk, id) => {
    const dead = await tableOf(disk, id);
    let gone = false;
    disk.observer = {
      operation: (operation, path) => {
        gone ||= operation === 'rename' && path.endsWith('/tree');
      },
      read: (path) => {
        if (path === dead && !gone) throw new DiskError('IO', path, `${path}: EIO: i/o error, read`);
      },
    };
  },
};

async function holdsAll({ store, id }: LabNode): Promise<void> {
  const seen: string[] = [];
  for await (const { key, value } of store.scan({ prefix: 'key-' })) {
    const i = Number(text(key)!.slice(4));
    assert.ok(text(value) === contentOf(i), `${text(key)} of node ${id}`);
    seen.push(text(key)!);
  }
  assert.is(seen.length, KEYS);
}

const health = ({ node }: LabNode): string => node.service.status().health;

async function filesBelow(disk: MemoryDisk, path: string): Promise<string[]> {
  const files: string[] = [];
  for (const name of await disk.list(path)) {
    try {
      files.push(...(await filesBelow(disk, `${path}/${name}`)));
    } catch (error) {
      if (!(error instanceof DiskError)) throw error;
      files.push(`${path}/${name}`);
    }
  }
  return files;
}

for (const [what, harm] of Object.entries(HARMS)) {
  test(`a member with ${what} damaged starts, takes part, and is filled from another node`, async () => {
    const lab = await filled(3);
    try {
      const node = lab.follower(await lab.leader());
      const disk = lab.disks.get(node.id)!;
      await lab.stopNode(node.id);
      const before = (await filesBelow(disk, `node-${node.id}/tree`)).length;
      await harm(disk, node.id);
      // Of the two that are left only one stays: nothing is decided without the damaged node.
      const third = [...lab.nodes.values()].find(
        ({ id }) => id !== node.id && id !== lab.nodes.get(id)!.node.service.status().leader,
      )!;
      await lab.stopNode(third.id);
      const again = await lab.startNode(node.id);
      assert.is(health(again), 'CORRUPT');
      await persistentPut(lab, 'decided', 'with it');
      await until(() => health(again) === 'ok', 'the tree to be filled');
      assert.is(again.ended.is, false);
      await until(
        async () => text(await again.store.get('decided', { level: 'eventual' })) === 'with it',
        'the put',
      );
      await holdsAll(again);
      assert.is(
        (await filesBelow(disk, `node-${node.id}/tree.damaged-1`)).length,
        before - (what.endsWith('gone') ? 1 : 0),
        'nothing was deleted',
      );
      disk.observer = undefined;
      await lab.stopNode(node.id);
      assert.equal((await checkDirectory(disk, `node-${node.id}`, () => undefined)).damages, []);
      await holdsAll(await lab.startNode(node.id));
    } finally {
      await lab.stop();
    }
  });

  test(`a node alone with ${what} damaged refuses to start, says where, and touches nothing`, async () => {
    const lab = await filled(1);
    try {
      const disk = lab.disks.get(1)!;
      await lab.stopNode(1);
      await harm(disk, 1);
      const files = await filesBelow(disk, 'node-1');
      for (let attempt = 0; attempt < 2; attempt++) {
        const failure = await failureOf(lab.startNode(1));
        assert.is(failure.code, 'CORRUPT', failure.message);
        assert.match(
          String(failure.details['file']),
          what.includes('manifest') ? 'MANIFEST' : 'node-1/tree/tables/t-',
        );
        assert.type(failure.details['offset'], 'number');
      }
      assert.equal(await filesBelow(disk, 'node-1'), files);
    } finally {
      await lab.stop();
    }
  });
}

test('a node that loses its power while its tree is being filled goes on with that after the next start', async () => {
  const lab = await filled(3);
  try {
    const node = lab.follower(await lab.leader());
    const disk = lab.disks.get(node.id)!;
    await lab.stopNode(node.id);
    await HARMS['an index']!(disk, node.id);
    for (const at of [1, 2, 3, 5, 8, 13, 21]) {
      disk.crashAt(at);
      try {
        await lab.startNode(node.id);
        await until(() => disk.down, `operation ${at}`);
      } catch (error) {
        if (!disk.down) throw error;
      }
      if (lab.nodes.has(node.id)) lab.crash(node.id);
      else disk.crash('all', () => 0);
    }
    const again = await lab.startNode(node.id);
    await until(() => health(again) === 'ok', 'the tree to be filled');
    await until(
      async () => (await again.store.get(keyOf(0), { level: 'eventual' })) !== undefined,
      'the data',
    );
    await holdsAll(again);
  } finally {
    await lab.stop();
  }
});

test('a member whose log was never cut applies it anew when its manifest is damaged', async () => {
  const lab = await ClusterLab.start(3, {
    ...CONFIG,
    storage: { ...CONFIG.storage, logRetainBytes: 64 * 1024 * KIB },
  });
  try {
    const leader = await lab.leader();
    for (let i = 0; i < KEYS; i++) await leader.store.put(keyOf(i), contentOf(i));
    const { id } = lab.follower(leader);
    const disk = lab.disks.get(id)!;
    await until(async () => (await disk.list(`node-${id}/tree/tables`)).length > 0, 'a flush');
    await lab.stopNode(id);
    disk.damage(`node-${id}/tree/MANIFEST`, 40, 0x10);
    const again = await lab.startNode(id);
    assert.is(health(again), 'ok');
    await holdsAll(again);
  } finally {
    await lab.stop();
  }
});

test.run();
