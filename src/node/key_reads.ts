/**
 * Reads of keys at this node: linearizable ones behind a read index, weaker ones at once or after a condition.
 *
 * Invariant: nothing is read in the middle of an installation of a snapshot.
 */
import type { CallOptions } from '../api/service.ts';
import { KvError } from '../errors.ts';
import type { StateMachine } from '../kv/state_machine.ts';
import type { RaftCore } from '../raft/types.ts';
import type { Engine } from '../storage/engine_port.ts';
import type { MaybePromise } from '../storage/record.ts';
import type {
  GetRequest,
  GetResponse,
  ReadOptions,
  ScanPageRequest,
  ScanPageResponse,
} from '../wire/messages.ts';
import type { Applier } from './applier.ts';
import type { AuthGate } from './auth_gate.ts';
import type { Conditions } from './conditions.ts';
import type { Pins } from './pins.ts';
import type { ReadBarrier } from './read_barrier.ts';
import { revisionToRead } from './read_revision.ts';
import type { Replica } from './replica.ts';
import type { StoreClock } from './store_clock.ts';

export interface KeyReadsOptions {
  readonly raft: RaftCore;
  readonly replica: Replica;
  readonly applier: Applier;
  readonly engine: Engine;
  readonly stateMachine: StateMachine;
  readonly reads: ReadBarrier;
  readonly conditions: Conditions;
  readonly pins: Pins;
  readonly storeClock: StoreClock;
  readonly gate: AuthGate;
  readonly electionTimeoutMs: number;
  /** While a snapshot is being put in place (snapshots.ts): a promise of its end. */
  readonly replaced: () => Promise<void> | undefined;
  /** Grows whenever this node slept for longer than an election timeout. */
  readonly sleeps: () => number;
  /** Throws when the node takes no calls. */
  readonly checkOpen: () => void;
  readonly deadline: (options: CallOptions | undefined) => number;
}

/** How far ahead of the store's the clock of who asks for a time may be: the read waits until the store's is there. No two machines agree on what "now" is. */
const CLOCK_AHEAD_MS = 1_000;

const LINEARIZABLE: ReadOptions = { level: 'linearizable', minRevision: 0, revision: 0 };

export class KeyReads {
  readonly #options: KeyReadsOptions;
  /** How many sleeps were followed by a word of a quorum. */
  #sleepsOver = 0;

  constructor(options: KeyReadsOptions) {
    this.#options = options;
  }

