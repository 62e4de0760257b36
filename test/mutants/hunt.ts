/**
 * Runs the simulator of one build over seeds until a run fails, and prints one line of JSON: what was found, or that nothing was. What was found is held against the
 * build without the bug: there the same run must pass.
 *
 *     node build/test/mutants/hunt.js BUILD FIRST_SEED SEEDS OPS [SETTINGS]
 *
 * A process of its own for each planted bug: a mistake may also hang, crash or fill the memory.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { runSeed } from '../../src/sim/run.ts';
import type { RunSettings } from './planted.ts';

export interface Found {
  readonly seed: number;
  readonly seeds: number;
  readonly invariant: string;
  readonly message: string;
  /** What the same run came to without the bug, when that was not well either. */
  readonly without?: string | undefined;
}

const [build, first, seeds, ops, text] = process.argv.slice(2);
if (build === undefined) throw new Error('usage: hunt.js BUILD FIRST_SEED SEEDS OPS [SETTINGS]');
const settings: RunSettings = text === undefined ? {} : JSON.parse(text);
const module: { runSeed: typeof runSeed } = await import(
  pathToFileURL(join(build, 'src', 'sim', 'run.js')).href
);
const from = Number(first);
for (let seed = from; seed < from + Number(seeds); seed++) {
  const run = { ...settings, seed, ops: Number(ops) };
  const { failure } = await module.runSeed(run);
  if (failure === undefined) continue;
  const without = (await runSeed(run)).failure;
  const found: Found = {
    seed,
    seeds: seed - from + 1,
    invariant: failure.invariant,
    message: failure.message,
    without: without === undefined ? undefined : `${without.invariant}: ${without.message}`,
  };
  console.log(JSON.stringify(found));
  process.exit(0);
}
console.log(JSON.stringify({ seeds: Number(seeds) }));
