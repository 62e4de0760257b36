/** Histories by hand: what every checker must accept, and the mistakes that stores have really made. */

import * as assert from 'uvu/assert';
import type { HistoryEvent } from '../../../src/sim/check/history.ts';
import type { JsonValue } from '../../../src/sim/check/json_value.ts';
import { checkHistory } from '../../../src/sim/check/linearizability.ts';
import type { Model } from '../../../src/sim/check/models.ts';
import { test } from '../../suite.ts';
import { seeded, simulate } from './histories.ts';

/** `0 write 1` begins, `0 ok`, `0 ok 3` (a read that gave 3), `0 fail`, `0 info`; values are JSON without spaces. */
function events(...lines: readonly string[]): HistoryEvent[] {
  return lines.map((line) => {
    const [who = '', what = '', text, more] = line.split(' ');
    const value: JsonValue | undefined = text === undefined ? undefined : JSON.parse(text);
    const event = { process: Number(who), key: 'x', value };
    if (what === 'ok' || what === 'fail' || what === 'info')
      return { ...event, type: what, succeeded: more === 'differs' ? false : undefined };
    return { ...event, type: 'invoke', f: what };
  });
}

function verdict(...lines: readonly string[]): string {
  return checkHistory(events(...lines)).verdict;
}

const accepted = (name: string, ...lines: readonly string[]): void => {
  test(`accepted: ${name}`, () => assert.is(verdict(...lines), 'linearizable'));
};

const refused = (name: string, reason: RegExp, ...lines: readonly string[]): void => {
  test(`refused: ${name}`, () => {
    const result = checkHistory(events(...lines));
    assert.is(result.verdict, 'not linearizable');
    assert.match(result.violation?.reason ?? '', reason);
  });
};

accepted('nothing at all');
accepted('one after the other', '0 read', '0 ok null', '0 write 1', '0 ok', '0 read', '0 ok 1');
accepted('a read beside a write sees the old value', '0 write 1', '1 read', '1 ok null', '0 ok');
accepted('a read beside a write sees the new value', '0 write 1', '1 read', '1 ok 1', '0 ok');
accepted(
  'a write without an answer took effect late',
  '0 write 1',
  '1 read',
  '1 ok null',
  '1 read',
  '1 ok 1',
);
accepted('a write without an answer never took effect', '0 write 1', '0 info', '1 read', '1 ok null');
accepted('a write that failed', '0 write 1', '0 fail', '1 read', '1 ok null');
accepted('a read of unknown answer', '0 write 1', '0 ok', '1 read', '1 info', '2 read', '2 fail');
accepted(
  'the same value written twice',
  '0 write 1',
  '1 write 2',
  '0 ok',
  '1 ok',
  '2 write 1',
  '3 read',
  '3 ok 2',
  '3 read',
  '3 ok 1',
  '2 ok',
);
accepted('a compare-and-set of a key that is not there', '0 cas [null,1]', '0 ok', '0 read', '0 ok 1');
accepted(
  'a compare-and-set without an answer that applied',
  '0 write 1',
  '0 ok',
  '1 cas [1,2]',
  '2 read',
  '2 ok 2',
);
accepted(
  'a deleted key',
  '0 put 1',
  '0 ok',
  '0 delete',
  '0 ok',
  '0 get',
  '0 ok null',
  '0 cas [null,2]',
  '0 ok',
  '0 get',
  '0 ok 2',
);
accepted(
  'objects whose names stand in another order',
  '0 write {"a":1,"b":2}',
  '0 ok',
  '0 read',
  '0 ok {"b":2,"a":1}',
);
accepted(
  'a process goes on after an unknown outcome',
  '0 write 1',
  '0 info',
  '0 read',
  '0 ok null',
  '0 read',
  '0 ok 1',
);

