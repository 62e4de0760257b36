/**
 * A store on a real disk whose process is killed at random moments, with its thread in the middle of flushes and compactions: after each kill `kvorum check`
 * finds no damage, the store opens, and it holds exactly what was acknowledged (lane_writer.ts), and what was under way whole or not at all.
 *
 * KVORUM_KILLS: how many times (10). KVORUM_KILL_MS: the longest that a life writes (2600).
 * What a life that failed found and what it left are kept; the message names the place.
 */
import { spawn } from 'node:child_process';
import { cpSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { test } from '../suite.ts';
import { endAll, keepDirectory, kvorum, temporaryDirectory } from './processes.ts';

const WRITER = fileURLToPath(new URL('./lane_writer.js', import.meta.url));
const KILLS = Number(process.env['KVORUM_KILLS'] ?? 10);
const SHORTEST_MS = 100;
const LONGEST_MS = Number(process.env['KVORUM_KILL_MS'] ?? 2_600);
const LANES = 6;
const MIB = 1024 * 1024;
/** What only a hang, not a machine that is busy, takes. */
const LIMIT_MS = 180_000;

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
  node: { historyRevisions: 200, requestTimeoutMs: LIMIT_MS },
};

interface Life {
  readonly acknowledged: readonly number[];
  /** All that it said of it, and how far it had come. */
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
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const acknowledged = [...before];
  const problems: string[] = [];
  let isOpen = false;
  let rest = '';
  let killer = setTimeout(() => {
    problems.push(`not open after ${LIMIT_MS} ms`);
    child.kill('SIGKILL');
  }, LIMIT_MS);
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => problems.push(`standard error: ${chunk}`));
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const [word, lane, number] = line.split(' ');
      if (word === 'ok' || word === 'at') acknowledged[Number(lane)] = Number(number);
      else if (word === 'open') {
        isOpen = true;
        clearTimeout(killer);
        killer = setTimeout(() => child.kill('SIGKILL'), writingMs);
      } else problems.push(line);
    }
  });
  const [status, signal] = await new Promise<[number | null, string | null]>((resolve) =>
    child.on('close', (...end) => resolve(end)),
  );
  clearTimeout(killer);
  if (signal !== 'SIGKILL') problems.push(`ended by itself with ${status ?? signal}`);
  else if (!isOpen && problems.length === 0) problems.push('killed before it was open, by somebody else');
  if (problems.length === 0) return { acknowledged, problem: undefined };
  return { acknowledged, problem: `${isOpen ? 'writing' : 'opening'}\n${problems.join('\n')}` };
}

/** Fails with what was found, and keeps it with the directory as it is and as it was before the life (`before`, beside it). */
function fail(directory: string, what: string): never {
  keepDirectory(directory);
  const text = `${what}\nkept in ${directory}`;
  writeFileSync(join(directory, 'failure.txt'), `${text}\n`);
  throw new Error(text);
}

for (const durability of ['os', 'fsync']) {
  test(`nothing acknowledged is lost, nothing deleted comes back, when the process is killed (${durability})`, async () => {
    const directory = temporaryDirectory();
    const path = join(directory, 'data');
    const copy = join(directory, 'before');
    let acknowledged: readonly number[] = new Array<number>(LANES).fill(0);
    for (let kill = 0; kill < KILLS / 2; kill++) {
      const writingMs = SHORTEST_MS + Math.random() * Math.max(0, LONGEST_MS - SHORTEST_MS);
      if (kill > 0) {
        rmSync(copy, { recursive: true, force: true });
        cpSync(path, copy, { recursive: true });
      }
      const life = await live(path, durability, acknowledged, writingMs);
      const what = `life ${kill}, to be killed after ${writingMs} ms of writing, from [${acknowledged}]`;
      if (life.problem !== undefined) fail(directory, `${what}: ${life.problem}`);
      acknowledged = life.acknowledged;
      const { status, stdout, stderr } = await kvorum(['check', path], { limitMs: LIMIT_MS });
      if (status !== 0) fail(directory, `check after ${what}: status ${status}\n${stdout}\n${stderr}`);
    }
    assert.ok(Math.min(...acknowledged) > 0, `every lane was written: ${acknowledged}`);
    if (process.env['KVORUM_KILLS'] !== undefined) console.log(`${durability}: acknowledged ${acknowledged}`);
  });
}

test.after(endAll);

test.run();
