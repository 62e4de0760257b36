/** What is compacted next: each reason on its own, then everything at once in a simulation that must come to rest. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { compareKeys } from '../../../src/storage/record.ts';
import {
  type Compaction,
  type CompactionOptions,
  lastLevelFor,
  levelScores,
  levelTargets,
  type Merge,
  pendingCompactionBytes,
  pickCompaction,
} from '../../../src/storage/tables/compaction_picker.ts';
import type { TableInfo } from '../../../src/storage/tables/format.ts';
import { garbageShare } from '../../../src/storage/tables/garbage.ts';
import {
  bytesOfTables,
  LEVEL_COUNT,
  Levels,
  overlaps,
  type PlacedTable,
  spanOf,
} from '../../../src/storage/tables/levels.ts';
import { test } from '../../suite.ts';
import { bytesOf, seededRandom } from '../record_model.ts';
import { placed, tableInfo } from './placed_tables.ts';

const OPTIONS: CompactionOptions = { levelBaseBytes: 4_000, growth: 4, l0Trigger: 4, tableSizeBytes: 1_000 };

function levelsOf(lists: PlacedTable[][], flushSequence = 100): Levels {
  return Levels.of(
    Array.from({ length: LEVEL_COUNT }, (_, level) => lists[level] ?? []),
    flushSequence,
  );
}

function pick(levels: Levels, compactRevision = 0, damaged?: ReadonlySet<number>): Compaction | undefined {
  return pickCompaction(levels, compactRevision, OPTIONS, damaged);
}

function mergeOf(compaction: Compaction | undefined): Merge {
  assert.is(compaction?.kind, 'merge');
  if (compaction?.kind !== 'merge') throw new Error('not a merge');
  return compaction;
}

/** Disjoint tables `000a-000b`, `001a-001b`, ... */
function row(count: number, from = 0, bytes = 1_000): PlacedTable[] {
  const name = (at: number): string => String(at).padStart(3, '0');
  return Array.from({ length: count }, (_, i) =>
    placed(`${name(from + i)}a`, `${name(from + i)}b`, { fileBytes: bytes }),
  );
}

test('nothing is picked while everything is in order', () => {
  assert.is(pick(Levels.empty), undefined);
  const three = [3, 2, 1].map((flushSequence) => placed('a', 'z', { flushSequence }));
  assert.is(pick(levelsOf([three, [placed('a', 'z')]])), undefined);
});

test('level 0 is due at four runs: all that overlaps goes together, with what lies below', () => {
  const runs = [4, 3, 2, 1].map((flushSequence) => placed('c', 'p', { flushSequence }));
  const below = [placed('a', 'b'), placed('d', 'e'), placed('p', 'q'), placed('r', 's')];
  const deeper = [placed('a', 'm'), placed('o', 'z')];
  const merge = mergeOf(pick(levelsOf([runs, below, deeper])));
  assert.is(merge.reason, 'runs');
  assert.is(merge.level, 1);
  assert.equal(merge.inputs, [...runs.map((table) => [table]), [below[1], below[2]]]);
  assert.equal(
    merge.below.map((span) => span.smallestKey),
    deeper.map((table) => table.info.smallestKey),
    'tombstones stay above what lies deeper',
  );
});

test('the tables of a flush are one run, and tables hang together through others', () => {
  const wide = [placed('a', 'd', { flushSequence: 4 }), placed('f', 'k', { flushSequence: 4 })];
  const bridge = placed('c', 'g', { flushSequence: 3 });
  const low = placed('j', 'n', { flushSequence: 2 });
  const apart = placed('x', 'z', { flushSequence: 1, tombstoneCount: 80 });
  const under = [placed('m', 'p'), placed('w', 'y')];
  const merge = mergeOf(pick(levelsOf([[...wide, bridge, low, apart], under])));
  assert.equal(merge.inputs, [wide, [bridge], [low], [under[0]!]]);
});

