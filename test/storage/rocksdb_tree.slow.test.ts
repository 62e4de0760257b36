/** The tree on RocksDB: the suite of all trees and what is its own: unfinished flushes, directories, damage. */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import type { StoredRecord } from '../../src/storage/record.ts';
import type { RocksDbTree } from '../../src/storage/rocksdb/rocksdb_tree.ts';
import type { Run } from '../../src/storage/tree.ts';
import { suite, test } from '../suite.ts';
import { bytesOf, plainRecord, runOf, show, showAll, tombstone } from './record_model.ts';
import { disk, loadOrSkip, TreePlace } from './rocksdb_lab.ts';
import { treeConformance } from './tree_conformance.ts';

const NEWEST = Number.MAX_SAFE_INTEGER;
const EVERYTHING = { start: new Uint8Array(0), end: undefined };
const ALL_VERSIONS = {
  ...EVERYTHING,
  after: undefined,
  minRevision: 0,
  maxRevision: NEWEST,
  limit: 1e9,
  maxBytes: NEWEST,
};
const ALL_LIVE = {
  ...EVERYTHING,
  revision: NEWEST,
  reverse: false,
  limit: 1e9,
  maxBytes: NEWEST,
  keysOnly: false,
};

function stateAt(index: number): { index: number; term: number; state: Uint8Array } {
  return { index, term: 1, state: Buffer.from(`state ${index}`) };
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (error instanceof KvError) return error.code;
    throw error;
  }
  return 'none';
}

/** A run whose records end with an error. */
function brokenRun(records: readonly StoredRecord[]): Run {
  return {
    ...runOf(records),
    *records() {
      yield* records;
      throw new Error('the run broke');
    },
  };
}

async function revisionsOf(tree: RocksDbTree): Promise<number[]> {
  return (await tree.versions(ALL_VERSIONS)).records.map((record) => record.modRevision);
}

