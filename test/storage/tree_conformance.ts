/** What every tree must keep (src/storage/tree.ts): one suite, run by each implementation's test file. */
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type AppliedState,
  compareRecords,
  copyRecord,
  FLAG_TOMBSTONE,
  type StoredRecord,
} from '../../src/storage/record.ts';
import type { Tree, TreeSnapshot } from '../../src/storage/tree.ts';
import {
  bytesOf,
  plainRecord,
  RecordModel,
  randomKey,
  randomScan,
  randomVersions,
  runOf,
  seededRandom,
  show,
  showAll,
} from './record_model.ts';

const NEWEST = Number.MAX_SAFE_INTEGER;
const EVERYTHING = { start: new Uint8Array(0), end: undefined };

/** A tree and how to open it again. */
export interface TreeFixture {
  readonly tree: Tree;
  /** Closes the tree and opens it anew from what is on disk. */
  reopen(): Promise<Tree>;
  dispose(): Promise<void>;
}

function stateAt(index: number): AppliedState {
  return { index, term: 1 + Math.floor(index / 3), state: bytesOf(`state ${index}`) };
}

async function allVersions(tree: Tree): Promise<StoredRecord[]> {
  const page = await tree.versions({
    ...EVERYTHING,
    after: undefined,
    minRevision: 0,
    maxRevision: NEWEST,
    limit: 1_000_000,
    maxBytes: NEWEST,
  });
  assert.is(page.more, false);
  return page.records.map(copyRecord);
}

async function allOfSnapshot(snapshot: TreeSnapshot, pageBytes: number): Promise<StoredRecord[]> {
  const records: StoredRecord[] = [];
  for (;;) {
    const page = await snapshot.next(pageBytes);
    if (page.length === 0) return records;
    for (const record of page) records.push(copyRecord(record));
  }
}

async function* pagesOf(
  records: readonly StoredRecord[],
  size: number,
): AsyncGenerator<StoredRecord[], void, void> {
  for (let at = 0; at < records.length; at += size) yield records.slice(at, at + size);
}

/** Writes `count` random versions to the model and gives them. */
function writeSome(
  model: RecordModel,
  random: () => number,
  count: number,
  maxValueBytes = 200,
): StoredRecord[] {
  const records: StoredRecord[] = [];
  for (let i = 0; i < count; i++) {
    const record = model.randomWrite(random, maxValueBytes);
    model.add(record);
    records.push(record);
  }
  return records;
}

/** Everything between what must be kept and what was ever written, in order, nothing twice. */
function assertAllowed(
  actual: readonly StoredRecord[],
  model: RecordModel,
  compactRevision: number,
  what: string,
): void {
  for (let i = 1; i < actual.length; i++)
    assert.ok(compareRecords(actual[i - 1]!, actual[i]!) < 0, `${what}: record order, nothing twice`);
  const written = new Set(showAll(model.records));
  const present = new Set(showAll(actual));
  for (const record of present) assert.ok(written.has(record), `${what}: ${record} was never written`);
  for (const record of showAll(model.retained(compactRevision)))
    assert.ok(present.has(record), `${what}: ${record} must be kept at compact revision ${compactRevision}`);
}

async function assertSameReads(
  tree: Tree,
  model: RecordModel,
  from: number,
  random: () => number,
  rounds: number,
): Promise<void> {
  const to = model.revision;
  for (let i = 0; i < rounds; i++) {
    const key = randomKey(random);
    const revision = random() < 0.5 ? NEWEST : from + Math.floor(random() * (to - from + 1));
    const wanted = model.get(key, revision);
    const found = await tree.get(key, revision);
    // A tombstone with nothing below it may have been dropped by compaction.
    if (found === undefined && wanted !== undefined) {
      assert.ok((wanted.flags & FLAG_TOMBSTONE) !== 0 && wanted.modRevision <= from, `lost ${show(wanted)}`);
    } else assert.is(show(found), show(wanted));
    if (found !== undefined) assert.ok(tree.mayContain(key));
    const request = randomScan(random, from, to);
    const page = await tree.scan(request);
    const expected = model.scan(request);
    assert.equal(showAll(page.records), showAll(expected.records), `scan ${JSON.stringify(request)}`);
    if (expected.more) assert.ok(page.more, 'a scan must not claim its end before it');
  }
}

