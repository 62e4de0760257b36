/** Transactions: against brute force on small histories that nobody chose, against a store that is correct, and the anomalies that have names. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { type HistoryEvent, type Operation, operationsOf } from '../../../src/sim/check/history.ts';
import type { JsonValue } from '../../../src/sim/check/json_value.ts';
import { checkHistory } from '../../../src/sim/check/linearizability.ts';
import type { Model } from '../../../src/sim/check/models.ts';
import { transactionsOf, txnModel } from '../../../src/sim/check/txn_history.ts';
import { test } from '../../suite.ts';
import { bruteForce, seeded } from './histories.ts';

const RUNS = Number(process.env['KVORUM_CHECK_RUNS'] ?? 200);

type Micro = [string, number, JsonValue];

interface Plan {
  readonly append: boolean;
  readonly transactions: number;
  readonly processes: number;
  readonly keys: number;
  /** Values of writes; 0: each its own. */
  readonly values: number;
  readonly lies: number;
  readonly unknown: number;
  readonly revisions: boolean;
}

interface Doing {
  readonly micros: Micro[];
  readonly lost: boolean;
  done?: Micro[];
  revision?: number;
}

/** What clients of a correct store see, but for the lies. */
function simulateTxns(plan: Plan, random: () => number): HistoryEvent[] {
  const whole = (below: number): number => Math.floor(random() * below);
  const events: HistoryEvent[] = [];
  const state = new Map<number, JsonValue>();
  const open = new Map<number, Doing>();
  let revision = 1;
  let fresh = 0;
  let begun = 0;
  let nextProcess = 0;
  const idle: number[] = [];
  for (; nextProcess < plan.processes; nextProcess++) idle.push(nextProcess);
  const takeEffect = (one: Doing): void => {
    one.done = one.micros.map(([f, key, value]): Micro => {
      const held = state.get(key) ?? null;
      if (f === 'r') return [f, key, held];
      state.set(key, f === 'w' ? value : [...(Array.isArray(held) ? held : []), value]);
      return [f, key, value];
    });
    if (one.micros.some(([f]) => f !== 'r')) revision++;
    one.revision = revision;
  };
  const lie = ([f, key, value]: Micro): Micro => {
    if (f !== 'r' || random() >= plan.lies) return [f, key, value];
    if (!plan.append) return [f, key, 1 + whole(plan.values || Math.max(1, fresh))];
    return [f, key, Array.isArray(value) && value.length > 0 ? value.slice(0, whole(value.length)) : null];
  };
  while (begun < plan.transactions || open.size > 0) {
    if (begun < plan.transactions && idle.length > 0 && random() < 0.5) {
      const process = idle.splice(whole(idle.length), 1)[0]!;
      const micros = Array.from({ length: 1 + whole(3) }, (): Micro => {
        const key = whole(plan.keys);
        if (random() < 0.5) return ['r', key, null];
        return [plan.append ? 'append' : 'w', key, plan.values === 0 ? ++fresh : 1 + whole(plan.values)];
      });
      open.set(process, { micros, lost: random() < plan.unknown });
      events.push({ process, type: 'invoke', f: 'txn', value: micros });
      begun++;
      continue;
    }
    if (open.size === 0) continue;
    const [process, one] = [...open][whole(open.size)]!;
    if (one.done === undefined && !(one.lost && random() < 0.4)) {
      takeEffect(one);
      continue;
    }
    open.delete(process);
    idle.push(one.lost ? nextProcess++ : process);
    if (one.lost) events.push({ process, type: 'info', f: 'txn' });
    else
      events.push({
        process,
        type: 'ok',
        f: 'txn',
        value: one.done!.map(lie),
        revision: plan.revisions ? one.revision : undefined,
      });
  }
  return events;
}

function plainModel(operations: readonly Operation[]): Model {
  return txnModel(transactionsOf(operations));
}

const small = { transactions: 6, processes: 3, keys: 2, unknown: 0.2, revisions: false };

