/** The disk of the operating system: the common suite, its error codes, and the directory lock over real processes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { lockDirectory } from '../../src/storage/directory_lock.ts';
import { DiskError } from '../../src/storage/disk.ts';
import { writeFully, writeFullySync } from '../../src/storage/gathered_write.ts';
import { NodeDisk, toDiskError } from '../../src/storage/node_disk.ts';
import { test } from '../suite.ts';
import { diskConformance } from './disk_conformance.ts';

const roots: string[] = [];
function newRoot(): string {
  const root = fs.mkdtempSync(join(tmpdir(), 'kvorum-disk-'));
  roots.push(root);
  return root;
}
test.after(() => {
  for (const root of roots) fs.rmSync(root, { recursive: true, force: true });
});

diskConformance(test, 'NodeDisk', async () => ({ disk: new NodeDisk(), root: newRoot() }));

test('errnos become codes', () => {
  const code = (errno: string): string =>
    toDiskError(Object.assign(new Error('x'), { code: errno }), 'p').code;
  assert.is(code('ENOSPC'), 'NO_SPACE');
  assert.is(code('EDQUOT'), 'NO_SPACE');
  assert.is(code('EACCES'), 'PERMISSION');
  assert.is(code('EROFS'), 'PERMISSION');
  assert.is(code('EIO'), 'IO');
  assert.is(toDiskError('text', 'p').code, 'IO');
  const already = new DiskError('LOCKED', 'p', 'x');
  assert.is(toDiskError(already, 'q'), already);
});

test('a closed file fails with IO in every operation', async () => {
  const disk = new NodeDisk();
  const file = await disk.open(`${newRoot()}/a`, 'create');
  await file.close();
  const isIo = (error: unknown): boolean => error instanceof DiskError && error.code === 'IO';
  assert.throws(() => file.readSync(new Uint8Array(1), 0), isIo);
  assert.throws(() => file.syncSync(), isIo);
  for (const work of [
    () => file.write([new Uint8Array(1)], 0),
    () => file.read(new Uint8Array(1), 0),
    () => file.sync(),
    () => file.truncate(0),
  ]) {
    let caught: unknown;
    await work().catch((error: unknown) => {
      caught = error;
    });
    assert.ok(isIo(caught));
  }
});

test('exists tells a missing file from one that cannot be looked at', async () => {
  const disk = new NodeDisk();
  const root = newRoot();
  assert.is(await disk.exists(`${root}/none`), false);
  let caught: unknown;
  await disk.exists(`${root}/${'x'.repeat(300)}`).catch((error: unknown) => {
    caught = error;
  });
  assert.ok(caught instanceof DiskError && caught.code === 'IO');
});

test('short writes are continued, with the rest and at the right place, and a write without progress is an error', async () => {
  const target = new Uint8Array(12);
  const short = (parts: readonly Uint8Array[], offset: number): number => {
    const part = parts[0]!;
    const count = Math.min(2, part.length);
    target.set(part.subarray(0, count), offset);
    return count;
  };
  const parts = [Uint8Array.of(1, 2, 3), Uint8Array.of(), Uint8Array.of(4), Uint8Array.of(5, 6, 7, 8)];
  writeFullySync(short, parts, 1);
  assert.equal([...target], [0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0]);
  target.fill(0);
  await writeFully(async (rest, at) => short(rest, at), parts, 2);
  assert.equal([...target], [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0]);
  assert.throws(() => writeFullySync(() => 0, parts, 0), /took no bytes/);
  let message = '';
  await writeFully(async () => 0, parts, 0).catch((error: unknown) => {
    message = String(error);
  });
  assert.match(message, /took no bytes/);
});

const HOLDER = `
  const { NodeDisk } = await import(process.argv[1]);
  await new NodeDisk().lock(process.argv[2]);
  process.stdout.write('locked');
  setInterval(() => {}, 1000);
`;

async function startHolder(root: string): Promise<ChildProcess> {
  const module = new URL('../../src/storage/node_disk.js', import.meta.url).href;
  const child = spawn(process.execPath, ['--input-type=module', '-e', HOLDER, module, root], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout!, 'data');
  return child;
}

test('kill -9 of the holder leaves the directory free at once, with its stale LOCK taken over', async () => {
  const root = newRoot();
  const disk = new NodeDisk();
  const child = await startHolder(root);
  try {
    let caught: unknown;
    await disk.lock(root).catch((error: unknown) => {
      caught = error;
    });
    assert.ok(caught instanceof DiskError && caught.code === 'LOCKED');
    assert.match(String(caught), `process ${child.pid}`);
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  assert.ok(fs.existsSync(`${root}/LOCK`), 'the dead holder could not clean up');
  const held = await disk.lock(root);
  assert.is(JSON.parse(fs.readFileSync(`${root}/LOCK`, 'utf8')).pid, process.pid);
  await held.release();
  assert.is(fs.existsSync(`${root}/LOCK`), false);
});

test('a LOCK whose process lives is honoured even where its socket cannot be seen', async () => {
  const root = newRoot();
  const child = await startHolder(root);
  const seen = newRoot();
  try {
    fs.copyFileSync(`${root}/LOCK`, `${seen}/LOCK`);
    let caught: unknown;
    await lockDirectory(seen, `${seen}/LOCK`).catch((error: unknown) => {
      caught = error;
    });
    assert.ok(caught instanceof DiskError && caught.code === 'LOCKED');
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  await (await lockDirectory(seen, `${seen}/LOCK`)).release();
});

test('a LOCK whose process was killed is stale even where its parent never asks what became of it', async () => {
  if (process.platform !== 'linux') return;
  const root = newRoot();
  const module = new URL('../../src/storage/node_disk.js', import.meta.url).href;
  // The shell becomes a program that knows of no child.
  const words = ['-c', '"$@" & exec sleep 1000', 'sh', process.execPath, '--input-type=module', '-e'];
  const parent = spawn('sh', [...words, HOLDER, module, root], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    await once(parent.stdout, 'data');
    const { pid } = JSON.parse(fs.readFileSync(`${root}/LOCK`, 'utf8'));
    process.kill(pid, 'SIGKILL');
    while (!/\) Z /.test(fs.readFileSync(`/proc/${pid}/stat`, 'utf8')))
      await new Promise((resolve) => setImmediate(resolve));
    await (await new NodeDisk().lock(root)).release();
  } finally {
    parent.kill('SIGKILL');
    await once(parent, 'exit');
  }
});

test('a socket that holds the directory without a readable LOCK is still refused', async () => {
  const root = newRoot();
  const stats = fs.statSync(root, { bigint: true });
  const server = createServer();
  server.listen({ path: `\0kvorum-${stats.dev}-${stats.ino}` });
  await once(server, 'listening');
  let message = '';
  await lockDirectory(root, `${root}/LOCK`).catch((error: unknown) => {
    message = String(error);
  });
  assert.match(message, /another process/);
  server.close();
  await once(server, 'close');
});

test('a LOCK that makes no sense, or names a reused pid, is stale', async () => {
  for (const text of [
    '',
    '{',
    'null',
    '{"pid":-1}',
    '{"pid":1}',
    `{"pid":1,"startTime":"1","bootId":"other"}`,
  ]) {
    const root = newRoot();
    fs.writeFileSync(`${root}/LOCK`, text);
    await (await lockDirectory(root, `${root}/LOCK`)).release();
  }
});

test('without abstract sockets the LOCK file alone is the mutex', async () => {
  const root = newRoot();
  const lockFile = `${root}/LOCK`;
  fs.writeFileSync(lockFile, 'left behind by a crash');
  const held = await lockDirectory(root, lockFile, { sockets: false });
  let message = '';
  await lockDirectory(root, lockFile, { sockets: false }).catch((error: unknown) => {
    message = String(error);
  });
  assert.match(message, `process ${process.pid} (this one)`);
  await held.release();
  await (await lockDirectory(root, lockFile, { sockets: false })).release();
  assert.equal(fs.readdirSync(root), []);
});

test.run();
