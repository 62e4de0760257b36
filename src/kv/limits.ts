/**
 * The limits that applying a command depends on: part of the replicated state's definition, so they must be the same on every node.
 */
import type { AuthLimits } from './auth_types.ts';
import type { SessionLimits } from './sessions.ts';

/** A part of the configuration's `limits`. */
export interface StateMachineLimits extends SessionLimits, AuthLimits {
  readonly maxKeyBytes: number;
  readonly maxValueBytes: number;
  /** Also bounds the bytes of records in one result. */
  readonly maxCommandBytes: number;
  readonly maxTxnOperations: number;
  /** Transactions within transactions: 0 for none. */
  readonly maxTxnDepth: number;
  readonly maxDeleteRangeKeys: number;
  readonly maxLeases: number;
  /** Keys that may be attached to one lease. */
  readonly maxLeaseKeys: number;
  /** A lease that asks for less lives for this long. */
  readonly minLeaseTtlMs: number;
}

/** The deepest nesting that a configuration may allow: bounds how deep decoding goes before a configuration is asked. */
export const MAX_TXN_DEPTH = 32;

/**
 * What the commands of one entry of the log may write beyond what they carry: tombstones of ranges, values that are written again. An entry lies in one memtable, whose
 * memory ends 1 GiB beyond its size: what an entry carries and this stay well below. Part of the state's definition.
 */
export const MAX_SPARE_BYTES = 256 * 1024 * 1024;
