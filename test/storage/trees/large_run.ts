/**
 * A long run of one tree on the real disk, outside CI: loads, overwrites, deletes, compacts, scans and opens it again, and verifies every value.
 *
 *     node --max-old-space-size=1024 build/test/storage/trees/large_run.js --gigabytes 10 --path DIR [--tree NAME] [--value-bytes 1024] [--memtable-mib 64] [--seed 1] [--keep]
 *
 * DIR must not exist; it is removed at the end unless --keep is given. Prints one line a phase: time, rate, write and space amplification; exits with 1 when anything read was wrong.
 */
import { readFileSync } from 'node:fs';
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { realPorts } from '../../../src/real_ports.ts';
import { CompactedRun } from '../../../src/storage/engine_flush.ts';
import { MemtablePool } from '../../../src/storage/memtable_pool.ts';
import { NodeDisk } from '../../../src/storage/node_disk.ts';
import { FLAG_TOMBSTONE, keyAfter, type StoredRecord } from '../../../src/storage/record.ts';
import { seededRandom } from '../record_model.ts';
import { problemOf, writeValue } from './checksummed_values.ts';
import { subjectsHere } from './subjects_here.ts';
import type { OpenTree, TreeSubject } from './tree_subject.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const LAST_REVISION = Number.MAX_SAFE_INTEGER;
const DEAD = 0x8000_0000;
/** Revisions kept behind the newest one. */
const HISTORY = 10_000;
const MAX_PROBLEMS = 10;

const { values: flags } = parseArgs({
  options: {
    gigabytes: { type: 'string', default: '1' },
    path: { type: 'string' },
    tree: { type: 'string', default: 'tables' },
    'value-bytes': { type: 'string', default: '1024' },
    'memtable-mib': { type: 'string', default: '64' },
    seed: { type: 'string', default: '1' },
    keep: { type: 'boolean', default: false },
  },
});

function numberOf(name: 'gigabytes' | 'value-bytes' | 'memtable-mib' | 'seed', least: number): number {
  const value = Number(flags[name]);
  if (!(value >= least)) throw new Error(`--${name} is ${flags[name]}, allowed: a number from ${least}`);
  return value;
}

class LargeRun {
  readonly #subject: TreeSubject;
  readonly #path: string;
  readonly #valueBytes: number;
  readonly #random = seededRandom(numberOf('seed', 0));
  readonly #pool = new MemtablePool({ sizeBytes: numberOf('memtable-mib', 1) * MIB }, 2);
  readonly #disk = new NodeDisk();
  /** The version of each key; DEAD is set for one that was deleted. */
  readonly #versions: Uint32Array;
  #opened: OpenTree;
  #memtable = this.#pool.acquire();
  #revision = 0;
  #index = 0;
  #flushing: Promise<void> = Promise.resolve();
  #writtenBytes = 0;
  problems = 0;

  private constructor(subject: TreeSubject, path: string, keys: number, opened: OpenTree) {
    this.#subject = subject;
    this.#path = path;
    this.#valueBytes = numberOf('value-bytes', 16);
    this.#versions = new Uint32Array(keys);
    this.#opened = opened;
  }

  static async create(subject: TreeSubject, path: string, keys: number): Promise<LargeRun> {
    const opened = await subject.open(new NodeDisk(), join(path, 'tree'), realPorts(), {});
    return new LargeRun(subject, path, keys, opened);
  }

  get keys(): number {
    return this.#versions.length;
  }

