/** Error codes are part of the wire: their numbers are unique and come back as the same code. */

import * as assert from 'uvu/assert';
import { ERROR_CODES, type ErrorCode, errorCodeOf, errorNumber, KvError } from '../src/errors.ts';
import { test } from './suite.ts';

test('numbers are unique and map back', () => {
  const codes = Object.keys(ERROR_CODES) as ErrorCode[];
  assert.is(new Set(codes.map(errorNumber)).size, codes.length);
  for (const code of codes) assert.is(errorCodeOf(errorNumber(code)), code);
});

test('an unknown number reads as INTERNAL', () => {
  assert.is(errorCodeOf(65_000), 'INTERNAL');
});

test('an error carries its code, whether to retry, and whether it may have taken effect', () => {
  const error = new KvError('TIMEOUT', 'no answer', { maybeApplied: true, details: { limitMs: 5 } });
  assert.is(error.code, 'TIMEOUT');
  assert.is(error.retryable, true);
  assert.is(error.maybeApplied, true);
  assert.equal(error.details, { limitMs: 5 });
  assert.is(new KvError('COMPACTED', 'gone').retryable, false);
});

test.run();
