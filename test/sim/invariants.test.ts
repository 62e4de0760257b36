/** Each invariant is shown a violation made by hand, and what comes close to one and is none. */

import * as assert from 'uvu/assert';
import type { Message } from '../../src/raft/types.ts';
import { AppliedState } from '../../src/sim/invariants/applied_state.ts';
import { CommittedLog } from '../../src/sim/invariants/committed_log.ts';
import { damagesOn, describeDamages } from '../../src/sim/invariants/directory_check.ts';
import { Elections } from '../../src/sim/invariants/elections.ts';
import { compareStates } from '../../src/sim/invariants/full_state.ts';
import { OneLife } from '../../src/sim/invariants/one_life.ts';
import { checkQueues } from '../../src/sim/invariants/queue_bounds.ts';
import { promiseOf } from '../../src/sim/invariants/raft_frames.ts';
import { checkCommit, checkKept, promiseEntries } from '../../src/sim/invariants/raft_rules.ts';
import type { Report } from '../../src/sim/invariants/violation.ts';
import type { Engine } from '../../src/storage/engine_port.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import type { StoredRecord } from '../../src/storage/record.ts';
import { RAFT_PREFIX } from '../../src/wire/peer_codec.ts';
import { encodeMessage } from '../../src/wire/raft_codec.ts';
import { test } from '../suite.ts';

function witness(): { report: Report; take(): string[] } {
  let seen: string[] = [];
  return {
    report: (invariant, node, message) => {
      assert.ok(message.length > 20, 'a message for people');
      seen.push(`${invariant} @${node ?? '-'}`);
    },
    take: () => {
      const taken = seen;
      seen = [];
      return taken;
    },
  };
}

test('election safety: two leaders of one term', () => {
  const { report, take } = witness();
  const elections = new Elections(report);
  elections.leads(1, 3);
  elections.leads(1, 3);
  elections.leads(2, 4);
  assert.equal(take(), []);
  assert.is(elections.leaderOf(4), 2);
  elections.leads(3, 4);
  assert.equal(take(), ['election safety @3']);
});

test('a vote: given twice in a term, or in a term that is over', () => {
  const { report, take } = witness();
  const elections = new Elections(report);
  elections.voted(1, 2, 5);
  elections.voted(1, 2, 5);
  elections.voted(1, 3, 6);
  assert.equal(take(), []);
  elections.voted(1, 1, 6);
  assert.equal(take(), ['vote @1']);
  elections.voted(1, 1, 5);
  assert.equal(take(), ['vote @1']);
});

test('term and vote on the disk: behind what was told to others', () => {
  const { report, take } = witness();
  const elections = new Elections(report);
  elections.voted(1, 2, 5);
  elections.opened(1, { term: 5, vote: 2, commit: 0 });
  elections.opened(1, { term: 6, vote: 0, commit: 0 });
  assert.equal(take(), []);
  elections.opened(1, { term: 5, vote: 2, commit: 0 });
  assert.equal(take(), ['term goes back @1']);
  elections.voted(2, 3, 7);
  elections.opened(2, { term: 7, vote: 0, commit: 0 });
  assert.equal(take(), ['vote is lost @2']);
  elections.entered(3, 9);
  elections.opened(3, { term: 8, vote: 0, commit: 0 });
  assert.equal(take(), ['term goes back @3']);
  elections.forget(3);
  elections.opened(3, { term: 1, vote: 0, commit: 0 });
  assert.equal(take(), []);
});

const logOf = (terms: readonly number[], first = 1) => ({
  firstIndex: () => first,
  lastIndex: () => terms.length,
  term: (index: number) => (index < first - 1 ? undefined : index === 0 ? 0 : terms[index - 1]),
});

function decidedThree(report: Report): CommittedLog {
  const log = new CommittedLog(report);
  log.decided(1, 1, 1, 0, 111, 1);
  log.decided(1, 2, 1, 0, 222, 1);
  log.decided(1, 3, 2, 0, 333, 2);
  return log;
}

