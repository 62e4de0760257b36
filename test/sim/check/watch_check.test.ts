/** Watches by hand: gaps, seams, ends. */

import * as assert from 'uvu/assert';
import { EventHistory } from '../../../src/sim/check/event_history.ts';
import type { EventSeen, WatcherRecord } from '../../../src/sim/check/observations.ts';
import { checkWatches } from '../../../src/sim/check/watch_check.ts';
import { test } from '../../suite.ts';

type Batch = readonly [revision: number, ...events: (readonly [revision: number, key: string])[]];

function event(revision: number, key: string): EventSeen {
  return { revision, key, type: 'delete', value: '', createRevision: 0, version: 0 };
}

/** What really happened: a delete of `a` at 2, of `a` and `b` at 3, of `c` at 5, of `a` at 8. */
const HAPPENED = [event(2, 'a'), event(3, 'a'), event(3, 'b'), event(5, 'c'), event(8, 'a')];

function watcher(batches: readonly Batch[], changes: Partial<WatcherRecord> = {}): WatcherRecord {
  return {
    name: 'w',
    start: 'a',
    end: 'c',
    fromRevision: 2,
    openedMs: 0,
    seenRevision: 0,
    batches: batches.map(([revision, ...events]) => ({
      atMs: 100 * revision,
      revision,
      events: events.map(([at, key]) => event(at, key)),
    })),
    ended: undefined,
    ...changes,
  };
}

function found(one: WatcherRecord, mustReach = 0, allowedErrors: readonly string[] = []): string[] {
  const settled = { fromRevision: 2, toRevision: 8, events: HAPPENED };
  const history = new EventHistory({ operations: [], watchers: [one], settled });
  return checkWatches([one], history, { mustReach, allowedErrors }).map(({ message }) => message);
}

const ALL: readonly Batch[] = [
  [2, [2, 'a']],
  [3, [3, 'a'], [3, 'b']],
  [8, [8, 'a']],
];

test('everything, once, in order, with progress between: right', () => {
  assert.equal(found(watcher(ALL)), []);
  assert.equal(found(watcher([[3, [2, 'a'], [3, 'a'], [3, 'b']], [6], [8, [8, 'a']]])), []);
  assert.equal(found(watcher([[5]], { start: 'c', end: 'd', fromRevision: 6 })), []);
});

test('a gap is refused, also one that only progress has passed', () => {
  assert.match(
    found(
      watcher([
        [2, [2, 'a']],
        [8, [8, 'a']],
      ]),
    )[0] ?? '',
    /a at revision 3 is missing/,
  );
  assert.match(found(watcher([[2, [2, 'a']], [4]]))[0] ?? '', /at revision 3 is missing/);
  // A part of a revision is not the revision.
  assert.match(
    found(
      watcher([
        [2, [2, 'a']],
        [3, [3, 'b']],
      ]),
    )[0] ?? '',
    /a at revision 3 is missing/,
  );
});

test('what has not come yet is missed only where it must have', () => {
  const behind = watcher(ALL.slice(0, 2));
  assert.equal(found(behind), []);
  assert.match(found(behind, 8)[0] ?? '', /revision 8 has not arrived/);
  assert.equal(
    found({ ...behind, ended: { atMs: 9, how: 'cancelled', code: '', compactRevision: 0 } }, 8),
    [],
  );
});

test('a watch that was left in the middle of a batch owes the rest of it nothing', () => {
  const ended = { atMs: 9, how: 'cancelled', code: '', compactRevision: 0 } as const;
  assert.equal(
    found(
      watcher(
        [
          [2, [2, 'a']],
          [3, [3, 'a']],
        ],
        { ended },
      ),
    ),
    [],
  );
});

test('a watch that was left after a whole batch owes nothing either, and what it was told counts', () => {
  const ended = { atMs: 9, how: 'cancelled', code: '', compactRevision: 0 } as const;
  const left = watcher(
    [
      [2, [2, 'a']],
      [5, [3, 'a']],
    ],
    { ended },
  );
  const [first, second] = left.batches;
  assert.equal(found(left), []);
  assert.match(
    found({ ...left, batches: [first!, { ...second!, size: 1 }] })[0] ?? '',
    /b at revision 3 is missing/,
  );
});

