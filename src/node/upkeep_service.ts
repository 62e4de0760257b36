/**
 * What looks after the store, as this node answers it: compaction, hashes of the key space here and on all members, alarms.
 *
 * Invariant: few hashes are computed at once, since each reads the whole store.
 */
import { z } from 'zod';
import type { CallOptions, SnapshotStream } from '../api/service.ts';
import { KvError } from '../errors.ts';
import type { CommandResult, PlainCommand } from '../kv/command.ts';
import type { StateMachine } from '../kv/state_machine.ts';
import type { Alarm, AlarmCommand } from '../kv/upkeep_command.ts';
import type { Clock, Timers } from '../ports.ts';
import type { RaftCore } from '../raft/types.ts';
import type { Engine } from '../storage/engine_port.ts';
import { sizeWithTrailer, withTrailer } from '../storage/snapshot/trailer.ts';
import { encodeCommand } from '../wire/command_codec.ts';
import { decodeJson, encodeJson, PEER_HASH } from '../wire/peer_codec.ts';
import type {
  AlarmsResponse,
  ClusterHash,
  CompactRequest,
  HashRequest,
  KeyHash,
  MemberHash,
} from '../wire/upkeep_messages.ts';
import type { Applier } from './applier.ts';
import type { Conditions } from './conditions.ts';
import { hashKeys } from './key_hash.ts';
import { decodeNodeState } from './node_state.ts';
import type { PeerRpc } from './peer_rpc.ts';
import type { Pins } from './pins.ts';
import type { Snapshots } from './snapshots.ts';

const MAX_HASHES = 4;
const SNAPSHOT_CHUNK_BYTES = 256 * 1024;
/** A hash takes as long as reading the whole store. */
export const HASH_TIMEOUT_MS = 120_000;

const whole = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const requestSchema = z.object({ revision: whole, compactRevision: whole });
const hashSchema = requestSchema.extend({ hash: z.string().regex(/^[0-9a-f]{64}$/), versions: whole });

export interface UpkeepOptions {
  readonly engine: Engine;
  readonly stateMachine: StateMachine;
  readonly applier: Applier;
  readonly conditions: Conditions;
  readonly snapshots: Snapshots;
  readonly raft: RaftCore;
  readonly rpc: PeerRpc;
  readonly pins: Pins;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly requestTimeoutMs: number;
  readonly replaced: () => Promise<void> | undefined;
  readonly checkOpen: () => void;
  readonly write: (command: Uint8Array, options?: CallOptions) => Promise<CommandResult>;
  /** A write on the cluster's own account: nobody's rights count. */
  readonly writeAsCluster: (command: PlainCommand) => Promise<CommandResult>;
}

export class Upkeep {
  readonly #options: UpkeepOptions;
  #hashes = 0;

  constructor(options: UpkeepOptions) {
    this.#options = options;
  }

