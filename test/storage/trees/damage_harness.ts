/**
 * Damages the files of a closed tree, one damage at a time, and looks whether every read then gives what was written or KvError CORRUPT that names file and offset,
 * and whether the offline checker reports it.
 */
import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import type { Disk } from '../../../src/storage/disk.ts';
import { MemoryDisk } from '../../../src/storage/memory_disk.ts';
import { copyRecord, type StoredRecord } from '../../../src/storage/record.ts';
import type { Tree } from '../../../src/storage/tree.ts';
import { type RecordModel, seededRandom, show } from '../record_model.ts';
import type { Progress, Workload } from './crash_workload.ts';
import { HarnessPorts } from './harness_ports.ts';
import { allVersions, assertAllowed, LAST_REVISION, scanToEnd } from './tree_checks.ts';
import { namesIn, TREE_PATH, type TreeOptions, type TreeSubject } from './tree_subject.ts';

/** A read may ask for a little more than there is, but not for what a damaged length says. */
const READ_SLACK_BYTES = 256 * 1024;
const MAX_RSS_BYTES = 1.5 * 1024 ** 3;

export type Damage =
  | { readonly type: 'flip'; readonly file: string; readonly offset: number; readonly mask: number }
  | { readonly type: 'cut'; readonly file: string; readonly sizeBytes: number }
  | { readonly type: 'append'; readonly file: string; readonly bytes: number }
  /** A write of `length` bytes that belonged to `from` went to `to`. */
  | {
      readonly type: 'misdirect';
      readonly file: string;
      readonly from: number;
      readonly to: number;
      readonly length: number;
    }
  | {
      readonly type: 'swap';
      readonly file: string;
      readonly a: number;
      readonly b: number;
      readonly length: number;
    }
  | { readonly type: 'replace'; readonly file: string; readonly by: string }
  | { readonly type: 'remove'; readonly file: string };

