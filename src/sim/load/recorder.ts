/**
 * Writes down what clients ask of a store and what they are told, in the shapes of check/observations.ts.
 *
 * A client goes through the public Store. What the Store keeps to itself (the revision of an answer, the session and sequence of a write, where a watch's batches
 * begin and end) is seen on the channel below it.
 *
 * Invariants: each client has one operation under way at a time; everything is noted in the order in which it happens; an operation that never settles stays `info`.
 */
import type { Channel } from '../../client/channel.ts';
import type {
  BatchOperation,
  KeyEntry,
  Store,
  TxnCompare,
  TxnOperation,
  WatchEvent,
} from '../../client/store_types.ts';
import { KvError } from '../../errors.ts';
import { decodeCommand } from '../../wire/command_codec.ts';
import type { WatchBatch } from '../../wire/messages.ts';
import type { ContentionRecord } from '../check/contention_check.ts';
import type {
  CompareStep,
  EntrySeen,
  EventSeen,
  OperationRecord,
  Step,
  StepResult,
  WatcherRecord,
} from '../check/observations.ts';
import type { TxnAsked } from '../check/reference_txn.ts';
import type { RightsRecord } from '../check/rights_check.ts';
import type { UpkeepRecord } from '../check/upkeep_check.ts';
import type { DirectCalls } from './direct_calls.ts';
import { type Listener, OverheardChannel } from './overheard_channel.ts';
import { tokenOf, valueBytes } from './values.ts';

const decoder = new TextDecoder();
/** What has no effect: nothing of it is left open by an error. */
const READS: ReadonlySet<OperationRecord['kind']> = new Set(['get', 'scan', 'range', 'leaseLook']);
/** What the Store has no call for. */
const DIRECT: ReadonlySet<OperationRecord['kind']> = new Set([
  'nested',
  'range',
  'leaseGrant',
  'leaseRevoke',
  'leaseKeepAlive',
  'leaseLook',
  'compact',
]);

/** What to do; what is left out has no part in it. */
export interface Call {
  readonly kind: OperationRecord['kind'];
  readonly steps: readonly Step[];
  readonly elseSteps?: readonly Step[] | undefined;
  readonly compares?: readonly CompareStep[] | undefined;
  readonly level?: OperationRecord['level'] | undefined;
  readonly atRevision?: number | undefined;
  /** Of kinds `nested` and `range`. */
  readonly nested?: TxnAsked | undefined;
  readonly timeoutMs: number;
}

/** An operation's beginning or end, in order. */
export interface JournalLine {
  readonly operation: OperationRecord;
  readonly ends: boolean;
}

export class Recorder {
  readonly operations: OperationRecord[] = [];
  readonly watchers: WatcherRecord[] = [];
  readonly journal: JournalLine[] = [];
  /** Calls that ended with something else than a KvError: broken promises of the Store. */
  readonly strangeErrors: { readonly operation: string; readonly error: unknown }[] = [];
  /** Where rights are enforced. */
  rights: RightsRecord | undefined;
  /** Where clients contend for locks and offices. */
  contention: ContentionRecord | undefined;
  /** Where quotas are set and alarms raised. */
  upkeep: UpkeepRecord | undefined;
  /** The largest revision that any client was told of. */
  newestRevision = 1;
  readonly nowMs: () => number;

  /** @param nowMs the common clock. */
  constructor(nowMs: () => number) {
    this.nowMs = nowMs;
  }

  client(name: string): ClientRecorder {
    return new ClientRecorder(name, this);
  }

  /** Operations that have not settled. */
  pending(): OperationRecord[] {
    return this.operations.filter(
      ({ settledMs, errorCode }) => settledMs === Number.POSITIVE_INFINITY && errorCode === undefined,
    );
  }

  saw(revision: number): void {
    if (revision > this.newestRevision) this.newestRevision = revision;
  }
}

