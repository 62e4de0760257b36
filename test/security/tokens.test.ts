/** Tokens: signed, for a time, and nothing else passes for one. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { MAX_TOKEN_LENGTH, readToken, signToken } from '../../src/security/tokens.ts';
import { test } from '../suite.ts';

const secret = new Uint8Array(32).fill(3);
const identity = fc
  .record({
    user: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 }),
    generation: fc.nat(2 ** 31 - 1),
    expiresAtMs: fc.integer({ min: 1_001, max: 2 ** 45 }),
  })
  .map((one) => ({ ...one }));

test('a token says who it was given to, until it expires, and to its own secret alone', () => {
  fc.assert(
    fc.property(identity, (one) => {
      const token = signToken(secret, one);
      assert.equal(readToken(secret, token, 1_000), one);
      assert.equal(readToken(secret, token, one.expiresAtMs - 1), one);
      assert.is(readToken(secret, token, one.expiresAtMs), undefined);
      assert.is(readToken(new Uint8Array(32).fill(4), token, 1_000), undefined);
    }),
  );
});

test('a token that is changed anywhere is none', () => {
  const token = signToken(secret, { user: 'ann', generation: 7, expiresAtMs: 5_000 });
  for (let at = 0; at < token.length; at++) {
    for (const character of 'AB_') {
      const changed = token.slice(0, at) + character + token.slice(at + 1);
      if (changed !== token) assert.is(readToken(secret, changed, 1_000), undefined, changed);
    }
  }
  const others = [
    '',
    'x',
    `${token}=`,
    `${token}A`,
    token.slice(0, -1),
    ` ${token}`,
    'A'.repeat(MAX_TOKEN_LENGTH + 1),
  ];
  for (const other of others) assert.is(readToken(secret, other, 1_000), undefined, other);
  assert.is(
    readToken(secret, signToken(secret, { user: '', generation: 0, expiresAtMs: 5_000 }), 1_000),
    undefined,
  );
});

test.run();
