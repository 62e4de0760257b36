/** Fault plans: drawn from a seed, written down and read back, shrunk step by step. */

import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { SeededRandom } from '../../src/sim/core/seeded_random.ts';
import { drawFaultPlan } from '../../src/sim/faults/draw_fault_plan.ts';
import {
  describeStep,
  FAULT_KINDS,
  type FaultKind,
  formatFaultPlan,
  NO_FAULTS,
  parseFaultPlan,
  withoutSteps,
} from '../../src/sim/faults/fault_plan.ts';
import { test } from '../suite.ts';

const draw = (seed: number, nodes = 3, kinds?: readonly FaultKind[]) =>
  drawFaultPlan({
    nodes,
    horizonMs: 20_000,
    random: new SeededRandom(seed),
    ...(kinds === undefined ? {} : { kinds }),
  });

test('a seed always draws the same plan, and another one another', () => {
  for (let seed = 1; seed <= 50; seed++) assert.equal(draw(seed), draw(seed));
  const plans = new Set(Array.from({ length: 50 }, (_, seed) => JSON.stringify(draw(seed))));
  assert.ok(plans.size > 40, `${plans.size} plans of 50 seeds`);
});

test('every plan is valid, goes through its text and back, and has its steps in order', () => {
  for (let seed = 1; seed <= 300; seed++) {
    const plan = draw(seed, [1, 2, 3, 5, 7][seed % 5]);
    assert.equal(parseFaultPlan(formatFaultPlan(plan)), plan);
    plan.steps.forEach((step, i) => {
      assert.ok(i === 0 || plan.steps[i - 1]!.atMs <= step.atMs);
      assert.ok(step.atMs < 20_000);
      assert.ok(describeStep(step).startsWith(step.kind));
    });
  }
});

test('swarm: every kind is drawn, some plans are of one kind, some of many, some of none', () => {
  const kinds = new Set<string>();
  const sizes = new Map<number, number>();
  for (let seed = 1; seed <= 400; seed++) {
    const own = new Set(draw(seed, 5).steps.map(({ kind }) => kind));
    for (const kind of own) kinds.add(kind);
    sizes.set(own.size, (sizes.get(own.size) ?? 0) + 1);
  }
  assert.equal([...kinds].sort(), [...FAULT_KINDS].sort());
  assert.ok((sizes.get(0) ?? 0) > 4, 'plans without a fault');
  assert.ok((sizes.get(1) ?? 0) > 60, 'plans of a single kind');
  assert.ok(
    [...sizes].some(([size, count]) => size > 8 && count > 3),
    'plans of many kinds',
  );
});

test('a node alone is not told to fall out with others, and its disk is not damaged', () => {
  for (let seed = 1; seed <= 200; seed++)
    for (const { kind } of draw(seed, 1).steps)
      assert.not(['partition', 'drop', 'bitRot', 'lostTree', 'removeMember'].includes(kind), kind);
});

test('a node alone has no plan of kinds that need others', () => {
  for (let seed = 0; seed < 20; seed++) assert.equal(draw(seed, 1, ['partition', 'leaderChurn']).steps, []);
});

test('a plan of given kinds has no others', () => {
  const plan = draw(7, 3, ['crash']);
  assert.ok(plan.steps.every(({ kind }) => kind === 'crash'));
});

test('most plans of given kinds are of all of them, some of a part', () => {
  const sizes = [0, 0, 0, 0];
  for (let seed = 1; seed <= 200; seed++)
    sizes[new Set(draw(seed, 3, ['crash', 'drop', 'stop']).steps.map(({ kind }) => kind)).size]!++;
  assert.ok(sizes[3]! > 80, `all of them: ${sizes[3]}`);
  assert.ok(sizes[1]! > 10, `a single one: ${sizes[1]}`);
});

test('steps can be left out one by one', () => {
  const plan = draw(3);
  const [first, second] = plan.steps;
  const rest = withoutSteps(plan, new Set([first!.id]));
  assert.is(rest.steps.length, plan.steps.length - 1);
  assert.is(rest.steps[0], second);
});

test('a file that is no plan is refused with its reason', () => {
  const refused = (text: string, reason: RegExp): void => {
    try {
      parseFaultPlan(text);
    } catch (error) {
      assert.instance(error, KvError);
      assert.match((error as KvError).message, reason);
      return;
    }
    assert.unreachable(text);
  };
  refused('{', /no JSON/);
  refused('{"version":2,"steps":[]}', /version/);
  refused('{"version":1,"steps":[{"id":1,"atMs":1,"durationMs":1,"kind":"earthquake"}]}', /kind/);
  refused('{"version":1,"steps":[{"id":1,"atMs":-1,"durationMs":1,"kind":"addMember"}]}', /atMs/);
  const step = '{"id":1,"atMs":1,"durationMs":1,"kind":"addMember"}';
  refused(`{"version":1,"steps":[${step},${step}]}`, /one id/);
  refused(
    '{"version":1,"steps":[{"id":1,"atMs":1,"durationMs":1,"kind":"pause","node":1,"extra":2}]}',
    /extra/,
  );
  assert.equal(parseFaultPlan(formatFaultPlan(NO_FAULTS)), NO_FAULTS);
});

test.run();
