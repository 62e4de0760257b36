/**
 * Rights that come and go while users write, read and watch and nodes crash and are cut off: nothing goes through without a right at its moment.
 *
 * The administrator withdraws a right, waits for the answer, and writes a mark; later it writes another and grants the right again. Between the revisions of the two marks the user has no right:
 * a write of the user's with such a revision, a read that was begun and answered in that time, an event of such a revision, each is a violation. That the checker sees one is shown on a store that
 * does not look at rights when it applies.
 */

import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { StateMachine } from '../../src/kv/state_machine.ts';
import { type SimClient, World } from '../../src/sim.ts';
import { test } from '../suite.ts';

const ROUNDS = 6;

interface Seen {
  /** Revisions between which the user had no right. */
  readonly denied: [number, number][];
  readonly written: number[];
  readonly watched: number[];
  /** Reads that were begun and answered while there was no right. */
  readsDenied: number;
  refusals: number;
}

/** Repeats what a fault cut short. `done`: refusals that say that an attempt before has done it. */
async function insist<T>(
  world: World,
  done: string | undefined,
  run: () => Promise<T>,
): Promise<T | undefined> {
  for (;;) {
    try {
      return await run();
    } catch (error) {
      if (!(error instanceof KvError)) throw error;
      if (error.code === done) return undefined;
      if (!error.retryable && !error.maybeApplied) throw error;
      await world.sleep(20);
    }
  }
}

async function setUp(world: World): Promise<void> {
  const { auth } = world.client('first').store;
  await insist(world, 'USER_EXISTS', () => auth.addUser('root', 'r'));
  await insist(world, undefined, () => auth.grantRole('root', 'root'));
  await insist(world, 'USER_EXISTS', () => auth.addUser('ann', 'a'));
  await insist(world, 'ROLE_EXISTS', () => auth.addRole('app'));
  await insist(world, undefined, () => auth.grantRole('ann', 'app'));
  await insist(world, undefined, () => auth.grant('app', 'readwrite', { prefix: 'a/' }));
  // Once it is done this client has no name any more.
  await insist(world, 'USER_EMPTY', () => auth.enable());
}

class Scenario {
  readonly seen: Seen = { denied: [], written: [], watched: [], readsDenied: 0, refusals: 0 };
  private going = true;
  /** Odd while the user has no right. */
  private epoch = 0;
  private readonly world: World;

  constructor(world: World) {
    this.world = world;
  }

  async run(): Promise<void> {
    const { world } = this;
    const root = world.client('root', { user: 'root', password: 'r' });
    const users = ['ann1', 'ann2', 'ann3'].map((name) => world.client(name, { user: 'ann', password: 'a' }));
    const work = [
      ...users.map((client) => this.write(client)),
      this.read(users[0] as SimClient),
      this.watch(users[1] as SimClient),
      this.disturb(),
    ];
    for (let round = 0; round < ROUNDS; round++) await this.takeAndGive(root);
    this.going = false;
    world.heal();
    await Promise.all(work);
  }

  private async takeAndGive({ store }: SimClient): Promise<void> {
    const { world } = this;
    const random = world.random.fork(`round ${this.epoch}`);
    await world.sleep(random.between(50, 400));
    await insist(world, 'PERMISSION_NOT_GRANTED', () => store.auth.revoke('app', { prefix: 'a/' }));
    this.epoch++;
    const from = await insist(world, undefined, () => store.put('a/mark', 'taken'));
    await world.sleep(random.between(50, 400));
    const to = await insist(world, undefined, () => store.put('a/mark', 'given'));
    this.epoch++;
    if (from !== undefined && to !== undefined) this.seen.denied.push([from.revision, to.revision]);
    await insist(world, undefined, () => store.auth.grant('app', 'readwrite', { prefix: 'a/' }));
  }

