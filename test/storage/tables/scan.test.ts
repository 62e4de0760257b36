/** Pages of scans and of versions over tables: what they show, how they go on, what they hold. */

import * as assert from 'uvu/assert';
import {
  compareKeys,
  keyAfter,
  type ScanPage,
  type ScanRequest,
  type StoredRecord,
  type VersionsRequest,
} from '../../../src/storage/record.ts';
import { TableScanner } from '../../../src/storage/tables/scan.ts';
import { test } from '../../suite.ts';
import { bytesOf, plainRecord, randomScan, randomVersions, seededRandom, showAll } from '../record_model.ts';
import { SteppedPorts } from '../stepped_ports.ts';
import { type History, type HistoryShape, MergeLab, randomHistory } from './merge_lab.ts';

const NEWEST = Number.MAX_SAFE_INTEGER;
const NOTHING = new Uint8Array(0);
const ALL: ScanRequest = {
  start: NOTHING,
  end: undefined,
  revision: NEWEST,
  reverse: false,
  limit: 1_000_000,
  maxBytes: NEWEST,
  keysOnly: false,
};
const ALL_VERSIONS: VersionsRequest = {
  start: NOTHING,
  end: undefined,
  after: undefined,
  minRevision: 0,
  maxRevision: NEWEST,
  limit: 1_000_000,
  maxBytes: NEWEST,
};

interface Setup {
  readonly lab: MergeLab;
  readonly scanner: TableScanner;
  readonly ports: SteppedPorts;
}

async function scannerOver(lab: MergeLab, runs: StoredRecord[][], tableRecords: number): Promise<Setup> {
  const infos = [];
  for (const run of runs) infos.push(await lab.writeRun(run, tableRecords));
  await lab.open(infos);
  const ports = new SteppedPorts();
  return { lab, scanner: new TableScanner({ tables: lab, ports, build: 'debug' }), ports };
}

async function historyScanner(
  lab: MergeLab,
  seed: number,
  shape: HistoryShape,
  tableRecords = 100,
): Promise<Setup & History> {
  const history = randomHistory(seededRandom(seed), shape);
  return { ...history, ...(await scannerOver(lab, history.runs, tableRecords)) };
}

function underWay(scanner: TableScanner): { idle: number; active: number } {
  const { idle, active } = scanner.stats();
  return { idle, active };
}

/** Now and then cold, so that pages wait. */
const warmth = (lab: MergeLab, random: () => number): void => {
  lab.warm = random() < 0.6;
};

/** All pages of a scan, each asked for as a client would: from behind the last record. */
async function pagesOf(
  scanner: TableScanner,
  request: ScanRequest,
  next: (page: ScanPage, request: ScanRequest) => ScanRequest,
): Promise<{ pages: ScanPage[]; records: StoredRecord[] }> {
  const pages: ScanPage[] = [];
  for (let at = request; ; ) {
    const page = await scanner.scan(at);
    pages.push(page);
    if (!page.more) break;
    assert.ok(page.records.length > 0, 'a page that is not the last shows something');
    at = next(page, at);
  }
  return { pages, records: pages.flatMap((page) => page.records) };
}

const behindLast = (page: ScanPage, request: ScanRequest): ScanRequest => {
  const last = page.records.at(-1)!.key;
  return request.reverse ? { ...request, end: last } : { ...request, start: keyAfter(last) };
};

