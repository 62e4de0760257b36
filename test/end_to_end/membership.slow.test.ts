/** A cluster that grows from one node to three and shrinks back to one while a client writes; a node too far behind for the log catches up by snapshot. */
import { readdirSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { connect } from '../../src/index.ts';
import { test } from '../suite.ts';
import {
  type Ended,
  endAll,
  eventually,
  freePorts,
  kvorum,
  type ServedNode,
  type StatusOfNode,
  serve,
  statusOf,
  temporaryDirectory,
} from './processes.ts';
import { contents, RecordedWriter } from './recorded_writer.ts';

const MIB = 1024 * 1024;
/** Little of the log is kept, so that a node that was away for a while needs a snapshot. */
const SMALL_LOG = {
  storage: {
    logRetainBytes: 0,
    checkpointLogBytes: MIB,
    memtableSizeBytes: MIB,
    // Space for the log is made in quarters of preallocateBytes, each synced: much smaller steps would hold up a follower that has to catch up.
    segmentSizeBytes: MIB,
    preallocateBytes: MIB,
    logCacheBytes: MIB,
  },
  node: { historyRevisions: 100 },
};

const data = temporaryDirectory();
const ports = await freePorts(6);
const endpointOf = (n: number): string => `127.0.0.1:${ports[n * 2]}`;

const started: { name: string; node: ServedNode }[] = [];

async function start(n: number, args: string[] = [], name = `node-${n + 1}`): Promise<ServedNode> {
  const [clientPort, peerPort] = [ports[n * 2]!, ports[n * 2 + 1]!];
  const node = await serve({ data: `${data}/${name}`, clientPort, peerPort, config: SMALL_LOG, args });
  started.push({ name, node });
  return node;
}

async function succeeds(args: string[], endpoint: string): Promise<Ended> {
  const ended = await kvorum([...args, '--endpoints', endpoint, '--timeout', '20000']);
  if (ended.status !== 0) await tellState();
  assert.is(ended.status, 0, `kvorum ${args.join(' ')}: ${ended.stderr}`);
  return ended;
}

/** What the nodes say, where the test is about to fail. */
async function tellState(): Promise<void> {
  for (const n of [0, 1, 2]) {
    const status = await kvorum(['status', '--json', '--endpoints', endpointOf(n), '--timeout', '3000']);
    console.log(`${endpointOf(n)}: ${status.stdout}${status.stderr}`);
  }
  for (const { name, node } of started) {
    const { exitCode, signalCode } = node.command.child;
    console.log(`${name} (${exitCode ?? signalCode ?? 'it runs'}): ...${node.command.stderr.slice(-3_000)}`);
  }
}

function nodeIs(endpoint: string, id: number, test: (node: StatusOfNode) => boolean): Promise<StatusOfNode> {
  return eventually(`node ${id} as wanted`, async () => {
    const nodes = await statusOf([endpoint]);
    return nodes.find((node) => node.id === id && test(node));
  });
}

function isVoter(node: StatusOfNode): boolean {
  return node.role === 'follower' || node.role === 'leader';
}

async function sameContents(endpoints: string[]): Promise<void> {
  await eventually('the nodes to hold the same', async () => {
    const [first, ...others] = (await Promise.all(endpoints.map((endpoint) => contents(endpoint)))).map(
      (lines) => lines.join('\n'),
    );
    return others.every((other) => other === first) ? true : undefined;
  });
}

test('one node becomes three and one again under load, and no acknowledged write is lost', async () => {
  const first = await start(0);
  const writer = await RecordedWriter.start([endpointOf(0)], { valueBytes: 1_000 });
  const goesOn = (): Promise<unknown> => {
    const before = writer.acknowledged;
    return eventually('writes to go on', () => (writer.acknowledged > before + 300 ? true : undefined));
  };
  await goesOn();
  const second = await start(1, ['--join', endpointOf(0)]);
  await nodeIs(endpointOf(0), second.id, isVoter);
  const third = await start(2, ['--join', endpointOf(1)]);
  await nodeIs(endpointOf(0), third.id, isVoter);
  await goesOn();
  const members = JSON.parse((await succeeds(['member', 'list', '--json'], endpointOf(2))).stdout).members;
  assert.equal(
    members.map(({ id, role }: { id: number; role: string }) => [id, role]),
    [first, second, third].map(({ id }) => [id, 'voter']),
  );

  // The last node leads, so that its removal is the removal of a leader.
  await succeeds(['move-leader', String(third.id)], endpointOf(0));
  await nodeIs(endpointOf(0), third.id, ({ role }) => role === 'leader');
  await goesOn();
  await succeeds(['member', 'remove', String(third.id)], endpointOf(0));
  const removed = await third.command.ended;
  assert.is(removed.status, 0, removed.stderr);
  assert.match(removed.stderr, /was removed from its cluster/);
  await goesOn();
  await succeeds(['member', 'remove', String(second.id)], endpointOf(0));
  assert.is((await second.command.ended).status, 0);
  await goesOn();
  const nodes = await statusOf([endpointOf(0)]);
  assert.equal(
    nodes.map(({ id, role }) => [id, role]),
    [[first.id, 'leader']],
  );
  console.log(`longest pause over all changes: ${Math.round(writer.takeLongestPauseMs())} ms`);
  await writer.stop();
  await writer.verify();
  await writer.close();

  // A removed node that comes back is told by the first member that it dials.
  const back = await start(1);
  const told = await back.command.ended;
  assert.is(told.status, 0, told.stderr);
  assert.match(told.stderr, /was removed from its cluster/);

  await first.command.stop();
});

test('a node whose place in the log is gone, and a new one, catch up by snapshot', async () => {
  const first = await start(0);
  const second = await start(1, ['--join', endpointOf(0)], 'node-2-new');
  await nodeIs(endpointOf(0), second.id, isVoter);
  const third = await start(2, ['--join', endpointOf(0)], 'node-3-new');
  const { appliedIndex } = await nodeIs(endpointOf(0), third.id, isVoter);
  await third.command.stop('SIGKILL');

  const store = await connect({ endpoints: [endpointOf(0)], timeoutMs: 20_000 });
  const value = 'x'.repeat(20_000);
  const segments = (): string[] => readdirSync(`${data}/node-1/log`).filter((name) => name.endsWith('.log'));
  // Until the leader has cut every segment that the third node's next entry may be in.
  const old = segments();
  const began = performance.now();
  let round = 0;
  while (segments().some((name) => old.includes(name))) {
    // The leader keeps the log for a silent follower for some seconds.
    assert.ok(performance.now() - began < 60_000, `the log was not cut: ${segments().length} segments`);
    round++;
    await Promise.all(Array.from({ length: 20 }, (_, i) => store.put(`big/${i}`, value + round)));
  }
  const { revision } = await store.put('last', 'one');
  await store.close();

  const back = await start(2, [], 'node-3-new');
  assert.is(back.id, third.id);
  const caughtUp = await nodeIs(endpointOf(0), third.id, (node) => node.revision >= revision);
  assert.ok(caughtUp.appliedIndex > appliedIndex);
  await eventually('its log to tell of the snapshot', () =>
    /snapshot/i.test(back.command.stderr) ? true : undefined,
  );
  await sameContents([endpointOf(0), endpointOf(1), endpointOf(2)]);

  // It counts in a quorum: with the second node gone, writes need it.
  await second.command.stop('SIGKILL');
  await succeeds(['put', 'with', 'two'], `${endpointOf(0)},${endpointOf(2)}`);
  await Promise.all([first.command.stop(), back.command.stop()]);
  for (const name of ['node-1', 'node-2-new', 'node-3-new']) {
    const { status, stdout } = await kvorum(['check', `${data}/${name}`]);
    assert.is(status, 0, stdout);
  }
});

test.after(endAll);

test.run();
