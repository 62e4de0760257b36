/**
 * The thread that flushes and merges (started by worker_runner.ts): the inline runner with a disk of its own that it may block on.
 *
 * Invariants: jobs answer once, with tables or with an error; a merge asks for leave before every portion of work, which is also when this thread hears of
 * flushes that wait and of a cancellation.
 */
import { parentPort } from 'node:worker_threads';
import { KvError } from '../../errors.ts';
import { NodeDisk } from '../node_disk.ts';
import type { MaybePromise } from '../record.ts';
import type { TableInfo } from './format.ts';
import { type FromWorker, plainError, type ToWorker } from './job_messages.ts';
import { InlineRunner, type MergeControl } from './job_runner.ts';

/** Leave is asked for in portions: a message for every step would cost more than the step. */
const PORTION_BYTES = 1024 * 1024;

/** A merge here, as the other thread steers it. */
class RemoteControl implements MergeControl {
  cancelled = false;
  readonly #ask: (bytes: number) => void;
  #allowed = 0;
  #answered: (() => void) | undefined;

  constructor(ask: (bytes: number) => void) {
    this.#ask = ask;
  }

  take(bytes: number): MaybePromise<void> {
    this.#allowed -= bytes;
    if (this.#allowed >= 0 || this.cancelled) return undefined;
    const portion = Math.max(PORTION_BYTES, -this.#allowed);
    this.#allowed += portion;
    return new Promise<void>((resolve) => {
      this.#answered = resolve;
      this.#ask(portion);
    });
  }

  answer(cancelled: boolean): void {
    if (cancelled) this.cancelled = true;
    const answered = this.#answered;
    this.#answered = undefined;
    answered?.();
  }
}

const port = parentPort;
if (port === null) throw new KvError('INTERNAL', 'job_worker.ts runs as a worker thread only');
const runner = new InlineRunner({ disk: new NodeDisk(), blocking: true });
const merges = new Map<number, RemoteControl>();

function tell(message: FromWorker): void {
  port?.postMessage(message);
}

async function answer(id: number, work: Promise<TableInfo[]>): Promise<void> {
  try {
    tell({ type: 'done', id, tables: await work });
  } catch (error) {
    tell({ type: 'failed', id, error: plainError(error) });
  } finally {
    merges.delete(id);
  }
}

port.on('message', (message: ToWorker) => {
  switch (message.type) {
    case 'flush':
      void answer(message.id, runner.flush(message.job));
      break;
    case 'merge': {
      const control = new RemoteControl((bytes) => tell({ type: 'take', id: message.id, bytes }));
      merges.set(message.id, control);
      void answer(message.id, runner.merge(message.job, control));
      break;
    }
    case 'granted':
      merges.get(message.id)?.answer(false);
      break;
    case 'cancel':
      merges.get(message.id)?.answer(true);
      break;
    case 'close':
      port.close();
      break;
  }
});
