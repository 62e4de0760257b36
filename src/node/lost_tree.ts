/**
 * A tree that cannot be opened, or does not reach the beginning of the log, on a node whose log and vote are sound.
 *
 * Where other voters have the data, such a node starts all the same: the damaged tree is set aside (`tree.damaged-N`, nothing is deleted), an empty one is begun, and nothing is
 * read, applied, flushed or given to others until a snapshot from another node has filled it (repair.ts). Meanwhile the node votes and takes entries into its log
 * as before: for that it needs nothing but its log, its term and vote, and the members, all of which it still has. It is not like a node with an empty directory, which
 * has forgotten what it promised.
 *
 * What it must know to begin with is a state that was applied at or after the log's beginning, because that names the members: from the manifest of the tree that was set
 * aside, from the copy that is kept beside it (kept_state.ts), or from a snapshot in `snapshots/`. A log that was never cut needs neither: all of it is applied anew.
 *
 * Invariants: nothing is touched unless the node can go on afterwards; after a crash at any point the next start comes to the same decision.
 */
import { isDamage, KvError } from '../errors.ts';
import { decodeConfiguration } from '../raft/configuration.ts';
import { type Configuration, ENTRY_CONFIGURATION } from '../raft/types.ts';
import { type Disk, DiskError } from '../storage/disk.ts';
import type { SegmentedLog } from '../storage/log/segmented_log.ts';
import type { AppliedState } from '../storage/record.ts';
import type { SnapshotStore } from '../storage/snapshot/snapshot_store.ts';
import { readManifest } from '../storage/tables/manifest.ts';
import type { Identity } from './identity.ts';
import { readKeptState } from './kept_state.ts';
import { decodeNodeState, type NodeState } from './node_state.ts';

const ASIDE = /^tree\.damaged-(\d{1,6})$/;
const PAGE_BYTES = 4 * 1024 * 1024;

/** Whether a name in a data directory is that of a tree that was set aside. */
export function isAside(name: string): boolean {
  return ASIDE.test(name);
}

export interface Place {
  readonly disk: Disk;
  /** The data directory. */
  readonly path: string;
  readonly identity: Identity;
  readonly log: SegmentedLog;
  readonly snapshots: SnapshotStore;
}

/** A state that was applied once: where an empty tree can be filled from. */
export interface KnownState {
  readonly index: number;
  /** 0 with index 0. */
  readonly term: number;
  /** undefined with index 0. */
  readonly state: NodeState | undefined;
}

/** What this node may go on from without its tree; undefined: it must not, since nobody else has the data, or too little is known. */
export async function knownState(place: Place): Promise<KnownState | undefined> {
  const known = await newestKnown(place);
  if (known === undefined) return undefined;
  const { voters, votersOutgoing } = membersFrom(place, known);
  return new Set([...voters, ...votersOutgoing]).size > 1 ? known : undefined;
}

/** Puts the tree where nobody looks for it. Gives its new name. */
export async function setTreeAside({ disk, path }: Place): Promise<string> {
  const number = Math.max(0, ...(await asides(disk, path))) + 1;
  const name = `${path}/tree.damaged-${number}`;
  await disk.rename(`${path}/tree`, name);
  await disk.syncDirectory(path);
  return name;
}

/** The error with which a node would have refused to start, now that it goes on: what is wrong, and where its tree is. */
export function goesOn(error: KvError, where: string): KvError {
  return new KvError(error.code, `${error.message}; the tree was set aside as ${where}`, {
    cause: error,
    details: { ...error.details, setAside: where },
  });
}

async function newestKnown(place: Place): Promise<KnownState | undefined> {
  const { disk, path, log, snapshots } = place;
  const from = log.firstIndex() - 1;
  if (from === 0) return { index: 0, term: 0, state: undefined };
  const numbers = (await asides(disk, path)).sort((a, b) => b - a);
  for (const directory of ['tree', ...numbers.map((number) => `tree.damaged-${number}`)]) {
    const applied = await appliedOf(disk, `${path}/${directory}`);
    if (applied !== undefined && applied.index >= from) return decoded(applied);
  }
  const kept = await readKeptState(disk, path);
  if (kept !== undefined && kept.index >= from) return decoded(kept);
  const snapshot = snapshots.latest();
  // One that reaches beyond the log may have been received, but not yet put in place.
  if (snapshot === undefined || snapshot.index < from || snapshot.index > log.lastIndex()) return undefined;
  return decoded(snapshot);
}

function decoded({ index, term, state }: AppliedState): KnownState {
  return { index, term, state: decodeNodeState(state) };
}

/** What a tree's manifest says that was applied; undefined when it cannot be had. */
async function appliedOf(disk: Disk, path: string): Promise<AppliedState | undefined> {
  try {
    return (await readManifest(disk, path))?.applied;
  } catch (error) {
    if (isDamage(error)) return undefined;
    throw error;
  }
}

/** The members as of the end of the log, decided or not. */
function membersFrom({ log, identity }: Place, { index, state }: KnownState): Configuration {
  let configuration = state?.configuration ?? identity.configuration;
  for (let from = index + 1; from <= log.lastIndex(); ) {
    const entries = log.entries(from, log.lastIndex() + 1, PAGE_BYTES);
    for (const { kind, data } of entries)
      if (kind === ENTRY_CONFIGURATION) configuration = decodeConfiguration(data);
    from += entries.length;
  }
  return configuration;
}

async function asides(disk: Disk, path: string): Promise<number[]> {
  try {
    return (await disk.list(path)).flatMap((name) => {
      const match = ASIDE.exec(name);
      return match === null ? [] : [Number(match[1])];
    });
  } catch (error) {
    if (error instanceof DiskError && error.code === 'NOT_FOUND') return [];
    throw error;
  }
}
