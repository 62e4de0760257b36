/** A disk that fills up: writes are refused with NO_SPACE, reads go on, and the node takes writes again by itself once there is room. */
import { spawnSync } from 'node:child_process';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { connect } from '../../src/index.ts';
import { fillDisk, makeRoom } from '../chaos/small_disk.ts';
import { test } from '../suite.ts';
import {
  endAll,
  eventually,
  freePorts,
  kvorum,
  serve,
  statusOf,
  temporaryDirectory,
  whenTestEnds,
} from './processes.ts';

const MIB = 1024 * 1024;
const DISK_BYTES = 48 * MIB;

/** A small file system of its own; undefined where this user may not mount one. */
function smallDisk(): string | undefined {
  const directory = temporaryDirectory();
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'kvorum-test', directory]);
  if (mounted.status !== 0) return undefined;
  whenTestEnds(() => {
    // -l: also when the node's last breath still holds it.
    spawnSync('umount', ['-l', directory]);
  });
  return directory;
}

test('writes become NO_SPACE on a full disk while reads go on, and room heals it', async () => {
  const disk = smallDisk();
  if (disk === undefined) {
    console.log('skipped: a small tmpfs can only be mounted by root');
    return;
  }
  const [clientPort, peerPort] = (await freePorts(2)) as [number, number];
  const config = {
    storage: {
      memtableSizeBytes: 4 * MIB,
      segmentSizeBytes: MIB,
      preallocateBytes: 256 * 1024,
      checkpointLogBytes: 4 * MIB,
      logRetainBytes: 0,
    },
  };
  // The config file stands beside the data directory: not on the small disk.
  const node = await serve({ data: disk, clientPort, peerPort, config });
  const store = await connect({ endpoints: [node.endpoint], timeoutMs: 3_000 });
  await store.put('before', 'there was room');

  // Somebody else takes most of the room, the store the rest.
  const ballast = join(disk, 'ballast');
  const value = 'v'.repeat(100_000);
  writeFileSync(ballast, Buffer.alloc(DISK_BYTES - 16 * MIB));
  let acknowledged = 0;
  let refusal: KvError | undefined;
  for (let i = 0; i < 1_000 && refusal === undefined; i++) {
    try {
      await store.put(`fill/${String(i).padStart(5, '0')}`, value + i, { timeoutMs: 3_000 });
      acknowledged = i + 1;
    } catch (error) {
      if (!(error instanceof KvError)) throw error;
      refusal = error;
    }
  }
  assert.ok(acknowledged > 0);
  assert.is(refusal?.code, 'NO_SPACE', `${refusal?.code}: ${refusal?.message}`);

  assert.is(Buffer.from((await store.get('before')) ?? '').toString(), 'there was room');
  assert.ok(await store.get('fill/00000', { level: 'eventual' }));
  const flags = ['--endpoints', node.endpoint, '--timeout', '1500'];
  // The store may have made some room by itself: a write that still fits is taken. Of those of this size only a few can.
  let larger = 0;
  await eventually('the disk to be full for good', async () => {
    const key = `no-room/${larger++}`;
    const put = await kvorum(['put', key, '-', ...flags], { input: Buffer.alloc(2 * MIB, 'x') });
    if (put.status === 0) return undefined;
    assert.is(put.status, 1);
    assert.match(put.stderr, /NO_SPACE[\s\S]*Make room on the disk/);
    const [full] = await statusOf([node.endpoint]);
    return full!.health === 'NO_SPACE' ? true : undefined;
  });

  rmSync(ballast);
  await eventually('writes to be taken again', async () => {
    await store.put('after', 'there is room again', { timeoutMs: 1_000 });
    return true;
  });
  await eventually('the status to say so', async () => {
    const [healed] = await statusOf([node.endpoint]);
    return healed!.health === 'ok' ? true : undefined;
  });
  assert.is((await statusOf([node.endpoint]))[0]!.pid, node.pid, 'by itself: the same process');
  for (let i = 0; i < acknowledged; i++) {
    const key = `fill/${String(i).padStart(5, '0')}`;
    assert.is(Buffer.from((await store.get(key)) ?? '').toString(), value + i, `${key} was acknowledged`);
  }
  await store.close();
  assert.is((await node.command.stop()).status, 0);
  const checked = await kvorum(['check', disk]);
  assert.is(checked.status, 0, checked.stdout);

  // What was acknowledged is there after a restart too.
  const again = await serve({ data: disk, clientPort, peerPort, config });
  const { stdout } = await kvorum(['scan', 'fill/', '--keys-only', '--endpoints', again.endpoint]);
  assert.ok(stdout.trim().split('\n').length >= acknowledged);
  await again.command.stop();
});

test('a node whose disk was filled while it was down starts, gives what it holds, and takes writes once there is room', async () => {
  for (const ending of ['SIGKILL', 'SIGTERM'] as const) {
    const disk = smallDisk();
    if (disk === undefined) {
      console.log('skipped: a small tmpfs can only be mounted by root');
      return;
    }
    const [clientPort, peerPort] = (await freePorts(2)) as [number, number];
    const options = {
      data: disk,
      clientPort,
      peerPort,
      config: { storage: { preallocateBytes: 64 * 1024 } },
    };
    const node = await serve(options);
    const endpoints = ['--endpoints', node.endpoint];
    assert.is((await kvorum(['put', 'before', 'there was room', ...endpoints])).status, 0);
    await node.command.stop(ending);
    fillDisk(disk);
    // Its lock file used to be the first thing that had no room.
    const again = await serve(options);
    await eventually('it to give what it holds', async () => {
      const { status, stdout } = await kvorum(['get', 'before', ...endpoints]);
      return status === 0 && stdout.includes('there was room') ? true : undefined;
    });
    makeRoom(disk);
    await eventually('writes to be taken', async () => {
      const { status } = await kvorum(['put', 'after', 'there is room', ...endpoints]);
      return status === 0 ? true : undefined;
    });
    assert.is((await again.command.stop()).status, 0);
    const left = readdirSync(disk).filter((name) => name.startsWith('LOCK'));
    assert.equal(left, [], `after ${ending}`);
  }
});

test.after(endAll);

test.run();
