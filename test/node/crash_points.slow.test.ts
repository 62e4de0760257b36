/**
 * One node, cut off from power at every operation of its disk in turn, under every kind of loss. The work covers every kind of write, expiry, compaction,
 * checkpoints, flushes and merges of tables, log rotation and log cuts. What was acknowledged must be there afterwards, what was not must be there whole or not at all.
 */

import * as assert from 'uvu/assert';
import type { Store } from '../../src/client/store_types.ts';
import type { ConfigInput } from '../../src/config.ts';
import { KvError } from '../../src/errors.ts';
import { checkDirectory } from '../../src/node/check_directory.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { LOSS_RULES, type LossRule } from '../../src/storage/memory_disk_nodes.ts';
import { test } from '../suite.ts';
import { seeded } from './chaos.ts';
import { ClusterLab, text, until } from './cluster_lab.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const BUDGET_MS = Number(process.env['KVORUM_CRASH_MS'] ?? 40_000);
const HURRY = 100;
const CONFIG = {
  raft: { tickMs: 5, electionTicks: 12 },
  storage: {
    memtableSizeBytes: MIB,
    segmentSizeBytes: 256 * KIB,
    preallocateBytes: 32 * KIB,
    checkpointLogBytes: MIB,
    logRetainBytes: 0,
  },
  node: { historyRevisions: 8 },
} satisfies ConfigInput;

type Model = Map<string, string>;
interface Step {
  readonly run: (store: Store) => Promise<{ readonly revision: number } | boolean>;
  readonly change: (model: Model) => void;
}

/** One after the other: so what is there after a crash is the state after the last acknowledged step, or after the one that was under way. */
function steps(): Step[] {
  const list: Step[] = [];
  const value = (i: number, bytes: number): string => `${i}:`.padEnd(bytes, 'v');
  const put = (key: string, text: string): void => {
    list.push({ run: (store) => store.put(key, text), change: (model) => void model.set(key, text) });
  };
  for (let i = 0; i < 64; i++) {
    put(`a/${i % 7}`, value(i, 60 * KIB));
    if (i % 3 === 0) {
      const text = value(i, 20 * KIB);
      list.push({
        run: (store) =>
          store.batch([
            { type: 'put', key: `left/${i % 5}`, value: text },
            { type: 'put', key: `right/${i % 5}`, value: text },
            { type: 'delete', key: `a/${(i + 1) % 7}` },
          ]),
        change: (model) => {
          model
            .set(`left/${i % 5}`, text)
            .set(`right/${i % 5}`, text)
            .delete(`a/${(i + 1) % 7}`);
        },
      });
    }
    if (i % 6 === 1)
      list.push({ run: (store) => store.put(`t/${i}`, 'short', { ttlMs: 3 }), change: () => undefined });
    if (i % 6 === 2)
      list.push({ run: (store) => store.touch('a/2', { ttlMs: 3_600_000 }), change: () => undefined });
    if (i % 9 === 4) {
      list.push({
        run: (store) => store.txn({ then: [{ type: 'deleteRange', start: 'left/', end: 'left/3' }] }),
        change: (model) => {
          for (const key of [...model.keys()]) if (key >= 'left/' && key < 'left/3') model.delete(key);
        },
      });
    }
  }
  return list;
}

interface Outcome {
  /** Models of which one must be found. */
  readonly allowed: readonly Model[];
  readonly revision: number;
}

/** Works until the disk goes down, or all is done. */
async function work(lab: ClusterLab): Promise<Outcome> {
  const model: Model = new Map();
  let revision = 0;
  const { store } = await lab.leader();
  for (const step of steps()) {
    const after = new Map(model);
    step.change(after);
    try {
      const answer = await step.run(store);
      if (typeof answer === 'object') revision = Math.max(revision, answer.revision);
      step.change(model);
    } catch (error) {
      if (!(error instanceof KvError)) throw error;
      return { allowed: error.maybeApplied ? [model, after] : [model], revision };
    }
  }
  return { allowed: [model], revision };
}

function same(a: Model, b: Model): boolean {
  if (a.size !== b.size) return false;
  for (const [key, value] of a) if (b.get(key) !== value) return false;
  return true;
}

async function contentOf(store: Store): Promise<Model> {
  const found: Model = new Map();
  for await (const { key, value } of store.scan()) {
    const name = text(key)!;
    if (name.startsWith('t/')) assert.is(text(value), 'short');
    else found.set(name, text(value)!);
  }
  return found;
}

/** Starts the node, where it may fail because its disk goes down. */
async function started(lab: ClusterLab, disk: MemoryDisk): Promise<boolean> {
  try {
    const { node } = await lab.startNode(1);
    await node.whenLed(5_000);
    await node.whenApplied(5_000);
    return true;
  } catch (error) {
    if (!disk.down) throw error;
    return false;
  }
}

