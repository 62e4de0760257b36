/**
 * How an entry's reads come into memory decides nothing: commands have the same results and leave the same state whether reads are loaded ahead, in part or not at all. And what
 * is held for an entry is bounded, however much its commands look at.
 */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import type { Command, CommandResult } from '../../src/kv/command.ts';
import { StateMachine } from '../../src/kv/state_machine.ts';
import { realPorts } from '../../src/real_ports.ts';
import { StorageEngine } from '../../src/storage/engine.ts';
import type { KvEngine, LoadRequest } from '../../src/storage/engine_port.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { MemtablePool } from '../../src/storage/memtable_pool.ts';
import { TablesTree } from '../../src/storage/tables/tables_tree.ts';
import type { Tree } from '../../src/storage/tree.ts';
import { encodeState } from '../../src/wire/state_codec.ts';
import { ColdTree, LateTree } from '../storage/late_tree.ts';
import { test } from '../suite.ts';
import { code, compare, key, LIMITS, NO_ID, put, range, remove, touch, txn, write } from './commands.ts';
import { PlainEngine } from './plain_engine.ts';
import { anyCommand, NAMES } from './random_commands.ts';

const MIB = 1024 * 1024;
const ports = realPorts();
const STATE = new Uint8Array(1);

function engineOn(tree: Tree, maxLoadedBytes?: number): StorageEngine {
  return new StorageEngine({
    config: { memtableSizeBytes: MIB, maxFrozenMemtables: 2 },
    tree,
    ports,
    pool: new MemtablePool({ sizeBytes: 256 * 1024 }, 3),
    ...(maxLoadedBytes !== undefined && { maxLoadedBytes }),
  });
}

function tablesTree(): Promise<TablesTree> {
  return TablesTree.open({ disk: new MemoryDisk(), path: '/tree', ports });
}

/** What all commands of an entry read. */
function joined(machine: StateMachine, commands: readonly Command[]): LoadRequest {
  const requests = commands.map((command) => {
    const { keys, ranges, older = [], naming = [] } = machine.reads(command);
    return { keys: [...keys], ranges, older, naming };
  });
  return {
    keys: requests.flatMap(({ keys }) => keys),
    ranges: requests.flatMap(({ ranges }) => ranges),
    older: requests.flatMap(({ older }) => older),
    naming: requests.flatMap(({ naming }) => naming),
  };
}

/** A state machine on an engine that is treated as a node treats it. */
class Replica {
  readonly engine: StorageEngine | PlainEngine;
  readonly machine: StateMachine;
  index = 0;

  constructor(engine: StorageEngine | PlainEngine, limits = LIMITS) {
    this.engine = engine;
    this.machine = new StateMachine({ engine: engine satisfies KvEngine, limits });
  }

  async entry(commands: readonly Command[], timeMs: number): Promise<CommandResult[]> {
    const { engine, machine } = this;
    if (engine instanceof StorageEngine) await engine.load(joined(machine, commands));
    this.index++;
    const context = { index: this.index, term: 1, timeMs };
    const results = commands.map((command) => machine.apply(context, command));
    if (engine instanceof StorageEngine) engine.afterEntry(this.index, 1, () => STATE);
    return results;
  }

  async checkpoint(): Promise<void> {
    if (this.engine instanceof StorageEngine) await this.engine.checkpoint(this.index, 1, () => STATE);
  }

  async close(): Promise<void> {
    if (this.engine instanceof StorageEngine) await this.engine.close();
  }
}

/** Limits that random commands meet. */
const TIGHT = {
  ...LIMITS,
  maxDeleteRangeKeys: 1,
  maxCommandBytes: 200,
  maxTxnOperations: 1_000,
  maxTxnDepth: 8,
};

const entry = fc.record({
  commands: fc.array(anyCommand, { minLength: 1, maxLength: 4 }),
  waitMs: fc.constantFrom(0, 0, 3, 30),
  flush: fc.constantFrom(false, false, true),
});

