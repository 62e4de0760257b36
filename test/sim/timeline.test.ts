/** What events of a trace mean together, and how they read as text. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import type { TraceEvent } from '../../src/sim/core/trace.ts';
import { timelineOf } from '../../src/sim/timeline/timeline.ts';
import { textTimeline } from '../../src/sim/timeline/timeline_text.ts';
import { test } from '../suite.ts';
import { eventsOfLife } from './life.ts';

type Bare = Partial<TraceEvent> & Pick<TraceEvent, 'atMs' | 'kind' | 'lane'>;

/** Events in order, numbered. */
function events(...bare: readonly Bare[]): TraceEvent[] {
  return bare.map((event, seq) => ({ label: event.kind, ...event, seq }));
}

const cut = '{"blocked":true}';

test('messages have their fate, with duplicates and losses', () => {
  const a = { lane: 'node-1', to: 'node-2' };
  const b = { lane: 'node-2', to: 'node-1' };
  const { messages } = timelineOf(
    events(
      { atMs: 0, kind: 'deliver', ...b, id: 99, label: 'raft' },
      { atMs: 1, kind: 'send', ...a, id: 1, label: 'heartbeat term 1, commit 2' },
      { atMs: 2, kind: 'send', ...a, id: 2, label: 'append 1 after 0' },
      // Other ways count their frames for themselves.
      { atMs: 2, kind: 'send', lane: 'client-1', to: 'node-1', id: 1, label: 'bytes 7' },
      { atMs: 3, kind: 'deliver', ...b, id: 1, label: 'raft' },
      { atMs: 4, kind: 'deliver', ...b, id: 1, label: 'raft' },
      { atMs: 5, kind: 'drop', ...a, id: 2, label: 'lost' },
    ),
  );
  assert.equal(
    messages.map(({ from, kind, fate, sentMs, endMs }) => [from, kind, fate, sentMs, endMs]),
    [
      ['node-1', 'heartbeat', 'delivered', 1, 3],
      ['node-1', 'heartbeat', 'repeated', 1, 4],
      ['node-1', 'append', 'lost', 2, 5],
      ['client-1', 'client', 'under way', 2, undefined],
    ],
  );
});

test('calls have their outcome; a client that begins anew does not answer for the one before', () => {
  const lane = 'client-1';
  const { calls } = timelineOf(
    events(
      { atMs: 1, kind: 'invoke', lane, id: 1, label: 'put "a"' },
      { atMs: 2, kind: 'invoke', lane, id: 2, label: 'get "a"' },
      { atMs: 3, kind: 'ok', lane, id: 2, label: 'get "a"' },
      { atMs: 4, kind: 'invoke', lane, id: 1, label: 'put "b"' },
      { atMs: 5, kind: 'info', lane, id: 1, label: 'put "b": TIMEOUT' },
      { atMs: 6, kind: 'fail', lane, id: 7, label: 'began before' },
    ),
  );
  assert.equal(
    calls.map(({ text, fromMs, toMs, outcome }) => [text, fromMs, toMs, outcome]),
    [
      ['put "a"', 1, undefined, 'open'],
      ['get "a"', 2, 3, 'ok'],
      ['put "b": TIMEOUT', 4, 5, 'info'],
    ],
  );
});

test('nodes are up, down, paused, and in a role', () => {
  const lane = 'node-1';
  const { spans } = timelineOf(
    events(
      { atMs: 0, kind: 'start', lane },
      { atMs: 5, kind: 'role', lane, label: 'follower in term 1' },
      { atMs: 10, kind: 'role', lane, label: 'leader in term 2' },
      { atMs: 20, kind: 'fault', lane, label: 'pause' },
      { atMs: 30, kind: 'fault', lane, label: 'resume' },
      { atMs: 40, kind: 'crash', lane, label: 'random' },
      { atMs: 50, kind: 'start', lane },
      { atMs: 55, kind: 'note', lane, label: 'did not start: no space' },
      { atMs: 60, kind: 'note', lane: 'world' },
    ),
  );
  assert.equal(
    spans.map(({ state, fromMs, toMs }) => [state, fromMs, toMs]),
    [
      ['starting', 0, 5],
      ['follower', 5, 10],
      ['leader', 10, 20],
      ['paused', 20, 30],
      ['leader', 30, 40],
      ['down', 40, 50],
      ['starting', 50, 55],
      ['down', 55, 60],
    ],
  );
});

