/**
 * Found by seed 31 (users whose passwords are changed, long lulls): a watch that was told nothing for a while, and whose user's password was changed ten times meanwhile, ended with
 * UNAUTHENTICATED; and by seeds 91, 166 and 199, where they were changed in quick succession. Each change ends the stream once, which the client mends by naming itself anew; it counted these together with every other end since the last event, and gave up.
 */

import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import { World } from '../../../src/sim.ts';
import { test } from '../../suite.ts';

for (const [changes, pauseMs] of [
  // So long that the watch is named anew before the next one.
  [15, 5_000],
  // So short that another node would have to be told the name as well, had it been turned to.
  [80, 150],
] as const) {
  test(`a quiet watch goes on though the password of its user is changed every ${pauseMs} ms`, () =>
    watchOn(changes, pauseMs));
}

async function watchOn(changes: number, pauseMs: number): Promise<void> {
  const world = new World({ seed: 31, nodes: 3 });
  try {
    await world.run(async () => {
      await world.start();
      const { auth } = world.client('first').store;
      await auth.addUser('root', 'r');
      await auth.grantRole('root', 'root');
      await auth.enable();
      const watcher = world.client('watcher', { user: 'root', password: 'r' }).store;
      const seen: number[] = [];
      let code = '';
      const stop = new AbortController();
      const watching = (async (): Promise<void> => {
        try {
          for await (const { revision } of watcher.watch({ prefix: 'a/', signal: stop.signal }))
            seen.push(revision);
        } catch (error) {
          code = error instanceof KvError ? error.code : String(error);
        }
      })();
      const writer = world.client('writer', { user: 'root', password: 'r' }).store;
      const first = await writer.put('a/1', '1');
      await world.until(() => seen.includes(first.revision), 'the first event');
      for (let at = 0; at < changes; at++) {
        await writer.auth.changePassword('root', 'r');
        await world.sleep(pauseMs);
      }
      const last = await writer.put('a/2', '2');
      await world.until(() => code !== '' || seen.includes(last.revision), 'the last event');
      assert.is(code, '');
      assert.equal(seen, [first.revision, last.revision]);
      stop.abort();
      await watching;
    });
  } finally {
    world.close();
  }
}

test.run();