test('a load in key order is never rewritten', () => {
  let levels = Levels.empty;
  let moves = 0;
  for (let i = 0; i < 400; i++) {
    const name = String(i).padStart(4, '0');
    levels = levels.withFlush([tableInfo(`${name}a`, `${name}b`)], 0);
    for (let next = pick(levels); next !== undefined; next = pick(levels)) {
      assert.is(next.kind, 'move');
      if (next.kind !== 'move') return;
      levels = levels.withChange({ removed: next.tables, added: next.tables, level: next.level });
      moves++;
    }
  }
  assert.ok(moves > 50);
  assert.ok(levels.runCount() < 4);
  assert.ok(levels.deepest() >= 3, 'it went down');
  assert.is(levels.all().length, 400);
  for (const score of levelScores(levels, OPTIONS)) assert.ok(score <= 1);
});

test('a table that would lie over too much two levels down is rewritten in pieces instead of moved', () => {
  const sparse = [4, 3, 2, 1].map((flushSequence) =>
    placed(
      flushSequence === 4 ? '000' : `9${flushSequence}`,
      flushSequence === 4 ? '040' : `9${flushSequence}z`,
      { flushSequence },
    ),
  );
  const level2 = row(40);
  const first = pick(levelsOf([sparse, [], level2]));
  assert.is(first?.kind, 'move');
  assert.equal(first?.kind === 'move' && first.tables.includes(sparse[0]!), false);
  const all = [4, 3, 2, 1].map((flushSequence) => placed('000', '040', { flushSequence }));
  const merge = mergeOf(pick(levelsOf([all, [], level2])));
  assert.is(merge.tableSizeBytes, 1_000, '4 tables over 40: 10 each is fine');
  const small = all.map((table) => ({ ...table, info: { ...table.info, fileBytes: 250 } }));
  assert.is(mergeOf(pick(levelsOf([small, [], level2]))).tableSizeBytes, 250);
});

test('a level past its target sends down the table with the least below it per byte', () => {
  const level1 = row(30);
  const level2 = [
    placed('000a', '005c'),
    placed('006a', '009z', { fileBytes: 300 }),
    placed('010', '100', { fileBytes: 20_000 }),
  ];
  const levels = levelsOf([[], level1, level2]);
  assert.ok(levelScores(levels, OPTIONS)[1]! > 1);
  const merge = mergeOf(pick(levels));
  assert.is(merge.reason, 'size');
  assert.is(merge.level, 2);
  assert.equal(merge.inputs[1], [level2[1]]);
  assert.equal(merge.inputs[0], level1.slice(6, 10), 'others over the same tables come along for nothing');
  const gap = levelsOf([[], level1, [level2[0]!, level2[2]!]]);
  const move = pick(gap);
  assert.is(move?.kind, 'move');
  assert.equal(move?.kind === 'move' && move.tables, level1.slice(6, 10));
});

test('targets follow the data and share the growth', () => {
  assert.is(lastLevelFor(16_000, OPTIONS), 1);
  assert.is(lastLevelFor(16_001, OPTIONS), 2);
  assert.is(lastLevelFor(Number.MAX_SAFE_INTEGER, OPTIONS), 6);
  const one = levelTargets(levelsOf([[], row(10)]), OPTIONS);
  assert.is(one[1], Number.POSITIVE_INFINITY);
  const two = levelTargets(levelsOf([[], row(6), row(30)]), OPTIONS);
  assert.is(Math.round(two[1]!), 12_000, '36 KB over a base of 4 KB: three times the base, twice');
  assert.is(two[2], Number.POSITIVE_INFINITY);
  const shrunk = levelTargets(levelsOf([[], row(1), [], row(1)]), OPTIONS);
  assert.is(shrunk[1], 4_000, 'never below the base');
});

test('what waits is measured in bytes to rewrite', () => {
  assert.is(pendingCompactionBytes(Levels.empty, OPTIONS), 0);
  assert.is(pendingCompactionBytes(levelsOf([[], row(10)]), OPTIONS), 0);
  const runs = [4, 3, 2, 1].map((flushSequence) => placed('a', 'z', { flushSequence }));
  assert.is(pendingCompactionBytes(levelsOf([runs, [placed('a', 'z')]]), OPTIONS), 5_000);
  const over = pendingCompactionBytes(levelsOf([[], row(30), row(30)]), OPTIONS);
  assert.ok(over > 10_000 && over < 60_000, String(over));
});

