/** Damage to node.json: a node never takes a damaged identity for its own. */

import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { foundTogether } from '../../src/node/founding.ts';
import { readIdentity, writeIdentity } from '../../src/node/identity.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { test } from '../suite.ts';

const FILE = 'node/node.json';
const IDENTITY = foundTogether(
  1,
  [1, 2, 3].map((id) => ({ id, peerAddress: `10.0.0.${id}:7401`, clientAddress: `10.0.0.${id}:7400` })),
  'tables',
);

async function diskWithIdentity(): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  await disk.makeDirectory('node/log');
  await writeIdentity(disk, 'node', IDENTITY);
  await disk.syncDirectory('node');
  disk.crash('none', () => 0);
  return disk;
}

async function readOrCorrupt(disk: MemoryDisk): Promise<'same' | 'corrupt'> {
  try {
    assert.equal(await readIdentity(disk, 'node'), IDENTITY);
    return 'same';
  } catch (error) {
    if (!(error instanceof KvError) || error.code !== 'CORRUPT') throw error;
    assert.is(error.details['file'], FILE);
    assert.type(error.details['offset'], 'number');
    return 'corrupt';
  }
}

test('a flipped bit anywhere in node.json is found, or changes nothing', async () => {
  const disk = await diskWithIdentity();
  const { length } = await disk.readFile(FILE);
  let found = 0;
  for (let offset = 0; offset < length; offset++) {
    for (let bit = 0; bit < 8; bit++) {
      disk.damage(FILE, offset, 1 << bit);
      if ((await readOrCorrupt(disk)) === 'corrupt') found++;
      disk.damage(FILE, offset, 1 << bit);
    }
  }
  assert.ok(found > length * 7, `${found} of ${length * 8} flips were found: the rest are in white space`);
  assert.is(await readOrCorrupt(disk), 'same');
});

test('a node.json that was cut off or overwritten is found', async () => {
  const whole = await diskWithIdentity();
  const { length } = await whole.readFile(FILE);
  for (let sizeBytes = 0; sizeBytes < length - 1; sizeBytes++) {
    const disk = whole.fork();
    disk.cutShort(FILE, sizeBytes);
    assert.is(await readOrCorrupt(disk), 'corrupt', `cut at ${sizeBytes} of ${length}`);
  }
  for (let from = 0; from + 40 < length; from += 7) {
    const disk = whole.fork();
    disk.misdirect(FILE, from, (from * 3 + 11) % (length - 20), 20);
    await readOrCorrupt(disk);
  }
});

test('one that was written without a checksum is read', async () => {
  const disk = await diskWithIdentity();
  const text = new TextDecoder().decode(await disk.readFile(FILE));
  const { checksum, ...rest } = JSON.parse(text);
  assert.match(checksum, /^[0-9a-f]{8}$/);
  await disk.remove(FILE);
  const file = await disk.open(FILE, 'create');
  file.writeSync([new TextEncoder().encode(JSON.stringify(rest))], 0);
  assert.is(await readOrCorrupt(disk), 'same');
});

test('a directory made with the tree in memory is refused, with what to do about it', async () => {
  const disk = await diskWithIdentity();
  const text = new TextDecoder().decode(await disk.readFile(FILE));
  await disk.remove(FILE);
  const file = await disk.open(FILE, 'create');
  file.writeSync([new TextEncoder().encode(text.replace('"tables"', '"memory"'))], 0);
  try {
    await readIdentity(disk, 'node');
    assert.unreachable('it was taken for a tree of today');
  } catch (error) {
    if (!(error instanceof KvError)) throw error;
    assert.is(error.code, 'TREE_UNAVAILABLE');
    assert.match(error.message, /^node was made with the tree "memory".*join again with an empty directory/);
    assert.is(error.details['tree'], 'memory');
  }
});

test.run();
