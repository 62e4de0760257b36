/**
 * The one error type of the project, and its stable codes.
 *
 * Invariants: a code never changes its meaning or its number (numbers travel on the wire); `retryable` says that the same
 * call may succeed later without anyone's help; `maybeApplied` says that a write may have taken effect although it failed.
 */

/** code -> [wire number, retryable]. Numbers are never reused. */
export const ERROR_CODES = {
  INTERNAL: [1, false],
  INVALID_ARGUMENT: [2, false],
  KEY_TOO_LARGE: [3, false],
  VALUE_TOO_LARGE: [4, false],
  REQUEST_TOO_LARGE: [5, false],
  DUPLICATE_KEY: [6, false],
  COMPACTED: [7, false],
  FUTURE_REVISION: [8, false],
  NOT_LEADER: [9, true],
  NO_LEADER: [10, true],
  TIMEOUT: [11, true],
  CANCELLED: [12, false],
  UNAVAILABLE: [13, true],
  OVERLOADED: [14, true],
  NO_SPACE: [15, true],
  CORRUPT: [16, false],
  LOCKED: [17, false],
  CONFIG_INVALID: [18, false],
  PROTOCOL: [19, false],
  FRAME_TOO_LARGE: [20, false],
  UNSUPPORTED_VERSION: [21, false],
  SESSION_EXPIRED: [22, false],
  CLOSED: [23, false],
  MEMBER_NOT_FOUND: [24, false],
  MEMBER_EXISTS: [25, false],
  MEMBERSHIP_CHANGE_IN_PROGRESS: [26, true],
  LEARNER_NOT_READY: [27, true],
  CLUSTER_MISMATCH: [28, false],
  STORAGE_FAILED: [29, false],
  TREE_UNAVAILABLE: [30, false],
  UNSUPPORTED: [31, false],
  NOT_FOUND: [32, false],
  REMOVED: [33, false],
  LEASE_NOT_FOUND: [34, false],
  LEASE_EXISTS: [35, false],
  LEASE_TTL_TOO_LARGE: [36, false],
  LEASE_FULL: [37, false],
  /** The lease that a lock or an election stands on has ended, or may have by now. */
  LEASE_EXPIRED: [38, false],
  /** Who is to proclaim or resign does not lead the election. */
  NOT_ELECTED: [39, false],
  UNAUTHENTICATED: [40, false],
  PERMISSION_DENIED: [41, false],
  ROOT_USER_NOT_FOUND: [42, false],
  ROOT_ROLE_NOT_GRANTED: [43, false],
  USER_EXISTS: [44, false],
  USER_EMPTY: [45, false],
  USER_NOT_FOUND: [46, false],
  ROLE_EXISTS: [47, false],
  ROLE_EMPTY: [48, false],
  ROLE_NOT_FOUND: [49, false],
  ROLE_NOT_GRANTED: [50, false],
  PERMISSION_NOT_GRANTED: [51, false],
  AUTH_FAILED: [52, false],
  AUTH_NOT_ENABLED: [53, false],
  AUTH_STALE: [54, true],
  KEY_NOT_FOUND: [63, false],
  TOO_MANY_OPERATIONS: [64, false],
  TXN_TOO_DEEP: [65, false],
  INVALID_AUTH_MANAGEMENT: [70, false],
  /** An alarm that somebody has to clear. */
  ALARM_NO_SPACE: [55, false],
  ALARM_CORRUPT: [56, false],
  QUOTA_EXCEEDED: [57, false],
  RATE_LIMITED: [58, true],
} as const satisfies Record<string, readonly [number, boolean]>;

export type ErrorCode = keyof typeof ERROR_CODES;

export interface KvErrorOptions {
  /** A write that failed this way may have taken effect all the same. Default false. */
  readonly maybeApplied?: boolean;
  /** Facts for programs: file, offset, limit, leader hint. Plain JSON values. */
  readonly details?: Readonly<Record<string, string | number | boolean>>;
  readonly cause?: unknown;
}

export class KvError extends Error {
  override readonly name = 'KvError';
  readonly code: ErrorCode;
  readonly retryable: boolean;
  readonly maybeApplied: boolean;
  readonly details: Readonly<Record<string, string | number | boolean>>;

  constructor(code: ErrorCode, message: string, options: KvErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = ERROR_CODES[code][1];
    this.maybeApplied = options.maybeApplied ?? false;
    this.details = options.details ?? {};
  }
}

const codesByNumber = new Map<number, ErrorCode>(
  (Object.keys(ERROR_CODES) as ErrorCode[]).map((code) => [ERROR_CODES[code][0], code]),
);

/** The number that stands for a code on the wire. */
export function errorNumber(code: ErrorCode): number {
  return ERROR_CODES[code][0];
}

/** The code for a wire number; `INTERNAL` for one that this version does not know. */
export function errorCodeOf(number: number): ErrorCode {
  return codesByNumber.get(number) ?? 'INTERNAL';
}

/** Whether an error tells of data that its disk has damaged. */
export function isDamage(error: unknown): boolean {
  return error instanceof KvError && error.code === 'CORRUPT';
}
