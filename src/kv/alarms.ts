/**
 * Alarms: what is wrong with the cluster, as replicated state, and what is refused while it is.
 *
 * NOSPACE refuses what could make the store larger, CORRUPT whatever changes keys or drops history: nodes whose stores differ would drift further apart. Reads go on.
 *
 * Invariants: an alarm is identified by (type, member) and there once; listed by type and member; at most MAX_ALARMS.
 */
import type { Command, Operation } from './command.ts';
import type { Refusal } from './refusal.ts';
import type { Alarm, AlarmType } from './upkeep_command.ts';

/** Part of the state's definition, like the limits: the same on every node. */
export const MAX_ALARMS = 1_000;

export class AlarmTable {
  private alarms: Alarm[] = [];
  private corrupt = false;
  private noSpace: Refusal | undefined;

  get list(): readonly Alarm[] {
    return this.alarms;
  }

  has(type: AlarmType): boolean {
    return this.alarms.some((alarm) => alarm.type === type);
  }

  /** Gives the alarm as it is now; undefined: there are MAX_ALARMS. */
  raise(alarm: Alarm): Alarm | undefined {
    const known = this.alarms.find((other) => isSame(other, alarm));
    // Once somebody has raised it, the node does not take it back.
    if (known !== undefined && (alarm.byNode || !known.byNode)) return known;
    if (known === undefined && this.alarms.length >= MAX_ALARMS) return undefined;
    this.set([...this.alarms.filter((other) => !isSame(other, alarm)), alarm]);
    return alarm;
  }

  /** Gives the alarm that was there. `byNode`: only one that was raised that way. */
  clear(alarm: Alarm): Alarm | undefined {
    const known = this.alarms.find((other) => isSame(other, alarm));
    if (known === undefined || (alarm.byNode && !known.byNode)) return undefined;
    this.set(this.alarms.filter((other) => other !== known));
    return known;
  }

  /** Why a command may not be carried out; undefined: it may. */
  refuses(command: Command): Refusal | undefined {
    if (this.alarms.length === 0) return undefined;
    if (this.corrupt && changesKeys(command)) return CORRUPT;
    return this.noSpace === undefined || makesRoom(command) ? undefined : this.noSpace;
  }

  restore(alarms: readonly Alarm[]): void {
    this.set([...alarms]);
  }

  private set(alarms: Alarm[]): void {
    this.alarms = alarms.sort(compareAlarms);
    this.corrupt = this.has('corrupt');
    const full = alarms.filter(({ type }) => type === 'nospace');
    this.noSpace = full.some(({ byNode }) => !byNode) ? NO_SPACE : full.length > 0 ? FULL : undefined;
  }
}

/** By type, then by member. */
export function compareAlarms(a: Alarm, b: Alarm): number {
  if (a.type !== b.type) return a.type === 'nospace' ? -1 : 1;
  return a.member - b.member;
}

function isSame(a: Alarm, b: Alarm): boolean {
  return a.type === b.type && a.member === b.member;
}

const CORRUPT: Refusal = {
  code: 'ALARM_CORRUPT',
  message: 'the alarm CORRUPT is active: nodes differ, and nothing is written until it is cleared',
};
const NO_SPACE: Refusal = {
  code: 'ALARM_NO_SPACE',
  message: 'the alarm NOSPACE is active: until it is cleared, only deletes and compaction are taken',
};
const FULL: Refusal = {
  code: 'NO_SPACE',
  message: 'the disk of a node is full: until there is room, only deletes and compaction are taken',
};

/** Whether a command cannot make the store larger. */
export function makesRoom(command: Command): boolean {
  switch (command.type) {
    case 'write':
      return isDeletion(command.operation);
    case 'txn':
      return command.success.every(isDeletion) && command.failure.every(isDeletion);
    case 'leaseGrant':
      return false;
    case 'asUser':
      return makesRoom(command.command);
    default:
      return true;
  }
}

function changesKeys(command: Command): boolean {
  switch (command.type) {
    case 'write':
    case 'expire':
    case 'compact':
    case 'leaseGrant':
    case 'leaseRevoke':
    case 'leaseExpire':
      return true;
    case 'txn':
      return !(command.success.every(isRead) && command.failure.every(isRead));
    case 'asUser':
      return changesKeys(command.command);
    default:
      return false;
  }
}

function isDeletion(operation: Operation): boolean {
  if (operation.type === 'txn') {
    return operation.success.every(isDeletion) && operation.failure.every(isDeletion);
  }
  return operation.type === 'delete' || operation.type === 'range';
}

function isRead(operation: Operation): boolean {
  if (operation.type === 'txn') return operation.success.every(isRead) && operation.failure.every(isRead);
  return operation.type === 'range';
}
