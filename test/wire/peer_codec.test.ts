/** Introductions between nodes: there and back, and bytes that are none. */

import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { decodeIntroduction, encodeIntroduction, FRAME_INTRODUCTION } from '../../src/wire/peer_codec.ts';
import { test } from '../suite.ts';

test('an introduction comes back as it was', () => {
  const bytes = encodeIntroduction('node-7.example:7401');
  assert.is(bytes[0], FRAME_INTRODUCTION);
  assert.is(decodeIntroduction(bytes), 'node-7.example:7401');
});

test('what is no introduction is refused', () => {
  const whole = encodeIntroduction('a:1');
  const others = [Uint8Array.of(), Uint8Array.of(1, 2), whole.subarray(0, 3), Uint8Array.of(...whole, 0)];
  for (const bytes of others) {
    try {
      decodeIntroduction(bytes);
    } catch (error) {
      assert.instance(error, KvError);
      assert.is((error as KvError).code, 'PROTOCOL');
      continue;
    }
    assert.unreachable(String(bytes));
  }
});

test.run();
