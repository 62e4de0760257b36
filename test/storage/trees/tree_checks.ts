/** Asking a tree everything, and comparing the answers with plain models of what was written. Wrong answers throw; so do the tree's own errors. */
import * as assert from 'uvu/assert';
import {
  type AppliedState,
  compareRecords,
  copyRecord,
  FLAG_TOMBSTONE,
  keyAfter,
  type MaybePromise,
  type ScanPage,
  type ScanRequest,
  type StoredRecord,
  type VersionsRequest,
} from '../../../src/storage/record.ts';
import type { Tree } from '../../../src/storage/tree.ts';
import { bytesOf, RecordModel, show, showAll } from '../record_model.ts';
import { keyNear } from './random_records.ts';

export const LAST_REVISION = Number.MAX_SAFE_INTEGER;
const NO_KEY = new Uint8Array(0);
const MAX_PAGES = 1_000_000;

export function stateAt(index: number): AppliedState {
  return {
    index,
    term: 1 + Math.floor(index / 3),
    state: bytesOf(`state ${index} `.repeat(1 + (index % 4))),
  };
}

/** What was written, flush by flush: an answer may be asked for as of any of them. */
export class History {
  readonly #steps: { index: number; replaces: boolean; records: readonly StoredRecord[] }[] = [];
  readonly #models = new Map<number, RecordModel>();

  add(index: number, records: readonly StoredRecord[], replaces = false): void {
    this.#steps.push({ index, replaces, records });
  }

