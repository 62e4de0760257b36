/**
 * One reader of an open store, seen from the store's thread: a place that either a worker thread of the store's own takes, started at the first `run`, or a
 * thread of the caller, by `handle`.
 *
 * Invariants: every run settles: with what the code gave, with what it threw, or with the end of its thread. A worker that ended is replaced at the next run.
 */
import { Worker } from 'node:worker_threads';
import { KvError } from '../errors.ts';
import type { ReaderHandle } from './mailbox.ts';
import type { Reader } from './reader.ts';
import type { ReaderHub } from './reader_hub.ts';
import { kvErrorOf, type RunMessage, type RunOutcome, type WorkerStart } from './thread_messages.ts';

/** The default export of a module that `run` names. */
export type ReaderFunction<Args = unknown, Result = unknown> = (
  reader: Reader,
  args: Args,
) => Result | Promise<Result>;

interface Run {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
}

export class ReaderThread {
  /** Its number among the store's readers. */
  readonly index: number;
  readonly #hub: ReaderHub;
  readonly #runs = new Map<number, Run>();
  #worker: Worker | undefined;
  /** When the worker has ended and its place is free. */
  #ended: Promise<void> = Promise.resolve();
  #newestRun = 0;

  /** Made by `open`. */
  constructor(hub: ReaderHub, index: number) {
    this.#hub = hub;
    this.index = index;
  }

  /** Whether a worker of the store's own is there. */
  get running(): boolean {
    return this.#worker !== undefined;
  }

  /**
   * Imports a module in the reader's thread and calls its default export with the reader and `args`; resolves with what that gives. Arguments and results are
   * copied between the threads (structured clone). Calls may overlap where the code waits for promises.
   * @param moduleUrl absolute: `new URL('./report.js', import.meta.url)`
   * @throws KvError CLOSED; LOCKED when another thread has this reader; UNAVAILABLE when the thread ended meanwhile; INVALID_ARGUMENT for a URL that is none or a
   * module without a function; and whatever the code throws.
   */
  async run<Result = unknown>(moduleUrl: URL | string, args?: unknown): Promise<Result>;
  async run(moduleUrl: URL | string, args?: unknown): Promise<unknown> {
    const url = absoluteUrl(moduleUrl);
    const worker = this.#worker ?? this.#start();
    const id = ++this.#newestRun;
    return new Promise((resolve, reject) => {
      const message: RunMessage = { id, moduleUrl: url, args };
      worker.postMessage(message);
      this.#runs.set(id, { resolve, reject });
    });
  }

  /**
   * The place for a thread of the caller's own: `worker.postMessage({ handle }, [handle.port])`, there `attachReader(handle)`. It is free again when the
   * reader is closed or that thread has ended.
   * @throws KvError CLOSED; LOCKED when a thread has this reader already.
   */
  handle(): ReaderHandle {
    return this.#hub.open(this.index);
  }

  /**
   * Frees the place of a handle whose thread has ended without having taken it. REQUIRES: no thread has it.
   */
  release(): void {
    if (this.#worker === undefined) this.#hub.release(this.index);
  }

  /** Ends the worker, in the middle of whatever it does; its runs fail with UNAVAILABLE. Nothing when there is none. */
  async terminate(): Promise<void> {
    const ended = this.#ended;
    await this.#worker?.terminate();
    await ended;
  }

  #start(): Worker {
    const handle = this.#hub.open(this.index);
    const start: WorkerStart = { handle };
    const worker = new Worker(new URL('./reader_worker.js', import.meta.url), {
      workerData: start,
      transferList: [handle.port],
      name: `kvorum reader ${this.index}`,
    });
    this.#worker = worker;
    let failure: unknown;
    worker.on('message', (outcome: RunOutcome) => this.#settle(outcome));
    worker.on('error', (error) => {
      failure = error;
    });
    // Not events.once: it would reject with the worker's error.
    const exit = new Promise((resolve) => worker.on('exit', resolve));
    this.#ended = exit.then(() => {
      this.#worker = undefined;
      this.#hub.release(this.index);
      this.#failRuns(failure);
    });
    return worker;
  }

  #settle(outcome: RunOutcome): void {
    const run = this.#runs.get(outcome.id);
    if (run === undefined) return;
    this.#runs.delete(outcome.id);
    if ('result' in outcome) run.resolve(outcome.result);
    else run.reject('kvError' in outcome ? kvErrorOf(outcome.kvError) : outcome.error);
  }

  #failRuns(cause: unknown): void {
    const error = this.#hub.closed
      ? new KvError('CLOSED', 'the store was closed')
      : new KvError('UNAVAILABLE', 'the reader thread has ended', { cause });
    for (const run of this.#runs.values()) run.reject(error);
    this.#runs.clear();
  }
}

function absoluteUrl(moduleUrl: URL | string): string {
  try {
    return new URL(moduleUrl).href;
  } catch (cause) {
    throw new KvError('INVALID_ARGUMENT', `${String(moduleUrl)} is not an absolute URL of a module`, {
      cause,
    });
  }
}