  async phase(name: string, work: () => Promise<number>): Promise<void> {
    const startedMs = performance.now();
    const [writtenBefore, diskBefore] = [this.#writtenBytes, bytesToDisk()];
    const bytes = await work();
    const seconds = (performance.now() - startedMs) / 1000;
    const written = this.#writtenBytes - writtenBefore;
    const amplification = written > 0 ? ((bytesToDisk() - diskBefore) / written).toFixed(2) : '-';
    const onDisk = await sizeBelow(this.#path);
    console.log(
      `${name.padEnd(28)} ${seconds.toFixed(1).padStart(8)} s  ${(bytes / MIB / seconds).toFixed(0).padStart(6)} MiB/s  write amplification ${amplification}  on disk ${(onDisk / GIB).toFixed(2)} GiB, ${(onDisk / this.#liveBytes()).toFixed(2)} x the live data  rss ${(process.memoryUsage.rss() / MIB).toFixed(0)} MiB`,
    );
  }

  #liveBytes(): number {
    let live = 0;
    for (const version of this.#versions) if (version !== 0 && version < DEAD) live++;
    return Math.max(1, live * (this.#valueBytes + keyOf(0).length));
  }

  async write(id: number, dead = false): Promise<void> {
    const before = this.#versions[id]!;
    const version = (before & ~DEAD) + 1;
    this.#versions[id] = dead ? (version | DEAD) >>> 0 : version;
    const value = new Uint8Array(dead ? 0 : this.#valueBytes);
    if (!dead) writeValue(value, id, version);
    const flags = dead ? FLAG_TOMBSTONE : 0;
    this.#memtable.put(keyOf(id), value, ++this.#revision, 1, version, 0, flags, 0n, 0);
    this.#writtenBytes += value.length + keyOf(id).length;
    if (this.#memtable.full) await this.flush();
  }

  /** Hands the memtable over; waits only for the flush before. */
  async flush(): Promise<void> {
    await this.#flushing;
    const memtable = this.#memtable;
    this.#memtable = this.#pool.acquire();
    const applied = { index: ++this.#index, term: 1, state: new Uint8Array(8) };
    const { tree } = this.#opened;
    const compactRevision = Math.max(0, this.#revision - HISTORY);
    this.#flushing = (async () => {
      await tree.flush(new CompactedRun(memtable, compactRevision), applied);
      this.#pool.release(memtable);
      tree.compact(compactRevision);
    })();
    this.#flushing.catch(() => undefined); // told by the next flush
  }

  async finish(): Promise<void> {
    await this.flush();
    await this.#flushing;
    await this.#opened.tree.checkpoint();
  }

  settled(): Promise<void> {
    return this.#opened.settled();
  }

  async reopen(): Promise<void> {
    await this.#opened.tree.close();
    this.#opened = await this.#subject.open(this.#disk, join(this.#path, 'tree'), realPorts(), {});
    const index = this.#opened.tree.durable?.index;
    if (index !== this.#index) this.#problem(`durable is ${index} after opening, flushed was ${this.#index}`);
  }

  async close(): Promise<void> {
    await this.#opened.tree.close();
  }

  /** Reads random keys. Gives the bytes read. */
  async verifyGets(count: number): Promise<number> {
    let bytes = 0;
    for (let i = 0; i < count; i++) {
      const id = this.randomId();
      const answer = this.#opened.tree.get(keyOf(id), LAST_REVISION);
      const record = answer instanceof Promise ? await answer : answer;
      this.#verify(id, record !== undefined && record.flags === 0 ? record : undefined);
      bytes += record?.value.length ?? 0;
    }
    return bytes;
  }

  /** Reads everything, in key order. */
  async verifyScan(reverse: boolean): Promise<number> {
    let bytes = 0;
    let next = reverse ? this.keys - 1 : 0;
    const step = reverse ? -1 : 1;
    const skipTo = (id: number): void => {
      for (; next !== id && next >= 0 && next < this.keys; next += step) this.#verify(next, undefined);
    };
    let [start, end]: [Uint8Array, Uint8Array | undefined] = [new Uint8Array(0), undefined];
    for (let more = true; more; ) {
      const request = {
        start,
        end,
        revision: LAST_REVISION,
        reverse,
        limit: 2_000,
        maxBytes: MIB,
        keysOnly: false,
      };
      const answer = this.#opened.tree.scan(request);
      const page = answer instanceof Promise ? await answer : answer;
      for (const record of page.records) {
        const id = Number(Buffer.from(record.key).toString('latin1').slice(5));
        skipTo(id);
        this.#verify(id, record);
        next = id + step;
        bytes += record.value.length + record.key.length;
      }
      const last = page.records.at(-1);
      if (last !== undefined && reverse) end = new Uint8Array(last.key);
      else if (last !== undefined) start = keyAfter(last.key);
      more = page.more;
    }
    skipTo(-1);
    return bytes;
  }

  randomId(): number {
    return Math.floor(this.#random() * this.keys);
  }

  async check(): Promise<void> {
    for (const { file, offset, problem } of await this.#subject.check(this.#disk, join(this.#path, 'tree')))
      this.#problem(`${file} at ${offset}: ${problem}`);
  }

  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  #verify(id: number, record: StoredRecord | undefined): void {
    const version = this.#versions[id]!;
    const isLive = version !== 0 && version < DEAD;
    if (record === undefined) {
      if (isLive) this.#problem(`key ${id}, version ${version}: not found`);
      return;
    }
    const problem = isLive ? problemOf(record.value, id, version) : 'is there, but should not be';
    if (problem !== undefined) this.#problem(`key ${id}, version ${version}: ${problem}`);
  }

  #problem(text: string): void {
    if (++this.problems <= MAX_PROBLEMS) console.log(`WRONG: ${text}`);
  }
}

function keyOf(id: number): Uint8Array {
  return Buffer.from(`\u0001key-${String(id).padStart(10, '0')}`, 'latin1');
}

/** Bytes that this process (with all its threads) has handed to write calls; 0 where the system does not tell. */
function bytesToDisk(): number {
  if (process.platform !== 'linux') return 0;
  return Number(/^wchar: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))?.[1] ?? 0);
}

async function sizeBelow(path: string): Promise<number> {
  let total = 0;
  for (const entry of await readdir(path, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    // A compaction may have removed it meanwhile.
    const stats = await stat(join(entry.parentPath, entry.name)).catch(() => undefined);
    total += stats?.size ?? 0;
  }
  return total;
}

async function main(): Promise<number> {
  const { path } = flags;
  if (path === undefined) throw new Error('--path DIR is missing');
  const subject = (await subjectsHere()).find(({ name }) => name.includes(flags.tree));
  if (subject === undefined) throw new Error(`there is no tree named ${flags.tree} here`);
  await mkdir(path); // must not be there yet: it is removed at the end
  const total = numberOf('gigabytes', 0.01) * GIB;
  const keys = Math.max(1, Math.floor((total * 0.4) / (numberOf('value-bytes', 16) + keyOf(0).length)));
  const run = await LargeRun.create(subject, path, keys);
  const rest = Math.floor(keys * 0.5);
  console.log(`${subject.name}: ${keys} keys, ${(total / GIB).toFixed(2)} GiB to write`);
  const writing = async (work: () => Promise<void>): Promise<number> => {
    const before = run.writtenBytes;
    await work();
    await run.finish();
    return run.writtenBytes - before;
  };
  await run.phase('load in key order', () =>
    writing(async () => {
      for (let id = 0; id < keys; id++) await run.write(id);
    }),
  );
  await run.phase('random gets', () => run.verifyGets(200_000));
  for (const round of [1, 2]) {
    await run.phase(`overwrite at random, ${round}`, () =>
      writing(async () => {
        for (let i = 0; i < rest; i++) await run.write(run.randomId());
      }),
    );
    await run.phase('random gets', () => run.verifyGets(200_000));
  }
  await run.phase('delete a tenth, write again', () =>
    writing(async () => {
      for (let i = 0; i < keys / 10; i++) await run.write(run.randomId(), true);
      for (let i = 0; i < rest; i++) await run.write(run.randomId());
    }),
  );
  await run.phase('settle', async () => {
    await run.settled();
    return 0;
  });
  await run.phase('scan up', () => run.verifyScan(false));
  await run.phase('scan down', () => run.verifyScan(true));
  await run.phase('close and open', async () => {
    await run.reopen();
    return 0;
  });
  await run.phase('random gets', () => run.verifyGets(200_000));
  await run.phase('scan up', () => run.verifyScan(false));
  await run.close();
  await run.phase('check', async () => {
    await run.check();
    return 0;
  });
  console.log(run.problems === 0 ? 'everything was right' : `${run.problems} answers were WRONG`);
  if (!flags.keep) await rm(path, { recursive: true, force: true });
  return run.problems === 0 ? 0 : 1;
}

process.exitCode = await main();
