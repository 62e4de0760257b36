/** A fixed piece of work for a tree, cut short in the crash tests: flushes of every shape, compactions, checkpoints, installs. */
import type { StoredRecord } from '../../../src/storage/record.ts';
import { RecordModel, seededRandom } from '../record_model.ts';
import { flushRecords } from './flush_runs.ts';
import { type WriteShape, writeRandom } from './random_records.ts';
import { History, stateAt } from './tree_checks.ts';
import type { OpenTree, TreeSubject } from './tree_subject.ts';

const SHAPES: readonly WriteShape[] = [
  'mixed',
  'prefixed',
  'hot',
  'fresh',
  'deletes',
  'large',
  'leases',
  'few',
];
const INSTALL_PAGE = 40;

type Step =
  | { readonly type: 'flush' | 'install'; readonly index: number; readonly records: readonly StoredRecord[] }
  | { readonly type: 'compact'; readonly revision: number }
  | { readonly type: 'checkpoint' | 'settle' };

/** How far the work has come, as of an operation of the disk. */
export interface Progress {
  /** The last flush that was acknowledged as durable. */
  readonly acknowledged: number;
  /** The last flush that had begun. */
  readonly begun: number;
  readonly compactions: readonly { readonly index: number; readonly revision: number }[];
}

export class Workload {
  readonly history = new History();
  readonly #steps: Step[] = [];
  readonly #installs: number[] = [];

  /** `flushes` of up to `writes` records each, with an install when two thirds of them are done. */
  constructor(seed: number, flushes: number, writes: number) {
    const random = seededRandom(seed);
    let model = new RecordModel();
    const installAt = Math.ceil((flushes * 2) / 3);
    for (let index = 1; index <= flushes; index++) {
      const isInstall = index === installAt;
      if (isInstall) {
        const fresh = new RecordModel();
        fresh.revision = model.revision;
        model = fresh;
        this.#installs.push(index);
      }
      const count = Math.ceil((0.3 + 0.7 * random()) * writes);
      const records = writeRandom(model, random, count, SHAPES[index % SHAPES.length]!);
      this.#steps.push({ type: isInstall ? 'install' : 'flush', index, records });
      this.history.add(index, records, isInstall);
      if (index % 3 === 0) this.#steps.push({ type: 'compact', revision: model.revision - 5 });
      if (index % 4 === 0) this.#steps.push({ type: 'checkpoint' });
      if (index % 2 === 0) this.#steps.push({ type: 'settle' });
    }
  }

  /** Works until all is done or something fails. `progress` is up to date at every moment. */
  async run(subject: TreeSubject, opened: OpenTree, progress: (now: Progress) => void): Promise<void> {
    const { tree } = opened;
    let now: Progress = { acknowledged: 0, begun: 0, compactions: [] };
    const tell = (change: Partial<Progress>): void => {
      now = { ...now, ...change };
      progress(now);
    };
    for (const step of this.#steps) {
      switch (step.type) {
        case 'flush': {
          tell({ begun: step.index });
          const from = step.index % 2 === 0 ? 'memtable' : 'list';
          await flushRecords(
            tree,
            step.records,
            stateAt(step.index),
            from,
            this.compactRevision(now, step.index),
          );
          if (subject.flushIsDurable) tell({ acknowledged: step.index });
          break;
        }
        case 'install':
          tell({ begun: step.index });
          await tree.install(stateAt(step.index), pages(this.history.modelAt(step.index).records));
          tell({ acknowledged: step.index });
          break;
        case 'compact':
          tell({ compactions: [...now.compactions, { index: now.begun, revision: step.revision }] });
          tree.compact(step.revision);
          break;
        case 'checkpoint':
          await tree.checkpoint();
          tell({ acknowledged: now.begun });
          break;
        case 'settle':
          await opened.settled();
      }
    }
  }

  /** What may have been compacted in the content as of `index`. An install begins anew. */
  compactRevision(progress: Progress, index: number): number {
    const installs = (of: number): number => this.#installs.filter((install) => install <= of).length;
    let revision = 0;
    for (const compaction of progress.compactions)
      if (installs(compaction.index) === installs(index)) revision = Math.max(revision, compaction.revision);
    return Math.min(revision, this.history.modelAt(index).revision);
  }
}

async function* pages(records: readonly StoredRecord[]): AsyncGenerator<StoredRecord[], void, void> {
  for (let at = 0; at < records.length; at += INSTALL_PAGE) yield records.slice(at, at + INSTALL_PAGE);
}
