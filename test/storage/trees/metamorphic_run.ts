/** Runs a random program against a tree and holds every answer against a plain model. */
import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import { copyRecord, type StoredRecord } from '../../../src/storage/record.ts';
import type { TreeSnapshot } from '../../../src/storage/tree.ts';
import { RecordModel, seededRandom } from '../record_model.ts';
import { flushRecords } from './flush_runs.ts';
import { type Operation, type ProgramSize, randomProgram, shrink } from './metamorphic_program.ts';
import { writeRandom } from './random_records.ts';
import { assertAllowed, assertContent, History, ReadChecker, stateAt } from './tree_checks.ts';
import {
  newPlace,
  type OpenTree,
  type TreeOptions,
  type TreePlace,
  type TreeSubject,
} from './tree_subject.ts';

const MAX_SNAPSHOTS = 2;
const SHRINK_ATTEMPTS = 150;

interface HeldSnapshot {
  readonly snapshot: TreeSnapshot;
  readonly model: RecordModel;
  readonly retained: readonly StoredRecord[];
  readonly seen: StoredRecord[];
}

class ProgramRun {
  readonly #subject: TreeSubject;
  readonly #place: TreePlace;
  readonly #options: TreeOptions;
  #open: OpenTree;
  readonly #history = new History();
  #index = 0;
  /** What was flushed, whether or not it is durable. */
  #model = new RecordModel();
  #compactRevision = 0;
  #snapshots: HeldSnapshot[] = [];

  private constructor(subject: TreeSubject, place: TreePlace, options: TreeOptions, open: OpenTree) {
    this.#subject = subject;
    this.#place = place;
    this.#options = options;
    this.#open = open;
  }

  static async start(subject: TreeSubject, place: TreePlace, options: TreeOptions): Promise<ProgramRun> {
    return new ProgramRun(subject, place, options, await place.open(options));
  }

