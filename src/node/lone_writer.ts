/**
 * The short way of a write on a node that is its whole cluster: into the log, decided, applied and answered within the call, without a promise, a queue or a
 * copy on the JavaScript heap. It is what the ready loop (replica.ts) would do, one step after the other.
 *
 * Invariants: taken only when nothing else is under way, so the order of writes is that of the calls; the entry is in the log, as durable as the mode asks
 * (`fsync` cannot be satisfied at once), before it is decided, and decided before it is applied; after a failed write to the log nothing is applied. Whatever
 * is not plain goes the ordinary way, where it may wait. Now and then that is asked for as well, so that a caller who awaits each write does not
 * starve timers and I/O.
 */
import { KvError } from '../errors.ts';
import type { Command, CommandResult, PutOp, WriteCommand } from '../kv/command.ts';
import type { StateMachine } from '../kv/state_machine.ts';
import type { Clock } from '../ports.ts';
import type { Entry, RaftCore } from '../raft/types.ts';
import type { Engine } from '../storage/engine_port.ts';
import type { SegmentedLog } from '../storage/log/segmented_log.ts';
import type { MaybePromise } from '../storage/record.ts';
import { plainPutBytes, putPlainPut, textBytes } from '../wire/command_codec.ts';
import { SingleEntry } from '../wire/entry_codec.ts';
import { varintBytes } from '../wire/varint.ts';
import { NO_WRITE_ID } from '../wire/write_id.ts';
import type { Applier } from './applier.ts';
import type { Conditions } from './conditions.ts';
import type { Health } from './health.ts';
import type { Proposals } from './proposals.ts';
import type { Replica } from './replica.ts';
import type { StoreClock } from './store_clock.ts';

/** Larger entries gain nothing here. */
const MAX_ENTRY_BYTES = 256 * 1024;

export interface LoneWriterOptions {
  readonly raft: RaftCore;
  readonly log: SegmentedLog;
  readonly applier: Applier;
  readonly engine: Engine;
  readonly stateMachine: StateMachine;
  readonly proposals: Proposals;
  readonly conditions: Conditions;
  readonly replica: Replica;
  readonly health: Health;
  readonly clock: Clock;
  readonly storeClock: StoreClock;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export class LoneWriter {
  readonly #options: LoneWriterOptions;
  readonly #entry = new SingleEntry(MAX_ENTRY_BYTES);
  /** The command of a put, filled anew for each. */
  readonly #operation: Mutable<PutOp>;
  readonly #command: WriteCommand;
  #keyAt = 0;
  #valueAt = 0;
  /** Closed for good where every write has to wait for the disk; else while one is being carried out. */
  #closed: boolean;

  constructor(options: LoneWriterOptions) {
    this.#options = options;
    this.#closed = !options.log.appendsAtOnce;
    const nothing = this.#entry.bytes.subarray(0, 0);
    const fixed = { type: 'put', lease: 0n, prevKv: false, ignoreValue: false, ignoreLease: false } as const;
    this.#operation = { ...fixed, key: nothing, value: nothing, ttlMs: 0 };
    this.#command = { type: 'write', id: NO_WRITE_ID, operation: this.#operation };
  }

  /**
   * A put of a user's key, which was checked against the limits. undefined: it must go the ordinary way.
   * @throws KvError UNAVAILABLE (maybeApplied) when the node has come to its end; CORRUPT when the key's present version is damaged
   */
  put(
    key: Uint8Array | string,
    value: Uint8Array | string,
    ttlMs: number,
    timeoutMs: number,
  ): MaybePromise<CommandResult> | undefined {
    if (!this.#ready()) return undefined;
    const keyBytes = textBytes(key) + 1;
    const valueBytes = textBytes(value);
    const timeMs = this.#options.storeClock.nowMs();
    const entry = this.#entry;
    const start = entry.begin(plainPutBytes(keyBytes, valueBytes, ttlMs), timeMs);
    if (start === 0) return undefined;
    const end = putPlainPut(entry.bytes, start, key, keyBytes, value, valueBytes, ttlMs);
    const operation = this.#operation;
    const keyAt = start + 5 + varintBytes(keyBytes);
    const valueAt = end - valueBytes;
    // Puts of the same sizes, one after the other, find their views made.
    if (operation.key.length !== keyBytes || this.#keyAt !== keyAt) {
      operation.key = entry.viewOf(keyAt, keyBytes);
      this.#keyAt = keyAt;
    }
    if (operation.value.length !== valueBytes || this.#valueAt !== valueAt) {
      operation.value = entry.viewOf(valueAt, valueBytes);
      this.#valueAt = valueAt;
    }
    operation.ttlMs = ttlMs;
    const waits = this.#options.engine.checkReadable(operation.key);
    if (waits !== undefined) {
      // The ordinary way waits for the same read, and tells what comes of it.
      waits.catch(() => undefined);
      return undefined;
    }
    return this.#write(entry.end(end), timeMs, this.#command, timeoutMs);
  }

  /** Any command of a client, which was checked. undefined: it must go the ordinary way. @throws as `put` */
  write(encoded: Uint8Array, command: Command, timeoutMs: number): MaybePromise<CommandResult> | undefined {
    if (!this.#ready()) return undefined;
    const timeMs = this.#options.storeClock.nowMs();
    const entry = this.#entry;
    const start = entry.begin(encoded.length, timeMs);
    if (start === 0) return undefined;
    entry.bytes.set(encoded, start);
    return this.#write(entry.end(start + encoded.length), timeMs, command, timeoutMs);
  }

  #ready(): boolean {
    const { applier, proposals, health, replica } = this.#options;
    return (
      !this.#closed && !proposals.pending && applier.idle && health.state === 'ok' && replica.beginTurn()
    );
  }

  #write(
    data: Uint8Array,
    timeMs: number,
    command: Command,
    timeoutMs: number,
  ): MaybePromise<CommandResult> | undefined {
    const { raft, log, replica } = this.#options;
    const entry = raft.entryAlone(data);
    if (entry === undefined) return undefined;
    // What is applied may call watchers, and they this.
    this.#closed = true;
    try {
      if (!log.appendAtOnce(entry)) return undefined;
      raft.decidedAlone(entry);
      return this.#apply(entry, timeMs, command, timeoutMs);
    } catch (error) {
      replica.fail(error);
      // As for every write that the end of the node cuts short.
      throw new KvError('UNAVAILABLE', 'the node stopped before the write was committed', {
        maybeApplied: true,
        cause: error,
      });
    } finally {
      this.#closed = false;
    }
  }

  #apply(entry: Entry, timeMs: number, command: Command, timeoutMs: number): MaybePromise<CommandResult> {
    const { applier, proposals, conditions, clock } = this.#options;
    const result = applier.applyAtOnce(entry, command, timeMs);
    if (result === undefined) {
      const { index, term, data } = entry;
      return proposals.resultOf(index, term, data.length, clock.monotonicMs() + timeoutMs);
    }
    conditions.check();
    return result;
  }
}
