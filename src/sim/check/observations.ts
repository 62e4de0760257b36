/**
 * What clients of a store did and saw, as plain data: the input of the checkers in this folder.
 *
 * One shape for every call: an operation is a list of steps (a put has one, a transaction several, with a second list for its else branch). Keys and values are
 * strings; checkers rely on values being unique: a value is put by one step of one operation, ever. Revisions are the store's; times are milliseconds of one
 * common clock (the simulator's, or the monotonic clock of one recording process).
 *
 * Invariants: `ok` operations carry the revision of their answer and one result for each step of the branch that was taken; `fail` says that the operation
 * certainly did not happen, `info` that nobody knows.
 */
import type { TxnAnswer, TxnAsked } from './reference_txn.ts';

/** The room of those who stand in line for locks and offices: what is put there is put by the recipes, and judged by contention_check.ts. */
export const LINES = 'c/';

/** ok: it happened. fail: it certainly did not. info: unknown, it may still happen later. */
export type Outcome = 'ok' | 'fail' | 'info';

/** Something that is changed beside the work of the clients. */
export interface Change {
  readonly invokedMs: number;
  /** Infinity: it has no answer yet. */
  settledMs: number;
  outcome: Outcome;
}

export type Step =
  | {
      readonly type: 'put';
      readonly key: string;
      readonly value: string;
      readonly ttlMs: number;
      /** The lease that the key is attached to, as a decimal number; none when left out. */
      readonly lease?: string | undefined;
    }
  | { readonly type: 'delete'; readonly key: string }
  | { readonly type: 'deleteRange'; readonly start: string; readonly end: string }
  | { readonly type: 'touch'; readonly key: string; readonly ttlMs: number }
  | { readonly type: 'get'; readonly key: string }
  | {
      readonly type: 'scan';
      readonly start: string;
      readonly end: string;
      /** 0: no limit. */
      readonly limit: number;
      readonly reverse: boolean;
    }
  | { readonly type: 'grant'; readonly ttlMs: number }
  | { readonly type: 'revoke'; readonly lease: string }
  | { readonly type: 'keepAlive'; readonly lease: string }
  | { readonly type: 'look'; readonly lease: string }
  | { readonly type: 'compact'; readonly revision: number };

/** A key as a read showed it. */
export interface EntrySeen {
  readonly key: string;
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  /** Wall-clock milliseconds of the store; 0 when it does not expire. */
  readonly expiresAtMs: number;
  /** The lease that it is attached to, '0' for none; left out where the read did not tell. */
  readonly lease?: string | undefined;
}

export type StepResult =
  | { readonly type: 'put' }
  | { readonly type: 'delete'; readonly deleted: number }
  | { readonly type: 'touch'; readonly found: boolean }
  | { readonly type: 'get'; readonly entry: EntrySeen | undefined }
  | { readonly type: 'scan'; readonly entries: readonly EntrySeen[] }
  /** Of a grant, and of a keep-alive: `ttlMs` 0 says that there is no such lease. */
  | { readonly type: 'lease'; readonly lease: string; readonly ttlMs: number }
  /** What is left of a lease's time; -1: there is no such lease. */
  | { readonly type: 'look'; readonly lease: string; readonly remainingMs: number }
  | { readonly type: 'done' };

/** `=` on one property of a key. A missing key has no value (every value comparison is false) and the numbers 0. */
export type CompareStep =
  | { readonly key: string; readonly value: string }
  | { readonly key: string; readonly modRevision: number }
  | { readonly key: string; readonly version: number }
  | { readonly key: string; readonly exists: boolean };

export type Level = 'linearizable' | 'sequential' | 'eventual';

/** `nested` and `range` are told by `NestedCall`, the others by steps alone. */
export type CallKind =
  | 'get'
  | 'scan'
  | 'put'
  | 'delete'
  | 'touch'
  | 'batch'
  | 'txn'
  | 'nested'
  | 'range'
  | 'leaseGrant'
  | 'leaseRevoke'
  | 'leaseKeepAlive'
  | 'leaseLook'
  | 'compact';
const READS: ReadonlySet<CallKind> = new Set(['get', 'scan', 'range', 'leaseKeepAlive', 'leaseLook']);

/** A transaction with transactions in it, or a range with its options (then the only operation of `success`). */
export interface NestedCall {
  readonly asked: TxnAsked;
  answer: TxnAnswer | undefined;
}

