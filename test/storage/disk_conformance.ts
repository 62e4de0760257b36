/** What every disk does, whatever it is made of: run by the disk of the operating system and by the one in memory. */
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Disk, DiskError, type DiskErrorCode } from '../../src/storage/disk.ts';

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

async function rejectsWith(code: DiskErrorCode, work: () => Promise<unknown>): Promise<DiskError> {
  try {
    await work();
  } catch (error) {
    assert.instance(error, DiskError);
    if (error instanceof DiskError) {
      assert.is(error.code, code);
      return error;
    }
  }
  throw new Error(`expected DiskError ${code}`);
}

/** `make` gives a disk and a directory on it that exists and is empty. */
export function diskConformance(
  test: Test,
  name: string,
  make: () => Promise<{ disk: Disk; root: string }>,
): void {
  test(`${name}: open modes: read wants a file, create wants none, open takes both`, async () => {
    const { disk, root } = await make();
    const path = `${root}/a`;
    const error = await rejectsWith('NOT_FOUND', () => disk.open(path, 'read'));
    assert.is(error.path, path);
    const created = await disk.open(path, 'create');
    assert.is(created.path, path);
    await created.close();
    await created.close();
    await rejectsWith('EXISTS', () => disk.open(path, 'create'));
    await (await disk.open(path, 'open')).close();
    await (await disk.open(`${root}/b`, 'open')).close();
    assert.equal(await disk.list(root), ['a', 'b']);
    await rejectsWith('NOT_FOUND', () => disk.open(`${root}/none/a`, 'create'));
    await rejectsWith('IO', () => disk.open(root, 'read'));
  });

  test(`${name}: gathered writes land at their offset, and a hole reads as zeros`, async () => {
    const { disk, root } = await make();
    const file = await disk.open(`${root}/a`, 'create');
    file.writeSync([bytes(1, 2), bytes(), bytes(3)], 4);
    await file.write([bytes(9), bytes(8, 7)], 0);
    file.writeSync([bytes(5)], 9);
    file.writeSync([], 100);
    assert.is(file.sizeBytes(), 10);
    const all = new Uint8Array(16).fill(255);
    assert.is(file.readSync(all, 0), 10);
    assert.equal([...all.subarray(0, 10)], [9, 8, 7, 0, 1, 2, 3, 0, 0, 5]);
    const part = new Uint8Array(3);
    assert.is(await file.read(part, 4), 3);
    assert.equal([...part], [1, 2, 3]);
    assert.is(await file.read(part, 9), 1);
    assert.is(file.readSync(part, 10), 0);
    await file.close();
    assert.equal([...(await disk.readFile(`${root}/a`))], [9, 8, 7, 0, 1, 2, 3, 0, 0, 5]);
  });

  test(`${name}: more buffers than one system call takes are all written`, async () => {
    const { disk, root } = await make();
    const parts = Array.from({ length: 2500 }, (_, i) => bytes(i & 255, (i >> 8) & 255));
    const file = await disk.open(`${root}/a`, 'create');
    file.writeSync(parts, 0);
    await file.write(parts, 5000);
    await file.close();
    const read = await disk.readFile(`${root}/a`);
    assert.is(read.length, 10_000);
    for (let i = 0; i < 5000; i++) {
      const value = (i % 2500) & 0xffff;
      assert.is(read[2 * i]! + 256 * read[2 * i + 1]!, value);
    }
  });

  test(`${name}: truncate cuts and extends with zeros`, async () => {
    const { disk, root } = await make();
    const file = await disk.open(`${root}/a`, 'create');
    file.writeSync([bytes(1, 2, 3, 4)], 0);
    await file.truncate(2);
    assert.is(file.sizeBytes(), 2);
    await file.truncate(4);
    assert.is(file.sizeBytes(), 4);
    await file.sync();
    file.syncSync();
    await file.close();
    assert.equal([...(await disk.readFile(`${root}/a`))], [1, 2, 0, 0]);
  });

  test(`${name}: a file that was opened again keeps its bytes; one opened for reading takes no writes`, async () => {
    const { disk, root } = await make();
    const file = await disk.open(`${root}/a`, 'create');
    file.writeSync([bytes(1, 2)], 0);
    await file.close();
    const reader = await disk.open(`${root}/a`, 'read');
    assert.is(reader.sizeBytes(), 2);
    assert.throws(
      () => reader.writeSync([bytes(1)], 0),
      (error: unknown) => error instanceof DiskError,
    );
    await reader.close();
  });

  test(`${name}: directories: make with parents, list sorted, rename, remove, remove a tree`, async () => {
    const { disk, root } = await make();
    await disk.makeDirectory(`${root}/x/y`);
    await disk.makeDirectory(`${root}/x/y`);
    for (const each of ['c', 'a', 'b']) await (await disk.open(`${root}/x/y/${each}`, 'create')).close();
    assert.equal(await disk.list(`${root}/x/y`), ['a', 'b', 'c']);
    await rejectsWith('NOT_FOUND', () => disk.list(`${root}/none`));
    const file = await disk.open(`${root}/x/y/a`, 'open');
    file.writeSync([bytes(7)], 0);
    await file.close();
    await disk.rename(`${root}/x/y/a`, `${root}/x/y/b`);
    assert.equal([...(await disk.readFile(`${root}/x/y/b`))], [7]);
    await disk.rename(`${root}/x/y/b`, `${root}/x/moved`);
    assert.is(await disk.exists(`${root}/x/y/b`), false);
    assert.is(await disk.exists(`${root}/x/moved`), true);
    await rejectsWith('NOT_FOUND', () => disk.rename(`${root}/none`, `${root}/some`));
    await disk.remove(`${root}/x/y/c`);
    await rejectsWith('NOT_FOUND', () => disk.remove(`${root}/x/y/c`));
    await disk.syncDirectory(`${root}/x/y`);
    await rejectsWith('NOT_FOUND', () => disk.syncDirectory(`${root}/none`));
    await rejectsWith('NOT_FOUND', () => disk.readFile(`${root}/none`));
    await disk.removeTree(`${root}/x`);
    await disk.removeTree(`${root}/x`);
    assert.equal(await disk.list(root), []);
  });

  test(`${name}: a link is a second name of one file: what is written shows under both, and one outlives the other`, async () => {
    const { disk, root } = await make();
    const file = await disk.open(`${root}/a`, 'create');
    file.writeSync([bytes(1, 2)], 0);
    await disk.makeDirectory(`${root}/d`);
    await disk.link(`${root}/a`, `${root}/d/b`);
    file.writeSync([bytes(3)], 2);
    assert.equal([...(await disk.readFile(`${root}/d/b`))], [1, 2, 3]);
    const exists = await rejectsWith('EXISTS', () => disk.link(`${root}/a`, `${root}/d/b`));
    assert.is(exists.path, `${root}/d/b`);
    const missing = await rejectsWith('NOT_FOUND', () => disk.link(`${root}/none`, `${root}/c`));
    assert.is(missing.path, `${root}/none`);
    await rejectsWith('NOT_FOUND', () => disk.link(`${root}/a`, `${root}/none/c`));
    await rejectsWith('PERMISSION', () => disk.link(`${root}/d`, `${root}/c`));
    await disk.rename(`${root}/a`, `${root}/d/b`);
    assert.equal(await disk.list(root), ['a', 'd'], 'renaming one name of a file to another does nothing');
    await disk.remove(`${root}/a`);
    await disk.syncDirectory(root);
    await disk.syncDirectory(`${root}/d`);
    await file.close();
    assert.equal([...(await disk.readFile(`${root}/d/b`))], [1, 2, 3]);
  });

  test(`${name}: a buffer may be used again as soon as its write has answered`, async () => {
    const { disk, root } = await make();
    const file = await disk.open(`${root}/a`, 'create');
    const buffer = Buffer.from([1, 2, 3]);
    file.writeSync([buffer], 0);
    buffer.fill(9);
    await file.write([buffer], 3);
    buffer.fill(8);
    await file.sync();
    await file.close();
    assert.equal([...(await disk.readFile(`${root}/a`))], [1, 2, 3, 9, 9, 9]);
  });

  test(`${name}: there is space left`, async () => {
    const { disk, root } = await make();
    assert.ok((await disk.spaceLeftBytes(root)) > 0);
  });

  test(`${name}: a directory has one holder; a second one is told who it is, and gets it after the release`, async () => {
    const { disk, root } = await make();
    const held = await disk.lock(root);
    const error = await rejectsWith('LOCKED', () => disk.lock(root));
    assert.match(error.message, String(process.pid));
    await held.release();
    await held.release();
    const again = await disk.lock(root);
    await again.release();
    await rejectsWith('NOT_FOUND', () => disk.lock(`${root}/none`));
  });
}
