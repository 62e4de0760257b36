/**
 * Runs jobs on one thread of its own (job_worker.ts), so that flushes and merges take nothing from the thread that serves requests. The memtable's memory is
 * shared with it, not copied. For the real disk only: the other thread has a disk of its own.
 *
 * Invariants: the thread begins with the first job and ends with `close`; a thread that dies fails its jobs and all later ones, with STORAGE_FAILED: it is never
 * replaced in silence, as nobody knows what it left half done; an idle thread does not keep the process alive, a job and a closing do; the program's stdout is left alone, its stderr is only
 * touched when the thread has something to say (warnings of Node).
 */
import { Worker } from 'node:worker_threads';
import { KvError } from '../../errors.ts';
import type { TableInfo } from './format.ts';
import { errorOf, type FromWorker, type ToWorker } from './job_messages.ts';
import type { FlushJob, JobRunner, MergeControl, MergeJob } from './job_runner.ts';

export interface WorkerRunnerOptions {
  /** The script of the thread, where it is not job_worker.ts. */
  readonly script?: URL;
}

interface PendingJob {
  readonly resolve: (tables: TableInfo[]) => void;
  readonly reject: (error: Error) => void;
  /** Undefined for a flush. */
  readonly control: MergeControl | undefined;
}

export class WorkerRunner implements JobRunner {
  readonly #script: URL;
  #worker: Worker | undefined;
  #ended: Promise<void> | undefined;
  #death: KvError | undefined;
  #closing = false;
  #lastId = 0;
  readonly #jobs = new Map<number, PendingJob>();

  constructor(options: WorkerRunnerOptions = {}) {
    this.#script = options.script ?? new URL('./job_worker.js', import.meta.url);
  }

  flush(job: FlushJob): Promise<TableInfo[]> {
    return this.#order((id) => ({ type: 'flush', id, job }), undefined);
  }

  merge(job: MergeJob, control: MergeControl): Promise<TableInfo[]> {
    return this.#order((id) => ({ type: 'merge', id, job }), control);
  }

  async close(): Promise<void> {
    this.#closing = true;
    if (this.#worker === undefined || this.#death !== undefined) return this.#ended;
    this.#worker.ref();
    this.#send({ type: 'close' });
    await this.#ended;
  }

  async #order(message: (id: number) => ToWorker, control: MergeControl | undefined): Promise<TableInfo[]> {
    if (this.#closing) throw new KvError('CLOSED', 'the tree is closed');
    if (this.#death !== undefined) throw this.#death;
    this.#worker ??= this.#start();
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#jobs.set(id, { resolve, reject, control });
      this.#holdProcess();
      this.#send(message(id));
    });
  }

  #start(): Worker {
    // With streams of its own: otherwise the thread would write through the program's stdout, which for that is switched to writes that do not wait, for everybody who shares it.
    const worker = new Worker(this.#script, { name: 'kvorum tables', stdout: true, stderr: true });
    for (const stream of [worker.stdout, worker.stderr])
      stream.on('data', (chunk: Uint8Array) => process.stderr.write(chunk));
    worker.unref();
    worker.on('message', (message: FromWorker) => this.#receive(message));
    worker.on('error', (error: unknown) => this.#die(error));
    this.#ended = new Promise((resolve) => {
      worker.on('exit', (code) => {
        if (!this.#closing || this.#jobs.size > 0) this.#die(new Error(`it exited with code ${code}`));
        resolve();
      });
    });
    return worker;
  }

  #send(message: ToWorker): void {
    this.#worker?.postMessage(message);
  }

  #receive(message: FromWorker): void {
    const job = this.#jobs.get(message.id);
    if (job === undefined) return;
    if (message.type === 'take') {
      void this.#grant(message.id, message.bytes, job);
      return;
    }
    this.#jobs.delete(message.id);
    this.#holdProcess();
    if (message.type === 'done') job.resolve([...message.tables]);
    else job.reject(errorOf(message.error));
  }

  async #grant(id: number, bytes: number, { control }: PendingJob): Promise<void> {
    await control?.take(bytes);
    this.#send(control?.cancelled === true ? { type: 'cancel', id } : { type: 'granted', id });
  }

  #die(cause: unknown): void {
    const message = cause instanceof Error ? cause.message : String(cause);
    this.#death ??= new KvError('STORAGE_FAILED', `the thread that writes tables died: ${message}`, {
      cause,
    });
    for (const job of this.#jobs.values()) job.reject(this.#death);
    this.#jobs.clear();
  }

  #holdProcess(): void {
    if (this.#closing || this.#jobs.size > 0) this.#worker?.ref();
    else this.#worker?.unref();
  }
}
