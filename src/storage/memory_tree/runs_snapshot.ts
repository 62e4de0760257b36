/**
 * A consistent view of a tree's runs: it holds the leaves as they are when it is taken, and lets go of each when it has been read.
 *
 * What compaction may drop it leaves out.
 */
import type { AppliedState, StoredRecord } from '../record.ts';
import type { TreeSnapshot } from '../tree.ts';
import { type LeafRun, RecordCursor } from './leaf_run.ts';
import { RunMergeCursor, VersionDropper } from './run_reader.ts';

export class RunsSnapshot implements TreeSnapshot {
  readonly applied: AppliedState;
  #cursors: RecordCursor[];
  #merge: RunMergeCursor;
  readonly #dropper: VersionDropper;

  constructor(runs: readonly LeafRun[], applied: AppliedState, compactRevision: number) {
    this.applied = applied;
    this.#cursors = runs.map((run) => {
      const cursor = new RecordCursor(run.view());
      cursor.rewind();
      return cursor;
    });
    this.#merge = new RunMergeCursor(this.#cursors);
    this.#dropper = new VersionDropper(compactRevision, true);
  }

  next(maxBytes: number): StoredRecord[] {
    const records: StoredRecord[] = [];
    let bytes = 0;
    for (; this.#merge.current !== undefined && bytes < maxBytes; this.#merge.next()) {
      const { reader } = this.#merge.current;
      if (this.#dropper.drops(reader)) continue;
      records.push(reader.record());
      bytes += reader.end - reader.start;
    }
    for (const cursor of this.#cursors) {
      if (cursor.leafIndex === 0) continue;
      cursor.run.dropBefore(cursor.leafIndex, cursor.valid ? cursor.record : 0);
      cursor.rebase();
    }
    return records;
  }

  release(): void {
    this.#cursors = [];
    this.#merge = new RunMergeCursor([]);
  }
}