test('results and state are the same, whatever the memory holds and whatever the tree can do', async () => {
  let refused = 0;
  const prop = fc.asyncProperty(
    fc.array(entry, { minLength: 12, maxLength: 30 }),
    fc.boolean(),
    async (entries, roomy) => {
      const limits = roomy ? { ...TIGHT, maxDeleteRangeKeys: 1_000, maxCommandBytes: 100_000 } : TIGHT;
      const replicas = [
        new Replica(new PlainEngine(), limits),
        new Replica(engineOn(await tablesTree()), limits),
        new Replica(engineOn(new LateTree(await tablesTree())), limits),
        new Replica(engineOn(new ColdTree(await tablesTree()), 1), limits),
        new Replica(engineOn(new ColdTree(await tablesTree()), 2_000), limits),
        new Replica(engineOn(new ColdTree(await tablesTree())), limits),
      ];
      // One of them has somebody who wants the values that are replaced.
      replicas[4]!.machine.writer.onEvents = () => undefined;
      replicas[4]!.machine.writer.eventsWithPrevious = true;
      const leases = [7n, 8n].map((lease): Command => ({ type: 'leaseGrant', id: NO_ID, lease, ttlMs: 1e9 }));
      let timeMs = 1_000;
      const first = [...leases, ...NAMES.map((one) => write(put(one, 'x')))];
      for (const replica of replicas) await replica.entry(first, timeMs);
      for (const { commands, waitMs, flush } of entries) {
        timeMs += waitMs;
        const [expected, ...others] = await Promise.all(
          replicas.map(async (replica) => {
            const results = await replica.entry(commands, timeMs);
            if (flush) await replica.checkpoint();
            return results;
          }),
        );
        refused += expected!.filter((result) => code(result) === 'REQUEST_TOO_LARGE').length;
        for (const results of others) assert.equal(results, expected);
      }
      const [state, ...states] = replicas.map(({ machine }) => encodeState(machine.captureState()));
      for (const other of states) assert.equal(other, state);
      for (const replica of replicas) await replica.close();
    },
  );
  await fc.assert(prop, { numRuns: 20 });
  assert.ok(refused > 20, `${refused} commands were refused for their size`);
});

setFlagsFromString('--expose-gc');
const collectGarbage: unknown = runInNewContext('gc');

/** Bytes that are held outside of the heap, where keys and values lie. */
function heldBytes(): number {
  if (typeof collectGarbage !== 'function') throw new Error('there is no gc()');
  collectGarbage();
  return process.memoryUsage().arrayBuffers;
}

const VALUE_BYTES = 256 * 1024;
const KEYS = 640;
const BIG = {
  ...LIMITS,
  maxValueBytes: MIB,
  maxCommandBytes: 16 * MIB,
  maxDeleteRangeKeys: 1_000,
  maxTxnOperations: 1_000,
};

