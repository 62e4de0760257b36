/** What is held for an entry is bounded, however much its commands look at. */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as assert from 'uvu/assert';
import type { StorageEngine } from '../../src/storage/engine.ts';
import { ColdTree } from '../storage/late_tree.ts';
import { test } from '../suite.ts';
import { code, compare, put, range, remove, txn } from './commands.ts';
import { BIG, engineOn, MIB, name, Replica, STATE, tablesTree } from './replicas.ts';

setFlagsFromString('--expose-gc');
const collectGarbage: unknown = runInNewContext('gc');

/** Bytes that are held outside of the heap, where keys and values lie. */
function heldBytes(): number {
  if (typeof collectGarbage !== 'function') throw new Error('there is no gc()');
  collectGarbage();
  return process.memoryUsage().arrayBuffers;
}

/** 64 MiB loaded, some pages on their way, up to 16 MiB of a result twice, and the pool of memory in which the tree merges: 128 MiB. */
const MOST = 256 * MIB;
const VALUE_BYTES = 256 * 1024;
const KEYS = 400;

/** 100 MiB on the disk, and nothing in memory. */
async function largeStore(): Promise<{ replica: Replica; tree: ColdTree }> {
  const tables = await tablesTree();
  const tree = new ColdTree(tables);
  const engine = engineOn(tree);
  const replica = new Replica(engine, BIG);
  for (let n = 0; n < KEYS; n += 8) {
    const operations = Array.from({ length: 8 }, (_, at) =>
      put(name(n + at), '', { value: new Uint8Array(VALUE_BYTES).fill(n + at) }),
    );
    await replica.entry([txn(operations)], 1_000);
    if (engine.behind) await engine.caughtUp();
  }
  await replica.checkpoint();
  // Merging takes memory of its own.
  await tables.settled();
  return { replica, tree };
}

/** The most that is held while the tree is read in the course of some work. */
function mostHeld(tree: ColdTree, work: () => void): number {
  let most = 0;
  const { scanNow } = tree;
  tree.scanNow = (request) => {
    const page = scanNow(request);
    if (tree.readsNow % 32 === 0) most = Math.max(most, heldBytes());
    return page;
  };
  work();
  tree.scanNow = scanNow;
  assert.ok(most > 0, 'the tree was read');
  return most;
}

test('what is held for an entry is bounded, though its ranges name the whole store many times over', async () => {
  const { replica, tree } = await largeStore();
  const { machine } = replica;
  const engine = replica.engine as StorageEngine;
  const everywhere = Array.from({ length: 100 }, (_, n) => compare('value', '!=', name(n), 'x', 'z'));
  const before = heldBytes();
  // Values are compared, so they are needed: 100 times 100 MiB.
  await engine.load(machine.reads(txn([put('new', '')], everywhere)));
  const ahead = tree.bytesAhead;
  assert.ok(ahead > 48 * MIB && ahead < 80 * MIB, `${ahead} bytes were read ahead`);
  // What was left out is read in its turn, and not kept.
  const context = { index: 1_000, term: 1, timeMs: 2_000 };
  const peak = mostHeld(tree, () => {
    const result = machine.apply(context, txn([put('new', '')], everywhere.slice(0, 1)));
    assert.is(result.type === 'txn' && result.succeeded, true);
    const tooMany = machine.apply(context, txn([put('new', '')], everywhere));
    assert.is(code(tooMany), 'REQUEST_TOO_LARGE');
  });
  assert.ok(peak - before < MOST, `${peak - before} bytes were held`);
  engine.afterEntry(1_000, 1, () => STATE);
  assert.ok(tree.largestPageNow <= MIB + VALUE_BYTES, `a page of ${tree.largestPageNow} bytes`);

  // No value is needed to remove keys, to count them or to look at their versions.
  const lean = txn(
    [remove('a', 'j'), remove(name(0), 'z'), range('a', name(300), { countOnly: true })],
    [compare('version', '=', 'a', 1, 'l')],
  );
  tree.bytesAhead = 0;
  await engine.load(machine.reads(lean));
  assert.ok(tree.bytesAhead < 64 * KEYS, `${tree.bytesAhead} bytes were read for keys`);
  const readsNow = tree.readsNow;
  const removed = machine.apply({ index: 1_001, term: 1, timeMs: 2_000 }, lean);
  assert.is(
    removed.type === 'txn' && removed.results[1]?.type === 'delete' && removed.results[1].deleted,
    KEYS + 1,
  );
  assert.is(tree.readsNow, readsNow, 'all of it was there');
  await replica.close();
});

test('a result that would be too large is refused without being gathered', async () => {
  const { replica, tree } = await largeStore();
  const { machine } = replica;
  const context = { index: 1_000, term: 1, timeMs: 2_000 };
  const large = [
    range('a', 'z'),
    range('a', 'z', { sortTarget: 'version', sortOrder: 'descend' }),
    remove('a', 'z', true),
  ];
  for (const operation of large) {
    const before = heldBytes();
    const peak = mostHeld(tree, () => {
      const result = machine.apply(context, txn(Array.from({ length: 50 }, () => operation)));
      assert.is(code(result), 'REQUEST_TOO_LARGE');
    });
    assert.ok(peak - before < MOST, `${peak - before} bytes were held`);
  }
  assert.is(machine.revision, KEYS / 8 + 1, 'nothing was removed');
  await replica.close();
});

test.run();
