/** Keys and values of the engine benchmark are the same in every process, distinct, and every read can be checked. */

import * as assert from 'uvu/assert';
import { Data, KEY_BYTES, type KeyKind, KeySet, makeEngineValues } from '../../bench/engine/data.ts';
import { VALUE_BYTES } from '../../bench/load.ts';
import { test } from '../suite.ts';

const COUNT = 1_234;
const texts = (kind: KeyKind): string[] => {
  const keys = new KeySet(COUNT, kind);
  return Array.from({ length: COUNT }, (_, n) => keys.at(n).toString('latin1'));
};

test('the same keys, once sorted and once shuffled', () => {
  const sorted = texts('sorted');
  const shuffled = texts('shuffled');
  assert.equal(sorted, [...sorted].sort());
  assert.is(new Set(sorted).size, COUNT);
  assert.not.equal(shuffled, sorted);
  assert.equal([...shuffled].sort(), sorted);
  assert.equal(texts('shuffled'), shuffled);
  for (const key of sorted) assert.is(key.length, KEY_BYTES);
});

test('absent keys are none of the others, and lie between them', () => {
  const present = new Set(texts('sorted'));
  const sorted = [...present].sort();
  const absent = texts('absent');
  assert.is(new Set(absent).size, COUNT);
  for (const key of absent) {
    assert.not.ok(present.has(key));
    assert.is(key.length, KEY_BYTES);
    assert.ok(key > sorted[0]!);
  }
  const inside = absent.filter((key) => key < sorted.at(-1)!).length;
  assert.ok(inside >= COUNT - 10, `${inside} lie before the last key`);
});

test('positions go round, and a key stays as it is while many others are asked for', () => {
  const keys = new KeySet(COUNT, 'shuffled');
  const first = keys.at(0);
  const text = first.toString('latin1');
  for (let n = 1; n < 20_000; n++) keys.at(n);
  assert.is(first.toString('latin1'), text);
  assert.equal(keys.at(COUNT), first);
  assert.is(keys.id(COUNT), keys.id(0));
});

test('a value belongs to its key, whatever the order of the keys', () => {
  const data = new Data(new KeySet(COUNT, 'shuffled'));
  const sorted = data.withKeys('sorted');
  for (let n = 0; n < COUNT; n++)
    assert.ok(data.valueOf(n).equals(sorted.valueOf(data.keys.id(n))), `position ${n}`);
  const values = makeEngineValues();
  assert.equal(values, makeEngineValues());
  assert.is(
    new Set(values.map((value) => value.readUInt16BE(0))).size,
    values.length,
    'told apart by two bytes',
  );
  for (const value of values) assert.is(value.length, VALUE_BYTES);
});

test('a wrong answer is found', () => {
  const data = new Data(new KeySet(COUNT, 'sorted'));
  data.check(5, new Uint8Array(data.valueOf(5)));
  assert.throws(() => data.check(5, undefined), /key 5 is not there/);
  assert.throws(() => data.check(5, data.valueOf(5).subarray(1)), /were not written/);
  assert.throws(() => data.check(5, data.valueOf(6)), /were not written/);
});

test.run();
