/** The rest of the data model under faults: it is all used, a right store passes, and each checker sees a record that was spoiled. */

import * as assert from 'uvu/assert';
import { checkCompactions } from '../../src/sim/check/compaction_check.ts';
import { EventHistory } from '../../src/sim/check/event_history.ts';
import { LeaseHistory } from '../../src/sim/check/lease_history.ts';
import { checkNested } from '../../src/sim/check/nested_check.ts';
import type { OperationRecord } from '../../src/sim/check/observations.ts';
import { checkRights } from '../../src/sim/check/rights_check.ts';
import { LOAD_PARTS } from '../../src/sim/load/model_choices.ts';
import { type RunResult, runSeed } from '../../src/sim/run.ts';
import { test } from '../suite.ts';

const run: RunResult = await runSeed({
  seed: 4,
  ops: 800,
  // The others have tests of their own.
  parts: LOAD_PARTS.filter((part) => part !== 'locks' && part !== 'quotas'),
  kinds: ['crash', 'moveLeader'],
});
const { operations, watchers, rights } = run.recorder;

function ok(kind: OperationRecord['kind']): OperationRecord[] {
  return operations.filter((operation) => operation.kind === kind && operation.outcome === 'ok');
}

/** The record with one operation in place of another. */
function with_(old: OperationRecord, changed: Partial<OperationRecord>): OperationRecord[] {
  return operations.map((operation) => (operation === old ? { ...operation, ...changed } : operation));
}

function historyOf(record: readonly OperationRecord[]): EventHistory {
  return new EventHistory({ operations: record, watchers });
}

function leaseProblems(record: readonly OperationRecord[]): string[] {
  const history = new LeaseHistory(record, watchers, historyOf(record));
  return history.violations(true).map(({ message }) => message);
}

test('a right store passes, and all of it is used', () => {
  assert.is(run.failure?.message, undefined);
  for (const kind of ['nested', 'range', 'leaseGrant', 'leaseKeepAlive', 'leaseLook', 'compact'] as const)
    assert.ok(ok(kind).length > 0, kind);
  assert.ok(watchers.some(({ filters, batches }) => filters !== undefined && batches.length > 0));
  const history = historyOf(operations);
  const { judged, undecided } = checkNested(operations, history);
  assert.ok(judged > 20 && undecided < judged / 10, `${judged} judged, ${undecided} undecided`);
  const { allowed, refused } = checkRights(operations, watchers, history, rights!);
  assert.ok(allowed > 20 && refused > 20, `${allowed} allowed, ${refused} refused`);
  assert.ok(operations.some(({ errorCode }) => errorCode === 'DUPLICATE_KEY'));
});

test('another branch, a wrong count and a lost write of a nested transaction are seen', () => {
  const history = historyOf(operations);
  const one = ok('nested').find(({ nested }) => nested!.answer!.results.length > 0)!;
  const answer = one.nested!.answer!;
  const spoiled = [
    { ...answer, succeeded: !answer.succeeded },
    { ...answer, results: answer.results.slice(1) },
  ];
  for (const wrong of spoiled) {
    const record = with_(one, { nested: { asked: one.nested!.asked, answer: wrong } });
    assert.ok(checkNested(record, history).violations.length > 0);
  }
  const range = ok('range').find(({ nested }) => nested!.answer!.results[0]?.type === 'range')!;
  const shown = range.nested!.answer!.results[0]!;
  if (shown.type !== 'range') throw new Error('no range');
  const counted = { succeeded: true, results: [{ ...shown, count: shown.count + 1 }] };
  const miscounted = with_(range, { nested: { asked: range.nested!.asked, answer: counted } });
  assert.is(checkNested(miscounted, history).violations.length, 1);
  const put = ok('nested').find(({ taken }) => taken?.some(({ type }) => type === 'put'))!;
  const lost = historyOf(operations);
  const versions = lost.byRevision.get(put.revision)!;
  versions.splice(0, versions.length);
  assert.ok(checkNested(operations, lost).violations.length > 0);
});

