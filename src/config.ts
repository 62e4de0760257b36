/**
 * Every setting and every limit of a node: parsed once, then frozen.
 *
 * Invariants: an unknown setting is refused; an error names the setting, the value given and what is allowed; nothing else in the
 * project reads environment variables or files for settings.
 */
import { z } from 'zod';
import { KvError } from './errors.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** Longest text that an error shows of one value, of one problem, and how many problems it names. */
const MAX_SHOWN_LENGTH = 200;
const MAX_PROBLEM_LENGTH = 600;
const MAX_PROBLEMS = 25;

const integer = (from: number, to: number) => z.number().int().min(from).max(to);
const ADDRESS = /^(\[[0-9a-fA-F:.]+\]|[^\s:[\]]+):\d{1,5}$/;
const address = z
  .string()
  .regex(ADDRESS, 'must be HOST:PORT')
  .refine((value) => Number(value.slice(value.lastIndexOf(':') + 1)) <= 65535, 'the port must be 0 to 65535');

/** Whether a text is an address as settings and members write it. */
export function isAddress(text: string): boolean {
  return address.safeParse(text).success;
}

/** What a request may not exceed; the same on every node of a cluster. */
const limitsSchema = z.strictObject({
  maxKeyBytes: integer(1, 64 * KIB).default(64 * KIB),
  maxValueBytes: integer(1, 8 * MIB).default(8 * MIB),
  /** Bytes of one encoded command: a batch or a transaction with all its operations. */
  maxCommandBytes: integer(KIB, 64 * MIB).default(16 * MIB),
  /** Operations (or comparisons, if they are more) of a transaction, those of nested ones included. */
  maxTxnOperations: integer(1, 100_000).default(10_000),
  /** Transactions within transactions within ... */
  maxTxnDepth: integer(0, 32).default(8),
  /** Keys that one delete of a range may touch, and that a comparison, count, filter or sort over a range may look at within a transaction. */
  maxDeleteRangeKeys: integer(1, 1_000_000).default(100_000),
  /** Client sessions kept for exactly-once retries. */
  maxSessions: integer(1, 1_000_000).default(10_000),
  /** A session that wrote nothing for so long may be forgotten. */
  sessionIdleMs: integer(1_000, 30 * 24 * 3_600_000).default(24 * 3_600_000),
  /** Unacknowledged results kept per session. */
  maxSessionResults: integer(1, 100_000).default(4_096),
  maxUsers: integer(1, 1_000_000).default(10_000),
  maxRoles: integer(1, 1_000_000).default(10_000),
  maxRolesPerUser: integer(1, 10_000).default(1_000),
  maxGrantsPerRole: integer(1, 100_000).default(1_000),
  /** Names, password hashes and keys of all users and roles together. */
  maxAuthBytes: integer(KIB, 256 * MIB).default(8 * MIB),
  maxLeases: integer(1, 10_000_000).default(1_000_000),
  /** Keys that may be attached to one lease: all of them go at one revision. */
  maxLeaseKeys: integer(1, 1_000_000).default(10_000),
  /** A lease that asks for a shorter time to live gets this one: it has to outlast an election, in which nobody can renew it. */
  minLeaseTtlMs: integer(1, 3_600_000).default(2_000),
});

