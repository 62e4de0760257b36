/** `kvorum quota` as a process, with rights enforced and without. */

import * as assert from 'uvu/assert';
import {
  endAll,
  eventually,
  freePorts,
  kvorum,
  type ServedNode,
  serve,
  temporaryDirectory,
} from '../end_to_end/processes.ts';
import { test } from '../suite.ts';

const [clientPort, peerPort] = await freePorts(2);
let node: ServedNode;

async function run(expected: number, ...args: string[]): Promise<{ stdout: string; stderr: string }> {
  const { status, stdout, stderr } = await kvorum([...args, '--endpoints', node.endpoint]);
  assert.is(status, expected, `kvorum ${args.join(' ')}: ${stdout}${stderr}`);
  return { stdout, stderr };
}

test.before(async () => {
  node = await serve({ data: temporaryDirectory(), clientPort: clientPort!, peerPort: peerPort! });
});
test.after(() => endAll());

test('quotas are set, listed with what there is, met and removed', async () => {
  assert.match((await run(0, 'quota', 'list')).stderr, /no quotas/);
  await run(0, 'put', 'a/1', 'value');
  assert.is((await run(0, 'quota', 'set', 'a/', '--bytes', '1K', '--keys', '2')).stdout, 'set\n');
  const line = /^prefix +bytes +at most +keys +at most +requests\/s\na\/ +8 +1024 +1 +2 +-\n$/;
  await eventually('the count', async () =>
    line.test((await run(0, 'quota', 'list')).stdout) ? true : undefined,
  );
  await run(0, 'put', 'a/2', '');
  const refused = await run(1, 'put', 'a/3', '');
  assert.match(refused.stderr, /QUOTA_EXCEEDED|the quota of "a\/" allows 2 keys/);
  assert.match((await run(1, 'put', 'a/1', 'v'.repeat(1_020))).stderr, /allows 1024 bytes/);
  await run(0, 'quota', 'set', '', '--rate', '1000000');
  const listed = JSON.parse((await run(0, 'quota', 'list', '--json')).stdout);
  assert.equal(
    listed.map((one: { prefix: string; keys: number }) => one.prefix),
    ['', 'a/'],
  );
  assert.is((await run(0, 'quota', 'remove', 'a/')).stdout, 'removed\n');
  await run(0, 'put', 'a/3', '');
  assert.match((await run(1, 'quota', 'remove', 'a/')).stderr, /no quota for "a\/"/);
  assert.match((await run(1, 'quota', 'set', 'a/', '--bytes', '12Q')).stderr, /--bytes is "12Q"/);
  assert.match((await run(1, 'quota', 'set', 'a/', '--keys', '0')).stderr, /--keys/);
});

test('with rights enforced only root sees and sets them', async () => {
  await run(0, 'user', 'add', 'root', '--password', 'pw');
  await run(0, 'user', 'grant-role', 'root', 'root');
  await run(0, 'user', 'add', 'eve', '--password', 'pw');
  await run(0, 'auth', 'enable');
  assert.match((await run(1, '--user', 'eve:pw', 'quota', 'list')).stderr, /permission denied/);
  assert.match((await run(1, '--user', 'eve:pw', 'quota', 'set', 'a/', '--keys', '1')).stderr, /denied/);
  await run(0, '--user', 'root:pw', 'quota', 'set', 'b/', '--keys', '1');
  await eventually('the count', async () => {
    const { stdout } = await run(0, '--user', 'root:pw', 'quota', 'list');
    return stdout.includes('counting') ? undefined : stdout;
  });
});

test.run();
