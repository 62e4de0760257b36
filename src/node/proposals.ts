/**
 * Commands on their way into the log, and the callers that wait for their results.
 *
 * Commands that arrive in one turn of the event loop become one log entry (or several, where they exceed `maxEntryBytes`). A waiter belongs to a position in an entry
 * and is answered when that entry is applied; when an entry of another term is applied at its index, the command was lost before it was committed and
 * surely did not take effect.
 *
 * Invariants: every waiter is settled exactly once; bytes queued and not yet answered stay below `maxPendingBytes`.
 */
import { KvError } from '../errors.ts';
import type { CommandResult } from '../kv/command.ts';
import type { ProposeResult } from '../raft/types.ts';
import { EntryBuilder } from '../wire/entry_codec.ts';

interface Waiter {
  readonly command: Uint8Array;
  readonly resolve: (result: CommandResult) => void;
  readonly reject: (error: KvError) => void;
  readonly deadlineMs: number;
}

interface Batch {
  readonly term: number;
  readonly waiters: Waiter[];
  readonly bytes: number;
}

/** Stands for a command that is in the log already. */
const NO_COMMAND = new Uint8Array(0);

export interface ProposalsOptions {
  readonly maxEntryBytes: number;
  readonly maxPendingBytes: number;
  /** Puts entries into the Raft log. */
  readonly propose: (entries: readonly Uint8Array[]) => ProposeResult;
  /** Whether the log has room for so many bytes without new disk space. */
  readonly hasRoom: (bytes: number) => boolean;
  /** True while the engine wants no more writes, or room for so many bytes is still being made: commands wait. */
  readonly held: (bytes: number) => boolean;
}

export class Proposals {
  readonly #options: ProposalsOptions;
  #queue: Waiter[] = [];
  #queuedBytes = 0;
  /** Keyed by log index, oldest first. */
  readonly #inFlight = new Map<number, Batch>();
  #inFlightBytes = 0;
  readonly #builder = new EntryBuilder();

  constructor(options: ProposalsOptions) {
    this.#options = options;
  }

  get pendingBytes(): number {
    return this.#queuedBytes + this.#inFlightBytes;
  }

  get pending(): boolean {
    return this.#queue.length > 0 || this.#inFlight.size > 0;
  }

  /**
   * Queues a command for the next `flush`.
   * @throws KvError OVERLOADED when too many bytes wait already.
   */
  add(command: Uint8Array, deadlineMs: number): Promise<CommandResult> {
    if (this.pendingBytes + command.length > this.#options.maxPendingBytes && this.pendingBytes > 0) {
      return Promise.reject(
        new KvError('OVERLOADED', `${this.pendingBytes} bytes of writes are waiting already; try again`),
      );
    }
    this.#queuedBytes += command.length;
    return new Promise((resolve, reject) => {
      this.#queue.push({ command, resolve, reject, deadlineMs });
    });
  }

  /** Waits for the result of an entry of one command that is in the log already, and decided. */
  resultOf(index: number, term: number, bytes: number, deadlineMs: number): Promise<CommandResult> {
    return new Promise((resolve, reject) => {
      const waiters = [{ command: NO_COMMAND, resolve, reject, deadlineMs }];
      this.#inFlight.set(index, { term, waiters, bytes });
      this.#inFlightBytes += bytes;
    });
  }

  get queued(): boolean {
    return this.#queue.length > 0;
  }

  /** Turns what is queued into log entries. REQUIRES: this node leads (else everything queued is refused as not applied). */
  flush(timeMs: number): void {
    if (this.#queue.length === 0 || this.#options.held(this.#queuedBytes)) return;
    const queue = this.#queue;
    this.#queue = [];
    this.#queuedBytes = 0;
    let from = 0;
    while (from < queue.length) from = this.#proposeSome(queue, from, timeMs);
  }

  /** Proposes one entry from the front of `queue`; gives the position after the last command taken. */
  #proposeSome(queue: Waiter[], from: number, timeMs: number): number {
    const { maxEntryBytes, hasRoom, propose } = this.#options;
    let to = from;
    let bytes = 0;
    do {
      const { command } = queue[to]!;
      this.#builder.add(command);
      bytes += command.length;
      to++;
    } while (to < queue.length && bytes + queue[to]!.command.length <= maxEntryBytes);
    const waiters = from === 0 && to === queue.length ? queue : queue.slice(from, to);
    const entry = this.#builder.finish(timeMs);
    if (!hasRoom(entry.length)) {
      refuse(
        waiters,
        new KvError('NO_SPACE', 'the disk is full: no writes until there is room; reads go on'),
      );
      return to;
    }
    const result = propose([entry]);
    if (!result.ok) {
      refuse(waiters, refusal(result));
      return to;
    }
    this.#replaced(result.index);
    this.#inFlight.set(result.index, { term: result.term, waiters, bytes });
    this.#inFlightBytes += bytes;
    return to;
  }

