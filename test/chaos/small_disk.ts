/** A small file system for one node, that can be filled to the last byte and emptied again. Only where tmpfs may be mounted. */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmdirSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { noteResource } from './resources.ts';

const MIB = 1024 * 1024;
export const SMALL_DISK_BYTES = 160 * MIB;
const BALLAST = 'ballast';

/** Whether this user may mount a tmpfs; says why not. */
export function smallDiskProblem(): string | undefined {
  const directory = mkdtempSync(join(tmpdir(), 'kvorum-probe-'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1M', 'kvorum-probe', directory]);
  if (mounted.status === 0) spawnSync('umount', ['-l', directory]);
  rmdirSync(directory);
  if (mounted.status === 0) return undefined;
  return `a tmpfs can't be mounted here: ${mounted.error?.message ?? mounted.stderr.toString().trim()}`;
}

export function mountSmallDisk(roundDirectory: string, path: string): void {
  mkdirSync(path, { recursive: true });
  noteResource(roundDirectory, { kind: 'mount', path });
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${SMALL_DISK_BYTES}`, 'kvorum-chaos', path]);
  if (mounted.status !== 0) throw new Error(`mount: ${mounted.stderr}`);
}

/** Takes all the room there is; gives how much that was. */
export function fillDisk(path: string): number {
  const file = openSync(join(path, BALLAST), 'w');
  let filledBytes = 0;
  try {
    for (let sizeBytes = MIB; sizeBytes >= 4096; ) {
      const block = Buffer.alloc(sizeBytes);
      try {
        const written = writeSync(file, block);
        filledBytes += written;
        if (written < sizeBytes) sizeBytes /= 16;
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error;
        sizeBytes /= 16;
      }
    }
  } finally {
    closeSync(file);
  }
  return filledBytes;
}

export function makeRoom(path: string): void {
  rmSync(join(path, BALLAST), { force: true });
}
