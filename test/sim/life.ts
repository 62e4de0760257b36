/**
 * A short life of a simulated cluster with a little of everything in it, for its trace hash.
 *
 *     node build/test/sim/life.js SEED ...     prints the hash of each
 */
import { fileURLToPath } from 'node:url';
import { KvError } from '../../src/errors.ts';
import type { TraceEvent } from '../../src/sim/core/trace.ts';
import { World } from '../../src/sim/world.ts';

/** What may happen to a call while nodes crash and links are cut. */
async function tried(call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (!(error instanceof KvError)) throw error;
  }
}

async function live(world: World): Promise<void> {
  await world.start();
  const clients = ['client-1', 'client-2', 'client-3'].map((name) =>
    world.client(name, { timeoutMs: 2_000 }),
  );
  const random = world.random.fork('life');
  const work = clients.map(async ({ store }) => {
    for (let i = 0; i < 60; i++) {
      const key = `key-${random.int(0, 20)}`;
      const kind = random.int(0, 4);
      if (kind === 0) await tried(store.get(key));
      else if (kind === 1) await tried(store.delete(key));
      else await tried(store.put(key, `${i}-${'x'.repeat(random.int(0, 2_000))}`));
    }
  });
  await world.sleep(20);
  const follower = world.running().find((node) => node !== world.leader())!;
  world.setLink(follower.id, world.leader()!.id, { duplicateRate: 0.2, reorderRate: 0.2, dropRate: 0.1 });
  await world.sleep(100);
  world.crash(follower.id, 'random');
  await world.sleep(300);
  world.setClock(1, { offsetMs: 5_000, rate: 1.01 });
  await tried(world.startNode(follower.id));
  const { id } = await world.untilLeader();
  world.partition(
    [id],
    [1, 2, 3].filter((other) => other !== id),
  );
  await world.sleep(1_500);
  world.heal();
  world.pause(follower.id);
  await world.sleep(700);
  world.resume(follower.id);
  await Promise.all(work);
  await tried(world.addMember());
  await world.sleep(500);
  world.crash(1, 'torn1');
  await world.sleep(100);
  await tried(world.startNode(1));
  await world.sleep(1_000);
  for (const client of clients) await client.close();
}

export async function hashOfLife(seed: number, options: { readonly record?: boolean } = {}): Promise<string> {
  const world = new World({ seed, ...options });
  await world.run(() => live(world), { deadlineMs: 120_000 });
  world.close();
  return world.trace.hash;
}

/** All that happened in a life. */
export async function eventsOfLife(seed: number): Promise<readonly TraceEvent[]> {
  const world = new World({ seed, record: true });
  await world.run(() => live(world), { deadlineMs: 120_000 });
  world.close();
  return world.trace.events;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const seed of process.argv.slice(2)) console.log(await hashOfLife(Number(seed)));
}