test('scans and versions agree with a plain model, warm and cold, with every option', async () => {
  const random = seededRandom(31);
  for (let round = 0; round < 12; round++) {
    const lab = new MergeLab({
      blockSizeBytes: [64, 400, 4096][round % 3]!,
      compression: round % 2 === 0 ? 'none' : 'lz4',
    });
    const shape = { runs: 1 + (round % 6), writesPerRun: 250, repeats: round % 4 === 0 ? 0.2 : 0 };
    const { model, scanner } = await historyScanner(lab, round, shape, 1 + Math.floor(random() * 100));
    for (let i = 0; i < 60; i++) {
      warmth(lab, random);
      const request = { ...randomScan(random, 1, model.revision), tombstones: random() < 0.3 };
      const expected = model.scan(request);
      const page = random() < 0.2 ? scanner.scanNow(request) : await scanner.scan(request);
      assert.equal(showAll(page.records), showAll(expected.records), JSON.stringify(request));
      assert.is(page.more, expected.more);
      const versions = randomVersions(random, 1, model.revision);
      const wanted = model.versions(versions);
      const found = await scanner.versions(versions);
      assert.equal(showAll(found.records), showAll(wanted.records), JSON.stringify(versions));
      assert.is(found.more, wanted.more);
    }
    scanner.close();
    assert.is(lab.pins, 0, 'every pin was released');
  }
});

test('pages of any size, one after the other, give the whole, reading each block about once', async () => {
  const lab = new MergeLab({ blockSizeBytes: 1024 });
  const shape = { runs: 4, writesPerRun: 2_000, maxValueBytes: 300 };
  const { model, scanner } = await historyScanner(lab, 3, shape, 300);
  const whole = model.scan(ALL).records;
  const options = [
    { limit: 1 },
    { limit: 7 },
    { limit: 64 },
    { maxBytes: 1 },
    { maxBytes: 900 },
    { limit: 3, keysOnly: true },
    { limit: 10, revision: Math.floor(model.revision / 2), tombstones: true },
  ];
  for (const some of options)
    for (const reverse of [false, true]) {
      const request = { ...ALL, ...some, reverse };
      const before = lab.read.bytes;
      const { pages, records } = await pagesOf(scanner, request, behindLast);
      const expected = model.scan({ ...request, limit: NEWEST, maxBytes: NEWEST }).records;
      assert.equal(showAll(records), showAll(expected), JSON.stringify(some));
      if (some.limit !== undefined) for (const page of pages) assert.ok(page.records.length <= some.limit);
      assert.ok(
        lab.read.bytes - before <= lab.fileBytes,
        `read ${lab.read.bytes - before} of ${lab.fileBytes}`,
      );
      assert.equal(underWay(scanner), { idle: 0, active: 0 });
    }
  assert.ok(whole.length > 100);
  scanner.close();
});

test('pages that begin within the one before, as the engine asks for them, go on all the same', async () => {
  const lab = new MergeLab({ blockSizeBytes: 512 });
  const { model, scanner } = await historyScanner(lab, 9, { runs: 3, writesPerRun: 1_500 });
  const random = seededRandom(1);
  for (const reverse of [false, true])
    for (let round = 0; round < 5; round++) {
      const request = { ...ALL, reverse, limit: 2 + Math.floor(random() * 20) };
      const shown: StoredRecord[] = [];
      const before = lab.read.bytes;
      for (let at: ScanRequest = request; ; ) {
        const page = await scanner.scan(at);
        // Not all of a page is used, unless it is the last.
        const used = page.more
          ? page.records.slice(0, 1 + Math.floor(random() * page.records.length))
          : page.records;
        shown.push(...used);
        if (!page.more) break;
        at = behindLast({ records: used, more: true }, at);
      }
      assert.equal(showAll(shown), showAll(model.scan({ ...ALL, reverse }).records));
      assert.ok(lab.read.bytes - before <= lab.fileBytes);
    }
  scanner.close();
});

test('versions go on after the last one, whatever of a page was used', async () => {
  const lab = new MergeLab({ blockSizeBytes: 256 });
  const { model, scanner } = await historyScanner(lab, 10, { runs: 3, writesPerRun: 1_000 });
  const random = seededRandom(2);
  for (const limit of [1, 5, 40]) {
    const shown: StoredRecord[] = [];
    const before = lab.read.bytes;
    for (let request: VersionsRequest = { ...ALL_VERSIONS, limit }; ; ) {
      const page = await scanner.versions(request);
      const used = page.more
        ? page.records.slice(0, 1 + Math.floor(random() * page.records.length))
        : page.records;
      shown.push(...used);
      if (!page.more) break;
      request = { ...request, after: used.at(-1)! };
    }
    assert.equal(showAll(shown), showAll(model.records));
    assert.ok(lab.read.bytes - before <= lab.fileBytes);
  }
  scanner.close();
});