/** A part of a file: a header, a block, an index. */
export interface Section {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

/** A tree's directory at rest, and what is in it. */
export interface Specimen {
  readonly subject: TreeSubject;
  readonly options: TreeOptions;
  readonly disk: MemoryDisk;
  readonly model: RecordModel;
  readonly compactRevision: number;
  /** Paths and contents of its files. */
  readonly files: ReadonlyMap<string, Uint8Array>;
}

async function filesBelow(disk: Disk, path: string, into: Map<string, Uint8Array>): Promise<void> {
  for (const name of await namesIn(disk, path)) {
    const file = `${path}/${name}`;
    const isDirectory = await disk.list(file).then(
      () => true,
      () => false,
    );
    if (isDirectory) await filesBelow(disk, file, into);
    else into.set(file, await disk.readFile(file));
  }
}

export async function specimenOf(
  subject: TreeSubject,
  options: TreeOptions,
  workload: Workload,
): Promise<Specimen> {
  const disk = new MemoryDisk();
  await disk.makeDirectory('/data');
  const ports = new HarnessPorts();
  const opened = await subject.open(disk, TREE_PATH, ports, options);
  let progress: Progress = { acknowledged: 0, begun: 0, compactions: [] };
  await workload.run(subject, opened, (now) => {
    progress = now;
  });
  await opened.settled();
  await opened.tree.checkpoint();
  await opened.tree.close();
  ports.stop();
  disk.crash('none', () => 0); // nothing on its way to the platter any more
  const files = new Map<string, Uint8Array>();
  await filesBelow(disk, TREE_PATH, files);
  const index = progress.begun;
  const model = workload.history.modelAt(index);
  const compactRevision = workload.compactRevision(progress, index);
  return { subject, options, disk, model, compactRevision, files };
}

async function apply(disk: MemoryDisk, damage: Damage): Promise<void> {
  const { file } = damage;
  switch (damage.type) {
    case 'flip':
      return disk.damage(file, damage.offset, damage.mask);
    case 'cut':
      return disk.cutShort(file, damage.sizeBytes);
    case 'append': {
      const size = (await disk.readFile(file)).length;
      return rewrite(disk, file, size, new Uint8Array(damage.bytes).fill(0x5a));
    }
    case 'misdirect':
      return disk.misdirect(file, damage.from, damage.to, damage.length);
    case 'swap': {
      const bytes = await disk.readFile(file);
      await rewrite(disk, file, damage.a, bytes.slice(damage.b, damage.b + damage.length));
      return rewrite(disk, file, damage.b, bytes.slice(damage.a, damage.a + damage.length));
    }
    case 'replace': {
      const bytes = await disk.readFile(damage.by);
      disk.cutShort(file, 0);
      return rewrite(disk, file, 0, bytes);
    }
    case 'remove':
      return disk.remove(file);
  }
}

async function rewrite(disk: MemoryDisk, path: string, offset: number, bytes: Uint8Array): Promise<void> {
  const file = await disk.open(path, 'open');
  file.writeSync([bytes], offset);
  await file.sync();
  await file.close();
}

/** True when the damage was met and told; throws for anything but CORRUPT with a file and an offset. */
function isTold(error: unknown): true {
  if (!(error instanceof KvError) || error.code !== 'CORRUPT') throw error;
  const { file, offset } = error.details;
  assert.type(file, 'string', `CORRUPT names no file: ${error.message}`);
  assert.type(offset, 'number', `CORRUPT names no offset: ${error.message}`);
  return true;
}

/** Reads everything in every way. Gives how many reads told of damage; wrong data throws. */
async function readEverything(specimen: Specimen, tree: Tree): Promise<number> {
  const { model, compactRevision } = specimen;
  let told = 0;
  const attempt = async (read: () => Promise<void>): Promise<void> => {
    try {
      await read();
    } catch (error) {
      if (isTold(error)) told++;
    }
  };
  const keys = new Map<string, Uint8Array>();
  for (const { key } of model.records) keys.set(Buffer.from(key).toString('latin1'), key);
  for (const key of keys.values()) {
    for (const revision of [LAST_REVISION, compactRevision]) {
      await attempt(async () => {
        const answer = tree.get(key, revision);
        const found = show(answer instanceof Promise ? await answer : answer);
        const wanted = model.get(key, revision);
        const mayBeGone = wanted !== undefined && wanted.flags !== 0 && wanted.modRevision <= compactRevision;
        if (found !== show(wanted) && !(found === 'none' && mayBeGone))
          throw new Error(`wrong data: got ${found}, expected ${show(wanted)}`);
        if (found !== 'none') assert.ok(tree.mayContain(key), 'mayContain denies a key that is there');
      });
    }
  }
  for (const reverse of [false, true]) {
    for (const limit of [7, 1e9]) {
      const bounds = { start: new Uint8Array(0), end: undefined };
      const request = {
        ...bounds,
        revision: LAST_REVISION,
        reverse,
        limit,
        maxBytes: LAST_REVISION,
        keysOnly: false,
      };
      await attempt(async () => {
        const found = (await scanToEnd(tree, request)).map(show);
        const wanted = model.scan({ ...request, limit: 1e9 }).records.map(show);
        assert.equal(found, wanted, 'wrong data in a scan');
      });
    }
  }
  const retained = model.retained(compactRevision);
  await attempt(async () => assertAllowed(await allVersions(tree), model.records, retained, 'versions'));
  await attempt(async () => {
    const snapshot = await tree.snapshot();
    const records: StoredRecord[] = [];
    try {
      for (;;) {
        const page = await snapshot.next(3_000);
        if (page.length === 0) break;
        records.push(...page.map(copyRecord));
      }
    } finally {
      snapshot.release();
    }
    assertAllowed(records, model.records, retained, 'snapshot');
  });
  return told;
}

export interface Outcome {
  readonly refused: boolean;
  /** Reads that told of the damage. */
  readonly told: number;
  /** What the offline checker found. */
  readonly found: number;
}

/** Plays one damage. @throws for wrong data, any other error than CORRUPT, oversized reads, and damage that the checker does not see. */
export async function checkDamage(specimen: Specimen, damage: Damage): Promise<Outcome> {
  const { subject, options } = specimen;
  const ports = new HarnessPorts();
  try {
    const disk = specimen.disk.fork();
    await apply(disk, damage);
    const checked = disk.fork();
    let oversized = '';
    disk.observer = {
      read: (path, wanted, sizeBytes) => {
        if (wanted > sizeBytes + READ_SLACK_BYTES)
          oversized ||= `${wanted} B of ${path}, which has ${sizeBytes} B`;
      },
    };
    checked.observer = disk.observer;
    const outcome = await openAndRead(specimen, disk, ports, options);
    const findings = await subject.check(checked, TREE_PATH);
    for (const { file, problem } of findings) assert.ok(file.startsWith(TREE_PATH) && problem !== '');
    assert.ok(findings.length > 0, 'the offline checker does not see it');
    assert.is(oversized, '', 'asked to read far more than there is');
    const rss = process.memoryUsage.rss();
    assert.ok(rss < MAX_RSS_BYTES, `the process holds ${rss} B`);
    return { ...outcome, found: findings.length };
  } catch (error) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    throw new Error(`${subject.name}, ${JSON.stringify(damage)}: ${text}`);
  } finally {
    ports.stop();
  }
}

