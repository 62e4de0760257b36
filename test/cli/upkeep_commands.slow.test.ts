/** `kvorum compact hash alarm snapshot restore` as processes against nodes that run, and the nodes that come of a restore. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import {
  type Ended,
  endAll,
  freePorts,
  kvorum,
  type LocalCluster,
  localBasePort,
  type ServedNode,
  serve,
  startLocal,
  temporaryDirectory,
} from '../end_to_end/processes.ts';
import { test } from '../suite.ts';

const directory = temporaryDirectory();
let cluster: LocalCluster;

async function at(endpoints: readonly string[], expected: number, args: string[]): Promise<Ended> {
  const ended = await kvorum([...args, '--endpoints', endpoints.join(',')]);
  assert.is(ended.status, expected, `kvorum ${args.join(' ')}: ${ended.stdout}${ended.stderr}`);
  return ended;
}
const run = (expected: number, ...args: string[]) => at(cluster.endpoints, expected, args);

test.before(async () => {
  cluster = await startLocal(3, join(directory, 'data'), await localBasePort(3));
});
test.after(endAll);

test('history is dropped up to a revision, and no read shows what is gone', async () => {
  for (const value of ['one', 'two', 'three']) await run(0, 'put', 'counted', value);
  const { modRevision } = JSON.parse((await run(0, 'get', 'counted', '--json')).stdout);
  assert.is((await run(0, 'get', 'counted', '--revision', String(modRevision - 1))).stdout, 'two\n');
  assert.match(
    (await run(0, 'compact', String(modRevision), '--physical')).stdout,
    /^compacted at \d+; the store is at \d+\n$/,
  );
  const gone = await run(1, 'get', 'counted', '--revision', String(modRevision - 1));
  assert.match(gone.stderr, /COMPACTED[\s\S]*That revision is no longer kept/);
  assert.is((await run(0, 'get', 'counted', '--revision', String(modRevision))).stdout, 'three\n');
  assert.match((await run(1, 'compact', '1000000')).stderr, /FUTURE_REVISION/);
  assert.match((await run(1, 'compact', 'all')).stderr, /revision is "all"/);
});

test('the hashes of all members agree', async () => {
  const { stdout, stderr } = await run(0, 'hash');
  const hashes = [...stdout.matchAll(/^[123] +([0-9a-f]{16}) +(\d+)$/gm)].map(
    ([, hash, versions]) => `${hash} ${versions}`,
  );
  assert.is(hashes.length, 3, stdout);
  assert.is(new Set(hashes).size, 1, stdout);
  assert.match(stderr, /^at revision \d+, from \d+ on\n$/);
  const { members, differing } = JSON.parse((await run(0, 'hash', '--json')).stdout);
  assert.equal([members.length, differing], [3, []]);
});

test('an alarm is raised, refuses writes, and is cleared', async () => {
  assert.match((await run(0, 'alarm', 'list')).stderr, /no such alarm/);
  assert.is((await run(0, 'alarm', 'raise', 'nospace', '2')).stdout, 'active: nospace 2\n');
  assert.equal(JSON.parse((await run(0, 'alarm', 'list', '--json')).stdout).alarms.length, 1);
  assert.match((await run(0, 'status')).stdout, /\nalarm nospace of node 2: see `kvorum alarm --help`\n/);
  assert.match((await run(1, 'put', 'refused', 'x')).stderr, /ALARM_NO_SPACE/);
  assert.is((await run(0, 'alarm', 'clear', 'nospace', '2')).stdout, 'cleared: nospace 2\n');
  await run(0, 'put', 'taken', 'x');
  assert.match((await run(1, 'alarm', 'raise', 'smoke')).stderr, /allowed: nospace, corrupt/);
});

test('a snapshot of a running cluster becomes a node that holds all of it, and goes on', async () => {
  for (let i = 0; i < 20; i++) await run(0, 'put', `kept/${i}`, `value ${i}`);
  const lease = JSON.parse((await run(0, 'lease', 'grant', '600000', '--json')).stdout).lease;
  await run(0, 'put', 'leased', 'x', '--lease', lease);
  await run(0, 'quota', 'set', 'kept/', '--keys', '20');
  const file = join(directory, 'backup.snapshot');
  const saved = await run(0, 'snapshot', 'save', file);
  assert.is(saved.stdout, `${file}\n`);
  assert.is(
    saved.stderr,
    `${readFileSync(file).length} bytes, at revision ${/\d+$/m.exec(saved.stderr)?.[0]}\n`,
  );
  await run(0, 'put', 'kept/0', 'changed since');
  // What has its name stays until the new one is whole.
  await run(1, 'snapshot', 'save', join(directory, 'missing', 'backup'));

  const data = join(directory, 'restored');
  const [clientPort, peerPort] = await freePorts(2);
  const listen = ['--listen', `127.0.0.1:${clientPort}`, '--peer-listen', `127.0.0.1:${peerPort}`];
  const restore = (...args: string[]) => kvorum(['restore', ...args, ...listen]);
  const restored = await restore(file, '--data', data, '--json');
  assert.is(restored.status, 0, restored.stderr);
  const { records, revision } = JSON.parse(restored.stdout);
  assert.ok(records >= 22 && revision > 1_000_000_000, restored.stdout);
  // Once only, whole only, and not from nothing.
  assert.match((await restore(file, '--data', data)).stderr, /empty|missing/);
  const damaged = readFileSync(file);
  damaged[damaged.length >> 1]! ^= 1;
  writeFileSync(join(directory, 'damaged'), damaged);
  const refused = await restore(join(directory, 'damaged'), '--data', join(directory, 'never'));
  assert.is(refused.status, 1);
  assert.match(refused.stderr, /CORRUPT/);
  assert.not(existsSync(join(directory, 'never')));
  assert.is((await restore(join(directory, 'absent'), '--data', join(directory, 'never'))).status, 1);

  const node: ServedNode = await serve({ data, clientPort: clientPort!, peerPort: peerPort! });
  const there = (expected: number, ...args: string[]) => at([node.endpoint], expected, args);
  const lines = Array.from({ length: 20 }, (_, i) => `kept/${i}\tvalue ${i}`).sort();
  assert.equal((await there(0, 'scan', 'kept/')).stdout.trim().split('\n'), lines);
  assert.is((await there(0, 'get', 'counted')).stdout, 'three\n');
  assert.match((await there(0, 'lease', 'list')).stdout, new RegExp(lease));
  assert.match((await there(1, 'put', 'kept/20', 'x')).stderr, /QUOTA_EXCEEDED/);
  await there(0, 'lease', 'revoke', lease);
  assert.is((await there(2, 'get', 'leased')).stdout, '');
  assert.match((await there(0, 'put', 'new', 'x')).stdout, /^OK revision 10000\d+\n$/);
  assert.match((await there(1, 'watch', 'kept/0', '--from', '2')).stderr, /COMPACTED/);
});

test.run();
