/** Publication from an engine to readers, all in one thread: what is seen, what is kept from the pool, and for how long. */

import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import { StorageEngine } from '../../../src/storage/engine.ts';
import { MemoryDisk } from '../../../src/storage/memory_disk.ts';
import { MemtablePool } from '../../../src/storage/memtable_pool.ts';
import { ControlReader, ControlWriter, MAX_LISTED } from '../../../src/storage/shared/control_block.ts';
import { type MemoryMessage, SharedReads } from '../../../src/storage/shared/shared_reads.ts';
import { SharedView } from '../../../src/storage/shared/shared_view.ts';
import { TablesTree } from '../../../src/storage/tables/tables_tree.ts';
import { test } from '../../suite.ts';
import { LateTree } from '../late_tree.ts';
import { SteppedPorts } from '../stepped_ports.ts';

function code(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return error instanceof KvError ? error.code : String(error);
  }
  return 'nothing';
}

test('revisions are published whole, also where the high word changes, and never go back', () => {
  const writer = new ControlWriter(1);
  const reader = new ControlReader(writer.buffer);
  assert.is(reader.visibleRevision, 0);
  for (const revision of [1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 5, 2 ** 53 - 1]) {
    writer.publishRevision(revision);
    writer.publishCompacted(revision - 1);
    assert.is(reader.visibleRevision, revision);
    assert.is(writer.visibleRevision, revision);
    assert.is(reader.compactRevision, revision - 1);
  }
  writer.publishRevision(3);
  writer.publishCompacted(3);
  assert.is(reader.visibleRevision, 2 ** 53 - 1);
  assert.is(reader.compactRevision, 2 ** 53 - 2);
});

test('lists are read as they were published; one that is too long tells nothing', () => {
  const writer = new ControlWriter(2);
  const reader = new ControlReader(writer.buffer);
  const ids: number[] = [];
  for (let version = 1; version <= 50; version++) {
    const list = Array.from({ length: (version * 7) % MAX_LISTED }, (_, i) => version * 100 + i);
    writer.publishList(list);
    assert.is(reader.readList(ids), version);
    assert.equal(ids, list);
  }
  writer.publishList(Array.from({ length: MAX_LISTED }, (_, i) => i));
  reader.readList(ids);
  assert.is(ids.length, MAX_LISTED);
  writer.publishList(Array.from({ length: MAX_LISTED + 1 }, (_, i) => i));
  reader.readList(ids);
  assert.is(ids.length, 0);
  assert.not(reader.closed);
  writer.close();
  assert.ok(reader.closed);
  assert.is(
    code(() => new ControlReader(new SharedArrayBuffer(64))),
    'INVALID_ARGUMENT',
  );
});

test('impossible numbers of readers, and two threads for one reader, are refused', () => {
  for (const readers of [0, -1, 1.5, 61])
    assert.is(
      code(() => new SharedReads(readers)),
      'CONFIG_INVALID',
    );
  const shared = new SharedReads(2);
  shared.attach(1, () => {});
  assert.is(
    code(() => shared.attach(1, () => {})),
    'INTERNAL',
  );
  assert.is(
    code(() => shared.attach(2, () => {})),
    'INTERNAL',
  );
  shared.detach(1);
  shared.attach(1, () => {});
});

interface Trial {
  readonly shared: SharedReads;
  readonly engine: StorageEngine;
  readonly pool: MemtablePool;
  readonly ports: SteppedPorts;
  readonly tree: LateTree;
  attach(reader: number): SharedView;
  put(key: string, bytes: number): number;
  /** Puts until another memtable is frozen. */
  rotate(): void;
}

