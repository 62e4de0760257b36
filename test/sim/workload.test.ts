/** The workload over a simulated cluster: what it does, that it is the same for the same seed, and that a healthy cluster passes all checks. */

import * as assert from 'uvu/assert';
import type { ConfigInput } from '../../src/config.ts';
import { EventHistory } from '../../src/sim/check/event_history.ts';
import { checkWatches } from '../../src/sim/check/watch_check.ts';
import { WORLD_BEGINS_MS } from '../../src/sim/core/sim_process.ts';
import { judge } from '../../src/sim/judge.ts';
import { type ClientRecorder, Recorder } from '../../src/sim/load/recorder.ts';
import { tokenOf, valueBytes, valueToken } from '../../src/sim/load/values.ts';
import { Workload } from '../../src/sim/load/workload.ts';
import { World } from '../../src/sim/world.ts';
import { test } from '../suite.ts';

interface Ran {
  readonly workload: Workload;
  readonly violations: ReturnType<typeof judge>;
  readonly hash: string;
}

async function runWorkload(
  seed: number,
  ops: number,
  trouble?: (world: World) => Promise<void>,
  node?: ConfigInput['node'],
): Promise<Ran> {
  const limits = { maxSessions: 20, sessionIdleMs: 1_000 };
  const world = new World({ seed, nodes: 3, config: { limits, node: { ...node } } });
  const workload = new Workload({
    ops,
    spreadMs: 5_000,
    random: world.random.fork('workload'),
    nowMs: () => world.nowMs,
    sleep: (delayMs) => world.sleep(delayMs),
    connect: (name, overhear, login) => world.client(name, { overhear, ...login }),
    limits: world.config.limits,
  });
  try {
    const mustReach = await world.run(async () => {
      await world.start();
      workload.start();
      const troubled = trouble?.(world);
      await workload.done;
      await troubled;
      return workload.settle();
    });
    const clocks = [1, 2, 3].map((node) => ({ node, fromMs: -1, offsetMs: WORLD_BEGINS_MS, rate: 1 }));
    const disturbances = trouble === undefined ? [] : [{ fromMs: 0, toMs: Number.POSITIVE_INFINITY }];
    const violations = judge(workload.recorder, {
      mustReach,
      nodes: [1, 2, 3],
      clocks,
      graceMs: 1_500,
      disturbances,
    });
    return { workload, violations, hash: String(world.trace.hash) };
  } finally {
    world.close();
  }
}

test('a healthy cluster passes, and every kind of call is made', async () => {
  const { workload, violations } = await runWorkload(11, 600);
  assert.equal(violations, []);
  const { operations, watchers } = workload.recorder;
  for (const kind of ['get', 'scan', 'put', 'delete', 'touch', 'batch', 'txn']) {
    assert.ok(
      operations.some((operation) => operation.kind === kind && operation.outcome === 'ok'),
      kind,
    );
  }
  for (const level of ['linearizable', 'sequential', 'eventual']) {
    assert.ok(
      operations.some((operation) => operation.kind === 'get' && operation.level === level),
      level,
    );
  }
  assert.ok(
    operations.some(({ kind, succeeded, outcome }) => kind === 'txn' && outcome === 'ok' && !succeeded),
  );
  assert.ok(operations.some(({ atRevision }) => atRevision > 0));
  assert.ok(watchers.some(({ batches }) => batches.some(({ events }) => events.length > 1)));
  assert.is(workload.pending().length, 0);
});

test('where little history is kept, some watchers ask for what is compacted', async () => {
  const { workload, violations } = await runWorkload(12, 600, undefined, { historyRevisions: 20 });
  assert.equal(violations, []);
  const refused = workload.recorder.watchers.filter(({ ended }) => ended?.code === 'COMPACTED');
  assert.ok(refused.length > 0);
  for (const { ended, fromRevision } of refused) assert.ok(ended!.compactRevision >= fromRevision);
});

test('a watcher whose consumer stands still is overtaken by compaction, and is told so', async () => {
  const world = new World({ seed: 12, nodes: 3, config: { node: { historyRevisions: 20 } } });
  const recorder = new Recorder(() => world.nowMs);
  const recorded = (name: string): ClientRecorder => {
    const client = recorder.client(name);
    client.use(world.client(name, { overhear: (channel) => client.listen(channel) }).store);
    return client;
  };
  await world.run(async () => {
    await world.start();
    const writer = recorded('writer');
    let wake = (): void => undefined;
    const stuck = new Promise<void>((resolve) => {
      wake = resolve;
    });
    const range = { start: 'k/', end: 'k0' };
    const watching = recorded('slow').watch(range, 2, new AbortController().signal, () => stuck);
    for (let i = 1; i <= 150; i++) {
      const step = { type: 'put', key: `k/${i % 7}`, value: valueToken('writer', i, 500), ttlMs: 0 } as const;
      await writer.perform({ kind: 'put', steps: [step], timeoutMs: 1_000 });
    }
    const compacted = (): number =>
      Math.min(...world.running().map(({ node }) => node!.service.status().compactRevision));
    await world.until(() => compacted() > 100, 'compaction on every node');
    wake();
    const { batches, ended } = await watching;
    assert.is(ended?.code, 'COMPACTED');
    assert.ok(batches.length > 0 && batches.at(-1)!.revision < ended!.compactRevision);
  });
  const history = new EventHistory(recorder);
  assert.equal(checkWatches(recorder.watchers, history), []);
  world.close();
});

test('the same seed makes the same calls, and another seed others', async () => {
  const first = await runWorkload(5, 150);
  const again = await runWorkload(5, 150);
  const other = await runWorkload(6, 150);
  assert.is(again.hash, first.hash);
  assert.equal(again.workload.recorder.operations, first.workload.recorder.operations);
  assert.is.not(other.hash, first.hash);
});

test('crashes and cuts leave unknown outcomes, few on a register, and the run passes', async () => {
  const { workload, violations } = await runWorkload(3, 900, async (world) => {
    for (let round = 0; round < 4; round++) {
      await world.sleep(500);
      const leader = world.leader()?.id ?? 1;
      world.partition(
        [leader],
        [1, 2, 3].filter((id) => id !== leader),
      );
      await world.sleep(700);
      world.heal();
      world.crash(leader, 'random');
      await world.startNode(leader);
    }
  });
  assert.equal(violations, []);
  const unknown = new Map<string, number>();
  for (const { outcome, steps } of workload.recorder.operations) {
    const [step] = steps;
    if (outcome !== 'info' || step === undefined || !('key' in step) || !step.key.startsWith('r/')) continue;
    unknown.set(step.key, (unknown.get(step.key) ?? 0) + 1);
  }
  assert.ok(
    [...workload.recorder.operations].some(({ outcome }) => outcome === 'info'),
    'no outcome was unknown',
  );
  assert.ok(Math.max(0, ...unknown.values()) <= 8);
});

test('a value tells who wrote it, and shows damage', () => {
  for (const size of [0, 12, 100, 5_000]) {
    const token = valueToken('c1', 7, size);
    const bytes = valueBytes(token);
    assert.is(tokenOf(bytes), token);
    assert.ok(bytes.length >= size);
    assert.match(tokenOf(bytes.subarray(0, bytes.length - 1)), /damaged/);
    const changed = new Uint8Array(bytes);
    changed[changed.length - 1]! ^= 1;
    assert.match(tokenOf(changed), /damaged/);
  }
  assert.is.not(valueToken('c1', 7, 10), valueToken('c1', 8, 10));
  assert.match(tokenOf(new Uint8Array(0)), /damaged/);
});

test.run();
