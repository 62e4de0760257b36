/**
 * Commands that look after the store rather than its keys: alarms, quotas (quota_command.ts), and what comes of them. Compaction is in command.ts.
 *
 * Invariant: as for every command, what they do follows from the state and the command alone. Byte form: wire/upkeep_codec.ts.
 */
import type { QuotaCommand, QuotaCountedCommand } from './quota_command.ts';

/** nospace: what would make the store larger is refused. corrupt: nothing may change keys any more. */
export type AlarmType = 'nospace' | 'corrupt';

export interface Alarm {
  readonly type: AlarmType;
  /** Whom it concerns; 0: nobody in particular. */
  readonly member: number;
  /** A node raised it on its own account, and takes it back by itself when the cause is gone. Otherwise it stays until somebody clears it. */
  readonly byNode: boolean;
}

/** Raising an alarm that there is, and clearing one that there is not, changes nothing. */
export interface AlarmCommand {
  readonly type: 'alarm';
  readonly action: 'raise' | 'clear';
  readonly alarm: Alarm;
}

/** The alarms that a command concerned: the one raised (or there before), the one cleared; none when there was nothing to clear. */
export interface AlarmsResult {
  readonly type: 'alarms';
  readonly revision: number;
  readonly alarms: readonly Alarm[];
}

export type UpkeepCommand = AlarmCommand | QuotaCommand | QuotaCountedCommand;
export type UpkeepResult = AlarmsResult;