test('cut ways become stretches, and who is apart from most is told', () => {
  const way = (from: number, to: number, label: string, atMs: number): Bare => ({
    atMs,
    kind: 'fault',
    lane: `node-${from}`,
    to: `node-${to}`,
    label,
  });
  const { cuts, marks } = timelineOf(
    events(
      { atMs: 0, kind: 'start', lane: 'node-2' },
      way(1, 2, cut, 10),
      way(1, 3, cut, 10),
      way(2, 1, cut, 10),
      way(3, 1, cut, 10),
      way(3, 1, '{}', 20),
      way(3, 1, '{"dropRate":0.1}', 25),
      { atMs: 30, kind: 'fault', lane: 'faults', label: 'heal' },
      way(1, 2, cut, 40),
      way(1, 2, '{}', 40),
      way(1, 2, '{broken', 41),
      way(3, 2, cut, 50),
      { atMs: 60, kind: 'note', lane: 'world' },
    ),
  );
  const seen = cuts.map(
    ({ lane, fromMs, toMs, apart }) => `${lane} ${fromMs}-${toMs}${apart ? ' apart' : ''}`,
  );
  assert.equal(seen.sort(), [
    'node-1 10-20 apart',
    'node-1 20-30 apart',
    'node-2 10-30',
    'node-2 50-60',
    'node-3 10-20',
    'node-3 20-30',
    'node-3 50-60',
  ]);
  const first = cuts.find(({ lane }) => lane === 'node-1');
  assert.is(first?.text, 'nothing gets to node-2, node-3; nothing comes from node-2, node-3');
  assert.equal(
    marks.filter(({ kind }) => kind === 'fault').map(({ text }) => text),
    ['heal', '{broken (node-2)'],
  );
});

test('a node that is yet to come holds no group together', () => {
  const { cuts } = timelineOf(
    events(
      { atMs: 0, kind: 'start', lane: 'node-1' },
      { atMs: 1, kind: 'fault', lane: 'node-1', to: 'node-2', label: cut },
      { atMs: 2, kind: 'fault', lane: 'faults', label: 'heal' },
      { atMs: 3, kind: 'start', lane: 'node-3' },
    ),
  );
  assert.equal(
    cuts.map(({ lane, apart }) => [lane, apart]),
    [
      ['node-1', false],
      ['node-2', true],
    ],
  );
});

test('faults last until they end', () => {
  const lane = 'faults';
  const { faults } = timelineOf(
    events(
      { atMs: 1, kind: 'fault', lane, label: 'partition: 1 apart from the others' },
      { atMs: 2, kind: 'fault', lane: 'node-2', label: 'stuckDisk node 2, for 50 ms' },
      { atMs: 9, kind: 'fault', lane, label: 'end of partition' },
      { atMs: 12, kind: 'fault', lane, label: 'end of stuckDisk' },
      { atMs: 13, kind: 'fault', lane, label: 'end of stuckDisk' },
    ),
  );
  assert.equal(
    faults.map((fault) => [fault.lane, fault.fromMs, fault.toMs]),
    [
      ['faults', 1, 9],
      ['node-2', 2, 12],
    ],
  );
});

test('lanes: faults, nodes, clients, the world, each by number', () => {
  const lanes = ['world', 'client-10', 'node-10', 'client-2', 'admin', 'faults', 'node-9'];
  const { lanes: sorted } = timelineOf(
    events(...lanes.map((lane): Bare => ({ atMs: 0, kind: 'note', lane }))),
  );
  assert.equal(
    sorted.map(({ name }) => name),
    ['faults', 'node-9', 'node-10', 'admin', 'client-2', 'client-10', 'world'],
  );
});

