/** Virtual time, processes and chance: what the simulated world stands on. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { Scheduler, SimulationError } from '../../src/sim/core/scheduler.ts';
import { SeededRandom } from '../../src/sim/core/seeded_random.ts';
import { MachineClock, SimProcess, WORLD_BEGINS_MS } from '../../src/sim/core/sim_process.ts';
import { test } from '../suite.ts';

function processOf(scheduler: Scheduler, clock = new MachineClock(scheduler, 1_000)): SimProcess {
  return new SimProcess('p', scheduler, clock, new SeededRandom(1));
}

/** The error of a drive. */
async function failureOf(drive: Promise<unknown>): Promise<Error> {
  try {
    await drive;
  } catch (error) {
    assert.instance(error, Error);
    return error as Error;
  }
  throw new Error('the drive has not failed');
}

test('events run by time, then in the order in which they were asked for', async () => {
  const scheduler = new Scheduler();
  const ran: string[] = [];
  await scheduler.drive(
    () =>
      new Promise((resolve) => {
        scheduler.after(5, () => ran.push('c'));
        scheduler.after(1, () => ran.push('a'));
        scheduler.after(1, () => ran.push('b'));
        scheduler.after(6, () => resolve(undefined));
      }),
  );
  assert.equal(ran, ['a', 'b', 'c']);
  assert.is(scheduler.nowMs, 6);
});

test('property: whatever events schedule, the order is that of time, then of being asked for', async () => {
  const delay = fc.constantFrom(0, 0, 0, 1, 2, 2.5);
  const children = fc.array(fc.array(delay, { maxLength: 4 }), { minLength: 1, maxLength: 60 });
  await fc.assert(
    fc.asyncProperty(children, async (given) => {
      const scheduler = new Scheduler();
      const asked: { atMs: number; nth: number }[] = [];
      const ran: number[] = [];
      let scheduledBy = 0;
      const schedule = (delayMs: number): void => {
        const nth = asked.push({ atMs: scheduler.nowMs + delayMs, nth: asked.length }) - 1;
        scheduler.after(delayMs, () => {
          ran.push(nth);
          for (const next of given[scheduledBy++] ?? []) schedule(next);
        });
      };
      await scheduler.drive(
        () =>
          new Promise((resolve) => {
            for (const first of given[scheduledBy++]!) schedule(first);
            scheduler.after(1_000, () => resolve(undefined));
          }),
      );
      const sorted = [...asked].sort((a, b) => a.atMs - b.atMs || a.nth - b.nth);
      assert.equal(
        ran,
        sorted.map(({ nth }) => nth),
      );
      assert.is(scheduler.pending, 0);
    }),
  );
});

test('all that an event sets off by promises has happened before the next event', async () => {
  const scheduler = new Scheduler();
  const ran: string[] = [];
  const chain = async (name: string): Promise<void> => {
    for (let i = 0; i < 20; i++) await undefined;
    ran.push(name);
  };
  await scheduler.drive(
    () =>
      new Promise((resolve) => {
        for (const name of ['a', 'b', 'c']) {
          scheduler.after(1, () => {
            ran.push(`${name} begins`);
            void chain(name);
          });
        }
        scheduler.after(2, () => resolve(undefined));
      }),
  );
  assert.equal(ran, ['a begins', 'a', 'b begins', 'b', 'c begins', 'c']);
});

test('what cannot go on ends: nothing left to happen, time that stands still, bounds, errors, rejections', async () => {
  const never = (): Promise<void> => new Promise(() => undefined);
  assert.match((await failureOf(new Scheduler().drive(never))).message, /nothing is left to happen/);
  const busy = new Scheduler();
  const spin = (): void => void busy.after(0, spin);
  const still = await failureOf(
    busy.drive(() => {
      spin();
      return never();
    }),
  );
  assert.instance(still, SimulationError);
  assert.match(still.message, /time stands still/);
  const ticking = new Scheduler();
  processOf(ticking).ports.timers.every(10, () => undefined);
  assert.match(
    (await failureOf(ticking.drive(never, { maxEvents: 50 }))).message,
    /not done after 50 events/,
  );
  assert.match((await failureOf(ticking.drive(never, { deadlineMs: 5_000 }))).message, /not done by 5000 ms/);
  const throwing = new Scheduler();
  const thrown = throwing.drive(() => {
    throwing.after(1, () => {
      throw new Error('of an event');
    });
    return never();
  });
  assert.match((await failureOf(thrown)).message, /of an event/);
  const rejecting = new Scheduler();
  processOf(rejecting).ports.timers.every(10, () => undefined);
  const rejected = rejecting.drive(() => {
    rejecting.after(1, () => void Promise.reject(new Error('dropped')));
    return never();
  });
  assert.match((await failureOf(rejected)).message, /nobody handled a rejection: dropped/);
});