test('versions above a revision are found without reading the blocks below it', async () => {
  const lab = new MergeLab({ blockSizeBytes: 512 });
  const old = Array.from({ length: 2_000 }, (_, i) =>
    plainRecord(`k${i + 10_000}`, i + 1, new Uint8Array(50)),
  );
  const recent = [plainRecord('k10500', 5_000, NOTHING), plainRecord('k11900', 5_001, NOTHING)];
  const mixed = [...old.slice(0, 700), plainRecord('k10699z', 5_002, NOTHING), ...old.slice(700)];
  const { scanner } = await scannerOver(lab, [recent, mixed], 500);
  const page = await scanner.versions({ ...ALL_VERSIONS, minRevision: 5_000 });
  assert.equal(
    page.records.map((record) => record.modRevision),
    [5_000, 5_002, 5_001],
  );
  assert.ok(lab.read.bytes < 4_096, `read ${lab.read.bytes} of ${lab.fileBytes}`);
  const none = await scanner.versions({ ...ALL_VERSIONS, maxRevision: 0 });
  assert.equal(none, { records: [], more: false });
  scanner.close();
});

test('records own their bytes: later pages do not change earlier ones', async () => {
  const lab = new MergeLab();
  const { model, scanner } = await historyScanner(lab, 12, { runs: 2, writesPerRun: 500 });
  const { records } = await pagesOf(scanner, { ...ALL, limit: 5 }, behindLast);
  const shown = showAll(records);
  for (let i = 0; i < 5; i++) await pagesOf(scanner, { ...ALL, limit: 9, reverse: true }, behindLast);
  assert.equal(showAll(records), shown);
  assert.equal(shown, showAll(model.scan(ALL).records));
  for (const { key } of records) assert.not((key.buffer as ArrayBufferLike) instanceof SharedArrayBuffer);
});

test('long keys, large values, keys whose versions span many blocks: both ways, at every revision', async () => {
  const lab = new MergeLab({ blockSizeBytes: 256, compression: 'lz4' });
  const long = (fill: number) => new Uint8Array(65_537).fill(fill);
  const large = new Uint8Array(600_000).fill(7);
  const largest = new Uint8Array(8 * 1024 * 1024).fill(8);
  const versions = (key: string, from: number, count: number) =>
    Array.from({ length: count }, (_, i) =>
      plainRecord(key, from + count - 1 - i, new Uint8Array(30).fill(i)),
    );
  const runs = [
    [
      plainRecord('a', 9_000, largest),
      ...versions('m', 4_000, 600),
      plainRecord(long(120), 9_001, bytesOf('x')),
    ],
    [
      plainRecord('a', 90, bytesOf('old')),
      ...versions('m', 1_000, 600),
      plainRecord('mm', 1_700, large),
      plainRecord(long(120), 50, large),
      plainRecord(long(121), 51, bytesOf('y')),
    ],
  ];
  const { scanner } = await scannerOver(lab, runs, NEWEST);
  const all = runs.flat();
  for (const revision of [60, 95, 1_000, 1_300, 1_599, 1_650, 4_001, 4_599, 8_000, NEWEST]) {
    const expected = ['a', 'm', 'mm', long(120), long(121)]
      .map((name) => (typeof name === 'string' ? bytesOf(name) : name))
      .map((key) =>
        all
          .filter((record) => compareKeys(record.key, key) === 0 && record.modRevision <= revision)
          .sort((a, b) => b.modRevision - a.modRevision)
          .at(0),
      )
      .filter((record) => record !== undefined);
    for (const limit of [1, 100]) {
      lab.warm = limit === 1;
      const forward = await pagesOf(scanner, { ...ALL, revision, limit }, behindLast);
      assert.equal(showAll(forward.records), showAll(expected), `at ${revision}`);
      const back = await pagesOf(scanner, { ...ALL, revision, limit, reverse: true }, behindLast);
      assert.equal(showAll(back.records), showAll(expected.reverse()), `at ${revision}, in reverse`);
      expected.reverse();
    }
  }
  const [first] = (await scanner.scan({ ...ALL, limit: 1 })).records;
  assert.is(Buffer.compare(first!.value, largest), 0);
  scanner.close();
  assert.is(lab.pins, 0);
});