/** 160 MiB on the disk, and nothing in memory. */
async function largeStore(): Promise<{ replica: Replica; tree: ColdTree }> {
  const tree = new ColdTree(await tablesTree());
  const replica = new Replica(engineOn(tree), BIG);
  for (let n = 0; n < KEYS; n += 8) {
    const operations = Array.from({ length: 8 }, (_, at) =>
      put(name(n + at), '', { value: new Uint8Array(VALUE_BYTES).fill(n + at) }),
    );
    await replica.entry([txn(operations)], 1_000);
    if (replica.engine instanceof StorageEngine && replica.engine.behind) await replica.engine.caughtUp();
  }
  await replica.checkpoint();
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

const name = (n: number): string => `k${String(n).padStart(5, '0')}`;

test('what is held for an entry is bounded, though its ranges name the whole store many times over', async () => {
  const { replica, tree } = await largeStore();
  const { machine } = replica;
  const engine = replica.engine as StorageEngine;
  const everywhere = Array.from({ length: 100 }, (_, n) => compare('value', '!=', name(n), 'x', 'z'));
  // The memory in which the tree merges stays, for whatever is read next.
  await engine.load(machine.reads(txn([], everywhere)));
  engine.afterEntry(1_000, 1, () => STATE);
  const before = heldBytes();
  // Values are compared, so they are needed: 100 times 160 MiB.
  await engine.load(machine.reads(txn([put('new', '')], everywhere)));
  const loaded = heldBytes() - before;
  assert.ok(loaded > 30 * MIB, `${loaded} bytes are held: nothing was loaded ahead`);
  assert.ok(loaded < 100 * MIB, `${loaded} bytes are held`);
  // What was left out is read in its turn, and not kept.
  const context = { index: 1_000, term: 1, timeMs: 2_000 };
  const peak = mostHeld(tree, () => {
    const result = machine.apply(context, txn([put('new', '')], everywhere.slice(0, 1)));
    assert.is(result.type === 'txn' && result.succeeded, true);
    const tooMany = machine.apply(context, txn([put('new', '')], everywhere));
    assert.is(code(tooMany), 'REQUEST_TOO_LARGE');
  });
  assert.ok(peak - before < 128 * MIB, `${peak - before} bytes were held`);
  engine.afterEntry(1_000, 1, () => STATE);
  const after = heldBytes() - before;
  assert.ok(after < 16 * MIB, `${after} bytes are held after the entry`);

  // No value is needed to remove keys, to count them or to look at their versions.
  const lean = txn(
    [remove('a', 'j'), remove(name(0), 'z'), range('a', 'z', { countOnly: true })],
    [compare('version', '=', 'a', 1, 'l')],
  );
  const leanBefore = heldBytes();
  await engine.load(machine.reads(lean));
  const held = heldBytes() - leanBefore;
  assert.ok(held < 2 * MIB, `${held} bytes are held for keys`);
  const readsNow = tree.readsNow;
  const removed = machine.apply({ index: 1_001, term: 1, timeMs: 2_000 }, lean);
  assert.is(
    removed.type === 'txn' && removed.results[1]?.type === 'delete' && removed.results[1].deleted,
    KEYS,
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
    // A sort keeps up to twice what may be shown.
    assert.ok(peak - before < 80 * MIB, `${peak - before} bytes were held`);
  }
  assert.is(machine.revision, KEYS / 8 + 1, 'nothing was removed');
  await replica.close();
});

test('what the commands of an entry may write beyond what they carry is bounded, the same for all that come in it', () => {
  const machine = new StateMachine({ engine: new PlainEngine(), limits: { ...BIG, maxKeyBytes: 1_000 } });
  const at = (index: number, command: Command): CommandResult =>
    machine.apply({ index, term: 1, timeMs: 1_000 }, command);
  for (let n = 0; n < 300; n++) at(1, write(put(name(n), '', { value: new Uint8Array(MIB) })));
  const touches = (from: number, to: number): Command =>
    txn(Array.from({ length: to - from }, (_, n) => touch(name(from + n), 0)));
  const refused = at(2, touches(0, 300));
  assert.is(code(refused), 'REQUEST_TOO_LARGE');
  assert.is(machine.revision, 301, 'nothing of it took effect');
  const kept = txn(Array.from({ length: 300 }, (_, n) => put(name(n), '', { ignoreValue: true })));
  assert.equal(at(3, kept), refused, 'a value that stays is written again as well');
  assert.is(code(at(4, touches(0, 200))), 'fine');
  assert.equal(at(4, touches(200, 300)), { ...refused, revision: 302 }, 'an entry lies in one memtable');
  assert.is(code(at(5, touches(200, 300))), 'fine');
  assert.is(code(at(5, write(remove('a', 'z')))), 'fine', 'tombstones of short keys weigh little');
  assert.equal(machine.reads(write(touch('a', 0))).keys, [key('a')]);
});

test.run();