test('a seam in the middle of a revision, an old revision, a double one: refused', () => {
  assert.match(
    found(
      watcher([
        [2, [2, 'a']],
        [3, [3, 'a']],
        [3, [3, 'b']],
      ]),
    )[0] ?? '',
    /given revision 3 after 3/,
  );
  assert.match(found(watcher([...ALL, [3, [3, 'a'], [3, 'b']]]))[0] ?? '', /given revision 3 after 8/);
  assert.match(found(watcher([[2, [2, 'a'], [2, 'a']]]))[0] ?? '', /a twice at revision 2/);
  assert.match(found(watcher([[3, [3, 'a'], [3, 'b'], [2, 'a']]]))[0] ?? '', /revision 2 after one of 3/);
  assert.match(
    found(watcher([[2, [2, 'a']], [4], [5, [3, 'a'], [3, 'b']]]))[0] ?? '',
    /revision 3 after a batch of 4/,
  );
});

test('an event ahead of its batch, below the beginning, outside of the range: refused', () => {
  assert.match(found(watcher([[2, [2, 'a'], [3, 'a'], [3, 'b']]])).join(), /revision 3 in a batch of 2/);
  assert.match(found(watcher(ALL, { fromRevision: 3 })).join(), /revision 2, asked from 3 on/);
  assert.match(found(watcher([...ALL.slice(0, 2), [5, [5, 'c']]])).join(), /c is not in its range/);
});

test('a watch from now on owes what came after its first batch, and nothing that its client had seen', () => {
  assert.equal(found(watcher([[3], [8, [8, 'a']]], { fromRevision: 0 })), []);
  assert.equal(found(watcher([[2], [3], [8, [8, 'a']]], { fromRevision: 0, seenRevision: 5 })), []);
  assert.match(found(watcher([[2], [8, [8, 'a']]], { fromRevision: 0 }))[0] ?? '', /revision 3 is missing/);
});

test('ends: silence and unexpected errors are refused, COMPACTED where what is needed is still there', () => {
  const ended = (how: 'error' | 'silent', code: string, compactRevision: number) =>
    watcher(ALL.slice(0, 2), { ended: { atMs: 900, how, code, compactRevision } });
  assert.match(found(ended('silent', '', 0))[0] ?? '', /without a word/);
  assert.match(found(ended('error', 'UNAVAILABLE', 0))[0] ?? '', /ended with UNAVAILABLE/);
  assert.equal(found(ended('error', 'UNAVAILABLE', 0), 0, ['UNAVAILABLE']), []);
  assert.equal(found({ ...ended('error', 'UNAVAILABLE', 0), batches: [] }), []);
  assert.is(found({ ...ended('error', 'INTERNAL', 0), batches: [] }).length, 1);
  assert.equal(found(ended('error', 'COMPACTED', 4)), []);
  assert.match(
    found(ended('error', 'COMPACTED', 3))[0] ?? '',
    /needed revision 4 and was refused: compacted to 3/,
  );
  assert.match(found(ended('error', 'COMPACTED', 0))[0] ?? '', /not told from where on/);
});

test('a watch that goes on behind what was compacted, instead of ending, has lost what lies between', () => {
  assert.match(found(watcher([[8, [8, 'a']]]))[0] ?? '', /a at revision 2 is missing/);
  assert.match(
    found(
      watcher([
        [2, [2, 'a']],
        [8, [8, 'a']],
      ]),
    ).join(),
    /a at revision 3 is missing.*b at revision 3 is missing/,
  );
  // Progress alone passes over it, too.
  assert.match(found(watcher([[2, [2, 'a']], [7]])).join(), /b at revision 3 is missing/);
  const ended = { atMs: 900, how: 'error', code: 'COMPACTED', compactRevision: 6 } as const;
  assert.equal(found(watcher([[2, [2, 'a']]], { ended })), []);
});

test.run();