  /** @throws KvError COMPACTED, FUTURE_REVISION; NO_SPACE when `physical` finds no room to flush */
  async compact(request: CompactRequest, options?: CallOptions): Promise<number> {
    const { engine, applier } = this.#options;
    const command = encodeCommand({ type: 'compact', revision: request.revision });
    const { revision } = accepted(await this.#options.write(command, options));
    if (request.physical) {
      await this.#until((store) => store.compactRevision >= request.revision, options);
      await engine.checkpoint(applier.appliedIndex, applier.appliedTerm, applier.capture);
    }
    return revision;
  }

  /** Of this node. @throws KvError COMPACTED, FUTURE_REVISION, TIMEOUT, OVERLOADED, CORRUPT */
  async hash(request: HashRequest, options?: CallOptions): Promise<KeyHash> {
    const { stateMachine } = this.#options;
    if (request.revision > stateMachine.revision) {
      const message = `revision ${request.revision} does not exist yet; the store is at ${stateMachine.revision}`;
      throw new KvError('FUTURE_REVISION', message);
    }
    return this.#hash(request, options);
  }

  /** For another node, which knows that there is such a revision: waits for it. @throws KvError PROTOCOL, and as `hash` */
  async answerHash(body: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    return encodeJson(await this.#hashWhenReached(parse(requestSchema, body), { timeoutMs }));
  }

  async #hashWhenReached(request: HashRequest, options: CallOptions): Promise<KeyHash> {
    await this.#until(({ revision }) => revision >= request.revision, options);
    return this.#hash(request, options);
  }

  async #hash(request: HashRequest, options: CallOptions | undefined): Promise<KeyHash> {
    const { stateMachine, checkOpen } = this.#options;
    const revision = request.revision === 0 ? stateMachine.revision : request.revision;
    const compactRevision = Math.max(request.compactRevision, stateMachine.compactRevision);
    if (
      compactRevision > revision ||
      (request.compactRevision > 0 && compactRevision > request.compactRevision)
    ) {
      const details = { compactRevision };
      throw new KvError('COMPACTED', `revision ${compactRevision} is the oldest here`, { details });
    }
    if (this.#hashes >= MAX_HASHES)
      throw new KvError('OVERLOADED', `${MAX_HASHES} hashes are being computed here already`);
    this.#hashes++;
    const deadlineMs = this.#deadline(options, HASH_TIMEOUT_MS);
    const check = (): void => {
      checkOpen();
      if (this.#options.clock.monotonicMs() >= deadlineMs)
        throw new KvError('TIMEOUT', 'the hash could not be computed in time');
    };
    try {
      return await hashKeys({ ...this.#options, check }, revision, compactRevision);
    } finally {
      this.#hashes--;
    }
  }

  /** @throws KvError UNAVAILABLE, NO_SPACE, CORRUPT */
  async snapshot(): Promise<SnapshotStream> {
    const { snapshots, applier, checkOpen } = this.#options;
    checkOpen();
    const { index, sizeBytes, state } = await snapshots.create(applier);
    const { revision } = decodeNodeState(state).kv;
    const chunks = this.#chunks(index, sizeBytes);
    return {
      revision,
      sizeBytes,
      chunks,
      withTrailer: () => ({ sizeBytes: sizeWithTrailer(sizeBytes), chunks: withTrailer(chunks) }),
    };
  }

  async *#chunks(index: number, sizeBytes: number): AsyncGenerator<Uint8Array, void, void> {
    const { snapshots, timers, checkOpen } = this.#options;
    for (let at = 0; at < sizeBytes; ) {
      checkOpen();
      const chunk = snapshots.read(index, at, SNAPSHOT_CHUNK_BYTES);
      if (chunk === undefined || chunk.length === 0)
        throw new KvError('UNAVAILABLE', 'newer snapshots have replaced this one; begin anew');
      at += chunk.length;
      yield chunk;
      await new Promise<void>((resolve) => timers.afterIo(resolve));
    }
  }

  /** The hashes of all members at the revision that this node is at. Where they differ, the alarm CORRUPT is raised. */
  async clusterHash(options?: CallOptions): Promise<ClusterHash> {
    const { raft, stateMachine } = this.#options;
    const { revision, compactRevision } = stateMachine;
    // A revision of 0 would let each choose its own compacted one.
    const request: HashRequest = { revision, compactRevision: Math.max(1, compactRevision) };
    const timeoutMs = options?.timeoutMs ?? HASH_TIMEOUT_MS;
    const ids = raft.status().configuration.members.map(({ id }) => id);
    const members = await Promise.all(ids.map((id) => this.#hashOf(id, request, timeoutMs)));
    const differing = findDiffering(members);
    for (const member of differing) {
      const alarm: Alarm = { type: 'corrupt', member, byNode: true };
      await this.changeOwnAlarm('raise', alarm);
    }
    return { ...request, members, differing };
  }

  /** As changeAlarm, on the cluster's own account. */
  async changeOwnAlarm(action: AlarmCommand['action'], alarm: Alarm): Promise<AlarmsResponse> {
    return alarmsOf(await this.#options.writeAsCluster({ type: 'alarm', action, alarm }));
  }

  /** As this node knows them. */
  alarms(): AlarmsResponse {
    const { alarms, revision } = this.#options.stateMachine;
    return { revision, alarms: alarms.list };
  }

  /** Gives the alarm that was raised or cleared; none when there was none to clear. @throws KvError OVERLOADED */
  async changeAlarm(
    action: AlarmCommand['action'],
    alarm: Alarm,
    options?: CallOptions,
  ): Promise<AlarmsResponse> {
    return alarmsOf(await this.#options.write(encodeCommand({ type: 'alarm', action, alarm }), options));
  }

  async #hashOf(id: number, request: HashRequest, timeoutMs: number): Promise<MemberHash> {
    const { raft, rpc } = this.#options;
    try {
      const hash =
        id === raft.id
          ? await this.#hashWhenReached(request, { timeoutMs })
          : parse(hashSchema, await rpc.call(id, PEER_HASH, encodeJson(request), timeoutMs));
      return { id, hash, problem: '' };
    } catch (error) {
      if (!(error instanceof KvError)) throw error;
      return { id, hash: undefined, problem: `${error.code}: ${error.message}` };
    }
  }

  #until(test: (store: StateMachine) => boolean, options: CallOptions | undefined): Promise<void> {
    const { conditions, stateMachine, requestTimeoutMs } = this.#options;
    const late = (): KvError => new KvError('TIMEOUT', 'this node has not come so far in time');
    return conditions.until(() => test(stateMachine), this.#deadline(options, requestTimeoutMs), late);
  }

  #deadline(options: CallOptions | undefined, defaultMs: number): number {
    return this.#options.clock.monotonicMs() + (options?.timeoutMs ?? defaultMs);
  }
}

/** @throws KvError for what was refused in apply */
function accepted(result: CommandResult): CommandResult {
  if (result.type === 'failed') throw new KvError(result.code, result.message);
  return result;
}

function alarmsOf(result: CommandResult): AlarmsResponse {
  const { type, revision } = accepted(result);
  if (result.type !== 'alarms') throw new KvError('INTERNAL', `an alarm was answered with ${type}`);
  return { revision, alarms: result.alarms };
}

function parse<T>(schema: z.ZodType<T>, body: Uint8Array): T {
  const result = schema.safeParse(decodeJson(body));
  if (result.success) return result.data;
  throw new KvError('PROTOCOL', `a node sent something that is no hash: ${z.prettifyError(result.error)}`);
}

/** Those that do not hold what most hold; all, where no hash is that of more than half. */
export function findDiffering(members: readonly MemberHash[]): number[] {
  const given = members.filter(({ hash }) => hash !== undefined);
  const counts = new Map<string, number>();
  for (const { hash } of given) counts.set(hash?.hash ?? '', (counts.get(hash?.hash ?? '') ?? 0) + 1);
  if (counts.size <= 1) return [];
  const most = [...counts].find(([, count]) => count > given.length / 2)?.[0];
  return given.filter(({ hash }) => hash?.hash !== most).map(({ id }) => id);
}
