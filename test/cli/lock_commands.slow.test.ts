/** `kvorum lease`, `lock` and `elect` as processes against one node, beside `etcdctl lock` and `elect`, which contend for the same. */
// needs: etcdctl
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { requireBinaries } from '../binaries.ts';
import {
  Command,
  type Ended,
  endAll,
  eventually,
  freePorts,
  kvorum,
  type ServedNode,
  serve,
  signal,
  temporaryDirectory,
} from '../end_to_end/processes.ts';
import { test } from '../suite.ts';

const ETCDCTL_LIMIT_MS = 30_000;
const binaries = requireBinaries(['etcdctl']);
let node: ServedNode;
let directory: string;

const endpointFlags = (): string[] => ['--endpoints', node.endpoint];

function run(args: string[]): Promise<Ended> {
  return kvorum(args, { env: { KVORUM_ENDPOINTS: node.endpoint } });
}

function start(args: string[]): Command {
  return new Command(args, { env: { KVORUM_ENDPOINTS: node.endpoint } });
}

async function succeeds(args: string[]): Promise<string> {
  const { status, stdout, stderr } = await run(args);
  assert.is(status, 0, `kvorum ${args.join(' ')}: ${stderr}`);
  return stdout.trim();
}

/** Status and output of an etcdctl; `child` runs meanwhile. */
function etcdctl(args: readonly string[]): Promise<{ readonly status: number; readonly out: string }> {
  const all = [...endpointFlags(), ...args];
  const options = { env: { ...process.env, ETCDCTL_API: '3' }, timeout: ETCDCTL_LIMIT_MS };
  return new Promise((resolve) => {
    execFile(binaries!.etcdctl, all, options, (error, stdout, stderr) => {
      const status = typeof error?.code === 'number' ? error.code : error === null ? 0 : -1;
      resolve({ status, out: `${stdout}${stderr}` });
    });
  });
}

async function keysOf(prefix: string): Promise<number> {
  const stdout = await succeeds(['scan', prefix, '--keys-only']);
  return stdout === '' ? 0 : stdout.split('\n').length;
}

function keysToBe(prefix: string, count: number): Promise<true> {
  return eventually(`${count} keys under ${prefix}`, async () =>
    (await keysOf(prefix)) === count ? true : undefined,
  );
}

test.before(async () => {
  const [clientPort, peerPort] = await freePorts(2);
  directory = temporaryDirectory();
  node = await serve({
    data: `${directory}/node`,
    clientPort: clientPort!,
    peerPort: peerPort!,
    config: { limits: { minLeaseTtlMs: 500 } },
  });
});

test.after(async () => {
  await node.command.stop();
});

