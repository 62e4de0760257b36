/**
 * Micro benchmark of the memtable: 1 KiB values under 16-byte keys, one thread, against a JavaScript Map that copies values in and
 * out and against LMDB.
 *
 * Fairness: every peer starts from the same thing, the key as bytes (so it comes off a socket); the Map needs it as a string, and making
 * that string is part of its work. All peers see the same keys in the same shuffled order, fresh containers each round, and the median round counts.
 * Latencies are taken over batches of 64 operations (a clock read costs as much as an operation) and are means within a batch.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { pathToFileURL } from 'node:url';
import { open } from 'lmdb';
import { MemtablePool } from '../../src/storage/memtable_pool.ts';

export interface BenchRow {
  peer: string;
  case: string;
  opsPerSecond: number;
  p50Us: number;
  p95Us: number;
  p99Us: number;
  rssMb: number;
  note: string;
}

const KEYS = 100_000;
const VALUE_BYTES = 1024;
const BATCH = 64;

interface Peer {
  readonly name: string;
  readonly note: string;
  /** An empty container. */
  begin(): void;
  put(key: Buffer, value: Buffer, order: number): void;
  get(key: Buffer): number;
  getNoCopy?(key: Buffer): number;
  /** Wraps all puts of a round, where the peer has transactions. */
  inTransaction?(work: () => void): void;
  end(): void;
}

/** Sixteen bytes, shuffled, always the same ones. */
function makeKeys(): Buffer[] {
  const keys = Array.from({ length: KEYS }, (_, i) =>
    Buffer.from(`key-${String(i).padStart(12, '0')}`, 'latin1'),
  );
  let state = 42;
  for (let i = keys.length - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = state % (i + 1);
    [keys[i], keys[j]] = [keys[j]!, keys[i]!];
  }
  return keys;
}

function memtablePeer(): Peer {
  const pool = new MemtablePool({ sizeBytes: 160 * 1024 * 1024 }, 1);
  let memtable = pool.acquire();
  return {
    name: 'kvorum',
    note: 'memtable, recycled memory',
    begin() {
      pool.release(memtable);
      memtable = pool.acquire();
    },
    put: (key, value, order) => memtable.put(key, value, order, order, 1, 0, 0, 0n, 0),
    get: (key) => memtable.getCopy(key)!.length,
    getNoCopy: (key) => memtable.getView(key)!.length,
    end: () => {},
  };
}

function mapPeer(): Peer {
  let map = new Map<string, Buffer>();
  return {
    name: 'js-map',
    note: 'Map<string, Buffer>, latin1 keys',
    begin() {
      map = new Map();
    },
    put(key, value) {
      map.set(key.toString('latin1'), Buffer.from(value));
    },
    get: (key) => Buffer.from(map.get(key.toString('latin1'))!).length,
    getNoCopy: (key) => map.get(key.toString('latin1'))!.length,
    end: () => {
      map = new Map();
    },
  };
}

function lmdbPeer(): Peer {
  const directory = mkdtempSync(join(tmpdir(), 'kvorum-bench-'));
  const db = open<Buffer, Buffer>({
    path: directory,
    noSync: true,
    encoding: 'binary',
    keyEncoding: 'binary',
    compression: false,
  });
  return {
    name: 'lmdb',
    note: 'noSync; all puts in one transaction; get = getBinary, no copy = getBinaryFast',
    begin: () => db.clearSync(),
    put: (key, value) => {
      db.putSync(key, value);
    },
    inTransaction: (work) => db.transactionSync(work),
    get: (key) => db.getBinary(key)!.length,
    getNoCopy: (key) => db.getBinaryFast(key)!.length,
    end() {
      void db.close().then(() => rmSync(directory, { recursive: true, force: true }));
    },
  };
}

interface Round {
  readonly ms: number;
  readonly batchUs: Float64Array;
}

