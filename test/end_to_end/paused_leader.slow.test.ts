/** A leader that is stopped for five seconds and wakes (a paused virtual machine, a long collection) must neither answer stale reads nor lose writes. */

import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { connect, type Store } from '../../src/index.ts';
import { test } from '../suite.ts';
import {
  endAll,
  endWithTest,
  eventually,
  localBasePort,
  signal,
  startLocal,
  statusOf,
  temporaryDirectory,
} from './processes.ts';
import { contents, RecordedWriter } from './recorded_writer.ts';

const PAUSE_MS = 5_000;

test('a leader that slept 5 s gives no stale linearizable read and no acknowledged write is lost', async () => {
  const cluster = await startLocal(3, temporaryDirectory(), await localBasePort(3));
  const leader = (await statusOf(cluster.endpoints)).find(({ role }) => role === 'leader')!;
  endWithTest(leader.pid);
  const writer = await RecordedWriter.start(cluster.endpoints);
  const mark = await connect({ endpoints: cluster.endpoints.filter((e) => e !== leader.endpoints[0]) });
  // Connected to the leader alone, and with reads under way when it falls asleep.
  const reader = await connect({ endpoints: [leader.endpoints[0]!], timeoutMs: 20_000 });
  await mark.put('mark', '0');
  await eventually('writes', () => (writer.acknowledged > 300 ? true : undefined));

  writer.takeLongestPauseMs();
  const asleepMs = performance.now();
  signal(leader.pid, 'SIGSTOP');
  const earlyReads = Array.from({ length: 20 }, () => read(reader));
  let marked = 0;
  while (performance.now() - asleepMs < PAUSE_MS) {
    try {
      await mark.put('mark', String(marked + 1));
      marked++;
    } catch (error) {
      if (!(error instanceof KvError && error.retryable)) throw error;
    }
  }
  const pauseMs = writer.takeLongestPauseMs();
  assert.ok(marked > 0, 'the others elected a leader and took writes meanwhile');
  const floor = marked;
  signal(leader.pid, 'SIGCONT');
  const lateReads = Array.from({ length: 50 }, () => read(reader));
  // Begun after the mark was acknowledged: each must see it. Those begun earlier may be anywhere between.
  for (const value of await Promise.all(lateReads)) {
    if (value !== undefined) assert.ok(value >= floor, `read ${value} after ${floor} was acknowledged`);
  }
  for (const value of await Promise.all(earlyReads)) {
    if (value !== undefined) assert.ok(value >= 0 && value <= floor);
  }
  await eventually('the sleeper to follow the new leader', async () => {
    const own = (await statusOf(cluster.endpoints)).find(({ id }) => id === leader.id);
    return own !== undefined && own.term > leader.term ? own : undefined;
  });
  assert.ok(((await eventually('a read', () => read(reader))) ?? 0) >= floor);
  await writer.stop();
  await writer.verify();
  await eventually('all nodes to hold the same', async () => {
    const [one, two, three] = await Promise.all(cluster.endpoints.map((endpoint) => contents(endpoint)));
    const same = JSON.stringify(one) === JSON.stringify(two) && JSON.stringify(one) === JSON.stringify(three);
    return same ? true : undefined;
  });
  console.log(`pause of the writer: ${Math.round(pauseMs)} ms; acknowledged: ${writer.acknowledged}`);
  assert.ok(pauseMs < 3_000, `the writer waited ${pauseMs} ms`);
  await Promise.all([writer.close(), mark.close(), reader.close()]);
  await cluster.command.stop();
});

/** A linearizable read; undefined when it failed in a way that allows another attempt: that is no stale read. */
async function read(store: Store): Promise<number | undefined> {
  try {
    return Number(new TextDecoder().decode(await store.get('mark')));
  } catch (error) {
    if (error instanceof KvError && error.retryable) return undefined;
    throw error;
  }
}

test.after(endAll);

test.run();
