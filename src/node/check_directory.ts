/**
 * Verifies a node's data directory that no node has open: every checksum, order and length of the log, the tree and the snapshots.
 *
 * Invariants: nothing is changed; every damage is reported with its file and offset, not only the first.
 */
import { KvError } from '../errors.ts';
import { type Disk, DiskError } from '../storage/disk.ts';
import { verifyLog } from '../storage/log/verify.ts';
import type { KeyRange } from '../storage/record.ts';
import { openSnapshot, verifySnapshot } from '../storage/snapshot/snapshot_reader.ts';
import { MANIFEST_NAME } from '../storage/tables/manifest.ts';
import { TABLES_DIRECTORY } from '../storage/tables/table_store.ts';
import { verifyTree } from '../storage/tables/verify_tree.ts';
import { readIdentity } from './identity.ts';
import { isAside } from './lost_tree.ts';
import { decodeNodeState } from './node_state.ts';
import { lostLog } from './replica_storage.ts';

const ASIDE_NOTE = 'a tree that was damaged and set aside: nothing uses it any more';

export interface Damage {
  readonly file: string;
  readonly offset: number | undefined;
  readonly problem: string;
  /** The keys (as stored: a space byte, then the key) whose records may be gone or wrong, where that is known; `end` is not among them. */
  readonly keyRange?: KeyRange;
}
export interface CheckReport {
  readonly node: { readonly nodeId: number; readonly clusterId: string; readonly tree: string };
  /** Files looked at. */
  readonly files: number;
  readonly damages: readonly Damage[];
  /** What is no damage but worth knowing: an unfinished write at the log's end, files that this does not look into. */
  readonly notes: readonly Damage[];
}

/** @throws KvError LOCKED when a node has it open, NOT_FOUND when there is no node in the directory, CORRUPT when node.json is damaged. */
export async function checkDirectory(
  disk: Disk,
  path: string,
  progress: (done: number, total: number) => void,
): Promise<CheckReport> {
  if (!(await disk.exists(`${path}/node.json`))) {
    throw new KvError('NOT_FOUND', `${path} holds no node: there is no node.json in it`);
  }
  const lock = await lockFor(disk, path);
  try {
    const identity = await readIdentity(disk, path);
    if (identity === undefined) throw new KvError('NOT_FOUND', `${path} holds no node`);
    const { nodeId, clusterId, tree } = identity;
    const snapshots = await filesIn(disk, `${path}/snapshots`);
    const segments = await filesIn(disk, `${path}/log`);
    const tables = tree === 'tables' ? await filesIn(disk, `${path}/tree/${TABLES_DIRECTORY}`) : [];
    const total = snapshots.length + segments.length + tables.length + 1;
    progress(0, total);
    const damages: Damage[] = [];
    const notes: Damage[] = [];
    const logStart = await checkLog(disk, path, damages, notes);
    if (tree === 'rocksdb') {
      const problem =
        'not looked into: RocksDB and its rows carry checksums that are checked when they are read';
      notes.push({ file: `${path}/tree`, offset: undefined, problem });
    }
    let done = segments.length;
    if (tree === 'tables')
      await checkTables(disk, `${path}/tree`, logStart, damages, notes, (tablesDone) =>
        progress(done + tablesDone, total),
      );
    for (const name of await disk.list(path))
      if (isAside(name)) notes.push({ file: `${path}/${name}`, offset: undefined, problem: ASIDE_NOTE });
    done += tables.length;
    for (const file of snapshots) {
      progress(done++, total);
      // Files that were not finished are removed when the node opens: they hold nothing that counts.
      if (!file.endsWith('.kvsnap')) continue;
      damages.push(...(await verifyStateFile(disk, file)));
    }
    progress(total, total);
    return { node: { nodeId, clusterId, tree }, files: total, damages, notes };
  } finally {
    await lock.release();
  }
}

/** Gives the index before the log's first entry; 0 where there is no log that can be read. */
async function checkLog(disk: Disk, path: string, damages: Damage[], notes: Damage[]): Promise<number> {
  const lost = await lostLog(disk, path);
  if (lost !== undefined) {
    damages.push({ file: `${path}/log`, offset: undefined, problem: lost });
    return 0;
  }
  let start = 0;
  const findings = await verifyLog(disk, `${path}/log`, (startIndex) => {
    start = startIndex;
  });
  for (const { severity, file, offset, problem } of findings) {
    if (severity === 'damage') damages.push({ file, offset, problem });
    else
      notes.push({
        file,
        offset,
        problem: `${problem}: an unfinished write, which the next start cuts off`,
      });
  }
  return start;
}

async function checkTables(
  disk: Disk,
  path: string,
  logStart: number,
  damages: Damage[],
  notes: Damage[],
  progress: (done: number) => void,
): Promise<void> {
  const report = await verifyTree(disk, path, progress);
  damages.push(...report.damages);
  notes.push(...report.notes);
  const manifest = `${path}/${MANIFEST_NAME}`;
  const reached = report.applied?.index ?? 0;
  if (reached < logStart && !report.damages.some(({ file }) => file === manifest)) {
    const problem = `the tree is gone, or not this node's: it holds entries up to ${reached} only, and the log begins after entry ${logStart}`;
    damages.push({ file: path, offset: undefined, problem });
  }
  if (report.applied === undefined) return;
  try {
    decodeNodeState(report.applied.state);
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    damages.push({ file: manifest, offset: 0, problem });
  }
}

async function verifyStateFile(disk: Disk, file: string): Promise<Damage[]> {
  const damages: Damage[] = [...(await verifySnapshot(disk, file))];
  if (damages.length > 0) return damages;
  const reader = await openSnapshot(disk, file);
  try {
    decodeNodeState(reader.applied.state);
  } catch (error) {
    damages.push({ file, offset: 0, problem: error instanceof Error ? error.message : String(error) });
  } finally {
    await reader.close();
  }
  return damages;
}

async function lockFor(disk: Disk, path: string): Promise<{ release(): Promise<void> }> {
  try {
    return await disk.lock(path);
  } catch (error) {
    if (error instanceof DiskError && error.code === 'LOCKED') {
      throw new KvError('LOCKED', `${error.message}: stop the node before checking its directory`, {
        cause: error,
      });
    }
    if (error instanceof DiskError) {
      throw new KvError('STORAGE_FAILED', `${path} cannot be locked for the check: ${error.message}`, {
        cause: error,
        details: { file: error.path },
      });
    }
    throw error;
  }
}

async function filesIn(disk: Disk, directory: string): Promise<string[]> {
  try {
    return (await disk.list(directory)).map((name) => `${directory}/${name}`);
  } catch (error) {
    if (error instanceof DiskError && error.code === 'NOT_FOUND') return [];
    throw error;
  }
}