async function crash(lab: ClusterLab, disk: MemoryDisk, rule: LossRule, random: () => number): Promise<void> {
  if (lab.nodes.has(1)) lab.crash(1, rule, random);
  else disk.crash(rule, random);
}

/** Cuts the power at operation `at` of the work, and again at operation `again` (0: not) of the start after it. Gives the number of operations in all. */
async function cutAt(at: number, again: number, rule: LossRule, seed: number): Promise<number> {
  const lab = ClusterLab.create(1, CONFIG, HURRY);
  try {
    return await cutIn(lab, at, again, rule, seeded(seed));
  } finally {
    // What a failure leaves running would keep this file from ending.
    await lab.stop();
  }
}

async function cutIn(
  lab: ClusterLab,
  at: number,
  again: number,
  rule: LossRule,
  random: () => number,
): Promise<number> {
  const disk = new MemoryDisk();
  lab.disks.set(1, disk);
  disk.crashAt(at);
  let outcome: Outcome = { allowed: [new Map()], revision: 0 };
  if (await started(lab, disk)) outcome = await work(lab);
  const operations = disk.operations;
  await crash(lab, disk, rule, random);
  if (again > 0) {
    disk.crashAt(again);
    await started(lab, disk);
    await crash(lab, disk, rule, random);
  }
  assert.ok(await started(lab, disk), 'the node starts again');
  const { store, node } = lab.node(1);
  const status = node.service.status();
  assert.ok(status.revision >= outcome.revision, `revision ${status.revision} after ${outcome.revision}`);
  const found = await contentOf(store);
  if (!outcome.allowed.some((model) => same(model, found))) {
    assert.equal([...found.entries()].map(short), [...outcome.allowed[0]!.entries()].map(short));
    assert.unreachable('the content is neither what was acknowledged nor what was under way');
  }
  await store.put('after', 'the crash');
  await lab.stopNode(1);
  const { damages } = await checkDirectory(disk, 'node-1', () => undefined);
  assert.equal(damages, []);
  return operations;
}

const short = ([key, value]: [string, string]): string => `${key}=${value.slice(0, 8)}#${value.length}`;

test('a power cut at any operation of the disk loses nothing that was acknowledged', async () => {
  const total = await cutAt(Number.MAX_SAFE_INTEGER, 0, 'none', 1);
  assert.ok(total > 150, `${total} operations: too few to show anything`);
  const started = performance.now();
  let runs = 0;
  // Spread over the whole work first, closer and closer; again with another rule when every operation was met.
  const spread = (at: number): number => (at * 0.618034) % 1;
  const order = Array.from({ length: total }, (_, i) => i + 1).sort((a, b) => spread(a) - spread(b));
  for (; performance.now() - started < BUDGET_MS; runs++) {
    const at = order[runs % total]!;
    const rule = LOSS_RULES[(runs + Math.floor(runs / total)) % LOSS_RULES.length]!;
    const again = runs % 3 === 0 ? 1 + (runs % 17) : 0;
    try {
      await cutAt(at, again, rule, runs);
    } catch (error) {
      console.error(
        `power cut at operation ${at} of ${total}, again at ${again}, rule ${rule}, seed ${runs}`,
      );
      // The test runner trips over the details of a KvError.
      throw new Error(String((error as Error).stack), { cause: error });
    }
  }
  if (process.env['KVORUM_VERBOSE'] !== undefined) console.log(`${runs} power cuts over ${total} operations`);
  assert.ok(runs >= Math.min(total, 20), `only ${runs} power cuts`);
});

test('the work that is cut short covers flushes to the tree, log cuts and compaction', async () => {
  const disk = new MemoryDisk();
  const lab = ClusterLab.create(1, CONFIG, HURRY);
  lab.disks.set(1, disk);
  let removedTables = 0;
  disk.observer = {
    operation: (operation, path) => {
      if (operation === 'remove' && path.endsWith('.kvt')) removedTables++;
    },
  };
  try {
    await started(lab, disk);
    await work(lab);
    const { compactRevision } = lab.node(1).node.service.status();
    assert.ok(compactRevision > 0, 'history was compacted');
    const segmentNumbers = async (): Promise<number[]> =>
      (await disk.list('node-1/log')).map((name) => Number.parseInt(name, 16));
    await until(async () => Math.min(...(await segmentNumbers())) > 1, 'the log to be cut');
    await until(() => (disk.counts.get('rename') ?? 0) >= 2, 'a checkpoint or a table beside the identity');
    await until(() => removedTables > 0, 'tables to be merged, and removed');
  } finally {
    await lab.stop();
  }
});

test.run();