test('state-machine safety: another entry at an index', () => {
  const { report, take } = witness();
  const log = decidedThree(report);
  log.decided(2, 3, 2, 0, 333, 2);
  assert.equal(take(), []);
  assert.is(log.lastIndex, 3);
  assert.is(log.termAt(3), 2);
  log.decided(2, 3, 3, 0, 333, 3);
  log.decided(2, 3, 2, 0, 334, 3);
  log.decided(2, 3, 2, 1, 333, 3);
  assert.equal(take(), Array(3).fill('state-machine safety @2'));
});

test('leader completeness: a leader whose log lacks what was decided before its term', () => {
  const { report, take } = witness();
  const log = decidedThree(report);
  log.leaderElected(2, 3, logOf([1, 1, 2, 3]));
  log.leaderElected(2, 3, logOf([1, 1, 2, 3], 3));
  // Entry 3 was decided in term 2 itself: a leader of term 2 need not have it yet.
  log.leaderElected(2, 2, logOf([1, 1, 2]));
  assert.equal(take(), []);
  log.leaderElected(2, 3, logOf([1, 1]));
  log.leaderElected(2, 3, logOf([1, 1, 1, 3]));
  assert.equal(take(), Array(2).fill('leader completeness @2'));
});

test('commit rule: a leader counts for entries of its own term only', () => {
  const { report, take } = witness();
  checkCommit(1, 7, 3, 3, report);
  assert.equal(take(), []);
  checkCommit(1, 7, 2, 3, report);
  checkCommit(2, 8, undefined, 3, report);
  assert.equal(take(), ['commit rule @1', 'commit rule @2']);
});

test('acknowledged entries stay as long as the leader does', () => {
  const { report, take } = witness();
  const promised = { promisedIn: 0, promisedTo: 0 };
  checkKept(1, promised, 0, 2, report);
  promiseEntries(promised, 2, 9);
  promiseEntries(promised, 2, 5);
  checkKept(1, promised, 9, 2, report);
  checkKept(1, promised, 4, 3, report);
  assert.equal(take(), []);
  checkKept(1, promised, 8, 2, report);
  assert.equal(take(), ['acknowledged entries stay @1']);
  promiseEntries(promised, 3, 6);
  checkKept(1, promised, 6, 3, report);
  assert.equal(take(), []);
});

test('durability: a log that starts without what its node held', () => {
  const { report, take } = witness();
  const log = decidedThree(report);
  log.opened(1, 3, 0, logOf([1, 1, 2]));
  log.opened(1, 2, 0, logOf([1, 1]));
  log.opened(1, 3, 3, logOf([], 4));
  assert.equal(take(), []);
  log.opened(1, 3, 0, logOf([1, 1]));
  log.opened(1, 3, 0, logOf([1, 1, 1]));
  assert.equal(take(), Array(2).fill('durability @1'));
});

test('equal state at an equal index', () => {
  const { report, take } = witness();
  const state = new AppliedState(report);
  const figures = { revision: 5, compactRevision: 1, timeMs: 100, sessions: 2 };
  state.at(1, 10, figures);
  state.sumAt(1, 10, 77);
  state.at(2, 10, figures);
  state.sumAt(2, 10, 77);
  state.sumAt(2, 11, 78);
  assert.equal(take(), []);
  state.at(3, 10, { ...figures, timeMs: 101 });
  state.sumAt(3, 10, 78);
  assert.equal(take(), Array(2).fill('equal state at an equal index @3'));
});

test('within a life nothing goes back, and nothing is applied before it is decided', () => {
  const { report, take } = witness();
  const now = { term: 2, commitIndex: 5, appliedIndex: 5, revision: 4, compactRevision: 1 };
  for (const name of ['term', 'commitIndex', 'appliedIndex', 'revision', 'compactRevision'] as const) {
    const life = new OneLife(1, report);
    life.seen(now);
    life.seen({ ...now, term: 3, commitIndex: 6 });
    assert.equal(take(), []);
    life.seen({ ...now, term: 3, commitIndex: 6, appliedIndex: 5, [name]: now[name] - 1 });
    assert.ok(take().includes('progress @1'), name);
  }
  new OneLife(1, report).seen({ ...now, appliedIndex: 6 });
  assert.equal(take(), ['applied before it was decided @1']);
});

