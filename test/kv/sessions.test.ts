/** A write happens once: sessions, retries, windows and what is forgotten (Raft thesis 6.3). */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import type { CommandResult, WriteId } from '../../src/kv/command.ts';
import { MAX_KEPT_RESULT_BYTES } from '../../src/kv/sessions.ts';
import { decodeState, encodeState } from '../../src/wire/state_codec.ts';
import { test } from '../suite.ts';
import { compare, nested, put, range, remove, Store, touch, txn, write } from './commands.ts';

/** Results from before and after the first write, empty branches, more than one level, and what follows after them. */
const NESTED = [
  remove('none'),
  nested([], [], [put('no', '')]),
  nested(
    [touch('none', 0)],
    [compare('version', '>', 'none', 0)],
    [touch('none', 0), nested([put('n1', ''), remove('none')]), nested([])],
  ),
  touch('none', 0),
  put('n2', ''),
];

function open(store: Store): number {
  const result = store.run({ type: 'openSession' });
  if (result.type !== 'session') throw new Error(JSON.stringify(result));
  return result.session;
}
function id(session: number, sequence: number, acknowledgedBelow = 1): WriteId {
  return { session, sequence, acknowledgedBelow };
}
function code(result: CommandResult): string {
  return result.type === 'failed' ? result.code : `not failed: ${result.type}`;
}

test('known failure 22: a repeated write gets the first result and is not applied again', () => {
  const store = new Store();
  const session = open(store);
  const commands = [
    write(put('a', '1'), id(session, 1)),
    write(put('a', '2', { prevKv: true }), id(session, 2)),
    txn([put('b', '1'), remove('none'), touch('a', 0), touch('none', 0)], [], [], id(session, 3)),
    txn([range('a'), put('c', '1')], [], [], id(session, 4)),
    write(remove('a', 'b', true), id(session, 5)),
    txn([put('z', '1'), put('z', '2')], [], [], id(session, 6)),
    txn(NESTED, [], [], id(session, 7)),
    txn([remove('none'), nested([touch('none', 1)])], [], [], id(session, 8)),
  ];
  const first = commands.map((command) => store.run(command));
  const revision = store.machine.revision;
  const records = store.engine.dump().length;
  assert.equal(
    commands.map((command) => store.run(command)),
    first,
  );
  assert.equal(
    [...commands].reverse().map((command) => store.run(command)),
    [...first].reverse(),
  );
  assert.is(store.machine.revision, revision);
  assert.is(store.engine.dump().length, records);
  assert.is(code(first[5]!), 'DUPLICATE_KEY');
});

test('several outstanding writes may arrive in any order', () => {
  const store = new Store();
  const session = open(store);
  assert.is(store.run(write(put('a', '3'), id(session, 3))).revision, 2);
  assert.is(store.run(write(put('a', '1'), id(session, 1))).revision, 3);
  assert.is(store.run(write(put('a', '3'), id(session, 3))).revision, 2);
  assert.is(store.run(write(put('a', '2'), id(session, 2))).revision, 4);
});

test('what was acknowledged is forgotten, and refused rather than applied again', () => {
  const store = new Store();
  const session = open(store);
  for (let sequence = 1; sequence <= 5; sequence++) store.run(write(put('a', ''), id(session, sequence)));
  store.run(write(put('a', ''), id(session, 6, 4)));
  assert.is(code(store.run(write(put('a', ''), id(session, 3)))), 'SESSION_EXPIRED');
  assert.is(store.run(write(put('a', ''), id(session, 4))).revision, 5, 'not acknowledged: still known');
  assert.is(store.machine.revision, 7);
});

test('unknown and closed sessions are refused; session 0 asks for no protection', () => {
  const store = new Store();
  assert.is(code(store.run(write(put('a', ''), id(99, 1)))), 'SESSION_EXPIRED');
  const session = open(store);
  assert.is(store.run(write(put('a', ''), id(session, 1))).type, 'put');
  assert.is(store.run({ type: 'closeSession', session }).type, 'done');
  assert.is(store.run({ type: 'closeSession', session }).type, 'done');
  assert.is(code(store.run(write(put('a', ''), id(session, 1)))), 'SESSION_EXPIRED');
  store.run(write(put('a', '')));
  store.run(write(put('a', '')));
  assert.is(store.machine.revision, 4);
});

