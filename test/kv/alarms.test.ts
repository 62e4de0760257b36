/** Alarms: what they refuse, who may take them back, retries across them, and that they are part of the state. */

import * as assert from 'uvu/assert';
import { MAX_ALARMS } from '../../src/kv/alarms.ts';
import type { Command, CommandResult } from '../../src/kv/command.ts';
import type { Alarm } from '../../src/kv/upkeep_command.ts';
import { decodeState, encodeState } from '../../src/wire/state_codec.ts';
import { test } from '../suite.ts';
import { compare, key, NO_ID, put, range, remove, Store, touch, txn, write } from './commands.ts';

const FULL: Alarm = { type: 'nospace', member: 2, byNode: false };
const CORRUPT: Alarm = { type: 'corrupt', member: 0, byNode: false };

function raise(alarm: Alarm): Command {
  return { type: 'alarm', action: 'raise', alarm };
}
function clear(alarm: Alarm): Command {
  return { type: 'alarm', action: 'clear', alarm };
}
function outcome(result: CommandResult): string {
  return result.type === 'failed' ? result.code : result.type;
}
function concerned(result: CommandResult): readonly Alarm[] {
  assert.is(result.type, 'alarms');
  return result.type === 'alarms' ? result.alarms : [];
}

const COMMANDS: readonly (readonly [string, Command, string, string])[] = [
  ['put', write(put('a', '1')), 'ALARM_NO_SPACE', 'ALARM_CORRUPT'],
  ['touch', write(touch('a', 5)), 'ALARM_NO_SPACE', 'ALARM_CORRUPT'],
  ['delete', write(remove('b')), 'delete', 'ALARM_CORRUPT'],
  ['txn that reads', txn([range('a')]), 'txn', 'txn'],
  ['txn that deletes', txn([remove('b')]), 'txn', 'ALARM_CORRUPT'],
  [
    'txn with a put that is not reached',
    txn([put('a', '')], [compare('version', '=', 'a', 77)]),
    'ALARM_NO_SPACE',
    'ALARM_CORRUPT',
  ],
  ['expire', { type: 'expire', keys: [key('a')] }, 'done', 'ALARM_CORRUPT'],
  ['compact', { type: 'compact', revision: 2 }, 'done', 'ALARM_CORRUPT'],
  [
    'lease grant',
    { type: 'leaseGrant', id: NO_ID, lease: 7n, ttlMs: 9_000 },
    'ALARM_NO_SPACE',
    'ALARM_CORRUPT',
  ],
  ['open session', { type: 'openSession' }, 'session', 'session'],
];

for (const [what, command, whenFull, whenCorrupt] of COMMANDS) {
  test(`${what}: under NOSPACE ${whenFull}, under CORRUPT ${whenCorrupt}`, () => {
    for (const [alarms, expected] of [
      [[FULL], whenFull],
      [[CORRUPT], whenCorrupt],
      [[FULL, CORRUPT], whenCorrupt === 'ALARM_CORRUPT' ? whenCorrupt : whenFull],
    ] as const) {
      const store = new Store();
      store.run(write(put('a', '0')));
      store.run(write(put('b', '0')));
      for (const alarm of alarms) store.run(raise(alarm));
      const before = store.engine.dump();
      const revision = store.machine.revision;
      const result = store.run(command);
      assert.is(outcome(result), expected);
      if (result.type !== 'failed') continue;
      assert.equal(store.engine.dump(), before, 'a refused command has written nothing');
      assert.is(store.machine.revision, revision);
      for (const alarm of alarms) store.run(clear(alarm));
      assert.is.not(outcome(store.run(command)), expected);
    }
  });
}

test('raised twice it is there once; cleared twice the second time finds nothing', () => {
  const { run, machine } = bound(new Store());
  assert.equal(concerned(run(raise(FULL))), [FULL]);
  assert.equal(concerned(run(raise(FULL))), [FULL]);
  run(raise(CORRUPT));
  run(raise({ ...FULL, member: 1 }));
  assert.equal(machine.alarms.list, [{ ...FULL, member: 1 }, FULL, CORRUPT]);
  assert.equal(concerned(run(clear({ ...FULL, member: 9 }))), []);
  assert.equal(concerned(run(clear(FULL))), [FULL]);
  assert.equal(concerned(run(clear(FULL))), []);
});

test('a node takes back what it has raised itself, and nothing else', () => {
  const { run, machine } = bound(new Store());
  const own = { ...FULL, byNode: true };
  run(raise(own));
  assert.is(outcome(run(write(put('a', '')))), 'NO_SPACE', 'this one passes by itself');
  assert.equal(concerned(run(clear(own))), [own]);
  run(raise(own));
  assert.equal(concerned(run(raise(FULL))), [FULL], 'somebody insists');
  assert.is(outcome(run(write(put('a', '')))), 'ALARM_NO_SPACE');
  assert.equal(concerned(run(raise(own))), [FULL]);
  assert.equal(concerned(run(clear(own))), []);
  assert.equal(machine.alarms.list, [FULL]);
  run(clear(FULL));
  run(raise(own));
  assert.equal(concerned(run(clear(FULL))), [own], 'whoever asks may clear it');
  assert.is(outcome(run(write(put('a', '')))), 'put');
});

test('known failure 22: a retry of a write that was applied before the alarm gets its result, one that was refused stays refused', () => {
  const store = new Store();
  store.run({ type: 'openSession' });
  const first = write(put('a', '1'), { session: 1, sequence: 1, acknowledgedBelow: 1 });
  const second = write(put('a', '2'), { session: 1, sequence: 2, acknowledgedBelow: 1 });
  const applied = store.run(first);
  store.run(raise(FULL));
  assert.equal(store.run(first), applied);
  assert.is(outcome(store.run(second)), 'ALARM_NO_SPACE');
  store.run(clear(FULL));
  assert.is(outcome(store.run(second)), 'ALARM_NO_SPACE');
  assert.equal(store.get('a'), ['a', '1', 2, 2, 1]);
});

test('alarms are part of the state', () => {
  const store = new Store();
  for (const alarm of [CORRUPT, FULL, { ...FULL, member: 1, byNode: true }]) store.run(raise(alarm));
  const other = new Store();
  other.machine.restore(decodeState(encodeState(store.machine.captureState())));
  assert.equal(other.machine.alarms.list, store.machine.alarms.list);
  assert.is(outcome(other.run(write(put('a', '1')))), 'ALARM_CORRUPT');
  other.machine.restore(new Store().machine.captureState());
  assert.is(outcome(other.run(write(put('a', '1')))), 'put');
});

test('there is room for so many', () => {
  const store = new Store();
  for (let member = 1; member <= MAX_ALARMS; member++) store.run(raise({ ...FULL, member }));
  assert.is(outcome(store.run(raise(CORRUPT))), 'OVERLOADED');
  assert.is(outcome(store.run(raise({ ...FULL, member: 7 }))), 'alarms');
  store.run(clear({ ...FULL, member: 8 }));
  assert.is(outcome(store.run(raise(CORRUPT))), 'alarms');
});

function bound(store: Store): { run: (command: Command) => CommandResult; machine: Store['machine'] } {
  return { run: (command) => store.run(command), machine: store.machine };
}

test.run();
