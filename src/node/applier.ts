/**
 * Feeds committed entries to the state machine, in order, exactly once.
 *
 * An entry's reads are loaded first (at once, unless a tree must go to disk), then the whole entry is applied without waiting. Long backlogs (a replay at
 * start-up) are applied in slices, so that the event loop stays free.
 *
 * Invariants: entries are applied in index order with no gap; a failure here ends the node, since an entry can't be skipped.
 */
import { isDamage } from '../errors.ts';
import type { Command, CommandResult } from '../kv/command.ts';
import type { StateMachine } from '../kv/state_machine.ts';
import type { Clock, Timers } from '../ports.ts';
import { decodeConfiguration } from '../raft/configuration.ts';
import { type Configuration, ENTRY_COMMAND, ENTRY_CONFIGURATION, type Entry } from '../raft/types.ts';
import type { Engine, KeyVersion, LoadRange, NamingRows } from '../storage/engine_port.ts';
import { decodeCommand } from '../wire/command_codec.ts';
import { decodeEntry, EntryReader } from '../wire/entry_codec.ts';
import type { Proposals } from './proposals.ts';

const SLICE_MS = 10;
const ENTRIES_BETWEEN_CLOCK_READS = 16;

export interface ApplierOptions {
  readonly engine: Engine;
  readonly stateMachine: StateMachine;
  readonly proposals: Proposals;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly appliedIndex: number;
  readonly appliedTerm: number;
  readonly appliedConfiguration: Configuration;
  /** State to go with a flush (node_state.ts). */
  readonly captureState: (configuration: Configuration) => Uint8Array;
  /** Called after a run of entries, with the new applied index. */
  readonly onApplied: (index: number) => void;
  readonly onConfiguration: (configuration: Configuration, before: Configuration) => void;
  readonly onFailure: (error: unknown) => void;
  /** Applying stopped at damaged data; `resume` with a snapshot's position goes on. */
  readonly onDamage: (error: unknown) => void;
}

export class Applier {
  readonly #options: ApplierOptions;
  #queue: Entry[] = [];
  #head = 0;
  #backlogBytes = 0;
  #appliedBytes = 0;
  #busy = false;
  #paused = false;
  #failed = false;
  /** Entries that a snapshot had covered when their turn came. */
  #dropped = 0;
  #index: number;
  #term: number;
  #configuration: Configuration;
  readonly #capture: () => Uint8Array;
  #idleWaiters: (() => void)[] = [];

  constructor(options: ApplierOptions) {
    this.#options = options;
    this.#index = options.appliedIndex;
    this.#term = options.appliedTerm;
    this.#configuration = options.appliedConfiguration;
    this.#capture = () => options.captureState(this.#configuration);
  }

  get appliedIndex(): number {
    return this.#index;
  }
  get appliedTerm(): number {
    return this.#term;
  }
  get appliedConfiguration(): Configuration {
    return this.#configuration;
  }
  /** Bytes of committed entries that wait here. */
  get backlogBytes(): number {
    return this.#backlogBytes;
  }
  /** Bytes of entries applied since this node was started. */
  get appliedBytes(): number {
    return this.#appliedBytes;
  }
  /** The state as of the applied index. */
  get capture(): () => Uint8Array {
    return this.#capture;
  }