test('a time to live that begins anew or is lost, and a lease that is found after its end, are seen', () => {
  assert.equal(leaseProblems(operations), []);
  const [look] = ok('leaseLook').filter(
    ({ results: [result] }) => result?.type === 'look' && result.remainingMs > 1_500,
  );
  const [result] = look!.results;
  if (result?.type !== 'look') throw new Error('no look');
  for (const remainingMs of [1_000_000, 0]) {
    const problems = leaseProblems(with_(look!, { results: [{ ...result, remainingMs }] }));
    assert.is(problems.length, 1, `${remainingMs} ms left`);
  }
  const gone = leaseProblems(with_(ok('leaseGrant')[0]!, { results: [{ ...result, remainingMs: 0 }] }));
  assert.equal(gone, [], 'nothing is said of a lease that nobody was given');
  const grant = ok('leaseGrant').find(({ results: [granted] }) =>
    operations.some(
      ({ kind, steps: [step], outcome }) =>
        kind === 'put' &&
        outcome === 'ok' &&
        step?.type === 'put' &&
        granted?.type === 'lease' &&
        step.lease === granted.lease,
    ),
  )!;
  const [granted] = grant.results;
  if (granted?.type !== 'lease') throw new Error('no lease');
  const revoke: OperationRecord = {
    ...grant,
    id: 90_001,
    kind: 'leaseRevoke',
    steps: [{ type: 'revoke', lease: granted.lease }],
    results: [{ type: 'done' }],
    invokedMs: grant.settledMs,
    settledMs: grant.settledMs,
  };
  assert.ok(leaseProblems([...operations, revoke]).length > 0, 'used after it was revoked');
});

test('a read below a compaction, and a refusal that nobody asked for, are seen', () => {
  const history = historyOf(operations);
  const template = ok('get')[0]!;
  const compaction: OperationRecord = {
    ...template,
    id: 90_000,
    kind: 'compact',
    steps: [{ type: 'compact', revision: 50 }],
    results: [{ type: 'done' }],
    invokedMs: 10,
    settledMs: 20,
  };
  const read = (
    outcome: 'ok' | 'fail',
    errorCode: string | undefined,
    invokedMs: number,
  ): OperationRecord => ({
    ...template,
    level: 'linearizable',
    atRevision: 40,
    outcome,
    errorCode,
    invokedMs,
    settledMs: invokedMs + 5,
  });
  const problems = (record: OperationRecord[]): number => checkCompactions(record, history, undefined).length;
  assert.is(problems([compaction, read('fail', 'COMPACTED', 30)]), 0);
  assert.is(problems([compaction, read('fail', 'TIMEOUT', 30)]), 0);
  assert.is(problems([compaction, read('ok', undefined, 15)]), 0, 'at the same time');
  assert.is(problems([compaction, read('ok', undefined, 30)]), 1);
  assert.is(problems([compaction, read('fail', 'FUTURE_REVISION', 30)]), 1);
  assert.is(problems([compaction, read('fail', 'COMPACTED', 1)]), 1, 'before it was asked for');
});

test('what is carried out without a right, or refused in spite of one, is seen', () => {
  const history = historyOf(operations);
  const without = {
    ...rights!,
    changes: rights!.changes.filter(({ invokedMs }) => invokedMs > 0).slice(0, 0),
  };
  assert.ok(checkRights(operations, watchers, history, without).violations.length > 0);
  const everything = rights!.changes.filter(({ invokedMs, to }) => invokedMs === 0 && to === 'readwrite');
  const refused = operations.filter(
    ({ client, errorCode }) => rights!.userOf.has(client) && errorCode === 'PERMISSION_DENIED',
  );
  const found = checkRights(refused, [], history, { ...rights!, changes: everything });
  assert.ok(found.violations.length > 0);
});

test.run();