  async step(operation: Operation): Promise<void> {
    switch (operation.type) {
      case 'flush':
        return this.#flush(operation);
      case 'compact': {
        const span = this.#model.revision - this.#compactRevision;
        this.#compactRevision += Math.max(0, Math.floor(span * operation.share));
        this.#open.tree.compact(this.#compactRevision);
        return;
      }
      case 'checkpoint':
        await this.#open.tree.checkpoint();
        assert.is(this.#open.tree.durable?.index ?? 0, this.#index, 'durable after a checkpoint');
        return;
      case 'settle':
        return this.#open.settled();
      case 'reopen':
        return this.#reopen();
      case 'reads':
        return this.#reads([this.#model], operation.seed, operation.rounds);
      case 'all':
        return assertContent(this.#open.tree, this.#model, this.#compactRevision, 'all');
      case 'snapshot':
        return this.#snapshot();
      case 'snapshotPages':
        for (const held of this.#snapshots)
          for (let i = 0; i < operation.pages; i++) await nextPage(held, operation.pageBytes);
        return;
      case 'snapshotEnd':
        return this.#endSnapshot(operation.pageBytes);
      case 'install':
        return this.#install(operation);
    }
  }

  async end(): Promise<void> {
    while (this.#snapshots.length > 0) await this.#endSnapshot(20_000);
    await this.#open.tree.close();
  }

  /** After a failure: whatever can still be given back. */
  async abandon(): Promise<void> {
    for (const { snapshot } of this.#snapshots) snapshot.release();
    await this.#open.tree.close();
  }

  #reads(models: readonly RecordModel[], seed: number, rounds: number): Promise<void> {
    const random = seededRandom(seed);
    return new ReadChecker(this.#open.tree, models, this.#compactRevision, random).checkSome(rounds);
  }

  async #flush(operation: Operation & { type: 'flush' }): Promise<void> {
    const after = this.#model.copy();
    const records = writeRandom(after, seededRandom(operation.seed), operation.writes, operation.shape);
    const before = this.#model;
    this.#index++;
    const from = operation.seed % 2 === 0 ? 'memtable' : 'list';
    const { tree } = this.#open;
    const flushing = flushRecords(tree, records, stateAt(this.#index), from, this.#compactRevision);
    let reading: Promise<void> = Promise.resolve();
    if (operation.during > 0) reading = this.#reads([before, after], operation.seed, operation.during);
    // Both, so that neither fails unheard.
    const [flushed, read] = await Promise.allSettled([flushing, reading]);
    if (flushed.status === 'rejected') throw flushed.reason;
    if (read.status === 'rejected') throw read.reason;
    this.#history.add(this.#index, records);
    this.#model = after;
    if (this.#subject.flushIsDurable)
      assert.equal(this.#open.tree.durable, stateAt(this.#index), 'durable after a flush');
    if (operation.during > 0) await this.#reads([after], operation.seed + 1, 3);
  }

  async #reopen(): Promise<void> {
    for (const { snapshot } of this.#snapshots.splice(0)) snapshot.release();
    const { durable } = this.#open.tree;
    await this.#open.tree.close();
    this.#open = await this.#place.open(this.#options);
    assert.equal(this.#open.tree.durable, durable, 'durable before closing and after opening');
    this.#index = durable?.index ?? 0;
    this.#history.rollBack(this.#index);
    this.#model = this.#history.modelAt(this.#index, true);
    this.#compactRevision = Math.min(this.#compactRevision, this.#model.revision);
  }

  async #snapshot(): Promise<void> {
    if (this.#index === 0) {
      await this.#open.tree.snapshot().then(
        () => assert.unreachable('a snapshot of a tree into which nothing was flushed'),
        (error: unknown) => {
          if (!(error instanceof KvError) || error.code !== 'NOT_FOUND') throw error;
        },
      );
      return;
    }
    if (this.#snapshots.length === MAX_SNAPSHOTS) await this.#endSnapshot(5_000);
    const snapshot = await this.#open.tree.snapshot();
    const retained = this.#model.retained(this.#compactRevision);
    this.#snapshots.push({ snapshot, model: this.#model, retained, seen: [] });
    assert.equal(snapshot.applied, stateAt(this.#index), 'what the snapshot says it holds');
  }

  async #endSnapshot(pageBytes: number): Promise<void> {
    const held = this.#snapshots.shift();
    if (held === undefined) return;
    while (await nextPage(held, pageBytes));
    held.snapshot.release();
    assertAllowed(held.seen, held.model.records, held.retained, 'snapshot');
  }

  async #install(operation: Operation & { type: 'install' }): Promise<void> {
    const content = new RecordModel();
    content.revision = this.#model.revision;
    const records = writeRandom(content, seededRandom(operation.seed), operation.writes, operation.shape);
    const { pageRecords, fails } = operation;
    const sorted = content.records;
    const stream = async function* (): AsyncGenerator<StoredRecord[], void, void> {
      let pages = 0;
      for (let at = 0; at < sorted.length; at += pageRecords) {
        if (pages++ === fails) throw new Error('the stream broke');
        yield sorted.slice(at, at + pageRecords);
      }
      if (fails >= pages) throw new Error('the stream broke');
    };
    const installing = this.#open.tree.install(stateAt(this.#index + 1), stream());
    if (fails >= 0) {
      await installing.then(
        () => assert.unreachable('the stream broke, but the install went well'),
        (error: unknown) => assert.match(String(error), 'the stream broke'),
      );
      return;
    }
    await installing;
    this.#index++;
    this.#history.add(this.#index, records, true);
    this.#model = this.#history.modelAt(this.#index, true);
    this.#compactRevision = 0;
    assert.equal(this.#open.tree.durable, stateAt(this.#index), 'durable after an install');
  }
}

async function nextPage(held: HeldSnapshot, pageBytes: number): Promise<boolean> {
  const answer = held.snapshot.next(pageBytes);
  const page = (answer instanceof Promise ? await answer : answer).map(copyRecord);
  held.seen.push(...page);
  return page.length > 0;
}

/** Runs a program on a new tree. @throws what went wrong first, with the number of the operation. */
export async function runProgram(
  subject: TreeSubject,
  options: TreeOptions,
  program: readonly Operation[],
): Promise<void> {
  const place = await newPlace(subject);
  let run: ProgramRun | undefined;
  let at = 0;
  try {
    run = await ProgramRun.start(subject, place, options);
    for (; at < program.length; at++) await run.step(program[at]!);
    await run.end();
  } catch (error) {
    // A tree that failed may fail again when it is closed; the first error is the one to tell.
    await run?.abandon().catch(() => undefined);
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    throw new Error(`operation ${at} (${JSON.stringify(program[at])}): ${text}`);
  } finally {
    await place.dispose();
  }
}

/** One seed: the same program on every subject, with as many random sets of options as `variants`. What fails is printed as small as it gets. */
export async function runSeed(
  subjects: readonly TreeSubject[],
  seed: number,
  size: ProgramSize,
  variants: number,
): Promise<void> {
  const program = randomProgram(seed, size);
  const random = seededRandom(seed + 0x5eed);
  for (const subject of subjects) {
    for (let variant = 0; variant < variants; variant++) {
      const options = variant === 0 ? subject.smallOptions : subject.randomOptions(random);
      if (variant > 0 && Object.keys(options).length === 0) break;
      try {
        await runProgram(subject, options, program);
      } catch (error) {
        throw await shrunkFailure(subject, options, seed, program, error);
      }
    }
  }
}

async function shrunkFailure(
  subject: TreeSubject,
  options: TreeOptions,
  seed: number,
  program: readonly Operation[],
  first: unknown,
): Promise<Error> {
  let last = first;
  const small = await shrink(
    program,
    async (candidate) => {
      try {
        await runProgram(subject, options, candidate);
        return false;
      } catch (error) {
        last = error;
        return true;
      }
    },
    SHRINK_ATTEMPTS,
  );
  const again = JSON.stringify({ subject: subject.name, options, program: small });
  return new Error(
    `${subject.name}, seed ${seed}: ${last instanceof Error ? last.message : String(last)}\nthe ${small.length} operations of ${program.length} that still fail; run again with KVORUM_TREE_PROGRAM='${again}'`,
  );
}
