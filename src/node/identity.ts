/**
 * Who a data directory belongs to: written once when the node is created, checked at every start.
 *
 *     node.json := { formatVersion, clusterId, nodeId, tree, configuration, promote, checksum }
 *
 * `configuration` is the one in force before the first log entry: the founding members, or nobody for a node that joins a running cluster (it learns
 * the members from the log). `promote`: the node asks to become a voter once it has caught up. `checksum`: the CRC-32, in hexadecimal, of the document
 * without it as JSON without spaces; it is missing in files that were written before it was invented.
 *
 * Invariants: written to a temporary name, synced, renamed, directory synced; a directory with a log but without node.json is refused.
 */
import { z } from 'zod';
import { KvError } from '../errors.ts';
import { decodeConfiguration, encodeConfiguration } from '../raft/configuration.ts';
import type { Configuration, NodeId } from '../raft/types.ts';
import { crc32 } from '../storage/crc32.ts';
import type { Disk } from '../storage/disk.ts';

const FORMAT_VERSION = 1;
const FILE = 'node.json';

export interface Identity {
  /** Decimal, 64 bits. */
  readonly clusterId: string;
  readonly nodeId: NodeId;
  readonly tree: 'tables' | 'rocksdb';
  readonly configuration: Configuration;
  readonly promote: boolean;
}

const schema = z.strictObject({
  formatVersion: z.literal(FORMAT_VERSION),
  clusterId: z.string().regex(/^\d{1,20}$/),
  nodeId: z.number().int().min(1),
  tree: z.enum(['tables', 'rocksdb']),
  configuration: z.unknown(),
  promote: z.boolean(),
  checksum: z
    .string()
    .regex(/^[0-9a-f]{8}$/)
    .optional(),
});

function checksumOf(document: object): string {
  return crc32(new TextEncoder().encode(JSON.stringify(document)))
    .toString(16)
    .padStart(8, '0');
}

const treeSchema = z.looseObject({ tree: z.string().regex(/^[a-z]{1,20}$/) });
/** Trees that there were before, and that nothing reads any more. */
const FORMER_TREES: readonly string[] = ['memory'];

/** @throws KvError TREE_UNAVAILABLE for a directory of a version whose tree is gone */
function refuseUnknownTree(file: string, path: string, document: unknown): void {
  const { data } = treeSchema.safeParse(document);
  if (data === undefined || !FORMER_TREES.includes(data.tree)) return;
  throw new KvError(
    'TREE_UNAVAILABLE',
    `${path} was made with the tree "${data.tree}", which this version does not have any more; its data was not touched. In a cluster, remove this node and let it ` +
      'join again with an empty directory. A store of one node: copy its keys to a new directory with the version that made it',
    { details: { file, tree: data.tree } },
  );
}

/** undefined when the directory holds no node yet. REQUIRES: its log directory exists. @throws KvError CORRUPT, TREE_UNAVAILABLE */
export async function readIdentity(disk: Disk, path: string): Promise<Identity | undefined> {
  const file = `${path}/${FILE}`;
  if (!(await disk.exists(file))) {
    if ((await disk.list(`${path}/log`)).length > 0) {
      throw new KvError('CORRUPT', `${file} is missing although ${path}/log is not empty`, {
        details: { file, offset: 0, problem: 'missing' },
      });
    }
    return undefined;
  }
  const text = new TextDecoder().decode(await disk.readFile(file));
  try {
    const given: unknown = JSON.parse(text);
    refuseUnknownTree(file, path, given);
    const { checksum, ...document } = schema.parse(given);
    if (checksum !== undefined && checksum !== checksumOf(document)) throw new Error('the checksum is wrong');
    const { clusterId, nodeId, tree, configuration, promote } = document;
    const bytes = new TextEncoder().encode(JSON.stringify(configuration));
    return { clusterId, nodeId, tree, promote, configuration: decodeConfiguration(bytes) };
  } catch (cause) {
    if (cause instanceof KvError && cause.code === 'TREE_UNAVAILABLE') throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new KvError('CORRUPT', `${file} is damaged: ${why}`, {
      cause,
      details: { file, offset: 0, problem: why },
    });
  }
}

export async function writeIdentity(disk: Disk, path: string, identity: Identity): Promise<void> {
  const { clusterId, nodeId, tree, promote } = identity;
  const configuration: unknown = JSON.parse(
    new TextDecoder().decode(encodeConfiguration(identity.configuration)),
  );
  const document = { formatVersion: FORMAT_VERSION, clusterId, nodeId, tree, configuration, promote };
  const temporary = `${path}/${FILE}.new`;
  if (await disk.exists(temporary)) await disk.remove(temporary);
  const file = await disk.open(temporary, 'create');
  try {
    const sealed = { ...document, checksum: checksumOf(document) };
    await file.write([new TextEncoder().encode(`${JSON.stringify(sealed, undefined, 2)}\n`)], 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.rename(temporary, `${path}/${FILE}`);
  await disk.syncDirectory(path);
}
