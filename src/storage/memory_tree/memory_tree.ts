/**
 * The tree in memory: every record packed into leaves outside the JavaScript heap, in sorted runs, newest run first.
 *
 * A flush becomes a run; runs of similar size are merged in the background (size-tiered), the merge into the oldest one dropping what compaction
 * allows. Merging frees its inputs leaf by leaf, so there is no peak of twice the data.
 *
 * Invariants: a run's versions of a key are newer than those in later runs of the list; readers, flushes and merge steps each use one turn of the event loop for what
 * must look like one moment, and need no other locking. Every answer comes at once.
 *
 * Durability: `checkpoint` writes everything that was flushed to one file (checkpoint_files.ts); `durable` moves only then. A tree opened without a
 * path has nothing on disk: its `durable` stays undefined for ever, so the log that feeds it is never cut. Compaction drops
 * versions from memory only; what a checkpoint leaves out was compacted before the flush that it is named after.
 */
import { KvError } from '../../errors.ts';
import type { Ports } from '../../ports.ts';
import type { Disk } from '../disk.ts';
import type { AppliedState, ScanPage, ScanRequest, StoredRecord, VersionsRequest } from '../record.ts';
import { SerialLock } from '../serial_lock.ts';
import { RecordReader } from '../snapshot/record_codec.ts';
import type { Run, Tree, TreeSnapshot, TreeStats } from '../tree.ts';
import { CheckpointFiles } from './checkpoint_files.ts';
import { KeyFilter } from './key_filter.ts';
import { hashKey } from './key_hash.ts';
import { LeafBuilder } from './leaf.ts';
import { LeafRun } from './leaf_run.ts';
import { chooseMerge } from './merge_policy.ts';
import { RunMerge } from './run_merge.ts';
import { scanRuns, versionsOfRuns } from './run_reader.ts';
import { RunsSnapshot } from './runs_snapshot.ts';
import { TimeSlice } from './time_slice.ts';

/** A flush waits while merging is further behind than this. */
const MAX_RUNS = 10;
const RECORDS_PER_CHECK = 32;
const BYTES_PER_CHECK = 64 * 1024;
const CHECKPOINT_PAGE_BYTES = 256 * 1024;
const FIRST_FILTER_KEYS = 16 * 1024;

export interface MemoryTreeOptions {
  readonly disk: Disk;
  /** Directory of the checkpoint; undefined for a tree that is in memory only. */
  readonly path: string | undefined;
  readonly ports: Ports;
}

export class MemoryTree implements Tree {
  readonly kind = 'memory';
  readonly synchronous = true;
  readonly #ports: Ports;
  readonly #files: CheckpointFiles | undefined;
  /** Newest first. During a merge its output stands before its inputs. */
  #runs: LeafRun[] = [];
  #filter = new KeyFilter(FIRST_FILTER_KEYS);
  #flushed: AppliedState | undefined;
  #durable: AppliedState | undefined;
  #compactRevision = 0;
  /** The compact revision of the last pass over the oldest run. */
  #cleanedRevision = 0;
  #closed = false;
  /** Why merging ended for good. */
  #failure: unknown;
  #merging: Promise<void> | undefined;
  #mergeEnded: (() => void)[] = [];
  /** Whatever changes the list of runs other than merging. Taken inside #fileLock, never around it. */
  readonly #runLock = new SerialLock();
  readonly #fileLock = new SerialLock();
  readonly #reader = new RecordReader(new Uint8Array(0));

  private constructor(ports: Ports, files: CheckpointFiles | undefined) {
    this.#ports = ports;
    this.#files = files;
  }

  /**
   * Opens a tree, loading the newest checkpoint of its directory.
   * @throws KvError CORRUPT naming file and offset when the checkpoint is damaged; DiskError
   */
  static async open(options: MemoryTreeOptions): Promise<MemoryTree> {
    const { disk, path, ports } = options;
    if (path === undefined) return new MemoryTree(ports, undefined);
    const files = await CheckpointFiles.open(disk, path);
    const tree = new MemoryTree(ports, files);
    await tree.#load(files);
    return tree;
  }

  get durable(): AppliedState | undefined {
    return this.#durable;
  }

