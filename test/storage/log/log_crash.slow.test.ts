/**
 * The log after power cuts at every operation of the disk: what was acknowledged survives, term and vote never go back, and a log that nobody damaged
 * always opens.
 */

import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import type { Entry, HardState } from '../../../src/raft/types.ts';
import type { SegmentedLog } from '../../../src/storage/log/segmented_log.ts';
import { MemoryDisk } from '../../../src/storage/memory_disk.ts';
import { LOSS_RULES, type LossRule } from '../../../src/storage/memory_disk_nodes.ts';
import { test } from '../../suite.ts';
import { entries, LOG_PATH, openLog, seededRandom, settle, VirtualPorts } from './log_fixture.ts';

/** What somebody was told, and what was asked for since: the log after a crash must lie between the two. */
class Witness {
  hardState: HardState = { term: 0, vote: 0, commit: 0 };
  asked: HardState = this.hardState;
  /** Acknowledged entries by index, and every entry that was ever handed over, as `index:term`. */
  acknowledged = new Map<number, Entry>();
  handedOver = new Map<string, Entry>();
  /** The log starts at the latest after this one; a reset that was asked for but not acknowledged may hold or not. */
  start = 0;
  resetAsked: number | undefined;
  resetDone = 0;
  /** Entries above it may have been replaced by an append that was not acknowledged. */
  uncertainFrom = Number.POSITIVE_INFINITY;

  async append(log: SegmentedLog, hardState: HardState | undefined, added: Entry[]): Promise<void> {
    if (hardState !== undefined) this.asked = hardState;
    for (const each of added) this.handedOver.set(`${each.index}:${each.term}`, each);
    const first = added[0]?.index ?? Number.POSITIVE_INFINITY;
    this.uncertainFrom = Math.min(this.uncertainFrom, first);
    const hard = this.asked;
    await log.append(hardState, added, true);
    this.hardState = hard;
    for (const index of [...this.acknowledged.keys()]) if (index >= first) this.acknowledged.delete(index);
    for (const each of added) this.acknowledged.set(each.index, each);
    this.uncertainFrom = Number.POSITIVE_INFINITY;
  }

  check(log: SegmentedLog, context: string): void {
    const { term, vote } = log.hardState;
    const ok =
      (term === this.hardState.term && vote === this.hardState.vote) ||
      (term === this.asked.term && vote === this.asked.vote);
    assert.ok(ok, `${context}: term ${term} vote ${vote}, acknowledged ${JSON.stringify(this.hardState)}`);
    const first = log.firstIndex();
    const last = log.lastIndex();
    if (this.resetAsked !== undefined && first === this.resetAsked + 1) {
      // The reset came through although nobody was told.
      this.start = this.resetAsked;
      this.resetDone = this.resetAsked;
      this.resetAsked = undefined;
      this.acknowledged.clear();
    }
    assert.ok(
      first - 1 <= this.start || first - 1 === this.resetDone,
      `${context}: starts at ${first}, cut at ${this.start}`,
    );
    const all = last >= first ? log.entries(first, last + 1, 1e9) : [];
    for (const each of all) {
      const known = this.handedOver.get(`${each.index}:${each.term}`);
      assert.ok(known !== undefined, `${context}: entry ${each.index}:${each.term} was never written`);
      assert.is(Buffer.compare(known.data, each.data), 0, `${context}: entry ${each.index} has other bytes`);
    }
    for (const [index, each] of this.acknowledged) {
      if (index < first || index >= this.uncertainFrom) continue;
      assert.ok(index <= last, `${context}: acknowledged entry ${index} is gone, last is ${last}`);
      assert.is(log.term(index), each.term, `${context}: acknowledged entry ${index} has another term`);
    }
  }
}

