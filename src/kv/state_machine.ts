/**
 * The replicated state machine: commands in log order in, results and events out.
 *
 * Invariants: the same commands with the same contexts give the same state and the same results on every node; a command that is refused changes
 * nothing but session bookkeeping; the revision grows by one per command that writes, and never otherwise; everything is checked before the
 * first write; records in results and events are copies. The shell calls `engine.load(machine.reads(command))` before `apply`.
 */
import type { KvEngine, LoadRequest } from '../storage/engine_port.ts';
import { copyRecord, copyWithoutValue, FLAG_TOMBSTONE, type StoredRecord } from '../storage/record.ts';
import type {
  ApplyContext,
  Command,
  CommandResult,
  ExpireCommand,
  KvEvent,
  RangeOp,
  TouchOp,
  TxnCommand,
  WriteCommand,
} from './command.ts';
import { compareHolds } from './compare.ts';
import { expiryRowKey } from './expiry.ts';
import { SPACE_USER } from './keyspace.ts';
import type { StateMachineLimits } from './limits.ts';
import { LoadPlanner } from './load_planner.ts';
import { writesOverlap } from './overlap.ts';
import { EMPTY_BYTES, live } from './records.ts';
import { failed, type SessionState, SessionTable } from './sessions.ts';
import { planBranch, type Refusal, readRange, refuseOperation, refuseTxn, type TxnPlan } from './txn_plan.ts';

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
}

type NestedResult = Extract<CommandResult, { type: 'txn' }>['results'][number];

/** The revision of a store that nothing was written to (etcd's first, too). */
export const FIRST_REVISION = 1;

export class StateMachine {
  /** Called after each command that changed user keys, with its events by ascending subRevision. Must not throw. Unset: no events are built. */
  onEvents: ((revision: number, events: KvEvent[]) => void) | undefined = undefined;
  /** Whether events carry the version that was replaced. */
  eventsWithPrevious = false;
  /** Whether anybody watches a key: events of other keys are not built. Unset: all are. */
  watches: ((key: Uint8Array) => boolean) | undefined = undefined;

  private readonly engine: KvEngine;
  private readonly limits: StateMachineLimits;
  private readonly sessions: SessionTable;
  private readonly loads = new LoadPlanner();
  private events: KvEvent[] = [];
  private currentRevision = FIRST_REVISION;
  private compactedAt = 0;
  private clockMs = 0;

  constructor(options: StateMachineOptions) {
    this.engine = options.engine;
    this.limits = options.limits;
    this.sessions = new SessionTable(options.limits);
  }

  /** Of the last command that wrote. */
  get revision(): number {
    return this.currentRevision;
  }
  /** Reads below it are refused; 0 when nothing was compacted yet. */
  get compactRevision(): number {
    return this.compactedAt;
  }
  /** The store's clock: the largest entry time so far, wall-clock milliseconds. */
  get timeMs(): number {
    return this.clockMs;
  }
  get sessionCount(): number {
    return this.sessions.size;
  }

  /** What a command reads. The answer is reused: valid until the next call. */
  reads(command: Command): LoadRequest {
    return this.loads.plan(command);
  }

  /**
   * Carries out one command. REQUIRES: what `reads` names is loaded; commands come in log order. Never throws on what a client sent. What the engine throws (a block
   * that cannot be read) leaves the revision as it was: nobody has been told of another one, and watchers resume from it.
   */
  apply(context: ApplyContext, command: Command): CommandResult {
    const before = this.currentRevision;
    try {
      return this.carryOut(context, command);
    } catch (error) {
      this.currentRevision = before;
      this.events = [];
      throw error;
    }
  }

  private carryOut(context: ApplyContext, command: Command): CommandResult {
    if (context.timeMs > this.clockMs) this.clockMs = context.timeMs;
    switch (command.type) {
      case 'write':
      case 'txn':
        return this.applyOnce(command);
      case 'openSession':
        return this.openSession(context.index);
      case 'closeSession':
        this.sessions.close(command.session);
        return { type: 'done', revision: this.currentRevision };
      case 'expire':
        return this.expire(command);
      case 'compact':
        return this.compact(command.revision);
    }
  }

  /** The state as of the last command; shares nothing that later commands change. */
  captureState(): KvState {
    return {
      revision: this.currentRevision,
      compactRevision: this.compactedAt,
      timeMs: this.clockMs,
      lastSessionId: this.sessions.lastSessionId,
      sessions: this.sessions.capture(),
    };
  }

  /** Takes over a captured state. The engine must hold the data of the same moment. */
  restore(state: KvState): void {
    this.currentRevision = state.revision;
    this.compactedAt = state.compactRevision;
    this.clockMs = state.timeMs;
    this.events = [];
    this.sessions.restore(state.sessions, state.lastSessionId);
  }

