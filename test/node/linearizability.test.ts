/** The checker itself: it must accept what is fine and refuse what is not, or the chaos test shows nothing. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { checkRegister, type HistoryEntry, type RegisterOperation } from './linearizability.ts';

const never = Number.POSITIVE_INFINITY;
const at = (invokedAt: number, returnedAt: number, operation: RegisterOperation): HistoryEntry => ({
  operation,
  invokedAt,
  returnedAt,
});
const read = (value: string | undefined): RegisterOperation => ({ kind: 'read', value });
const write = (value: string): RegisterOperation => ({ kind: 'write', value });
const cas = (expected: string, value: string, succeeded?: boolean): RegisterOperation =>
  succeeded === undefined ? { kind: 'cas', expected, value } : { kind: 'cas', expected, value, succeeded };

test('one after the other', () => {
  assert.is(
    checkRegister([at(1, 2, read(undefined)), at(3, 4, write('a')), at(5, 6, read('a'))]),
    'linearizable',
  );
});

test('a stale read after a write was acknowledged is found', () => {
  assert.is(
    checkRegister([at(1, 2, write('a')), at(3, 4, write('b')), at(5, 6, read('a'))]),
    'not linearizable',
  );
});

test('concurrent writes may take effect in either order, but readers must agree on one', () => {
  const writes = [at(1, 10, write('a')), at(2, 9, write('b'))];
  assert.is(checkRegister([...writes, at(11, 12, read('a'))]), 'linearizable');
  assert.is(checkRegister([...writes, at(11, 12, read('b'))]), 'linearizable');
  assert.is(checkRegister([...writes, at(11, 12, read('a')), at(13, 14, read('b'))]), 'not linearizable');
});

test('a write without an answer may take effect late, or never, but not twice', () => {
  const lost = at(1, never, write('a'));
  assert.is(checkRegister([lost, at(2, 3, read(undefined)), at(4, 5, read('a'))]), 'linearizable');
  assert.is(checkRegister([lost, at(2, 3, read(undefined))]), 'linearizable');
  assert.is(
    checkRegister([lost, at(2, 3, read('a')), at(4, 5, write('b')), at(6, 7, read('a'))]),
    'not linearizable',
  );
});

test('a compare-and-set tells the truth about what it found', () => {
  assert.is(
    checkRegister([at(1, 2, write('a')), at(3, 4, cas('a', 'b', true)), at(5, 6, read('b'))]),
    'linearizable',
  );
  assert.is(checkRegister([at(1, 2, write('a')), at(3, 4, cas('a', 'b', false))]), 'not linearizable');
  assert.is(checkRegister([at(1, 2, write('a')), at(3, 4, cas('x', 'b', true))]), 'not linearizable');
  assert.is(
    checkRegister([at(1, 2, write('a')), at(3, never, cas('a', 'b')), at(4, 5, read('b'))]),
    'linearizable',
  );
});

test('a search that takes too long is undecided, never fine', () => {
  const history = Array.from({ length: 14 }, (_, i) => at(i + 1, 100 + i, write(`${i}`)));
  assert.is(checkRegister([...history, at(200, 201, read('nobody wrote this'))], 1_000), 'undecided');
});

test.run();