export class ClientRecorder implements Listener {
  readonly name: string;
  /** The largest revision that an answer has shown this client. */
  seenRevision = 0;
  readonly #recorder: Recorder;
  #store: Store | undefined;
  #direct: DirectCalls | undefined;
  #current: OperationRecord | undefined;
  #opening: WatcherRecord | undefined;
  readonly #open: WatcherRecord[] = [];

  constructor(name: string, recorder: Recorder) {
    this.name = name;
    this.#recorder = recorder;
  }

  /** The store whose channel `listen` has wrapped, and what goes past it over the same channel. */
  use(store: Store, direct?: DirectCalls): void {
    this.#store = store;
    this.#direct = direct;
  }

  /** The channel to hand to the store: the same, overheard. */
  listen(channel: Channel): Channel {
    return new OverheardChannel(channel, this);
  }

  /** Carries out one call and writes it down. Never throws. REQUIRES: the call before has settled. */
  async perform(call: Call): Promise<OperationRecord> {
    const recorder = this.#recorder;
    const operation: OperationRecord = {
      id: recorder.operations.length,
      client: this.name,
      kind: call.kind,
      invokedMs: recorder.nowMs(),
      settledMs: Number.POSITIVE_INFINITY,
      outcome: 'info',
      errorCode: undefined,
      revision: 0,
      writeIds: [],
      compares: call.compares ?? [],
      steps: call.steps,
      elseSteps: call.elseSteps ?? [],
      succeeded: true,
      nested: call.nested === undefined ? undefined : { asked: call.nested, answer: undefined },
      results: [],
      level: call.level ?? 'linearizable',
      atRevision: call.atRevision ?? 0,
      seenRevision: this.seenRevision,
    };
    recorder.operations.push(operation);
    recorder.journal.push({ operation, ends: false });
    this.#current = operation;
    try {
      operation.results = await this.#carryOut(operation, call.timeoutMs);
      operation.outcome = 'ok';
      this.saw(operation.revision);
    } catch (error) {
      this.#failed(operation, error);
    }
    operation.settledMs = recorder.nowMs();
    this.#current = undefined;
    recorder.journal.push({ operation, ends: true });
    return operation;
  }

