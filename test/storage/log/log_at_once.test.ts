/** `appendAtOnce`: an entry in the log within the call, from memory that its caller uses again. */

import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import { ENTRY_COMMAND, type Entry } from '../../../src/raft/types.ts';
import { MemoryDisk } from '../../../src/storage/memory_disk.ts';
import { test } from '../../suite.ts';
import { contents, entries, entry, openLog, settle } from './log_fixture.ts';

const OPTIONS = { durability: 'os' as const, segmentSizeBytes: 8192, preallocateBytes: 2048 };
const HARD_STATE = { term: 1, vote: 1, commit: 0 };

/** The same entries as the fixture's, all in one piece of memory. */
function reusing(): (index: number, term: number, sizeBytes?: number) => Entry {
  const scratch = new Uint8Array(8192);
  return (index, term, sizeBytes = 20) => {
    scratch.fill(0xee);
    scratch.set(entry(index, term, sizeBytes).data);
    return { index, term, kind: ENTRY_COMMAND, data: scratch.subarray(0, sizeBytes) };
  };
}

test('entries of both ways stand in one log, through segments, cuts and a restart', async () => {
  const disk = new MemoryDisk();
  const log = await openLog(disk, OPTIONS);
  const made = reusing();
  await log.append(HARD_STATE, [], true);
  let refused = 0;
  for (let i = 1; i <= 400; i++) {
    const size = (i * 37) % 300;
    if (i % 5 === 0) await log.append(undefined, [entry(i, 1, size)], true);
    else if (!log.appendAtOnce(made(i, 1, size))) {
      // No room for the moment: nothing has happened, and the ordinary way waits for it.
      refused++;
      assert.is(log.lastIndex(), i - 1);
      await log.append(undefined, [entry(i, 1, size)], true);
    }
    if (i === 200) await log.cut(150);
    if (i % 20 === 0) await settle();
  }
  assert.ok(refused < 200, `${refused} refused`);
  assert.equal([log.lastIndex(), log.term(400)], [400, 1]);
  const before = contents(log);
  assert.ok(before.first > 1);
  assert.equal(
    before.entries,
    Array.from({ length: 401 - before.first }, (_, k) => {
      const i = before.first + k;
      return `${i}:1:0:${Buffer.from(entry(i, 1, (i * 37) % 300).data).toString('hex')}`;
    }),
  );
  // Lost by no process: the operating system has it.
  disk.crash('none', Math.random);
  const again = await openLog(disk, OPTIONS);
  assert.equal(contents(again), before);
  // A later leader replaces what was written so.
  await again.append({ term: 2, vote: 1, commit: 0 }, [entry(390, 2)], true);
  assert.is(again.appendAtOnce(made(391, 2)), true);
  assert.equal([again.term(390), again.lastIndex()], [2, 391]);
  await again.close();
});

test('it is refused where written is not enough, while something waits, and after the close', async () => {
  const synced = await openLog(new MemoryDisk(), { ...OPTIONS, durability: 'fsync' });
  assert.is(synced.appendAtOnce(entry(1, 1)), false);
  assert.is(synced.lastIndex(), 0);
  await synced.close();
  const log = await openLog(new MemoryDisk({ capacityBytes: 20_000 }), OPTIONS);
  const large = log.append(HARD_STATE, entries(1, 30, 1, 1000), true);
  assert.is(log.appendAtOnce(entry(31, 1)), false, 'the large one waits for room');
  const closing = log.close();
  assert.is(log.appendAtOnce(entry(31, 1)), false);
  await closing;
  await Promise.resolve(large).catch((error: unknown) => assert.instance(error, KvError));
});

test('relaxed: a copy is taken, and is in the log after the close', async () => {
  const disk = new MemoryDisk();
  const options = { ...OPTIONS, durability: 'relaxed' as const };
  const log = await openLog(disk, options);
  const made = reusing();
  await log.append(HARD_STATE, [], true);
  let taken = 0;
  for (let i = 1; i <= 100; i++) {
    if (log.appendAtOnce(made(i, 1, 50 + i))) taken++;
    else await log.append(undefined, [entry(i, 1, 50 + i)], true);
    if (i % 10 === 0) await settle();
  }
  assert.ok(taken > 50, `${taken} taken`);
  const before = contents(log);
  assert.is(before.entries[99], `100:1:0:${Buffer.from(entry(100, 1, 150).data).toString('hex')}`);
  await log.close();
  assert.equal(contents(await openLog(disk, options)), before);
  const broken = await openLog(disk, options);
  disk.failWrite(1);
  const failures: KvError[] = [];
  broken.onFailure = (error) => failures.push(error);
  assert.is(broken.appendAtOnce(made(101, 1)), true, 'the failure comes later');
  await broken.sync().catch((error: unknown) => assert.instance(error, KvError));
  assert.is(failures.length, 1);
  assert.throws(
    () => broken.appendAtOnce(made(102, 1)),
    (error: unknown) => error instanceof KvError && error.code === 'STORAGE_FAILED',
  );
  await broken.close();
});

test('an entry that does not follow is refused, and a failed write ends the log', async () => {
  const disk = new MemoryDisk();
  const log = await openLog(disk, OPTIONS);
  await log.append(HARD_STATE, [entry(1, 1)], true);
  for (const wrong of [entry(1, 1), entry(3, 1), entry(2, 0)]) {
    assert.throws(
      () => log.appendAtOnce(wrong),
      (error: unknown) => error instanceof KvError && error.code === 'INTERNAL',
    );
  }
  const failures: KvError[] = [];
  log.onFailure = (error) => failures.push(error);
  disk.failWrite(1);
  for (let i = 0; i < 2; i++) {
    assert.throws(
      () => log.appendAtOnce(entry(2, 1)),
      (error: unknown) => error instanceof KvError && error.code === 'STORAGE_FAILED',
    );
  }
  assert.equal([failures.length, log.lastIndex()], [1, 1]);
  await log.close();
});

test.run();