test('a window of unacknowledged writes that is too wide is refused for now', () => {
  const store = new Store();
  const session = open(store);
  assert.is(code(store.run(write(put('a', ''), id(session, 41)))), 'OVERLOADED');
  assert.is(store.run(write(put('a', ''), id(session, 40))).type, 'put');
  assert.is(store.run(write(put('a', ''), id(session, 41, 2))).type, 'put');
  assert.is(store.run(write(put('a', ''), id(session, 40, 2))).revision, 2);
});

test('ids of sessions are never given twice, even several in one entry', () => {
  const store = new Store();
  const context = { index: 5, term: 1, timeMs: 1 };
  const ids = [1, 2, 3].map(() => store.machine.apply(context, { type: 'openSession' }));
  assert.equal(
    ids.map((result) => (result.type === 'session' ? result.session : 0)),
    [5, 6, 7],
  );
  const later = store.machine.apply({ ...context, index: 6 }, { type: 'openSession' });
  assert.equal(later, { type: 'session', revision: 1, session: 8 });
});

test('the number of sessions is bounded; idle ones give way, by the time of the store', () => {
  const store = new Store();
  const sessions = [1, 2, 3, 4].map(() => open(store));
  assert.is(code(store.run({ type: 'openSession' })), 'OVERLOADED');
  store.timeMs += 600;
  store.run(write(put('a', ''), id(sessions[1]!, 1)));
  store.timeMs += 600;
  open(store);
  assert.is(store.machine.sessionCount, 2);
  assert.is(code(store.run(write(put('a', ''), id(sessions[0]!, 1)))), 'SESSION_EXPIRED');
  assert.is(store.run(write(put('a', ''), id(sessions[1]!, 1))).revision, 2);
});

test('a result too large to keep is not kept, and its repetition is refused instead of applied', () => {
  const size = MAX_KEPT_RESULT_BYTES + 1;
  const store = new Store({ maxValueBytes: size, maxCommandBytes: 4 * size });
  const session = open(store);
  store.run(write(put('a', 'v'.repeat(size))));
  const result = store.run(write(put('a', '', { prevKv: true }), id(session, 1)));
  assert.ok(result.type === 'put' && result.previous?.value.length === size);
  assert.is(code(store.run(write(put('a', '', { prevKv: true }), id(session, 1)))), 'SESSION_EXPIRED');
  assert.is(store.machine.revision, 3);
});

test('a batch of thousands of writes is kept, packed', () => {
  const store = new Store({ maxTxnOperations: 10_000 });
  const session = open(store);
  const batch = txn(
    Array.from({ length: 10_000 }, (_, i) => put(`k${i}`, '')),
    [],
    [],
    id(session, 1),
  );
  const first = store.run(batch);
  assert.equal(store.run(batch), first);
  assert.is(store.machine.revision, 2);
});

test('property: a client that retries at random, over restores from bytes, sees each write happen once', () => {
  const step = fc.record({
    retryBack: fc.nat(35),
    acknowledge: fc.constantFrom(0, 0, 0, 1, 40),
    restore: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const store = new Store();
      const session = open(store);
      const results = new Map<number, CommandResult>();
      let sequence = 0;
      let acknowledgedBelow = 1;
      for (const { retryBack, acknowledge, restore } of steps) {
        sequence++;
        acknowledgedBelow = Math.min(sequence, Math.max(acknowledgedBelow + acknowledge, sequence - 30));
        results.set(
          sequence,
          store.run(write(put(`k${sequence}`, ''), id(session, sequence, acknowledgedBelow))),
        );
        if (restore) store.machine.restore(decodeState(encodeState(store.machine.captureState())));
        const repeated = sequence - retryBack;
        if (repeated < 1) continue;
        const again = store.run(
          write(put(`k${repeated}`, 'again'), id(session, repeated, Math.min(repeated, acknowledgedBelow))),
        );
        if (repeated < acknowledgedBelow) assert.is(code(again), 'SESSION_EXPIRED');
        else assert.equal(again, results.get(repeated));
      }
      assert.is(store.machine.revision, 1 + sequence);
      assert.ok(store.all().every((record) => record.version === 1 && record.value.length === 0));
    }),
    { numRuns: 60 },
  );
});

test.run();