test('a queue beyond its bound', () => {
  const { report, take } = witness();
  checkQueues(2, [{ name: 'pending writes', bytes: 10, maxBytes: 10 }], report);
  assert.equal(take(), []);
  checkQueues(
    2,
    [
      { name: 'pending writes', bytes: 11, maxBytes: 10 },
      { name: 'frames', bytes: -1, maxBytes: 10 },
    ],
    report,
  );
  assert.equal(take(), Array(2).fill('bounded queues @2'));
});

test('what a frame promises', () => {
  const base = { from: 2, to: 3, term: 9 };
  const promised = (message: Message) =>
    promiseOf(new Uint8Array(Buffer.concat([RAFT_PREFIX, ...encodeMessage(message)])));
  assert.equal(promised({ ...base, type: 'voteRequest', lastIndex: 1, lastTerm: 1, transfer: false }), {
    type: 'vote',
    from: 2,
    to: 2,
    term: 9,
  });
  assert.equal(promised({ ...base, type: 'voteResponse', granted: true }), {
    type: 'vote',
    from: 2,
    to: 3,
    term: 9,
  });
  assert.is(promised({ ...base, type: 'voteResponse', granted: false }), undefined);
  assert.is(promised({ ...base, type: 'preVoteResponse', granted: true }), undefined);
  const answer = { ...base, type: 'appendResponse', index: 400, hintIndex: 0, hintTerm: 0 } as const;
  assert.equal(promised({ ...answer, rejected: false }), { type: 'holds', from: 2, term: 9, index: 400 });
  assert.is(promised({ ...answer, rejected: true }), undefined);
  assert.equal(
    promised({ ...base, type: 'appendRequest', prevIndex: 1, prevTerm: 1, commit: 1, entries: [] }),
    {
      type: 'leads',
      from: 2,
      term: 9,
    },
  );
  assert.equal(promised({ ...base, type: 'heartbeatRequest', commit: 1, readRound: 0 }), {
    type: 'leads',
    from: 2,
    term: 9,
  });
  assert.is(promiseOf(Uint8Array.of(1, 2, 3)), undefined);
});

const record = (key: string, modRevision: number): StoredRecord => ({
  key: new TextEncoder().encode(key),
  value: new TextEncoder().encode(`value of ${key}`),
  modRevision,
  createRevision: modRevision,
  version: 1,
  subRevision: 0,
  flags: 0,
  lease: 0n,
  expiresAtMs: 0,
});

/** Answers scans in pages of one, at once or later. */
function engineOf(records: readonly StoredRecord[], late: boolean): Engine {
  const scan = ({ start }: { start: Uint8Array }) => {
    const rest = records.filter(({ key }) => Buffer.compare(key, start) >= 0);
    const page = { records: rest.slice(0, 1), more: rest.length > 1 };
    return late ? Promise.resolve(page) : page;
  };
  return { scan } as unknown as Engine;
}

test('stores that differ in one record', async () => {
  const { report, take } = witness();
  const rows = [record('a', 1), record('b', 2), record('c', 3)];
  const first = { id: 1, engine: engineOf(rows, false) };
  await compareStates([first, { id: 2, engine: engineOf([...rows], true) }], 3, report);
  assert.equal(take(), []);
  const others = [rows.slice(0, 2), [rows[0]!, record('b', 3), rows[2]!], [...rows, record('d', 4)], []];
  for (const [i, other] of others.entries())
    await compareStates([first, { id: 2 + i, engine: engineOf(other, i % 2 === 0) }], 3, report);
  assert.equal(
    take(),
    [2, 3, 4, 5].map((id) => `equal state at an equal index @${id}`),
  );
});

test('a directory that is damaged, one that is not there, and one whose identity is gone', async () => {
  const disk = new MemoryDisk();
  assert.equal(await damagesOn(disk, 'nowhere'), []);
  await disk.makeDirectory('node-1/log');
  assert.equal(await damagesOn(disk, 'node-1'), []);
  const file = await disk.open('node-1/log/0000000000000001-00000000.log', 'create');
  await file.write([new Uint8Array(10)], 0);
  const damages = await damagesOn(disk, 'node-1');
  assert.is(damages.length, 1);
  assert.match(describeDamages(damages), /node-1: /);
  assert.match(describeDamages(Array(5).fill(damages[0])), /and 2 more/);
});

test.run();
