/** Quotas and alarms in the workload: they are used under faults, a right store passes, and each checker sees what was spoiled. */

import * as assert from 'uvu/assert';
import { storedKey } from '../../src/kv/keyspace.ts';
import type { QuotaState } from '../../src/kv/quotas.ts';
import type { OperationRecord } from '../../src/sim/check/observations.ts';
import { checkUpkeep, timesWithoutExpiry, type UpkeepChange } from '../../src/sim/check/upkeep_check.ts';
import { QuotaLimitsKept } from '../../src/sim/invariants/quota_rules.ts';
import { type RunResult, runSeed } from '../../src/sim/run.ts';
import { test } from '../suite.ts';

const run: RunResult = await runSeed({
  seed: 1,
  ops: 1_500,
  parts: ['quotas', 'leases'],
  kinds: ['crash', 'moveLeader'],
});
const { operations, upkeep } = run.recorder;

function put(changed: Partial<OperationRecord>): OperationRecord {
  const template = operations.find(({ kind, outcome }) => kind === 'put' && outcome === 'ok')!;
  const steps = [{ type: 'put', key: 'k/00', value: 'v', ttlMs: 0 }] as const;
  return { ...template, steps, elseSteps: [], ...changed };
}

function change(about: UpkeepChange['about'], to: 'on' | 'off', invokedMs: number): UpkeepChange {
  return { about, to, invokedMs, settledMs: invokedMs + 5, outcome: 'ok' };
}

const nospace = { alarm: 'nospace' } as const;

function problems(changes: readonly UpkeepChange[], operation: OperationRecord): string[] {
  return checkUpkeep([operation], { changes }).map(({ message }) => message);
}

test('a right store passes, and all of it is used', () => {
  assert.is(run.failure?.message, undefined);
  const { changes } = upkeep!;
  for (const about of ['prefix', 'alarm'])
    assert.ok(
      changes.some((one) => about in one.about && one.to === 'on' && one.outcome === 'ok'),
      about,
    );
  for (const code of ['QUOTA_EXCEEDED', 'ALARM_NO_SPACE'])
    assert.ok(operations.filter(({ errorCode }) => errorCode === code).length > 3, code);
  assert.equal(checkUpkeep(operations, upkeep!), []);
});

test('a write that an alarm should have stopped is seen', () => {
  const raised = [change(nospace, 'on', 10), change(nospace, 'off', 50)];
  const during = put({ invokedMs: 20, settledMs: 30 });
  assert.is(problems(raised, during).length, 1);
  assert.is(problems(raised, put({ invokedMs: 12, settledMs: 30 })).length, 0, 'as it was raised');
  assert.is(problems(raised, put({ invokedMs: 20, settledMs: 52 })).length, 0, 'as it was cleared');
  assert.is(problems(raised, { ...during, steps: [{ type: 'delete', key: 'k/00' }] }).length, 0);
  const unsure = [{ ...change(nospace, 'off', 1), outcome: 'info' as const }, ...raised];
  assert.is(problems(unsure, during).length, 0, 'a clearing may still come');
});

test('refusals without a cause are seen', () => {
  const refused = (errorCode: string, invokedMs: number): OperationRecord =>
    put({ outcome: 'fail', errorCode, invokedMs, settledMs: invokedMs + 5 });
  const raised = [change(nospace, 'on', 10), change(nospace, 'off', 50)];
  assert.is(problems(raised, refused('ALARM_NO_SPACE', 20)).length, 0);
  for (const atMs of [1, 60]) assert.is(problems(raised, refused('ALARM_NO_SPACE', atMs)).length, 1);
  assert.is(problems(raised, refused('ALARM_CORRUPT', 20)).length, 1);
  const limited = (prefix: string): UpkeepChange[] => [change({ prefix }, 'on', 10)];
  assert.is(problems(limited('k/'), refused('QUOTA_EXCEEDED', 20)).length, 0);
  assert.is(problems(limited('k/1'), refused('QUOTA_EXCEEDED', 20)).length, 1);
  assert.is(problems(limited('k/'), refused('QUOTA_EXCEEDED', 1)).length, 1, 'before it was set');
});

test('nothing is due while the alarm corrupt may be raised', () => {
  const corrupt = { alarm: 'corrupt' } as const;
  const changes = [change(corrupt, 'on', 10), change(corrupt, 'off', 50)];
  const [time] = timesWithoutExpiry({ changes: [...changes, change(nospace, 'on', 70)] });
  assert.is(time!.fromMs, 10);
  assert.ok(time!.toMs >= 55);
});

test('a limit that is passed is seen, where it was in force all the time', () => {
  const told: string[] = [];
  const look = (...states: Partial<QuotaState>[]): number => {
    const limits = new QuotaLimitsKept(1, (_, __, message) => void told.push(message));
    told.length = 0;
    const none = { maxBytes: 100, maxKeys: 5, maxRequestsPerSecond: 0, countingFrom: 0, bytes: 90, keys: 5 };
    const prefix = storedKey(new TextEncoder().encode('k/'));
    const list: QuotaState[] = [];
    for (const state of states) {
      list[0] = { ...none, prefix, ...state };
      limits.look(list);
    }
    return told.length;
  };
  assert.is(look({}, { bytes: 100 }), 0);
  assert.is(look({}, { bytes: 101 }), 1);
  assert.is(look({}, { keys: 6 }), 1);
  assert.is(look({ bytes: 200, keys: 9 }, { bytes: 190, keys: 8 }), 0, 'set below what there was');
  assert.is(look({ bytes: 200 }, { bytes: 201 }), 1);
  assert.is(look({ countingFrom: 7 }, { bytes: 201 }), 0, 'counted meanwhile');
});

test.run();
