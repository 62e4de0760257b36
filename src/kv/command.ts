/**
 * What the replicated log asks the state machine to do, and what comes of it.
 *
 * Invariants: a command is deterministic (same state, same command and same ApplyContext give the same result on every node); keys are
 * stored keys (keyspace.ts). The byte form is wire/command_codec.ts; it carries a version, so that leases, locks, users and roles can
 * be added without a change to the log's format.
 */
import type { ErrorCode } from '../errors.ts';
import type { StoredRecord } from '../storage/record.ts';
import type { AuthChange } from './auth_types.ts';
import type { UpkeepCommand, UpkeepResult } from './upkeep_command.ts';

/** Identifies a write for exactly-once retries (Raft thesis 6.3). Session 0: no such protection. */
export interface WriteId {
  readonly session: number;
  /** From 1, one more with every new write of the session; a retry repeats it. */
  readonly sequence: number;
  /** Every write below this sequence has been answered to the client: their results may be forgotten. */
  readonly acknowledgedBelow: number;
}

export interface PutOp {
  readonly type: 'put';
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** The key expires this long after the entry's time; 0 for never. */
  readonly ttlMs: number;
  readonly lease: bigint;
  readonly prevKv: boolean;
}
export interface DeleteOp {
  readonly type: 'delete';
  readonly key: Uint8Array;
  /** Deletes [key, end) when present. */
  readonly end: Uint8Array | undefined;
  readonly prevKv: boolean;
}
export interface RangeOp {
  readonly type: 'range';
  readonly key: Uint8Array;
  readonly end: Uint8Array | undefined;
  /** 0: the revision just before this transaction. */
  readonly revision: number;
  readonly limit: number;
  readonly reverse: boolean;
  readonly keysOnly: boolean;
}
/** Sets a key's time to live anew without changing its value (a new modRevision and version all the same). */
export interface TouchOp {
  readonly type: 'touch';
  readonly key: Uint8Array;
  /** 0 removes the expiry. */
  readonly ttlMs: number;
}
export type Operation = PutOp | DeleteOp | RangeOp | TouchOp;

export type CompareTarget = 'value' | 'version' | 'createRevision' | 'modRevision' | 'lease';
export type CompareResult = '=' | '!=' | '>' | '<';
export interface Compare {
  readonly target: CompareTarget;
  readonly result: CompareResult;
  readonly key: Uint8Array;
  /** The value for target 'value'; a missing key makes every value comparison false. Others compare with number, 0 for a missing key. */
  readonly value: Uint8Array;
  readonly number: number;
}