test('a lease is granted, shown, kept alive, revoked with its keys', async () => {
  const id = await succeeds(['lease', 'grant', '60000']);
  assert.match(id, /^[0-9a-f]{1,16}$/);
  assert.is(await succeeds(['lease', 'grant', '60000', '--id', 'beef']), 'beef');
  await succeeds(['put', 'session/7', 'alice', '--lease', id]);
  assert.match(await succeeds(['lease', 'ttl', id, '--keys']), /^\d+ ms left of 60000 ms\nsession\/7$/);
  const shown = JSON.parse(await succeeds(['lease', 'ttl', id, '--keys', '--json']));
  assert.equal([shown.lease, shown.ttlMs, shown.keys], [id, 60_000, ['session/7']]);
  assert.is(await succeeds(['lease', 'list']), `${id}\nbeef`);
  assert.match(await succeeds(['lease', 'keep-alive', id, '--once']), /60000 ms at a time/);
  const keeper = start(['lease', 'keep-alive', id]);
  await keeper.line(/kept alive/);
  assert.is((await keeper.stop('SIGINT')).status, 0);
  assert.match(await succeeds(['lease', 'revoke', id]), /revoked/);
  assert.is((await run(['get', 'session/7'])).status, 2);
  const gone = await run(['lease', 'ttl', id]);
  assert.equal([gone.status, gone.stdout], [2, '']);
  const again = await run(['lease', 'revoke', id]);
  assert.is(again.status, 1);
  assert.match(again.stderr, /LEASE_NOT_FOUND/);
  const lost = start(['lease', 'keep-alive', 'beef']);
  await lost.line(/kept alive/);
  await succeeds(['lease', 'grant', '12000', '--id', 'cafe']);
  const short = start(['lease', 'keep-alive', 'cafe']);
  await short.line(/kept alive/);
  await succeeds(['lease', 'revoke', 'cafe']);
  const told = await short.ended;
  assert.is(told.status, 1);
  assert.match(told.stderr, /LEASE_EXPIRED/);
  assert.is((await lost.stop()).status, 0);
  await succeeds(['lease', 'revoke', 'beef']);
  for (const [args, message] of [
    [['lease', 'ttl', 'xyz'], /lease "xyz" is not a number/],
    [['lease', 'grant', '0'], /TTL is "0"/],
    [['put', 'a', 'b', '--lease', '4711'], /LEASE_NOT_FOUND/],
    [['elect', 'office'], /a VALUE is needed/],
    [['elect', 'office', 'me', '--listen'], /takes no VALUE/],
    [['lock', 'l', '--wait', 'x'], /--wait is "x"/],
  ] as const) {
    const wrong = await run([...args]);
    assert.is(wrong.status, 1, args.join(' '));
    assert.match(wrong.stderr, message);
  }
});

test('a lock runs its command with the fence, and ends with its status', async () => {
  const script = 'echo "$KVORUM_LOCK_KEY $KVORUM_LOCK_FENCE $KVORUM_LOCK_LEASE"; exit 7';
  const ended = await run(['lock', 'status', '--', 'sh', '-c', script]);
  assert.is(ended.status, 7);
  const [key, fence, lease] = ended.stdout.trim().split(' ');
  assert.is(key, `status/${lease}`);
  assert.ok(Number(fence) > 0);
  assert.is((await run(['lock', 'status', '--', 'sh', '-c', 'kill -KILL $$'])).status, 137);
  const missing = await run(['lock', 'status', '--', `${directory}/no-such-program`]);
  assert.is(missing.status, 1);
  assert.match(missing.stderr, /cannot run/);
  assert.is(await keysOf('status/'), 0, 'released each time');
  assert.is(await succeeds(['lease', 'list']), '');
});

test('a signal is passed on, and the lock released; one that waits leaves its place', async () => {
  const trap = 'trap "echo asked; exit 3" TERM; echo runs; while :; do sleep 0.05; done';
  const holder = start(['lock', 'job', '--', 'sh', '-c', trap]);
  await holder.line(/runs/);
  const late = await run(['lock', 'job', '--wait', '200', '--', 'true']);
  assert.is(late.status, 1);
  assert.match(late.stderr, /TIMEOUT/);
  const waiter = start(['lock', 'job', '--', 'true']);
  await keysToBe('job/', 2);
  assert.is((await waiter.stop('SIGTERM')).status, 143);
  await keysToBe('job/', 1);
  const ended = await holder.stop('SIGTERM');
  assert.is(ended.status, 3, ended.stderr);
  assert.match(ended.stdout, /asked/);
  await keysToBe('job/', 0);
  const bare = start(['lock', 'job']);
  await bare.line(/^job\/[0-9a-f]+$/);
  assert.is((await bare.stop('SIGINT')).status, 0);
  await keysToBe('job/', 0);
});

