/** Equal seeds give equal runs: in one process, in another one, and after other runs. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { test } from '../suite.ts';
import { hashOfLife } from './life.ts';

const LIFE = fileURLToPath(new URL('./life.js', import.meta.url));

/** The hashes of some seeds, from a process of their own. */
function elsewhere(seeds: readonly number[]): string[] {
  return execFileSync(process.execPath, [LIFE, ...seeds.map(String)], { encoding: 'utf8' })
    .trim()
    .split('\n');
}

test('the same seed gives the same trace in one process, whatever ran in between, and in another', async () => {
  const first = await hashOfLife(1);
  const other = await hashOfLife(2);
  assert.is.not(first, other, 'another seed is another run');
  assert.is(await hashOfLife(1), first);
  assert.is(await hashOfLife(2), other);
  assert.equal(elsewhere([2, 1]), [other, first]);
});

test('recording changes nothing', async () => {
  assert.is(await hashOfLife(3, { record: true }), await hashOfLife(3));
});

test.run();
