/** Compaction jobs over real table files: what they keep, where they cut, how they end. */

import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import { compareKeys, compareRecords, type StoredRecord } from '../../../src/storage/record.ts';
import { type TableInfo, tablePath } from '../../../src/storage/tables/format.ts';
import { type KeyBounds, type MergeJobOptions, runMerge } from '../../../src/storage/tables/merge_job.ts';
import { MergeMemoryPool } from '../../../src/storage/tables/merge_memory.ts';
import { test } from '../../suite.ts';
import { bytesOf, plainRecord, randomKey, seededRandom, showAll, tombstone } from '../record_model.ts';
import { compacted, DIRECTORY, MergeLab, randomHistory } from './merge_lab.ts';
import { BlockDecoder, readTable } from './table_kit.ts';

const decoder = new BlockDecoder();

function jobOf(lab: MergeLab, inputs: TableInfo[][], some: Partial<MergeJobOptions> = {}): MergeJobOptions {
  return {
    disk: lab.disk,
    directory: DIRECTORY,
    inputs,
    compactRevision: 0,
    below: [],
    options: lab.options,
    nextFileNumber: lab.nextFileNumber,
    pace: { step: () => undefined },
    cancelled: () => false,
    memories: new MergeMemoryPool(1024 * 1024 * 1024, 'debug'),
    ...some,
  };
}

async function readAll(lab: MergeLab, infos: readonly TableInfo[]): Promise<StoredRecord[]> {
  const records: StoredRecord[] = [];
  for (const info of infos) {
    const table = await readTable(lab.disk, tablePath(DIRECTORY, info.fileNumber), decoder);
    assert.is(table.properties.recordCount, table.records.length);
    assert.equal(table.properties.smallestKey, new Uint8Array(table.records[0]!.key));
    assert.equal(table.properties.largestKey, new Uint8Array(table.records.at(-1)!.key));
    records.push(...table.records);
  }
  return records;
}

/** What the job left behind when it ended badly. */
async function outcomeOf(job: MergeJobOptions): Promise<{ error: unknown; names: string[] }> {
  const error = await runMerge(job).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return { error, names: await job.disk.list(DIRECTORY) };
}

test('compaction keeps exactly what a plain reading of the rules keeps, cut between keys', async () => {
  const random = seededRandom(21);
  for (let round = 0; round < 30; round++) {
    const lab = new MergeLab({
      blockSizeBytes: [64, 300, 4096][round % 3]!,
      compression: round % 2 === 0 ? 'none' : 'lz4',
      tableSizeBytes: [2_000, 20_000, 1_000_000][round % 3]!,
    });
    const { model, runs } = randomHistory(random, {
      runs: 1 + (round % 6),
      writesPerRun: 200,
      maxValueBytes: round % 5 === 0 ? 2_000 : 60,
      repeats: round % 3 === 0 ? 0.3 : 0,
    });
    const inputs: TableInfo[][] = [];
    for (const run of runs) inputs.push(await lab.writeRun(run, 1 + Math.floor(random() * 80)));
    const compactRevision = Math.floor(random() * (model.revision + 2));
    const below: KeyBounds[] = Array.from({ length: round % 4 }, () => {
      const keys = [randomKey(random), randomKey(random)].sort(compareKeys);
      return { smallestKey: keys[0]!, largestKey: keys[1]! };
    });
    const outputs = await runMerge(jobOf(lab, inputs, { compactRevision, below, sync: round % 2 === 0 }));
    const mayDrop = (key: Uint8Array) =>
      !below.some(
        ({ smallestKey, largestKey }) =>
          compareKeys(smallestKey, key) <= 0 && compareKeys(key, largestKey) <= 0,
      );
    const expected = compacted(model.records, compactRevision, mayDrop);
    assert.equal(showAll(await readAll(lab, outputs)), showAll(expected), `round ${round}`);
    for (let i = 1; i < outputs.length; i++)
      assert.ok(compareKeys(outputs[i - 1]!.largestKey, outputs[i]!.smallestKey) < 0, 'cut between keys');
    const dataBytes = outputs.reduce((sum, info) => sum + info.fileBytes, 0);
    if (round % 3 === 0 && dataBytes > 20_000) assert.ok(outputs.length > 1, 'it is cut at all');
  }
});

