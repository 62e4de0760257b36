/** Settings of a run, drawn from its seed: what is usual most of the time, and what is at an edge now and then. */
import type { ConfigInput } from '../config.ts';
import type { SeededRandom } from './core/seeded_random.ts';
import { LOAD_PARTS, type LoadPart } from './load/model_choices.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** Share of runs with lulls. */
const LONG_RUNS = 0.3;
/** Share of runs with plain calls only. */
const PLAIN_RUNS = 0.25;

/** Share of the other runs in which a part of the data model is used, where it is not the usual one. */
const PART_SHARES: { readonly [part in LoadPart]?: number } = { rights: 0.35, locks: 0.35, quotas: 0.35 };

/** One of the common values mostly, else one of the rare ones. */
function often<T>(random: SeededRandom, common: readonly T[], rare: readonly T[]): T {
  return random.chance(0.75) ? random.pick(common) : random.pick(rare);
}

/** How many founders a run has that was not told. */
export function drawNodes(random: SeededRandom): number {
  return random.pick([3, 3, 3, 3, 3, 3, 5, 5, 4, 2, 1]);
}

/**
 * Virtual time for each call of a run, in milliseconds: while clients are busy, and in lulls. Most runs are dense; in some, minutes pass, so that what is slow has its time.
 */
export function drawPace(random: SeededRandom): { readonly busyMs: number; readonly lullMs: number } {
  const busyMs = random.pick([3, 5, 8]);
  return { busyMs, lullMs: random.chance(LONG_RUNS) ? random.pick([40, 80, 120]) : 0 };
}

/** What a run's workload uses of the data model beside the plain calls: nothing in some runs, each part in many. */
export function drawParts(random: SeededRandom): LoadPart[] {
  if (random.chance(PLAIN_RUNS)) return [];
  return LOAD_PARTS.filter((part) => random.chance(PART_SHARES[part] ?? 0.6));
}

/** Now and then so little that a few large writes reach the bound; else what the configuration has. */
function drawUncommitted(random: SeededRandom): { maxUncommittedBytes?: number } {
  return random.chance(0.15) ? { maxUncommittedBytes: random.pick([64 * KIB, 128 * KIB, 256 * KIB]) } : {};
}

export function drawConfig(random: SeededRandom): ConfigInput {
  return {
    storage: {
      segmentSizeBytes: often(random, [128 * KIB], [64 * KIB, 512 * KIB]),
      preallocateBytes: often(random, [16 * KIB], [4 * KIB, 64 * KIB]),
      blockSizeBytes: often(random, [KIB, 4 * KIB], [2 * KIB]),
      blockCacheBytes: often(random, [MIB], [0, 32 * KIB]),
      compression: often(random, ['none'], ['lz4']),
      logRetainBytes: often(random, [32 * KIB], [0, MIB]),
      maxFrozenMemtables: often(random, [2, 3], [1]),
    },
    raft: {
      maxAppendBytes: often(random, [64 * KIB], [4 * KIB, MIB]),
      maxInflightBytes: often(random, [MIB], [64 * KIB]),
      snapshotChunkBytes: often(random, [16 * KIB], [4 * KIB, 256 * KIB]),
      ...drawUncommitted(random.fork('uncommitted')),
    },
    // So few that sessions of clients that are idle for long make room for others.
    limits: { maxSessions: often(random, [10_000], [16, 24]), sessionIdleMs: 1_000 },
    // Little mostly, so that compaction goes past reads and watchers.
    node: { historyRevisions: often(random, [100, 500], [20, 2_000, 0]) },
  };
}
