/** `kvorum serve --join`, `status`, `member ...` and `move-leader` as processes, on a cluster that grows from one node to three. */

import * as assert from 'uvu/assert';
import {
  endAll,
  eventually,
  freePorts,
  kvorum,
  type ServedNode,
  type StatusOfNode,
  serve,
  statusOf,
  temporaryDirectory,
} from '../end_to_end/processes.ts';
import { test } from '../suite.ts';

const data = temporaryDirectory();
const ports = await freePorts(8);
const nodes: ServedNode[] = [];

function start(n: number, args: string[] = []): Promise<ServedNode> {
  return serve({ data: `${data}/node-${n}`, clientPort: ports[n * 2]!, peerPort: ports[n * 2 + 1]!, args });
}

async function succeeds(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await kvorum([...args, '--endpoints', nodes[0]!.endpoint]);
  assert.is(status, 0, `kvorum ${args.join(' ')}: ${stderr}`);
  return stdout;
}

async function fails(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await kvorum([...args, '--endpoints', nodes[0]!.endpoint]);
  assert.is(status, 1, `kvorum ${args.join(' ')} printed ${stdout}`);
  assert.not.match(stderr, /\n {4}at /);
  return stderr;
}

function roleOf(id: number, role: (node: StatusOfNode) => boolean): Promise<StatusOfNode> {
  return eventually(`node ${id} in its role`, async () =>
    (await statusOf([nodes[0]!.endpoint])).find((node) => node.id === id && role(node)),
  );
}

test('nodes that join one after the other become voters by themselves, a learner stays one', async () => {
  nodes.push(await start(0));
  nodes.push(await start(1, ['--join', nodes[0]!.endpoint]));
  await roleOf(2, ({ role }) => role === 'follower');
  // Its log begins with configurations that it is not in: those must not make it think that it was removed.
  nodes.push(await start(2, ['--join', nodes[1]!.endpoint, '--learner']));
  await roleOf(3, ({ role }) => role === 'learner');
  const table = await succeeds('member', 'list');
  assert.match(table, /^id +role +peers +clients +log\n1 +leader /);
  assert.match(table, /\n3 +learner +127\.0\.0\.1/);
});

test('status tells of every node, for people and for programs', async () => {
  const { stdout } = await kvorum(['status', '--json', '--endpoints', nodes[2]!.endpoint]);
  const { nodes: all }: { nodes: StatusOfNode[] } = JSON.parse(stdout);
  assert.equal(
    all.map(({ id, role, pid, endpoints }) => ({ id, role, pid, endpoints })),
    nodes.map(({ id, pid, endpoint }, i) => ({
      id,
      role: ['leader', 'follower', 'learner'][i],
      pid,
      endpoints: [endpoint],
    })),
  );
  for (const node of all)
    for (const field of ['term', 'commitIndex', 'appliedIndex', 'revision'] as const)
      assert.type(node[field], 'number');
  const table = await succeeds('status');
  assert.match(
    table,
    /^node +role +term +commit +applied +revision +pid +memory +health +clients\n1 +leader /,
  );
});

test('a learner is promoted, leadership moves, and a member is removed', async () => {
  assert.match(await succeeds('member', 'promote', '3'), /\n3 +voter /);
  assert.match(await succeeds('move-leader', '2'), /^node 2 leads\n$/);
  await roleOf(2, ({ role }) => role === 'leader');
  const moved = JSON.parse(await succeeds('move-leader', '--json'));
  assert.ok(moved.leader === 1 || moved.leader === 3);
  const { members } = JSON.parse(await succeeds('member', 'remove', '3', '--json'));
  assert.equal(
    members.map(({ id }: { id: number }) => id),
    [1, 2],
  );
  const ended = await nodes[2]!.command.ended;
  assert.is(ended.status, 0);
  assert.match(ended.stderr, /was removed from its cluster and has stopped/);
  const added = await succeeds('member', 'add', `127.0.0.1:${ports[7]}`, `127.0.0.1:${ports[6]}`);
  assert.is(added, 'added as learner 4\n');
  const status = await kvorum(['status', '--endpoints', nodes[0]!.endpoint]);
  assert.match(status.stderr, new RegExp(`node 4 at 127\\.0\\.0\\.1:${ports[6]} does not answer`));
  assert.match(await fails('member', 'promote', '4', '--timeout', '1500'), /LEARNER_NOT_READY|caught up/);
  await succeeds('member', 'remove', '4');
});

test('what cannot be done is refused with the reason', async () => {
  assert.match(await fails('member', 'remove', '9'), /MEMBER_NOT_FOUND/);
  assert.match(await fails('member', 'promote', '9'), /MEMBER_NOT_FOUND/);
  assert.match(await fails('move-leader', '9'), /9/);
  assert.match(await fails('member', 'remove', 'two'), /id is "two"/);
  const taken = `127.0.0.1:${ports[3]}`;
  assert.match(await fails('member', 'add', taken, nodes[1]!.endpoint), /MEMBER_EXISTS/);
  assert.match(await fails('member', 'add', 'nowhere', 'nowhere'), /nowhere/);
  assert.match(await fails('member', 'add', taken), /missing required argument 'client-host:port'/);
});

test('without a majority, status shows who is left and says that nobody leads', async () => {
  const nodesLeft = await statusOf([nodes[0]!.endpoint]);
  const leader = nodesLeft.find(({ role }) => role === 'leader')!;
  const gone = nodes.find(({ id }) => id === leader.id)!;
  const left = nodes.find(({ id }) => id !== leader.id && id !== 3)!;
  await gone.command.stop('SIGKILL');
  const status = await kvorum(['status', '--endpoints', left.endpoint]);
  assert.is(status.status, 0, status.stderr);
  assert.match(status.stderr, /no leader at the moment/);
  const put = await kvorum(['put', 'a', '1', '--endpoints', left.endpoint, '--timeout', '500']);
  assert.is(put.status, 1);
  assert.match(put.stderr, /`kvorum status` shows/);
});

test.after(endAll);

test.run();