async function openAndRead(
  specimen: Specimen,
  disk: MemoryDisk,
  ports: HarnessPorts,
  options: TreeOptions,
): Promise<{ refused: boolean; told: number }> {
  let opened: Awaited<ReturnType<TreeSubject['open']>>;
  try {
    opened = await specimen.subject.open(disk, TREE_PATH, ports, options);
  } catch (error) {
    return { refused: isTold(error), told: 0 };
  }
  try {
    return { refused: false, told: await readEverything(specimen, opened.tree) };
  } finally {
    await opened.tree.close();
  }
}

/** Damage of every kind to one file: flips at `offsets`, cuts at every section's edges, and what else can happen to blocks and files. */
export function damagesOf(
  specimen: Specimen,
  file: string,
  offsets: readonly number[],
  seed: number,
): Damage[] {
  const random = seededRandom(seed);
  const bytes = specimen.files.get(file)!;
  const sections = specimen.subject.sections(file, bytes);
  const damages: Damage[] = offsets.map((offset, i) => ({
    type: 'flip',
    file,
    offset,
    // Single bits in turn, and now and then all of them.
    mask: i % 9 === 8 ? 0xff : 1 << (i % 8),
  }));
  const edges = new Set([0, 1, bytes.length - 1, Math.floor(bytes.length / 2)]);
  for (const { start, end } of sections)
    edges
      .add(start)
      .add(start + 1)
      .add(end - 1);
  for (const sizeBytes of edges)
    if (sizeBytes >= 0 && sizeBytes < bytes.length) damages.push({ type: 'cut', file, sizeBytes });
  for (const more of [1, 8, 512, 5_000]) damages.push({ type: 'append', file, bytes: more });
  damages.push(...swaps(file, bytes, sections));
  for (let i = 0; i < 6; i++) {
    const length = 1 + Math.floor(random() * Math.min(512, bytes.length / 3));
    const from = Math.floor(random() * (bytes.length - length));
    const to = Math.floor(random() * (bytes.length - length));
    const same = Buffer.compare(bytes.subarray(from, from + length), bytes.subarray(to, to + length)) === 0;
    if (!same) damages.push({ type: 'misdirect', file, from, to, length });
  }
  const kind = specimen.subject.kindOf(file);
  for (const [by, other] of specimen.files)
    if (by !== file && specimen.subject.kindOf(by) === kind && Buffer.compare(bytes, other) !== 0)
      damages.push({ type: 'replace', file, by });
  if (specimen.subject.isMissed(file)) damages.push({ type: 'remove', file });
  return damages;
}

/** Blocks of equal length in each other's place. */
function swaps(file: string, bytes: Uint8Array, sections: readonly Section[]): Damage[] {
  const damages: Damage[] = [];
  for (let i = 0; i < sections.length && damages.length < 8; i++) {
    const { start: a, end } = sections[i]!;
    const length = end - a;
    const other = sections.find((section) => section.start > a && section.end - section.start === length);
    if (other === undefined || length === 0) continue;
    const b = other.start;
    const same = Buffer.compare(bytes.subarray(a, a + length), bytes.subarray(b, b + length)) === 0;
    if (!same) damages.push({ type: 'swap', file, a, b, length });
  }
  return damages;
}

/** About `count` offsets: every byte near the ends and the sections' edges first, then evenly spread. All of them when there are no more. */
export function stratified(bytes: Uint8Array, sections: readonly Section[], count: number): number[] {
  const total = bytes.length;
  if (total <= count) return Array.from({ length: total }, (_, i) => i);
  const offsets = new Set<number>();
  const near = Math.max(1, Math.floor(count / 4 / (sections.length + 1)));
  for (const edge of [0, total, ...sections.map(({ start }) => start)])
    for (let at = edge - near; at < edge + near && offsets.size < count / 2; at++)
      if (at >= 0 && at < total) offsets.add(at);
  const step = total / (count - offsets.size);
  for (let at = 0; at < total; at += step) offsets.add(Math.floor(at));
  return [...offsets];
}
