/** A process that is stopped for a while and wakes: what it says then must be as fresh as what it promises. */

import * as assert from 'uvu/assert';
import type { KvError } from '../../src/errors.ts';
import { test } from '../suite.ts';
import { ClusterLab, text, until } from './cluster_lab.ts';

const SLEEP_MS = 500;
const nap = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** undefined: refused. */
async function read(
  store: { get(key: string, options: object): Promise<Uint8Array | undefined> },
  level: string,
): Promise<string | undefined> {
  return store.get('x', { level, timeoutMs: 2_000 }).then(text, (error: KvError) => {
    assert.ok(error.retryable, error.message);
    return undefined;
  });
}

for (const who of ['leader', 'follower'] as const) {
  for (const first of ['timers', 'frames'] as const) {
    test(`a ${who} that slept for longer than an election answers no stale read, with its ${first} first`, async () => {
      const lab = await ClusterLab.start(3);
      try {
        const leader = await lab.leader();
        await leader.store.put('x', 'old');
        const sleeper = who === 'leader' ? leader : lab.follower(leader);
        await until(
          async () => text(await sleeper.store.get('x', { level: 'eventual' })) === 'old',
          'x to arrive',
        );
        const awake = [...lab.nodes.values()].find(({ id }) => id !== sleeper.id && id !== leader.id)!;
        lab.sleep(sleeper.id);
        await nap(SLEEP_MS);
        await until(
          () =>
            awake.store.put('x', 'new', { timeoutMs: 300 }).then(
              () => true,
              () => false,
            ),
          'the others to go on',
        );
        // Asked in the very turn in which it wakes, before and after, again and again while it finds out.
        const answers = ['linearizable', 'sequential'].map((level) => read(sleeper.store, level));
        lab.wake(sleeper.id, first);
        for (let i = 0; i < 40; i++) {
          for (const level of ['linearizable', 'sequential']) answers.push(read(sleeper.store, level));
          await nap(i < 20 ? 0 : 5);
        }
        for (const answer of await Promise.all(answers))
          assert.ok(answer === undefined || answer === 'new', `a stale answer: ${answer}`);
        await until(
          async () => (await read(sleeper.store, 'sequential')) === 'new',
          'sequential reads to go on',
        );
        await until(async () => (await read(sleeper.store, 'linearizable')) === 'new', 'reads to go on');
      } finally {
        await lab.stop();
      }
    });
  }
}

test('a node that slept and finds itself cut off answers neither', async () => {
  const lab = await ClusterLab.start(3);
  try {
    const leader = await lab.leader();
    await leader.store.put('x', 'old');
    const sleeper = lab.follower(leader);
    const others = [...lab.nodes.keys()].filter((id) => id !== sleeper.id);
    lab.sleep(sleeper.id);
    await nap(SLEEP_MS);
    await leader.store.put('x', 'new');
    for (const other of others) lab.network.setLink(other, sleeper.id, { blocked: true });
    sleeper.ports.wake();
    for (let i = 0; i < 30; i++) {
      const started = read(sleeper.store, 'sequential');
      assert.not.equal(await Promise.race([started, nap(5).then(() => 'no answer yet')]), 'old');
      await nap(2);
    }
    lab.network.heal();
    await until(async () => (await read(sleeper.store, 'sequential')) === 'new', 'reads to go on');
  } finally {
    await lab.stop();
  }
});

test.run();
