/** Reads of tables by a second instance over the same memory, as a reader thread does them: the tree's own reads are the model. */
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { realPorts } from '../../../src/real_ports.ts';
import { Memtable } from '../../../src/storage/memtable.ts';
import { NodeDisk } from '../../../src/storage/node_disk.ts';
import { ASK, TableReader } from '../../../src/storage/tables/table_reader.ts';
import { TablesTree, type TablesTreeSettings } from '../../../src/storage/tables/tables_tree.ts';
import { test } from '../../suite.ts';
import { seededRandom } from '../record_model.ts';

const SMALL: Partial<TablesTreeSettings> = {
  blockSizeBytes: 512,
  tableSizeBytes: 16 * 1024,
  levelBaseBytes: 32 * 1024,
  growth: 3,
  blockCacheBytes: 32 * 1024,
};

interface Trial {
  readonly tree: TablesTree;
  readonly directory: string;
  /** Flushes `count` puts and deletes of random keys; gives the newest revision. */
  flush(count: number): Promise<number>;
}

async function withTree(
  settings: Partial<TablesTreeSettings>,
  run: (trial: Trial) => Promise<void>,
): Promise<void> {
  const path = mkdtempSync(join(tmpdir(), 'kvorum-reader-'));
  const tree = await TablesTree.open({
    disk: new NodeDisk(),
    path,
    ports: realPorts(),
    settings: { ...SMALL, ...settings },
  });
  const random = seededRandom(7);
  let revision = 0;
  const flush = async (count: number): Promise<number> => {
    const memtable = new Memtable({ sizeBytes: 1 << 20 });
    for (let i = 0; i < count; i++) {
      revision++;
      const flags = random() < 0.1 ? 1 : 0;
      const value = Buffer.alloc(flags === 1 ? 0 : Math.floor(random() * 300), revision & 255);
      memtable.put(key(Math.floor(random() * 400)), value, revision, revision, 1, 0, flags, 0n, 0);
    }
    await tree.flush(memtable, { index: revision, term: 1, state: new Uint8Array(0) });
    return revision;
  };
  try {
    await run({ tree, directory: join(path, 'tables'), flush });
  } finally {
    await tree.close();
    rmSync(path, { recursive: true, force: true });
  }
}

function key(i: number): Buffer {
  return Buffer.from(`key ${i * 3}`);
}

function sameAsTree(tree: TablesTree, reader: TableReader, newest: number): void {
  for (let i = 0; i < 400; i += 3) {
    for (const wanted of [key(i), Buffer.from(`key ${i * 3 + 1}`)]) {
      for (const revision of [newest, Math.floor(newest / 2), Math.floor(newest / 7)]) {
        const record = reader.get(wanted, revision);
        assert.is.not(record, ASK);
        assert.equal(record, tree.getNow(wanted, revision), `${wanted} at ${revision}`);
      }
    }
  }
}

for (const settings of [{}, { blockCacheBytes: 0 }, { compression: 'lz4', blockCacheBytes: 0 }] as const) {
  test(`gives what the tree gives, through flushes and compactions (${JSON.stringify(settings)})`, () =>
    withTree(settings, async ({ tree, flush }) => {
      const place = tree.shared.addReader();
      const reader = new TableReader(place);
      assert.is(reader.get(key(1), 5), undefined, 'nothing is there yet');
      for (let round = 0; round < 12; round++) {
        const newest = await flush(300);
        if (round % 2 === 1) await tree.settled();
        sameAsTree(tree, reader, newest);
      }
      assert.ok(reader.blocksRead > 0);
      assert.is(reader.cacheHits > 0, !('blockCacheBytes' in settings));
      assert.is(reader.get(Buffer.alloc(70_000), 5), undefined, 'longer than any key');
      reader.close();
      tree.shared.removeReader(place);
      tree.shared.removeReader(place);
      assert.is(tree.shared.addReader().reader, place.reader, 'the place is free again');
    }));
}