/** Appends, truncations, rolls, cuts, an idle mark and a reset; ends early when the disk goes down. */
async function workload(disk: MemoryDisk, witness: Witness, seed: number): Promise<void> {
  const ports = new VirtualPorts(seed);
  const log = await openLog(disk, { ports, segmentSizeBytes: 1024, preallocateBytes: 512 });
  let term = Math.max(1, log.hardState.term + 1);
  await witness.append(log, { term, vote: 1, commit: 0 }, []);
  let next = log.lastIndex() + 1;
  for (let round = 0; round < 6; round++) {
    await witness.append(log, undefined, entries(next, next + 2, term, 40));
    // Two appends at once: they share a sync, and either may be torn.
    const uneven = [entries(next + 3, next + 4, term, 9), entries(next + 5, next + 5, term, 300)];
    await Promise.all(uneven.map((added) => witness.append(log, undefined, added)));
    term++;
    await witness.append(log, { term, vote: round, commit: 0 }, entries(next + 4, next + 4, term, 33));
    next += 5;
    if (round === 2 || round === 4) {
      witness.start = Math.max(witness.start, next - 3);
      await log.cut(next - 3);
    }
    if (round === 3) await ports.advance(3000);
  }
  witness.resetAsked = next + 10;
  await log.reset(next + 10, term);
  witness.resetDone = next + 10;
  witness.start = next + 10;
  witness.acknowledged.clear();
  witness.resetAsked = undefined;
  next += 11;
  await witness.append(log, undefined, entries(next, next + 9, term, 100));
  await log.close();
}

async function runUntilCrash(disk: MemoryDisk, witness: Witness, seed: number): Promise<void> {
  try {
    await workload(disk, witness, seed);
  } catch (error) {
    assert.instance(error, KvError);
    if (error instanceof KvError) assert.is(error.code, 'STORAGE_FAILED', error.message);
    assert.ok(disk.down, `failed without a crash: ${String(error)}`);
  }
  await settle();
}

async function countOperations(): Promise<number> {
  const disk = new MemoryDisk();
  await workload(disk, new Witness(), 1);
  return disk.operations;
}

async function crashEverywhere(rule: LossRule): Promise<void> {
  const total = await countOperations();
  assert.ok(total > 100);
  for (let at = 1; at <= total; at++) {
    const context = `${rule}, crash at operation ${at} of ${total}`;
    const random = seededRandom(at);
    const disk = new MemoryDisk();
    const witness = new Witness();
    disk.crashAt(at);
    await runUntilCrash(disk, witness, 1);
    disk.crash(rule, random);
    const log = await openLog(disk).catch((error: unknown) => {
      throw new Error(`${context}: ${String(error)}`);
    });
    witness.check(log, context);
    // What recovery gave out is durable, and the log goes on from there.
    const last = log.lastIndex();
    const term = log.hardState.term + 1;
    disk.crash('all', random);
    const second = await openLog(disk);
    assert.is(second.lastIndex(), last, `${context}: recovery gave out what was not durable`);
    await second.append({ term, vote: 2, commit: 0 }, entries(last + 1, last + 30, term, 50), true);
    disk.crash('all', random);
    const third = await openLog(disk);
    assert.is(third.lastIndex(), last + 30, context);
    assert.is(third.hardState.term, term, context);
    witness.asked = third.hardState;
    for (const each of entries(last + 1, last + 30, term, 50))
      witness.handedOver.set(`${each.index}:${term}`, each);
    witness.check(third, context);
    await third.close();
  }
}

for (const rule of LOSS_RULES) {
  test(`a crash at any operation that loses by the rule '${rule}' loses nothing acknowledged`, () =>
    crashEverywhere(rule));
}