  /** Forgets what came after `index` (0: everything). */
  rollBack(index: number): void {
    while ((this.#steps.at(-1)?.index ?? 0) > index) this.#models.delete(this.#steps.pop()!.index);
  }

  get lastIndex(): number {
    return this.#steps.at(-1)?.index ?? 0;
  }

  /** The content as of `index`: a model that belongs to the caller when `fresh`. */
  modelAt(index: number, fresh = false): RecordModel {
    const known = fresh ? undefined : this.#models.get(index);
    if (known !== undefined) return known;
    assert.ok(index === 0 || this.#steps.some((step) => step.index === index), `no flush had index ${index}`);
    const model = new RecordModel();
    for (const step of this.#steps) {
      if (step.index > index) break;
      if (step.replaces) model.clear();
      for (const record of step.records) model.add(record);
    }
    if (!fresh) this.#models.set(index, model);
    return model;
  }
}

/** Takes what the tree gives before anything else may run: its records may be views. */
async function answered<T, R>(answer: MaybePromise<T>, take: (value: T) => R): Promise<R> {
  return answer instanceof Promise ? take(await answer) : take(answer);
}

const isTombstone = (record: StoredRecord): boolean => (record.flags & FLAG_TOMBSTONE) !== 0;

const copyPage = (page: ScanPage): ScanPage => ({ records: page.records.map(copyRecord), more: page.more });

/** Follows a scan to the end of the request's range, page by page of at most `limit` records; `now`: by `scanNow` where there is one. */
export async function scanToEnd(tree: Tree, request: ScanRequest, now = false): Promise<StoredRecord[]> {
  const records: StoredRecord[] = [];
  let rest = request;
  for (let pages = 0; pages < MAX_PAGES; pages++) {
    const page =
      now && tree.scanNow !== undefined
        ? copyPage(tree.scanNow(rest))
        : await answered(tree.scan(rest), copyPage);
    assert.ok(page.records.length <= request.limit, `${page.records.length} records, limit ${request.limit}`);
    records.push(...page.records);
    if (!page.more) return records;
    const last = page.records.at(-1);
    assert.ok(last !== undefined, 'a page that is not the last one must hold a record');
    rest = request.reverse ? { ...rest, end: last!.key } : { ...rest, start: keyAfter(last!.key) };
  }
  throw new Error('a scan without end');
}

/** Follows `versions` to its end. */
export async function versionsToEnd(tree: Tree, request: VersionsRequest): Promise<StoredRecord[]> {
  const records: StoredRecord[] = [];
  let rest = request;
  for (let pages = 0; pages < MAX_PAGES; pages++) {
    const page = await answered(tree.versions(rest), copyPage);
    assert.ok(page.records.length <= request.limit, `${page.records.length} records, limit ${request.limit}`);
    records.push(...page.records);
    if (!page.more) return records;
    const last = page.records.at(-1);
    assert.ok(last !== undefined, 'a page that is not the last one must hold a record');
    rest = { ...rest, after: { key: last!.key, modRevision: last!.modRevision } };
  }
  throw new Error('versions without end');
}

export async function allVersions(
  tree: Tree,
  limit = 1e9,
  maxBytes = LAST_REVISION,
): Promise<StoredRecord[]> {
  const bounds = { start: NO_KEY, end: undefined, after: undefined, limit, maxBytes };
  return versionsToEnd(tree, { ...bounds, minRevision: 0, maxRevision: LAST_REVISION });
}

function sameLists(actual: string[], expected: string[], what: string): void {
  if (actual.length === expected.length && actual.every((line, i) => line === expected[i])) return;
  const at = actual.findIndex((line, i) => line !== expected[i]);
  const from = at < 0 ? Math.min(actual.length, expected.length) : at;
  throw new Error(
    `${what}: ${actual.length} records, expected ${expected.length}; the first difference, at ${from}:\n  got      ${clip(actual[from])}\n  expected ${clip(expected[from])}`,
  );
}

const clip = (line: string | undefined): string =>
  line === undefined ? 'nothing' : line.length > 300 ? `${line.slice(0, 300)}...` : line;

/** What compaction at `compactRevision` may have left of a model: in order, nothing that was never written, all that must be kept. */
export function assertAllowed(
  actual: readonly StoredRecord[],
  written: readonly StoredRecord[],
  retained: readonly StoredRecord[],
  what: string,
): void {
  for (let i = 1; i < actual.length; i++)
    if (compareRecords(actual[i - 1]!, actual[i]!) >= 0)
      throw new Error(`${what}: out of order: ${clip(show(actual[i - 1]))}, then ${clip(show(actual[i]))}`);
  const known = new Set(showAll(written));
  const present = new Set(showAll(actual));
  for (const line of present)
    if (!known.has(line)) throw new Error(`${what}: was never written: ${clip(line)}`);
  for (const line of showAll(retained))
    if (!present.has(line)) throw new Error(`${what}: is lost: ${clip(line)}`);
}

/** The content as a whole, by every way of asking for all of it. */
export async function assertContent(
  tree: Tree,
  model: RecordModel,
  compactRevision: number,
  what: string,
): Promise<void> {
  assertAllowed(await allVersions(tree), model.records, model.retained(compactRevision), `${what}, versions`);
  for (const reverse of [false, true]) {
    const request = {
      start: NO_KEY,
      end: undefined,
      revision: LAST_REVISION,
      reverse,
      limit: 1e9,
      maxBytes: LAST_REVISION,
      keysOnly: false,
    };
    const expected = showAll(model.scan(request).records);
    sameLists(showAll(await scanToEnd(tree, request)), expected, `${what}, scan ${reverse ? 'down' : 'up'}`);
  }
}

/**
 * Random reads at revisions from `from` up. Each must give exactly what one of the models says: two are allowed while a flush is under way. Tombstones
 * at or below `compactRevision` may be gone.
 */
export class ReadChecker {
  readonly #tree: Tree;
  readonly #models: readonly RecordModel[];
  readonly #compactRevision: number;
  readonly #random: () => number;

  constructor(tree: Tree, models: readonly RecordModel[], compactRevision: number, random: () => number) {
    this.#tree = tree;
    this.#models = models;
    this.#compactRevision = compactRevision;
    this.#random = random;
  }

  async checkSome(rounds: number): Promise<void> {
    for (let i = 0; i < rounds; i++) {
      await this.#get();
      await this.#get();
      if (this.#random() < 0.5) await this.#scan();
      if (this.#random() < 0.3) await this.#versions();
    }
  }

  #revision(): number {
    const to = this.#models.at(-1)!.revision;
    const from = Math.min(Math.max(1, this.#compactRevision), to);
    const kind = this.#random();
    if (kind < 0.4) return LAST_REVISION;
    if (kind < 0.5) return from;
    return from + Math.floor(this.#random() * (to - from + 1));
  }

  #key(): Uint8Array {
    return keyNear(this.#models.at(-1)!, this.#random);
  }

  /** Dropped by compaction, where it may be. */
  #mayBeGone(record: StoredRecord): boolean {
    return isTombstone(record) && record.modRevision <= this.#compactRevision;
  }

  async #get(): Promise<void> {
    const key = this.#key();
    const revision = this.#revision();
    const wanted = this.#models.map((model) => model.get(key, revision));
    // With a flush under way there may be two answers; which one it is, is settled when it answers.
    // The answer at once, where there is one, must be the same.
    const now = this.#tree.getNow !== undefined && this.#random() < 0.4;
    const found = now
      ? show(this.#tree.getNow?.(key, revision))
      : await answered(this.#tree.get(key, revision), show);
    const isRight = wanted.some(
      (record) =>
        show(record) === found || (found === 'none' && record !== undefined && this.#mayBeGone(record)),
    );
    const where = `get ${Buffer.from(key.subarray(0, 80)).toString('latin1')} at ${revision}`;
    if (!isRight)
      throw new Error(
        `${where}:\n  got      ${clip(found)}\n  expected ${wanted.map((r) => clip(show(r))).join(' or ')}`,
      );
    if (found !== 'none')
      assert.ok(this.#tree.mayContain(key), `${where}: it is here, but mayContain says no`);
  }

  #range(): { start: Uint8Array; end: Uint8Array | undefined } {
    const all = this.#random() < 0.3;
    return {
      start: all ? NO_KEY : this.#key(),
      end: all || this.#random() < 0.2 ? undefined : this.#key(),
    };
  }

  async #scan(): Promise<void> {
    const random = this.#random;
    const request: ScanRequest = {
      ...this.#range(),
      revision: this.#revision(),
      reverse: random() < 0.5,
      limit: random() < 0.5 ? 1 + Math.floor(random() * 20) : 100_000,
      maxBytes: random() < 0.3 ? 1 + Math.floor(random() * 5_000) : LAST_REVISION,
      keysOnly: random() < 0.2,
      tombstones: random() < 0.2,
    };
    const where = `scan ${describe(request)}`;
    const whole = { ...request, limit: 1e9, maxBytes: LAST_REVISION };
    // Pages come at different moments: while a flush is under way only a single one can be held against one model.
    if (this.#models.length > 1) return this.#singlePage(request, whole, where);
    const kept = (records: readonly StoredRecord[]): string[] =>
      showAll(records.filter((record) => !this.#mayBeGone(record)));
    const pages = await scanToEnd(this.#tree, request, random() < 0.4);
    sameLists(kept(pages), kept(this.#models[0]!.scan(whole).records), where);
  }

  async #singlePage(request: ScanRequest, whole: ScanRequest, where: string): Promise<void> {
    const page = await answered(this.#tree.scan(request), copyPage);
    const problems: string[] = [];
    for (const model of this.#models) {
      let all = model.scan(whole).records;
      if (request.tombstones === true) all = all.filter((record) => !this.#mayBeGone(record));
      const seen = page.records.filter((record) => !this.#mayBeGone(record));
      const expected = page.more ? all.slice(0, seen.length) : all;
      try {
        sameLists(showAll(seen), showAll(expected), where);
        return;
      } catch (error) {
        problems.push(String(error));
      }
    }
    throw new Error(problems.join('\nnor\n'));
  }

  async #versions(): Promise<void> {
    const random = this.#random;
    const model = this.#models.at(-1)!;
    const some = model.records[Math.floor(random() * model.records.length)];
    const from = Math.floor(random() * (model.revision + 1));
    const request: VersionsRequest = {
      ...this.#range(),
      after:
        random() < 0.5 || some === undefined
          ? undefined
          : { key: random() < 0.5 ? some.key : this.#key(), modRevision: some.modRevision },
      minRevision: random() < 0.5 ? 0 : from,
      maxRevision: random() < 0.5 ? LAST_REVISION : Math.max(from, Math.floor(random() * model.revision)),
      limit: random() < 0.5 ? 1 + Math.floor(random() * 20) : 100_000,
      maxBytes: random() < 0.3 ? 1 + Math.floor(random() * 5_000) : LAST_REVISION,
    };
    const whole = { ...request, limit: 1e9, maxBytes: LAST_REVISION };
    const records = await versionsToEnd(this.#tree, request);
    const kept = new Set(this.#models[0]!.retained(this.#compactRevision));
    const required = this.#models[0]!.versions(whole).records.filter((record) => kept.has(record));
    assertAllowed(records, model.versions(whole).records, required, `versions ${describe(request)}`);
  }
}

function describe(request: object): string {
  return JSON.stringify(request, (_, value: unknown) => {
    if (!(value instanceof Uint8Array)) return value;
    return value.length > 60 ? `${value.length} B` : Buffer.from(value).toString('latin1');
  });
}