  private async write({ name, store, process }: SimClient): Promise<void> {
    for (let i = 0; this.going; i++) {
      try {
        const { revision } = await store.put(`a/${name}`, `${i}`, { timeoutMs: 2_000 });
        this.seen.written.push(revision);
      } catch (error) {
        if (!(error instanceof KvError)) throw error;
        this.seen.refusals += error.code === 'PERMISSION_DENIED' ? 1 : 0;
        await process.sleep(5);
      }
    }
  }

  private async read({ store, process }: SimClient): Promise<void> {
    while (this.going) {
      const epoch = this.epoch;
      try {
        await store.get('a/mark', { timeoutMs: 2_000 });
        if (epoch % 2 === 1 && epoch === this.epoch) this.seen.readsDenied++;
      } catch (error) {
        if (!(error instanceof KvError)) throw error;
      }
      await process.sleep(3);
    }
  }

  private async watch({ store, process }: SimClient): Promise<void> {
    while (this.going) {
      const abort = new AbortController();
      const timer = this.world.ports.timers.every(100, () => {
        if (!this.going) abort.abort();
      });
      const epoch = this.epoch;
      try {
        for await (const { revision } of store.watch({
          prefix: 'a/',
          signal: abort.signal,
          timeoutMs: 2_000,
        })) {
          // One that begins later may be told of that time.
          if (epoch === this.epoch || epoch + 1 === this.epoch) this.seen.watched.push(revision);
        }
      } catch (error) {
        if (!(error instanceof KvError)) throw error;
      }
      timer.cancel();
      await process.sleep(10);
    }
  }

  private async disturb(): Promise<void> {
    const { world } = this;
    const random = world.random.fork('faults');
    while (this.going) {
      await world.sleep(random.between(100, 500));
      const id = random.int(1, 3);
      if (random.int(0, 1) === 0) {
        world.crash(id);
        await world.sleep(random.between(50, 300));
        await world.startNode(id);
      } else {
        world.partition(
          [id],
          [1, 2, 3].filter((other) => other !== id),
        );
        await world.sleep(random.between(100, 800));
        world.heal();
      }
    }
  }
}

async function scenario(seed: number): Promise<Seen> {
  const world = new World({ seed, nodes: 3 });
  try {
    return await world.run(async () => {
      await world.start();
      await setUp(world);
      const one = new Scenario(world);
      await one.run();
      return one.seen;
    });
  } finally {
    world.close();
  }
}

/** Revisions, of writes or events, that lie in a time without a right. */
function violations({ denied }: Seen, revisions: readonly number[]): number[] {
  return revisions.filter((revision) => denied.some(([from, to]) => revision > from && revision < to));
}

test('nothing goes through without a right at its moment', async () => {
  let refusals = 0;
  for (let seed = 1; seed <= 3; seed++) {
    const seen = await scenario(seed);
    assert.is(seen.denied.length, ROUNDS);
    assert.ok(seen.written.length > 20 && seen.watched.length > 5, `seed ${seed}: the user worked`);
    assert.equal(violations(seen, seen.written), [], `seed ${seed}: writes`);
    assert.equal(violations(seen, seen.watched), [], `seed ${seed}: events`);
    assert.is(seen.readsDenied, 0, `seed ${seed}: reads`);
    refusals += seen.refusals;
  }
  assert.ok(refusals > 20, `${refusals} writes were refused`);
});

test('a store that does not look at rights when it applies is found out', async () => {
  const { apply } = StateMachine.prototype;
  StateMachine.prototype.apply = function (context, command) {
    const { read, write } = this.auth.rightsOf('');
    this.auth.rightsOf = () => ({ root: true, read, write });
    try {
      return apply.call(this, context, command);
    } finally {
      Reflect.deleteProperty(this.auth, 'rightsOf');
    }
  };
  try {
    for (let seed = 1; seed <= 10; seed++) {
      const seen = await scenario(seed);
      if (violations(seen, seen.written).length > 0) return;
    }
  } finally {
    StateMachine.prototype.apply = apply;
  }
  assert.unreachable('nothing was found');
});

test.run();
