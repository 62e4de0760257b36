/**
 * Runs the simulator of one build over seeds until a run fails, and prints one line of JSON: what was found, or that nothing was.
 *
 *     node build/test/mutants/hunt.js BUILD FIRST_SEED SEEDS OPS [KIND,...]
 *
 * A process of its own for each planted bug: a mistake may also hang, crash or fill the memory.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { FaultKind } from '../../src/sim/fault_plan.ts';
import type { runSeed } from '../../src/sim/run.ts';

export interface Found {
  readonly seed: number;
  readonly seeds: number;
  readonly invariant: string;
  readonly message: string;
}

const [build, first, seeds, ops, kinds] = process.argv.slice(2);
if (build === undefined) throw new Error('usage: hunt.js BUILD FIRST_SEED SEEDS OPS');
const module: { runSeed: typeof runSeed } = await import(
  pathToFileURL(join(build, 'src', 'sim', 'run.js')).href
);
const from = Number(first);
for (let seed = from; seed < from + Number(seeds); seed++) {
  const { failure } = await module.runSeed({
    seed,
    ops: Number(ops),
    ...(kinds === undefined ? {} : { kinds: kinds.split(',') as FaultKind[] }),
  });
  if (failure === undefined) continue;
  const found: Found = {
    seed,
    seeds: seed - from + 1,
    invariant: failure.invariant,
    message: failure.message,
  };
  console.log(JSON.stringify(found));
  process.exit(0);
}
console.log(JSON.stringify({ seeds: Number(seeds) }));