  /** Whether somebody here waits for the entry's results; drops waiters whose entry lost its place to another term's. */
  expects(index: number, term: number): boolean {
    const batch = this.#inFlight.get(index);
    if (batch === undefined) return false;
    if (batch.term === term) return true;
    this.#take(index, batch);
    refuse(
      batch.waiters,
      new KvError('UNAVAILABLE', 'the leader changed before the write was committed; it did not take effect'),
    );
    return false;
  }

  /** Answers the waiters of an applied entry; results stand in the order of its commands. */
  applied(index: number, results: readonly CommandResult[]): void {
    const batch = this.#inFlight.get(index);
    if (batch === undefined) return;
    this.#take(index, batch);
    const { waiters } = batch;
    for (let i = 0; i < waiters.length; i++) waiters[i]!.resolve(results[i]!);
  }

  /** Entries up to `index` came in by a snapshot: whether the writes among them were ours is not known. */
  skippedTo(index: number): void {
    for (const [at, batch] of this.#inFlight) {
      // Not in order: what lost its place keeps its position in the map.
      if (at > index) continue;
      this.#take(at, batch);
      refuse(
        batch.waiters,
        new KvError('UNAVAILABLE', 'the outcome of the write is not known', { maybeApplied: true }),
      );
    }
  }

  /** Rejects waiters whose deadline has passed. An entry already proposed may still be applied. */
  sweep(nowMs: number): void {
    let kept: Waiter[] | undefined;
    for (let i = 0; i < this.#queue.length; i++) {
      const waiter = this.#queue[i]!;
      if (waiter.deadlineMs <= nowMs) {
        kept ??= this.#queue.slice(0, i);
        this.#queuedBytes -= waiter.command.length;
        waiter.reject(new KvError('TIMEOUT', 'the write waited too long and was not proposed'));
      } else kept?.push(waiter);
    }
    if (kept !== undefined) this.#queue = kept;
    for (const batch of this.#inFlight.values()) {
      for (const waiter of batch.waiters) {
        // The waiter stays in its place, since results are matched by position; settling it twice does nothing.
        if (waiter.deadlineMs <= nowMs) {
          waiter.reject(
            new KvError('TIMEOUT', 'the write was not committed in time', { maybeApplied: true }),
          );
        }
      }
    }
  }

  /** Refuses what has not been proposed yet: it surely does not take effect. */
  refuseQueued(error: KvError): void {
    const queue = this.#queue;
    this.#queue = [];
    this.#queuedBytes = 0;
    refuse(queue, error);
  }

  /** The node ends: nobody will be answered any more. */
  close(): void {
    this.refuseQueued(new KvError('UNAVAILABLE', 'the node is stopping'));
    for (const [index, batch] of this.#inFlight) {
      this.#take(index, batch);
      refuse(
        batch.waiters,
        new KvError('UNAVAILABLE', 'the node stopped before the write was committed', { maybeApplied: true }),
      );
    }
  }

  /** An entry of an earlier term of ours gave way in this log; another node may still bring it back. */
  #replaced(index: number): void {
    const batch = this.#inFlight.get(index);
    if (batch === undefined) return;
    this.#take(index, batch);
    refuse(batch.waiters, new KvError('UNAVAILABLE', 'the leader changed', { maybeApplied: true }));
  }

  #take(index: number, batch: Batch): void {
    this.#inFlight.delete(index);
    this.#inFlightBytes -= batch.bytes;
  }
}

function refuse(waiters: readonly Waiter[], error: KvError): void {
  for (const waiter of waiters) waiter.reject(error);
}

function refusal(result: Extract<ProposeResult, { ok: false }>): KvError {
  switch (result.reason) {
    case 'overloaded':
      return new KvError('OVERLOADED', 'too many uncommitted writes; try again');
    case 'transferring':
      return new KvError('NO_LEADER', 'leadership is being handed over; try again');
    default:
      return new KvError('NOT_LEADER', 'this node does not lead');
  }
}
