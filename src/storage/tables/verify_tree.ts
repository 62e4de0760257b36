/**
 * The offline check of a tree of tables: its manifest, every table that it names, and what else lies there. Nothing is changed.
 *
 * Invariants: every damage is reported with its file and offset and, where it is known, the range of keys that it concerns; damage never throws. A tree without
 * damages opens and reads whole. Files that no manifest names are notes: a crash may leave them, and the next start removes them.
 */
import { KvError } from '../../errors.ts';
import { type Disk, DiskError } from '../disk.ts';
import type { AppliedState, KeyRange } from '../record.ts';
import { parseTableName, tablePath } from './format.ts';
import { MANIFEST_NAME, MANIFEST_TEMPORARY_NAME, type Manifest, readManifest } from './manifest.ts';
import { TABLES_DIRECTORY } from './table_store.ts';
import { type VerifyOptions, verifyTable } from './verify_table.ts';

export interface TreeFinding {
  readonly file: string;
  readonly offset: number | undefined;
  readonly problem: string;
  readonly keyRange?: KeyRange;
}

export interface TreeReport {
  /** Files looked at. */
  readonly files: number;
  readonly damages: readonly TreeFinding[];
  readonly notes: readonly TreeFinding[];
  /** What the manifest says that the tables hold; undefined when nothing was flushed, or the manifest is damaged. */
  readonly applied: AppliedState | undefined;
}

/**
 * Verifies the tree in the directory `path`, which nobody has open; `progress` hears of every table that is done. A directory that is missing or empty is a tree that was
 * never opened: no damage.
 * @throws DiskError when a directory cannot be listed; KvError UNAVAILABLE (no memory); what `options.pace` throws
 */
export async function verifyTree(
  disk: Disk,
  path: string,
  progress: (done: number, total: number) => void = () => undefined,
  options: VerifyOptions = {},
): Promise<TreeReport> {
  const directory = `${path}/${TABLES_DIRECTORY}`;
  const names = await namesIn(disk, path);
  const tableNames = await namesIn(disk, directory);
  const damages: TreeFinding[] = [];
  const notes: TreeFinding[] = [];
  const manifest = await takeManifest(disk, path, tableNames, damages);
  const tables = manifest?.levels.all() ?? [];
  const named = new Set<number>();
  for (const [done, { info }] of tables.entries()) {
    progress(done, tables.length);
    named.add(info.fileNumber);
    damages.push(...(await verifyTable(disk, tablePath(directory, info.fileNumber), info, options)));
  }
  progress(tables.length, tables.length);
  if (manifest !== undefined) {
    for (const name of tableNames) {
      const table = parseTableName(name);
      if (table?.finished === true && named.has(table.fileNumber)) continue;
      notes.push(note(`${directory}/${name}`, table !== undefined));
    }
  }
  for (const name of names)
    if (name !== MANIFEST_NAME && name !== TABLES_DIRECTORY)
      notes.push(note(`${path}/${name}`, name === MANIFEST_TEMPORARY_NAME));
  return { files: names.length + tableNames.length, damages, notes, applied: manifest?.applied };
}

function note(file: string, isOurs: boolean): TreeFinding {
  const problem = isOurs
    ? 'no manifest names this file: the next start removes it'
    : 'this is no file of the tree';
  return { file, offset: undefined, problem };
}

async function takeManifest(
  disk: Disk,
  path: string,
  tableNames: readonly string[],
  damages: TreeFinding[],
): Promise<Manifest | undefined> {
  const file = `${path}/${MANIFEST_NAME}`;
  try {
    const manifest = await readManifest(disk, path);
    const table = tableNames.find((name) => parseTableName(name)?.finished === true);
    if (manifest === undefined && table !== undefined)
      damages.push({ file, offset: 0, problem: `the manifest is missing, but there are tables (${table})` });
    return manifest;
  } catch (error) {
    const { offset, problem } = problemOf(error);
    damages.push({ file, offset, problem });
    return undefined;
  }
}

function problemOf(error: unknown): { offset: number; problem: string } {
  if (error instanceof DiskError) return { offset: 0, problem: `cannot be read: ${error.message}` };
  if (!(error instanceof KvError) || error.code !== 'CORRUPT') throw error;
  const { offset, problem } = error.details;
  return { offset: Number(offset), problem: String(problem) };
}

async function namesIn(disk: Disk, path: string): Promise<string[]> {
  try {
    return await disk.list(path);
  } catch (error) {
    if (error instanceof DiskError && error.code === 'NOT_FOUND') return [];
    throw error;
  }
}
