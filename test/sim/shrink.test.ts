/** Shrinking finds what a failure needs, keeps its kind, and ends. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { writeFailureFiles } from '../../src/sim/failure_files.ts';
import type { FaultPlan, FaultStep } from '../../src/sim/faults/fault_plan.ts';
import { parseFaultPlan } from '../../src/sim/faults/fault_plan.ts';
import { runSeed } from '../../src/sim/run.ts';
import { describeShrink, type FailingRun, type FailureSeen, shrink } from '../../src/sim/shrink.ts';
import { test } from '../suite.ts';

const VIOLATION: FailureSeen = { invariant: 'log matching', message: 'entry 7 differs', atMs: 1e6 };

function stop(id: number, node: number, durationMs = 1_000, atMs = id * 100): FaultStep {
  return { kind: 'stop', id, node, atMs, durationMs };
}

function planOf(count: number, nodeOf = (id: number): number => (id % 5) + 1): FaultPlan {
  return { version: 1, steps: Array.from({ length: count }, (_, id) => stop(id, nodeOf(id))) };
}

const ids = ({ plan }: FailingRun): number[] => plan.steps.map(({ id }) => id);
const step = (run: FailingRun, id: number): FaultStep | undefined =>
  run.plan.steps.find((one) => one.id === id);

test('the steps, calls, nodes and durations that a failure needs are all that is left', async () => {
  const run: FailingRun = { seed: 7, ops: 2_000, nodes: 5, plan: planOf(40, (id) => (id % 3) + 1) };
  let runs = 0;
  const result = await shrink({
    run,
    runner: async (candidate) => {
      runs++;
      const long = (step(candidate, 31)?.durationMs ?? 0) >= 250;
      return step(candidate, 4) !== undefined && long && candidate.ops >= 37 && candidate.nodes >= 3
        ? VIOLATION
        : undefined;
    },
  });
  assert.is(result.reproduced, true);
  assert.equal(ids(result.run), [4, 31]);
  assert.is(result.run.ops, 37);
  assert.is(result.run.nodes, 3);
  assert.is(step(result.run, 4)?.durationMs, 1);
  assert.is(step(result.run, 31)?.durationMs, 250);
  assert.is(result.removed.ops, 1_963);
  assert.is(result.removed.nodes, 2);
  assert.is(result.removed.steps.length, 38);
  assert.equal(result.removed.shortened, [4, 31]);
  assert.is(result.runs, runs);
  assert.is(result.ended, 'smallest');
  assert.is(result.failure, VIOLATION);
  assert.ok(runs < 200, `${runs} runs`);
});

test('a plan that has nothing to do with it goes at once', async () => {
  const result = await shrink({
    run: { seed: 1, ops: 100, nodes: 3, plan: planOf(30) },
    runner: async ({ ops }) => (ops >= 2 ? VIOLATION : undefined),
  });
  assert.equal(result.run, { seed: 1, ops: 2, nodes: 1, plan: { version: 1, steps: [] } });
  assert.ok(result.runs < 25, `${result.runs} runs`);
});

test('nodes that the plan names are kept', async () => {
  const plan: FaultPlan = {
    version: 1,
    steps: [
      { kind: 'partition', id: 1, atMs: 0, durationMs: 1, minority: [1, 'leader'] },
      { kind: 'cutLink', id: 2, atMs: 0, durationMs: 1, node: 'leader', to: 4 },
      { kind: 'crashAll', id: 3, atMs: 0, durationMs: 1, loss: 'all' },
    ],
  };
  const tried = new Set<number>();
  const result = await shrink({
    run: { seed: 1, ops: 1, nodes: 7, plan },
    runner: async (candidate) => {
      if (candidate.plan.steps.length < 3) return undefined;
      tried.add(candidate.nodes);
      return VIOLATION;
    },
  });
  assert.is(result.run.nodes, 4);
  assert.equal([...tried], [7, 4]);
});

test('another violation counts as none, and is told of', async () => {
  const other: FailureSeen = { invariant: 'liveness', message: 'stuck', atMs: 1e6 };
  const result = await shrink({
    run: { seed: 1, ops: 64, nodes: 3, plan: planOf(8) },
    runner: async (candidate) => (step(candidate, 5) === undefined ? other : VIOLATION),
  });
  assert.equal(ids(result.run), [5]);
  assert.is(result.failure?.invariant, 'log matching');
  assert.is(result.others.length, 1);
  assert.is(result.others[0]?.failure, other);
  assert.ok(result.others[0]!.times > 1);
  assert.ok(describeShrink(result, 'p.json').includes('failed otherwise'));
  assert.ok(describeShrink(result, 'p.json').includes('--seed 1 --ops 1 --nodes 1 --plan p.json'));
});

test('a run that does not fail in that way is not shrunk', async () => {
  const run: FailingRun = { seed: 1, ops: 10, nodes: 3, plan: planOf(3) };
  for (const failure of [undefined, { invariant: 'liveness', message: 'stuck', atMs: 1e6 }]) {
    const result = await shrink({ run, runner: async () => failure, invariant: 'log matching' });
    assert.is(result.reproduced, false);
    assert.is(result.ended, 'not reproduced');
    assert.is(result.runs, 1);
    assert.is(result.run, run);
    assert.ok(describeShrink(result, 'p.json').startsWith('The run did not fail in this way'));
  }
});

test('runs and time are bounded, and what was found until then is given', async () => {
  const run: FailingRun = { seed: 1, ops: 1_000, nodes: 5, plan: planOf(50) };
  const runner = async (candidate: FailingRun): Promise<FailureSeen | undefined> =>
    ids(candidate).length >= 20 ? VIOLATION : undefined;
  const byRuns = await shrink({ run, runner, maxRuns: 12 });
  assert.is(byRuns.runs, 12);
  assert.is(byRuns.ended, 'runs');
  assert.is(byRuns.run.ops, 1);
  let nowMs = 0;
  const slow = async (candidate: FailingRun): Promise<FailureSeen | undefined> => {
    nowMs += 100;
    return runner(candidate);
  };
  const byTime = await shrink({ run, runner: slow, maxMs: 1_000, nowMs: () => nowMs });
  assert.is(byTime.runs, 10);
  assert.is(byTime.ended, 'time');
  assert.is((await shrink({ run, runner, maxRuns: 0 })).reproduced, false);
});

test('steps after the violation go first', async () => {
  const sizes: number[] = [];
  await shrink({
    run: { seed: 1, ops: 1, nodes: 1, plan: planOf(40, () => 1) },
    runner: async (candidate) => {
      sizes.push(candidate.plan.steps.length);
      return ids(candidate).includes(2) ? { ...VIOLATION, atMs: 399 } : undefined;
    },
  });
  assert.equal(sizes.slice(0, 2), [40, 4]);
});

test('property: no step that is left could be left out, no run is made twice, and it is the same each time', async () => {
  const needs = fc.uniqueArray(fc.integer({ min: 0, max: 24 }), { maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(needs, fc.integer({ min: 1, max: 300 }), async (needed, minOps) => {
      const seen = new Set<string>();
      const runner = async (candidate: FailingRun): Promise<FailureSeen | undefined> => {
        const key = JSON.stringify(candidate);
        assert.not(seen.has(key), 'a run was made twice');
        seen.add(key);
        const has = new Set(ids(candidate));
        return candidate.ops >= minOps && needed.every((id) => has.has(id)) ? VIOLATION : undefined;
      };
      const run: FailingRun = { seed: 1, ops: 300, nodes: 5, plan: planOf(25) };
      const result = await shrink({ run, runner });
      assert.equal(new Set(ids(result.run)), new Set(needed));
      assert.is(result.run.ops, minOps);
      assert.is(result.ended, 'smallest');
      seen.clear();
      assert.equal(await shrink({ run, runner }), result);
    }),
    { numRuns: 60 },
  );
});

test('property: whatever a failure depends on, the result fails in the same way and is no greater', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer(), fc.integer({ min: 2, max: 9 }), async (salt, rarity) => {
      const runner = async (candidate: FailingRun): Promise<FailureSeen | undefined> => {
        let hash = salt;
        for (const character of JSON.stringify(candidate))
          hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193);
        return (hash >>> 0) % rarity === 0 ? VIOLATION : undefined;
      };
      const run: FailingRun = { seed: 1, ops: 200, nodes: 5, plan: planOf(12) };
      const result = await shrink({ run, runner, maxRuns: 300 });
      assert.is(result.reproduced, (await runner(run)) !== undefined);
      if (!result.reproduced) return;
      assert.is(await runner(result.run), VIOLATION);
      assert.ok(result.run.ops <= 200 && result.run.nodes <= 5 && result.run.plan.steps.length <= 12);
    }),
    { numRuns: 60 },
  );
});

test('the files of a failure: the smaller plan, the timeline and the page of the smaller run', async () => {
  const files = new Map<string, string>();
  const recorded: number[] = [];
  const told = await writeFailureFiles({
    run: { seed: 9, ops: 50, nodes: 3, plan: planOf(6) },
    failure: VIOLATION,
    rerun: async (run, record) => {
      if (record) recorded.push(run.ops);
      const failure = step(run, 3) === undefined ? undefined : { ...VIOLATION, atMs: 12 };
      return { failure, trace: [{ atMs: 11, seq: 0, lane: 'node-1', kind: 'start', label: 'start' }] };
    },
    timeline: 't.txt',
    html: 't.html',
    shrunkPlan: 'small.json',
    write: (file, text) => void files.set(file, text),
  });
  assert.equal(recorded, [1], 'the smaller run is the one that is shown');
  assert.equal(parseFaultPlan(files.get('small.json')!).steps, [stop(3, 4, 1)]);
  assert.ok(files.get('t.txt')!.includes('VIOLATION of log matching at 12.000 ms'));
  assert.ok(files.get('t.html')!.includes('log matching'));
  assert.ok(told.includes('--plan small.json') && told.includes('written: t.html'));
});

test('a failure that is gone when recorded is told of, and a run that is well can be shown', async () => {
  const files = new Map<string, string>();
  const write = (file: string, text: string): void => void files.set(file, text);
  const run: FailingRun = { seed: 9, ops: 50, nodes: 3, plan: planOf(0) };
  const rerun = async (): Promise<object> => ({});
  const gone = await writeFailureFiles({ run, failure: VIOLATION, rerun, timeline: 't.txt', write });
  assert.ok(gone.includes('ended otherwise'));
  const well = await writeFailureFiles({
    run,
    failure: undefined,
    rerun,
    html: 'p',
    shrunkPlan: 's',
    write,
  });
  assert.is(well, 'written: p\n');
  assert.not(files.has('s'));
});

test('a real run shrinks to the one fault that matters', async () => {
  const run: FailingRun = { seed: 4, ops: 60, nodes: 3, plan: planOf(4, () => 1) };
  const result = await shrink({
    run,
    // In the place of a violation: a node was stopped and began a second life.
    runner: async ({ seed, ops, nodes, plan }) => {
      const { stats, failure } = await runSeed({ seed, ops, nodes, faults: plan });
      assert.is(failure, undefined);
      return stats.starts > nodes ? VIOLATION : undefined;
    },
    maxRuns: 40,
  });
  assert.is(result.reproduced, true);
  assert.is(result.run.plan.steps.length, 1);
  assert.ok(result.run.ops < 60 && result.run.nodes === 1, JSON.stringify(result.run));
});

test.run();
