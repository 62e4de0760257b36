/** The reserve alone, on a disk in memory: a process that ends at any point of its making leaves nothing that refuses a write where there is room. */

import * as assert from 'uvu/assert';
import { Ballast } from '../../src/node/ballast.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { LOSS_RULES } from '../../src/storage/memory_disk_nodes.ts';
import { test } from '../suite.ts';

const MIB = 1024 * 1024;
const PATH = 'data';
const RESERVE = `${PATH}/reserve`;

interface Life {
  readonly ballast: Ballast;
  /** Each change of `released`. */
  readonly changes: boolean[];
  readonly warnings: string[];
}

function begin(disk: MemoryDisk, full: { is: boolean } = { is: false }, dataBytes = 64 * MIB): Life {
  const changes: boolean[] = [];
  const warnings: string[] = [];
  const ballast = new Ballast({
    disk,
    path: PATH,
    maxBytes: 6 * MIB,
    dataBytes: () => dataBytes,
    isFull: () => full.is,
    onReleased: (released) => changes.push(released),
    warn: (message) => warnings.push(message),
  });
  return { ballast, changes, warnings };
}

async function rounds({ ballast }: Life, count: number): Promise<void> {
  for (let round = 0; round < count; round++) {
    ballast.run();
    await ballast.idle();
  }
}

async function newDisk(): Promise<MemoryDisk> {
  const disk = new MemoryDisk({ capacityBytes: 100 * MIB });
  await disk.makeDirectory(PATH);
  await disk.syncDirectory('');
  return disk;
}

async function names(disk: MemoryDisk): Promise<string[]> {
  return disk.list(PATH);
}

for (const rule of ['killed', ...LOSS_RULES] as const) {
  test(`a process that ended while the reserve was made, at any point, leaves a store that takes writes (${rule})`, async () => {
    let ended = 0;
    for (let at = 1; ; at++) {
      const disk = await newDisk();
      disk.crashAt(at);
      await rounds(begin(disk), 2);
      if (!disk.down) break;
      ended++;
      const left = rule === 'killed' ? disk.fork() : disk;
      if (rule !== 'killed') left.crash(rule, () => 0.5);
      const next = begin(left);
      await rounds(next, 3);
      assert.equal(next.changes, [], `ended at operation ${at}: no write is refused`);
      assert.equal(next.warnings, []);
      assert.equal(await names(left), ['reserve'], `ended at operation ${at}`);
      assert.is((await left.readFile(RESERVE)).length, 6 * MIB);
    }
    assert.ok(ended >= 5, `${ended} points`);
  });
}

test('an empty reserve refuses writes only while there is no room for another', async () => {
  const disk = await newDisk();
  const full = { is: false };
  const first = begin(disk, full);
  await rounds(first, 2);
  full.is = true;
  await rounds(first, 1);
  assert.equal(first.changes, [true]);
  assert.is((await disk.readFile(RESERVE)).length, 0);
  disk.capacityBytes = 6 * MIB;
  const second = begin(disk.fork());
  await rounds(second, 2);
  assert.equal(second.changes, [true], 'it is remembered over a restart');
  disk.capacityBytes = 100 * MIB;
  const third = begin(disk);
  await rounds(third, 3);
  assert.equal(third.changes, [], 'there was room again when it started');
  assert.is((await disk.readFile(RESERVE)).length, 6 * MIB);
});

test('a reserve that could not be written leaves no part of it', async () => {
  const disk = await newDisk();
  const life = begin(disk);
  disk.failSync(1);
  await rounds(life, 1);
  assert.is(life.warnings.length, 1);
  assert.equal(await names(disk), []);
  await rounds(life, 2);
  assert.equal(await names(disk), ['reserve']);
  assert.equal(life.changes, []);
});

test.run();
