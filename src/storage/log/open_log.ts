/** Opens a log's directory: begins a new log, or reads back and repairs the one that is there. */
import type { Ports } from '../../ports.ts';
import type { Disk } from '../disk.ts';
import { encodeHeader } from './format.ts';
import { closeAll, openSegmentFiles, readLog, repairLog } from './recovery.ts';
import { Replay } from './replay.ts';
import type { Segment } from './segment.ts';
import { createSegmentFile } from './segment_space.ts';

export interface OpenedLog {
  readonly replay: Replay;
  /** Oldest first, one at least. */
  readonly segments: Segment[];
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash < 0 ? '.' : slash === 0 ? '/' : path.slice(0, slash);
}

/** Makes a directory and what is missing above it, each durable in its parent. */
async function makeDirectories(disk: Disk, path: string): Promise<void> {
  const parent = parentOf(path);
  if (!(await disk.exists(path))) {
    if (parent !== '/' && parent !== '.' && !(await disk.exists(parent))) await makeDirectories(disk, parent);
    await disk.makeDirectory(path);
  }
  // Also for one that was there: whoever made it may have died before this.
  await disk.syncDirectory(parent);
}

/** Everything that is given back is durable. */
export async function openLog(disk: Disk, path: string, ports: Ports): Promise<OpenedLog> {
  await makeDirectories(disk, path);
  const files = await openSegmentFiles(disk, path, 'open');
  try {
    const image = await readLog(files);
    await repairLog(disk, path, image);
    if (image.segments.length > 0) {
      // A name that an earlier life of the process created may still wait for its directory.
      await disk.syncDirectory(path);
      return { replay: image.replay, segments: image.segments };
    }
  } catch (error) {
    await closeAll(files);
    throw error;
  }
  return { replay: new Replay(), segments: [await beginLog(disk, path, ports)] };
}

async function beginLog(disk: Disk, path: string, ports: Ports): Promise<Segment> {
  const segment = await createSegmentFile(disk, path, 1, ports);
  const header = encodeHeader(
    {
      sequence: 1,
      position: 0,
      synced: 0,
      lowestSequence: 1,
      startIndex: 0,
      startTerm: 0,
      lastIndex: 0,
      lastTerm: 0,
      term: 0,
      vote: 0,
      commit: 0,
    },
    segment.seed,
  );
  segment.file.writeSync([header], 0);
  segment.zeroedEnd = header.byteLength;
  await segment.file.sync();
  await disk.syncDirectory(path);
  return segment;
}
