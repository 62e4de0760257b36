/** The bloom filter: never a false no, about one false yes in a hundred, on both builds. */
import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { BloomFilter } from '../../src/storage/bloom.ts';

for (const build of ['release', 'debug'] as const) {
  test(`${build}: what was added is always found, whatever its bytes and length`, () => {
    const key = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.integer({ min: 1, max: 70_000 }).map((length) => new Uint8Array(length).fill(length & 255)),
    );
    fc.assert(
      fc.property(fc.array(key, { minLength: 1, maxLength: 20 }), (keys) => {
        const filter = BloomFilter.create(keys.length, build);
        for (const each of keys) filter.add(each);
        for (const each of keys) assert.ok(filter.mayContain(each));
      }),
      { numRuns: 40 },
    );
  });
}

test('of keys that were not added, about one in a hundred is taken for added', () => {
  const shapes = [
    (i: number) => Buffer.from(`key-${String(i).padStart(12, '0')}`),
    (i: number) => Buffer.from(`/registry/pods/default/${i}`),
    (i: number) => {
      const key = Buffer.alloc(4);
      key.writeUInt32BE(i);
      return key;
    },
    (i: number) => Buffer.concat([Buffer.alloc(300, 0x61), Buffer.from(String(i)), Buffer.alloc(9)]),
  ];
  for (const shape of shapes) {
    const count = 50_000;
    const filter = BloomFilter.create(count);
    for (let i = 0; i < count; i++) filter.add(shape(i));
    let falsePositives = 0;
    for (let i = count; i < 3 * count; i++) if (filter.mayContain(shape(i))) falsePositives++;
    const rate = falsePositives / (2 * count);
    assert.ok(rate < 0.0125, `a rate of ${rate} for keys like ${shape(1)}`);
    assert.ok(rate > 0.002, `a rate of ${rate} is too good: is the test looking at the right keys?`);
  }
});

test('an empty filter contains nothing, and takes no more memory than it needs', () => {
  const filter = BloomFilter.create(0);
  assert.not.ok(filter.mayContain(Buffer.from('a')));
  assert.ok(filter.sizeBytes <= 192 * 1024);
  assert.ok(BloomFilter.create(1_000_000).sizeBytes < 1_600_000);
});

test('impossible numbers of keys are refused', () => {
  for (const expected of [-1, 1.5, 2 ** 28, Number.NaN]) {
    try {
      BloomFilter.create(expected);
      assert.unreachable();
    } catch (error) {
      assert.instance(error, KvError);
      assert.is((error as KvError).code, 'INVALID_ARGUMENT');
    }
  }
});

test.run();
