/**
 * The replicated state machine: commands in log order in, results and events out.
 *
 * Invariants: the same commands with the same contexts give the same state and the same results on every node; a command that is refused changes
 * nothing but session bookkeeping; the revision grows by one per command that writes, and never otherwise; everything is checked before the
 * first write; records in results and events are copies. The shell calls `engine.load(machine.reads(command))` before `apply`.
 */
import type { KvEngine, LoadRequest } from '../storage/engine_port.ts';
import { copyRecord, copyWithoutValue } from '../storage/record.ts';
import { AlarmTable } from './alarms.ts';
import { AuthTable } from './auth.ts';
import { type LeaseKeys, refuseCommand } from './auth_check.ts';
import type { AuthState } from './auth_types.ts';
import type {
  ApplyContext,
  AsUserCommand,
  Command,
  CommandResult,
  ExpireCommand,
  LeaseGrantCommand,
  LeaseRevokeCommand,
  PlainCommand,
  TxnCommand,
  WriteCommand,
} from './command.ts';
import { KeyWriter } from './key_writer.ts';
import type { LeasesState } from './lease_state.ts';
import { LeaseTable } from './lease_table.ts';
import { Leases } from './leases.ts';
import { MAX_SPARE_BYTES, type StateMachineLimits } from './limits.ts';
import { LoadPlanner } from './load_planner.ts';
import type { QuotaCommand, QuotaCountedCommand } from './quota_command.ts';
import { type QuotaState, QuotaTable } from './quotas.ts';
import { live } from './records.ts';
import type { Refusal } from './refusal.ts';
import { failed, type SessionState, SessionTable } from './sessions.ts';
import { TimeIndex, type TimeRows } from './time_index.ts';
import { Transactions } from './transactions.ts';
import type { Alarm, AlarmCommand } from './upkeep_command.ts';

export interface StateMachineOptions {
  readonly engine: KvEngine;
  readonly limits: StateMachineLimits;
}

/** All that is not in the engine. Byte form: wire/state_codec.ts. */
export interface KvState {
  readonly revision: number;
  readonly compactRevision: number;
  readonly timeMs: number;
  readonly lastSessionId: number;
  readonly sessions: readonly SessionState[];
  /** Missing: no users, no roles, rights are not enforced. */
  readonly auth?: AuthState | undefined;
  /** Missing: none. */
  readonly leases?: LeasesState | undefined;
  /** Parts that are empty are left out. */
  readonly alarms?: readonly Alarm[];
  readonly times?: TimeRows;
  readonly quotas?: readonly QuotaState[];
}

/** Commands that a session repeats safely. */
type OnceCommand = WriteCommand | TxnCommand | LeaseGrantCommand | LeaseRevokeCommand;

export class StateMachine {
  /** Who hears of changes is set here (watches.ts). */
  readonly writer: KeyWriter;
  readonly auth: AuthTable;
  /** To be read only. */
  readonly leases = new LeaseTable();
  readonly alarms = new AlarmTable();
  /** To be read only. */
  readonly quotas = new QuotaTable();

  private readonly engine: KvEngine;
  private readonly transactions: Transactions;
  private readonly sessions: SessionTable;
  private readonly leaseCommands: Leases;
  private readonly loads: LoadPlanner;
  private readonly leaseKeys: LeaseKeys = (lease) => this.leaseCommands.namesOf(lease);
  private readonly times = new TimeIndex();
  private compactedAt = 0;
  /** Of the last entry that a command came from. */
  private entryIndex = 0;

  constructor(options: StateMachineOptions) {
    this.engine = options.engine;
    this.writer = new KeyWriter(options.engine, this.leases, this.quotas);
    this.transactions = new Transactions({
      engine: options.engine,
      writer: this.writer,
      leases: this.leases,
      quotas: this.quotas,
      limits: options.limits,
      compactRevision: () => this.compactedAt,
    });
    this.leaseCommands = new Leases(options.engine, this.writer, this.leases, options.limits);
    this.sessions = new SessionTable(options.limits);
    this.loads = new LoadPlanner(
      options.limits.maxDeleteRangeKeys,
      () => this.writer.previousWanted || this.quotas.active,
    );
    this.auth = new AuthTable(options.limits, (session) => this.sessions.has(session));
  }

  /** Of the last command that wrote. */
  get revision(): number {
    return this.writer.revision;
  }
  /** Reads below it are refused; 0 when nothing was compacted yet. */
  get compactRevision(): number {
    return this.compactedAt;
  }
  /** The store's clock: the largest entry time so far, wall-clock milliseconds. */
  get timeMs(): number {
    return this.writer.timeMs;
  }
  /** The newest revision known to be no newer than a wall-clock time; undefined: nothing is known of that time any more. */
  revisionAt(timeMs: number): number | undefined {
    return this.times.at(timeMs);
  }
  get sessionCount(): number {
    return this.sessions.size;
  }

