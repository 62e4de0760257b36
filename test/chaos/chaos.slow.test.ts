/**
 * A few rounds of chaos in the size of a continuous build: real processes, real sockets, real disks. KVORUM_CHAOS_ROUNDS, KVORUM_CHAOS_SECONDS and KVORUM_CHAOS_SEED change
 * the size; by default the seed is the same always, so that the plans are.
 */
import { spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { endAll, eventually, signal, whenTestEnds } from '../end_to_end/processes.ts';
import { test } from '../suite.ts';
import { drawPlan } from './plan.ts';

const MAIN = fileURLToPath(new URL('./main.js', import.meta.url));
const ROUNDS = process.env['KVORUM_CHAOS_ROUNDS'] ?? '5';
const SECONDS = process.env['KVORUM_CHAOS_SECONDS'] ?? '14';
const SEED = process.env['KVORUM_CHAOS_SEED'] ?? '100';

interface Chaos {
  readonly pid: number;
  readonly output: () => string;
  readonly ended: Promise<number | null>;
}

function startChaos(args: readonly string[]): Chaos {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  whenTestEnds(() => child.kill('SIGTERM'));
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  child.stderr.on('data', (chunk) => {
    output += chunk;
  });
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  return { pid: child.pid!, output: () => output, ended };
}

const leftovers = (): string[] => readdirSync(tmpdir()).filter((name) => name.startsWith('kvorum-chaos-'));

/** Command lines of all processes. */
function processes(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        return [readFileSync(`/proc/${pid}/cmdline`, 'utf8')];
      } catch {
        // It has ended meanwhile.
        return [];
      }
    });
}

test('rounds of faults end with every promise kept, and nothing is left behind', async () => {
  const before = leftovers();
  const chaos = startChaos(['--rounds', ROUNDS, '--seconds', SECONDS, '--seed', SEED, '--jobs', '2']);
  const status = await chaos.ended;
  console.log(chaos.output());
  assert.is(status, 0, chaos.output());
  assert.match(chaos.output(), new RegExp(`^${ROUNDS} rounds, 0 failed, \\d+ operations`, 'm'));
  assert.equal(leftovers(), before);
});

test('a run that is told to stop in the middle leaves no process, mount, namespace or directory', async () => {
  const before = leftovers();
  const args = ['--rounds', '2', '--seconds', '60', '--seed', '100', '--jobs', '2'];
  const chaos = startChaos(args);
  const root = await eventually('servers to run', () => {
    const own = leftovers().find((name) => !before.includes(name));
    const servers = processes().filter(
      (line) => own !== undefined && line.includes(`${own}/`) && line.includes('serve'),
    );
    return servers.length >= 4 ? own : undefined;
  });
  signal(chaos.pid, 'SIGTERM');
  await chaos.ended;
  await eventually('everything to be given back', () => {
    const running = processes().filter((line) => line.includes(root));
    const mounted = readFileSync('/proc/mounts', 'utf8').includes(root);
    return running.length === 0 && !mounted && !leftovers().includes(root) ? true : undefined;
  });
  const namespaces = spawnSync('ip', ['netns', 'list']);
  if (namespaces.status === 0) assert.not.match(namespaces.stdout.toString(), new RegExp(`kc${chaos.pid}n`));
});

test('the same seed draws the same plan, another seed another', () => {
  const draw = (seed: number) => JSON.stringify(drawPlan({ seed, seconds: 30 }));
  assert.is(draw(7), draw(7));
  assert.is.not(draw(7), draw(8));
  const kinds = new Set<string>();
  for (let seed = 0; seed < 60; seed++)
    for (const step of drawPlan({ seed, seconds: 30 }).steps) kinds.add(step.kind);
  assert.is(kinds.size, 15, [...kinds].join(', '));
});

test.after(endAll);

test.run();