/** Registers the suite's tests. */
export function treeConformance(test: Test, create: () => Promise<TreeFixture>): void {
  const withTree = (name: string, run: (fixture: TreeFixture) => Promise<void>): void => {
    test(name, async () => {
      const fixture = await create();
      try {
        await run(fixture);
      } finally {
        await fixture.dispose();
      }
    });
  };

  withTree('an empty tree answers nothing, durably nothing', async ({ tree }) => {
    assert.is(tree.durable, undefined);
    assert.is(await tree.get(bytesOf('a'), NEWEST), undefined);
    assert.equal(await tree.scan(randomScan(seededRandom(1), 1, 2)), { records: [], more: false });
    assert.equal(await allVersions(tree), []);
  });

  withTree('every field of a record comes back as it was written', async ({ tree }) => {
    const records = [
      {
        ...plainRecord('a', 5, bytesOf('x')),
        createRevision: 2,
        version: 3,
        subRevision: 7,
        lease: 0x0123_4567_89ab_cdefn,
      },
      { ...plainRecord('b', NEWEST, new Uint8Array(0)), expiresAtMs: 1_800_000_000_123 },
      plainRecord('c', 2 ** 33, new Uint8Array(400_000).fill(9)),
      plainRecord(new Uint8Array(65_537).fill(255), 7, bytesOf('long key')),
    ];
    await tree.flush(runOf(records), stateAt(1));
    for (const record of records) assert.is(show(await tree.get(record.key, NEWEST)), show(record));
    assert.equal(showAll(await allVersions(tree)), showAll(records));
  });

  withTree('flushes, reads and pages agree with a plain model at every revision', async ({ tree }) => {
    const random = seededRandom(42);
    const model = new RecordModel();
    for (let index = 1; index <= 12; index++) {
      await tree.flush(runOf(writeSome(model, random, 20 + Math.floor(random() * 300))), stateAt(index));
      await assertSameReads(tree, model, 1, random, 40);
      for (let i = 0; i < 20; i++) {
        const request = randomVersions(random, 1, model.revision);
        const page = await tree.versions(request);
        const expected = model.versions(request);
        assert.equal(showAll(page.records), showAll(expected.records), `versions ${JSON.stringify(request)}`);
        if (expected.more) assert.ok(page.more);
      }
    }
  });

  withTree(
    'compaction keeps what is readable at or above its revision and brings nothing back',
    async ({ tree }) => {
      const random = seededRandom(7);
      const model = new RecordModel();
      let compactRevision = 0;
      for (let index = 1; index <= 20; index++) {
        await tree.flush(runOf(writeSome(model, random, 200)), stateAt(index));
        if (index % 3 === 0) {
          compactRevision = model.revision - Math.floor(random() * 150);
          tree.compact(compactRevision);
        }
        await assertSameReads(tree, model, Math.max(1, compactRevision), random, 15);
        assertAllowed(await allVersions(tree), model, compactRevision, `after flush ${index}`);
      }
      tree.compact(model.revision);
      await tree.checkpoint();
      await assertSameReads(tree, model, model.revision, random, 100);
    },
  );

  withTree(
    'a snapshot shows the moment it was taken, whatever is flushed and compacted meanwhile',
    async ({ tree }) => {
      const random = seededRandom(3);
      const model = new RecordModel();
      await tree.flush(runOf(writeSome(model, random, 400)), stateAt(1));
      await tree.flush(runOf(writeSome(model, random, 300)), stateAt(2));
      const then = new RecordModel();
      for (const record of [...model.records].sort((a, b) => a.modRevision - b.modRevision)) then.add(record);
      const snapshot = await tree.snapshot();
      assert.equal(snapshot.applied, stateAt(2));
      const first = (await snapshot.next(500)).map(copyRecord);
      for (let index = 3; index < 12; index++) {
        await tree.flush(runOf(writeSome(model, random, 200)), stateAt(index));
        tree.compact(model.revision - 10);
      }
      assertAllowed([...first, ...(await allOfSnapshot(snapshot, 700))], then, 0, 'snapshot');
      snapshot.release();
    },
  );

  withTree(
    'an install replaces everything; one whose stream fails changes nothing',
    async ({ tree, reopen }) => {
      const random = seededRandom(9);
      const model = new RecordModel();
      await tree.flush(runOf(writeSome(model, random, 500)), stateAt(4));
      await tree.checkpoint();
      const before = showAll(await allVersions(tree));
      const other = new RecordModel();
      writeSome(other, random, 700);
      const failing = async function* (): AsyncGenerator<StoredRecord[], void, void> {
        yield other.records.slice(0, 100);
        throw new Error('the connection broke');
      };
      await tree.install(stateAt(9), failing()).then(
        () => assert.unreachable('the stream failed'),
        (error: Error) => assert.match(error.message, 'the connection broke'),
      );
      assert.equal(showAll(await allVersions(tree)), before);
      await tree.install(stateAt(9), pagesOf(other.records, 64));
      assert.equal(showAll(await allVersions(tree)), showAll(other.records));
      await assertSameReads(tree, other, 1, random, 50);
      assert.equal(tree.durable, stateAt(9));
      const again = await reopen();
      assert.equal(again.durable, stateAt(9));
      assert.equal(showAll(await allVersions(again)), showAll(other.records));
    },
  );

  withTree('a reopened tree holds exactly what `durable` says', async ({ tree, reopen }) => {
    const random = seededRandom(11);
    const model = new RecordModel();
    await tree.flush(runOf(writeSome(model, random, 600)), stateAt(5));
    await tree.checkpoint();
    assert.equal(tree.durable, stateAt(5));
    const atFive = showAll(model.records);
    await tree.flush(runOf(writeSome(model, random, 100)), stateAt(6));
    const { durable } = tree;
    const again = await reopen();
    assert.equal(again.durable, durable);
    assert.equal(showAll(await allVersions(again)), durable?.index === 6 ? showAll(model.records) : atFive);
    await again.flush(runOf([]), stateAt(7));
    await again.checkpoint();
    assert.equal(again.durable, stateAt(7), 'a flush of nothing moves the applied state all the same');
  });

  withTree('the statistics follow the content', async ({ tree }) => {
    const random = seededRandom(13);
    await tree.flush(runOf(writeSome(new RecordModel(), random, 300)), stateAt(1));
    const { recordCount, sizeBytes } = tree.stats();
    assert.ok(recordCount > 0 && recordCount <= 300 && sizeBytes >= 0);
  });
}
