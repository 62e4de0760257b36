/**
 * Appends that wait for room on a disk of which little is left (so nothing is written past the zeros): a large one is not served in steps of a kilobyte, which kept a follower
 * with small `preallocateBytes` behind for minutes, and one behind a reset of the log is not forgotten until somebody appends again.
 */

import * as assert from 'uvu/assert';
import { MemoryDisk } from '../../../src/storage/memory_disk.ts';
import { test } from '../../suite.ts';
import { entry, openLog, settle, VirtualPorts } from './log_fixture.ts';

const MIB = 1024 * 1024;
const HARD_STATE = { term: 1, vote: 1, commit: 0 };

for (const segmentSizeBytes of [64 * 1024, 4 * MIB]) {
  test(`a large append gets its room in a few writes, with segments of ${segmentSizeBytes} bytes`, async () => {
    const disk = new MemoryDisk({ capacityBytes: 16 * MIB });
    const log = await openLog(disk, { segmentSizeBytes, preallocateBytes: 4096 });
    await log.append(HARD_STATE, [entry(1, 1)], true);
    await settle();
    const before = disk.operations;
    await log.append(undefined, [entry(2, 1, 600_000)], true);
    const operations = disk.operations - before;
    assert.ok(operations < 40, `${operations} operations of the disk`);
    await log.close();
  });
}

test('an append that came after a reset on a full disk is written when there is room, though nobody asks again', async () => {
  const disk = new MemoryDisk({ capacityBytes: 9000 });
  const ports = new VirtualPorts();
  const log = await openLog(disk, { ports, segmentSizeBytes: 8192, preallocateBytes: 4096 });
  await log.append(HARD_STATE, [entry(1, 1)], true);
  const givenUp = log.append(undefined, [entry(2, 1, 20_000)], true);
  await settle();
  await log.reset(50, 1);
  await givenUp;
  const waiting = Promise.resolve(log.append(undefined, [entry(51, 1, 20_000)], true));
  let written = false;
  waiting.then(() => {
    written = true;
  });
  await ports.advance(3_000);
  assert.is(written, false);
  disk.capacityBytes = MIB;
  await ports.advance(3_000);
  assert.is(written, true);
  await log.close();
});

test.run();