test('a dead process does nothing any more', async () => {
  const scheduler = new Scheduler();
  const mortal = processOf(scheduler);
  const ran: string[] = [];
  await scheduler.drive(
    () =>
      new Promise((resolve) => {
        const { timers } = mortal.ports;
        timers.every(10, () => ran.push('tick'));
        timers.after(25, () => ran.push('never'));
        scheduler.after(15, () => {
          mortal.kill();
          timers.soon(() => ran.push('never'));
          timers.afterIo(() => ran.push('never'));
        });
        scheduler.after(100, () => resolve(undefined));
      }),
  );
  assert.equal(ran, ['tick']);
});

test('a paused process goes on with what came due, in order, intervals once; its monotonic clock never stopped', async () => {
  const scheduler = new Scheduler();
  const sleepy = processOf(scheduler);
  const ran: string[] = [];
  let cancelled = false;
  await scheduler.drive(
    () =>
      new Promise((resolve) => {
        const { timers, clock } = sleepy.ports;
        timers.every(10, () => ran.push(`tick ${clock.monotonicMs()}`));
        timers.after(25, () => ran.push('once'));
        const gone = timers.after(26, () => {
          cancelled = true;
        });
        timers.after(24, () => gone.cancel());
        scheduler.after(12, () => sleepy.pause());
        scheduler.after(100, () => sleepy.resume());
        scheduler.after(115, () => resolve(undefined));
      }),
  );
  assert.equal(ran, ['tick 1010', 'tick 1100', 'once', 'tick 1110']);
  assert.not.ok(cancelled, 'cancelled by an event that was due before it');
});

test('clocks: the wall clock jumps and drifts, the monotonic one drifts only, and timers follow it', async () => {
  const scheduler = new Scheduler();
  const clock = new MachineClock(scheduler, 1_000);
  const machine = processOf(scheduler, clock);
  await scheduler.drive(async () => {
    assert.is(clock.wallMs(), WORLD_BEGINS_MS);
    await machine.sleep(100);
    clock.set({ offsetMs: -5_000, rate: 2 });
    assert.is(clock.wallMs(), WORLD_BEGINS_MS + 100 - 5_000);
    assert.is(clock.monotonicMs(), 1_100);
    await machine.sleep(100);
    assert.is(scheduler.nowMs, 150, 'its hundred milliseconds are fifty of the world');
    assert.is(clock.monotonicMs(), 1_200);
    assert.is(clock.offsetMs, -5_000 + 50);
  });
});

test('chance: equal seeds, equal streams; forks do not depend on what was drawn', () => {
  const draw = (random: SeededRandom): number[] => Array.from({ length: 5 }, () => random.next());
  assert.equal(draw(new SeededRandom(7)), draw(new SeededRandom('7')));
  assert.not.equal(draw(new SeededRandom(7)), draw(new SeededRandom(8)));
  const drawn = new SeededRandom(7);
  draw(drawn);
  assert.equal(draw(drawn.fork('a')), draw(new SeededRandom(7).fork('a')));
  assert.not.equal(draw(new SeededRandom(7).fork('a')), draw(new SeededRandom(7).fork('b')));
  // The values are part of what a seed means: a change of them makes every kept seed another one.
  const known = draw(new SeededRandom(1)).map((x) => Math.floor(x * 1e6));
  assert.equal(known, [561_910, 250_081, 474_921, 45_221, 486_757]);
  const random = new SeededRandom(3);
  const counts = [0, 0, 0, 0];
  for (let i = 0; i < 40_000; i++) counts[random.int(0, 3)]!++;
  assert.ok(
    counts.every((count) => Math.abs(count - 10_000) < 500),
    String(counts),
  );
  assert.equal(random.shuffled([1, 2, 3, 4]).sort(), [1, 2, 3, 4]);
  assert.throws(() => random.pick([]), RangeError);
});

test.run();
