/**
 * Cuts a tree's work short at every operation of its disk, and looks at what is there afterwards.
 *
 * The work runs once, on a disk that is forked before each of its operations; each fork is a power cut at that operation, to be had under every rule of loss.
 * For failing operations, which the tree must live through, the work runs anew for each.
 */
import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import { DiskError } from '../../../src/storage/disk.ts';
import { MemoryDisk } from '../../../src/storage/memory_disk.ts';
import { LOSS_RULES, type LossRule } from '../../../src/storage/memory_disk_nodes.ts';
import type { RecordModel } from '../record_model.ts';
import { seededRandom } from '../record_model.ts';
import type { Progress, Workload } from './crash_workload.ts';
import { flushRecords } from './flush_runs.ts';
import { HarnessPorts } from './harness_ports.ts';
import { writeRandom } from './random_records.ts';
import { assertContent, ReadChecker, stateAt } from './tree_checks.ts';
import { type OpenTree, TREE_PATH, type TreeOptions, type TreeSubject } from './tree_subject.ts';

export interface Cut {
  /** Number of the operation that did not take place. */
  readonly at: number;
  readonly operation: string;
  readonly disk: MemoryDisk;
  readonly progress: Progress;
}

/** One in so many recoveries also works on. */
const GO_ON_EVERY = 3;
const NOTHING: Progress = { acknowledged: 0, begun: 0, compactions: [] };

async function freshDisk(): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  await disk.makeDirectory('/data');
  await disk.syncDirectory('/');
  return disk;
}

/** Life of one tree: its ports end with it. */
class Life {
  readonly ports = new HarnessPorts();
  opened: OpenTree | undefined;

  async open(subject: TreeSubject, disk: MemoryDisk, options: TreeOptions): Promise<OpenTree> {
    this.opened = await subject.open(disk, TREE_PATH, this.ports, options);
    return this.opened;
  }

  async end(): Promise<void> {
    await this.opened?.tree.close();
    this.ports.stop();
  }
}

/** Every moment of the work, opening and closing included. */
export async function cutsOf(subject: TreeSubject, options: TreeOptions, workload: Workload): Promise<Cut[]> {
  const disk = await freshDisk();
  const cuts: Cut[] = [];
  let progress = NOTHING;
  disk.observer = {
    operation: (operation, path) =>
      cuts.push({
        at: cuts.length + 1,
        operation: `${operation} ${path}`,
        disk: disk.fork(),
        progress,
      }),
  };
  const life = new Life();
  const opened = await life.open(subject, disk, options);
  await workload.run(subject, opened, (now) => {
    progress = now;
  });
  await life.end();
  return cuts;
}

export interface Trial {
  readonly subject: TreeSubject;
  readonly options: TreeOptions;
  readonly workload: Workload;
}

/**
 * The power goes at a cut; then everything acknowledged must be there. `again`: so often the power goes a second time, at operations spread over the recovery. Gives
 * the number of recoveries.
 */
export async function checkCut(
  trial: Trial,
  cut: Cut,
  rule: LossRule,
  seed: number,
  again: number,
): Promise<number> {
  const random = seededRandom(seed);
  const disk = cut.disk.fork();
  disk.crash(rule, random);
  try {
    const forks = await recover(trial, disk, cut.progress, seed, again > 0);
    const second = spreadOrder(forks.length).slice(0, again);
    for (const [i, at] of second.entries()) {
      const fork = forks[at - 1]!;
      fork.crash(LOSS_RULES[(seed + i) % LOSS_RULES.length]!, random);
      await recover(trial, fork, cut.progress, seed + i, false);
    }
    return 1 + second.length;
  } catch (error) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    throw new Error(
      `${trial.subject.name}: power cut at operation ${cut.at} (${cut.operation}), rule ${rule}, seed ${seed}, acknowledged ${cut.progress.acknowledged}, begun ${cut.progress.begun}: ${text}`,
    );
  }
}

/** Opens what a crash left, checks it, and works on. Gives the disk as it was before each operation of the opening where `forking`. */
async function recover(
  trial: Trial,
  disk: MemoryDisk,
  progress: Progress,
  seed: number,
  forking: boolean,
): Promise<MemoryDisk[]> {
  const { subject, options, workload } = trial;
  const forks: MemoryDisk[] = [];
  if (forking) disk.observer = { operation: () => forks.push(disk.fork()) };
  const life = new Life();
  const opened = await life.open(subject, disk, options);
  const { tree } = opened;
  const index = tree.durable?.index ?? 0;
  assert.ok(
    index >= progress.acknowledged && index <= progress.begun,
    `durable is ${index}; acknowledged was ${progress.acknowledged}, begun ${progress.begun}`,
  );
  if (index > 0) assert.equal(tree.durable, stateAt(index));
  const model = workload.history.modelAt(index);
  const compactRevision = workload.compactRevision(progress, index);
  await assertContent(tree, model, compactRevision, 'after the crash');
  await opened.settled();
  disk.observer = undefined;
  assert.equal(await subject.strays(disk, TREE_PATH), [], 'files left behind');
  if (seed % GO_ON_EVERY !== 0) {
    await life.end();
    assert.equal(await subject.check(disk, TREE_PATH), [], 'the offline checker');
    return forks;
  }
  await goOn(trial, disk, life, opened, model, compactRevision, index, seed);
  return forks;
}