const storageSchema = z.strictObject({
  tree: z.enum(['tables', 'rocksdb']).default('tables'),
  durability: z.enum(['fsync', 'os', 'relaxed']).default('fsync'),
  relaxedFlushMs: integer(1, 60_000).default(50),
  memtableSizeBytes: integer(MIB, 1024 * MIB).default(64 * MIB),
  /** Frozen memtables that may wait for their flush before writes are slowed. */
  maxFrozenMemtables: integer(1, 16).default(3),
  segmentSizeBytes: integer(64 * KIB, 1024 * MIB).default(64 * MIB),
  /** Space of the log that is written with zeros ahead of its use. */
  preallocateBytes: integer(4 * KIB, 256 * MIB).default(8 * MIB),
  /** Recent log entries kept in memory for followers. */
  logCacheBytes: integer(MIB, 4096 * MIB).default(32 * MIB),
  /** Memtables are flushed at the latest when the log has grown by this much since the last flush. */
  checkpointLogBytes: integer(MIB, 16 * 1024 * MIB).default(256 * MIB),
  /** Tables: bytes of a block, the smallest thing that is read and cached. */
  blockSizeBytes: integer(KIB, 64 * KIB).default(4 * KIB),
  /** Tables: files are cut near this. */
  tableSizeBytes: integer(MIB, 1024 * MIB).default(64 * MIB),
  /** Tables: blocks kept in memory. */
  blockCacheBytes: integer(0, 1024 * MIB).default(128 * MIB),
  /** Tables: whether blocks are compressed where that saves something. */
  compression: z.enum(['none', 'lz4']).default('none'),
  /** Tables: bytes a second of compaction while nothing presses; it goes faster the more waits. */
  compactionRateBytes: integer(MIB, 16 * 1024 * MIB).optional(),
  /** Log entries kept behind the flushed index for slow followers, in bytes. */
  logRetainBytes: integer(0, 16 * 1024 * MIB).default(64 * MIB),
});

const raftSchema = z.strictObject({
  tickMs: integer(5, 10_000).default(50),
  heartbeatTicks: integer(1, 100).default(2),
  electionTicks: integer(3, 1_000).default(16),
  maxAppendBytes: integer(4 * KIB, 64 * MIB).default(1 * MIB),
  maxInflightBytes: integer(64 * KIB, 1024 * MIB).default(16 * MIB),
  maxUncommittedBytes: integer(64 * KIB, 1024 * MIB).default(64 * MIB),
  snapshotChunkBytes: integer(4 * KIB, 16 * MIB).default(512 * KIB),
});

const doorSchema = z.strictObject({
  /** Where clients connect. Loopback unless told otherwise. */
  clientListen: address.default('127.0.0.1:7400'),
  /** What clients are told to connect to, where that differs from clientListen. */
  clientAdvertise: address.optional(),
  /** Where clients of etcd connect as well: gRPC and JSON. `clientListen` takes them, too; without this setting only that does. */
  etcdListen: address.optional(),
  peerListen: address.default('127.0.0.1:7401'),
  peerAdvertise: address.optional(),
  maxConnections: integer(1, 1_000_000).default(10_000),
  /** Of those, from one remote address (of IPv6: from one network of 64 bits), over all doors. */
  maxConnectionsPerAddress: integer(1, 1_000_000).default(1_024),
  maxFrameBytes: integer(KIB, 128 * MIB).default(20 * MIB),
  /** Requests of one connection being worked on at once; more wait in the socket. */
  maxRequestsPerConnection: integer(1, 1_000_000).default(4_096),
  /** Answers waiting for a slow client before its connection is paused. */
  maxQueuedBytesPerConnection: integer(64 * KIB, 1024 * MIB).default(32 * MIB),
  idleTimeoutMs: integer(1_000, 24 * 3_600_000).default(60_000),
});

const nodeSchema = z.strictObject({
  requestTimeoutMs: integer(10, 600_000).default(5_000),
  /** Bytes of commands waiting for the log; past it: OVERLOADED. */
  maxPendingBytes: integer(64 * KIB, 4096 * MIB).default(128 * MIB),
  /** Revisions kept for reads in the past and for watches; older ones are compacted by the leader. 0 keeps all. */
  historyRevisions: integer(0, Number.MAX_SAFE_INTEGER).default(100_000),
  /** Hours of history kept instead, whatever the number of revisions. 0: by `historyRevisions`. */
  historyHours: integer(0, 24 * 3_660).default(0),
  /** How often the leader compares what all nodes hold (it reads the whole store everywhere); 0: never by itself. */
  hashIntervalMs: integer(0, 30 * 24 * 3_600_000).default(0),
  /** What the records of one answer may weigh: a range that holds more is read with a limit, or scanned. */
  maxRangeBytes: integer(64 * KIB, 1024 * MIB).default(64 * MIB),
  /** Bytes of events waiting for one slow watcher before it is moved to catching up from storage. */
  maxWatchQueueBytes: integer(64 * KIB, 1024 * MIB).default(8 * MIB),
  /** How long a client that has authenticated need not show its password again. */
  tokenTtlMs: integer(1_000, 30 * 24 * 3_600_000).default(3_600_000),
  logLevel: z.enum(['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace']).default('info'),
});

