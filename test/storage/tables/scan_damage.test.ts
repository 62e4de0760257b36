/** Damaged blocks under scans and snapshots: the error names the place, and nothing stays held. Snapshots themselves. */

import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import { crc32 } from '../../../src/storage/crc32.ts';
import { compareRecords, type ScanRequest, type StoredRecord } from '../../../src/storage/record.ts';
import { tablePath } from '../../../src/storage/tables/format.ts';
import { RunPins } from '../../../src/storage/tables/pinned_runs.ts';
import { TableScanner } from '../../../src/storage/tables/scan.ts';
import { TableSet } from '../../../src/storage/tables/table_set.ts';
import { TablesSnapshot } from '../../../src/storage/tables/tables_snapshot.ts';
import { test } from '../../suite.ts';
import { plainRecord, randomScan, seededRandom, showAll } from '../record_model.ts';
import { SteppedPorts } from '../stepped_ports.ts';
import { compacted, DIRECTORY, MergeLab, randomHistory } from './merge_lab.ts';

const NEWEST = Number.MAX_SAFE_INTEGER;
const ALL: ScanRequest = {
  start: new Uint8Array(0),
  end: undefined,
  revision: NEWEST,
  reverse: false,
  limit: 1_000_000,
  maxBytes: NEWEST,
  keysOnly: false,
};
const applied = { index: 1, term: 1, state: new Uint8Array(0) };

async function errorOf(run: () => unknown): Promise<unknown> {
  try {
    await run();
  } catch (error) {
    return error;
  }
  return undefined;
}

test('every byte of every block is guarded', async () => {
  const lab = new MergeLab({ blockSizeBytes: 200, compression: 'lz4' });
  const run = Array.from({ length: 40 }, (_, i) =>
    plainRecord(`key ${i + 100}`, i + 1, new Uint8Array(40).fill(i)),
  );
  const [info] = await lab.writeRun(run);
  await lab.open([[info!]]);
  const scanner = new TableScanner({ tables: lab, ports: new SteppedPorts(), build: 'debug' });
  const table = await (await lab.source(info!)).open();
  const { index } = table;
  const last = index.count - 1;
  const end = index.offset(last) + index.length(last);
  for (let offset = 0; offset < end; offset += 3) {
    await lab.flip(info!, offset);
    lab.warm = offset % 2 === 0;
    const error = await errorOf(() => scanner.scan({ ...ALL, reverse: offset % 4 < 2 }));
    assert.ok(error instanceof KvError && error.code === 'CORRUPT', `offset ${offset}`);
    assert.is(error.details['file'], tablePath(DIRECTORY, info!.fileNumber));
    const at = Number(error.details['offset']);
    assert.ok(at <= offset && offset - at < 300, `${at} for ${offset}`);
    await lab.flip(info!, offset);
    assert.is(lab.pins, 0);
  }
  assert.equal(showAll((await scanner.scan(ALL)).records), showAll(run));
});

test('a file that ends within a block, and an index that cannot be, are damage', async () => {
  const lab = new MergeLab();
  const run = Array.from({ length: 200 }, (_, i) => plainRecord(`key ${i + 100}`, i + 1, new Uint8Array(40)));
  const [info] = await lab.writeRun(run);
  const source = await lab.source(info!);
  const table = await source.open();
  const problemWith = async (change: Partial<typeof table.index>, fileBytes = info!.fileBytes) => {
    const index = {
      count: table.index.count,
      offset: (block: number) => table.index.offset(block),
      length: (block: number) => table.index.length(block),
      blockCrc: (block: number) => table.index.blockCrc(block),
      rawLength: (block: number) => table.index.rawLength(block),
      largestRevision: (block: number) => table.index.largestRevision(block),
      separator: (block: number) => table.index.separator(block),
      ...change,
    };
    const runs = [[{ info: { ...info!, fileBytes }, open: () => ({ file: table.file, index }) }]];
    const tables = { warm: true, pinRuns: () => ({ runs, release: () => undefined }) };
    const scanner = new TableScanner({ tables, ports: new SteppedPorts(), build: 'debug' });
    const error = await errorOf(() => scanner.scan(ALL));
    assert.ok(error instanceof KvError && error.code === 'CORRUPT');
    return String(error.details['problem']);
  };
  assert.match(await problemWith({ length: () => 3 }), 'cannot be');
  assert.match(await problemWith({ length: () => 2 ** 30 }, 2 ** 31), 'cannot be');
  assert.match(await problemWith({ offset: () => 2 ** 31 }), 'cannot be');
  assert.match(await problemWith({ blockCrc: () => 1 }), 'not the one that the index names');
  assert.match(await problemWith({ rawLength: () => 1 }), 'stored in an unknown way');
  const beyond = { offset: () => info!.fileBytes - 60, count: 1 };
  assert.match(await problemWith({ ...beyond, length: () => 100 }, 2 ** 30), 'ends within a block');
});