for (const append of [true, false])
  for (const values of append ? [0] : [0, 2])
    test(`${append ? 'appends' : `writes of ${values || 'distinct'} values`}: every verdict is that of brute force`, () => {
      const seen = { yes: 0, no: 0 };
      fc.assert(
        fc.property(fc.integer(), fc.constantFrom(0, 0.3), (seed, lies) => {
          const operations = operationsOf(simulateTxns({ ...small, append, values, lies }, seeded(seed)));
          const expected = bruteForce(operations, plainModel(operations));
          if (expected) seen.yes++;
          else seen.no++;
          const { verdict } = checkHistory(operations, { model: 'txn' });
          assert.is(verdict, expected ? 'linearizable' : 'not linearizable', JSON.stringify(operations));
        }),
        { numRuns: RUNS },
      );
      assert.ok(seen.yes > RUNS / 4 && seen.no > RUNS / 20, `${seen.yes} yes, ${seen.no} no`);
    });

test('what a correct store answers is accepted, with and without revisions, also where it is long', () => {
  for (const append of [true, false])
    for (const revisions of [true, false]) {
      const plan = { ...small, append, revisions, values: 0, lies: 0, keys: 5, unknown: 0.02 };
      const events = simulateTxns({ ...plan, transactions: 1_500, processes: 5 }, seeded(5));
      assert.is(checkHistory(events).verdict, 'linearizable', `append ${append}, revisions ${revisions}`);
    }
});

let lastProcess = 0;
/** Transactions one after the other, each by a process of its own. */
function sequence(...values: readonly (readonly Micro[])[]): HistoryEvent[] {
  return values.flatMap((value): HistoryEvent[] => {
    const process = ++lastProcess;
    return [
      { process, type: 'invoke', f: 'txn', value: value.map(([f, k, v]) => [f, k, f === 'r' ? null : v]) },
      { process, type: 'ok', f: 'txn', value },
    ];
  });
}

/** All begin before any ends. */
function together(...values: readonly (readonly Micro[])[]): HistoryEvent[] {
  const events = sequence(...values);
  return [...events.filter(({ type }) => type === 'invoke'), ...events.filter(({ type }) => type === 'ok')];
}

function namesOf(events: readonly HistoryEvent[]): string[] {
  const result = checkHistory(events);
  assert.is(result.verdict, 'not linearizable');
  return (result.anomalies ?? []).map(({ name }) => name);
}

test('anomalies of lists have their names', () => {
  assert.equal(namesOf(sequence([['append', 1, 1]], [['r', 1, null]])), ['G-single-realtime']);
  assert.equal(
    namesOf(
      together(
        [
          ['r', 1, null],
          ['append', 2, 1],
        ],
        [
          ['r', 2, null],
          ['append', 1, 1],
        ],
      ),
    ),
    ['G2'],
  );
  assert.equal(
    namesOf(
      together(
        [
          ['append', 1, 1],
          ['r', 2, [1]],
        ],
        [
          ['append', 2, 1],
          ['r', 1, [1]],
        ],
      ),
    ),
    ['G1c'],
  );
  assert.equal(
    namesOf(
      together(
        [
          ['append', 1, 1],
          ['append', 2, 1],
        ],
        [
          ['append', 1, 2],
          ['append', 2, 2],
        ],
        [
          ['r', 1, [1, 2]],
          ['r', 2, [2, 1]],
        ],
      ),
    ),
    ['G0'],
  );
  assert.equal(
    namesOf(together([['append', 1, 1]], [['append', 1, 2]], [['r', 1, [1, 2]]], [['r', 1, [2]]])),
    ['incompatible-order'],
  );
  assert.equal(namesOf(together([['append', 1, 1]], [['r', 1, [1, 1]]])), ['duplicate-element']);
  assert.equal(namesOf(together([['r', 1, [7]]])), ['unwritten-value']);
  assert.equal(namesOf(together([['r', 1, 7]])), ['unwritten-value']);
  assert.equal(
    namesOf(
      together(
        [
          ['append', 1, 1],
          ['append', 1, 2],
        ],
        [['r', 1, [1]]],
      ),
    ),
    ['G1b'],
  );
  assert.equal(
    namesOf(
      together([
        ['append', 1, 1],
        ['r', 1, null],
      ]),
    ),
    ['internal'],
  );
  assert.equal(
    namesOf(
      together([
        ['r', 1, [1]],
        ['append', 1, 1],
      ]),
    ),
    ['internal'],
  );
  const failed: HistoryEvent[] = [
    { process: 'a', type: 'invoke', f: 'txn', value: [['append', 1, 1]] },
    { process: 'a', type: 'fail', f: 'txn' },
  ];
  assert.equal(namesOf([...failed, ...sequence([['r', 1, [1]]])]), ['G1a']);
});