export interface OperationRecord {
  /** Unique within a history. */
  readonly id: number;
  readonly client: string;
  readonly kind: CallKind;
  readonly invokedMs: number;
  /** Infinity while it has not settled. */
  settledMs: number;
  outcome: Outcome;
  errorCode: string | undefined;
  /** Of the answer: the store's revision after a write; for a read the revision of the node that answered. 0 without an answer. */
  revision: number;
  /** The ids under which it was sent, as "session/sequence". */
  readonly writeIds: string[];
  readonly compares: readonly CompareStep[];
  readonly steps: readonly Step[];
  readonly elseSteps: readonly Step[];
  /** Which branch was taken; true for anything that is no transaction. */
  succeeded: boolean;
  /** Of a nested transaction: `steps` are the writes of all its branches, and these, once it is answered, the ones that were carried out. */
  taken?: readonly Step[] | undefined;
  readonly nested?: NestedCall | undefined;
  results: readonly StepResult[];
  /** Reads only. */
  readonly level: Level;
  /** Reads only: the revision asked for; 0 for the newest. */
  readonly atRevision: number;
  /** Reads only: the largest revision that this client had seen when it asked. */
  readonly seenRevision: number;
}

export interface EventSeen {
  readonly revision: number;
  readonly key: string;
  readonly type: 'put' | 'delete';
  /** '' for a delete. */
  readonly value: string;
  readonly createRevision: number;
  readonly version: number;
  /** The modRevision of what it replaced, where the watcher was shown that. */
  readonly previousRevision?: number | undefined;
}

/** One batch as a watcher was given it: events of whole revisions, or none (progress up to `revision`). */
export interface BatchSeen {
  readonly atMs: number;
  readonly revision: number;
  readonly events: EventSeen[];
  /** How many events it had, where that is known apart from `events`: a consumer may leave in the middle of it. */
  readonly size?: number | undefined;
}

export interface WatcherRecord {
  readonly name: string;
  /** First key, included. */
  readonly start: string;
  /** First key that is not included; undefined: no end. */
  readonly end: string | undefined;
  /** First revision wanted; 0: from now on. */
  readonly fromRevision: number;
  readonly openedMs: number;
  /** The largest revision that its client had seen then: a watch from now on owes nothing up to there. */
  readonly seenRevision: number;
  readonly batches: BatchSeen[];
  /** Events that it did not want. Such a watcher does not know all of what it went through. */
  readonly filters?: { readonly noPut: boolean; readonly noDelete: boolean } | undefined;
  /** How it ended: undefined while it goes on. `cancelled` is the watcher's own wish, `silent` an end without an error that nobody asked for. */
  ended:
    | {
        readonly atMs: number;
        readonly how: 'cancelled' | 'error' | 'silent';
        readonly code: string;
        /** With COMPACTED: what the error says is compacted; 0 when it does not say. */
        readonly compactRevision: number;
      }
    | undefined;
}

/** What a checker found wrong. Plain data, fit for a report. */
export interface Violation {
  readonly check: string;
  readonly message: string;
  readonly details: Readonly<Record<string, string | number | boolean>>;
}

/** Enough of them to see a pattern; a broken run could have thousands. */
export const MAX_VIOLATIONS = 20;

/** Collects violations up to MAX_VIOLATIONS. */
export class Violations {
  readonly list: Violation[] = [];
  private readonly check: string;

  constructor(check: string) {
    this.check = check;
  }

  add(message: string, details: Violation['details'] = {}): void {
    if (this.list.length < MAX_VIOLATIONS) this.list.push({ check: this.check, message, details });
  }
}

/** The steps that were (or, without an answer, would be) carried out. */
export function takenSteps(operation: OperationRecord): readonly Step[] {
  return operation.taken ?? (operation.succeeded ? operation.steps : operation.elseSteps);
}

/** Whether an answered operation wrote something, and so has a revision of its own. REQUIRES: outcome ok. */
export function wrote(operation: OperationRecord): boolean {
  for (const result of operation.results) {
    if (result.type === 'put') return true;
    if (result.type === 'delete' && result.deleted > 0) return true;
    if (result.type === 'touch' && result.found) return true;
  }
  return false;
}

/** Whether it could write keys at all, and so takes a place in the order of revisions. */
export function isWrite(operation: OperationRecord): boolean {
  return !READS.has(operation.kind);
}

export function inRange(key: string, start: string, end: string | undefined): boolean {
  return key >= start && (end === undefined || key < end);
}
