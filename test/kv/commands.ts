/**
 * Short ways to write commands in tests, and a state machine on the plain engine with a log index of its own.
 */
import type {
  Command,
  CommandResult,
  Compare,
  DeleteOp,
  Operation,
  PutOp,
  RangeOp,
  TouchOp,
  TxnOp,
  TxnResult,
  WriteId,
} from '../../src/kv/command.ts';
import { storedKey } from '../../src/kv/keyspace.ts';
import type { StateMachineLimits } from '../../src/kv/limits.ts';
import { StateMachine } from '../../src/kv/state_machine.ts';
import type { StoredRecord } from '../../src/storage/record.ts';
import { PLAIN_SELECTION } from '../../src/wire/selection_codec.ts';
import { PlainEngine } from './plain_engine.ts';

export const LIMITS: StateMachineLimits = {
  maxKeyBytes: 64,
  maxValueBytes: 1024,
  maxCommandBytes: 16 * 1024,
  maxTxnOperations: 32,
  maxTxnDepth: 3,
  maxDeleteRangeKeys: 16,
  maxSessions: 4,
  maxLeases: 8,
  maxLeaseKeys: 5,
  minLeaseTtlMs: 100,
  sessionIdleMs: 1_000,
  maxSessionResults: 40,
  maxUsers: 8,
  maxRoles: 8,
  maxRolesPerUser: 4,
  maxGrantsPerRole: 8,
  maxAuthBytes: 4_096,
};

export const NO_ID: WriteId = { session: 0, sequence: 0, acknowledgedBelow: 0 };

export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
export function text(view: Uint8Array): string {
  return new TextDecoder().decode(view);
}
export function key(name: string): Uint8Array {
  return storedKey(bytes(name));
}
export function keyName(stored: Uint8Array): string {
  return text(stored.subarray(1));
}

export function put(name: string, value: string, more: Partial<PutOp> = {}): PutOp {
  const rest = { ttlMs: 0, lease: 0n, prevKv: false, ignoreValue: false, ignoreLease: false };
  return { type: 'put', key: key(name), value: bytes(value), ...rest, ...more };
}
export function remove(name: string, end?: string, prevKv = false): DeleteOp {
  return { type: 'delete', key: key(name), end: end === undefined ? undefined : key(end), prevKv };
}
export function touch(name: string, ttlMs: number): TouchOp {
  return { type: 'touch', key: key(name), ttlMs };
}
export function range(name: string, end?: string, more: Partial<RangeOp> = {}): RangeOp {
  const to = end === undefined ? undefined : key(end);
  return { type: 'range', key: key(name), end: to, revision: 0, ...PLAIN_SELECTION, ...more };
}
export function compare(
  target: Compare['target'],
  result: Compare['result'],
  name: string,
  operand: number | string | bigint,
  to?: string,
): Compare {
  const value = typeof operand === 'string' ? bytes(operand) : new Uint8Array(0);
  const lease = typeof operand === 'bigint' ? operand : 0n;
  const number = typeof operand === 'number' ? operand : 0;
  return {
    target,
    result,
    key: key(name),
    end: to === undefined ? undefined : key(to),
    value,
    lease,
    number,
  };
}
export function nested(
  success: readonly Operation[],
  compares: readonly Compare[] = [],
  failure: readonly Operation[] = [],
): TxnOp {
  return { type: 'txn', compares, success, failure };
}
export function write(operation: PutOp | DeleteOp | TouchOp, id: WriteId = NO_ID): Command {
  return { type: 'write', id, operation };
}
export function txn(
  success: readonly Operation[],
  compares: readonly Compare[] = [],
  failure: readonly Operation[] = [],
  id: WriteId = NO_ID,
): Command {
  return { type: 'txn', id, compares, success, failure };
}

/** What a command was refused with; 'fine': it was not. */
export function code(result: CommandResult): string {
  return result.type === 'failed' ? result.code : 'fine';
}
export function asTxn(result: CommandResult): TxnResult {
  if (result.type !== 'txn') throw new Error(`a ${result.type} instead of a txn: ${code(result)}`);
  return result;
}

/** What a test looks at in a record. */
export function shown(record: StoredRecord | undefined): unknown {
  if (record === undefined) return undefined;
  const { createRevision, modRevision, version } = record;
  return [keyName(record.key), text(record.value), createRevision, modRevision, version];
}

export class Store {
  readonly engine = new PlainEngine();
  readonly machine: StateMachine;
  index = 0;
  timeMs = 1_000;

  constructor(limits: Partial<StateMachineLimits> = {}) {
    this.machine = new StateMachine({ engine: this.engine, limits: { ...LIMITS, ...limits } });
  }

  run(command: Command): CommandResult {
    this.index++;
    return this.machine.apply({ index: this.index, term: 1, timeMs: this.timeMs }, command);
  }

  /** The live user keys, in order. */
  all(): StoredRecord[] {
    return this.engine.range(
      { start: Uint8Array.of(1), end: Uint8Array.of(2) },
      this.machine.revision,
      false,
      1e9,
    );
  }

  get(name: string): unknown {
    const record = this.engine.latest(key(name));
    return record === undefined || record.flags !== 0 ? undefined : shown(record);
  }
}
