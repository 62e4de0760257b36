/** Each kind of fault is shown to have its effect, and a run with a plan to be the same each time. */

import * as assert from 'uvu/assert';
import type { KvError } from '../../src/errors.ts';
import type { FaultStep } from '../../src/sim/faults/fault_plan.ts';
import { Hazards } from '../../src/sim/faults/hazards.ts';
import { HEALTHY } from '../../src/sim/machines/peer_network.ts';
import { World } from '../../src/sim/world.ts';
import { test } from '../suite.ts';
import { runFaults } from './fault_run.ts';

type Shape = FaultStep extends infer Step
  ? Step extends FaultStep
    ? Omit<Step, 'id' | 'atMs'>
    : never
  : never;

interface Scene {
  readonly world: World;
  readonly hazards: Hazards;
  /** Notes and faults of the timeline so far. */
  told(): string;
  begin(...steps: Shape[]): Promise<void>;
}

/** A world of three in which steps are carried out at once. */
async function scene(nodes: number, play: (scene: Scene) => Promise<void>): Promise<void> {
  const world = new World({ seed: 5, nodes, record: true });
  const hazards = new Hazards(world);
  let id = 0;
  await world.run(async () => {
    await hazards.start({ version: 1, steps: [] });
    await play({
      world,
      hazards,
      told: () =>
        world.trace.events
          .filter(({ kind }) => kind !== 'disk')
          .map(({ label }) => label)
          .join('\n'),
      begin: async (...steps) => {
        hazards.faults.start({
          version: 1,
          steps: steps.map((step) => ({ ...step, id: id++, atMs: 0 }) as FaultStep),
        });
        await world.sleep(5);
      },
    });
  });
  assert.equal(hazards.checks.violations, []);
  world.close();
}

const blocked = (world: World): string[] => {
  const ids = [...world.nodes.keys()];
  return ids.flatMap((a) =>
    ids.filter((b) => a !== b && world.network.fault(a, b).blocked === true).map((b) => `${a}>${b}`),
  );
};

test('partitions: groups, one way, a bridge, a single link; each ends by itself', () =>
  scene(3, async ({ world, begin }) => {
    await begin({ kind: 'partition', durationMs: 50, minority: [1] });
    assert.equal(blocked(world), ['1>2', '1>3', '2>1', '3>1']);
    await world.sleep(60);
    await begin({ kind: 'oneWay', durationMs: 50, node: 2, direction: 'in' });
    assert.equal(blocked(world), ['1>2', '3>2']);
    await world.sleep(60);
    await begin({ kind: 'bridge', durationMs: 50, node: 3 });
    assert.equal(blocked(world), ['1>2', '2>1']);
    await begin({ kind: 'cutLink', durationMs: 200, node: 3, to: 1 });
    assert.equal(blocked(world), ['1>2', '1>3', '2>1', '3>1']);
    await world.sleep(60);
    assert.equal(blocked(world), ['1>3', '3>1'], 'effects end one by one');
    await world.sleep(200);
    assert.equal(blocked(world), []);
  }));

test('one leader after the other is cut off, and all are back in the end', () =>
  scene(3, async ({ world, begin, told }) => {
    const first = world.leader()!.id;
    await begin({ kind: 'leaderChurn', durationMs: 4_000, cutMs: 1_000, gapMs: 200 });
    const others = [1, 2, 3].filter((id) => id !== first);
    assert.equal(
      blocked(world),
      [...others.map((id) => `${first}>${id}`), ...others.map((id) => `${id}>${first}`)].sort(),
    );
    await world.sleep(1_100);
    assert.equal(blocked(world), []);
    await world.sleep(3_000);
    assert.equal(blocked(world), []);
    assert.ok(told().split('the leader is cut off').length > 3);
    await world.until(() => world.leader() !== undefined, 'a leader');
  }));

