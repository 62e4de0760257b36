/** Which disks may be damaged at once. */

import * as assert from 'uvu/assert';
import { DamageBudget } from '../../src/sim/faults/damage_budget.ts';
import { test } from '../suite.ts';

test('of three voters one may be damaged, and no second one until it is whole again', () => {
  const budget = new DamageBudget();
  const voters = [[1, 2, 3]];
  assert.is(budget.refusal(2, voters), undefined);
  budget.damage(2);
  assert.match(budget.refusal(1, voters)!, /node 2 is already/);
  assert.is(budget.refusal(2, voters), undefined, 'the same node again');
  budget.refused(2);
  assert.is(budget.damaged.get(2), 'refused');
  assert.ok(budget.refusal(3, voters));
  budget.restored(2);
  assert.not(budget.isDamaged(2));
  assert.is(budget.refusal(3, voters), undefined);
});

test('of five voters two may be damaged; one alone, or one of two, has no copy to spare', () => {
  assert.equal([1, 2, 3, 4, 5, 7].map(DamageBudget.allowance), [0, 0, 1, 1, 2, 3]);
  const budget = new DamageBudget();
  const voters = [[1, 2, 3, 4, 5]];
  budget.damage(1);
  assert.is(budget.refusal(2, voters), undefined);
  budget.damage(2);
  assert.match(budget.refusal(3, voters)!, /2 of 5 voters/);
  assert.match(new DamageBudget().refusal(1, [[1]])!, /no copy to spare/);
  assert.match(new DamageBudget().refusal(1, [[1, 2]])!, /no copy to spare/);
});

test('in the middle of a change both majorities count, and a learner never does', () => {
  const budget = new DamageBudget();
  budget.damage(4);
  assert.is(budget.refusal(1, [[1, 2, 3]]), undefined, 'node 4 is no voter');
  assert.ok(
    budget.refusal(1, [
      [1, 2, 3],
      [1, 2, 4],
    ]),
  );
  assert.is(budget.refusal(9, [[1, 2, 4]]), undefined, 'node 9 is no voter');
});

test.run();
