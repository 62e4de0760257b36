/** Three nodes as `kvorum local` runs them: the leader killed under load, a whole cluster stopped and started, killed and started. */

import * as assert from 'uvu/assert';
import { test } from '../suite.ts';
import {
  endAll,
  endWithTest,
  eventually,
  type LocalCluster,
  localBasePort,
  type StatusOfNode,
  signal,
  startLocal,
  statusOf,
  temporaryDirectory,
} from './processes.ts';
import { contents, RecordedWriter } from './recorded_writer.ts';

const LONGEST_PAUSE_MS = 3_000;

const data = temporaryDirectory();
const basePort = await localBasePort(3);
let cluster: LocalCluster;

/** All three answer, one leads, all have applied the same. */
async function settled(): Promise<StatusOfNode[]> {
  return eventually('three nodes that agree', async () => {
    const nodes = await statusOf(cluster.endpoints);
    const [first] = nodes;
    for (const { pid } of nodes) endWithTest(pid);
    const agree = nodes.every(
      (node) => node.appliedIndex === first!.appliedIndex && node.revision === first!.revision,
    );
    return nodes.length === 3 && agree && nodes.some(({ role }) => role === 'leader') ? nodes : undefined;
  });
}

async function allContents(): Promise<string[][]> {
  return Promise.all(cluster.endpoints.map((endpoint) => contents(endpoint)));
}

test('no acknowledged write is lost when the leader is killed three times, and the writer pauses for less than 3 s', async () => {
  cluster = await startLocal(3, data, basePort);
  const writer = await RecordedWriter.start(cluster.endpoints);
  const pausesMs: number[] = [];
  let lastTerm = 0;
  for (let round = 0; round < 3; round++) {
    const before = writer.acknowledged;
    await eventually('writes to go on', () => (writer.acknowledged > before + 200 ? true : undefined));
    const nodes = await settledEnough();
    const leader = nodes.find(({ role }) => role === 'leader')!;
    assert.ok(leader.term > lastTerm, 'a killed leader is followed by one of a later term');
    lastTerm = leader.term;
    writer.takeLongestPauseMs();
    const atKill = writer.acknowledged;
    signal(leader.pid, 'SIGKILL');
    await eventually('a write after the kill', () => (writer.acknowledged > atKill + 200 ? true : undefined));
    pausesMs.push(Math.round(writer.takeLongestPauseMs()));
    // kvorum local starts the killed node again by itself.
    await eventually('the killed node to be back', async () => {
      const back = (await statusOf(cluster.endpoints)).find(({ id }) => id === leader.id);
      if (back === undefined || back.pid === leader.pid) return undefined;
      endWithTest(back.pid);
      return back;
    });
  }
  console.log(`pauses of the writer: ${pausesMs.join(', ')} ms; acknowledged: ${writer.acknowledged}`);
  await writer.stop();
  await writer.verify();
  await settled();
  const [one, two, three] = await allContents();
  assert.ok(one!.length > 0);
  assert.equal(one, two);
  assert.equal(one, three);
  await writer.close();
  assert.ok(Math.max(...pausesMs) < LONGEST_PAUSE_MS, `the longest pause was ${Math.max(...pausesMs)} ms`);
});

/** All three answer and one leads; under load nobody agrees for long. */
async function settledEnough(): Promise<StatusOfNode[]> {
  return eventually('three nodes, one leading', async () => {
    const nodes = await statusOf(cluster.endpoints);
    return nodes.length === 3 && nodes.some(({ role }) => role === 'leader') ? nodes : undefined;
  });
}

test('a cluster that was stopped comes back with the same data at the same revision', async () => {
  const [{ revision }] = (await settled()) as [StatusOfNode];
  const before = await allContents();
  const pids = (await statusOf(cluster.endpoints)).map(({ pid }) => pid);
  const ended = await cluster.command.stop('SIGTERM');
  assert.is(ended.status, 0, ended.stderr);
  assert.not.match(ended.stderr, /does not stop/);
  for (const pid of pids) assert.not.ok(alive(pid), 'the nodes end before kvorum local does');
  cluster = await startLocal(3, data, basePort);
  assert.is((await settled())[0]!.revision, revision);
  assert.equal(await allContents(), before);
});

test('a cluster that was killed whole, under load, comes back with every acknowledged write', async () => {
  const writer = await RecordedWriter.start(cluster.endpoints, { prefix: 'k/' });
  await eventually('writes', () => (writer.acknowledged > 1_000 ? true : undefined));
  const pids = (await statusOf(cluster.endpoints)).map(({ pid }) => pid);
  assert.is(pids.length, 3);
  // Its parent first, so that it starts nothing again.
  cluster.command.child.kill('SIGKILL');
  for (const pid of pids) signal(pid, 'SIGKILL');
  await cluster.command.ended;
  await eventually('the nodes to be gone', () => (pids.some(alive) ? undefined : true));
  cluster = await startLocal(3, data, basePort);
  const atRestart = writer.acknowledged;
  await eventually('the same client to go on', () =>
    writer.acknowledged > atRestart + 100 ? true : undefined,
  );
  await writer.stop();
  await writer.verify();
  await settled();
  const [one, two, three] = await allContents();
  assert.equal(one, two);
  assert.equal(one, three);
  await writer.close();
  await cluster.command.stop();
});

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test.after(endAll);

test.run();