test('blocks whose checksum is right but whose bytes are nonsense end a scan, at worst', async () => {
  for (const compression of ['none', 'lz4'] as const) {
    const lab = new MergeLab({ blockSizeBytes: 300, compression });
    const run = Array.from({ length: 12 }, (_, i) =>
      plainRecord(`key ${i % 4}`, 100 - i, new Uint8Array(20).fill(i)),
    ).sort(compareRecords);
    const [info] = await lab.writeRun(run);
    const table = await (await lab.source(info!)).open();
    const length = table.index.length(0);
    const stored = new Uint8Array(length);
    table.file.readSync(stored, 0);
    let damaged = 0;
    let shown = 0;
    for (let at = 0; at < length - 5; at++)
      for (const bits of [0x01, 0x80, 0xff]) {
        const block = new Uint8Array(stored);
        block[at]! ^= bits;
        const crc = crc32(block.subarray(0, length - 4));
        new DataView(block.buffer).setUint32(length - 4, crc, true);
        const file = await lab.disk.open(tablePath(DIRECTORY, info!.fileNumber), 'open');
        file.writeSync([block], 0);
        await file.close();
        const index = Object.create(table.index, {
          count: { value: 1 },
          offset: { value: () => 0 },
          length: { value: () => length },
          blockCrc: { value: () => crc },
          rawLength: { value: () => table.index.rawLength(0) },
          largestRevision: { value: () => 100 },
          separator: { value: () => info!.largestKey },
        });
        const runs = [[{ info: info!, open: () => ({ file: table.file, index }) }]];
        const tables = { warm: true, pinRuns: () => ({ runs, release: () => undefined }) };
        const scanner = new TableScanner({ tables, ports: new SteppedPorts(), build: 'debug' });
        const error = await errorOf(async () => {
          const page = await scanner.scan({ ...ALL, reverse: at % 2 === 0 });
          shown += page.records.length;
        });
        scanner.close();
        if (error === undefined) continue;
        assert.ok(
          error instanceof KvError && error.code === 'CORRUPT',
          `${compression} ${at}: ${String(error)}`,
        );
        assert.is(error.details['offset'], 0);
        damaged++;
      }
    assert.ok(damaged > 50 && shown > 50, `${damaged} found damaged, ${shown} records shown`);
  }
});

