/**
 * Real nodes under random faults: partitions of all kinds, power cuts with every kind of loss, full disks, slow and lossy links, stopped processes, changing
 * members and leaders, all at once. Clients read and write all the while.
 *
 * KVORUM_SEED makes a plan again; KVORUM_CHAOS_MS makes it longer; KVORUM_ROUNDS runs so many seeds one after the other.
 */

import * as assert from 'uvu/assert';
import { checkHistory } from '../../src/sim/check/linearizability.ts';
import { resultText } from '../../src/sim/check/report.ts';
import { test } from '../suite.ts';
import { Chaos, seeded } from './chaos.ts';
import { ClusterLab, text, until } from './cluster_lab.ts';
import { RegisterClients } from './register_clients.ts';
import { assertSameState, eventsOf } from './state_dump.ts';

const ROUNDS = Number(process.env['KVORUM_ROUNDS'] ?? 4);
const DURATION_MS = Number(process.env['KVORUM_CHAOS_MS'] ?? 9_000);
const FIRST_SEED = Number(process.env['KVORUM_SEED'] ?? Math.floor(Math.random() * 1e9));
const MIB = 1024 * 1024;

const rejections: unknown[] = [];
process.on('unhandledRejection', (reason) => rejections.push(reason));

/** A watcher that wanders between nodes must see every event once and in order. */
function follow(clients: RegisterClients): {
  readonly seen: string[];
  lastRevision(): number;
  stop(): Promise<void>;
} {
  const seen: string[] = [];
  const end = new AbortController();
  let last = 0;
  const done = (async () => {
    try {
      for await (const event of clients.store().watch({ fromRevision: 1, signal: end.signal })) {
        const value = text(event.value) ?? '';
        seen.push(
          `${event.revision} ${event.type} ${text(event.key)} ${value.slice(0, 24)}#${value.length} ${event.createRevision} ${event.version}`,
        );
        last = event.revision;
      }
    } catch (error) {
      if (!end.signal.aborted) throw error;
    }
  })();
  done.catch(() => undefined);
  return {
    seen,
    lastRevision: () => last,
    stop: () => {
      end.abort();
      return done;
    },
  };
}

async function round(seed: number): Promise<string> {
  const random = seeded(seed);
  const lab = await ClusterLab.start(3 + Math.floor(random() * 2), {
    storage: { checkpointLogBytes: MIB, logRetainBytes: 0 },
    node: { requestTimeoutMs: 1_000 },
  });
  const chaos = new Chaos(lab, random);
  const clients = new RegisterClients(lab, random, 3_000);
  const watcher = follow(clients);
  try {
    clients.start(6);
    await chaos.run(DURATION_MS);
    const members = await chaos.heal();
    await clients.stop();
    const failed = [...lab.nodes.values()].filter(({ ended }) => ended.is);
    assert.equal(
      failed.map(({ id, ended }) => [id, ended.reason]),
      [],
      'nodes that ended by themselves',
    );
    const revision = await assertSameState(lab, members);
    for (const { key, history } of clients.registers) {
      const result = checkHistory(history, { model: 'cas-register' });
      if (result.verdict !== 'linearizable')
        console.error(`${JSON.stringify(history)}\n${resultText(result)}`);
      assert.is(result.verdict, 'linearizable', key);
    }
    const events = await eventsOf(lab.node(members[0]!), 1, revision);
    assertWrittenOnce(events, clients);
    await until(() => watcher.lastRevision() >= revision, 'the watcher to see everything');
    assert.equal(watcher.seen, events, 'the events that a wandering watcher saw');
    await watcher.stop();
    return `${clients.operations} operations on ${clients.registers.length} registers, ${revision} revisions, ${chaos.log.length} steps`;
  } catch (error) {
    console.error(`seed ${seed}\n${chaos.log.join('\n')}`);
    throw error;
  } finally {
    await watcher.stop().catch(() => undefined);
    await lab.stop();
  }
}

/** Every acknowledged write is in the history at the revision it was told, and no value is there twice. */
function assertWrittenOnce(events: readonly string[], clients: RegisterClients): void {
  const values = new Map<string, number>();
  for (const event of events) {
    const [revision, , , shown] = event.split(' ');
    const value = shown!.split('.')[0]!;
    assert.not(
      values.has(value),
      `value ${value} was written at ${values.get(value)} and again at ${revision}`,
    );
    values.set(value, Number(revision));
  }
  for (const { key, value, revision } of clients.acknowledged)
    assert.is(values.get(value), revision, `the acknowledged write of ${value} to ${key}`);
}

for (let i = 0; i < ROUNDS; i++) {
  const seed = FIRST_SEED + i;
  test(`seed ${seed}: linearizable, nothing lost, nothing twice, all nodes equal, no watch with a gap`, async () => {
    const summary = await round(seed);
    assert.equal(rejections, [], 'promises rejected with nobody to see it');
    if (process.env['KVORUM_VERBOSE'] !== undefined) console.log(`seed ${seed}: ${summary}`);
  });
}

test.run();
