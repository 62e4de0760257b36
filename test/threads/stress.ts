/** The stress test of reader threads: one writer at full speed over small memtables, readers that check every read, threads that die in the middle. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ConfigInput } from '../../src/config.ts';
import { type EmbeddedStore, open } from '../../src/embedded.ts';
import { KvError } from '../../src/errors.ts';
import type { ReaderThread } from '../../src/threads/reader_thread.ts';
import type { StressArgs } from './stress_reader.ts';
import { keyOf, pairOf, stressValue, WORD, WORDS } from './stress_schedule.ts';

const MODULE = new URL('./stress_reader.js', import.meta.url);
/** Transactions under way at a time. */
const WINDOW = 32;

export interface StressOptions {
  /** At least; until `minGets` reads were done, at most ten times as long. */
  readonly seconds: number;
  readonly minGets: number;
  readonly readers: number;
  /** A thread is terminated and started anew so often. */
  readonly killEveryMs: number;
  readonly config?: ConfigInput['storage'];
}

export interface StressReport {
  gets: number;
  snapshots: number;
  scans: number;
  /** Snapshots whose revision was compacted while they were read. */
  compacted: number;
  writes: number;
  kills: number;
  /** Resident memory when a third of the time was over, and at the end. */
  earlyBytes: number;
  lateBytes: number;
}

export async function stress(options: StressOptions): Promise<StressReport> {
  const path = mkdtempSync(join(tmpdir(), 'kvorum-stress-'));
  const store = await open({
    path,
    readers: options.readers,
    config: {
      storage: { durability: 'os', memtableSizeBytes: 1024 * 1024, logRetainBytes: 0, ...options.config },
      node: { historyRevisions: 5_000 },
    },
  });
  try {
    return await run(store, options);
  } finally {
    await store.close();
    rmSync(path, { recursive: true, force: true });
  }
}

async function run(store: EmbeddedStore, options: StressOptions): Promise<StressReport> {
  const words = new Int32Array(new SharedArrayBuffer(4 * WORDS));
  const { revision } = await store.put('first', '');
  const report: StressReport = {
    gets: 0,
    snapshots: 0,
    scans: 0,
    compacted: 0,
    writes: 0,
    kills: 0,
    earlyBytes: 0,
    lateBytes: 0,
  };
  let stopped = false;
  let failure: unknown;
  const fail = (error: unknown): void => {
    failure ??= error;
    stopped = true;
  };
  const threads = store.readers.map((thread, seed) => {
    const args: StressArgs = { words: words.buffer, firstRevision: revision + 1, seed };
    return keepReading(thread, args, () => stopped).catch(fail);
  });
  const started = performance.now();
  const elapsedMs = (): number => performance.now() - started;
  const killer = setInterval(() => {
    const victim = store.readers[report.kills % store.readers.length]!;
    if (!victim.running) return;
    report.kills++;
    victim.terminate().catch(fail);
  }, options.killEveryMs);
  try {
    const endMs = options.seconds * 1000;
    await write(store, words, revision, report, () => {
      if (report.earlyBytes === 0 && elapsedMs() > endMs / 3) report.earlyBytes = process.memoryUsage.rss();
      const enough = words[WORD.GETS]! >= options.minGets && report.kills > 1;
      return stopped || elapsedMs() > (enough ? endMs : 10 * endMs);
    });
    report.lateBytes = process.memoryUsage.rss();
  } finally {
    stopped = true;
    clearInterval(killer);
    Atomics.store(words, WORD.STOP, 1);
    await Promise.all(threads);
  }
  if (failure !== undefined) throw failure;
  report.gets = words[WORD.GETS]!;
  report.snapshots = words[WORD.SNAPSHOTS]!;
  report.scans = words[WORD.SCANS]!;
  report.compacted = words[WORD.COMPACTED]!;
  return report;
}

/** Runs the checks in a thread, again whenever it was terminated. */
async function keepReading(thread: ReaderThread, args: StressArgs, isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    try {
      await thread.run(MODULE, args);
    } catch (error) {
      if (!(error instanceof KvError && error.code === 'UNAVAILABLE' && error.cause === undefined))
        throw error;
      await thread.terminate();
    }
  }
}

async function write(
  store: EmbeddedStore,
  words: Int32Array,
  before: number,
  report: StressReport,
  isOver: () => boolean,
): Promise<void> {
  let revision = before;
  while (!isOver()) {
    const window: Promise<void>[] = [];
    for (let i = 0; i < WINDOW; i++) {
      const wanted = ++revision;
      const pair = pairOf(wanted);
      Atomics.store(words, WORD.BEGUN, wanted);
      const operations = ([0, 1] as const).map(
        (half) => ({ type: 'put', key: keyOf(pair, half), value: stressValue(pair, half, wanted) }) as const,
      );
      window.push(
        store.batch(operations).then((result) => {
          if (result.revision !== wanted) throw new Error(`revision ${result.revision} instead of ${wanted}`);
          Atomics.store(words, WORD.ACKNOWLEDGED, wanted);
        }),
      );
    }
    await Promise.all(window);
    report.writes += WINDOW;
    await new Promise((resolve) => setImmediate(resolve));
  }
}