test('links that lose, repeat, reorder, delay and hold', () =>
  scene(3, async ({ world, begin }) => {
    const durationMs = 100;
    await begin(
      { kind: 'drop', durationMs, node: 1, rate: 0.25 },
      { kind: 'drop', durationMs: 50, node: 2, rate: 0.5 },
      { kind: 'duplicate', durationMs, node: 1, rate: 0.1 },
      { kind: 'reorder', durationMs, node: 1, rate: 0.2 },
      { kind: 'delay', durationMs, node: 1, delayMs: [3, 9] },
      { kind: 'hold', durationMs, node: 1 },
    );
    assert.equal(world.network.fault(2, 1), {
      blocked: false,
      held: true,
      dropRate: 0.5,
      duplicateRate: 0.1,
      reorderRate: 0.2,
      delayMs: [3, 9],
    });
    assert.is(world.network.fault(1, 2).held, false);
    await world.sleep(60);
    assert.is(world.network.fault(2, 1).dropRate, 0.25);
    await world.sleep(60);
    assert.is(world.network.fault(2, 1), HEALTHY);
  }));

test('clients: silence, refusal, delay and resets', () =>
  scene(1, async ({ world, begin }) => {
    const { store } = world.client('client');
    await store.put('a', '1');
    await begin({ kind: 'clientSilence', durationMs: 300, node: 1 });
    const late = await store.put('a', '2', { timeoutMs: 100 }).catch((error: unknown) => error);
    assert.is((late as KvError).code, 'TIMEOUT');
    await world.sleep(400);
    await begin({ kind: 'clientDelay', durationMs: 200, node: 1, delayMs: [50, 60] });
    const beganMs = world.nowMs;
    await store.get('a');
    assert.ok(world.nowMs - beganMs >= 100, 'there and back');
    await world.sleep(300);
    await begin({ kind: 'clientReset', durationMs: 0, node: 1 });
    await store.put('a', '3', { timeoutMs: 2_000 });
    await begin(
      { kind: 'clientRefused', durationMs: 100, node: 1 },
      { kind: 'clientReset', durationMs: 0, node: 1 },
    );
    await store.put('a', '4', { timeoutMs: 5_000 });
    assert.ok(world.nowMs > 500);
  }));

test('a crash, all crashes, a stop and a power cut: the node comes back by itself', () =>
  scene(3, async ({ world, begin, told }) => {
    const lives = (): number[] => [1, 2, 3].map((id) => world.node(id).lives);
    await begin({ kind: 'crash', durationMs: 100, node: 2, loss: 'random' });
    assert.is(world.node(2).state, 'down');
    await world.until(() => world.node(2).isUp, 'node 2 is back');
    assert.equal(lives(), [1, 2, 1]);
    await begin({ kind: 'crashAll', durationMs: 50, loss: 'all' });
    assert.is(world.running().length, 0);
    await world.until(() => world.running().length === 3 && world.leader() !== undefined, 'all are back');
    assert.equal(lives(), [2, 3, 2]);
    await begin({ kind: 'stop', durationMs: 3_000, node: 3 });
    await world.until(() => world.node(3).state === 'down', 'node 3 has stopped');
    await begin({ kind: 'powerCutAt', durationMs: 2_000, node: 1, operations: 2, loss: 'torn1' });
    await world.untilLeader();
    await world.until(
      () => world.node(1).lives === 3 && world.node(1).isUp,
      'node 1 lost its power and came back',
      10_000,
    );
    assert.match(told(), /power/i);
  }));

test('a power cut while a node stops leaves a disk that comes back with the machine', () =>
  scene(3, async ({ world, begin }) => {
    await begin({ kind: 'powerCutAt', durationMs: 2_000, node: 'leader', operations: 1, loss: 'all' });
    const leader = world.leader()!;
    await begin({ kind: 'stop', durationMs: 500, node: leader.id });
    await world.until(() => leader.state === 'down', 'it is down');
    assert.not(leader.disk.memory.down);
    await world.until(() => leader.isUp, 'it is back', 10_000);
  }));

