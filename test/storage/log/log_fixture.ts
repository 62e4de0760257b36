/** What the log's tests share: virtual time, seeded chance, entries, and a log on a disk in memory. */
import type { Ports, TimerHandle } from '../../../src/ports.ts';
import { ENTRY_COMMAND, type Entry } from '../../../src/raft/types.ts';
import type { Disk } from '../../../src/storage/disk.ts';
import { SegmentedLog, type SegmentedLogOptions } from '../../../src/storage/log/segmented_log.ts';

export const LOG_PATH = '/data/log';

/** Uniform in [0, 1); mulberry32. */
export function seededRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

interface Timer {
  atMs: number;
  run: () => void;
}

/** Ports whose time stands still until `advance`. */
export class VirtualPorts implements Ports {
  nowMs = 0;
  readonly #timers = new Set<Timer>();
  readonly #next: () => number;
  readonly clock = { wallMs: () => this.nowMs, monotonicMs: () => this.nowMs };
  readonly random = {
    next: () => this.#next(),
    bytes: (count: number) => Uint8Array.from({ length: count }, () => Math.floor(this.#next() * 256)),
  };
  readonly timers = {
    after: (delayMs: number, run: () => void): TimerHandle => {
      const timer: Timer = { atMs: this.nowMs + delayMs, run };
      this.#timers.add(timer);
      return { cancel: () => void this.#timers.delete(timer) };
    },
    every: (): TimerHandle => {
      throw new Error('not used by the log');
    },
    soon: (run: () => void) => queueMicrotask(run),
    afterIo: (run: () => void) => void setImmediate(run),
  };

  constructor(seed = 1) {
    this.#next = seededRandom(seed);
  }

  get pendingTimers(): number {
    return this.#timers.size;
  }

  /** Lets time pass, timer by timer, with all that hangs on each. */
  async advance(byMs: number): Promise<void> {
    const endMs = this.nowMs + byMs;
    for (;;) {
      const due = [...this.#timers].filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (due === undefined) break;
      this.#timers.delete(due);
      this.nowMs = Math.max(this.nowMs, due.atMs);
      due.run();
      await settle();
    }
    this.nowMs = endMs;
    await settle();
  }
}

/** Lets everything that needs no time happen. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 4; i++) await new Promise((resolve) => setImmediate(resolve));
}

export function entry(index: number, term: number, sizeBytes = 20): Entry {
  const data = new Uint8Array(sizeBytes);
  for (let i = 0; i < sizeBytes; i++) data[i] = (index * 31 + term * 7 + i) & 255;
  return { index, term, kind: ENTRY_COMMAND, data };
}

export function entries(from: number, to: number, term: number, sizeBytes = 20): Entry[] {
  return Array.from({ length: to - from + 1 }, (_, i) => entry(from + i, term, sizeBytes));
}

export function openLog(disk: Disk, options: Partial<SegmentedLogOptions> = {}): Promise<SegmentedLog> {
  return SegmentedLog.open({
    disk,
    path: LOG_PATH,
    durability: 'fsync',
    relaxedFlushMs: 50,
    segmentSizeBytes: 4096,
    preallocateBytes: 2048,
    cacheBytes: 1024,
    ports: new VirtualPorts(),
    ...options,
  });
}

/** Everything that a log says, for comparing. */
export function contents(log: SegmentedLog): {
  first: number;
  startTerm: number | undefined;
  entries: string[];
} {
  const first = log.firstIndex();
  const last = log.lastIndex();
  const all = last >= first ? log.entries(first, last + 1, Number.MAX_SAFE_INTEGER) : [];
  return {
    first,
    startTerm: log.term(first - 1),
    entries: all.map(
      ({ index, term, kind, data }) => `${index}:${term}:${kind}:${Buffer.from(data).toString('hex')}`,
    ),
  };
}
