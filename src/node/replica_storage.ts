/**
 * Opens (or creates) what a node keeps in its data directory, and brings the parts to one point.
 *
 *     LOCK       held while the node runs
 *     node.json  who this is (identity.ts)
 *     log/       the Raft log (docs/formats/log.md)
 *     tree/      flushed records (the tree's own files)
 *     tree.damaged-N/  trees that could not be opened, set aside (lost_tree.ts)
 *     applied.state    a second copy of what the tree knows of the node's state (kept_state.ts)
 *     snapshots/ snapshots made for, or received from, other nodes
 *
 * Invariants: the log is the authority for everything above the tree's durable index; a tree that is ahead of the log was installed from a snapshot just
 * before a crash, and the log starts anew after it; a log that begins later than the tree ends is a gap, which is refused or filled from another node.
 */
import type { Config } from '../config.ts';
import { isDamage, KvError } from '../errors.ts';
import { StateMachine } from '../kv/state_machine.ts';
import type { Ports } from '../ports.ts';
import type { Configuration } from '../raft/types.ts';
import { type Disk, DiskError } from '../storage/disk.ts';
import { makeDurableDirectory } from '../storage/durable_directory.ts';
import { StorageEngine } from '../storage/engine.ts';
import { parseSegmentName } from '../storage/log/format.ts';
import { SegmentedLog } from '../storage/log/segmented_log.ts';
import { openTree } from '../storage/open_tree.ts';
import type { AppliedState } from '../storage/record.ts';
import type { SharedReads } from '../storage/shared/shared_reads.ts';
import { SnapshotStore } from '../storage/snapshot/snapshot_store.ts';
import type { Tree } from '../storage/tree.ts';
import { releaseBallast } from './ballast.ts';
import { type Identity, readIdentity, writeIdentity } from './identity.ts';
import { goesOn, type KnownState, knownState, type Place, setTreeAside } from './lost_tree.ts';
import { decodeNodeState } from './node_state.ts';

export interface ReplicaStorage {
  readonly identity: Identity;
  readonly log: SegmentedLog;
  readonly engine: StorageEngine;
  readonly snapshots: SnapshotStore;
  readonly stateMachine: StateMachine;
  readonly appliedIndex: number;
  readonly appliedTerm: number;
  readonly appliedConfiguration: Configuration;
  /** Why the engine does not hold what was applied: nothing may be read, applied or flushed until another node's snapshot has filled it. undefined: it does. */
  readonly lost: KvError | undefined;
  close(): Promise<void>;
}

export interface OpenStorageOptions {
  readonly disk: Disk;
  readonly path: string;
  readonly config: Config;
  readonly ports: Ports;
  /** Who to be when the directory is new. Called under the lock. */
  readonly create: () => Promise<Identity>;
  readonly shared?: SharedReads | undefined;
}

/** @throws KvError LOCKED, CORRUPT, CONFIG_INVALID, TREE_UNAVAILABLE, NO_SPACE, STORAGE_FAILED */
export async function openStorage(options: OpenStorageOptions): Promise<ReplicaStorage> {
  try {
    return await open(options);
  } catch (error) {
    const isFull = error instanceof KvError && error.code === 'NO_SPACE';
    // To start takes a little room as well.
    if (!isFull || !(await releaseBallast(options.disk, options.path))) throw error;
    return open(options);
  }
}

async function open(options: OpenStorageOptions): Promise<ReplicaStorage> {
  const { disk, path } = options;
  try {
    // All of them before anything is written: what is synced in a directory is lost with the directory.
    for (const name of ['', '/log', '/tree', '/snapshots'])
      await makeDurableDirectory(disk, `${path}${name}`);
    const lock = await disk.lock(path);
    const opened: { close(): Promise<void> }[] = [{ close: () => lock.release() }];
    try {
      return await openLocked(options, opened);
    } catch (error) {
      await closeAll(opened);
      throw error;
    }
  } catch (error) {
    throw asStorageError(error);
  }
}

