/** Locks and elections under faults: they are all used, a right store passes, and the checker sees a record that was spoiled. */

import * as assert from 'uvu/assert';
import { type ContentionRecord, checkContention } from '../../src/sim/check/contention_check.ts';
import { EventHistory } from '../../src/sim/check/event_history.ts';
import { type RunResult, runSeed } from '../../src/sim/run.ts';
import { test } from '../suite.ts';

const run: RunResult = await runSeed({
  seed: 2,
  ops: 1_200,
  parts: ['locks'],
  kinds: ['crash', 'moveLeader', 'clientReset'],
});
const { operations, watchers, contention } = run.recorder;
const record = contention!;
const { holds, looks, observers } = record;
const history = new EventHistory({ operations, watchers });

function problems(changed: Partial<ContentionRecord>): string[] {
  const all = { ...record, ...changed };
  return checkContention(operations, watchers, history, all, true).violations.map(({ message }) => message);
}

/** Those in line that stood there for long enough that somebody else was told of something meanwhile. */
function overlapping(): { front: (typeof holds)[number]; behind: (typeof holds)[number] } {
  for (const front of holds) {
    const behind = holds.find(
      ({ line, fence, askedMs, toldMs }) =>
        line === front.line && fence > front.fence && askedMs < front.toldMs && toldMs > front.toldMs + 50,
    );
    if (behind !== undefined) return { front, behind };
  }
  throw new Error('nobody waited');
}

test('a right store passes, and all of it is used', () => {
  assert.is(run.failure?.message, undefined);
  const { judged, violations } = checkContention(operations, watchers, history, record, true);
  assert.equal(violations, []);
  assert.ok(judged > 30, `${judged} judged`);
  assert.ok(holds.length > 15 && looks.length > 2, `${holds.length} had something, ${looks.length} looks`);
  assert.ok(observers.some(({ leaders }) => leaders.length > 3));
  const guarded = operations.filter(({ steps: [step] }) => step?.type === 'put' && step.key.startsWith('g/'));
  assert.ok(guarded.some(({ outcome, succeeded }) => outcome === 'ok' && succeeded));
  assert.ok(
    guarded.some(({ outcome, succeeded }) => outcome === 'ok' && !succeeded),
    'stale tokens',
  );
});

test('a lock that two have, and one that is given out of line, are seen', () => {
  const { front, behind } = overlapping();
  const atOnce = holds.map((hold) => (hold === behind ? { ...hold, toldMs: front.toldMs + 1 } : hold));
  const found = problems({ holds: atOnce });
  assert.ok(
    found.some((message) => message.includes('stood in front')),
    found.join('\n'),
  );
  const untold = holds.map((hold) => (hold === front ? { ...hold, endMs: behind.toldMs + 5 } : hold));
  assert.ok(problems({ holds: untold }).some((message) => message.includes('still had it')));
  const never = holds.map((hold) => (hold === front ? { ...hold, endMs: Number.POSITIVE_INFINITY } : hold));
  assert.ok(problems({ holds: never }).some((message) => message.includes('was not told')));
});

test('tokens that repeat or go back, and a write under a stale one, are seen', () => {
  const { line } = holds[0]!;
  const [first, second] = holds.filter((hold) => hold.line === line).sort((a, b) => a.fence - b.fence);
  const twice = holds.map((hold) => (hold === second ? { ...hold, fence: first!.fence } : hold));
  assert.ok(problems({ holds: twice }).some((message) => message.includes('has token')));
  const late = holds.map((hold) =>
    hold === first ? { ...hold, askedMs: second!.toldMs + 1, toldMs: second!.toldMs + 2 } : hold,
  );
  assert.ok(problems({ holds: late }).some((message) => message.includes('has token')));
  const written = [...history.byKey]
    .filter(([key]) => key.startsWith('g/'))
    .flatMap(([, versions]) => versions.slice(0, 1).map(({ value }) => value!));
  const greatest = new Map([...record.fences, ...written.map((value) => [value, 1_000_000] as const)]);
  assert.ok(problems({ fences: greatest }).some((message) => message.includes('under token')));
});

test('leaders that are shown twice, in the wrong order, after their end, or not at all, are seen', () => {
  const observer = observers.find(({ leaders }) => leaders.length > 3)!;
  const { leaders } = observer;
  for (const wrong of [[...leaders].reverse(), [leaders[0]!, leaders[0]!]])
    assert.ok(problems({ observers: [{ ...observer, leaders: wrong }] }).length > 0);
  const [leader] = leaders;
  assert.ok(
    problems({ observers: [{ ...observer, leaders: [{ ...leader!, value: 'never said' }] }] }).some(
      (message) => message.includes('had not said'),
    ),
  );
  const { line } = observer;
  const lastMs = operations.at(-1)!.settledMs;
  const late = { line, askedMs: lastMs, toldMs: lastMs + 1, leader };
  assert.ok(problems({ looks: [late] }).some((message) => message.includes('had gone before')));
  const office = holds.find((hold) => hold.line === line && hold.endMs - hold.toldMs > 20)!;
  const nobody = { line, askedMs: office.toldMs + 1, toldMs: office.toldMs + 2, leader: undefined };
  assert.ok(problems({ looks: [nobody] }).some((message) => message.includes('nobody was said')));
});

test.run();