const schema = z.strictObject({
  limits: limitsSchema.prefault({}),
  storage: storageSchema.prefault({}),
  raft: raftSchema.prefault({}),
  door: doorSchema.prefault({}),
  node: nodeSchema.prefault({}),
});

export type Config = z.infer<typeof schema>;
export type Limits = Config['limits'];
export type StorageConfig = Config['storage'];
export type RaftConfig = Config['raft'];
export type DoorConfig = Config['door'];
export type NodeConfig = Config['node'];
/** What a caller may give: every setting is optional. */
export type ConfigInput = z.input<typeof schema>;

/**
 * Checks settings and fills in defaults.
 * @throws KvError CONFIG_INVALID naming each wrong setting, the value given and what is allowed.
 */
export function parseConfig(input: unknown): Config {
  const result = schema.safeParse(input ?? {});
  if (!result.success) {
    const { issues } = result.error;
    const problems = issues
      .slice(0, MAX_PROBLEMS)
      .map((issue) => clip(describeIssue(issue, input), MAX_PROBLEM_LENGTH));
    if (issues.length > MAX_PROBLEMS) problems.push(`and ${issues.length - MAX_PROBLEMS} more`);
    throw new KvError('CONFIG_INVALID', `wrong configuration: ${problems.join('; ')}`);
  }
  const config = result.data;
  if (config.raft.electionTicks <= config.raft.heartbeatTicks * 2) {
    throw new KvError(
      'CONFIG_INVALID',
      `wrong configuration: raft.electionTicks is ${config.raft.electionTicks}, allowed: more than twice raft.heartbeatTicks (${config.raft.heartbeatTicks})`,
    );
  }
  if (config.limits.maxCommandBytes < config.limits.maxValueBytes + config.limits.maxKeyBytes + KIB) {
    throw new KvError(
      'CONFIG_INVALID',
      `wrong configuration: limits.maxCommandBytes is ${config.limits.maxCommandBytes}, allowed: at least maxValueBytes + maxKeyBytes + 1 KiB`,
    );
  }
  if (config.door.maxFrameBytes < config.limits.maxCommandBytes + KIB) {
    throw new KvError(
      'CONFIG_INVALID',
      `wrong configuration: door.maxFrameBytes is ${config.door.maxFrameBytes}, allowed: at least limits.maxCommandBytes + 1 KiB (${config.limits.maxCommandBytes + KIB})`,
    );
  }
  return deepFreeze(config);
}

function describeIssue(issue: z.core.$ZodIssue, input: unknown): string {
  const path = issue.path.map(String).join('.');
  if (issue.code === 'unrecognized_keys') {
    return `unknown setting ${issue.keys.map((key) => (path ? `${path}.${key}` : key)).join(', ')}`;
  }
  let given: unknown = input;
  for (const step of issue.path) given = (given as Record<PropertyKey, unknown> | undefined)?.[step];
  return `${path || 'configuration'} is ${showSetting(given)}, allowed: ${allowed(issue)}`;
}

/** A value as a message shows it: JSON where it can be said in JSON, and never long. */
function showSetting(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    // A circle, numbers of any size, or nested too deep: what is wrong with it is the caller's to say.
    text = `a value of type ${typeof value} that JSON cannot show`;
  }
  return clip(text ?? (value === undefined ? 'undefined' : `a ${typeof value}`), MAX_SHOWN_LENGTH);
}

function clip(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length)}...`;
}

function allowed(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'too_small':
      return `at least ${issue.minimum}`;
    case 'too_big':
      return `at most ${issue.maximum}`;
    case 'invalid_value':
      return issue.values.map(String).join(', ');
    case 'invalid_type':
      return `a value of type ${issue.expected}`;
    default:
      return issue.message;
  }
}

function deepFreeze<T extends object>(value: T): T {
  for (const inner of Object.values(value))
    if (typeof inner === 'object' && inner !== null) deepFreeze(inner);
  return Object.freeze(value);
}