  private applyOnce(command: WriteCommand | TxnCommand): CommandResult {
    const id = command.id;
    if (id.session !== 0) {
      const known = this.sessions.begin(id, this.clockMs, this.currentRevision);
      if (known !== undefined) return known;
    }
    const result = command.type === 'write' ? this.applyWrite(command.operation) : this.applyTxn(command);
    if (id.session !== 0) this.sessions.record(id, result);
    return result;
  }

  private applyWrite(operation: WriteCommand['operation']): CommandResult {
    const refusal = refuseOperation(operation, this.limits);
    if (refusal !== undefined) return this.refuse(refusal);
    if (operation.type === 'put') {
      const revision = this.currentRevision + 1;
      this.currentRevision = revision;
      const previous = this.put(
        operation.key,
        operation.value,
        operation.ttlMs,
        operation.lease,
        operation.prevKv,
        0,
      );
      this.publish();
      return { type: 'put', revision, previous };
    }
    const plan = this.plan([operation]);
    if ('code' in plan) return this.refuse(plan);
    return this.execute(plan)[0] as NestedResult;
  }

  private applyTxn(command: TxnCommand): CommandResult {
    const refusal =
      refuseTxn(command, this.limits) ??
      (writesOverlap(command.success) || writesOverlap(command.failure) ? DUPLICATE : undefined);
    if (refusal !== undefined) return this.refuse(refusal);
    let succeeded = true;
    for (const compare of command.compares) {
      if (!compareHolds(compare, live(this.engine.latest(compare.key)))) {
        succeeded = false;
        break;
      }
    }
    const plan = this.plan(succeeded ? command.success : command.failure);
    if ('code' in plan) return this.refuse(plan);
    const results = this.execute(plan);
    return { type: 'txn', revision: this.currentRevision, succeeded, results };
  }

  private plan(operations: TxnPlan['operations']): TxnPlan | Refusal {
    const previousWanted = this.onEvents !== undefined && this.eventsWithPrevious;
    return planBranch(operations, this.engine, this, this.limits, previousWanted);
  }

  /** Carries out a plan that was checked whole: nothing here may fail. Every result carries the revision after the transaction. */
  private execute(plan: TxnPlan): NestedResult[] {
    const before = this.currentRevision;
    if (plan.writes) this.currentRevision = before + 1;
    const revision = this.currentRevision;
    const results: NestedResult[] = [];
    let sub = 0;
    for (let at = 0; at < plan.operations.length; at++) {
      const operation = plan.operations[at] as TxnPlan['operations'][number];
      switch (operation.type) {
        case 'put': {
          const { key, value, ttlMs, lease, prevKv } = operation;
          const previous = this.put(key, value, ttlMs, lease, prevKv, sub++);
          results.push({ type: 'put', revision, previous });
          break;
        }
        case 'touch': {
          const found = this.touch(operation, sub);
          if (found) sub++;
          results.push({ type: 'touch', revision, found });
          break;
        }
        case 'delete': {
          const victims = plan.victims[at] ?? [];
          for (const victim of victims) this.remove(victim, sub++);
          const previous = operation.prevKv ? victims : [];
          results.push({ type: 'delete', revision, deleted: victims.length, previous });
          break;
        }
        case 'range':
          // Sees what earlier operations of this transaction wrote, as in etcd.
          results.push(this.readRange(plan, operation, sub > 0 ? revision : before));
      }
    }
    this.publish();
    return results;
  }

  private readRange(plan: TxnPlan, operation: RangeOp, newest: number): NestedResult {
    const most = this.limits.maxDeleteRangeKeys;
    return readRange(this.engine, plan, operation, newest, most, this.currentRevision);
  }

  private openSession(index: number): CommandResult {
    const session = this.sessions.open(index, this.clockMs);
    const revision = this.currentRevision;
    if (session === 0) return failed('OVERLOADED', `${this.sessions.size} sessions are open`, revision);
    return { type: 'session', revision, session };
  }

  /** Keys are removed by a command of the log, not by reading a clock: every node removes them at the same revision. */
  private expire(command: ExpireCommand): CommandResult {
    const withValues = this.onEvents !== undefined && this.eventsWithPrevious;
    let sub = 0;
    for (const key of command.keys) {
      // A key named twice is a tombstone the second time.
      const record = live(this.engine.latest(key));
      if (record === undefined || record.expiresAtMs === 0 || record.expiresAtMs > this.clockMs) continue;
      if (sub === 0) this.currentRevision++;
      this.remove((withValues ? copyRecord : copyWithoutValue)(record), sub++);
    }
    this.publish();
    return { type: 'done', revision: this.currentRevision };
  }

