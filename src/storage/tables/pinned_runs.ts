/**
 * The tables of a set as the sorted runs that a merge reads, newest first.
 *
 * Invariant: neighbours of level 0 that are disjoint and in key order (the tables of one flush) make one run; a deeper level is one run.
 */
import { compareKeys } from '../record.ts';
import type { TableInfo } from './format.ts';
import type { TableSource } from './merge_input.ts';
import type { PinnedRuns } from './open_scan.ts';
import type { TableSet } from './table_set.ts';

type Levels = readonly (readonly TableInfo[])[];

/** Pins sets as runs; the runs of a version of the levels are put together once. */
export class RunPins {
  readonly #tables: TableSet;
  readonly #runs = new WeakMap<Levels, TableSource[][]>();

  constructor(tables: TableSet) {
    this.#tables = tables;
  }

  get warm(): boolean {
    return this.#tables.warm;
  }

  /** The tables as they are now; they stay readable until released. @throws KvError CLOSED */
  pinRuns(): PinnedRuns {
    const pin = this.#tables.pin();
    let runs = this.#runs.get(pin.levels);
    if (runs === undefined) {
      runs = pin.levels
        .flatMap((level, depth) => (depth === 0 ? runsOf(level) : [level]))
        .filter((run) => run.length > 0)
        .map((run) => run.map((info) => source(this.#tables, info)));
      this.#runs.set(pin.levels, runs);
    }
    return { runs, release: () => pin.release() };
  }
}

/** Cuts a list of tables, newest first, into runs of tables that follow each other. */
export function runsOf(level: readonly TableInfo[]): TableInfo[][] {
  const runs: TableInfo[][] = [];
  for (const info of level) {
    const run = runs.at(-1);
    const last = run?.at(-1);
    if (run !== undefined && last !== undefined && compareKeys(last.largestKey, info.smallestKey) < 0)
      run.push(info);
    else runs.push([info]);
  }
  return runs;
}

function source(tables: TableSet, info: TableInfo): TableSource {
  const { fileNumber } = info;
  return {
    info,
    open: () => ({
      file: tables.file(fileNumber),
      index: tables.index(fileNumber),
      seekBlock: (key) => tables.seekBlock(fileNumber, key),
      damage: (offset, problem) => tables.damage(fileNumber, offset, problem),
    }),
  };
}