async function createTrial(): Promise<Trial> {
  const ports = new SteppedPorts();
  const shared = new SharedReads(2);
  const tree = new LateTree(await TablesTree.open({ disk: new MemoryDisk(), path: '/tree', ports }));
  const pool = new MemtablePool({ sizeBytes: 256 * 1024, readers: 2 }, 1, (memtable) =>
    shared.forget(memtable),
  );
  const config = { memtableSizeBytes: 1024 * 1024, maxFrozenMemtables: 4 };
  const engine = new StorageEngine({ config, tree, ports, pool, shared });
  let index = 0;
  const put = (key: string, bytes: number): number => {
    index++;
    engine.put(Buffer.from(key), new Uint8Array(bytes).fill(index), index, index, 1, 0, 0, 0n, 0);
    engine.afterEntry(index, 1, () => Uint8Array.of(0));
    return index;
  };
  const rotate = (): void => {
    const { frozenMemtables } = engine.stats();
    while (engine.stats().frozenMemtables === frozenMemtables) put(`fill ${index}`, 20_000);
  };
  const attach = (reader: number): SharedView => {
    const messages: MemoryMessage[] = [];
    return new SharedView(
      shared.attach(reader, (message) => messages.push(message)),
      () => messages.shift(),
    );
  };
  return { shared, engine, pool, ports, tree, attach, put, rotate };
}

function hold(tree: LateTree): () => void {
  let open = (): void => {};
  tree.gate = new Promise((resolve) => {
    open = resolve;
  });
  return () => open();
}

/** The byte that a key's value is made of at the newest revision; undefined: in no memtable. */
function read(view: SharedView, key: string): number | undefined {
  view.enter();
  try {
    const revision = view.visibleRevision;
    for (const memtable of view.memtables()) {
      const record = memtable.at(Buffer.from(key), revision);
      if (record !== undefined) return record.value[0];
    }
    return undefined;
  } finally {
    view.leave();
  }
}

async function flushed(trial: Trial): Promise<void> {
  while (trial.engine.stats().frozenMemtables > 0) await new Promise((resolve) => setImmediate(resolve));
}

test('a reader sees every entry when it was applied, across rotations, and whoever came late too', async () => {
  const trial = await createTrial();
  const open = hold(trial.tree);
  const early = trial.attach(0);
  assert.is(read(early, 'a'), undefined);
  for (let i = 0; i < 3; i++) {
    const value = trial.put('a', 10);
    assert.is(early.visibleRevision, value);
    assert.is(read(early, 'a'), value & 255);
    trial.rotate();
    assert.is(read(early, 'a'), value & 255);
  }
  const late = trial.attach(1);
  assert.is(read(late, 'a'), read(early, 'a'));
  open();
  await flushed(trial);
  assert.is(read(early, 'a'), undefined, 'it is in the tree');
  assert.is(read(late, 'a'), undefined);
  trial.engine.compact(7);
  assert.is(early.compactRevision, 7);
});

test('a memtable is not used again while a reader is inside, not even when that thread hangs; it is when the thread has ended', async () => {
  const trial = await createTrial();
  const [stuck, other] = [trial.attach(0), trial.attach(1)];
  const value = trial.put('a', 10);
  stuck.enter();
  const revision = stuck.visibleRevision;
  const list = [...stuck.memtables()];
  for (let i = 0; i < 4; i++) {
    trial.rotate();
    await flushed(trial);
  }
  await new Promise((resolve) => setImmediate(resolve));
  assert.is(trial.pool.pooled, 0);
  assert.is(trial.shared.epochs.waiting, 4);
  assert.is(list[0]!.at(Buffer.from('a'), revision)?.value[0], value, 'what it looks at is still there');
  assert.is(read(other, 'a'), undefined);
  trial.shared.detach(0);
  assert.is(trial.shared.epochs.waiting, 0);
  assert.is(trial.pool.pooled, 1);
  assert.is(trial.shared.memories, 2, 'the active one and the pooled one; the others were dropped');
});

test('readers hear of memories that are not used any more', async () => {
  const trial = await createTrial();
  const messages: MemoryMessage[] = [];
  const attachment = trial.shared.attach(0, (message) => messages.push(message));
  assert.is(attachment.memories.length, 1);
  const open = hold(trial.tree);
  for (let i = 0; i < 3; i++) trial.rotate();
  open();
  await flushed(trial);
  await new Promise((resolve) => setImmediate(resolve));
  const known = new Set(attachment.memories.map(({ id }) => id));
  for (const message of messages) {
    if (message.type === 'memory') known.add(message.id);
    else known.delete(message.id);
  }
  assert.is(known.size, trial.shared.memories);
  assert.ok(messages.some((message) => message.type === 'forget'));
});

test.run();
