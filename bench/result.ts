/**
 * What a benchmark reports and what it is told: the contract between bench/main.ts and the modules that measure.
 *
 * A module exports `run(emit, options): Promise<void>` and calls `emit` once per peer and case. The same case name stands for the same work for
 * every peer, so that ratios can be taken by name (bars.ts).
 */
export interface BenchResult {
  /** Who was measured: 'kvorum', 'lmdb', 'etcd', or the part of Kvorum in a micro benchmark. */
  readonly peer: string;
  /** What was measured; the same text for every peer. */
  readonly case: string;
  /** Operations per second; undefined where a case measures memory only. */
  readonly opsPerSecond?: number | undefined;
  readonly p50Us?: number | undefined;
  readonly p95Us?: number | undefined;
  readonly p99Us?: number | undefined;
  /** Keys and values moved, in millions of bytes a second, where that says more than operations. */
  readonly mbPerSecond?: number | undefined;
  /** Per cent of the measured time that the process spent collecting garbage. */
  readonly gcPercent?: number | undefined;
  /** Of one core, by the measured process. */
  readonly cpuPercent?: number | undefined;
  /** Memory beyond key and value, for one key. */
  readonly bytesPerKey?: number | undefined;
  /** Resident memory of the measured process or processes, MiB. */
  readonly rssMb?: number | undefined;
  /** Sizes, settings and whatever else a reader needs to judge the number. */
  readonly note?: string | undefined;
}

export type Emit = (result: BenchResult) => void;

export interface BenchOptions {
  /** How long one timed round lasts, about. */
  readonly seconds: number;
  /** Rounds of which the median counts. */
  readonly rounds: number;
  /** Measure a three-node etcd beside Kvorum where its binary is installed. */
  readonly etcd: boolean;
  /** Which other engines are measured beside Kvorum's. */
  readonly peers: 'none' | 'lmdb' | 'all';
  /** Write the chart of the engine benchmark into docs/. */
  readonly chart: boolean;
  /** Tell of every step of the engine benchmark on standard error: its rows come late. */
  readonly progress: boolean;
  /** Keys of the small cases of the engine benchmark, and of the large ones. */
  readonly keys: number;
  readonly largeKeys: number;
  /** Sections of the engine benchmark to run; none named: all. */
  readonly sections: readonly string[];
  /** A fresh directory for data, on the disk that every peer uses; removed at the end. */
  readonly directory: string;
  /** A line for the reader that is no result, e.g. why something was skipped. */
  log(line: string): void;
}

export type BenchRun = (emit: Emit, options: BenchOptions) => Promise<void>;