  get(key: Uint8Array, revision: number): StoredRecord | undefined {
    const hash = hashKey(key, 0, key.length);
    if (!this.#filter.has(hash)) return undefined;
    const runs = this.#runs;
    for (let i = 0; i < runs.length; i++)
      if (runs[i]!.find(key, hash, revision, this.#reader)) return this.#reader.recordOf(key);
    return undefined;
  }

  getNow(key: Uint8Array, revision: number): StoredRecord | undefined {
    return this.get(key, revision);
  }

  scanNow(request: ScanRequest): ScanPage {
    return this.scan(request);
  }

  mayContain(key: Uint8Array): boolean {
    return this.#filter.has(hashKey(key, 0, key.length));
  }

  scan(request: ScanRequest): ScanPage {
    return scanRuns(this.#runs, request);
  }

  versions(request: VersionsRequest): ScanPage {
    return versionsOfRuns(this.#runs, request);
  }

  flush(run: Run, applied: AppliedState): Promise<void> {
    return this.#runLock.run(async () => {
      await this.#waitForMerging();
      const fresh = await this.#pack(run);
      await this.#addToFilter(fresh);
      this.#assertOpen();
      if (fresh.recordCount > 0) this.#runs = [fresh, ...this.#runs];
      this.#flushed = applied;
      this.#merge();
    });
  }

  compact(revision: number): void {
    if (revision <= this.#compactRevision) return;
    this.#compactRevision = revision;
    this.#merge();
  }

  checkpoint(): Promise<void> {
    return this.#fileLock.run(async () => {
      const files = this.#files;
      if (files === undefined || this.#flushed === undefined || this.#flushed === this.#durable) return;
      this.#assertOpen();
      const snapshot = this.#takeSnapshot(this.#flushed);
      try {
        await files.write(snapshot.applied, () => {
          this.#assertOpen();
          return snapshot.next(CHECKPOINT_PAGE_BYTES);
        });
        this.#durable = snapshot.applied;
      } finally {
        snapshot.release();
      }
    });
  }

  async snapshot(): Promise<TreeSnapshot> {
    this.#assertOpen();
    if (this.#flushed === undefined)
      throw new KvError('NOT_FOUND', 'there is no snapshot of a tree into which nothing was flushed');
    return this.#takeSnapshot(this.#flushed);
  }

  install(applied: AppliedState, records: AsyncIterable<StoredRecord[]>): Promise<void> {
    return this.#fileLock.run(() =>
      this.#runLock.run(async () => {
        this.#assertOpen();
        const run = new LeafRun();
        const filter = await this.#receive(run, applied, records);
        this.#assertOpen();
        this.#runs = run.recordCount > 0 ? [run] : [];
        this.#filter = filter;
        this.#flushed = applied;
        if (this.#files !== undefined) this.#durable = applied;
        this.#compactRevision = 0;
        this.#cleanedRevision = 0;
      }),
    );
  }

  stats(): TreeStats {
    let recordCount = 0;
    let sizeBytes = this.#filter.sizeBytes;
    for (const run of this.#runs) {
      recordCount += run.recordCount;
      sizeBytes += run.sizeBytes;
    }
    return { recordCount, sizeBytes };
  }

  /** Ends background work and gives the memory back. A checkpoint under way is given up. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#merging;
    await this.#fileLock.run(() => this.#runLock.run(async () => undefined));
    this.#runs = [];
    this.#filter = new KeyFilter(0);
  }

  /** Waits until no merge is under way or wanted. */
  async settled(): Promise<void> {
    while (this.#merging !== undefined) await this.#merging;
  }

  #assertOpen(): void {
    if (this.#closed) throw new KvError('CLOSED', 'the tree is closed');
    if (this.#failure !== undefined)
      throw new KvError('STORAGE_FAILED', 'merging the tree in memory failed', { cause: this.#failure });
  }

  #takeSnapshot(applied: AppliedState): RunsSnapshot {
    return new RunsSnapshot(this.#runs, applied, this.#compactRevision);
  }

  async #load(files: CheckpointFiles): Promise<void> {
    const file = await files.read();
    if (file === undefined) return;
    const run = new LeafRun();
    const builder = new LeafBuilder((leaf) => run.append(leaf));
    const reader = this.#reader;
    try {
      for (let block = await file.nextBlock(); block !== undefined; block = await file.nextBlock()) {
        reader.bytes = block.payload;
        for (let at = 0; at < block.payload.length; at = reader.end) {
          reader.read(at);
          builder.appendPacked(reader, undefined);
        }
      }
    } finally {
      await file.close();
    }
    builder.finish();
    if (run.recordCount > 0) this.#runs = [run];
    this.#filter = await this.#buildFilter([run], new TimeSlice(this.#ports));
    this.#flushed = file.applied;
    this.#durable = file.applied;
  }

  async #pack(run: Run): Promise<LeafRun> {
    const fresh = new LeafRun();
    const builder = new LeafBuilder((leaf) => fresh.append(leaf));
    const slice = new TimeSlice(this.#ports);
    let count = 0;
    let bytes = 0;
    for (const record of run.records()) {
      builder.appendRecord(record);
      bytes += record.value.length;
      if (++count < RECORDS_PER_CHECK && bytes < BYTES_PER_CHECK) continue;
      count = 0;
      bytes = 0;
      if (!slice.isOver()) continue;
      await slice.rest();
      this.#assertOpen();
    }
    builder.finish();
    return fresh;
  }

  /** Makes the filter know a run's keys before its records can be seen. */
  async #addToFilter(fresh: LeafRun): Promise<void> {
    const slice = new TimeSlice(this.#ports);
    let keys = this.#filter.count;
    for (const leaf of fresh.leaves) keys += leaf.keyCount;
    if (keys > this.#filter.capacity) {
      // Views: merging may go on meanwhile, which moves keys but brings no new ones.
      const views = this.#runs.map((run) => run.view());
      this.#filter = await this.#buildFilter([fresh, ...views], slice);
      return;
    }
    for (const leaf of fresh.leaves) {
      for (const hash of leaf.hashes) this.#filter.add(hash);
      if (slice.isOver()) await slice.rest();
    }
  }

  async #buildFilter(runs: readonly LeafRun[], slice: TimeSlice): Promise<KeyFilter> {
    let keys = 0;
    for (const run of runs) for (const leaf of run.leaves) keys += leaf.keyCount;
    const filter = new KeyFilter(Math.max(FIRST_FILTER_KEYS, keys * 1.5));
    for (const run of runs) {
      for (const leaf of run.leaves) {
        for (const hash of leaf.hashes) filter.add(hash);
        if (slice.isOver()) await slice.rest();
      }
    }
    return filter;
  }

  /** Packs an incoming stream and, on its way through, writes it as the new checkpoint. */
  async #receive(
    run: LeafRun,
    applied: AppliedState,
    records: AsyncIterable<StoredRecord[]>,
  ): Promise<KeyFilter> {
    const builder = new LeafBuilder((leaf) => run.append(leaf));
    const pages = records[Symbol.asyncIterator]();
    const nextRecords = async (): Promise<StoredRecord[]> => {
      for (;;) {
        this.#assertOpen();
        const page = await pages.next();
        if (page.done === true) return [];
        for (const record of page.value) builder.appendRecord(record);
        if (page.value.length > 0) return page.value;
      }
    };
    try {
      if (this.#files !== undefined) await this.#files.write(applied, nextRecords);
      else while ((await nextRecords()).length > 0);
    } finally {
      await pages.return?.();
    }
    builder.finish();
    return this.#buildFilter([run], new TimeSlice(this.#ports));
  }

  /** Starts merging where it is wanted and not under way. */
  #merge(): void {
    if (this.#merging !== undefined || this.#closed || this.#failure !== undefined) return;
    const plan = chooseMerge(this.#runs, this.#compactRevision, this.#cleanedRevision);
    if (plan === undefined) return;
    const ended = (): void => {
      this.#merging = undefined;
      for (const resolve of this.#mergeEnded.splice(0)) resolve();
    };
    this.#merging = this.#runMerge(plan.first, plan.count).then(
      () => {
        ended();
        this.#merge();
      },
      (error: unknown) => {
        // Out of memory, most likely. Whoever writes next is told; what is readable stays so.
        this.#failure = error;
        ended();
      },
    );
  }

  async #runMerge(first: number, count: number): Promise<void> {
    const inputs = this.#runs.slice(first, first + count);
    const isOldest = first + count === this.#runs.length;
    const revision = this.#compactRevision;
    const merge = new RunMerge(inputs, revision, isOldest);
    this.#runs = this.#runs.toSpliced(first, 0, merge.output);
    const slice = new TimeSlice(this.#ports);
    await slice.rest();
    // A run that an install took away makes the merge pointless.
    const isWanted = (): boolean => !this.#closed && this.#runs.includes(merge.output);
    while (isWanted()) {
      if (merge.step()) {
        this.#runs = this.#runs.filter(
          (run) => !inputs.includes(run) && (run !== merge.output || run.recordCount > 0),
        );
        if (isOldest) this.#cleanedRevision = revision;
        return;
      }
      if (slice.isOver()) await slice.rest();
    }
  }

  async #waitForMerging(): Promise<void> {
    while (this.#runs.length > MAX_RUNS && this.#merging !== undefined && !this.#closed)
      await new Promise<void>((resolve) => this.#mergeEnded.push(resolve));
    this.#assertOpen();
  }
}