/** Flushes, compacts, reads, closes, is found whole, and opens once more. */
async function goOn(
  trial: Trial,
  disk: MemoryDisk,
  life: Life,
  opened: OpenTree,
  before: RecordModel,
  compactedBefore: number,
  index: number,
  seed: number,
): Promise<void> {
  const { subject, options } = trial;
  const { tree } = opened;
  const random = seededRandom(seed);
  const model = before.copy();
  for (let i = 1; i <= 2; i++) {
    const records = writeRandom(model, random, 15, 'mixed');
    const from = i % 2 === 0 ? 'list' : 'memtable';
    await flushRecords(tree, records, stateAt(index + i), from, compactedBefore);
  }
  const compactRevision = Math.max(compactedBefore, model.revision - 3);
  tree.compact(compactRevision);
  await new ReadChecker(tree, [model], compactRevision, random).checkSome(4);
  await tree.checkpoint();
  await opened.settled();
  await assertContent(tree, model, compactRevision, 'going on after the crash');
  await life.end();
  assert.equal(await subject.check(disk, TREE_PATH), [], 'the offline checker');
  const next = new Life();
  const again = await next.open(subject, disk, options);
  assert.equal(again.tree.durable, stateAt(index + 2));
  await assertContent(again.tree, model, compactRevision, 'opened once more');
  await next.end();
}

export type Fault = 'EIO' | 'ENOSPC' | 'power';

/**
 * The nth operation fails ('EIO': that one; 'ENOSPC': from then on the disk is full; 'power': it and all after it). The tree must say so clearly, go on giving right answers
 * or errors, close, and hold everything acknowledged when it is opened again: after a restart of the process, and after a power cut.
 */
export async function checkFault(trial: Trial, fault: Fault, at: number, seed: number): Promise<void> {
  const { subject, options, workload } = trial;
  const disk = await freshDisk();
  if (fault === 'EIO') disk.failAt(at);
  else if (fault === 'ENOSPC') disk.fillAt(at);
  else disk.crashAt(at);
  let progress = NOTHING;
  const life = new Life();
  try {
    try {
      const opened = await life.open(subject, disk, options);
      await workload.run(subject, opened, (now) => {
        progress = now;
      });
    } catch (error) {
      assertClear(error);
    }
    if (life.opened !== undefined) await assertStillRight(trial, life.opened, progress, fault);
    await life.end().catch(assertClear);
    const restarted = disk.fork();
    restarted.makeRoom();
    restarted.crash('none', () => 0);
    await recover(trial, restarted, progress, seed, false);
    const rule = LOSS_RULES[seed % LOSS_RULES.length]!;
    const cut = disk.fork();
    cut.crash(rule, seededRandom(seed));
    cut.makeRoom();
    await recover(trial, cut, progress, seed, false);
  } catch (error) {
    life.ports.stop();
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    throw new Error(
      `${subject.name}: ${fault} at operation ${at}, seed ${seed}, acknowledged ${progress.acknowledged}, begun ${progress.begun}: ${text}`,
    );
  }
}

const CLEAR = new Set(['NO_SPACE', 'IO', 'STORAGE_FAILED', 'CLOSED', 'UNAVAILABLE']);

function assertClear(error: unknown): void {
  const isClear = (error instanceof KvError || error instanceof DiskError) && CLEAR.has(error.code);
  // Bytes that the disk does not give are told as damage, but not those that are wrong.
  const isUnreadable = error instanceof KvError && error.details['diskError'] !== undefined;
  if (!isClear && !isUnreadable) throw error;
}

/** A tree that has met a fault answers rightly, as of the last acknowledged flush or the one begun, or says that it failed. */
async function assertStillRight(
  trial: Trial,
  { tree }: OpenTree,
  progress: Progress,
  fault: Fault,
): Promise<void> {
  const { workload } = trial;
  const problems: string[] = [];
  for (let index = progress.begun; index >= progress.acknowledged; index--) {
    const model = workload.history.modelAt(index);
    try {
      await assertContent(
        tree,
        model,
        workload.compactRevision(progress, index),
        `after the fault, as of ${index}`,
      );
      return;
    } catch (error) {
      if (fault === 'power' && error instanceof DiskError) return;
      if (error instanceof KvError || error instanceof DiskError) return assertClear(error);
      problems.push(String(error));
    }
  }
  throw new Error(problems.join('\nnor\n'));
}

/** The numbers 1 to `total`, spread over the whole first, closer and closer. */
export function spreadOrder(total: number): number[] {
  const place = (at: number): number => (at * 0.618034) % 1;
  return Array.from({ length: total }, (_, i) => i + 1).sort((a, b) => place(a) - place(b));
}