test('large appends are written past the preallocated zeros, and a crash at any operation loses nothing acknowledged', async () => {
  const options = { segmentSizeBytes: 40_000, preallocateBytes: 512 };
  const run = async (disk: MemoryDisk, witness: Witness): Promise<void> => {
    const log = await openLog(disk, options);
    for (let i = 0; i < 24; i++) {
      const hardState = { term: i + 1, vote: 1, commit: 0 };
      await witness.append(log, hardState, entries(2 * i + 1, 2 * i + 2, i + 1, 1500));
    }
    await log.close();
  };
  const clean = new MemoryDisk();
  await run(clean, new Witness());
  // With zeros ahead of every append it would be a write and a sync of zeros for every 1 KB: 8 operations an append.
  assert.ok(clean.operations < 24 * 5, `${clean.operations} operations`);
  for (let at = 1; at <= clean.operations; at++) {
    for (const rule of LOSS_RULES) {
      const disk = new MemoryDisk();
      const witness = new Witness();
      disk.crashAt(at);
      await run(disk, witness).catch((error: unknown) => assert.instance(error, KvError));
      await settle();
      disk.crash(rule, seededRandom(at));
      const log = await openLog(disk, options).catch((error: unknown) => {
        throw new Error(`${rule} at ${at}: ${String(error)}`);
      });
      witness.check(log, `${rule} at ${at}`);
    }
  }
});

test('crashes of crashes: recovery itself may be cut off anywhere', async () => {
  const total = await countOperations();
  const random = seededRandom(7);
  for (let run = 0; run < 250; run++) {
    const disk = new MemoryDisk();
    const witness = new Witness();
    disk.crashAt(1 + Math.floor(random() * total));
    await runUntilCrash(disk, witness, 1);
    const rules: string[] = [];
    for (let again = 0; again < 3; again++) {
      const rule = LOSS_RULES[Math.floor(random() * LOSS_RULES.length)]!;
      rules.push(rule);
      disk.crash(rule, random);
      disk.crashAt(1 + Math.floor(random() * 12));
      const log = await openLog(disk).catch((error: unknown) => {
        if (!disk.down) throw new Error(`run ${run} ${rules.join()}: ${String(error)}`);
        return undefined;
      });
      if (log !== undefined) witness.check(log, `run ${run} ${rules.join()}`);
    }
    disk.crash('random', random);
    witness.check(await openLog(disk), `run ${run} ${rules.join()} at last`);
  }
});

test('os: after a power cut the log is a valid one, whatever was lost', async () => {
  for (let seed = 1; seed <= 150; seed++) {
    const random = seededRandom(seed);
    const disk = new MemoryDisk();
    const log = await openLog(disk, { durability: 'os', segmentSizeBytes: 1024, preallocateBytes: 512 });
    for (let i = 1; i <= 40; i++) {
      await log.append({ term: i, vote: 1, commit: 0 }, entries(i, i, i, 20 + i), true);
      if (random() < 0.3) await settle();
    }
    disk.crash('random', random);
    const again = await openLog(disk).catch((error: unknown) => {
      throw new Error(`seed ${seed}: ${String(error)}`);
    });
    for (let i = 1; i <= again.lastIndex(); i++) assert.is(again.term(i), i);
  }
});

/** Known failure 3: names that nobody made durable. A disk that forgets to sync directories shows whether these tests would notice. */
class ForgetfulDisk extends MemoryDisk {
  override async syncDirectory(): Promise<void> {
    this.operations++;
  }
}

test('a missing directory sync would be caught', async () => {
  const disk = new ForgetfulDisk();
  const witness = new Witness();
  const log = await openLog(disk);
  await witness.append(log, { term: 1, vote: 1, commit: 0 }, entries(1, 5, 1));
  disk.crash('all', () => 0);
  const again = await openLog(disk);
  let noticed = '';
  try {
    witness.check(again, 'forgetful');
  } catch (error) {
    noticed = String(error);
  }
  assert.match(noticed, /forgetful: term 0/);
});

test('the first name of a log is durable before anything is acknowledged', async () => {
  const disk = new MemoryDisk();
  const log = await openLog(disk);
  await log.append({ term: 1, vote: 1, commit: 0 }, [], true);
  disk.crash('all', () => 0);
  assert.ok(await disk.exists(LOG_PATH));
  assert.is((await openLog(disk)).hardState.term, 1);
});

test.run();
