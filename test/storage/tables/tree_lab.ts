/** A tree of small tables on the disk in memory, a plain model beside it, and what their tests need. */
import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import type { Ports } from '../../../src/ports.ts';
import { realPorts } from '../../../src/real_ports.ts';
import { type Disk, DiskError } from '../../../src/storage/disk.ts';
import { CompactedRun } from '../../../src/storage/engine_flush.ts';
import { Memtable } from '../../../src/storage/memtable.ts';
import {
  type AppliedState,
  compareRecords,
  copyRecord,
  type StoredRecord,
} from '../../../src/storage/record.ts';
import type { JobRunner } from '../../../src/storage/tables/job_runner.ts';
import { TablesTree, type TablesTreeSettings } from '../../../src/storage/tables/tables_tree.ts';
import type { Tree } from '../../../src/storage/tree.ts';
import { plainRecord, RecordModel, runOf, seededRandom, showAll } from '../record_model.ts';

export const NEWEST = Number.MAX_SAFE_INTEGER;
export const PATH = '/data/tree';

export const SMALL: TablesTreeSettings = {
  blockSizeBytes: 512,
  tableSizeBytes: 8 * 1024,
  blockCacheBytes: 64 * 1024,
  compression: 'none',
  compactionRateBytes: Number.POSITIVE_INFINITY,
  levelBaseBytes: 16 * 1024,
  growth: 3,
  l0Trigger: 4,
};

export function stateAt(index: number): AppliedState {
  return { index, term: 1, state: Uint8Array.of(index % 256) };
}

export function keyOf(i: number): Uint8Array {
  return Buffer.from(`\u0001key-${String(i).padStart(6, '0')}`);
}

/** Records of keys [from, to) with revisions from `revision` on. */
export function records(from: number, to: number, revision: number, valueBytes = 100): StoredRecord[] {
  return Array.from({ length: to - from }, (_, i) =>
    plainRecord(keyOf(from + i), revision + i, new Uint8Array(valueBytes).fill(from + i)),
  );
}

export async function allVersions(tree: Tree): Promise<StoredRecord[]> {
  const page = await tree.versions({
    start: new Uint8Array(0),
    end: undefined,
    after: undefined,
    minRevision: 0,
    maxRevision: NEWEST,
    limit: 1_000_000,
    maxBytes: NEWEST,
  });
  return page.records.map(copyRecord);
}

/** What a promise came to, in a word: an error's code, or 'done'. uvu cannot print a KvError. */
export function outcome(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'done',
    (error: unknown) => {
      if (error instanceof KvError || error instanceof DiskError) return error.code;
      return error instanceof Error ? error.message : String(error);
    },
  );
}

export interface LabOptions {
  readonly disk: Disk;
  readonly settings?: Partial<TablesTreeSettings>;
  readonly ports?: Ports;
  readonly runner?: JobRunner;
}

export function openLab(options: LabOptions): Promise<TablesTree> {
  const { disk, runner } = options;
  const settings = { ...SMALL, ...options.settings };
  const ports = options.ports ?? realPorts();
  const base = { disk, path: PATH, ports, settings };
  return TablesTree.open(runner === undefined ? base : { ...base, runner });
}

/** Flushes records as the engine does: from a memtable. */
export async function flushMemtable(
  tree: Tree,
  list: readonly StoredRecord[],
  applied: AppliedState,
  compactRevision = 0,
): Promise<void> {
  const memtable = new Memtable({ sizeBytes: 256 * 1024 });
  for (const record of [...list].sort((a, b) => a.modRevision - b.modRevision))
    memtable.put(
      record.key,
      record.value,
      record.modRevision,
      record.createRevision,
      record.version,
      record.subRevision,
      record.flags,
      record.lease,
      record.expiresAtMs,
    );
  await tree.flush(new CompactedRun(memtable, compactRevision), applied);
}

/** A row of flushes with a compaction now and then, whose content after each flush is known. */
export class History {
  /** All that was written up to flush n, by n. */
  readonly contents: StoredRecord[][] = [[]];
  readonly compactions: number[] = [0];
  readonly batches: StoredRecord[][] = [];

  constructor(seed: number, flushes: number, batch: number) {
    const random = seededRandom(seed);
    const model = new RecordModel();
    let compactRevision = 0;
    for (let flush = 1; flush <= flushes; flush++) {
      const list: StoredRecord[] = [];
      for (let i = 0; i < batch; i++) {
        const record = model.randomWrite(random, 120);
        model.add(record);
        list.push(record);
      }
      this.batches.push(list);
      this.contents.push([...model.records]);
      if (flush % 3 === 0) compactRevision = model.revision - 20;
      this.compactions.push(compactRevision);
    }
  }

  get flushes(): number {
    return this.batches.length;
  }

  /** Flushes all there is; `onFlushed` after each. */
  async run(tree: TablesTree, onFlushed: (index: number) => void): Promise<void> {
    for (let index = 1; index <= this.flushes; index++) {
      const list = this.batches[index - 1]!;
      const before = this.compactions[index - 1]!;
      if (index % 2 === 0) await flushMemtable(tree, list, stateAt(index), before);
      else await tree.flush(runOf(list), stateAt(index));
      onFlushed(index);
      tree.compact(this.compactions[index]!);
      await tree.settled();
    }
  }

  /** Everything between what must be kept and what was ever written, in order, as of flush `index`. */
  assertContent(found: readonly StoredRecord[], index: number, compactRevision: number, what: string): void {
    for (let i = 1; i < found.length; i++)
      assert.ok(compareRecords(found[i - 1]!, found[i]!) < 0, `${what}: order`);
    const model = new RecordModel();
    for (const record of [...this.contents[index]!].sort((a, b) => a.modRevision - b.modRevision))
      model.add(record);
    const written = new Set(showAll(model.records));
    const present = new Set(showAll(found));
    for (const record of present) assert.ok(written.has(record), `${what}: ${record} was never written`);
    for (const record of showAll(model.retained(compactRevision)))
      assert.ok(present.has(record), `${what}: lost ${record}`);
  }
}