test('a snapshot gives what compaction would keep, page by page, while others read', async () => {
  const random = seededRandom(3);
  for (const delayed of [false, true]) {
    const lab = new MergeLab(
      {},
      delayed ? { delay: () => new Promise((resolve) => setImmediate(resolve)) } : {},
    );
    const { model, runs } = randomHistory(random, { runs: 4, writesPerRun: 700 });
    const infos = [];
    for (const run of runs) infos.push(await lab.writeRun(run, 200));
    await lab.open(infos);
    const compactRevision = Math.floor(model.revision / 2);
    const expected = showAll(compacted(model.records, compactRevision, () => true));
    for (const pageBytes of [0, 1, 700, 50_000, NEWEST]) {
      const snapshot = new TablesSnapshot({
        pinned: lab.pinRuns(),
        applied,
        compactRevision,
        build: 'debug',
      });
      assert.is(snapshot.applied, applied);
      const records: StoredRecord[] = [];
      for (;;) {
        const page = await snapshot.next(pageBytes);
        if (page.length === 0) break;
        const bytes = page.slice(0, -1).reduce((sum, { key, value }) => sum + key.length + value.length, 0);
        assert.ok(bytes < Math.max(1, pageBytes));
        records.push(...page);
      }
      assert.equal(showAll(records), expected);
      snapshot.release();
      snapshot.release();
      assert.is(lab.pins, 0);
      assert.throws(() => snapshot.next(1), /released/);
    }
  }
});

test('a snapshot released while a page is read lets go when the page has come; damage is told', async () => {
  const lab = new MergeLab();
  const run = Array.from({ length: 2_000 }, (_, i) =>
    plainRecord(`key ${i + 10_000}`, i + 1, new Uint8Array(400)),
  );
  const infos = await lab.writeRun(run);
  await lab.open([infos]);
  const snapshot = new TablesSnapshot({ pinned: lab.pinRuns(), applied, compactRevision: 0, build: 'debug' });
  const page = snapshot.next(1_000);
  assert.throws(() => snapshot.next(1_000), /before the one before/);
  snapshot.release();
  assert.is(lab.pins, 1);
  assert.is((await page).length, 3);
  assert.is(lab.pins, 0);
  await lab.flip(infos[0]!, 3);
  const other = new TablesSnapshot({ pinned: lab.pinRuns(), applied, compactRevision: 0, build: 'debug' });
  const failing = Promise.resolve(other.next(1_000));
  other.release();
  const error = await errorOf(() => failing);
  assert.ok(error instanceof KvError && error.code === 'CORRUPT');
  assert.is(lab.pins, 0);
});

test('over a set of tables: the same answers, damage is told to the set, files close when the last pin goes', async () => {
  const lab = new MergeLab();
  const { model, runs } = randomHistory(seededRandom(6), { runs: 3, writesPerRun: 400 });
  const infos = [];
  for (const run of runs) infos.push(await lab.writeRun(run, 100));
  const ports = new SteppedPorts();
  const tables = TableSet.create({
    disk: lab.disk,
    directory: DIRECTORY,
    ports,
    cacheBytes: 1 << 20,
    build: 'debug',
  });
  for (const info of infos.flat()) await tables.openTable(info);
  const numbers = infos.map((run) => run.map(({ fileNumber }) => fileNumber));
  const damages: string[] = [];
  tables.onDamage = ({ problem, fileNumber }) => damages.push(`${fileNumber}: ${problem}`);
  tables.publish([numbers[0]!, numbers[1]!, [], numbers[2]!]);
  const pins = new RunPins(tables);
  const scanner = new TableScanner({ tables: pins, ports, build: 'debug' });
  const random = seededRandom(7);
  for (let i = 0; i < 100; i++) {
    const request = randomScan(random, 1, model.revision);
    const page = await scanner.scan(request);
    const expected = model.scan(request);
    assert.equal(showAll(page.records), showAll(expected.records), JSON.stringify(request));
    assert.is(page.more, expected.more);
  }
  const { cacheMisses } = tables.stats();
  assert.is(cacheMisses, 0, 'scans leave the cache alone');
  const victim = infos[2]![0]!;
  await lab.flip(victim, 10);
  const error = await errorOf(() => scanner.scan(ALL));
  assert.ok(error instanceof KvError && error.code === 'CORRUPT');
  assert.equal(damages, [`${victim.fileNumber}: the checksum of a block is wrong`]);
  await scanner.scan({ ...ALL, start: Uint8Array.of(0), end: victim.smallestKey, limit: 1 });
  scanner.close();
  await tables.close();
});

test.run();