  enqueue(entries: readonly Entry[]): void {
    for (const entry of entries) {
      this.#queue.push(entry);
      this.#backlogBytes += entry.data.length;
    }
    if (!this.#busy) this.#run();
  }

  /** True when an entry may be given to `applyAtOnce`. */
  get idle(): boolean {
    return (
      !this.#busy &&
      !this.#paused &&
      !this.#failed &&
      this.#queue.length === 0 &&
      !this.#options.engine.behind
    );
  }

  /**
   * Applies an entry of one command in this call. `entry.data` and what `command` views need be valid for this call only. undefined: the command's reads must
   * come from the disk first; the entry, with a copy of its data, is applied when they are there, and its results go to the proposals.
   * REQUIRES: `idle`; the entry is the next one.
   */
  applyAtOnce(entry: Entry, command: Command, timeMs: number): CommandResult | undefined {
    const { engine, stateMachine } = this.#options;
    try {
      if (!engine.synchronous) {
        const loading = engine.load(stateMachine.reads(command));
        if (loading !== undefined) {
          const owned: Entry = { ...entry, data: new Uint8Array(entry.data) };
          this.#queue.push(owned);
          this.#backlogBytes += owned.data.length;
          this.#waitFor(loading.then(() => this.#finish(owned)));
          return undefined;
        }
      }
      const { index, term } = entry;
      const result = stateMachine.apply({ index, term, timeMs }, command);
      this.#index = index;
      this.#term = term;
      this.#appliedBytes += entry.data.length;
      engine.afterEntry(index, term, this.#capture);
      return result;
    } catch (error) {
      this.#stop(error);
      throw error;
    }
  }

  /** Stops after the entry being applied; resolves when nothing is under way. `resume` goes on. */
  pause(): Promise<void> {
    this.#paused = true;
    if (!this.#busy) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }

  /** Goes on, possibly from a snapshot's position: entries at or below it are dropped. */
  resume(snapshot?: { index: number; term: number; configuration: Configuration }): void {
    if (snapshot !== undefined) {
      this.#index = snapshot.index;
      this.#term = snapshot.term;
      this.#configuration = snapshot.configuration;
      // Nothing may be left to apply: whoever waits for this index would wait for the next entry.
      this.#options.onApplied(snapshot.index);
    }
    this.#paused = false;
    if (!this.#busy) this.#run();
  }

  #run(): void {
    if (this.#failed || this.#paused) return;
    const before = this.#index;
    const dropped = this.#dropped;
    try {
      this.#applySlice();
    } catch (error) {
      this.#stop(error);
      return;
    }
    if (this.#head === this.#queue.length) {
      this.#queue = [];
      this.#head = 0;
    } else if (this.#head > 1024) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    if (this.#index !== before || this.#dropped !== dropped) this.#options.onApplied(this.#index);
  }

  /** Damaged data may come back from other nodes; anything else ends the node. */
  #stop(error: unknown): void {
    if (isDamage(error)) {
      this.#paused = true;
      this.#options.onDamage(error);
      return;
    }
    this.#failed = true;
    this.#options.onFailure(error);
  }

  #applySlice(): void {
    const { engine, clock, timers } = this.#options;
    let startedMs = 0;
    for (let count = 1; this.#head < this.#queue.length; count++) {
      if (this.#paused) return;
      const entry = this.#queue[this.#head]!;
      if (entry.index <= this.#index) {
        this.#shift(entry);
        this.#dropped++;
        continue;
      }
      if (engine.behind) return this.#waitFor(engine.caughtUp());
      if (entry.kind === ENTRY_COMMAND) {
        const loading = engine.synchronous ? undefined : this.#load(entry);
        if (loading !== undefined) return this.#waitFor(loading.then(() => this.#finish(entry)));
      }
      this.#finish(entry);
      if (count % ENTRIES_BETWEEN_CLOCK_READS === 0) {
        const nowMs = clock.monotonicMs();
        if (startedMs === 0) startedMs = nowMs;
        else if (nowMs - startedMs > SLICE_MS) {
          return this.#waitFor(new Promise((resolve) => timers.afterIo(resolve)));
        }
      }
    }
  }

  #waitFor(done: Promise<void>): void {
    this.#busy = true;
    done.then(
      () => {
        this.#busy = false;
        for (const resolve of this.#idleWaiters.splice(0)) resolve();
        // #finish may have advanced the index inside the promise: tell before the next slice compares.
        this.#options.onApplied(this.#index);
        this.#run();
      },
      (error) => {
        this.#busy = false;
        // Whoever waits to stop this must not wait for ever.
        for (const resolve of this.#idleWaiters.splice(0)) resolve();
        this.#stop(error);
      },
    );
  }

  #load(entry: Entry): Promise<void> | undefined {
    const { engine, stateMachine } = this.#options;
    const keys: Uint8Array[] = [];
    const ranges: LoadRange[] = [];
    const older: KeyVersion[] = [];
    const naming: NamingRows[] = [];
    decodeEntry(entry.data, (bytes) => {
      const reads = stateMachine.reads(decodeCommand(bytes));
      for (const key of reads.keys) keys.push(key);
      for (const range of reads.ranges) ranges.push(range);
      for (const version of reads.older ?? []) older.push(version);
      for (const rows of reads.naming ?? []) naming.push(rows);
    });
    return engine.load({ keys, ranges, older, naming }) ?? undefined;
  }

  #finish(entry: Entry): void {
    const { engine, proposals, onConfiguration } = this.#options;
    if (entry.index !== this.#index + 1) {
      throw new Error(`entry ${entry.index} follows applied index ${this.#index}`);
    }
    this.#shift(entry);
    const before = this.#configuration;
    const expected = proposals.expects(entry.index, entry.term);
    const results: CommandResult[] | undefined = expected ? [] : undefined;
    if (entry.kind === ENTRY_COMMAND) this.#applyCommands(entry, results);
    else if (entry.kind === ENTRY_CONFIGURATION) this.#configuration = decodeConfiguration(entry.data);
    this.#index = entry.index;
    this.#term = entry.term;
    this.#appliedBytes += entry.data.length;
    engine.afterEntry(entry.index, entry.term, this.#capture);
    if (results !== undefined) proposals.applied(entry.index, results);
    if (entry.kind === ENTRY_CONFIGURATION) onConfiguration(this.#configuration, before);
  }

  #applyCommands(entry: Entry, results: CommandResult[] | undefined): void {
    const { stateMachine } = this.#options;
    const reader = new EntryReader(entry.data);
    const context = { index: entry.index, term: entry.term, timeMs: reader.timeMs };
    while (reader.next()) {
      const result = stateMachine.apply(context, decodeCommand(reader.bytes, reader.start, reader.end));
      results?.push(result);
    }
  }

  #shift(entry: Entry): void {
    this.#head++;
    this.#backlogBytes -= entry.data.length;
  }
}
