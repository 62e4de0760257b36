/**
 * Alarms and quotas as callers met them: who is refused was refused by something that can have been there, and while an alarm certainly was, nobody wrote.
 *
 * When a change took effect lies between its call and its answer; one of unknown outcome may take effect at any time after its call. That what was refused left nothing behind is session_check.ts's
 * affair, that limits are kept and counts are right that of the nodes' own figures (invariants/quota_rules.ts).
 */
import type { Disturbance } from './lease_check.ts';
import { type Change, type OperationRecord, type Step, type Violation, Violations } from './observations.ts';

const EXPIRED_AFTER_MS = 2_000;

export interface UpkeepChange extends Change {
  /** An alarm by its type, or a quota by its prefix. */
  readonly about: { readonly alarm: 'nospace' | 'corrupt' } | { readonly prefix: string };
  readonly to: 'on' | 'off';
}

export interface UpkeepRecord {
  /** In the order of their calls; of one alarm the next is called when the one before has its answer. */
  readonly changes: readonly UpkeepChange[];
}

export function checkUpkeep(
  operations: readonly OperationRecord[],
  { changes }: UpkeepRecord,
): readonly Violation[] {
  const found = new Violations('upkeep');
  const alarms = { nospace: alarmTimes(changes, 'nospace'), corrupt: alarmTimes(changes, 'corrupt') };
  for (const operation of operations) {
    const { id, kind, outcome, errorCode, invokedMs, settledMs } = operation;
    const details = { operation: id, kind, invokedMs, settledMs };
    const steps = [...operation.steps, ...operation.elseSteps];
    if (outcome === 'ok') {
      for (const [type, times] of Object.entries(alarms)) {
        const grows = steps.some(makesLarger);
        if (!grows) continue;
        const alarm = times.find(
          ({ surelyFromMs, surelyToMs }) => surelyFromMs < invokedMs && settledMs < surelyToMs,
        );
        if (alarm !== undefined)
          found.add(`${kind} ${id} was carried out while the alarm ${type} was raised`, details);
      }
    } else if (errorCode === 'ALARM_NO_SPACE' || errorCode === 'ALARM_CORRUPT') {
      const times = errorCode === 'ALARM_CORRUPT' ? alarms.corrupt : alarms.nospace;
      if (!times.some(({ mayFromMs, mayToMs }) => mayFromMs <= settledMs && mayToMs >= invokedMs))
        found.add(`${kind} ${id} was refused with ${errorCode}, and there was no such alarm`, details);
    } else if (
      errorCode === 'QUOTA_EXCEEDED' &&
      !steps.some((step) => mayBeLimited(step, settledMs, changes))
    )
      found.add(`${kind} ${id} was refused with QUOTA_EXCEEDED, and no quota is on what it puts`, details);
  }
  return found.list;
}

/** While the alarm CORRUPT may have been raised nothing expires, and for a moment after. */
export function timesWithoutExpiry({ changes }: UpkeepRecord): Disturbance[] {
  return alarmTimes(changes, 'corrupt').map(({ mayFromMs, mayToMs }) => ({
    fromMs: mayFromMs,
    toMs: mayToMs + EXPIRED_AFTER_MS,
  }));
}

interface AlarmTime {
  readonly mayFromMs: number;
  readonly mayToMs: number;
  readonly surelyFromMs: number;
  readonly surelyToMs: number;
}

function alarmTimes(changes: readonly UpkeepChange[], type: 'nospace' | 'corrupt'): AlarmTime[] {
  const own = changes.filter(({ about }) => 'alarm' in about && about.alarm === type);
  return own.flatMap(({ to, outcome, invokedMs, settledMs }, at): AlarmTime[] => {
    if (to === 'off' || outcome === 'fail') return [];
    const later = own.slice(at + 1).filter((change) => change.to === 'off' && change.outcome !== 'fail');
    // A clearing that nobody has heard of may still come.
    const unsure = own.slice(0, at).some((change) => change.to === 'off' && change.outcome === 'info');
    const cleared = later.find((change) => change.outcome === 'ok' && outcome === 'ok');
    return [
      {
        mayFromMs: invokedMs,
        mayToMs: cleared?.settledMs ?? Number.POSITIVE_INFINITY,
        surelyFromMs: outcome === 'ok' && !unsure ? settledMs : Number.POSITIVE_INFINITY,
        surelyToMs: later[0]?.invokedMs ?? Number.POSITIVE_INFINITY,
      },
    ];
  });
}

function makesLarger({ type }: Step): boolean {
  return type === 'put' || type === 'touch' || type === 'grant';
}

function mayBeLimited(step: Step, byMs: number, changes: readonly UpkeepChange[]): boolean {
  return (
    step.type === 'put' &&
    changes.some(
      ({ about, to, outcome, invokedMs }) =>
        'prefix' in about &&
        to === 'on' &&
        outcome !== 'fail' &&
        invokedMs <= byMs &&
        step.key.startsWith(about.prefix),
    )
  );
}
