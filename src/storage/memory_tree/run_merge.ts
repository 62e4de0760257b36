/**
 * Merges neighbouring runs into one, piece by piece, freeing the inputs as it goes.
 *
 * Invariants: at any time a record lies in exactly one of output and inputs, so readers may look at all of them between two steps: what a leaf of the
 * output holds is dropped from the inputs in the same turn in which the leaf appears. For a key that is half done the output has the newer
 * versions; it is therefore looked at first. A dropped tombstone takes everything below it along in that same turn, because only the
 * appending of another key can end a leaf.
 */
import type { RecordReader } from '../snapshot/record_codec.ts';
import { LeafBuilder } from './leaf.ts';
import { LeafRun, RecordCursor } from './leaf_run.ts';
import { RunMergeCursor, VersionDropper } from './run_reader.ts';

const RECORDS_PER_STEP = 64;
/** Copied in one step at most, but for one record. */
const BYTES_PER_STEP = 64 * 1024;

export class RunMerge {
  readonly inputs: readonly LeafRun[];
  readonly output = new LeafRun();
  readonly #cursors: readonly RecordCursor[];
  readonly #merge: RunMergeCursor;
  readonly #dropper: VersionDropper;
  readonly #builder: LeafBuilder;

  /** `isOldest`: no run lies below the inputs, so tombstones at or below `compactRevision` may go. Inputs newest first. */
  constructor(inputs: readonly LeafRun[], compactRevision: number, isOldest: boolean) {
    this.inputs = inputs;
    this.#cursors = inputs.map((run) => {
      const cursor = new RecordCursor(run);
      cursor.rewind();
      return cursor;
    });
    this.#merge = new RunMergeCursor(this.#cursors);
    this.#dropper = new VersionDropper(compactRevision, isOldest);
    this.#builder = new LeafBuilder((leaf) => {
      this.output.append(leaf);
      this.#releaseInputs();
    });
  }

  /** Does a little more; true when all is done. */
  step(): boolean {
    let bytes = 0;
    for (let i = 0; i < RECORDS_PER_STEP && bytes < BYTES_PER_STEP; i++) {
      const cursor = this.#merge.current;
      if (cursor === undefined) {
        this.#builder.finish();
        this.#releaseInputs();
        return true;
      }
      const reader: RecordReader = cursor.reader;
      if (!this.#dropper.drops(reader)) this.#builder.appendPacked(reader, cursor.hash);
      bytes += reader.end - reader.start;
      this.#merge.next();
    }
    return false;
  }

  #releaseInputs(): void {
    for (const cursor of this.#cursors) {
      cursor.run.dropBefore(cursor.leafIndex, cursor.valid ? cursor.record : 0);
      cursor.rebase();
    }
  }
}
