/** A process that is killed in the middle of flushes leaves a RocksDB tree that holds whole flushes only, and at least those that were acknowledged. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { RocksDbTree } from '../../src/storage/rocksdb/rocksdb_tree.ts';
import { test } from '../suite.ts';
import { plainRecord, runOf } from './record_model.ts';
import { disk, loadOrSkip, ports } from './rocksdb_lab.ts';

/** Records of one flush: enough for several batches. */
const ROWS = 3000;
const NEWEST = Number.MAX_SAFE_INTEGER;

function recordsOf(flush: number) {
  return Array.from({ length: ROWS }, (_, i) =>
    plainRecord(`key ${10_000 + i}`, (flush - 1) * ROWS + i + 1, new Uint8Array(300).fill(flush)),
  );
}

/** Flushes for ever, telling each flush that was acknowledged. */
async function flushUntilKilled(path: string): Promise<void> {
  const tree = await RocksDbTree.open({ disk, path, ports });
  for (let flush = (tree.durable?.index ?? 0) + 1; ; flush++) {
    await tree.flush(runOf(recordsOf(flush)), { index: flush, term: 1, state: new Uint8Array(0) });
    process.stdout.write(`${flush}\n`);
  }
}

/** Runs the child and kills it some milliseconds after it acknowledged a flush; gives the last flush acknowledged. */
function killedChild(path: string, delayMs: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [fileURLToPath(import.meta.url), path], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let acknowledged = 0;
    let killing = false;
    child.stdout.on('data', (chunk) => {
      for (const line of String(chunk).split('\n')) if (line !== '') acknowledged = Number(line);
      if (!killing) setTimeout(() => child.kill('SIGKILL'), delayMs);
      killing = true;
    });
    child.on('error', reject);
    child.on('close', (code) =>
      code === null ? resolve(acknowledged) : reject(new Error(`it ended with ${code}`)),
    );
  });
}

const childPath = process.argv[2];
if (childPath !== undefined) await flushUntilKilled(childPath);

const binding = await loadOrSkip();
if (binding !== undefined) {
  test('kill -9 at any moment of a flush', async () => {
    const root = await mkdtemp(join(tmpdir(), 'kvorum-crash-'));
    const path = join(root, 'tree');
    try {
      for (let round = 0; round < 8; round++) {
        const acknowledged = await killedChild(path, round * 7);
        const tree = await RocksDbTree.open({ disk, path, ports, binding });
        const flushes = tree.durable?.index ?? 0;
        assert.ok(flushes >= acknowledged, `flush ${acknowledged} was acknowledged, ${flushes} are there`);
        const page = await tree.versions({
          start: new Uint8Array(0),
          end: undefined,
          after: undefined,
          minRevision: 0,
          maxRevision: NEWEST,
          limit: NEWEST,
          maxBytes: NEWEST,
        });
        assert.is(page.records.length, flushes * ROWS, 'whole flushes only');
        assert.is(tree.stats().recordCount, flushes * ROWS);
        for (const record of page.records)
          assert.is(record.value[0], Math.ceil(record.modRevision / ROWS) % 256);
        await tree.close();
      }
    } finally {
      await rm(root, { recursive: true, force: true });
    }
  });
}

test.run();