test('garbage is estimated from what compaction has newly passed', () => {
  const facts = { recordCount: 100, keyCount: 20, smallestRevision: 1, largestRevision: 1_000 };
  const table = placed('a', 'b', facts);
  assert.is(garbageShare(table, 0, true), 0);
  assert.is(garbageShare(table, 1_000, true), 0.8);
  assert.is(garbageShare(table, 500, true), 0.4);
  const cleaned = placed('a', 'b', { ...facts, cleanedRevision: 500 });
  assert.is(garbageShare(cleaned, 500, true), 0);
  assert.is(garbageShare(cleaned, 750, true), 0.4);
  assert.is(garbageShare(placed('a', 'b', { ...facts, cleanedRevision: 1_000 }), 5_000, true), 0);
  const dead = placed('a', 'b', { tombstoneCount: 50, cleanedRevision: 500 });
  assert.is(garbageShare(dead, 500, true), 0, 'at the bottom the tombstones up to there went');
  assert.is(garbageShare(dead, 500, false), 0.25, 'above others they are carried down');
  assert.is(garbageShare(dead, 1_000, true), 0.5);
});

test('tables full of superseded versions are rewritten where they are when nothing lies below', () => {
  const stale = placed('c', 'd', { keyCount: 10 });
  const levels = levelsOf([[], [placed('a', 'b'), stale, placed('e', 'f')]]);
  assert.is(pick(levels), undefined, 'nothing may go yet');
  const merge = mergeOf(pick(levels, 1_000));
  assert.is(merge.reason, 'garbage');
  assert.is(merge.level, 1);
  assert.equal(merge.inputs, [[stale]]);
  assert.is(pick(levels, 1_000, new Set([stale.info.fileNumber])), undefined);
});

test('tombstones are carried down over what they delete when that pays', () => {
  const tombs = placed('c', 'd', { tombstoneCount: 100, fileBytes: 100 });
  const large = placed('c', 'd', { fileBytes: 1_000 });
  const merge = mergeOf(pick(levelsOf([[], [tombs], [large]]), 1_000));
  assert.equal(merge.inputs, [[tombs], [large]]);
  assert.is(merge.level, 2);
  const vast = placed('a', 'z', { fileBytes: 100_000, recordCount: 10_000, keyCount: 10_000 });
  const few = placed('c', 'd', { tombstoneCount: 5, recordCount: 5, keyCount: 5, fileBytes: 100 });
  const wide = { ...OPTIONS, growth: 100 };
  assert.is(
    pickCompaction(levelsOf([[], [few], [vast]]), 1_000, wide),
    undefined,
    'five keys are not worth 100 KB',
  );
  const fromLevel0 = mergeOf(pick(levelsOf([[placed('c', 'd', { tombstoneCount: 100 })], [large]]), 1_000));
  assert.is(fromLevel0.reason, 'garbage');
  assert.is(fromLevel0.level, 1);
});

test('many small neighbours become one table', () => {
  const small = row(9, 0, 100);
  const merge = mergeOf(pick(levelsOf([[], [...small, ...row(2, 20)]])));
  assert.is(merge.reason, 'fragments');
  assert.equal(merge.inputs, [small]);
  assert.is(merge.level, 1);
  assert.is(pick(levelsOf([[], row(7, 0, 100)])), undefined);
  assert.is(pick(levelsOf([[], small]), 0, new Set([small[4]!.info.fileNumber])), undefined);
});

test('damaged tables, and what cannot go without them, are left alone', () => {
  const runs = [4, 3, 2, 1].map((flushSequence) => placed('c', 'p', { flushSequence }));
  const apart = placed('x', 'z', { flushSequence: 1 });
  const below = [placed('d', 'e'), placed('y', 'zz')];
  const levels = levelsOf([[...runs, apart], below]);
  const merge = mergeOf(pick(levels, 0, new Set([below[0]!.info.fileNumber])));
  assert.equal(merge.inputs, [[apart], [below[1]]]);
  assert.is(pick(levels, 0, new Set([runs[2]!.info.fileNumber, below[1]!.info.fileNumber])), undefined);
  const level1 = row(30);
  const all = new Set(level1.slice(0, 29).map((table) => table.info.fileNumber));
  const only = pick(levelsOf([[], level1, [placed('000', '999')]]), 0, all);
  assert.equal(mergeOf(only).inputs[0], [level1[29]]);
});