test('a lock that is lost ends its command; a holder that dies is replaced when its lease ends', async () => {
  const loop = 'echo runs; while :; do sleep 0.05; done';
  const loser = start(['lock', 'lost', '--', 'sh', '-c', loop]);
  await loser.line(/runs/);
  const [key] = (await succeeds(['scan', 'lost/', '--keys-only'])).split('\n');
  await succeeds(['lease', 'revoke', key!.split('/')[1]!]);
  const ended = await loser.ended;
  assert.is(ended.status, 1);
  assert.match(ended.stderr, /the lock is lost[\s\S]*LEASE_EXPIRED/);
  const dead = start(['lock', 'lost', '--ttl', '1000', '--', 'sh', '-c', 'echo "runs $$"; exec sleep 60']);
  const pid = Number((await dead.line(/runs/)).split(' ')[1]);
  dead.child.kill('SIGKILL');
  await succeeds(['lock', 'lost', '--', 'true']);
  signal(pid, 'SIGKILL');
});

test('etcdctl lock and kvorum lock exclude one another', async () => {
  if (binaries === undefined) return;
  const held = `${directory}/held`;
  const log = `${directory}/log`;
  const script = `mkdir ${held} || echo overlap >> ${log}; sleep 0.1; echo $0 >> ${log}; rmdir ${held}`;
  const ours = Array.from({ length: 4 }, () => run(['lock', 'both', '--', 'sh', '-c', script, 'kvorum']));
  const theirs = Array.from({ length: 4 }, () =>
    etcdctl(['lock', 'both', '--', 'sh', '-c', script, 'etcdctl']),
  );
  for (const { status, stderr } of await Promise.all(ours)) assert.is(status, 0, stderr);
  for (const { status, out } of await Promise.all(theirs)) assert.is(status, 0, out);
  const lines = readFileSync(log, 'utf8').trim().split('\n').sort();
  assert.equal(lines, [...Array(4).fill('etcdctl'), ...Array(4).fill('kvorum')]);
  assert.not(existsSync(held));
  await keysToBe('both/', 0);
  // And the other way round: who waits for etcdctl's.
  mkdirSync(held);
  const first = etcdctl(['lock', 'both', '--', 'sh', '-c', `while [ -d ${held} ]; do sleep 0.05; done`]);
  await keysToBe('both/', 1);
  const second = run(['lock', 'both', '--', 'test', '!', '-d', held]);
  await keysToBe('both/', 2);
  await succeeds(['put', 'seen', 'both wait']);
  assert.is(await keysOf('both/'), 2);
  execFile('rmdir', [held]);
  assert.is((await first).status, 0);
  assert.is((await second).status, 0);
});

test('elect: one leads at a time, etcdctl or kvorum, and both see who', async () => {
  if (binaries === undefined) return;
  const listener = start(['elect', 'office', '--listen', '--json']);
  const anna = start(['elect', 'office', 'anna']);
  await anna.line(/^anna$/);
  await listener.line(/"value":"anna"/);
  const theirs = new AbortController();
  const options = { env: { ...process.env, ETCDCTL_API: '3' }, signal: theirs.signal };
  const bert = execFile(binaries.etcdctl, [...endpointFlags(), 'elect', 'office', 'bert'], options);
  bert.on('error', () => undefined);
  const ended = new Promise((resolve) => bert.once('close', resolve));
  await keysToBe('office/', 2);
  assert.not.match(listener.stdout, /bert/);
  assert.is((await anna.stop('SIGINT')).status, 0);
  await listener.line(/"value":"bert"/);
  const carl = start(['elect', 'office', 'carl', '--json']);
  await keysToBe('office/', 2);
  assert.is(carl.stdout, '');
  // Interrupted, it resigns.
  bert.kill('SIGINT');
  await ended;
  const leads = JSON.parse(await carl.line(/carl/));
  assert.is(leads.key, `office/${leads.lease}`);
  await listener.line(/"value":"carl"/);
  await succeeds(['del', leads.key]);
  const lost = await carl.ended;
  assert.is(lost.status, 1);
  assert.match(lost.stderr, /LEASE_EXPIRED/);
  const seen = (await listener.stop('SIGINT')).stdout.trim().split('\n');
  assert.equal(
    seen.map((line) => JSON.parse(line).value),
    ['anna', 'bert', 'carl'],
  );
});

test.after(endAll);

test.run();