  get(request: GetRequest, options?: CallOptions): MaybePromise<GetResponse> {
    const ready = this.#ready(request, options) ?? this.#options.replaced();
    if (ready === undefined) return this.#get(request, options);
    return ready.then(() => this.#whenWhole(() => this.#get(request, options)));
  }

  scan(request: ScanPageRequest, options?: CallOptions): MaybePromise<ScanPageResponse> {
    const ready = this.#ready(request, options) ?? this.#options.replaced();
    if (ready === undefined) return this.#scan(request, options);
    return ready.then(() => this.#whenWhole(() => this.#scan(request, options)));
  }

  /** Resolves when this node has applied all that was acknowledged before the call. */
  async fresh(options?: CallOptions): Promise<void> {
    await this.#ready(LINEARIZABLE, options);
    await this.#options.replaced();
  }

  /** A cluster of one has nobody to ask: what it has applied is all that was ever acknowledged. */
  servesAlone(): boolean {
    const { raft, applier } = this.#options;
    const { voters, votersOutgoing } = applier.appliedConfiguration;
    return (
      raft.role === 'leader' &&
      voters.length === 1 &&
      votersOutgoing.length === 0 &&
      applier.appliedTerm === raft.term
    );
  }

  /** Serves a read that had to wait: not in the middle of an installation, which may have begun meanwhile. */
  #whenWhole<T>(serve: () => MaybePromise<T>): MaybePromise<T> {
    const replaced = this.#options.replaced();
    if (replaced !== undefined) return replaced.then(() => this.#whenWhole(serve));
    this.#options.checkOpen();
    return serve();
  }

  /** A read index: what this node has applied is as new as the cluster was a moment ago. */
  #barrier(): Promise<void> {
    const ready = this.#options.reads.wait();
    this.#options.replica.schedule();
    return ready;
  }

  /** undefined when the read may be served at once, else a promise of the moment when it may. */
  #ready(request: ReadOptions, options: CallOptions | undefined): Promise<void> | undefined {
    this.#options.checkOpen();
    const { atTimeMs } = request;
    if (atTimeMs === undefined) return this.#readyNow(request, options);
    const { storeClock, conditions } = this.#options;
    const aheadMs = atTimeMs - storeClock.estimateMs();
    if (aheadMs <= 0 || aheadMs > CLOCK_AHEAD_MS) return this.#readyNow(request, options);
    const late = (): KvError => new KvError('TIMEOUT', `the time ${atTimeMs} has not come in time`);
    return conditions
      .until(() => storeClock.estimateMs() >= atTimeMs, this.#options.deadline(options), late)
      .then(() => this.#readyNow(request, options));
  }

  #readyNow(request: ReadOptions, options: CallOptions | undefined): Promise<void> | undefined {
    if (request.level === 'eventual') return undefined;
    if (request.level === 'linearizable') {
      if (this.servesAlone()) return this.#options.replica.turnOwed();
      return this.#barrier();
    }
    if (this.#options.raft.leader === 0)
      throw new KvError('NO_LEADER', 'this node has heard of no quorum for an election timeout');
    const sleeps = this.#options.sleeps();
    if (sleeps === this.#sleepsOver && this.#options.replica.sinceTickMs <= this.#options.electionTimeoutMs)
      return this.#reached(request, options);
    // Who slept does not know yet whether it is cut off, and old messages may still wait in its sockets: a quorum has to say so.
    return this.#barrier().then(() => {
      this.#sleepsOver = Math.max(this.#sleepsOver, sleeps);
      return this.#reached(request, options);
    });
  }

  /** undefined when this node has what the reader has seen elsewhere, else a promise of that. */
  #reached(request: ReadOptions, options: CallOptions | undefined): Promise<void> | undefined {
    const { stateMachine, conditions } = this.#options;
    if (stateMachine.revision >= request.minRevision) return undefined;
    const late = (): KvError =>
      new KvError('TIMEOUT', `this node has not reached revision ${request.minRevision} in time`);
    return conditions.until(
      () => stateMachine.revision >= request.minRevision,
      this.#options.deadline(options),
      late,
    );
  }

  #get(request: GetRequest, options: CallOptions | undefined): MaybePromise<GetResponse> {
    if (this.#options.gate.auth.enabled)
      this.#options.gate.checkKeys(options?.identity, request.key, undefined);
    const { engine, stateMachine, storeClock } = this.#options;
    const { revision } = stateMachine;
    const found = engine.get(request.key, revisionToRead(request, stateMachine, storeClock));
    if (found instanceof Promise) return found.then((record) => ({ revision, record }));
    return { revision, record: found };
  }

  #scan(request: ScanPageRequest, options: CallOptions | undefined): MaybePromise<ScanPageResponse> {
    if (this.#options.gate.auth.enabled)
      this.#options.gate.checkScan(options?.identity, request.start, request.end);
    const { engine, pins, stateMachine, storeClock } = this.#options;
    const revision = revisionToRead(request, stateMachine, storeClock);
    const { start, end, reverse, limit, maxBytes, keysOnly } = request;
    const page = engine.scan({ start, end, reverse, limit, maxBytes, keysOnly, revision });
    // Nobody comes back for the next page of a range that has come whole.
    if (page instanceof Promise || page.more) pins.touch(revision);
    if (page instanceof Promise) return page.then(({ records, more }) => ({ revision, records, more }));
    return { revision, records: page.records, more: page.more };
  }
}
