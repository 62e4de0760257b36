/**
 * A new data directory from a snapshot: the store of a cluster that is gone, or a copy of one that goes on, under a new cluster id.
 *
 * Everything is built in `PATH.restoring`, which gets its name when it is whole. Members are those given; sessions and alarms end; users, leases and quotas stay (a lease that has run out
 * meanwhile ends when the cluster starts).
 *
 * Invariants (known failure 26): the revision never goes down for a client that saw more of the old store than the snapshot holds: it is raised by `bumpRevision`, and everything below is
 * compacted, so that whoever watches or reads from an old revision is told. Founders that restore one snapshot with the same members and numbers begin alike, and as one cluster.
 */
import { createHash } from 'node:crypto';
import type { Config } from '../config.ts';
import { KvError } from '../errors.ts';
import type { KvState } from '../kv/state_machine.ts';
import type { Ports } from '../ports.ts';
import type { Member } from '../raft/types.ts';
import type { Disk } from '../storage/disk.ts';
import { makeDurableDirectory } from '../storage/durable_directory.ts';
import type { SnapshotReader } from '../storage/snapshot/snapshot_reader.ts';
import { openPortable } from '../storage/snapshot/trailer.ts';
import { foundRestored } from './founding.ts';
import { decodeNodeState, encodeNodeState } from './node_state.ts';
import { asStorageError, openStorage } from './replica_storage.ts';

/** More than a store writes between two backups. */
export const DEFAULT_BUMP_REVISION = 1_000_000_000;
const MAX_REVISION = 2 ** 52;

export interface RestoreOptions {
  readonly disk: Disk;
  readonly ports: Ports;
  readonly config: Config;
  /** The snapshot, with or without a trailer (storage/snapshot/trailer.ts). */
  readonly file: string;
  /** The data directory: missing, or empty. */
  readonly path: string;
  /** Which of the members this node is. */
  readonly nodeId: number;
  readonly members: readonly Member[];
  readonly bumpRevision: number;
}

export interface Restored {
  readonly clusterId: string;
  /** The store's revision, which is the compacted one as well. */
  readonly revision: number;
  readonly records: number;
}

/** @throws KvError INVALID_ARGUMENT (the directory is not empty, a number makes no sense), CORRUPT, NOT_FOUND, NO_SPACE, STORAGE_FAILED */
export async function restoreDirectory(options: RestoreOptions): Promise<Restored> {
  const { disk, file, path } = options;
  try {
    if (!(await disk.exists(file))) throw new KvError('NOT_FOUND', `there is no file ${file}`);
    if ((await disk.exists(path)) && (await disk.list(path)).length > 0)
      throw new KvError('INVALID_ARGUMENT', `${path} is not empty: a restore makes a new directory`);
    const reader = await openPortable(disk, file);
    const building = `${path}.restoring`;
    try {
      await disk.removeTree(building);
      const restored = await build(options, building, reader);
      await disk.removeTree(path);
      await disk.rename(building, path);
      await disk.syncDirectory(parentOf(path));
      return restored;
    } catch (error) {
      await disk.removeTree(building);
      throw error;
    } finally {
      await reader.close();
    }
  } catch (error) {
    throw asStorageError(error);
  }
}

async function build(options: RestoreOptions, path: string, reader: SnapshotReader): Promise<Restored> {
  const { disk, ports, config, nodeId, members, bumpRevision } = options;
  const { index, term, state } = reader.applied;
  const kv = withRevision(decodeNodeState(state).kv, bumpRevision);
  // Founders must agree on it without a word; a cluster of one has nobody to agree with.
  const seed =
    members.length === 1
      ? ports.random.bytes(8)
      : createHash('sha256')
          .update(JSON.stringify([members, index, term, kv.revision]))
          .digest();
  const identity = foundRestored(nodeId, members, config.storage.tree, seed);
  const { configuration, clusterId } = identity;
  await makeDurableDirectory(disk, path);
  const storage = await openStorage({ disk, path, config, ports, create: async () => identity });
  try {
    const applied = { index, term, state: encodeNodeState({ configuration, kv }) };
    await storage.engine.install(applied, reader.records());
    await storage.log.reset(index, term);
    // Nobody may take part in a term from before.
    await storage.log.append({ term, vote: 0, commit: index }, [], true);
  } finally {
    await storage.close();
  }
  return { clusterId, revision: kv.revision, records: reader.recordCount };
}

function withRevision(kv: KvState, bumpRevision: number): KvState {
  const revision = kv.revision + bumpRevision;
  if (!Number.isSafeInteger(bumpRevision) || bumpRevision < 0 || revision > MAX_REVISION) {
    const message = `the revision is raised by ${bumpRevision}, allowed: 0 to ${MAX_REVISION - kv.revision}`;
    throw new KvError('INVALID_ARGUMENT', message);
  }
  const { alarms: _alarms, times: _times, auth, quotas, ...rest } = kv;
  const users = auth === undefined ? undefined : { ...auth, sessions: [] };
  // What was still to be counted is counted as of now: nothing older can be read any more.
  const counting = quotas?.map((quota) =>
    quota.countingFrom === 0 ? quota : { ...quota, countingFrom: revision, bytes: 0, keys: 0 },
  );
  const restored = { ...rest, revision, compactRevision: revision, sessions: [], auth: users };
  return counting === undefined ? restored : { ...restored, quotas: counting };
}

function parentOf(path: string): string {
  const end = path.lastIndexOf('/');
  return end < 0 ? '.' : end === 0 ? '/' : path.slice(0, end);
}