test('blocks that a reader had to read from files are in the cache soon after', () =>
  withTree({ blockCacheBytes: 4 << 20 }, async ({ tree, flush }) => {
    const newest = await flush(2_000);
    await tree.settled();
    const place = tree.shared.addReader();
    const reader = new TableReader(place);
    const readAll = (): number => {
      const before = reader.blocksRead;
      for (let i = 0; i < 400; i++) reader.get(key(i), newest);
      return reader.blocksRead - before;
    };
    assert.ok(readAll() > 50, 'at first they are read by the reader itself');
    const deadline = Date.now() + 20_000;
    while (readAll() > 0) {
      assert.ok(Date.now() < deadline, 'the cache never took them');
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    assert.ok(reader.cacheHits > 0);
    reader.close();
    tree.shared.removeReader(place);
  }));

test('leaves to the tree what is too large, gone, or damaged', () =>
  withTree({ blockCacheBytes: 0, levelBaseBytes: 1 << 20 }, async ({ tree, directory, flush }) => {
    const memtable = new Memtable({ sizeBytes: 1 << 20 });
    memtable.put(Buffer.from('large'), new Uint8Array(200_000).fill(3), 1, 1, 1, 0, 0, 0n, 0);
    await tree.flush(memtable, { index: 1, term: 1, state: new Uint8Array(0) });
    const reader = new TableReader(tree.shared.addReader());
    assert.is(reader.get(Buffer.from('large'), 1), ASK);
    const newest = await flush(300);
    const present = Array.from({ length: 400 }, (_, i) => key(i)).filter(
      (one) => tree.getNow(one, newest) !== undefined,
    );
    const gone = new TableReader(tree.shared.addReader());
    for (const name of readdirSync(directory))
      renameSync(join(directory, name), join(directory, `${name}.gone`));
    assert.ok(present.every((one) => gone.get(one, newest) === ASK));
    for (const name of readdirSync(directory)) {
      const bytes = readFileSync(join(directory, name));
      bytes.fill(0xaa, 0, bytes.length >>> 1);
      writeFileSync(join(directory, name.replace('.gone', '')), bytes);
    }
    const damaged = new TableReader(tree.shared.addReader());
    const asked = present.filter((one) => damaged.get(one, newest) === ASK);
    assert.ok(asked.length > present.length / 4 && asked.length < present.length, 'only what was damaged');
    for (const name of readdirSync(directory)) {
      if (!name.endsWith('.gone')) writeFileSync(join(directory, name), '');
    }
    assert.ok(
      present.every((one) => damaged.get(one, newest) === ASK),
      'a file that ends early',
    );
    for (const name of readdirSync(directory)) {
      if (name.endsWith('.gone'))
        renameSync(join(directory, name), join(directory, name.replace('.gone', '')));
    }
    gone.close();
    damaged.close();
    reader.close();
  }));

test('keeps no file of a table that was replaced', () =>
  withTree({ blockCacheBytes: 0 }, async ({ tree, directory, flush }) => {
    const reader = new TableReader(tree.shared.addReader());
    let newest = 0;
    for (let round = 0; round < 20; round++) {
      newest = await flush(200);
      await tree.settled();
      for (let i = 0; i < 400; i++) reader.get(key(i), newest);
    }
    // Only Linux shows them.
    const open = (process.platform === 'linux' ? readdirSync('/proc/self/fd') : []).flatMap((fd) => {
      try {
        return [readlinkSync(`/proc/self/fd/${fd}`)];
      } catch {
        // The descriptor of the listing itself.
        return [];
      }
    });
    const deleted = open.filter((target) => target.startsWith(directory) && target.endsWith('(deleted)'));
    assert.equal(deleted, []);
    assert.ok(process.platform !== 'linux' || open.some((target) => target.startsWith(directory)));
    reader.close();
  }));

test.run();