test('an empty range and an empty set show nothing', async () => {
  const lab = new MergeLab();
  const { scanner } = await scannerOver(lab, [], 1);
  assert.equal(await scanner.scan(ALL), { records: [], more: false });
  assert.equal(await scanner.versions(ALL_VERSIONS), { records: [], more: false });
  const empty = { start: bytesOf('b'), end: bytesOf('b') };
  assert.equal(await scanner.scan({ ...ALL, ...empty }), { records: [], more: false });
  assert.equal(scanner.scanNow({ ...ALL, ...empty }), { records: [], more: false });
  assert.equal(await scanner.versions({ ...ALL_VERSIONS, ...empty }), { records: [], more: false });
});

test('a warm set answers at once, a cold one later; long pages make way for others', async () => {
  const lab = new MergeLab({ blockSizeBytes: 4096, tableSizeBytes: 2 ** 30 });
  const value = new Uint8Array(1_000);
  const run = Array.from({ length: 6_000 }, (_, i) => plainRecord(`k${i + 10_000}`, i + 1, value));
  const { scanner, ports } = await scannerOver(lab, [run], NEWEST);
  assert.not(scanner.scan({ ...ALL, limit: 100 }) instanceof Promise);
  lab.warm = false;
  assert.instance(scanner.scan({ ...ALL, limit: 100 }), Promise);
  assert.not(scanner.scanNow({ ...ALL, limit: 6_000 }) instanceof Promise);
  lab.warm = true;
  ports.held = true;
  const page = scanner.scan(ALL);
  assert.instance(page, Promise);
  let rests = 0;
  let done = false;
  Promise.resolve(page).then(() => {
    done = true;
  });
  while (!done) {
    assert.ok(ports.waiting <= 1 && rests < 100);
    rests += ports.waiting;
    await ports.step();
  }
  assert.ok(rests >= 4, `rested ${rests} times in 6 MB`);
  assert.is((await page).records.length, 6_000);
  scanner.close();
});

test('reads that turn out slow go to the thread pool, also while point reads are quick', async () => {
  const lab = new MergeLab({ blockSizeBytes: 4096 });
  const run = Array.from({ length: 3_000 }, (_, i) =>
    plainRecord(`k${i + 10_000}`, i + 1, new Uint8Array(1_000)),
  );
  const { scanner, ports } = await scannerOver(lab, [run], 200);
  const [source] = lab.pinRuns().runs[0]!;
  lab.pins--;
  const table = await source!.open();
  const { file } = table;
  const quick = file.readSync;
  Object.assign(file, {
    readSync: (target: Uint8Array, offset: number) => {
      ports.nowMs += 40;
      return quick(target, offset);
    },
  });
  const few = { ...ALL, limit: 2 };
  assert.not(scanner.scan(few) instanceof Promise);
  const later = scanner.scan({ ...few, reverse: true });
  assert.instance(later, Promise);
  assert.is((await later).records.length, 2);
  await ports.advance(60_000);
  assert.not(scanner.scan({ ...few, start: bytesOf('k11') }) instanceof Promise);
});

