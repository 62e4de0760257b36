/**
 * A tree that never answers at once, around one that does: every answer is a promise, and pages are small. Flushes can be held back or made to fail.
 */
import {
  type AppliedState,
  copyRecord,
  type ScanPage,
  type ScanRequest,
  type StoredRecord,
  type VersionsRequest,
} from '../../src/storage/record.ts';
import type { Run, Tree, TreeSnapshot, TreeStats } from '../../src/storage/tree.ts';

export class LateTree implements Tree {
  readonly kind = 'tables';
  readonly synchronous = false;
  /** Look-ups that went to the tree. */
  gets = 0;
  /** Fails the next flushes and checkpoints, one each. */
  readonly failures: Error[] = [];
  /** Waited for before a flush takes place. */
  gate: Promise<void> = Promise.resolve();
  /** How far its compaction is behind. */
  pressure = 0;
  readonly #tree: Tree;

  constructor(tree: Tree) {
    this.#tree = tree;
  }

  get durable(): AppliedState | undefined {
    return this.#tree.durable;
  }

  get(key: Uint8Array, revision: number): Promise<StoredRecord | undefined> {
    this.gets++;
    return later(async () => {
      const record = await this.#tree.get(key, revision);
      return record === undefined ? undefined : copyRecord(record);
    });
  }

  mayContain(key: Uint8Array): boolean {
    return this.#tree.mayContain(key);
  }

  scan(request: ScanRequest): Promise<ScanPage> {
    return later(async () => smallPage(await this.#tree.scan(request)));
  }

  versions(request: VersionsRequest): Promise<ScanPage> {
    return later(async () => smallPage(await this.#tree.versions(request)));
  }

  async flush(run: Run, applied: AppliedState): Promise<void> {
    await this.gate;
    const failure = this.failures.shift();
    if (failure !== undefined) throw failure;
    await this.#tree.flush(run, applied);
  }

  async checkpoint(): Promise<void> {
    const failure = this.failures.shift();
    if (failure !== undefined) throw failure;
    await this.#tree.checkpoint();
  }

  compact(revision: number): void {
    this.#tree.compact(revision);
  }

  snapshot(): Promise<TreeSnapshot> {
    return this.#tree.snapshot();
  }

  install(applied: AppliedState, records: AsyncIterable<StoredRecord[]>): Promise<void> {
    return this.#tree.install(applied, records);
  }

  stats(): TreeStats {
    return this.#tree.stats();
  }

  close(): Promise<void> {
    return this.#tree.close();
  }
}

/** One that can answer at once as well, as Kvorum's own tables can while their files are cold. */
export class ColdTree extends LateTree {
  readonly getNow: (key: Uint8Array, revision: number) => StoredRecord | undefined;
  scanNow: (request: ScanRequest) => ScanPage;
  /** Reads that could not wait. */
  readsNow = 0;
  /** Bytes of keys and values in the pages that could wait, and in the largest page that could not. */
  bytesAhead = 0;
  largestPageNow = 0;

  constructor(tree: Tree) {
    super(tree);
    this.getNow = (key, revision) => {
      this.readsNow++;
      return tree.getNow!(key, revision);
    };
    this.scanNow = (request) => {
      this.readsNow++;
      const page = tree.scanNow!(request);
      this.largestPageNow = Math.max(this.largestPageNow, bytesOf(page));
      return page;
    };
  }

  override async scan(request: ScanRequest): Promise<ScanPage> {
    const page = await super.scan(request);
    this.bytesAhead += bytesOf(page);
    return page;
  }
}

function bytesOf({ records }: ScanPage): number {
  return records.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
}

/** The state is read at once, the answer comes a turn later. */
async function later<T>(ask: () => Promise<T>): Promise<T> {
  await new Promise((resolve) => setImmediate(resolve));
  return ask();
}

function smallPage(page: ScanPage): ScanPage {
  // Small pages, so that one request takes several rounds.
  const records = page.records.slice(0, 7).map(copyRecord);
  return { records, more: page.more || page.records.length > 7 };
}
