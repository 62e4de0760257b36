/**
 * A client whose session the nodes had forgotten got SESSION_EXPIRED for every write from then on: the refusal came as a result, and only a thrown one made the store open another session.
 * For the same reason a write whose first attempt may have been applied was reported as certainly not applied.
 */

import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import { World } from '../../../src/sim/world.ts';
import { test } from '../../suite.ts';

function oneSession(seed: number): World {
  return new World({ seed, nodes: 1, config: { limits: { maxSessions: 1, sessionIdleMs: 1_000 } } });
}

test('a client whose session was forgotten goes on under a new one', async () => {
  const world = oneSession(1);
  await world.run(async () => {
    await world.start();
    const a = world.client('a').store;
    const b = world.client('b').store;
    await a.put('k', '1');
    await world.sleep(1_100);
    await b.put('k', '2');
    await world.sleep(1_100);
    const { revision } = await a.put('k', '3');
    assert.is(revision, 4);
    await world.sleep(1_100);
    assert.equal(await b.touch('k', { ttlMs: 0 }), true);
  });
  world.close();
});

test('a write that may have been applied before its session was forgotten says so, and is not sent again', async () => {
  const world = oneSession(2);
  await world.run(async () => {
    await world.start();
    const a = world.client('a').store;
    const b = world.client('b').store;
    await a.put('k', '1');
    // The answer does not come through; meanwhile the session is idle for long enough to make room for another.
    world.setClientLink('a', 1, 'from', { blocked: true });
    const outcome = a.put('k', '2', { timeoutMs: 10_000 }).then(
      () => undefined,
      (error: unknown) => error,
    );
    await world.sleep(1_500);
    await b.put('other', '1');
    world.resetClient('a', 1);
    world.setClientLink('a', 1, 'from', {});
    const error = await outcome;
    assert.instance(error, KvError);
    if (!(error instanceof KvError)) return;
    assert.is(error.code, 'SESSION_EXPIRED');
    assert.is(error.maybeApplied, true);
    assert.is((await b.getEntry('k'))?.version, 2);
  });
  world.close();
});

test.run();