test('versions of one key are never cut apart', async () => {
  const lab = new MergeLab({ tableSizeBytes: 1_000, blockSizeBytes: 128 });
  const many = (key: string, count: number, from: number) =>
    Array.from({ length: count }, (_, i) => plainRecord(key, from + i, new Uint8Array(40)));
  const runs = [
    [...many('b', 100, 1_000), ...many('c', 1, 5_000)].sort(compareRecords),
    [...many('a', 3, 1), ...many('b', 100, 100), ...many('c', 200, 300)].sort(compareRecords),
  ];
  const inputs = [await lab.writeRun(runs[0]!), await lab.writeRun(runs[1]!)];
  const outputs = await runMerge(jobOf(lab, inputs));
  assert.equal(
    outputs.map((info) => [Buffer.from(info.smallestKey).toString(), info.recordCount]),
    [
      ['a', 203],
      ['c', 201],
    ],
  );
});

test('when everything goes, nothing is written', async () => {
  const lab = new MergeLab();
  const inputs = [
    await lab.writeRun([tombstone(bytesOf('a'), 9)]),
    await lab.writeRun([plainRecord('a', 4, new Uint8Array(10))]),
  ];
  assert.equal(await runMerge(jobOf(lab, inputs, { compactRevision: 9 })), []);
  assert.equal((await lab.disk.list(DIRECTORY)).length, 2);
  const kept = await runMerge(jobOf(lab, inputs, { compactRevision: 8 }));
  assert.is((await readAll(lab, kept)).length, 2);
});

test('records of every size go through: longest keys, largest values', async () => {
  const lab = new MergeLab({ blockSizeBytes: 4096, compression: 'lz4', tableSizeBytes: 4 * 1024 * 1024 });
  const random = seededRandom(4);
  const noise = new Uint8Array(8 * 1024 * 1024).map(() => Math.floor(random() * 256));
  const key = (fill: number, length: number) => new Uint8Array(length).fill(fill);
  const newer = [
    plainRecord(key(1, 65_537), 20, noise),
    plainRecord(key(2, 65_537), 21, new Uint8Array(0)),
    plainRecord(key(3, 3), 22, noise.subarray(0, 900_000)),
    plainRecord(key(4, 60_000), 23, new Uint8Array(8 * 1024 * 1024)),
  ];
  const older = [
    plainRecord(key(1, 65_537), 10, noise.subarray(5, 70_000)),
    plainRecord(key(2, 65_536), 11, noise.subarray(9, 400_000)),
  ];
  const inputs = [await lab.writeRun(newer), await lab.writeRun(older.sort(compareRecords))];
  for (const sync of [true, false]) {
    const outputs = await runMerge(jobOf(lab, inputs, { sync }));
    const records = await readAll(lab, outputs);
    const expected = [...newer, ...older].sort(compareRecords);
    assert.equal(showAll(records), showAll(expected));
    records.forEach((record, i) => {
      assert.is(Buffer.compare(record.value, expected[i]!.value), 0);
    });
  }
});

test('the pace is kept about every 256 KiB, and the job ends when it is cancelled, leaving nothing', async () => {
  const lab = new MergeLab({ tableSizeBytes: 300_000 });
  const value = new Uint8Array(1_000);
  const run = Array.from({ length: 3_000 }, (_, i) =>
    plainRecord(`k${String(i).padStart(6, '0')}`, i + 1, value),
  );
  const inputs = [await lab.writeRun(run, 500)];
  const steps: number[] = [];
  const paced = await runMerge(
    jobOf(lab, inputs, { pace: { step: async (bytes) => void steps.push(bytes) } }),
  );
  assert.ok(paced.length > 8);
  assert.ok(
    steps.length >= 9 && steps.every((bytes) => bytes >= 256 * 1024 && bytes < 600 * 1024),
    String(steps),
  );
  const before = await lab.disk.list(DIRECTORY);
  for (const after of [1, 3, 6]) {
    let count = 0;
    const { error, names } = await outcomeOf(
      jobOf(lab, inputs, { pace: { step: () => void count++ }, cancelled: () => count >= after }),
    );
    assert.ok(error instanceof KvError && error.code === 'CANCELLED');
    assert.equal(names, before);
  }
});