const binding = await loadOrSkip();
if (binding !== undefined) {
  const withPlace = (name: string, run: (place: TreePlace) => Promise<void>): void => {
    test(name, async () => {
      const place = await TreePlace.create(binding);
      try {
        await run(place);
      } finally {
        await place.dispose();
      }
    });
  };

  const conformance = suite('RocksDB tree: conformance');
  treeConformance(conformance, async () => {
    const place = await TreePlace.create(binding);
    return { tree: place.tree, reopen: () => place.reopen(), dispose: () => place.dispose() };
  });
  conformance.run();

  withPlace('a flush that a crash cut short is neither seen nor left behind', async (place) => {
    const long = new Uint8Array(1000);
    await place.tree.flush(runOf([plainRecord('a', 1, long), plainRecord('b', 2, long)]), stateAt(2));
    // The second flush rewrites a version of the first (as internal records may) and is long enough for several batches.
    const second = [plainRecord('a', 1, bytesOf('rewritten'))];
    for (let i = 0; i < 5000; i++) second.push(plainRecord(`a${String(i).padStart(5, '0')}`, 3 + i, long));
    await place.tree.flush(brokenRun(second), stateAt(5003)).then(
      () => assert.unreachable('the run broke'),
      (error: Error) => assert.match(error.message, 'the run broke'),
    );
    const check = async (tree: RocksDbTree) => {
      assert.equal(await revisionsOf(tree), [1, 2]);
      assert.is((await tree.get(bytesOf('a'), NEWEST))?.value.length, 1000);
      assert.is(await tree.get(bytesOf('a00000'), NEWEST), undefined);
      assert.is((await tree.scan(ALL_LIVE)).records.length, 2);
      assert.is((await tree.scan({ ...ALL_LIVE, reverse: true })).records.length, 2);
      assert.is(tree.durable?.index, 2);
    };
    await check(place.tree);
    const snapshot = await place.tree.snapshot();
    assert.is((await snapshot.next(1e9)).length, 2);
    snapshot.release();
    assert.is(
      await codeOf(place.tree.flush(runOf([]), stateAt(9))),
      'STORAGE_FAILED',
      'no write after a failed one',
    );
    assert.is(await codeOf(place.tree.checkpoint()), 'STORAGE_FAILED');
    await place.reopen();
    await check(place.tree);
    assert.is(place.tree.stats().recordCount, 2, 'what was left of it is gone');
    assert.not(place.tree.mayContain(bytesOf('a04000')));
    // The log brings the same flush again, under the same number.
    await place.tree.flush(runOf(second), stateAt(5003));
    assert.is((await place.tree.versions(ALL_VERSIONS)).records.length, 5002);
    assert.is((await place.tree.get(bytesOf('a'), NEWEST))?.value.length, 9, 'the newer flush counts');
  });

  withPlace(
    'keys that begin others and keys of zero bytes keep their order and are told apart',
    async (place) => {
      const keys = [
        [],
        [0],
        [0, 0],
        [0, 0, 1],
        [0, 1],
        [0, 255],
        [1],
        [1, 0],
        [1, 0, 0],
        [1, 1],
        [255],
        [255, 0],
        [255, 255],
      ];
      const records = keys.map((key, i) => plainRecord(Uint8Array.from(key), 100 - i, Uint8Array.of(i)));
      await place.tree.flush(runOf(records), stateAt(1));
      assert.equal(showAll((await place.tree.versions(ALL_VERSIONS)).records), showAll(records));
      for (const record of records) assert.is(show(await place.tree.get(record.key, NEWEST)), show(record));
      const page = await place.tree.scan({
        ...ALL_LIVE,
        start: Uint8Array.of(0, 1),
        end: Uint8Array.of(1, 1),
      });
      assert.equal(showAll(page.records), showAll(records.slice(4, 9)));
      const none = await place.tree.scan({ ...ALL_LIVE, start: Uint8Array.of(2), end: Uint8Array.of(1) });
      assert.equal(none, { records: [], more: false });
    },
  );

  withPlace('a key with many versions is passed over quickly and found at each revision', async (place) => {
    const hot = Array.from({ length: 3000 }, (_, i) => plainRecord('hot', 6000 - 2 * i, bytesOf(`${i}`)));
    await place.tree.flush(runOf([...hot, plainRecord('later', 7, bytesOf('x'))]), stateAt(1));
    for (const revision of [2, 3, 777, 5999, 6000, NEWEST])
      assert.is(
        (await place.tree.get(bytesOf('hot'), revision))?.modRevision,
        Math.min(6000, revision - (revision % 2)),
      );
    assert.is(await place.tree.get(bytesOf('hot'), 1), undefined);
    for (const reverse of [false, true]) {
      const page = await place.tree.scan({ ...ALL_LIVE, revision: 1000, reverse });
      const revisions = page.records.map((record) => record.modRevision);
      assert.equal(revisions, reverse ? [7, 1000] : [1000, 7]);
    }
  });

  withPlace('compaction removes what is superseded, tombstones last, in the background', async (place) => {
    const records: StoredRecord[] = [];
    for (let i = 0; i < 600; i++) {
      const key = `k${String(i).padStart(4, '0')}`;
      if (i % 2 === 0) records.push(tombstone(bytesOf(key), 3000 + i));
      records.push(plainRecord(key, 2000 + i, bytesOf('new')), plainRecord(key, 1000 + i, bytesOf('old')));
    }
    await place.tree.flush(runOf(records), stateAt(1));
    place.tree.compact(500);
    place.tree.compact(400);
    place.tree.compact(4000);
    await place.tree.settled();
    const left = await place.tree.versions(ALL_VERSIONS);
    assert.is(left.records.length, 300, 'the newest version of every key that lives');
    assert.ok(left.records.every((record) => record.modRevision >= 2000));
    assert.is(place.tree.stats().recordCount, 300);
    await place.reopen();
    assert.is((await place.tree.versions(ALL_VERSIONS)).records.length, 300);
    assert.ok(place.tree.stats().sizeBytes > 0);
  });

  withPlace('an install ends neither a snapshot nor a read of what was there before', async (place) => {
    const before = Array.from({ length: 500 }, (_, i) =>
      plainRecord(`k${1000 + i}`, i + 1, new Uint8Array(100)),
    );
    await place.tree.flush(runOf(before), stateAt(1));
    const snapshot = await place.tree.snapshot();
    const first = (await snapshot.next(1000)).length;
    const reading = place.tree.scan(ALL_LIVE);
    await place.tree.install(
      stateAt(9),
      (async function* () {
        yield [plainRecord('only', 5, bytesOf('x'))];
      })(),
    );
    assert.is((await reading).records.length, 500);
    assert.is(first + (await snapshot.next(1e9)).length, 500);
    assert.equal(await snapshot.next(1e9), []);
    assert.equal(await revisionsOf(place.tree), [5]);
    snapshot.release();
    snapshot.release();
    assert.is(await codeOf(Promise.resolve(snapshot.next(1))), 'CLOSED');
    await place.reopen();
    assert.equal(await revisionsOf(place.tree), [5]);
    assert.equal((await disk.list(place.path)).sort(), ['CURRENT', 'rocksdb-2']);
  });

  withPlace('what a crash during an install left over is removed at open', async (place) => {
    await place.tree.flush(runOf([plainRecord('a', 1, bytesOf('x'))]), stateAt(1));
    await place.tree.close();
    await mkdir(`${place.path}/rocksdb-2`);
    await writeFile(`${place.path}/rocksdb-2/000001.log`, 'half');
    await writeFile(`${place.path}/CURRENT.tmp`, 'rock');
    await place.reopen();
    assert.equal(await revisionsOf(place.tree), [1]);
    await place.tree.install(stateAt(2), (async function* () {})());
    assert.equal(await revisionsOf(place.tree), []);
    assert.is(place.tree.durable?.index, 2);
    await place.tree.close();
    assert.is(await readFile(`${place.path}/CURRENT`, 'latin1'), 'rocksdb-2\n');
  });

  withPlace('a CURRENT that is missing, damaged or names nothing refuses to open', async (place) => {
    await place.tree.flush(runOf([plainRecord('a', 1, bytesOf('x'))]), stateAt(1));
    await place.tree.close();
    const open = () => codeOf(place.open());
    const current = `${place.path}/CURRENT`;
    await rm(current);
    assert.is(await open(), 'CORRUPT', 'missing beside a database in use');
    await writeFile(current, 'rocksdb-');
    assert.is(await open(), 'CORRUPT', 'damaged');
    await writeFile(current, 'rocksdb-7\n');
    assert.is(await open(), 'CORRUPT', 'names nothing');
    await rm(current);
    await rename(`${place.path}/rocksdb-1`, `${place.path}/rocksdb-3`);
    assert.is(await open(), 'CORRUPT', 'missing beside a database that was installed');
    await writeFile(current, 'rocksdb-3\n');
    await rm(`${place.path}/rocksdb-3/CURRENT`);
    assert.is(await open(), 'CORRUPT', 'a database that lost its own CURRENT is not created anew');
  });

  withPlace('a second open of the same directory is refused', async (place) => {
    assert.is(await codeOf(place.open()), 'LOCKED');
  });

  withPlace('a closed tree and one without a flush say so', async (place) => {
    assert.is(await codeOf(place.tree.snapshot()), 'NOT_FOUND');
    await place.tree.flush(runOf([plainRecord('a', 1, bytesOf('x'))]), stateAt(1));
    const snapshot = await place.tree.snapshot();
    await place.tree.close();
    await place.tree.close();
    place.tree.compact(5);
    assert.is(await codeOf(Promise.resolve(snapshot.next(1))), 'CLOSED', 'closing ends snapshots');
    assert.is(await codeOf(place.tree.snapshot()), 'CLOSED');
    assert.is(await codeOf(place.tree.get(bytesOf('a'), 1)), 'CLOSED');
    assert.is(await codeOf(place.tree.flush(runOf([]), stateAt(2))), 'CLOSED');
  });

  withPlace('the filter grows with the keys and stays right after a reopen', async (place) => {
    const records = Array.from({ length: 4000 }, (_, i) =>
      plainRecord(`key ${10_000 + i}`, i + 1, new Uint8Array(10)),
    );
    await place.tree.flush(runOf(records), stateAt(1));
    const check = () => {
      for (const record of records) assert.ok(place.tree.mayContain(record.key));
      let wrong = 0;
      for (let i = 0; i < 4000; i++) if (place.tree.mayContain(bytesOf(`absent ${i}`))) wrong++;
      assert.ok(wrong < 200, `${wrong} of 4000 absent keys may be there`);
    };
    check();
    await place.reopen();
    check();
  });
}

test.run();
