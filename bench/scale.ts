/**
 * Many watchers and many leases on one node: what they cost its processor and its memory.
 *
 *   watchers   10,000 of them, each on a key of its own, while 1,000 puts a second go to these keys: every event has to arrive, once
 *   leases     100,000 of them, each renewed three times within its time to live
 *
 * One `kvorum serve` with fsync; the clients live in this process. The processor time and memory are the server's, read from /proc.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '../src/index.ts';
import { type KvorumCluster, startKvorum } from './kvorum_cluster.ts';
import { LatencyHistogram } from './latency.ts';
import { residentMb } from './processes.ts';
import type { BenchOptions, Emit } from './result.ts';

const WATCHERS = 10_000;
const CONNECTIONS = 4;
const EVENTS_PER_SECOND = 1_000;
const LEASES = 100_000;
const LEASE_TTL_MS = 60_000;
const AT_ONCE = 256;
/** Garbage outside V8's heap goes with a major collection, which here is due every hundred seconds: each half has to see one. */
const WATCH_SECONDS = 240;
const ARRIVE_LIMIT_MS = 30_000;
/** Clock ticks of /proc a second: a constant of Linux on every platform that Node runs on. */
const TICKS_PER_SECOND = 100;

export async function run(emit: Emit, options: BenchOptions): Promise<void> {
  const seconds = options.seconds * options.rounds;
  const cluster = await startKvorum(options, 1);
  try {
    await watchers(cluster, Math.max(WATCH_SECONDS, seconds), emit);
    await leases(cluster, seconds, emit);
  } finally {
    await cluster.stop();
  }
}

async function watchers(cluster: KvorumCluster, seconds: number, emit: Emit): Promise<void> {
  const { pids, store } = cluster;
  const ended = new AbortController();
  // A connection takes 4,096 streams.
  const stores = await Promise.all(Array.from({ length: CONNECTIONS }, () => connect(cluster.options)));
  const seen = new Uint32Array(WATCHERS);
  const latency = new LatencyHistogram();
  const sentMs = new Float64Array(WATCHERS);
  const put = new Uint32Array(WATCHERS);
  let wrong = 0;
  const watch = async (i: number): Promise<void> => {
    for await (const { value } of stores[i % CONNECTIONS]!.watch({
      key: keyOf(i),
      fromRevision: 1,
      signal: ended.signal,
    })) {
      // Each value is the number of its put: one that is lost, doubled or out of order shows.
      if (Number(Buffer.from(value ?? '').toString()) !== ++seen[i]!) wrong++;
      latency.recordMs(performance.now() - sentMs[i]!);
    }
  };
  const watching = Promise.allSettled(Array.from({ length: WATCHERS }, (_, i) => watch(i)));
  // From the first revision on: a watch that begins after a put sees it all the same.
  await eachOf(WATCHERS, async (i) => {
    sentMs[i] = performance.now();
    put[i] = 1;
    await store.put(keyOf(i), '1');
  });
  await arrived(seen, put);
  const before = usage(pids);
  const beganMs = performance.now();
  let sent = 0;
  /** The largest in each half. */
  const peaksMb = [0, 0];
  let lookedMs = 0;
  const failures: unknown[] = [];
  while (performance.now() - beganMs < seconds * 1_000) {
    const elapsedMs = performance.now() - beganMs;
    if (elapsedMs - lookedMs >= 1_000) {
      lookedMs = elapsedMs;
      const half = elapsedMs < seconds * 500 ? 0 : 1;
      peaksMb[half] = Math.max(peaksMb[half]!, usage(pids).rssMb);
    }
    const due = ((performance.now() - beganMs) / 1_000) * EVENTS_PER_SECOND;
    for (; sent < due; sent++) {
      const i = sent % WATCHERS;
      sentMs[i] = performance.now();
      store.put(keyOf(i), String(++put[i]!)).catch((error: unknown) => failures.push(error));
    }
    await sleep(2);
  }
  await arrived(seen, put);
  const after = usage(pids);
  if (wrong > 0 || failures.length > 0)
    throw new Error(
      `${wrong} events were lost, doubled or out of order; puts that failed: ${failures.length} ${failures[0]}`,
    );
  emit({
    peer: 'kvorum',
    case: `watchers ${WATCHERS} first half`,
    rssMb: peaksMb[0],
    note: 'the largest RSS in the first half of the same',
  });
  emit({
    peer: 'kvorum',
    case: `watchers ${WATCHERS}`,
    opsPerSecond: sent / after.sinceSeconds(before),
    p50Us: latency.percentileUs(0.5),
    p99Us: latency.percentileUs(0.99),
    cpuPercent: after.percentOfCore(before),
    rssMb: peaksMb[1],
    note: `one node, fsync: events, every one seen once, in ${seconds} s; the largest RSS in the second half; ${before.rssMb.toFixed(0)} MiB at the beginning, ${after.rssMb.toFixed(0)} at the end`,
  });
  ended.abort();
  await watching;
  await Promise.all(stores.map((opened) => opened.close()));
}

