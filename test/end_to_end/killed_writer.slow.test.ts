/**
 * A store on a real disk whose process is killed at random moments, with its thread in the middle of flushes and compactions: after each kill `kvorum check`
 * finds no damage, the store opens, and it holds exactly what was acknowledged (lane_writer.ts), and what was under way whole or not at all.
 *
 * KVORUM_KILLS: how many times (10).
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { endAll, kvorum, temporaryDirectory } from './processes.ts';

const WRITER = fileURLToPath(new URL('./lane_writer.js', import.meta.url));
const KILLS = Number(process.env['KVORUM_KILLS'] ?? 10);
const LANES = 6;
const MIB = 1024 * 1024;
const OPEN_LIMIT_MS = 60_000;

const CONFIG = {
  storage: {
    memtableSizeBytes: MIB,
    tableSizeBytes: MIB,
    blockCacheBytes: 256 * 1024,
    segmentSizeBytes: MIB,
    preallocateBytes: 64 * 1024,
    checkpointLogBytes: 4 * MIB,
    logRetainBytes: 0,
  },
  node: { historyRevisions: 200 },
};

interface Life {
  readonly acknowledged: readonly number[];
  readonly problem: string | undefined;
}

/** Starts the writer on what the last one left, lets it write for a while, and kills it. */
async function live(
  path: string,
  durability: string,
  before: readonly number[],
  writingMs: number,
): Promise<Life> {
  const config = { ...CONFIG, storage: { ...CONFIG.storage, durability } };
  const child = spawn(process.execPath, [WRITER, path, JSON.stringify(config), JSON.stringify(before)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const acknowledged = [...before];
  let problem: string | undefined;
  let rest = '';
  let killer = setTimeout(() => {
    problem = `not open after ${OPEN_LIMIT_MS} ms`;
    child.kill('SIGKILL');
  }, OPEN_LIMIT_MS);
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const [word, lane, number] = line.split(' ');
      if (word === 'ok' || word === 'at') acknowledged[Number(lane)] = Number(number);
      else if (word === 'open') {
        clearTimeout(killer);
        killer = setTimeout(() => child.kill('SIGKILL'), writingMs);
      } else problem = line;
    }
  });
  const status = await new Promise<number | null>((resolve) => child.on('close', resolve));
  clearTimeout(killer);
  if (status !== null) problem ??= `ended by itself with ${status}`;
  return { acknowledged, problem };
}

for (const durability of ['os', 'fsync']) {
  test(`nothing acknowledged is lost, nothing deleted comes back, when the process is killed (${durability})`, async () => {
    const path = join(temporaryDirectory(), 'data');
    let acknowledged: readonly number[] = new Array<number>(LANES).fill(0);
    for (let kill = 0; kill < KILLS / 2; kill++) {
      const writingMs = 100 + Math.random() * 2_500;
      const life = await live(path, durability, acknowledged, writingMs);
      assert.is(life.problem, undefined, `life ${kill}, killed after ${writingMs} ms: ${life.problem}`);
      acknowledged = life.acknowledged;
      const checked = await kvorum(['check', path]);
      assert.is(checked.status, 0, `life ${kill}: ${checked.stdout}${checked.stderr}`);
    }
    assert.ok(Math.min(...acknowledged) > 0, `every lane was written: ${acknowledged}`);
    if (process.env['KVORUM_KILLS'] !== undefined) console.log(`${durability}: acknowledged ${acknowledged}`);
  });
}

test.after(endAll);

test.run();
