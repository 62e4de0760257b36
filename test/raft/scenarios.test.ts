/**
 * Runs the scripts in scenarios/ and compares what they print with what stands in the file. `REWRITE=1 node build/test/raft/scenarios.test.js` writes it anew: then
 * read the difference before it is committed.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { test } from '../suite.ts';
import { runScenario } from './scenario.ts';

const folder = join(process.cwd(), 'test', 'raft', 'scenarios');
const files = readdirSync(folder).filter((name) => name.endsWith('.txt'));

test('there are scenarios', () => {
  assert.ok(files.length >= 8);
});

for (const name of files) {
  test(`scenario ${name}`, () => {
    const file = join(folder, name);
    const golden = readFileSync(file, 'utf8');
    const now = runScenario(golden);
    if (process.env['REWRITE'] === '1') writeFileSync(file, now);
    else assert.fixture(now, golden);
  });
}

test('a script with an unknown command fails', () => {
  assert.throws(() => runScenario('start 1\nfly 1'), /unknown command fly/);
});

test.run();