async function leases(cluster: KvorumCluster, seconds: number, emit: Emit): Promise<void> {
  const { store, pids } = cluster;
  const ids: bigint[] = [];
  await eachOf(LEASES, async () => {
    ids.push((await store.leases.grant({ ttlMs: LEASE_TTL_MS })).id);
  });
  let lost = 0;
  const kept: Disposable[] = [];
  // Spread over a third of their time, as leases of many processes are.
  const beganMs = performance.now();
  await eachOf(LEASES, async (i) => {
    const dueMs = beganMs + ((LEASE_TTL_MS / 3) * i) / LEASES;
    if (dueMs > performance.now()) await sleep(dueMs - performance.now());
    const lease = await store.leases.keepAlive(ids[i]!);
    lease.signal.addEventListener('abort', () => lost++);
    kept.push(lease);
  });
  const before = usage(pids);
  await sleep(Math.max(seconds * 1_000, LEASE_TTL_MS));
  const after = usage(pids);
  if (lost > 0) throw new Error(`${lost} of ${LEASES} leases ended although they were kept alive`);
  emit({
    peer: 'kvorum',
    case: `leases ${LEASES}`,
    opsPerSecond: LEASES / (LEASE_TTL_MS / 3 / 1_000),
    cpuPercent: after.percentOfCore(before),
    rssMb: after.rssMb,
    note: `one node, fsync: renewals of leases of ${LEASE_TTL_MS / 1_000} s; RSS grew by ${(after.rssMb - before.rssMb).toFixed(0)} MiB`,
  });
  for (const lease of kept) lease[Symbol.dispose]();
}

const keyOf = (i: number): string => `watched/${String(i).padStart(6, '0')}`;

/** Does something for 0, 1, ... below `count`, some at once. */
async function eachOf(count: number, work: (i: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let i = next++; i < count; i = next++) await work(i);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

async function arrived(seen: Uint32Array, put: Uint32Array): Promise<void> {
  const end = performance.now() + ARRIVE_LIMIT_MS;
  while (seen.some((count, i) => count < put[i]!)) {
    if (performance.now() > end) throw new Error('events are missing');
    await sleep(10);
  }
}

class Usage {
  readonly atMs = performance.now();
  readonly cpuSeconds: number;
  readonly rssMb: number;

  constructor(cpuSeconds: number, rssMb: number) {
    this.cpuSeconds = cpuSeconds;
    this.rssMb = rssMb;
  }
  sinceSeconds(before: Usage): number {
    return (this.atMs - before.atMs) / 1_000;
  }
  percentOfCore(before: Usage): number {
    return (100 * (this.cpuSeconds - before.cpuSeconds)) / this.sinceSeconds(before);
  }
}

/** Processor time and memory of processes so far. REQUIRES: /proc. */
function usage(pids: readonly number[]): Usage {
  let ticks = 0;
  for (const pid of pids) {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return new Usage(ticks / TICKS_PER_SECOND, residentMb(pids) ?? Number.NaN);
}
