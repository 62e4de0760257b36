/** What shrinking leaves out must never make a linearizable history into one that is not: else it would show a violation where there is none. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { isIdle } from '../../../src/sim/check/compiled.ts';
import { dependents } from '../../../src/sim/check/dependents.ts';
import { type Operation, operationsOf } from '../../../src/sim/check/history.ts';
import type { JsonValue } from '../../../src/sim/check/json_value.ts';
import { checkHistory } from '../../../src/sim/check/linearizability.ts';
import { KV } from '../../../src/sim/check/models.ts';
import { operationsFrom, valuesBefore } from '../../../src/sim/check/window.ts';
import { test } from '../../suite.ts';
import { bruteForce, type Simulated, seeded, simulate } from './histories.ts';

const RUNS = Number(process.env['KVORUM_CHECK_RUNS'] ?? 300);
const register = KV.register!;

/** What a correct store did; only what matters. */
function sound(seed: number, values: number): Operation[] {
  const plan: Simulated = {
    operations: 9,
    processes: 3,
    keys: 1,
    values,
    writes: 0.35,
    cas: 0.2,
    deletes: 0.1,
    unknown: 1,
    tellsOfComparisons: true,
  };
  return operationsOf(simulate(plan, seeded(seed))).filter((operation) => !isIdle(KV, operation));
}

test('from any moment on, a linearizable history is linearizable from some value', () => {
  fc.assert(
    fc.property(fc.integer(), fc.constantFrom(0, 1, 2, 3), (seed, values) => {
      const operations = sound(seed, values);
      for (const { invokedAt } of operations) {
        const part = operationsFrom(operations, invokedAt, KV);
        const isFine = (init: JsonValue): boolean => bruteForce(part, { ...KV, init });
        assert.ok(valuesBefore(part, register).some(isFine), JSON.stringify([invokedAt, operations]));
      }
    }),
    { numRuns: RUNS },
  );
});

test('without a write and all that may have seen it, a linearizable history is linearizable', () => {
  fc.assert(
    fc.property(fc.integer(), fc.constantFrom(0, 1, 2, 3), (seed, values) => {
      const operations = sound(seed, values);
      const sets = dependents(operations, register);
      assert.ok(sets.length > 0 || operations.every(({ f }) => f === 'read' || f === 'cas'));
      for (const one of sets)
        for (const other of sets) {
          const gone = new Set([...one, ...other]);
          const left = operations.filter((operation) => !gone.has(operation));
          assert.ok(bruteForce(left, KV), JSON.stringify([[...gone], operations]));
        }
    }),
    { numRuns: RUNS },
  );
});

test('a violation in a history of few values is shown by a few operations', () => {
  for (const unknown of [0, 6]) {
    const plan = { operations: 500, processes: 5, keys: 1, values: 5, writes: 0.35, cas: 0.3, unknown };
    const history = simulate(plan, seeded(4));
    for (let round = 0; round < 10; round++)
      history.push(
        { process: 'last', key: 'k0', type: 'invoke', f: 'write', value: 0 },
        { process: 'last', key: 'k0', type: 'ok' },
        { process: 'last', key: 'k0', type: 'invoke', f: 'read' },
        { process: 'last', key: 'k0', type: 'ok', value: 1 },
      );
    const { violation } = checkHistory(history);
    assert.ok(violation!.operations.length <= 16, `${violation!.operations.length} operations`);
    for (const init of violation!.before)
      assert.is(checkHistory(violation!.operations, { model: { ...KV, init } }).verdict, 'not linearizable');
  }
});

test.run();