test('a pause, and clocks that jump and drift', () =>
  scene(3, async ({ world, hazards, begin }) => {
    await begin({ kind: 'pause', durationMs: 500, node: 'leader' });
    const paused = [...world.nodes.values()].find(({ isPaused }) => isPaused)!;
    await world.sleep(600);
    assert.not(paused.isPaused);
    assert.not(hazards.faults.clocksMoved);
    await begin({ kind: 'clockJump', durationMs: 100, node: 1, offsetMs: 60_000 });
    assert.is(world.node(1).clock.offsetMs, 60_000);
    await begin({ kind: 'clockDrift', durationMs: 100, node: 2, rate: 1.1 });
    assert.is(world.node(2).clock.rate, 1.1);
    assert.ok(hazards.faults.clocksMoved);
    await world.sleep(200);
    assert.is(world.node(1).clock.offsetMs, 0);
    assert.is(world.node(2).clock.rate, 1);
  }));

for (const kind of ['writeError', 'syncError'] as const) {
  test(`a disk that fails a ${kind === 'writeError' ? 'write' : 'sync'} ends its node, which comes back`, () =>
    scene(3, async ({ world, begin, told }) => {
      await begin({ kind, durationMs: 1_000, node: 2, nth: 1, loss: 'all' });
      await world.client('client').store.put('a', '1');
      await world.until(() => world.node(2).lives === 2 && world.node(2).isUp, 'node 2 is back');
      assert.match(told(), /injected/);
    }));
}

test('a full disk, short writes, a slow and a stuck disk', () =>
  scene(1, async ({ world, begin }) => {
    const { store } = world.client('client');
    const { memory } = world.disk(1);
    const write = (timeoutMs: number): Promise<string> =>
      store.put('a', 'x'.repeat(50_000), { timeoutMs }).then(
        () => 'ok',
        (error: unknown) => (error as KvError).code,
      );
    await begin({ kind: 'noSpace', durationMs: 500, node: 1, freeBytes: 10 });
    assert.is(await write(400), 'NO_SPACE');
    await world.sleep(2_000);
    assert.is(await write(1_000), 'ok');
    await begin({ kind: 'shortWrites', durationMs: 100, node: 1, bytes: 7 });
    assert.is(memory.shortWriteBytes, 7);
    assert.is(await write(1_000), 'ok');
    await world.sleep(200);
    assert.is(memory.shortWriteBytes, Number.POSITIVE_INFINITY);
    await begin({ kind: 'slowDisk', durationMs: 500, node: 1, delayMs: [150, 160] });
    const beganMs = world.nowMs;
    assert.is(await write(2_000), 'ok');
    assert.ok(world.nowMs - beganMs >= 150);
    await world.sleep(600);
    await begin({ kind: 'stuckDisk', durationMs: 400, node: 1 });
    assert.ok(world.disk(1).stuck);
    assert.is(await write(200), 'TIMEOUT');
    await world.sleep(300);
    assert.not(world.disk(1).stuck);
    assert.is(await write(1_000), 'ok');
  }));

const damages: Shape[] = [
  { kind: 'bitRot', durationMs: 50, node: 2, area: 'log', file: 0, place: 0.3, mask: 4 },
  {
    kind: 'misdirectedWrite',
    durationMs: 50,
    node: 2,
    area: 'log',
    file: 0,
    from: 0,
    place: 0.2,
    bytes: 64,
  },
  { kind: 'truncation', durationMs: 50, node: 2, area: 'log', file: 0, place: 0.1 },
  { kind: 'lostFile', durationMs: 50, node: 2, area: 'identity', file: 0 },
];