test('anomalies of registers have their names', () => {
  assert.equal(namesOf(sequence([['w', 1, 1]], [['r', 1, null]])), ['G-single-realtime']);
  // A lost update: both replace the value that both read.
  assert.equal(
    namesOf(
      together(
        [['w', 1, 1]],
        [
          ['r', 1, 1],
          ['w', 1, 2],
        ],
        [
          ['r', 1, 1],
          ['w', 1, 3],
        ],
      ),
    ),
    ['G2'],
  );
  assert.equal(
    namesOf(
      together(
        [
          ['w', 1, 1],
          ['w', 1, 2],
        ],
        [['r', 1, 1]],
      ),
    ),
    ['G1b'],
  );
  assert.equal(
    namesOf(
      together(
        [
          ['w', 1, 1],
          ['r', 1, 2],
        ],
        [['w', 1, 2]],
      ),
    ),
    ['internal'],
  );
  assert.equal(namesOf(together([['w', 2, 1]], [['r', 1, 9]])), ['unwritten-value']);
  // A read of half a transaction that only a search finds: values are not distinct.
  const torn = sequence(
    [
      ['w', 1, 1],
      ['w', 2, 1],
    ],
    [
      ['w', 1, 2],
      ['w', 2, 2],
    ],
    [['w', 1, 1]],
    [
      ['r', 1, 2],
      ['r', 2, 1],
    ],
  );
  const result = checkHistory(torn);
  assert.is(result.verdict, 'not linearizable');
});

test('revisions order what values do not', () => {
  const [write, written, ...rest] = sequence([['w', 1, 1]], [['w', 1, 1]]);
  const again = { ...rest[1]!, revision: 4 };
  assert.equal(namesOf([write!, { ...written!, revision: 5 }, rest[0]!, again]), ['order-revision']);
  assert.equal(namesOf([write!, { ...written!, revision: 4 }, rest[0]!, again])[0], 'duplicate-revision');
});

test('a search that would take too long is undecided', () => {
  const plan = { ...small, append: false, values: 2, lies: 0, keys: 3, unknown: 0 };
  const events = simulateTxns({ ...plan, transactions: 300, processes: 8 }, seeded(3));
  const result = checkHistory(events, { maxSteps: 10 });
  assert.is(result.verdict, 'undecided');
  assert.match(result.undecided?.[0]?.reason ?? '', /steps/);
});

test('what is no transaction is refused, with its line', () => {
  for (const value of [3, [['x', 1, 1]], [['r']], [['w', 1]], [['r', null, 1]], [3]])
    assert.throws(
      () => checkHistory([{ process: 0, type: 'invoke', f: 'txn', value }]),
      /^KvError: line 1: |line 1: a txn is a list/,
    );
  assert.throws(() => checkHistory(sequence([['w', 1, 1]], [['append', 1, 1]])), /either/);
  assert.throws(() => checkHistory(sequence([['append', 1, 1]], [['r', 1, 3]])), /gives a list/);
  assert.throws(
    () =>
      checkHistory([
        { process: 0, type: 'invoke', f: 'txn', value: [['w', 1, 1]] },
        { process: 0, type: 'ok', f: 'txn', value: [['w', 1, 2]] },
      ]),
    /line 2: .*began with on line 1/,
  );
});

test.run();