test('a disk that fails ends the job, whatever it was doing; what was written is removed', async () => {
  const lab = new MergeLab({ tableSizeBytes: 20_000 });
  const { runs } = randomHistory(seededRandom(2), { runs: 3, writesPerRun: 400 });
  const inputs: TableInfo[][] = [];
  for (const run of runs) inputs.push(await lab.writeRun(run, 100));
  const before = await lab.disk.list(DIRECTORY);
  const operations = lab.disk.operations;
  const outputs = await runMerge(jobOf(lab, inputs));
  const count = lab.disk.operations - operations;
  for (const { fileNumber } of outputs) await lab.disk.remove(tablePath(DIRECTORY, fileNumber));
  assert.ok(count > 10);
  for (let at = 1; at <= count; at++) {
    lab.disk.failAt(at);
    const { error, names } = await outcomeOf(jobOf(lab, inputs, { sync: at % 2 === 0 }));
    assert.ok(error instanceof Error && 'code' in error && error.code === 'IO', `operation ${at}`);
    assert.equal(names, before, `operation ${at}`);
  }
});

test('damage in an input is named, wherever it is', async () => {
  const lab = new MergeLab();
  const { runs } = randomHistory(seededRandom(8), { runs: 2, writesPerRun: 300 });
  const inputs: TableInfo[][] = [];
  for (const run of runs) inputs.push(await lab.writeRun(run, 100));
  const victim = inputs[1]![0]!;
  const before = await lab.disk.list(DIRECTORY);
  const path = tablePath(DIRECTORY, victim.fileNumber);
  const { footer } = await readTable(lab.disk, path, decoder);
  const places = [
    0,
    100,
    footer.filterOffset - 1,
    footer.indexOffset + 9,
    victim.fileBytes - 1,
    victim.fileBytes - 60,
  ];
  for (const offset of places) {
    await lab.flip(victim, offset);
    const { error, names } = await outcomeOf(jobOf(lab, inputs));
    await lab.flip(victim, offset);
    assert.ok(error instanceof KvError && error.code === 'CORRUPT', `offset ${offset}`);
    assert.is(error.details['file'], path);
    assert.type(error.details['problem'], 'string');
    assert.ok(Math.abs(Number(error.details['offset']) - offset) < footer.indexLength + 512);
    assert.equal(names, before);
  }
  const cut = { ...victim, fileBytes: victim.fileBytes + 1 };
  const shorter = await outcomeOf(jobOf(lab, [[cut]]));
  assert.ok(shorter.error instanceof KvError && shorter.error.code === 'CORRUPT');
  const file = await lab.disk.open(path, 'open');
  const whole = new Uint8Array(victim.fileBytes);
  file.readSync(whole, 0);
  await lab.disk.remove(path);
  const other = await lab.disk.open(path, 'create');
  // Another table's file under this one's name.
  const another = new Uint8Array(await lab.disk.readFile(tablePath(DIRECTORY, inputs[0]![0]!.fileNumber)));
  other.writeSync([another], 0);
  const misplaced = await outcomeOf(jobOf(lab, [[{ ...victim, fileBytes: another.length }]]));
  assert.ok(misplaced.error instanceof KvError && misplaced.error.code === 'CORRUPT');
  assert.match(misplaced.error.message, 'the file is table');
});

test('merges use one memory, which they do not lengthen; a job that failed keeps its own', async () => {
  const lab = new MergeLab({ compression: 'lz4' });
  const { runs } = randomHistory(seededRandom(8), { runs: 4, writesPerRun: 400, maxValueBytes: 2_000 });
  const inputs: TableInfo[][] = [];
  for (const run of runs) inputs.push(await lab.writeRun(run, 100));
  const memories = new MergeMemoryPool(64 * 1024 * 1024, 'debug');
  const first = await runMerge(jobOf(lab, inputs, { memories }));
  const expected = showAll(await readAll(lab, first));
  const { idleBytes } = memories;
  assert.ok(idleBytes > 0);
  for (let round = 0; round < 10; round++) {
    const sync = round % 2 === 0;
    assert.equal(
      showAll(await readAll(lab, await runMerge(jobOf(lab, inputs, { memories, sync })))),
      expected,
    );
  }
  assert.is(memories.made, 1);
  assert.is(memories.idleBytes, idleBytes);
  const { error } = await outcomeOf(jobOf(lab, inputs, { memories, cancelled: () => true }));
  assert.instance(error, KvError);
  assert.is(memories.idle, 0);
});

test.run();
