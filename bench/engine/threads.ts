/**
 * The section with worker threads, on the small set of keys: gets from one and from two threads, and reads and writes (80/20) from eight. Only peers of
 * `THREADED_PEERS` have a plan. The rate is that of all threads together; latency is what one thread waits.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { z } from 'zod';
import { LatencyHistogram } from '../latency.ts';
import type { BenchResult } from '../result.ts';
import { Data, KeySet } from './data.ts';
import type { Task } from './protocol.ts';
import { Cases, repeated, type Section } from './section.ts';
import { type Stretch, toStretch } from './stretch.ts';
import { THREADED_PEERS, type ThreadOwner } from './threads/threaded_peer.ts';

const PROGRAM = fileURLToPath(new URL('./threads/worker.js', import.meta.url));
const CASES: Readonly<Record<string, { readonly threads: number; readonly readShare: number }>> = {
  'embedded get 1 thread': { threads: 1, readShare: 1 },
  'embedded get 2 threads': { threads: 2, readShare: 1 },
  'embedded mixed 8 threads': { threads: 8, readShare: 0.8 },
};

const answerSchema = z.object({
  operations: z.number(),
  elapsedMs: z.number(),
  counts: z.instanceof(Float64Array),
});

/** The next message of a worker; its error, or its end, fails. */
function nextMessage(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', (code) => reject(new Error(`a worker ended with ${code}`)));
  });
}

export class ThreadsSection implements Section {
  readonly plan: readonly string[];
  readonly #task: Task;
  readonly #cases: Cases;
  #owner: ThreadOwner | undefined;
  readonly #warm = new Set<string>();

  constructor(task: Task) {
    const possible = Object.hasOwn(THREADED_PEERS, task.peer);
    this.plan = possible ? ['load', ...repeated(task.rounds + 1, Object.keys(CASES))] : [];
    this.#task = task;
    this.#cases = new Cases(task.peer);
  }

  async step(name: string): Promise<void> {
    const { peer, directory, keys } = this.#task;
    if (name === 'load') {
      const threaded = await THREADED_PEERS[peer]!();
      this.#owner = await threaded.openOwner(
        join(directory, 'store'),
        new Data(new KeySet(keys, 'shuffled')),
      );
      for (let n = 0; n < keys; n++) await this.#owner.put(n);
      return;
    }
    const { threads, readShare } = CASES[name]!;
    const stretch = await this.#run(threads, readShare);
    if (this.#warm.has(name)) await this.#cases.add(name, stretch, this.#owner!.note);
    this.#warm.add(name);
  }

  /** Starts workers, has all of them work at the same time, and ends them. */
  async #run(threads: number, readShare: number): Promise<Stretch> {
    const { peer, keys, seconds } = this.#task;
    const handles = await Promise.all(Array.from({ length: threads }, (_, i) => this.#owner!.handle(i)));
    const workers = handles.map(({ message, transfer }, i) => {
      const workerData = { peer, message, keys, seconds: seconds / 2, seed: i * 7_919 + 1 };
      return new Worker(PROGRAM, { workerData, transferList: [...(transfer ?? [])] });
    });
    try {
      await Promise.all(workers.map(nextMessage));
      const startedMs = performance.now();
      const answers = workers.map(nextMessage);
      for (const worker of workers) worker.postMessage({ go: readShare });
      const measured = (await Promise.all(answers)).map((answer) => answerSchema.parse(answer));
      const latency = new LatencyHistogram();
      for (const { counts } of measured) latency.add(LatencyHistogram.fromCounts(counts));
      const operations = measured.reduce((sum, answer) => sum + answer.operations, 0);
      const opsPerSecond = measured.reduce(
        (sum, answer) => sum + (answer.operations * 1_000) / answer.elapsedMs,
        0,
      );
      return { ...toStretch(operations, startedMs, performance.now(), latency), opsPerSecond };
    } finally {
      await Promise.all(workers.map(endWorker));
    }
  }

  results(): readonly BenchResult[] {
    return this.#cases.results();
  }

  async close(): Promise<void> {
    this.#cases.close();
    await this.#owner?.close();
    await rm(this.#task.directory, { recursive: true, force: true });
  }
}

/** Lets a worker close its end: a thread that is torn down in the middle of native code can take the process with it. */
function endWorker(worker: Worker): Promise<void> {
  return new Promise((resolve) => {
    if (worker.threadId < 0) resolve();
    worker.once('exit', () => resolve());
    worker.postMessage({ stop: true });
  });
}