async function openLocked(
  options: OpenStorageOptions,
  opened: { close(): Promise<void> }[],
): Promise<ReplicaStorage> {
  const { disk, path, config, ports } = options;
  let identity = await readIdentity(disk, path);
  if (identity === undefined) {
    identity = await options.create();
    await writeIdentity(disk, path, identity);
  }
  if (identity.tree !== config.storage.tree) {
    throw new KvError(
      'CONFIG_INVALID',
      `storage.tree is "${config.storage.tree}", but ${path} was made with "${identity.tree}", and a directory keeps its tree: set storage.tree (--tree) to "${identity.tree}", or use an empty directory`,
    );
  }
  await assertLogThere(disk, path);
  const { durability, relaxedFlushMs, segmentSizeBytes, preallocateBytes, logCacheBytes } = config.storage;
  const log = await SegmentedLog.open({
    disk,
    path: `${path}/log`,
    durability,
    relaxedFlushMs,
    segmentSizeBytes,
    preallocateBytes,
    cacheBytes: logCacheBytes,
    ports,
  });
  opened.push(log);
  const snapshots = await SnapshotStore.open({ disk, path: `${path}/snapshots` });
  opened.push(snapshots);
  const place: Place = { disk, path, identity, log, snapshots };
  const { tree, damage } = await openTreeOrSetAside(place, options);
  const engine = new StorageEngine({ config: config.storage, tree, ports, shared: options.shared });
  opened.push(engine);

  const stateMachine = new StateMachine({ engine, limits: config.limits });
  const { known, lost } = await stateOf(place, engine.durable, damage);
  if (known.state !== undefined) stateMachine.restore(known.state.kv);
  await alignLog(log, known);
  return {
    identity,
    log,
    engine,
    snapshots,
    stateMachine,
    appliedIndex: known.index,
    appliedTerm: known.term,
    appliedConfiguration: known.state?.configuration ?? identity.configuration,
    lost,
    close: () => closeAll(opened),
  };
}

/** The log is begun before the tree: where there is a tree, a log without files was lost, with the node's term and vote and what was not flushed. */
export async function lostLog(disk: Disk, path: string): Promise<string | undefined> {
  const [log, tree] = await Promise.all([namesIn(disk, `${path}/log`), namesIn(disk, `${path}/tree`)]);
  if (tree.length === 0 || log.some((name) => parseSegmentName(name) !== undefined)) return undefined;
  return 'the log is gone, and with it what was written last, but the tree is there';
}

async function namesIn(disk: Disk, directory: string): Promise<string[]> {
  return (await disk.exists(directory)) ? disk.list(directory) : [];
}

async function assertLogThere(disk: Disk, path: string): Promise<void> {
  const problem = await lostLog(disk, path);
  if (problem === undefined) return;
  const file = `${path}/log`;
  throw new KvError('CORRUPT', `${file}: ${problem}`, { details: { file, offset: 0, problem } });
}

/** Opens the tree; where it is damaged and other nodes have its data, an empty one in its place. */
async function openTreeOrSetAside(
  place: Place,
  { config, ports }: OpenStorageOptions,
): Promise<{ readonly tree: Tree; readonly damage: KvError | undefined }> {
  const { disk, path, identity } = place;
  const open = (): Promise<Tree> => openTree(identity.tree, disk, `${path}/tree`, ports, config.storage);
  try {
    return { tree: await open(), damage: undefined };
  } catch (error) {
    if (!(error instanceof KvError && isDamage(error)) || identity.tree !== 'tables') throw error;
    if ((await knownState(place)) === undefined) throw error;
    const where = await setTreeAside(place);
    await makeDurableDirectory(disk, `${path}/tree`);
    return { tree: await open(), damage: goesOn(error, where) };
  }
}

/** Where this node stands: what its tree holds or, where the log does not go on from there, what it is known to have held. @throws KvError CORRUPT */
async function stateOf(
  place: Place,
  durable: AppliedState | undefined,
  damage: KvError | undefined,
): Promise<{ readonly known: KnownState; readonly lost: KvError | undefined }> {
  const { log, path, identity } = place;
  const index = durable?.index ?? 0;
  if (log.firstIndex() <= index + 1) {
    const state = durable === undefined ? undefined : decodeNodeState(durable.state);
    return { known: { index, term: durable?.term ?? 0, state }, lost: undefined };
  }
  const file = `${path}/log`;
  const problem = `the log begins at entry ${log.firstIndex()}, but the tree holds entries only up to ${index}`;
  const gap = new KvError('CORRUPT', `${file}: ${problem}`, { details: { file, offset: 0, problem } });
  const known = identity.tree === 'tables' ? await knownState(place) : undefined;
  if (known === undefined) throw damage ?? gap;
  return { known, lost: damage ?? gap };
}

async function alignLog(log: SegmentedLog, { index, term, state }: KnownState): Promise<void> {
  if (state !== undefined && log.term(index) !== term) await log.reset(index, term);
}

async function closeAll(opened: { close(): Promise<void> }[]): Promise<void> {
  let failure: unknown;
  for (const part of opened.splice(0).reverse()) {
    try {
      await part.close();
    } catch (error) {
      failure ??= error;
    }
  }
  if (failure !== undefined) throw failure;
}

/** A failure of the disk as the KvError to tell; anything else as it is. */
export function asStorageError(error: unknown): unknown {
  if (!(error instanceof DiskError)) return error;
  const options = { cause: error, details: { file: error.path, diskError: error.code } };
  switch (error.code) {
    case 'LOCKED':
      return new KvError('LOCKED', error.message, options);
    case 'NO_SPACE':
      return new KvError('NO_SPACE', error.message, options);
    default:
      return new KvError('STORAGE_FAILED', error.message, options);
  }
}
