/**
 * Settings of simulated nodes: everything small, so that memtables freeze, tables are merged, segments end and snapshots are sent within a few thousand operations.
 *
 * What is smaller here than a configuration may ask for is set after parsing: the limits of the settings are for users, the code must work below them.
 */
import { type Config, type ConfigInput, parseConfig } from '../../config.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

const SIM_INPUT = {
  limits: {
    maxKeyBytes: 4 * KIB,
    maxValueBytes: 128 * KIB,
    maxCommandBytes: 512 * KIB,
    maxSessionResults: 256,
    minLeaseTtlMs: 100,
  },
  storage: {
    memtableSizeBytes: MIB,
    segmentSizeBytes: 128 * KIB,
    preallocateBytes: 16 * KIB,
    logCacheBytes: MIB,
    checkpointLogBytes: MIB,
    blockSizeBytes: KIB,
    tableSizeBytes: MIB,
    blockCacheBytes: MIB,
    logRetainBytes: 32 * KIB,
  },
  raft: {
    tickMs: 20,
    electionTicks: 12,
    heartbeatTicks: 2,
    maxAppendBytes: 64 * KIB,
    snapshotChunkBytes: 16 * KIB,
  },
  door: { maxFrameBytes: MIB, maxQueuedBytesPerConnection: 256 * KIB, maxConnections: 256 },
  node: {
    requestTimeoutMs: 2_000,
    historyRevisions: 500,
    maxPendingBytes: MIB,
  },
} satisfies ConfigInput;

const SMALL_MEMTABLE_BYTES = 256 * KIB;
const SMALL_CHECKPOINT_BYTES = 96 * KIB;
const SMALL_TABLE_BYTES = 64 * KIB;
/** So that a watcher that is slow for a moment has to read history. */
const SMALL_WATCH_QUEUE_BYTES = 4 * KIB;

/** The configuration of a simulated cluster; `input` overrides single settings. */
export function simConfig(input: ConfigInput = {}): Config {
  const config = parseConfig({
    limits: { ...SIM_INPUT.limits, ...input.limits },
    storage: { ...SIM_INPUT.storage, ...input.storage },
    raft: { ...SIM_INPUT.raft, ...input.raft },
    door: { ...SIM_INPUT.door, ...input.door },
    node: { ...SIM_INPUT.node, ...input.node },
  });
  const given = input.storage ?? {};
  return Object.freeze({
    ...config,
    node: Object.freeze({
      ...config.node,
      maxWatchQueueBytes: input.node?.maxWatchQueueBytes ?? SMALL_WATCH_QUEUE_BYTES,
    }),
    storage: Object.freeze({
      ...config.storage,
      memtableSizeBytes: given.memtableSizeBytes ?? SMALL_MEMTABLE_BYTES,
      checkpointLogBytes: given.checkpointLogBytes ?? SMALL_CHECKPOINT_BYTES,
      tableSizeBytes: given.tableSizeBytes ?? SMALL_TABLE_BYTES,
    }),
  });
}
