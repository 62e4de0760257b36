/** Equal seeds give equal runs on the other version of Node that is looked after, where npm can get it. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { test } from '../suite.ts';

const LIFE = fileURLToPath(new URL('./life.js', import.meta.url));
const SEEDS = ['1', '2', '3', '4', '5', '6'];
const LIMIT_MS = 240_000;

function hashes(command: string, args: readonly string[]): string[] {
  const { status, stdout, stderr, error } = spawnSync(command, [...args, LIFE, ...SEEDS], {
    encoding: 'utf8',
    timeout: LIMIT_MS,
  });
  assert.is(status, 0, `${error?.message ?? ''} ${stderr}`);
  return stdout.trim().split('\n');
}

function versionOf(args: readonly string[]): string | undefined {
  const { status, stdout } = spawnSync('npx', [...args, '--version'], {
    encoding: 'utf8',
    timeout: LIMIT_MS,
  });
  return status === 0 ? stdout.trim() : undefined;
}

const other = process.version.startsWith('v24.') ? '20' : '24';
const throughNpx = ['-y', '-p', `node@${other}`, 'node'];
const version = versionOf(throughNpx);

if (version === undefined || !version.startsWith(`v${other}.`)) {
  console.log(`skipped: npm can't get node@${other} here`);
} else {
  test(`the same seeds give the same traces on Node ${version} as on ${process.version}`, () => {
    assert.equal(hashes('npx', throughNpx), hashes(process.execPath, []));
  });
}

test.run();