for (const damage of damages) {
  test(`a disk with ${damage.kind}: its node refuses to start, and another one takes its place`, () =>
    scene(3, async ({ world, hazards, begin }) => {
      const { store } = world.client('client');
      // Several segments: what is cut off the last one looks like a write that was torn.
      for (let i = 0; i < 40; i++) await store.put(`k${i}`, 'x'.repeat(8_000));
      await begin(damage);
      assert.ok(hazards.budget.isDamaged(2));
      // A second victim would be one too many.
      await begin({ kind: 'lostTree', durationMs: 10, node: 3 });
      assert.not(hazards.budget.isDamaged(3));
      assert.is(hazards.faults.counts['lostTree'], undefined);
      await world.until(() => hazards.keeper.isGone(2), 'node 2 is given up', 5_000);
      await world.until(
        () => world.nodes.has(4) && world.node(4).isUp && !hazards.keeper.replacing,
        'node 4 has come',
      );
      await world.until(() => hazards.budget.damaged.size === 0, 'nobody counts as damaged');
      assert.is((await store.get('k7'))?.length, 8_000);
    }));
}

test('a tree that is gone is fetched from another node', () =>
  scene(3, async ({ world, hazards, begin }) => {
    const { store } = world.client('client');
    for (let i = 0; i < 400; i++) await store.put(`k${i % 50}`, 'x'.repeat(2_000));
    await begin({ kind: 'lostTree', durationMs: 50, node: 2 });
    await world.until(() => hazards.budget.damaged.size === 0, 'it is whole again, or replaced', 60_000);
    await hazards.end({
      majorityFirst: false,
      pending: () => [],
      probe: async () => {
        await store.put('probe', '1');
      },
    });
  }));

test('a disk that fails a read', () =>
  scene(3, async ({ world, hazards, begin }) => {
    await begin(
      { kind: 'readError', durationMs: 100, node: 2, nth: 1, loss: 'none' },
      { kind: 'crash', durationMs: 20, node: 2, loss: 'none' },
    );
    await world.until(
      () => world.node(2).isUp && world.node(2).lives >= 2 && hazards.budget.damaged.size === 0,
      'node 2 is whole',
    );
  }));

test('the cluster changes: a member more, a member less, another leader', () =>
  scene(3, async ({ world, hazards, begin }) => {
    const voters = (): number =>
      world.leader()?.node?.parts.consensus.raft.status().configuration.voters.length ?? 0;
    await begin({ kind: 'removeMember', durationMs: 0, node: 2 });
    assert.is(hazards.faults.counts['removeMember'], undefined, 'three need all three');
    await begin({ kind: 'addMember', durationMs: 0 });
    await world.until(() => voters() === 4, 'four voters');
    await begin({ kind: 'removeMember', durationMs: 0, node: 2 });
    await world.until(() => voters() === 3, 'three voters');
    await world.until(() => hazards.keeper.isGone(2), 'node 2 is switched off');
    const before = (await world.untilLeader()).id;
    await begin({ kind: 'moveLeader', durationMs: 0 });
    await world.until(() => world.leader() !== undefined && world.leader()!.id !== before, 'another leader');
  }));

test('whoever is meant is not there: nothing happens, and the timeline says so', () =>
  scene(1, async ({ begin, hazards, told }) => {
    await begin(
      { kind: 'crash', durationMs: 10, node: 9, loss: 'all' },
      { kind: 'crash', durationMs: 10, node: 'follower', loss: 'all' },
      { kind: 'bridge', durationMs: 10, node: 1 },
      { kind: 'bitRot', durationMs: 50, node: 1, area: 'log', file: 0, place: 0.3, mask: 4 },
    );
    assert.equal(hazards.faults.counts, {});
    assert.match(told(), /there is no node 9/);
    assert.match(told(), /no copy to spare/);
  }));

test('a run with a plan is the same each time, and every invariant holds', async () => {
  for (const seed of [8, 15]) {
    const options = { seed, nodes: 3, horizonMs: 3_000 };
    const first = await runFaults(options);
    assert.is(first.violation, undefined);
    assert.is(first.stuck, undefined);
    assert.ok(first.done > 50);
    const second = await runFaults(options);
    assert.is(second.hash, first.hash);
    assert.is((await runFaults({ ...options, plan: first.plan, record: true })).hash, first.hash);
  }
});

test.run();