/** One pass over all keys. */
function pass(keys: readonly Buffer[], operation: (key: Buffer, i: number) => number): Round {
  const batchUs = new Float64Array(Math.ceil(keys.length / BATCH));
  let sum = 0;
  const started = performance.now();
  let batchStarted = started;
  for (let i = 0; i < keys.length; ) {
    const batchEnd = Math.min(i + BATCH, keys.length);
    const batch = (i / BATCH) | 0;
    for (; i < batchEnd; i++) sum += operation(keys[i]!, i);
    const now = performance.now();
    batchUs[batch] = ((now - batchStarted) * 1000) / BATCH;
    batchStarted = now;
  }
  if (sum !== keys.length * VALUE_BYTES) throw new Error('the benchmark read something else than it wrote');
  return { ms: performance.now() - started, batchUs };
}

function fill(peer: Peer, keys: readonly Buffer[], values: readonly Buffer[]): Round {
  let round: Round = { ms: 0, batchUs: new Float64Array(0) };
  const work = () => {
    round = pass(keys, (key, order) => {
      const value = values[order & 63]!;
      peer.put(key, value, order + 1);
      return value.length;
    });
  };
  if (peer.inTransaction === undefined) work();
  else peer.inTransaction(work);
  return round;
}

function toRow(peer: Peer, name: string, rounds: Round[]): BenchRow {
  const round = rounds.toSorted((a, b) => a.ms - b.ms)[rounds.length >> 1]!;
  const sorted = round.batchUs.toSorted();
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
  return {
    peer: peer.name,
    case: name,
    opsPerSecond: Math.round((KEYS * 1000) / round.ms),
    p50Us: at(0.5),
    p95Us: at(0.95),
    p99Us: at(0.99),
    rssMb: Math.round(process.memoryUsage.rss() / 1e6),
    note: peer.note,
  };
}

/** Measures for about `seconds` in all (from 3), the peers taking turns so that a slow spell of the machine hits all of them. */
export async function run(emit: (row: BenchRow) => void, options: { seconds?: number } = {}): Promise<void> {
  const until = performance.now() + (options.seconds ?? 6) * 1000;
  const keys = makeKeys();
  const values = Array.from({ length: 64 }, (_, i) => Buffer.alloc(VALUE_BYTES, i + 1));
  const peers = [memtablePeer(), mapPeer(), lmdbPeer()];
  const rounds = peers.map(() => ({ put: [] as Round[], get: [] as Round[], view: [] as Round[] }));
  for (let round = 0; round < 3 || performance.now() < until; round++) {
    for (const [i, peer] of peers.entries()) {
      peer.begin();
      const put = fill(peer, keys, values);
      const get = pass(keys, (key) => peer.get(key));
      const view = pass(keys, (key) => peer.getNoCopy?.(key) ?? 0);
      if (round === 0) continue; // warm-up: compilation, first touch of memory
      rounds[i]!.put.push(put);
      rounds[i]!.get.push(get);
      rounds[i]!.view.push(view);
      // Lets finalizers and lmdb's own work run between the turns.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  for (const [i, peer] of peers.entries()) {
    emit(toRow(peer, 'memtable put', rounds[i]!.put));
    emit(toRow(peer, 'memtable get', rounds[i]!.get));
    emit(toRow(peer, 'memtable get no copy', rounds[i]!.view));
    peer.end();
  }
}

/** What the memtable is held to, as ratios of rows of one run. */
function ratios(rows: readonly BenchRow[]): string {
  const speed = (peer: string, name: string) =>
    rows.find((row) => row.peer === peer && row.case === `memtable ${name}`)?.opsPerSecond ?? 0;
  const line = (name: string, peer: string, peerName: string, wanted: number) =>
    `${name} / ${peer} ${peerName}: ${(speed('kvorum', name) / speed(peer, peerName)).toFixed(2)} (wanted: ${wanted})\n`;
  return (
    line('put', 'js-map', 'put', 0.5) +
    line('get', 'js-map', 'get', 0.9) +
    line('get no copy', 'lmdb', 'get', 2)
  );
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const rows: BenchRow[] = [];
  await run((row) => rows.push(row));
  for (const row of rows) {
    const speed = String(row.opsPerSecond).padStart(9);
    const latency = `p50 ${row.p50Us.toFixed(2)} us  p99 ${row.p99Us.toFixed(2)} us`;
    process.stdout.write(
      `${row.peer.padEnd(8)} ${row.case.padEnd(22)} ${speed} ops/s  ${latency}  rss ${row.rssMb} MB  ${row.note}\n`,
    );
  }
  process.stdout.write(ratios(rows));
}