  private compact(revision: number): CommandResult {
    const current = this.currentRevision;
    if (revision > current) {
      return failed('FUTURE_REVISION', `revision ${revision} is above the current one, ${current}`, current);
    }
    if (revision <= this.compactedAt) {
      return failed('COMPACTED', `revision ${revision} is compacted already (${this.compactedAt})`, current);
    }
    this.compactedAt = revision;
    this.engine.compact(revision);
    return { type: 'done', revision: current };
  }

  /** Writes a version at the current revision; gives the one it replaces where that is wanted. */
  private put(
    key: Uint8Array,
    value: Uint8Array,
    ttlMs: number,
    lease: bigint,
    prevKv: boolean,
    sub: number,
  ): StoredRecord | undefined {
    const revision = this.currentRevision;
    const heard = this.onEvents !== undefined && this.heard(key);
    const old = this.engine.latest(key);
    let createRevision = revision;
    let version = 1;
    let oldExpiresAtMs = 0;
    let previous: StoredRecord | undefined;
    if (old !== undefined && (old.flags & FLAG_TOMBSTONE) === 0) {
      createRevision = old.createRevision;
      version = old.version + 1;
      oldExpiresAtMs = old.expiresAtMs;
      if (prevKv || (heard && this.eventsWithPrevious)) previous = copyRecord(old);
    }
    const expiresAtMs = ttlMs === 0 ? 0 : this.expiryAfter(ttlMs);
    this.engine.put(key, value, revision, createRevision, version, sub, 0, lease, expiresAtMs);
    if (expiresAtMs !== oldExpiresAtMs) this.moveExpiryRow(key, oldExpiresAtMs, expiresAtMs, sub);
    if (heard) {
      const record = copyRecord({
        key,
        value,
        modRevision: revision,
        createRevision,
        version,
        subRevision: sub,
        flags: 0,
        lease,
        expiresAtMs,
      });
      this.events.push({ type: 'put', record, previous: this.eventsWithPrevious ? previous : undefined });
    }
    return prevKv ? previous : undefined;
  }

  /** Writes the key's value again with another expiry. False, and nothing written, when there is no such key. */
  private touch(operation: TouchOp, sub: number): boolean {
    const old = live(this.engine.latest(operation.key));
    if (old === undefined) return false;
    // The value is a view of the memory that is about to be written to.
    const value = new Uint8Array(old.value);
    this.put(operation.key, value, operation.ttlMs, old.lease, false, sub);
    return true;
  }

  /** Writes a tombstone over a live record at the current revision. REQUIRES: `victim` is a copy. */
  private remove(victim: StoredRecord, sub: number): void {
    const revision = this.currentRevision;
    this.engine.put(victim.key, EMPTY_BYTES, revision, 0, 0, sub, FLAG_TOMBSTONE, 0n, 0);
    if (victim.expiresAtMs !== 0) this.moveExpiryRow(victim.key, victim.expiresAtMs, 0, sub);
    if (this.onEvents === undefined || !this.heard(victim.key)) return;
    const record: StoredRecord = {
      key: victim.key,
      value: EMPTY_BYTES,
      modRevision: revision,
      createRevision: 0,
      version: 0,
      subRevision: sub,
      flags: FLAG_TOMBSTONE,
      lease: 0n,
      expiresAtMs: 0,
    };
    this.events.push({ type: 'delete', record, previous: this.eventsWithPrevious ? victim : undefined });
  }

  private heard(key: Uint8Array): boolean {
    return key[0] === SPACE_USER && (this.watches === undefined || this.watches(key));
  }

  private expiryAfter(ttlMs: number): number {
    return Math.min(this.clockMs + ttlMs, Number.MAX_SAFE_INTEGER);
  }

  private moveExpiryRow(key: Uint8Array, fromMs: number, toMs: number, sub: number): void {
    const revision = this.currentRevision;
    if (fromMs !== 0) {
      this.engine.put(expiryRowKey(fromMs, key), EMPTY_BYTES, revision, 0, 0, sub, FLAG_TOMBSTONE, 0n, 0);
    }
    if (toMs !== 0) {
      this.engine.put(expiryRowKey(toMs, key), EMPTY_BYTES, revision, revision, 1, sub, 0, 0n, 0);
    }
  }

  private publish(): void {
    if (this.events.length === 0) return;
    const events = this.events;
    this.events = [];
    this.onEvents?.(this.currentRevision, events);
  }

  private refuse(refusal: Refusal): CommandResult {
    return failed(refusal.code, refusal.message, this.currentRevision);
  }
}

const DUPLICATE: Refusal = { code: 'DUPLICATE_KEY', message: 'a key is written twice in one transaction' };