test('open scans are few, are dropped after a while and when the tables change', async () => {
  const lab = new MergeLab();
  const { scanner, ports } = await historyScanner(lab, 14, { runs: 2, writesPerRun: 900 });
  const begin = (start: number) => scanner.scan({ ...ALL, start: bytesOf(`\u0001key-${start}`), limit: 2 });
  for (let i = 0; i < 20; i++) await begin(i);
  assert.is(scanner.stats().idle, 8);
  assert.is(lab.pins, 8);
  await ports.advance(2_000);
  await begin(30);
  await ports.advance(1_500);
  assert.is(scanner.stats().idle, 1, 'the older ones went');
  await ports.advance(2_000);
  assert.equal(underWay(scanner), { idle: 0, active: 0 });
  assert.is(lab.pins, 0);
  assert.is(ports.timerCount, 0);
  await begin(0);
  assert.is(lab.pins, 1);
  scanner.tablesChanged();
  assert.is(lab.pins, 0);
  assert.is(ports.timerCount, 0);
  await begin(0);
  scanner.close();
  assert.is(lab.pins, 0);
  assert.throws(() => scanner.scan(ALL), /closed/);
});

test('scans use memories again, however often the tables change and however many scans run', async () => {
  const lab = new MergeLab({}, { delay: () => new Promise((resolve) => setImmediate(resolve)) });
  const { scanner } = await historyScanner(lab, 17, { runs: 3, writesPerRun: 300 });
  for (let round = 0; round < 20; round++) {
    lab.warm = round % 2 === 0;
    const begin = (i: number) => scanner.scan({ ...ALL, start: bytesOf(`\u0001key-${i}`), limit: 2 });
    await Promise.all(Array.from({ length: 40 }, (_, i) => begin(i)));
    assert.is(scanner.stats().idle, 8);
    scanner.tablesChanged();
    assert.equal(underWay(scanner), { idle: 0, active: 0 });
  }
  // V8 lets go of dropped ones too late to make new ones all the time: 32 pages at once, and 8 scans that wait.
  const { memoriesMade } = scanner.stats();
  assert.ok(memoriesMade <= 40, `${memoriesMade} memories`);
  scanner.close();
});

test('a page that spans a change of the tables is whole, and its scan does not go on', async () => {
  const lab = new MergeLab({}, { delay: () => new Promise((resolve) => setImmediate(resolve)) });
  const { model, scanner } = await historyScanner(lab, 15, { runs: 3, writesPerRun: 900 });
  lab.warm = false;
  const page = scanner.scan({ ...ALL, limit: 100 });
  scanner.tablesChanged();
  const { records, more } = await page;
  assert.equal(showAll(records), showAll(model.scan({ ...ALL, limit: 100 }).records));
  assert.is(more, true);
  assert.equal(underWay(scanner), { idle: 0, active: 0 });
  assert.is(lab.pins, 0);
});

test('very many scans at the same time wait their turn; closing ends them', async () => {
  const lab = new MergeLab({}, { delay: () => new Promise((resolve) => setImmediate(resolve)) });
  const { model, scanner } = await historyScanner(lab, 16, { runs: 2, writesPerRun: 300 });
  lab.warm = false;
  const expected = showAll(model.scan(ALL).records);
  const pages = Array.from({ length: 100 }, () => scanner.scan(ALL));
  assert.is(scanner.stats().active, 32);
  assert.not(scanner.scanNow({ ...ALL, limit: 1 }) instanceof Promise, 'one that must answer at once does');
  for (const page of pages) assert.equal(showAll((await page).records), expected);
  const late = Array.from({ length: 50 }, () => Promise.resolve(scanner.scan(ALL)));
  const outcomes = Promise.allSettled(late);
  scanner.close();
  for (const outcome of await outcomes)
    if (outcome.status === 'rejected') assert.match(outcome.reason.message, 'closed');
  assert.ok((await outcomes).some(({ status }) => status === 'rejected'));
  assert.equal(underWay(scanner), { idle: 0, active: 0 });
  assert.is(lab.pins, 0);
});

test.run();