/** A call, and much that happens all the time, for each millisecond. */
function busy(count: number, violation: boolean): TraceEvent[] {
  const bare: Bare[] = [];
  for (let i = 0; i < count; i++) {
    const way = { lane: 'node-1', to: 'node-2', id: i + 1 };
    bare.push(
      { atMs: i, kind: 'send', ...way, label: 'heartbeat term 1, commit 1' },
      { atMs: i, kind: 'disk', lane: 'node-2', label: 'sync log' },
      { atMs: i + 0.5, kind: 'deliver', lane: 'node-2', to: 'node-1', id: i + 1, label: 'raft' },
    );
    if (i % 10 === 9)
      bare.push({ atMs: i + 0.6, kind: 'role', lane: 'node-1', label: `leader in term ${i}` });
  }
  if (violation) bare.push({ atMs: count, kind: 'violation', lane: 'world', label: 'log matching: differs' });
  return events(...bare);
}

test('what happens all the time is folded, except right before the violation', () => {
  const text = textTimeline(busy(100, true), { contextEvents: 20 });
  const lines = text.trimEnd().split('\n');
  assert.ok(lines.some((line) => line.includes('10 messages (10 heartbeat), 10 disk operations')));
  assert.match(lines.at(-1)!, /VIOLATION log matching: differs$/);
  assert.is(lines.filter((line) => line.includes('-> node-2  heartbeat')).length, 6);
  assert.ok(lines.some((line) => line.includes('[after 0.5 ms]')));
  assert.ok(lines.length < 45);
});

test('length, lanes and time can be bounded', () => {
  const all = busy(1_000, true);
  const lines = textTimeline(all, { maxLines: 40 }).trimEnd().split('\n');
  assert.is(lines.length, 40);
  assert.match(lines[9]!, /^… \d+ lines left out …$/);
  assert.match(lines.at(-1)!, /VIOLATION/);
  const some = textTimeline(all, { fromMs: 100, toMs: 120, contextEvents: 0 });
  assert.ok(some.includes('leader in term 109') && some.includes('leader in term 119'));
  assert.not.ok(some.includes('leader in term 99') || some.includes('VIOLATION'));
  const lane = textTimeline(all, { lanes: ['node-2'], contextEvents: 0 });
  assert.not.ok(lane.includes('leader'));
  assert.ok(lane.includes('1000 messages'), 'messages to a lane belong to it, too');
});

test('calls read as one line, slow and failed ones as two', () => {
  const lane = 'client-1';
  const text = textTimeline(
    events(
      { atMs: 1, kind: 'invoke', lane, id: 1, label: 'put "a"' },
      { atMs: 2, kind: 'ok', lane, id: 1, label: 'put "a": revision 7' },
      { atMs: 3, kind: 'invoke', lane, id: 2, label: 'put "b"' },
      { atMs: 90, kind: 'info', lane, id: 2, label: 'put "b": TIMEOUT' },
      { atMs: 91, kind: 'invoke', lane, id: 3, label: 'put "c"' },
      { atMs: 92, kind: 'fail', lane, id: 3, label: 'put "c": NOT_LEADER' },
      { atMs: 93, kind: 'invoke', lane, id: 4, label: 'get "d"' },
      { atMs: 94, kind: 'invoke', lane, label: 'watch' },
    ),
  );
  const lines = text.trimEnd().split('\n');
  assert.equal(
    lines.map((line) => line.trim().replace(/ +/g, ' ')),
    [
      '1.000 client-1 put "a" [ok: revision 7, after 1.0 ms]',
      '3.000 client-1 put "b" [after 87.0 ms]',
      '90.000 client-1 info: put "b": TIMEOUT',
      '91.000 client-1 put "c" [fail: NOT_LEADER, after 1.0 ms]',
      '93.000 client-1 get "d" [never answered]',
      '94.000 client-1 watch',
    ],
  );
});