/** Whether a compaction keeps every invariant that levels cannot check by themselves. */
function assertSound(levels: Levels, compaction: Compaction): void {
  const tables = compaction.kind === 'move' ? compaction.tables : compaction.inputs.flat();
  const chosen = new Set(tables);
  for (const table of tables) {
    const from = levels.levels.findIndex((level) => level.includes(table));
    assert.ok(from >= 0 && from <= compaction.level);
    if (from === 0) {
      for (const older of levels.level(0))
        if (older.flushSequence < table.flushSequence && overlaps(older.info, table.info))
          assert.ok(chosen.has(older), 'an older version would stay above');
    }
    for (let level = from + 1; level < compaction.level; level++)
      assert.is(levels.overlapping(level, table.info).length, 0, 'no level is jumped over');
    if (compaction.kind === 'move') assert.is(levels.overlapping(compaction.level, table.info).length, 0);
  }
  if (compaction.kind === 'move') return;
  for (const table of levels.overlapping(compaction.level, spanOf(tables)))
    assert.ok(chosen.has(table), 'the output would overlap what stays');
  for (const run of compaction.inputs)
    for (let i = 1; i < run.length; i++)
      assert.ok(compareKeys(run[i - 1]!.info.largestKey, run[i]!.info.smallestKey) < 0, 'a run is sorted');
}

interface Cell {
  readonly key: number;
  readonly revision: number;
  readonly dead: boolean;
}

/** A store on paper: tables hold their cells, merges do what merge_job.ts does. */
class PaperStore {
  levels = Levels.empty;
  revision = 0;
  compactRevision = 0;
  written = 0;
  readonly cells = new Map<number, Cell[]>();