  /** What a command reads, and how much of it is needed as the state is now. The answer is reused: valid until the next call. */
  reads(command: Command): LoadRequest {
    return this.loads.plan(command);
  }

  /**
   * Carries out one command. REQUIRES: what `reads` names is loaded; commands come in log order. Never throws on what a client sent. What the engine throws (a block
   * that cannot be read) leaves the revision as it was: nobody has been told of another one, and watchers resume from it.
   */
  apply(context: ApplyContext, command: Command): CommandResult {
    const before = this.writer.revision;
    if (context.index !== this.entryIndex) {
      this.entryIndex = context.index;
      this.writer.spareBytes = MAX_SPARE_BYTES;
    }
    try {
      const result = this.carryOut(context, command);
      if (this.writer.revision !== before) this.times.note(this.writer.timeMs, this.writer.revision);
      return result;
    } catch (error) {
      this.writer.revision = before;
      this.writer.forgetEvents();
      this.entryIndex = 0;
      throw error;
    }
  }

  private carryOut(context: ApplyContext, command: Command): CommandResult {
    if (context.timeMs > this.writer.timeMs) this.writer.timeMs = context.timeMs;
    if (command.type === 'asUser') return this.asUser(context, command);
    if (this.auth.enabled && !FROM_NODES.has(command.type)) return this.refuse(NOBODY_NAMED);
    return this.carryOutPlain(context, command);
  }

  /** The right to a command is decided here, by the state that it meets: what the proposing node found was about an earlier one. */
  private asUser(context: ApplyContext, { user, generation, command }: AsUserCommand): CommandResult {
    if (!this.auth.enabled || user === '') return this.carryOutPlain(context, command);
    if (this.auth.user(user)?.generation !== generation) return this.refuse(SOMEBODY_ELSE);
    const refusal = refuseCommand(this.auth, user, command, this.leaseKeys);
    if (refusal !== undefined) return this.refuse(refusal);
    const result = this.carryOutPlain(context, command);
    if (result.type === 'session') this.auth.sessionOwners.opened(result.session, user);
    return result;
  }

  private carryOutPlain(context: ApplyContext, command: PlainCommand): CommandResult {
    switch (command.type) {
      case 'write':
      case 'txn':
      case 'leaseGrant':
      case 'leaseRevoke':
        return this.applyOnce(command);
      case 'leaseRenew':
        return this.leaseCommands.renew(command);
      case 'leaseExpire':
        return this.refusedByAlarm(command) ?? this.leaseCommands.expire(command);
      case 'openSession':
        return this.openSession(context.index);
      case 'closeSession':
        this.sessions.close(command.session);
        return { type: 'done', revision: this.writer.revision };
      case 'expire':
        return this.refusedByAlarm(command) ?? this.expire(command);
      case 'compact':
        return this.refusedByAlarm(command) ?? this.compact(command.revision);
      case 'authChange': {
        const refusal = this.auth.apply(command.change);
        return refusal === undefined
          ? { type: 'done', revision: this.writer.revision }
          : this.refuse(refusal);
      }
      case 'alarm':
        return this.changeAlarm(command);
      case 'quota':
        return this.changeQuota(command);
      case 'quotaCounted':
        return this.quotaCounted(command);
    }
  }

  /** The state as of the last command; shares nothing that later commands change. */
  captureState(): KvState {
    const times = this.times.capture();
    return {
      revision: this.writer.revision,
      compactRevision: this.compactedAt,
      timeMs: this.writer.timeMs,
      lastSessionId: this.sessions.lastSessionId,
      sessions: this.sessions.capture(),
      auth: this.auth.capture(),
      leases: this.leases.capture(),
      ...(this.alarms.list.length > 0 && { alarms: this.alarms.list }),
      ...(times !== undefined && { times }),
      ...(this.quotas.active && { quotas: this.quotas.capture() }),
    };
  }

  /** Takes over a captured state. The engine must hold the data of the same moment. */
  restore(state: KvState): void {
    this.writer.revision = state.revision;
    this.compactedAt = state.compactRevision;
    this.entryIndex = 0;
    this.writer.timeMs = state.timeMs;
    this.writer.forgetEvents();
    this.sessions.restore(state.sessions, state.lastSessionId);
    this.auth.restore(state.auth);
    this.leases.restore(state.leases);
    this.alarms.restore(state.alarms ?? []);
    this.quotas.restore(state.quotas ?? []);
    this.times.restore(state.times, state.timeMs, state.revision);
  }

