/**
 * What a door of the store is to the conformance suite: requests and answers in one shape, whatever the door's own is. A new door is one implementation of `Door`.
 *
 * The shape is that of the public store, as far as all doors can say it. Keys and values are text.
 */
import type { KeySelection, RangeView } from '../../../src/client/store_types.ts';
import type { Quota, QuotaSettings } from '../../../src/client/upkeep_types.ts';
import type { ErrorCode } from '../../../src/errors.ts';

export type Relation = '=' | '!=' | '>' | '<';
interface Where {
  readonly key?: string;
  readonly end?: string;
  readonly prefix?: string;
}
export type DoorCompare = Where &
  (
    | { readonly value: string; readonly is?: Relation }
    | { readonly version: number; readonly is?: Relation }
    | { readonly modRevision: number; readonly is?: Relation }
    | { readonly createRevision: number; readonly is?: Relation }
    | { readonly lease: bigint; readonly is?: Relation }
  );
export interface DoorPut {
  readonly type: 'put';
  readonly key: string;
  /** Missing: the one that is there stays. */
  readonly value?: string;
  readonly lease?: bigint;
  readonly ignoreLease?: boolean;
  readonly prevKv?: boolean;
}
export interface DoorDelete {
  readonly type: 'delete';
  readonly keys: KeySelection;
  readonly prevKv?: boolean;
}
export interface DoorRange {
  readonly type: 'range';
  readonly keys: KeySelection;
  readonly view?: RangeView;
  readonly revision?: number;
  /** Outside of transactions. */
  readonly level?: 'linearizable' | 'sequential';
}
export interface DoorTxn {
  readonly type: 'txn';
  readonly compare: readonly DoorCompare[];
  readonly then: readonly DoorOperation[];
  readonly else: readonly DoorOperation[];
}
export type DoorOperation = DoorPut | DoorDelete | DoorRange | DoorTxn;

export interface SeenEntry {
  readonly key: string;
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly lease: bigint;
}
export type Seen =
  | { readonly type: 'put'; readonly previous: SeenEntry | undefined }
  | { readonly type: 'delete'; readonly deleted: number; readonly previous: readonly SeenEntry[] }
  | {
      readonly type: 'range';
      readonly entries: readonly SeenEntry[];
      readonly more: boolean;
      readonly count: number;
    }
  | { readonly type: 'txn'; readonly succeeded: boolean; readonly results: readonly Seen[] };
export interface Answer {
  /** The store's. */
  readonly revision: number;
  readonly result: Seen;
}
export interface SeenEvent {
  readonly type: 'put' | 'delete';
  /** For a delete: no value, and the numbers of the deletion. */
  readonly entry: Omit<SeenEntry, 'lease'>;
  readonly previous: SeenEntry | undefined;
}
export interface DoorWatch {
  readonly keys: KeySelection;
  readonly fromRevision: number;
  readonly prevKv: boolean;
  /** Enough. */
  readonly events: number;
}

/** Every call fails with a DoorError where the store refuses. */
export interface Door {
  readonly name: string;
  /** How the door tells of a refusal: some have one word for several codes. */
  shows(code: ErrorCode): ErrorCode;
  run(operation: DoorOperation): Promise<Answer>;
  compact(revision: number): Promise<void>;
  /** Where the door can ask for them; they hold for every door. */
  readonly quotas?: {
    set(prefix: string, settings: QuotaSettings): Promise<void>;
    remove(prefix: string): Promise<void>;
    list(): Promise<readonly (Omit<Quota, 'prefix'> & { readonly prefix: string })[]>;
  };
  /** Gives the time to live. */
  grant(id: bigint, ttlMs: number): Promise<number>;
  revoke(id: bigint): Promise<void>;
  /** undefined: there is no such lease. */
  lease(id: bigint): Promise<{ readonly ttlMs: number; readonly keys: readonly string[] } | undefined>;
  leases(): Promise<readonly bigint[]>;
  /** Renews a lease once. */
  keepAlive(id: bigint): Promise<void>;
  /** The first so many events. */
  watch(request: DoorWatch): Promise<readonly SeenEvent[]>;
  close(): Promise<void>;
}

export class DoorError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}