test('late, lost and repeated messages, faults and lives are told', () => {
  const a = { lane: 'node-1', to: 'node-2' };
  const b = { lane: 'node-2', to: 'node-1' };
  const text = textTimeline(
    events(
      { atMs: 0, kind: 'start', lane: 'node-1' },
      { atMs: 1, kind: 'send', ...a, id: 1, label: 'vote in term 2?' },
      { atMs: 1, kind: 'send', ...a, id: 2, label: 'append 1 after 0' },
      { atMs: 2, kind: 'drop', ...a, id: 2, label: 'lost' },
      { atMs: 3, kind: 'fault', ...a, label: cut },
      { atMs: 4, kind: 'fault', lane: 'client-1', to: 'node-1', label: 'reset' },
      { atMs: 50, kind: 'deliver', ...b, id: 1, label: 'raft' },
      { atMs: 51, kind: 'deliver', ...b, id: 1, label: 'raft' },
      { atMs: 60, kind: 'crash', lane: 'node-1', label: 'torn1' },
      { atMs: 61, kind: 'note', lane: 'faults', label: 'no stop: there is no node 9' },
    ),
    {
      header: ['seed 5'],
      failure: { invariant: 'election safety', message: 'two leaders\nin term 2', atMs: 61 },
    },
  );
  const wanted = [
    'seed 5',
    'starts',
    '-> node-2  vote in term 2?  [after 49.0 ms, again after 50.0 ms]',
    '-> node-2  append 1 after 0  [lost]',
    'FAULT link to node-2: {"blocked":true}',
    'FAULT reset (node-1)',
    '<- node-1  vote in term 2?  [after 49.0 ms]',
    'CRASH torn1',
    'note no stop',
    'VIOLATION of election safety at 61.000 ms:\ntwo leaders\nin term 2\n',
  ];
  let at = 0;
  for (const part of wanted) {
    const next = text.indexOf(part, at);
    assert.ok(next >= at, `${part} is not in its place in\n${text}`);
    at = next;
  }
});

test('keys can hold anything and do nothing to a terminal', () => {
  const label = `put "\u001b[2J\n\u202e${'x'.repeat(1_000)}"`;
  const text = textTimeline(events({ atMs: 0, kind: 'note', lane: 'client-1', label }));
  assert.ok(text.includes('\\u001b[2J\\u000a\\u202e'));
  assert.is(text.trimEnd().split('\n').length, 1);
  assert.ok(text.length < 400);
});

test('a real run reads well', async () => {
  const text = textTimeline(await eventsOfLife(1));
  for (const part of [
    'role leader in term',
    'vote granted',
    'CRASH',
    'put "key-',
    'appended up to',
    'FAULT pause',
  ])
    assert.ok(text.includes(part), part);
});

test('property: any events make a timeline, bounded and in order', () => {
  const lane = fc.constantFrom('node-1', 'node-2', 'client-1', 'faults', 'world', '');
  const kinds = [
    'send',
    'deliver',
    'drop',
    'fault',
    'start',
    'crash',
    'role',
    'invoke',
    'ok',
    'info',
    'disk',
  ] as const;
  const labels = fc.constantFrom(
    cut,
    '{}',
    'heal',
    'pause',
    'resume',
    'end of x',
    'x',
    'leader in term 1',
    'failed: x',
  );
  const event = fc.record({
    kind: fc.constantFrom(...kinds),
    lane,
    label: labels,
    to: lane,
    id: fc.integer({ min: 1, max: 3 }),
    stepMs: fc.integer({ min: 0, max: 30 }),
  });
  fc.assert(
    fc.property(fc.array(event, { maxLength: 60 }), (list) => {
      let atMs = 0;
      const trace = list.map(({ stepMs, ...rest }, seq): TraceEvent => {
        atMs += stepMs;
        return { ...rest, seq, atMs };
      });
      const timeline = timelineOf(trace);
      for (const { fromMs, toMs } of [...timeline.spans, ...timeline.cuts]) assert.ok(fromMs < toMs);
      const sends = trace.filter(({ kind }) => kind === 'send').length;
      assert.ok(timeline.messages.length <= sends + trace.length);
      const lines = textTimeline(trace, { maxLines: 30, contextEvents: 5 }).split('\n');
      assert.ok(lines.length <= 31);
    }),
  );
});

test.run();
