/** The block cache: its bound, its door, what it keeps under a scan, and what it does while readers of other threads hold on to frames. */

import * as assert from 'uvu/assert';
import { BlockCache, ENTRY_BYTES } from '../../../src/storage/tables/block_cache.ts';
import { ReadBudget } from '../../../src/storage/tables/read_budget.ts';
import { TableMemory, UNIT_BYTES } from '../../../src/storage/tables/table_memory.ts';
import { test } from '../../suite.ts';
import { seededRandom } from '../record_model.ts';
import { SteppedPorts } from '../stepped_ports.ts';

const FRAME = 32;
const RECENCY = 36;

/** Entries of blocks in memory, without a table around them. */
class Entries {
  readonly memory = new TableMemory('debug');
  readonly cache: BlockCache;
  readonly base: number;

  constructor(count: number, limitBytes: number, rawLength: (i: number) => number) {
    this.cache = new BlockCache(this.memory, limitBytes);
    this.base = this.memory.mustAllocate(count * ENTRY_BYTES);
    this.memory.u8.fill(0, this.base, this.base + count * ENTRY_BYTES);
    for (let i = 0; i < count; i++) this.memory.u32[(this.at(i) + 28) >>> 2] = rawLength(i);
  }

  at(i: number): number {
    return this.base + i * ENTRY_BYTES;
  }

  word(i: number, field: number): number {
    return this.memory.u32[(this.at(i) + field) >>> 2]!;
  }

  /** A read of a block: true when it was in the cache. */
  touch(i: number): boolean {
    if (this.word(i, FRAME) !== 0) {
      const word = (this.at(i) + RECENCY) >>> 2;
      this.memory.u32[word] = Math.min(3, this.memory.u32[word]! + 1);
      return true;
    }
    const frame = this.cache.admit(this.at(i));
    if (frame !== 0) {
      this.memory.u32[frame >>> 2] = i;
      this.cache.show(this.at(i), frame);
    }
    return false;
  }
}

test('the bound holds, frames never overlap, and what an entry points to is its own', () => {
  const random = seededRandom(1);
  const sizes = [100, 4096, 5000, 16_384, 70_000, 256 * 1024, 256 * 1024 + 1];
  const count = 300;
  const entries = new Entries(count, 1024 * 1024, (i) => sizes[i % sizes.length]!);
  for (let step = 0; step < 20_000; step++) {
    const i = Math.floor(random() ** 2 * count);
    entries.touch(i);
    const frame = entries.word(i, FRAME);
    if (frame !== 0) assert.is(entries.memory.u32[frame >>> 2], i);
    assert.ok(entries.cache.usedBytes <= entries.cache.limitBytes);
    if (step % 500 !== 0) continue;
    const owner = new Map<number, number>();
    let used = 0;
    let frames = 0;
    for (let other = 0; other < count; other++) {
      const at = entries.word(other, FRAME);
      if (at === 0) continue;
      frames++;
      const units = Math.ceil(entries.word(other, 28) / UNIT_BYTES);
      used += units * UNIT_BYTES;
      for (let unit = 0; unit < units; unit++) {
        assert.not.ok(owner.has(at + unit * UNIT_BYTES), 'two frames overlap');
        owner.set(at + unit * UNIT_BYTES, other);
      }
    }
    assert.is(entries.cache.usedBytes, used);
    assert.is(entries.cache.frames, frames);
  }
  for (let i = 6; i < count; i += 7) assert.is(entries.word(i, FRAME), 0, 'too large to be cached');
  assert.ok(entries.cache.evictions > 100);
  assert.ok(entries.memory.arenaBytes < 10 * 1024 * 1024);
  entries.cache.drop(entries.base, count);
  assert.is(entries.cache.usedBytes, 0);
  assert.is(entries.cache.frames, 0);
  entries.memory.free(entries.base, count * ENTRY_BYTES);
});

test('a cache without room takes nothing', () => {
  const entries = new Entries(10, 4095, () => 4096);
  for (let round = 0; round < 5; round++) for (let i = 0; i < 10; i++) assert.is(entries.touch(i), false);
  assert.is(entries.cache.admissions, 0);
});

