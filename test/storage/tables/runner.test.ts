/** Where jobs run: on this thread, on a thread of their own, and what happens when that thread dies. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import { realPorts } from '../../../src/real_ports.ts';
import { DiskError } from '../../../src/storage/disk.ts';
import { MemoryDisk } from '../../../src/storage/memory_disk.ts';
import { Memtable } from '../../../src/storage/memtable.ts';
import { NodeDisk } from '../../../src/storage/node_disk.ts';
import type { TableInfo } from '../../../src/storage/tables/format.ts';
import { errorOf, plainError } from '../../../src/storage/tables/job_messages.ts';
import {
  type FlushJob,
  InlineRunner,
  type JobRunner,
  type MergeControl,
  type MergeJob,
  numberSource,
} from '../../../src/storage/tables/job_runner.ts';
import { TablesTree } from '../../../src/storage/tables/tables_tree.ts';
import { verifyTree } from '../../../src/storage/tables/verify_tree.ts';
import { WorkerRunner } from '../../../src/storage/tables/worker_runner.ts';
import { test } from '../../suite.ts';
import { flushMemtable, keyOf, NEWEST, outcome, records, SMALL, stateAt } from './tree_lab.ts';

const OPTIONS = {
  blockSizeBytes: 4096,
  bitsPerKey: 10,
  compression: 'none',
  tableSizeBytes: 256 * 1024,
} as const;
const FREE: MergeControl = { take: () => undefined, cancelled: false };

function memtableOf(from: number, to: number, revision: number): Memtable {
  const memtable = new Memtable({ sizeBytes: 1024 * 1024 });
  for (const record of records(from, to, revision, 500))
    memtable.put(record.key, record.value, record.modRevision, record.createRevision, 1, 0, 0, 0n, 0);
  return memtable;
}

function flushJob(directory: string, memtable: Memtable, first: number): FlushJob {
  return {
    directory,
    memory: memtable.sharedMemory,
    compactRevision: 0,
    options: OPTIONS,
    numbers: { first, count: 50 },
  };
}

function mergeJob(directory: string, inputs: readonly (readonly TableInfo[])[], first: number): MergeJob {
  return {
    directory,
    inputs,
    compactRevision: 0,
    below: [],
    options: OPTIONS,
    numbers: { first, count: 50 },
  };
}

async function onRealDisk(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'kvorum-jobs-'));
  try {
    await run(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function flushAndMerge(runner: JobRunner, directory: string): Promise<void> {
  const newer = await runner.flush(flushJob(directory, memtableOf(500, 1_500, 10_000), 1));
  const older = await runner.flush(flushJob(directory, memtableOf(0, 1_000, 1), 100));
  assert.ok(newer.length > 1 && older.length > 1);
  assert.is(newer[0]!.fileNumber, 1);
  let asked = 0;
  const control: MergeControl = {
    take: async (bytes) => {
      asked += bytes;
    },
    cancelled: false,
  };
  const merged = await runner.merge(mergeJob(directory, [newer, older], 200), control);
  assert.is(
    merged.reduce((sum, info) => sum + info.recordCount, 0),
    2_000,
  );
  assert.ok(asked > 500_000, `asked for ${asked} B`);
  assert.equal(new Uint8Array(merged[0]!.smallestKey), new Uint8Array(keyOf(0)));
  const cancelled = await outcome(
    runner.merge(mergeJob(directory, [newer, older], 300), { take: () => undefined, cancelled: true }),
  );
  assert.is(cancelled, 'CANCELLED');
  const bad = await runner
    .merge(mergeJob(directory, [[{ ...newer[0]!, fileNumber: 77 }]], 400), FREE)
    .catch((error: unknown) => error);
  assert.ok(bad instanceof DiskError && bad.code === 'NOT_FOUND' && bad.path.includes('77'));
}

test('both runners do the same work', async () => {
  const disk = new MemoryDisk();
  await disk.makeDirectory('/t');
  const inline = InlineRunner.inSlices(disk, realPorts());
  await flushAndMerge(inline, '/t');
  await inline.close();
  await onRealDisk(async (directory) => {
    const worker = new WorkerRunner();
    await flushAndMerge(worker, directory);
    const names = await new NodeDisk().list(directory);
    assert.ok(
      names.every((name) => name.endsWith('.kvt')),
      'a cancelled job leaves nothing',
    );
    await worker.close();
    assert.is(await outcome(worker.flush(flushJob(directory, memtableOf(0, 1, 1), 900))), 'CLOSED');
  });
});

test('a runner that never ran anything closes', async () => {
  await new WorkerRunner().close();
});

test('a flush is not held up by a merge: the merge waits for it', async () => {
  const disk = new MemoryDisk();
  await disk.makeDirectory('/t');
  const order: string[] = [];
  const rest = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const runner = new InlineRunner({ disk, rest });
  const inputs = [
    await runner.flush(flushJob('/t', memtableOf(0, 1_500, 10_000), 1)),
    await runner.flush(flushJob('/t', memtableOf(0, 1_500, 1), 100)),
  ];
  let flushed: Promise<unknown> | undefined;
  let stepsDuring = 0;
  let flushing = false;
  const merged = runner.merge(mergeJob('/t', inputs, 200), {
    take: () => {
      if (flushing) stepsDuring++;
      if (flushed !== undefined) return;
      flushing = true;
      flushed = runner.flush(flushJob('/t', memtableOf(0, 1_500, 20_000), 300)).then(() => {
        flushing = false;
        order.push('flush');
      });
    },
    cancelled: false,
  });
  await merged;
  order.push('merge');
  await flushed;
  assert.equal(order, ['flush', 'merge']);
  assert.ok(stepsDuring <= 1, `${stepsDuring} steps of the merge while a flush was under way`);
});

test('a job that writes more tables than its numbers allow is stopped', async () => {
  const next = numberSource({ first: 7, count: 2 });
  assert.equal([next(), next()], [7, 8]);
  assert.throws(next, (error: unknown) => error instanceof KvError && error.code === 'INTERNAL');
});

test('errors cross to another thread with what they say', () => {
  const inner = new DiskError('NO_SPACE', '/some/file', 'full', new Error('ENOSPC'));
  const error = new KvError('CORRUPT', 'damaged', { details: { file: 'f', offset: 3 }, cause: inner });
  const crossed = errorOf(structuredClone(plainError(error)));
  assert.ok(crossed instanceof KvError);
  if (!(crossed instanceof KvError)) return;
  assert.is(crossed.code, 'CORRUPT');
  assert.equal(crossed.details, { file: 'f', offset: 3 });
  const cause = crossed.cause;
  assert.ok(cause instanceof DiskError && cause.code === 'NO_SPACE' && cause.path === '/some/file');
  const other = errorOf(plainError(new TypeError('oops')));
  assert.ok(other instanceof KvError && other.code === 'INTERNAL' && /oops/.test(other.message));
  assert.match(errorOf(plainError('a text')).message, 'a text');
  let chain: Error = new Error('end');
  for (let i = 0; i < 100; i++) chain = new KvError('INTERNAL', `link ${i}`, { cause: chain });
  let length = 0;
  for (let at: unknown = errorOf(plainError(chain)); at instanceof Error; at = at.cause) length++;
  assert.ok(length < 10, 'chains are cut');
});

test('a thread that dies fails its jobs and all later ones', async () => {
  await onRealDisk(async (directory) => {
    const dying: [string, string][] = [
      [
        'throws',
        "import { parentPort } from 'node:worker_threads'; parentPort.on('message', () => { throw new Error('struck'); });",
      ],
      [
        'exits',
        "import { parentPort } from 'node:worker_threads'; parentPort.on('message', () => process.exit(3));",
      ],
    ];
    for (const [name, source] of dying) {
      const script = join(directory, `${name}.mjs`);
      writeFileSync(script, source);
      const runner = new WorkerRunner({ script: pathToFileURL(script) });
      const job = flushJob(directory, memtableOf(0, 10, 1), 1);
      const results = [runner.flush(job), runner.merge(mergeJob(directory, [], 1), FREE)].map(outcome);
      assert.equal(await Promise.all(results), ['STORAGE_FAILED', 'STORAGE_FAILED'], name);
      const error = await runner.flush(job).catch((failure: unknown) => failure);
      assert.match(error instanceof Error ? error.message : '', name === 'throws' ? 'struck' : 'code 3');
      await runner.close();
    }
  });
});

test('a tree whose thread died says so at the next flush, and reads go on', async () => {
  await onRealDisk(async (directory) => {
    const disk = new NodeDisk();
    const path = join(directory, 'tree');
    const open = (runner?: WorkerRunner): Promise<TablesTree> => {
      const options = { disk, path, ports: realPorts(), settings: SMALL };
      return TablesTree.open(runner === undefined ? options : { ...options, runner });
    };
    let tree = await open();
    await flushMemtable(tree, records(0, 100, 1), stateAt(1));
    await tree.close();
    const script = join(directory, 'dies.mjs');
    writeFileSync(
      script,
      "import { parentPort } from 'node:worker_threads'; parentPort.on('message', () => process.exit(1));",
    );
    tree = await open(new WorkerRunner({ script: pathToFileURL(script) }));
    assert.is(await outcome(flushMemtable(tree, records(0, 100, 200), stateAt(2))), 'STORAGE_FAILED');
    assert.is(await outcome(flushMemtable(tree, records(0, 100, 200), stateAt(2))), 'STORAGE_FAILED');
    assert.is((await tree.get(keyOf(3), NEWEST))?.modRevision, 4);
    await tree.close();
    tree = await open(new WorkerRunner());
    assert.is(tree.durable?.index, 1);
    await tree.close();
  });
});

test('a real disk, a thread, many flushes and compactions: all there after a restart, and closing in the middle is clean', async () => {
  await onRealDisk(async (directory) => {
    const disk = new NodeDisk();
    const path = join(directory, 'tree');
    const settings = { ...SMALL, tableSizeBytes: 64 * 1024, levelBaseBytes: 256 * 1024 };
    const open = (): Promise<TablesTree> =>
      TablesTree.open({ disk, path, ports: realPorts(), settings, runner: new WorkerRunner() });
    let tree = await open();
    for (let index = 1; index <= 9; index++) {
      await flushMemtable(tree, records(0, 700, index * 1_000, 200), stateAt(index));
      tree.compact(index * 1_000 - 500);
    }
    await tree.close();
    assert.equal((await verifyTree(disk, path)).damages, []);
    tree = await open();
    assert.is(tree.durable?.index, 9);
    await tree.settled();
    for (let i = 0; i < 700; i++) assert.is((await tree.get(keyOf(i), NEWEST))?.modRevision, 9_000 + i);
    assert.ok(tree.tableStats().runs < 4);
    assert.is((await disk.list(`${path}/tables`)).length, tree.tableStats().cache.openTables);
    await tree.close();
  });
});

test('the thread leaves the stdout of the program as it is', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'kvorum-test-'));
  const script = fileURLToPath(new URL('./stdout_writer.js', import.meta.url));
  // More than any pipe holds: written in one call only if that waits for the reader.
  const sizeBytes = 8 * 1024 * 1024;
  try {
    const child = spawn(process.execPath, [script, directory, String(sizeBytes)]);
    let told = '';
    let read = 0;
    child.stderr.on('data', (chunk: Buffer) => {
      told += chunk.toString();
      if (told.startsWith('ready')) child.stdout.on('data', (part: Buffer) => (read += part.length));
    });
    const status = await new Promise((resolve) => child.on('close', resolve));
    assert.is(status, 0, told);
    assert.is(told, `ready\n${sizeBytes}\n`);
    assert.is(read, sizeBytes);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test('what the thread says comes out on stderr', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'kvorum-test-'));
  const thread = join(directory, 'thread.mjs');
  const program = join(directory, 'program.mjs');
  const module = new URL('../../../src/storage/tables/worker_runner.js', import.meta.url).href;
  writeFileSync(thread, "console.log('said'); console.error('warned');");
  writeFileSync(
    program,
    `import { WorkerRunner } from ${JSON.stringify(module)};
    const runner = new WorkerRunner({ script: new URL('./thread.mjs', import.meta.url) });
    await runner.flush({}).catch(() => undefined);`,
  );
  try {
    const { stdout, stderr } = spawnSync(process.execPath, [program], { encoding: 'utf8' });
    assert.is(stdout, '');
    assert.match(stderr, 'said');
    assert.match(stderr, 'warned');
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test.run();
