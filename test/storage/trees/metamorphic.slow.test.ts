/**
 * The same as metamorphic.test.ts, longer: large flushes, values of megabytes, many sets of options, and a seed of its own for every run of the suite.
 *
 * KVORUM_TREE_MS: for how long, per tree; KVORUM_TREE_SEED: the first seed.
 */
import { test } from '../../suite.ts';
import { runSeed } from './metamorphic_run.ts';
import { subjectsHere } from './subjects_here.ts';

const BUDGET_MS = Number(process.env['KVORUM_TREE_MS'] ?? 20_000);
const FIRST_SEED = Number(process.env['KVORUM_TREE_SEED'] ?? Date.now() % 1_000_000_000);

for (const subject of await subjectsHere()) {
  test(`${subject.name}: long random programs agree with the model`, async () => {
    const until = performance.now() + BUDGET_MS;
    let seeds = 0;
    for (; performance.now() < until; seeds++) {
      const size = {
        operations: 20 + ((seeds * 13) % 60),
        writes: seeds % 4 === 0 ? 3_000 : 400,
        huge: true,
      };
      await runSeed([subject], FIRST_SEED + seeds, size, 3);
    }
    console.log(`${subject.name}: seeds ${FIRST_SEED} to ${FIRST_SEED + seeds - 1}`);
  });
}

test.run();
