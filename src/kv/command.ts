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
  /** The key keeps its value (`value` is empty then); a missing key refuses the command: KEY_NOT_FOUND. */
  readonly ignoreValue: boolean;
  /** The key keeps its lease (`lease` is 0n then); a missing key refuses the command: KEY_NOT_FOUND. */
  readonly ignoreLease: boolean;
}
export interface DeleteOp {
  readonly type: 'delete';
  readonly key: Uint8Array;
  /** Deletes [key, end) when present. */
  readonly end: Uint8Array | undefined;
  readonly prevKv: boolean;
}
export type SortTarget = 'key' | 'version' | 'createRevision' | 'modRevision' | 'value';
/**
 * 'none' with a target other than the key means what it means in etcd: the limit counts the first keys of the range (where no filter is given), which are then sorted
 * upwards.
 */
export type SortOrder = 'none' | 'ascend' | 'descend';
/** What a range shows of the keys that it holds. Equal ones of a sort lie in the order of their keys. */
export interface RangeSelection {
  /** 0 for no limit. Counts what the filters let through, after sorting. */
  readonly limit: number;
  readonly sortTarget: SortTarget;
  readonly sortOrder: SortOrder;
  readonly keysOnly: boolean;
  /** No records, only their count. */
  readonly countOnly: boolean;
  /** The result counts every key of the range, whatever limit and filters say. Otherwise it counts the records that it shows. */
  readonly counted: boolean;
  /** Shown are keys whose revisions lie within these bounds; 0 for no bound. */
  readonly minModRevision: number;
  readonly maxModRevision: number;
  readonly minCreateRevision: number;
  readonly maxCreateRevision: number;
}
export interface RangeOp extends RangeSelection {
  readonly type: 'range';
  readonly key: Uint8Array;
  readonly end: Uint8Array | undefined;
  /** 0: the newest, with what earlier operations of this transaction wrote. */
  readonly revision: number;
}
/** Sets a key's time to live anew without changing its value (a new modRevision and version all the same). */
export interface TouchOp {
  readonly type: 'touch';
  readonly key: Uint8Array;
  /** 0 removes the expiry. */
  readonly ttlMs: number;
}
/** What a transaction says, the whole one as well as one within another. */
export interface TxnBody {
  /** All must hold for `success` to be carried out; of a nested transaction too they see the store as it was before the whole. */
  readonly compares: readonly Compare[];
  readonly success: readonly Operation[];
  readonly failure: readonly Operation[];
}
export interface TxnOp extends TxnBody {
  readonly type: 'txn';
}
export type Operation = PutOp | DeleteOp | RangeOp | TouchOp | TxnOp;

export type CompareTarget = 'value' | 'version' | 'createRevision' | 'modRevision' | 'lease';
export type CompareResult = '=' | '!=' | '>' | '<';
export interface Compare {
  readonly target: CompareTarget;
  readonly result: CompareResult;
  readonly key: Uint8Array;
  /** When present, the comparison must hold for each key in [key, end); where there is none, as for a missing key. */
  readonly end: Uint8Array | undefined;
  /** The value for target 'value', else empty; a missing key makes every value comparison false. */
  readonly value: Uint8Array;
  /** For the target 'lease', else 0n. A missing key has lease 0n. */
  readonly lease: bigint;
  /** For the other targets, else 0; those of a missing key are 0. */
  readonly number: number;
}

export interface TxnCommand extends TxnBody {
  readonly type: 'txn';
  readonly id: WriteId;
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
  /** The newest when it was read. */
  readonly revision: number;
  readonly records: readonly StoredRecord[];
  /** Records beyond the limit. */
  readonly more: boolean;
  /** See RangeSelection.counted. */
  readonly count: number;
}
export interface TxnResult {
  readonly type: 'txn';
  /** Of a nested transaction too: the one after the whole. */
  readonly revision: number;
  readonly succeeded: boolean;
  /**
   * One for each operation of the branch that was taken. As in etcd, the revision of each is the store's when its turn was over: until something is
   * written it is the one before the transaction.
   */
  readonly results: readonly OperationResult[];
}
export type OperationResult = PutResult | DeleteResult | TouchResult | RangeResult | TxnResult;
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