refused('a stale read', /can only be 2/, '0 write 1', '0 ok', '0 write 2', '0 ok', '1 read', '1 ok 1');
refused(
  'reads that go back',
  /can only be 2/,
  '0 write 1',
  '0 ok',
  '0 write 2',
  '1 read',
  '1 ok 2',
  '1 read',
  '1 ok 1',
);
refused('an acknowledged write that is lost', /can only be 1/, '0 write 1', '0 ok', '0 read', '0 ok null');
refused('a value that nobody wrote', /nobody had begun to write 7/, '0 write 1', '0 ok', '0 read', '0 ok 7');
refused('a value from the future', /later, line 3/, '0 read', '0 ok 1', '1 write 1', '1 ok');
refused(
  'a write that failed is read',
  /failed \(process 0, line 1\)/,
  '0 write 1',
  '0 fail',
  '1 read',
  '1 ok 1',
);
refused('a lost update', /cas x 1 to 3/, '0 write 1', '0 ok', '0 cas [1,2]', '1 cas [1,3]', '0 ok', '1 ok');
refused(
  'two sides of a partition',
  /./,
  '0 write 1',
  '0 ok',
  '1 write 2',
  '1 ok',
  '0 read',
  '0 ok 1',
  '1 read',
  '1 ok 2',
  '0 read',
  '0 ok 1',
);
refused(
  'readers that disagree on an order',
  /./,
  '0 write 1',
  '1 write 2',
  '2 read',
  '2 ok 1',
  '3 read',
  '3 ok 2',
  '2 read',
  '2 ok 1',
  '0 ok',
  '1 ok',
);
refused(
  'a write of unknown outcome that took effect twice',
  /./,
  '0 write 1',
  '0 info',
  '1 read',
  '1 ok 1',
  '1 write 2',
  '1 ok',
  '1 read',
  '1 ok 1',
);
refused(
  'a phantom after a delete',
  /can only be null/,
  '0 put 1',
  '0 ok',
  '0 delete',
  '0 ok',
  '0 get',
  '0 ok 1',
);
refused(
  'a comparison that says it did not hold, and did',
  /: not so/,
  '0 write 1',
  '0 ok',
  '0 cas [1,2]',
  '0 ok [1,2] differs',
);
refused('1 is not "1"', /./, '0 write 1', '0 ok', '0 read', '0 ok "1"');

test('keys are checked by themselves, and the violation says which', () => {
  const history: HistoryEvent[] = [];
  for (let key = 0; key < 20; key++)
    for (const one of events('0 put 1', '0 ok', '0 get', `0 ok ${key === 13 ? 2 : 1}`))
      history.push({ ...one, key });
  const result = checkHistory(history);
  assert.is(result.verdict, 'not linearizable');
  assert.is(result.partitions, 20);
  assert.is(result.violation?.key, 13);
});

test('a search that reaches its limits is undecided, and says which', () => {
  const plan = { operations: 2_000, processes: 20, keys: 1, values: 3, writes: 0.4, cas: 0.2 };
  const long = checkHistory(simulate(plan, seeded(1)), { maxSteps: 5_000 });
  assert.is(long.verdict, 'undecided');
  assert.match(long.undecided?.[0]?.reason ?? '', /limit of 5000 steps/);
  let clock = 0;
  const late = checkHistory(simulate(plan, seeded(1)), { now: () => (clock += 10), timeLimitMs: 15 });
  assert.match(late.undecided?.[0]?.reason ?? '', /time limit/);
  const wide = checkHistory(simulate(plan, seeded(1)), { maxConfigurations: 5 });
  assert.match(wide.undecided?.[0]?.reason ?? '', /more than 5 configurations/);
});

test('the shortest part of a long history is a few operations', () => {
  for (const deletes of [0, 0.1]) {
    const plan = {
      operations: 2_000,
      processes: 12,
      keys: 1,
      values: 0,
      writes: 0.4,
      cas: 0.1,
      deletes,
      unknown: 5,
    };
    const history = simulate(plan, seeded(9));
    const lie = history.findLastIndex(({ f, type }) => f === 'read' && type === 'ok');
    const first = history.find(({ f, type, value }) => f === 'read' && type === 'ok' && value !== null);
    history[lie] = { ...history[lie]!, value: first!.value };
    const { verdict: found, violation } = checkHistory(history);
    assert.is(found, 'not linearizable');
    assert.is(violation?.shortest, true);
    assert.ok(violation!.operations.length <= 6, `${violation!.operations.length} operations`);
  }
});

test('a model of your own: a lock that one process holds', () => {
  const lock: Model = {
    name: 'lock',
    init: null,
    step(holder, operation) {
      if (operation.f === 'lock') return holder === null ? operation.process : undefined;
      return holder === operation.process ? null : undefined;
    },
  };
  const check = (...lines: readonly string[]) => checkHistory(events(...lines), { model: lock });
  assert.is(check('0 lock', '1 lock', '0 ok', '0 unlock', '1 ok', '0 ok').verdict, 'linearizable');
  const broken = check('0 lock', '0 ok', '1 lock', '1 ok');
  assert.is(broken.verdict, 'not linearizable');
  assert.is(broken.violation?.stuck.process, 1);
  assert.equal(broken.violation?.states, [0]);
});

test.run();
