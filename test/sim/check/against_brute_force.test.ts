/** The checker against the plainest one there is, on thousands of small histories that nobody chose. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { type HistoryEvent, type Operation, operationsOf } from '../../../src/sim/check/history.ts';
import { canonical, type JsonValue } from '../../../src/sim/check/json_value.ts';
import { checkHistory } from '../../../src/sim/check/linearizability.ts';
import { CAS_REGISTER, KV, type Model, REGISTER } from '../../../src/sim/check/models.ts';
import { test } from '../../suite.ts';
import { bruteForce, seeded, simulate } from './histories.ts';

const RUNS = Number(process.env['KVORUM_CHECK_RUNS'] ?? 300);
const KINDS: Readonly<Record<string, readonly string[]>> = {
  register: ['read', 'write'],
  'cas-register': ['read', 'write', 'cas'],
  kv: ['get', 'put', 'delete', 'cas', 'read', 'write'],
};

/** Up to seven operations with answers out of thin air, some without an end, some failed. */
function wild(random: () => number, fs: readonly string[], values: number): HistoryEvent[] {
  const whole = (below: number): number => Math.floor(random() * below);
  const value = (): JsonValue => (random() < 0.15 ? null : whole(values));
  const events: HistoryEvent[] = [];
  const open = new Map<number, string>();
  let left = 3 + whole(5);
  let process = 0;
  const readers = random();
  while (left > 0 || open.size > 0) {
    if (left > 0 && (open.size === 0 || random() < 0.55)) {
      left--;
      const f = random() < readers * 0.6 ? (fs[0] ?? 'read') : fs[whole(fs.length)]!;
      const input = f === 'cas' ? [value(), value()] : f === 'put' || f === 'write' ? value() : null;
      open.set(process, f);
      events.push({ process: process++, type: 'invoke', f, key: 'x', value: input });
      continue;
    }
    const [one, f] = [...open][whole(open.size)]!;
    open.delete(one);
    const dice = random();
    if (dice < 0.12) events.push({ process: one, type: 'info', f });
    else if (dice < 0.2) events.push({ process: one, type: 'fail', f });
    else if (dice < 0.25) continue;
    else if (f === 'cas') events.push({ process: one, type: 'ok', succeeded: random() < 0.8 });
    else if (f === 'read' || f === 'get') events.push({ process: one, type: 'ok', value: value() });
    else events.push({ process: one, type: 'ok' });
  }
  return events;
}

function agree(operations: readonly Operation[], model: Model, seen: { yes: number; no: number }): void {
  const expected = bruteForce(operations, model) ? 'linearizable' : 'not linearizable';
  if (expected === 'linearizable') seen.yes++;
  else seen.no++;
  const text = (): string => JSON.stringify(operations, undefined, 1);
  const result = checkHistory(operations, { model });
  assert.is(result.verdict, expected, text());
  // The same machine, of which the checker knows nothing but its steps.
  const { register: _, ...plain } = model;
  assert.is(checkHistory(operations, { model: plain }).verdict, expected, `as steps: ${text()}`);
  if (result.violation === undefined) return;
  const { operations: core, stuck, order, before, shortest } = result.violation;
  assert.ok(shortest && core.includes(stuck), text());
  const follows = (init: JsonValue): boolean => {
    let state: JsonValue | undefined = init;
    for (const operation of order) state = state === undefined ? undefined : model.step(state, operation);
    return state !== undefined;
  };
  for (const init of before)
    assert.not(bruteForce(core, { ...model, init }), `what is left is linearizable: ${text()}`);
  assert.ok(before.some(follows), text());
}

for (const model of [REGISTER, CAS_REGISTER, KV]) {
  for (const values of [1, 2, 3, 6]) {
    test(`${model.name} with ${values} values: every verdict is that of brute force`, () => {
      const seen = { yes: 0, no: 0 };
      fc.assert(
        fc.property(fc.integer(), (seed) => {
          agree(operationsOf(wild(seeded(seed), KINDS[model.name]!, values)), model, seen);
        }),
        { numRuns: RUNS },
      );
      assert.ok(seen.yes > RUNS / 50 && seen.no > RUNS / 20, `${seen.yes} yes, ${seen.no} no`);
    });
  }
}

test('what a correct store answers is linearizable; with a lie, brute force decides', () => {
  const seen = { yes: 0, no: 0 };
  fc.assert(
    fc.property(fc.integer(), fc.constantFrom(0, 2, 3), fc.boolean(), (seed, values, lies) => {
      const plan = {
        operations: 7,
        processes: 4,
        keys: 1,
        values,
        writes: 0.3,
        cas: 0.2,
        deletes: 0.1,
        unknown: 2,
        tellsOfComparisons: seed % 2 === 0,
        lies: lies ? 0.3 : 0,
      };
      const operations = operationsOf(simulate(plan, seeded(seed)));
      if (!lies) assert.is(checkHistory(operations).verdict, 'linearizable', canonical(seed));
      agree(operations, KV, seen);
    }),
    { numRuns: RUNS },
  );
  assert.ok(seen.yes > RUNS / 2 && seen.no > RUNS / 50, `${seen.yes} yes, ${seen.no} no`);
});

test.run();