export interface TxnCommand {
  readonly type: 'txn';
  readonly id: WriteId;
  readonly compares: readonly Compare[];
  readonly success: readonly Operation[];
  readonly failure: readonly Operation[];
}
/** One operation outside of a transaction: the common case. */
export interface WriteCommand {
  readonly type: 'write';
  readonly id: WriteId;
  readonly operation: PutOp | DeleteOp | TouchOp;
}
export interface OpenSessionCommand {
  readonly type: 'openSession';
}
export interface CloseSessionCommand {
  readonly type: 'closeSession';
  readonly session: number;
}
/** Deletes those of the given keys whose expiry has passed at the entry's time. Proposed by the leader. */
export interface ExpireCommand {
  readonly type: 'expire';
  readonly keys: readonly Uint8Array[];
}
/** What was superseded at or below the revision may go, and is not read any more. */
export interface CompactCommand {
  readonly type: 'compact';
  readonly revision: number;
}
/** Changes users, roles or rights. */
export interface AuthChangeCommand {
  readonly type: 'authChange';
  readonly change: AuthChange;
}
/** A command with who asks for it. Made by nodes, never by clients. */
export interface AsUserCommand {
  readonly type: 'asUser';
  /** Empty: the cluster itself. */
  readonly user: string;
  /** Of the user when asking: who has another password or name by the time the command is applied, did not ask. 0 for the cluster itself. */
  readonly generation: number;
  readonly command: PlainCommand;
}
/** A lease with a time to live. A retry as WriteId says. */
export interface LeaseGrantCommand {
  readonly type: 'leaseGrant';
  readonly id: WriteId;
  /** 0n: the store chooses. Signed, of 64 bits, as everywhere. */
  readonly lease: bigint;
  readonly ttlMs: number;
}
/** Ends a lease and removes its keys. */
export interface LeaseRevokeCommand {
  readonly type: 'leaseRevoke';
  readonly id: WriteId;
  readonly lease: bigint;
}
/** Gives leases their whole time anew; those that are gone are passed over. Proposed by the leader, for many keep-alives at a time. */
export interface LeaseRenewCommand {
  readonly type: 'leaseRenew';
  readonly leases: readonly bigint[];
}
/** Ends those of the leases whose time has passed at the entry's time. Proposed by the leader. */
export interface LeaseExpireCommand {
  readonly type: 'leaseExpire';
  readonly leases: readonly bigint[];
}
export type LeaseCommand = LeaseGrantCommand | LeaseRevokeCommand | LeaseRenewCommand | LeaseExpireCommand;
export type PlainCommand =
  | LeaseCommand
  | TxnCommand
  | WriteCommand
  | OpenSessionCommand
  | CloseSessionCommand
  | ExpireCommand
  | CompactCommand
  | AuthChangeCommand
  | UpkeepCommand;
export type Command = PlainCommand | AsUserCommand;

export interface PutResult {
  readonly type: 'put';
  /** The store's revision after the write. */
  readonly revision: number;
  readonly previous: StoredRecord | undefined;
}
export interface DeleteResult {
  readonly type: 'delete';
  readonly revision: number;
  readonly deleted: number;
  readonly previous: readonly StoredRecord[];
}
export interface TouchResult {
  readonly type: 'touch';
  readonly revision: number;
  /** False: there was no such key, nothing was written. */
  readonly found: boolean;
}
export interface RangeResult {
  readonly type: 'range';
  readonly revision: number;
  readonly records: readonly StoredRecord[];
  readonly more: boolean;
}
export interface TxnResult {
  readonly type: 'txn';
  readonly revision: number;
  readonly succeeded: boolean;
  readonly results: readonly (PutResult | DeleteResult | TouchResult | RangeResult)[];
}
export interface SessionResult {
  readonly type: 'session';
  readonly revision: number;
  readonly session: number;
}
/** A lease was granted. */
export interface LeaseResult {
  readonly type: 'lease';
  readonly revision: number;
  readonly lease: bigint;
  readonly ttlMs: number;
}
/** A command that was refused in apply, on every node alike. Nothing of it took effect. */
export interface FailedResult {
  readonly type: 'failed';
  readonly revision: number;
  readonly code: ErrorCode;
  readonly message: string;
}
/** Expire, compact, closeSession and what is done to leases. */
export interface DoneResult {
  readonly type: 'done';
  readonly revision: number;
}
/** Records in a result are copies: they outlive the turn. */
export type CommandResult =
  | PutResult
  | DeleteResult
  | TouchResult
  | RangeResult
  | TxnResult
  | SessionResult
  | LeaseResult
  | FailedResult
  | DoneResult
  | UpkeepResult;

/** What the log entry around a command says. */
export interface ApplyContext {
  readonly index: number;
  readonly term: number;
  /** The proposing leader's wall clock; apply never lets the store's time go back. */
  readonly timeMs: number;
}

/** One change to a user key, as watchers see it. */
export interface KvEvent {
  readonly type: 'put' | 'delete';
  /** For a delete: the tombstone (empty value, createRevision 0). Copies: outlive the turn. */
  readonly record: StoredRecord;
  /** The version that was replaced, where somebody asked for it. */
  readonly previous: StoredRecord | undefined;
}