test('reading much once does not push out what is read often', () => {
  const frames = 200;
  const count = 20_000;
  const entries = new Entries(count, frames * UNIT_BYTES, () => 4000);
  const random = seededRandom(3);
  const hot = 150;
  const readHot = (times: number): number => {
    let hits = 0;
    for (let i = 0; i < times; i++) if (entries.touch(Math.floor(random() * hot))) hits++;
    return hits / times;
  };
  readHot(3000);
  assert.ok(readHot(1000) > 0.99);
  let scanned = hot;
  for (let round = 0; round < 100; round++) {
    for (let i = 0; i < 150; i++) entries.touch(scanned++);
    assert.ok(readHot(50) > 0.8, `round ${round}`);
  }
  // Another working set takes over all the same.
  for (let i = 0; i < 5000; i++) entries.touch(scanned + Math.floor(random() * 150));
  let hits = 0;
  for (let i = 0; i < 1000; i++) if (entries.touch(scanned + Math.floor(random() * 150))) hits++;
  assert.ok(hits > 900, `${hits} of 1000`);
});

test('skewed reads: the cache serves most of them', () => {
  const count = 10_000;
  const entries = new Entries(count, (count / 10) * UNIT_BYTES, () => 4096);
  const random = seededRandom(4);
  let hits = 0;
  for (let i = 0; i < 60_000; i++) {
    // The tenth of the blocks that is read most gets about two thirds of the reads.
    if (entries.touch(Math.floor(random() ** 6 * count)) && i >= 30_000) hits++;
  }
  assert.ok(hits / 30_000 > 0.55, `${hits / 30_000}`);
});

test('frames that readers may look at are not reused, and bound what the cache takes', () => {
  const frames = 64;
  const entries = new Entries(1000, frames * UNIT_BYTES, () => 4096);
  const { memory } = entries;
  const { reader } = memory.addReader();
  for (let i = 0; i < frames; i++) entries.touch(i);
  memory.epochOf(reader).enter();
  const seen = entries.word(0, FRAME);
  const before = memory.u32[seen >>> 2];
  for (let round = 0; round < 20; round++) for (let i = frames; i < frames + 30; i++) entries.touch(i);
  assert.is(memory.u32[seen >>> 2], before, 'what the reader found is still there');
  assert.ok(memory.retiredBytes > 0);
  assert.ok(memory.retiredBytes <= (frames * UNIT_BYTES) / 8 + UNIT_BYTES);
  memory.epochOf(reader).leave();
  memory.reclaim();
  assert.is(memory.retiredBytes, 0);
  for (let round = 0; round < 20; round++) for (let i = frames; i < frames + 30; i++) entries.touch(i);
  assert.ok(entries.word(frames + 29, FRAME) !== 0, 'and admission goes on');
});

test('a frame that was never shown can be given back', () => {
  const entries = new Entries(3, 10 * UNIT_BYTES, () => 4096);
  const frame = entries.cache.admit(entries.at(1));
  assert.ok(frame > 0);
  assert.is(entries.word(1, FRAME), 0);
  entries.cache.cancel(entries.at(1), frame);
  assert.is(entries.cache.usedBytes, 0);
  assert.is(entries.cache.frames, 0);
});

test('many slow reads send the next ones to the pool; single ones do not', () => {
  const ports = new SteppedPorts();
  const budget = new ReadBudget(ports.clock);
  const read = (ms: number, bytes = 4096): void => {
    const start = budget.startMs();
    ports.nowMs += ms;
    budget.ended(start, bytes);
  };
  for (let i = 0; i < 1_000; i++) read(i % 7 === 0 ? 5 : 0.002);
  assert.ok(budget.warm, 'now and then the system puts a thread aside');
  for (let i = 0; i < 100; i++) read(2, 4 * 1024 * 1024);
  assert.ok(budget.warm, 'a large block takes longer to copy');
  for (let i = 0; i < 3; i++) read(4);
  assert.not.ok(budget.warm);
  ports.nowMs += 119;
  assert.not.ok(budget.warm);
  ports.nowMs += 2;
  assert.ok(budget.warm, 'a probe');
  read(0.002);
  assert.ok(budget.warm, 'a quick probe: warm again');
  for (let i = 0; i < 10; i++) read(0.002);
  read(4);
  assert.ok(budget.warm, 'and forgiven');
});

test('while files are cold, reads hold the thread up for a few percent of the time', () => {
  const ports = new SteppedPorts();
  const budget = new ReadBudget(ports.clock);
  let slowMs = 0;
  while (ports.nowMs < 100_000) {
    if (!budget.warm) {
      ports.nowMs += 1;
      continue;
    }
    const start = budget.startMs();
    ports.nowMs += 2;
    slowMs += 2;
    budget.ended(start, 4096);
  }
  assert.ok(slowMs / 100_000 < 0.04, `${slowMs / 1000} %`);
  assert.ok(slowMs / 100_000 > 0.01, `${slowMs / 1000} %`);
});

test.run();
