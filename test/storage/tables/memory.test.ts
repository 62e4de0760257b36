/** The memory of tables: the allocator hands out disjoint runs and merges back, and nothing is reused while a reader may look at it. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import { BuddyAllocator } from '../../../src/storage/tables/buddy_allocator.ts';
import {
  MAX_READERS,
  SCRATCH_BYTES,
  TableMemory,
  TableViews,
  UNIT_BYTES,
} from '../../../src/storage/tables/table_memory.ts';
import { test } from '../../suite.ts';

const MIB = 1024 * 1024;

test('random allocations never overlap, and all merge back', () => {
  const step = fc.record({ kind: fc.integer({ min: 0, max: 9 }), size: fc.integer({ min: 1, max: 70 }) });
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 200 }), fc.nat(), (steps, seed) => {
      const units = new BuddyAllocator();
      const owner: number[] = [];
      const held: { first: number; count: number }[] = [];
      const take = (first: number, count: number): void => {
        assert.ok(first >= 0 && first + count <= units.units, 'inside');
        for (let unit = first; unit < first + count; unit++) {
          assert.not.ok(owner[unit], `unit ${unit} was handed out twice`);
          owner[unit] = 1;
        }
        held.push({ first, count });
      };
      const give = (first: number, count: number): void => {
        for (let unit = first; unit < first + count; unit++) owner[unit] = 0;
        units.free(first, count);
      };
      for (const [i, { kind, size }] of steps.entries()) {
        if (kind === 0) {
          const taken = (seed + i) % (size + 1);
          const first = units.extend(size, taken);
          if (taken > 0) take(first, taken);
        } else if (kind < 6) {
          const first = units.allocate(size);
          if (first >= 0) take(first, size);
        } else if (held.length > 0) {
          const [one] = held.splice((seed + i) % held.length, 1);
          const { first, count } = one!;
          const kept = kind === 6 && count > 1 ? Math.ceil(count / 2) : 0;
          give(first + kept, count - kept);
          if (kept > 0) held.push({ first, count: kept });
        }
        const used = held.reduce((sum, { count }) => sum + count, 0);
        assert.is(units.freeUnits, units.units - used);
      }
      for (const { first, count } of held) give(first, count);
      assert.is(units.freeUnits, units.units);
      // All in one piece again: the largest power of two that fits at the start is there in one run.
      if (units.units > 0) {
        const largest = 2 ** Math.floor(Math.log2(units.units));
        assert.ok(units.allocate(largest) >= 0, `${largest} of ${units.units}`);
      }
    }),
    { numRuns: 150 },
  );
});

test('the tail of a power of two is free at once', () => {
  const units = new BuddyAllocator();
  units.extend(64, 0);
  assert.is(units.allocate(33), 0);
  assert.is(units.freeUnits, 31);
  assert.is(units.allocate(16), 48);
  assert.is(units.allocate(8), 40);
  assert.is(units.allocate(4), 36);
  assert.is(units.allocate(3), -1, 'units 33 to 35 are free, but not a block of four');
  assert.is(units.allocate(2), 34);
  assert.is(units.allocate(1), 33);
  assert.is(units.freeUnits, 0);
  units.free(0, 64);
  assert.is(units.allocate(64), 0);
  assert.throws(() => units.extend(2 ** 21, 0), /more than the allocator/);
});

test('memory grows, and its bytes stay', () => {
  const memory = new TableMemory('debug');
  const first = memory.allocate(100);
  memory.u8[first] = 42;
  const large = memory.allocate(20 * MIB);
  assert.ok(large > 0 && (large + 20 * MIB <= first || large > first));
  assert.ok(memory.u8.length >= large + 20 * MIB);
  assert.is(memory.u8[first], 42);
  assert.is(memory.arenaBytes - memory.freeBytes, UNIT_BYTES + 20 * MIB);
  memory.free(large, 20 * MIB);
  const { arenaBytes } = memory;
  assert.ok(memory.allocate(20 * MIB) > 0);
  assert.is(memory.arenaBytes, arenaBytes, 'what was given back serves the same again');
});

test('memory that cannot grow says so', () => {
  const memory = new TableMemory('debug', 3 * MIB);
  assert.is(memory.allocate(4 * MIB), 0);
  // Less than the usual step is left.
  assert.ok(memory.allocate(2 * MIB) > 0);
  let thrown: unknown;
  try {
    memory.mustAllocate(2 * MIB);
  } catch (error) {
    thrown = error;
  }
  assert.instance(thrown, KvError);
  assert.is(thrown instanceof KvError && thrown.code, 'UNAVAILABLE');
});

test('what is retired is reused only when every reader has moved on', () => {
  const memory = new TableMemory('debug');
  const a = memory.addReader();
  const b = memory.addReader();
  assert.is.not(a.scratch, b.scratch);
  const views = new TableViews(memory.memory, 'debug');
  const used = (): number =>
    memory.arenaBytes - memory.freeBytes - 2 * Math.ceil(SCRATCH_BYTES / 4096) * 4096;

  const idle = memory.allocate(UNIT_BYTES);
  memory.retire(idle, UNIT_BYTES);
  assert.is(used(), 0, 'nobody reads: free at once');

  memory.publish(4711);
  views.epochOf(a.reader).enter();
  assert.is(views.publishedVersion(), 4711);
  const first = memory.allocate(2 * UNIT_BYTES);
  memory.retire(first, 2 * UNIT_BYTES);
  views.epochOf(b.reader).enter();
  const second = memory.allocate(UNIT_BYTES);
  memory.retire(second, UNIT_BYTES);
  assert.is(memory.retiredBytes, 3 * UNIT_BYTES);
  assert.is(used(), 3 * UNIT_BYTES);

  views.epochOf(a.reader).leave();
  memory.reclaim();
  assert.is(memory.retiredBytes, UNIT_BYTES, 'b came in after the first was retired, but before the second');
  views.epochOf(b.reader).leave();
  views.epochOf(b.reader).enter();
  memory.reclaim();
  assert.is(memory.retiredBytes, 0);
  assert.is(used(), 0);
});

test('epochs go on past the end of their numbers', () => {
  const memory = new TableMemory('debug');
  const { reader } = memory.addReader();
  memory.i32[65536 >>> 2] = 2 ** 31 - 2;
  for (let i = 0; i < 6; i++) {
    memory.epochOf(reader).enter();
    memory.retire(memory.allocate(UNIT_BYTES), UNIT_BYTES);
    assert.is(memory.retiredBytes, UNIT_BYTES);
    memory.epochOf(reader).enter();
    memory.reclaim();
    assert.is(memory.retiredBytes, 0, `round ${i}`);
  }
  memory.i32[65536 >>> 2] = -1;
  memory.epochOf(reader).enter();
  memory.retire(memory.allocate(UNIT_BYTES), UNIT_BYTES);
  memory.epochOf(reader).enter();
  assert.is.not(memory.i32[(65536 + 64 * (1 + reader)) >>> 2], 0, 'never the word of one that reads nothing');
});

test('places of readers are used again', () => {
  const memory = new TableMemory('debug');
  const places = Array.from({ length: MAX_READERS }, () => memory.addReader());
  assert.is(new Set(places.map(({ scratch }) => scratch)).size, MAX_READERS);
  assert.throws(() => memory.addReader(), /too many threads/);
  memory.epochOf(places[5]!.reader).enter();
  memory.retire(memory.allocate(UNIT_BYTES), UNIT_BYTES);
  assert.is(memory.retiredBytes, UNIT_BYTES);
  memory.removeReader(places[5]!);
  assert.is(memory.retiredBytes, 0, 'a reader that is gone holds nothing');
  const again = memory.addReader();
  assert.is(again.reader, places[5]!.reader);
  memory.removeReader(places[5]!);
  assert.throws(() => memory.addReader(), /too many threads/, 'the old place is not the new one');
});

test.run();