  /** The client's process is gone: what it had under way never settles, and its watches are over. */
  gone(): void {
    if (this.#current !== undefined) this.#current.errorCode = 'client gone';
    for (const record of [...this.#open])
      this.#end(record, { how: 'cancelled', code: '', compactRevision: 0 });
  }

  /**
   * Watches until the signal aborts or the watch fails, and writes down what comes. `slow`: a pause after each batch, for consumers that can't keep up.
   */
  async watch(
    range: {
      readonly start: string;
      readonly end: string | undefined;
      readonly filters?: WatcherRecord['filters'];
      /** Whether to be shown what each event replaced. */
      readonly prevKv?: boolean | undefined;
    },
    fromRevision: number,
    signal: AbortSignal,
    slow?: () => Promise<void>,
  ): Promise<WatcherRecord> {
    const recorder = this.#recorder;
    const record: WatcherRecord = {
      name: `${this.name}/${recorder.watchers.length}`,
      start: range.start,
      end: range.end,
      filters: range.filters,
      fromRevision,
      openedMs: recorder.nowMs(),
      seenRevision: this.seenRevision,
      batches: [],
      ended: undefined,
    };
    recorder.watchers.push(record);
    this.#open.push(record);
    const options = watchedRange(range.start, range.end);
    let batches = 0;
    try {
      const events = this.#used().watch({ ...options, fromRevision, signal, prevKv: range.prevKv });
      const iterator = events[Symbol.asyncIterator]();
      for (;;) {
        // The store asks its channel for the watch within the first call.
        this.#opening = record;
        const coming = iterator.next();
        this.#opening = undefined;
        const next = await coming;
        if (next.done === true || record.ended !== undefined) break;
        record.batches.at(-1)?.events.push(eventSeen(next.value));
        if (slow === undefined || record.batches.length === batches) continue;
        batches = record.batches.length;
        await slow();
      }
      this.#end(record, { how: signal.aborted ? 'cancelled' : 'silent', code: '', compactRevision: 0 });
    } catch (error) {
      if (!(error instanceof KvError))
        recorder.strangeErrors.push({ operation: `watch ${record.name}`, error });
      const code = error instanceof KvError ? error.code : 'not a KvError';
      const compacted = error instanceof KvError ? error.details['compactRevision'] : undefined;
      const compactRevision = typeof compacted === 'number' ? compacted : 0;
      this.#end(record, { how: 'error', code, compactRevision });
    }
    return record;
  }

  /** Overheard on the channel. */
  sent(command: Uint8Array): OperationRecord | undefined {
    const operation = this.#current;
    const decoded = decodeCommand(command);
    if (operation === undefined || decoded.type === 'openSession' || decoded.type === 'closeSession')
      return undefined;
    if (!('id' in decoded)) return operation;
    const { session, sequence } = decoded.id;
    const id = `${session}/${sequence}`;
    if (session !== 0 && !operation.writeIds.includes(id)) operation.writeIds.push(id);
    return operation;
  }

  reading(): OperationRecord | undefined {
    return this.#current;
  }

  openingWatch(): WatcherRecord | undefined {
    return this.#opening;
  }

  batch(record: WatcherRecord, batch: WatchBatch): void {
    if (record.ended !== undefined) return;
    record.batches.push({
      atMs: this.#recorder.nowMs(),
      revision: batch.revision,
      events: [],
      size: batch.events.length,
    });
    this.saw(batch.revision);
  }

  saw(revision: number): void {
    if (revision > this.seenRevision) this.seenRevision = revision;
    this.#recorder.saw(revision);
  }

  #used(): Store {
    if (this.#store === undefined) throw new Error(`client ${this.name} has no store`);
    return this.#store;
  }

  #end(record: WatcherRecord, how: Omit<NonNullable<WatcherRecord['ended']>, 'atMs'>): void {
    record.ended ??= { atMs: this.#recorder.nowMs(), ...how };
    const at = this.#open.indexOf(record);
    if (at >= 0) this.#open.splice(at, 1);
  }

  #failed(operation: OperationRecord, error: unknown): void {
    if (!(error instanceof KvError)) {
      this.#recorder.strangeErrors.push({
        operation: `${operation.kind} ${operation.id} of ${this.name}`,
        error,
      });
      operation.errorCode = 'not a KvError';
      return;
    }
    operation.errorCode = error.code;
    operation.outcome = READS.has(operation.kind) || !error.maybeApplied ? 'fail' : 'info';
    // What was overheard is no answer.
    operation.revision = 0;
  }

