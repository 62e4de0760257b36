/**
 * Checks the directory of a tree of tables that nobody has open: the manifest, and every byte of every table that it names.
 *
 * Invariants: nothing is changed; damage never throws, it is reported with file, offset and, where known, the keys that it may affect. Files that no manifest names hold
 * nothing that counts: the next start removes them. Where the manifest itself is damaged every table file is looked at by itself.
 */
import { KvError } from '../../errors.ts';
import { type Disk, DiskError } from '../disk.ts';
import { parseTableName, type TableInfo, tablePath } from './format.ts';
import { MANIFEST_NAME, type Manifest, readManifest } from './manifest.ts';
import { TABLES_DIRECTORY } from './table_store.ts';
import { type TableDamage, type VerifyOptions, verifyTable } from './verify_table.ts';

export interface VerifyTablesOptions extends VerifyOptions {
  /** Told after each file. */
  readonly progress?: (done: number, total: number) => void;
}

export interface TablesReport {
  /** Files that were looked at. */
  readonly files: number;
  readonly damages: readonly TableDamage[];
}

/** @throws DiskError when a directory cannot be read; KvError UNAVAILABLE (no memory) */
export async function verifyTables(
  disk: Disk,
  path: string,
  options: VerifyTablesOptions = {},
): Promise<TablesReport> {
  const directory = `${path}/${TABLES_DIRECTORY}`;
  const damages: TableDamage[] = [];
  const present = await tableNumbers(disk, directory);
  const manifest = await manifestOf(disk, path, present.length > 0, damages);
  const infos: { fileNumber: number; info: TableInfo | undefined }[] =
    manifest === undefined
      ? present.map((fileNumber) => ({ fileNumber, info: undefined }))
      : manifest.levels.all().map(({ info }) => ({ fileNumber: info.fileNumber, info }));
  const files = infos.length + (manifest === undefined && present.length === 0 ? 0 : 1);
  let done = files - infos.length;
  options.progress?.(done, files);
  for (const { fileNumber, info } of infos) {
    damages.push(...(await verifyTable(disk, tablePath(directory, fileNumber), info, options)));
    options.progress?.(++done, files);
  }
  return { files, damages };
}

async function tableNumbers(disk: Disk, directory: string): Promise<number[]> {
  let names: string[];
  try {
    names = await disk.list(directory);
  } catch (error) {
    if (error instanceof DiskError && error.code === 'NOT_FOUND') return [];
    throw error;
  }
  return names
    .map(parseTableName)
    .filter((table) => table !== undefined)
    .filter((table) => table.finished)
    .map((table) => table.fileNumber);
}

async function manifestOf(
  disk: Disk,
  path: string,
  mustExist: boolean,
  damages: TableDamage[],
): Promise<Manifest | undefined> {
  const file = `${path}/${MANIFEST_NAME}`;
  try {
    const manifest = await readManifest(disk, path);
    if (manifest === undefined && mustExist)
      damages.push({ file, offset: 0, problem: 'the manifest is missing, but there are tables' });
    return manifest;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const isCorrupt = error instanceof KvError && error.code === 'CORRUPT';
    if (!isCorrupt && !(error instanceof DiskError)) throw error;
    const offset = isCorrupt ? Number(error.details['offset']) : 0;
    const problem = isCorrupt ? String(error.details['problem']) : `cannot be read: ${message}`;
    damages.push({ file, offset, problem });
    return undefined;
  }
}