  #table(cells: Cell[]): TableInfo {
    const name = (key: number): string => String(key).padStart(5, '0');
    const keys = new Set(cells.map((cell) => cell.key)).size;
    const revisions = cells.map((cell) => cell.revision);
    const info = tableInfo(name(cells[0]!.key), name(cells.at(-1)!.key), {
      fileBytes: cells.length * 10,
      recordCount: cells.length,
      keyCount: keys,
      tombstoneCount: cells.filter((cell) => cell.dead).length,
      smallestRevision: Math.min(...revisions),
      largestRevision: Math.max(...revisions),
    });
    this.cells.set(info.fileNumber, cells);
    return info;
  }

  flush(cells: Cell[]): void {
    const inOrder = [...cells].sort((a, b) => a.key - b.key || b.revision - a.revision);
    this.levels = this.levels.withFlush([this.#table(inOrder)], 0);
  }

  apply(compaction: Compaction): void {
    if (compaction.kind === 'move') {
      const { tables, level } = compaction;
      this.levels = this.levels.withChange({ removed: tables, added: tables, level });
      return;
    }
    const inputs = compaction.inputs.flat();
    const all = inputs.flatMap((table) => this.cells.get(table.info.fileNumber)!);
    all.sort((a, b) => a.key - b.key || b.revision - a.revision);
    const outputs: TableInfo[] = [];
    let part: Cell[] = [];
    let passed = -1;
    for (const cell of all) {
      if (part.length * 10 >= compaction.tableSizeBytes && part.at(-1)!.key !== cell.key) {
        outputs.push(this.#table(part));
        part = [];
      }
      if (cell.revision <= this.compactRevision) {
        if (passed === cell.key) continue;
        passed = cell.key;
        const key = bytesOf(String(cell.key).padStart(5, '0'));
        const hides = compaction.below.some((span) => overlaps(span, { smallestKey: key, largestKey: key }));
        if (cell.dead && !hides) continue;
      }
      part.push(cell);
    }
    if (part.length > 0) outputs.push(this.#table(part));
    this.written += outputs.reduce((sum, info) => sum + info.fileBytes, 0);
    const flushSequence = Math.max(...inputs.map((table) => table.flushSequence));
    const added = outputs.map((info) => ({ info, flushSequence, cleanedRevision: this.compactRevision }));
    this.levels = this.levels.withChange({ removed: inputs, added, level: compaction.level });
  }

  /** Compacts until there is nothing to do. */
  settle(): number {
    for (let steps = 0; ; steps++) {
      const next = pick(this.levels, this.compactRevision);
      if (next === undefined) return steps;
      assert.ok(steps < 3_000, 'it must end');
      assertSound(this.levels, next);
      this.apply(next);
    }
  }

  /** The newest cell of each key, found as a reader finds it. */
  visible(): Map<number, number> {
    const found = new Map<number, number>();
    const seen = new Set<number>();
    for (const table of this.levels.all()) {
      for (const cell of this.cells.get(table.info.fileNumber)!) {
        if (seen.has(cell.key)) continue;
        seen.add(cell.key);
        if (!cell.dead) found.set(cell.key, cell.revision);
      }
    }
    return found;
  }
}

test('property: a store on paper keeps its answers, comes to rest, and drops what it may', () => {
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 50, max: 3_000 }), (seed, keys) => {
      const random = seededRandom(seed);
      const store = new PaperStore();
      const model = new Map<number, number>();
      for (let flush = 0; flush < 60; flush++) {
        const cells: Cell[] = [];
        for (let i = 0; i < 80; i++) {
          const key = Math.floor(random() * keys);
          const dead = random() < 0.3;
          const revision = ++store.revision;
          cells.push({ key, revision, dead });
          if (dead) model.delete(key);
          else model.set(key, revision);
        }
        store.flush(cells);
        if (random() < 0.5) store.compactRevision = store.revision - Math.floor(random() * 200);
        store.settle();
        if (flush % 10 === 9) assert.equal([...store.visible()].sort(), [...model].sort());
      }
      store.compactRevision = store.revision;
      store.settle();
      assert.equal([...store.visible()].sort(), [...model].sort());
      const records = store.levels.all().reduce((sum, table) => sum + table.info.recordCount, 0);
      // What three flushes in level 0 and the levels above the last may still hide.
      assert.ok(records <= 2.5 * model.size + 400, `${records} records for ${model.size} keys`);
      for (const score of levelScores(store.levels, OPTIONS)) assert.ok(score <= 1);
    }),
    { numRuns: 12 },
  );
});

test('random overwrites are written about as often as expected', () => {
  const random = seededRandom(5);
  const store = new PaperStore();
  let flushed = 0;
  for (let flush = 0; flush < 300; flush++) {
    const cells: Cell[] = [];
    for (let i = 0; i < 100; i++)
      cells.push({ key: Math.floor(random() * 1_500), revision: ++store.revision, dead: false });
    store.flush(cells);
    flushed += 1_000;
    store.compactRevision = store.revision;
    store.settle();
  }
  const amplification = (flushed + store.written) / flushed;
  assert.ok(amplification < 8, `15 KB of data over a base of 4 KB: two levels, m = 2.4; ${amplification}`);
  const bytes = bytesOfTables(store.levels.all());
  assert.ok(bytes < 15_000 * 1.7, `${bytes} B for 15000 B that are live`);
});

test('deleting everything leaves next to nothing', () => {
  const store = new PaperStore();
  for (let flush = 0; flush < 40; flush++) {
    store.flush(
      Array.from({ length: 100 }, (_, i) => ({
        key: flush * 100 + i,
        revision: ++store.revision,
        dead: false,
      })),
    );
    store.settle();
  }
  for (let flush = 0; flush < 8; flush++) {
    store.flush(
      Array.from({ length: 500 }, (_, i) => ({
        key: flush * 500 + i,
        revision: ++store.revision,
        dead: true,
      })),
    );
    store.settle();
  }
  store.compactRevision = store.revision;
  store.settle();
  assert.is(store.visible().size, 0);
  assert.is(bytesOfTables(store.levels.all()), 0);
});

test.run();