  async #carryOut(operation: OperationRecord, timeoutMs: number): Promise<StepResult[]> {
    const store = this.#used();
    const { kind, level, atRevision } = operation;
    if (DIRECT.has(kind) || operation.steps.some((one) => one.type === 'put' && one.lease !== undefined)) {
      if (this.#direct === undefined) throw new Error(`client ${this.name} has no way past its store`);
      return this.#direct.carryOut(operation, timeoutMs);
    }
    const step = operation.steps[0]!;
    const reading = { level, timeoutMs, ...(atRevision === 0 ? {} : { revision: atRevision }) };
    if (step.type === 'get' && kind === 'get') {
      const entry = await store.getEntry(step.key, reading);
      return [{ type: 'get', entry: entry === undefined ? undefined : entrySeen(entry) }];
    }
    if (step.type === 'scan' && kind === 'scan') {
      const { start, end, reverse, limit } = step;
      const entries: EntrySeen[] = [];
      const options = { ...reading, start, end, reverse, ...(limit === 0 ? {} : { limit }) };
      for await (const entry of store.scan(options)) entries.push(entrySeen(entry));
      return [{ type: 'scan', entries }];
    }
    if (step.type === 'put' && kind === 'put') {
      const { revision } = await store.put(step.key, valueBytes(step.value), {
        ttlMs: step.ttlMs,
        timeoutMs,
      });
      this.#answered(operation, revision);
      return [{ type: 'put' }];
    }
    if (step.type === 'delete' && kind === 'delete') {
      const { revision, deleted } = await store.delete(step.key, { timeoutMs });
      this.#answered(operation, revision);
      return [{ type: 'delete', deleted: deleted ? 1 : 0 }];
    }
    if (step.type === 'touch' && kind === 'touch') {
      return [{ type: 'touch', found: await store.touch(step.key, { ttlMs: step.ttlMs, timeoutMs }) }];
    }
    if (kind === 'batch') {
      const operations = operation.steps.map(batchStep);
      const { revision } = await store.batch(operations, { timeoutMs });
      this.#answered(operation, revision);
      // How many keys its deletes found stands on the channel only.
      return operation.results as StepResult[];
    }
    const { succeeded, revision, results } = await store.txn(
      {
        compare: operation.compares.map(txnCompare),
        then: operation.steps.map(txnStep),
        else: operation.elseSteps.map(txnStep),
      },
      { timeoutMs },
    );
    this.#answered(operation, revision);
    operation.succeeded = succeeded;
    return results.map((result) => {
      if (result.type === 'range' || result.type === 'txn')
        throw new Error(`nobody asked for a ${result.type}`);
      if (result.type !== 'get') return result;
      return { type: 'get', entry: result.entry === undefined ? undefined : entrySeen(result.entry) };
    });
  }

  /** The Store must pass on the revision that the channel gave. */
  #answered(operation: OperationRecord, revision: number): void {
    if (operation.revision === revision) return;
    const error = new Error(`the store says revision ${revision}, its channel said ${operation.revision}`);
    this.#recorder.strangeErrors.push({ operation: `${operation.kind} ${operation.id}`, error });
    operation.revision = revision;
  }
}

/** As the Store wants it; a key of the greatest length has no successor that is a key. */
function watchedRange(
  start: string,
  end: string | undefined,
): { key?: string; start?: string; end?: string } {
  if (end === `${start}\0`) return { key: start };
  return { ...(start === '' ? {} : { start }), ...(end === undefined ? {} : { end }) };
}

function eventSeen(event: WatchEvent): EventSeen {
  const { type, key, value, revision, createRevision, version, previous } = event;
  const token = value === undefined ? '' : tokenOf(value);
  const seen = { revision, key: decoder.decode(key), type, value: token, createRevision, version };
  return previous === undefined ? seen : { ...seen, previousRevision: previous.modRevision };
}

function entrySeen(entry: KeyEntry): EntrySeen {
  const { key, value, createRevision, modRevision, version, expiresAtMs } = entry;
  return {
    key: decoder.decode(key),
    value: tokenOf(value),
    createRevision,
    modRevision,
    version,
    expiresAtMs: expiresAtMs ?? 0,
  };
}

function txnCompare(compare: CompareStep): TxnCompare {
  return 'value' in compare ? { key: compare.key, value: valueBytes(compare.value) } : compare;
}

function txnStep(step: Step): TxnOperation {
  if (step.type === 'put')
    return { type: 'put', key: step.key, value: valueBytes(step.value), ttlMs: step.ttlMs };
  if (step.type === 'delete' || step.type === 'deleteRange' || step.type === 'get' || step.type === 'touch')
    return step;
  throw new Error(`a transaction of the Store has no ${step.type}`);
}

function batchStep(step: Step): BatchOperation {
  if (step.type === 'delete') return step;
  if (step.type !== 'put') throw new Error(`a batch of the Store has no ${step.type}`);
  return { type: 'put', key: step.key, value: valueBytes(step.value), ttlMs: step.ttlMs };
}
