/** A store of one node whose disk is damaged has nobody to ask: it refuses to start, or answers that it cannot tell; it never answers with something else than was written. */

import * as assert from 'uvu/assert';
import { isDamage, KvError } from '../../src/errors.ts';
import { SeededRandom } from '../../src/sim/core/seeded_random.ts';
import { type DamageStep, damageDisk } from '../../src/sim/faults/disk_damage.ts';
import { World } from '../../src/sim/world.ts';
import { test } from '../suite.ts';

const KEYS = 40;
const SEEDS = Number(process.env['KVORUM_DAMAGE_SEEDS'] ?? 16);

function drawDamage(random: SeededRandom): DamageStep {
  const common = {
    id: 0,
    atMs: 0,
    durationMs: 0,
    node: 1,
    area: random.pick(['tree', 'tree', 'log', 'identity', 'snapshots'] as const),
    file: random.next(),
  };
  switch (random.int(0, 4)) {
    case 0:
    case 1:
      return { ...common, kind: 'bitRot', place: random.next(), mask: 1 << random.int(0, 7) };
    case 2:
      return {
        ...common,
        kind: 'misdirectedWrite',
        place: random.next(),
        from: random.next(),
        bytes: random.int(8, 4_096),
      };
    case 3:
      return { ...common, kind: 'truncation', place: random.next() };
    default:
      return { ...common, kind: 'lostFile' };
  }
}

/** What becomes of a store with damage: refused, partly (some reads fail), whole. */
async function outcomeOf(seed: number): Promise<string> {
  const world = new World({ seed, nodes: 1 });
  const random = new SeededRandom(seed).fork('damage');
  const written = new Map<string, string>();
  const outcome = await world.run(async () => {
    await world.start();
    const { store } = world.client('writer');
    for (let i = 0; i < 300; i++) {
      const key = `key-${random.int(0, KEYS - 1)}`;
      const value = `${seed}/${i}/`.padEnd(random.int(10, 4_000), String.fromCharCode(97 + (i % 26)));
      await store.put(key, value);
      written.set(key, value);
    }
    world.crash(1, 'all');
    const what = await damageDisk(world.disk(1).memory, world.node(1).path, drawDamage(random));
    if (what === undefined) return 'nothing to damage';
    try {
      await world.startNode(1);
    } catch (error) {
      assert.ok(isDamage(error), `${what}: ${String(error)}`);
      return 'refused';
    }
    return readAll(world, written, what);
  });
  world.close();
  return outcome;
}

async function readAll(world: World, written: ReadonlyMap<string, string>, what: string): Promise<string> {
  const { store } = world.client('reader');
  let unknown = 0;
  for (const [key, value] of written) {
    try {
      const bytes = await store.get(key, { timeoutMs: 3_000 });
      assert.is(
        bytes === undefined ? undefined : new TextDecoder().decode(bytes),
        value,
        `${key} after ${what}`,
      );
    } catch (error) {
      if (!(error instanceof KvError)) throw error;
      // A node that cannot apply an entry, because what it must read is damaged, ends.
      assert.ok(
        ['CORRUPT', 'UNAVAILABLE', 'TIMEOUT', 'NO_LEADER'].includes(error.code),
        `${key} after ${what}: ${error.code}`,
      );
      unknown++;
    }
  }
  return unknown === 0 ? 'whole' : 'partly';
}

test('what a damaged store alone answers is what was written, or that it cannot tell', async () => {
  const outcomes = new Map<string, number>();
  for (let seed = 1; seed <= SEEDS; seed++) {
    const outcome = await outcomeOf(seed);
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  }
  assert.ok((outcomes.get('refused') ?? 0) > 0, JSON.stringify([...outcomes]));
});

test.run();
