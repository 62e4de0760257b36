/**
 * How fast the log takes entries: single 1 KB entries written to the operating system, and 256 KB batches made durable.
 *
 *     node build/bench/micro/log.js
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ENTRY_COMMAND, type Entry } from '../../src/raft/types.ts';
import { realPorts } from '../../src/real_ports.ts';
import type { Durability } from '../../src/storage/log/batch.ts';
import { SegmentedLog } from '../../src/storage/log/segmented_log.ts';
import { NodeDisk } from '../../src/storage/node_disk.ts';

export interface LogBenchResult {
  readonly peer: string;
  readonly case: string;
  readonly opsPerSecond: number;
  readonly p50Us: number;
  readonly p95Us: number;
  readonly p99Us: number;
  readonly rssMb: number;
  readonly note: string;
}

export interface LogBenchOptions {
  /** How long each case runs. */
  readonly durationMs?: number;
  /** Where the log's directory is made; the disk that is measured. */
  readonly directory?: string;
}

interface Case {
  readonly name: string;
  readonly durability: Durability;
  readonly entryBytes: number;
  readonly note: string;
}

const CASES: readonly Case[] = [
  { name: 'log append os', durability: 'os', entryBytes: 1024, note: 'one entry of 1 KB an append' },
  { name: 'log append fsync 256', durability: 'fsync', entryBytes: 256 * 1024, note: '256 KB an append' },
];
/** An event loop turns now and then; so do we, or the background work would starve. */
const APPENDS_PER_TURN = 256;

async function runCase(spec: Case, directory: string, durationMs: number): Promise<LogBenchResult> {
  const path = join(mkdtempSync(join(directory, 'kvorum-log-')), 'log');
  const log = await SegmentedLog.open({
    disk: new NodeDisk(),
    path,
    durability: spec.durability,
    relaxedFlushMs: 50,
    segmentSizeBytes: 64 * 1024 * 1024,
    preallocateBytes: 8 * 1024 * 1024,
    cacheBytes: 32 * 1024 * 1024,
    ports: realPorts(),
  });
  const data = new Uint8Array(spec.entryBytes).fill(7);
  const samples: number[] = [];
  const started = performance.now();
  let count = 0;
  let index = 1;
  try {
    while (performance.now() - started < durationMs) {
      for (let i = 0; i < APPENDS_PER_TURN; i++) {
        const entry: Entry = { index, term: 1, kind: ENTRY_COMMAND, data };
        const before = performance.now();
        const done = log.append(undefined, [entry], true);
        if (done !== undefined) await done;
        samples.push(performance.now() - before);
        index++;
        count++;
        if (done !== undefined && performance.now() - started >= durationMs) break;
      }
      await new Promise((resolve) => setImmediate(resolve));
      if (log.sizeBytes() > 256 * 1024 * 1024) await log.cut(index - 1);
    }
    const seconds = (performance.now() - started) / 1000;
    samples.sort((a, b) => a - b);
    const at = (part: number): number =>
      Math.round(1e4 * (samples[Math.floor(part * samples.length)] ?? 0)) / 10;
    return {
      peer: 'kvorum',
      case: spec.name,
      opsPerSecond: Math.round(count / seconds),
      p50Us: at(0.5),
      p95Us: at(0.95),
      p99Us: at(0.99),
      rssMb: Math.round(process.memoryUsage.rss() / 1048576),
      note: spec.note,
    };
  } finally {
    await log.close();
    rmSync(join(path, '..'), { recursive: true, force: true });
  }
}

export async function run(
  emit: (result: LogBenchResult) => void,
  options: LogBenchOptions = {},
): Promise<void> {
  for (const spec of CASES)
    emit(await runCase(spec, options.directory ?? tmpdir(), options.durationMs ?? 2000));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await run((result) => console.log(JSON.stringify(result)));
}
