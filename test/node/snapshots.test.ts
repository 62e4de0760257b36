/** What becomes of a snapshot's chunks that come while the store is busy with something else. */
import * as assert from 'uvu/assert';
import type { Applier } from '../../src/node/applier.ts';
import { Snapshots, type SnapshotsOptions } from '../../src/node/snapshots.ts';
import type { Configuration, RaftCore } from '../../src/raft/types.ts';
import { SteppedPorts } from '../storage/stepped_ports.ts';
import { test } from '../suite.ts';

const CONFIGURATION: Configuration = {
  voters: [1],
  votersOutgoing: [],
  learners: [],
  members: [],
  lastId: 1,
};

/** Answers that Raft was given to chunks, and a repair that goes on until it is let end. */
function createTrial() {
  const ports = new SteppedPorts();
  const answers: [index: number, nextOffset: number][] = [];
  const raft = {
    commitIndex: 10,
    snapshotChunkStored: (index: number, nextOffset: number) => answers.push([index, nextOffset]),
  } as unknown as RaftCore;
  let endPause = (_error: Error): void => undefined;
  const applier = {
    pause: () =>
      new Promise<void>((_, reject) => {
        endPause = reject;
      }),
  } as unknown as Applier;
  const stored: number[] = [];
  const snapshots = new Snapshots({
    store: {
      receive: ({ index }: { index: number }, offset: number, data: Uint8Array) => {
        stored.push(index);
        return offset + data.length;
      },
    },
    log: { lastIndex: () => 10 },
    timers: ports.timers,
    onFailure: () => undefined,
    isWhole: () => false,
  } as unknown as SnapshotsOptions);
  return { ports, answers, raft, applier, snapshots, stored, endPause: (error: Error) => endPause(error) };
}

test('a chunk that comes while a repair is under way is answered later: Raft takes no other one before', async () => {
  const { ports, answers, raft, applier, snapshots, stored, endPause } = createTrial();
  const file = { path: 's', index: 5, term: 1, sizeBytes: 8, state: new Uint8Array(0) };
  const repair = snapshots.repairWith(file, raft, applier, () => undefined);
  assert.ok(snapshots.installing);
  const snapshot = { index: 20, term: 2, sizeBytes: 8, configuration: CONFIGURATION };
  const chunk = { from: 2, snapshot, offset: 0, data: new Uint8Array(4), last: false };
  snapshots.receive([chunk], raft, applier, () => undefined);
  assert.equal([stored, answers], [[], []]);
  await ports.advance(1_000);
  assert.equal([stored, answers], [[], [[20, 0]]], 'it is asked for again');

  endPause(new Error('the repair is given up'));
  await repair.then(
    () => assert.unreachable(),
    () => undefined,
  );
  snapshots.receive([chunk], raft, applier, () => undefined);
  assert.equal([stored, answers.at(-1)], [[20], [20, 4]]);
});

test.run();