  private applyOnce(command: OnceCommand): CommandResult {
    const id = command.id;
    if (id.session !== 0) {
      const known = this.sessions.begin(id, this.writer.timeMs, this.writer.revision);
      if (known !== undefined) return known;
    }
    const result =
      this.refusedByAlarm(command) ??
      (command.type === 'write' ? this.transactions.write(command.operation) : this.applyOther(command));
    if (id.session !== 0) this.sessions.record(id, result);
    return result;
  }

  private applyOther(command: Exclude<OnceCommand, WriteCommand>): CommandResult {
    switch (command.type) {
      case 'txn':
        return this.transactions.txn(command);
      case 'leaseGrant':
        return this.leaseCommands.grant(command);
      case 'leaseRevoke':
        return this.leaseCommands.revoke(command);
    }
  }

  private openSession(index: number): CommandResult {
    const session = this.sessions.open(index, this.writer.timeMs);
    const revision = this.writer.revision;
    if (session === 0) return failed('OVERLOADED', `${this.sessions.size} sessions are open`, revision);
    return { type: 'session', revision, session };
  }

  /** Keys are removed by a command of the log, not by reading a clock: every node removes them at the same revision. */
  private expire(command: ExpireCommand): CommandResult {
    const withValues = this.writer.previousWanted;
    let sub = 0;
    for (const key of command.keys) {
      // A key named twice is a tombstone the second time.
      const record = live(this.engine.latest(key));
      if (record === undefined || record.expiresAtMs === 0 || record.expiresAtMs > this.writer.timeMs)
        continue;
      if (sub === 0) this.writer.revision++;
      this.writer.remove((withValues ? copyRecord : copyWithoutValue)(record), sub++);
    }
    this.writer.publish();
    return { type: 'done', revision: this.writer.revision };
  }

  private compact(revision: number): CommandResult {
    const current = this.writer.revision;
    if (revision > current) {
      return failed('FUTURE_REVISION', `revision ${revision} is above the current one, ${current}`, current);
    }
    // As in etcd: where nothing was compacted yet, revision 0 is no mistake.
    if (revision === 0 && this.compactedAt === 0) return { type: 'done', revision: current };
    if (revision <= this.compactedAt) {
      return failed('COMPACTED', `revision ${revision} is compacted already (${this.compactedAt})`, current);
    }
    this.compactedAt = revision;
    this.times.prune(revision);
    this.quotas.compacted(revision, current);
    this.engine.compact(revision);
    return { type: 'done', revision: current };
  }

  private changeAlarm({ action, alarm }: AlarmCommand): CommandResult {
    const { revision } = this.writer;
    const concerned = action === 'raise' ? this.alarms.raise(alarm) : this.alarms.clear(alarm);
    if (action === 'raise' && concerned === undefined)
      return failed('OVERLOADED', `${this.alarms.list.length} alarms are active`, revision);
    return { type: 'alarms', revision, alarms: concerned === undefined ? [] : [concerned] };
  }

  private changeQuota({ prefix, limits }: QuotaCommand): CommandResult {
    const { revision } = this.writer;
    const refusal =
      limits === undefined ? this.quotas.remove(prefix) : this.quotas.set(prefix, limits, revision);
    return refusal === undefined ? { type: 'done', revision } : this.refuse(refusal);
  }

  private quotaCounted({ prefix, revision, bytes, keys }: QuotaCountedCommand): CommandResult {
    this.quotas.counted(prefix, revision, bytes, keys);
    return { type: 'done', revision: this.writer.revision };
  }

  private refusedByAlarm(command: Command): CommandResult | undefined {
    const refusal = this.alarms.refuses(command);
    return refusal === undefined ? undefined : this.refuse(refusal);
  }

  private refuse(refusal: Refusal): CommandResult {
    return failed(refusal.code, refusal.message, this.writer.revision);
  }
}

const SOMEBODY_ELSE: Refusal = {
  code: 'UNAUTHENTICATED',
  message: 'the user or the password has changed: authenticate again',
};
const NOBODY_NAMED: Refusal = {
  code: 'AUTH_STALE',
  message: 'rights came to be enforced meanwhile; try again',
};
/** What nodes propose for the cluster and no client can send: needs no name where rights are enforced. */
const FROM_NODES: ReadonlySet<Command['type']> = new Set([
  'expire',
  'leaseRenew',
  'leaseExpire',
  'quotaCounted',
]);
