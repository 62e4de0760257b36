/** The example of docs/testing_your_app.md, run: the simulator finds what is wrong with the naive lock, and nothing in the fenced one. */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { KvError, type Store } from '../../../src/index.ts';
import { World } from '../../../src/sim.ts';
import { test } from '../../suite.ts';
import { addFenced, addNaively, type Sleep } from './locks.ts';

type Add = (store: Store, owner: string, sleep: Sleep) => Promise<unknown>;

interface Counted {
  /** Additions that were answered with success. */
  readonly added: number;
  /** Those whose outcome their client never learned. */
  readonly unknown: number;
  /** What the store says in the end. */
  readonly stored: number;
}

/** Three clients count under the lock while one after another is paused and a node is cut off. */
async function count(seed: number, add: Add): Promise<Counted> {
  const world = new World({ seed, nodes: 3 });
  const random = world.random.fork('example');
  try {
    return await world.run(async () => {
      await world.start();
      const clients = ['a', 'b', 'c'].map((name) => world.client(name));
      let added = 0;
      let unknown = 0;
      const work = clients.map(async ({ name, store, process }) => {
        for (let i = 0; i < 5; i++) {
          try {
            if ((await add(store, `${name}${i}`, (ms) => process.sleep(ms))) !== false) added++;
          } catch (error) {
            if (!(error instanceof KvError)) throw error;
            unknown++;
          }
        }
      });
      const cut = random.int(1, 3);
      world.partition(
        [cut],
        [1, 2, 3].filter((id) => id !== cut),
      );
      for (let i = 0; i < 3; i++) {
        await world.sleep(random.between(0, 500));
        const { process } = clients[random.int(0, 2)]!;
        process.pause();
        await world.sleep(random.between(1_000, 4_000));
        process.resume();
      }
      world.heal();
      await Promise.all(work);
      const value = await clients[0]!.store.get('counter');
      return { added, unknown, stored: Number(Buffer.from(value ?? [])) };
    });
  } finally {
    world.close();
  }
}

const SEEDS = 20;

test('the naive lock loses an addition', async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { added, stored } = await count(seed, addNaively);
    if (stored < added) return;
  }
  assert.unreachable('the simulator found nothing');
});

test('the fenced lock loses none', async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { added, unknown, stored } = await count(seed, addFenced);
    assert.ok(stored >= added && stored <= added + unknown, `seed ${seed}: ${stored} stored of ${added}`);
  }
});

test('the page shows this code', () => {
  const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', '..');
  const page = readFileSync(join(root, 'docs', 'testing_your_app.md'), 'utf8');
  const source = readFileSync(join(root, 'test', 'sim', 'your_app', 'locks.ts'), 'utf8');
  for (const name of ['addNaively', 'addFenced']) {
    const from = source.indexOf(`export async function ${name}`);
    const code = source.slice(from, source.indexOf('\n}\n', from) + 2);
    assert.ok(page.includes(code), `docs/testing_your_app.md shows another ${name}`);
  }
});

test.run();
