/**
 * etcd's errors: codes and texts, word for word, as its package rpctypes has them (3.4, 3.5). Clients compare the texts.
 *
 * And how errors of Kvorum become errors of etcd: the one place that knows both.
 */
import { type ErrorCode, KvError } from '../../errors.ts';
import { CODE, type Code, GrpcError } from './status.ts';

const { INVALID_ARGUMENT, NOT_FOUND, OUT_OF_RANGE, RESOURCE_EXHAUSTED, FAILED_PRECONDITION } = CODE;
const { UNAVAILABLE, UNAUTHENTICATED, PERMISSION_DENIED, DATA_LOSS, UNKNOWN, CANCELLED } = CODE;

/** Names as in rpctypes, without `ErrGRPC`. */
export const ETCD_ERRORS = {
  EmptyKey: [INVALID_ARGUMENT, 'etcdserver: key is not provided'],
  KeyNotFound: [INVALID_ARGUMENT, 'etcdserver: key not found'],
  ValueProvided: [INVALID_ARGUMENT, 'etcdserver: value is provided'],
  LeaseProvided: [INVALID_ARGUMENT, 'etcdserver: lease is provided'],
  TooManyOps: [INVALID_ARGUMENT, 'etcdserver: too many operations in txn request'],
  DuplicateKey: [INVALID_ARGUMENT, 'etcdserver: duplicate key given in txn request'],
  InvalidClientAPIVersion: [INVALID_ARGUMENT, 'etcdserver: invalid client api version'],
  InvalidSortOption: [INVALID_ARGUMENT, 'etcdserver: invalid sort option'],
  Compacted: [OUT_OF_RANGE, 'etcdserver: mvcc: required revision has been compacted'],
  FutureRev: [OUT_OF_RANGE, 'etcdserver: mvcc: required revision is a future revision'],
  NoSpace: [RESOURCE_EXHAUSTED, 'etcdserver: mvcc: database space exceeded'],
  LeaseNotFound: [NOT_FOUND, 'etcdserver: requested lease not found'],
  LeaseExist: [FAILED_PRECONDITION, 'etcdserver: lease already exists'],
  LeaseTTLTooLarge: [OUT_OF_RANGE, 'etcdserver: too large lease TTL'],
  WatchCanceled: [CANCELLED, 'etcdserver: watch canceled'],
  MemberExist: [FAILED_PRECONDITION, 'etcdserver: member ID already exist'],
  PeerURLExist: [FAILED_PRECONDITION, 'etcdserver: Peer URLs already exists'],
  MemberNotEnoughStarted: [
    FAILED_PRECONDITION,
    'etcdserver: re-configuration failed due to not enough started members',
  ],
  MemberBadURLs: [INVALID_ARGUMENT, 'etcdserver: given member URLs are invalid'],
  MemberNotFound: [NOT_FOUND, 'etcdserver: member not found'],
  MemberNotLearner: [FAILED_PRECONDITION, 'etcdserver: can only promote a learner member'],
  LearnerNotReady: [
    FAILED_PRECONDITION,
    'etcdserver: can only promote a learner member which is in sync with leader',
  ],
  TooManyLearners: [FAILED_PRECONDITION, 'etcdserver: too many learner members in cluster'],
  RequestTooLarge: [INVALID_ARGUMENT, 'etcdserver: request is too large'],
  RequestTooManyRequests: [RESOURCE_EXHAUSTED, 'etcdserver: too many requests'],
  RootUserNotExist: [FAILED_PRECONDITION, 'etcdserver: root user does not exist'],
  RootRoleNotExist: [FAILED_PRECONDITION, 'etcdserver: root user does not have root role'],
  UserAlreadyExist: [FAILED_PRECONDITION, 'etcdserver: user name already exists'],
  UserEmpty: [INVALID_ARGUMENT, 'etcdserver: user name is empty'],
  UserNotFound: [FAILED_PRECONDITION, 'etcdserver: user name not found'],
  RoleAlreadyExist: [FAILED_PRECONDITION, 'etcdserver: role name already exists'],
  RoleNotFound: [FAILED_PRECONDITION, 'etcdserver: role name not found'],
  RoleEmpty: [INVALID_ARGUMENT, 'etcdserver: role name is empty'],
  AuthFailed: [INVALID_ARGUMENT, 'etcdserver: authentication failed, invalid user ID or password'],
  PermissionNotGiven: [INVALID_ARGUMENT, 'etcdserver: permission not given'],
  PermissionDenied: [PERMISSION_DENIED, 'etcdserver: permission denied'],
  RoleNotGranted: [FAILED_PRECONDITION, 'etcdserver: role is not granted to the user'],
  PermissionNotGranted: [FAILED_PRECONDITION, 'etcdserver: permission is not granted to the role'],
  AuthNotEnabled: [FAILED_PRECONDITION, 'etcdserver: authentication is not enabled'],
  InvalidAuthToken: [UNAUTHENTICATED, 'etcdserver: invalid auth token'],
  InvalidAuthMgmt: [INVALID_ARGUMENT, 'etcdserver: invalid auth management'],
  AuthOldRevision: [INVALID_ARGUMENT, 'etcdserver: revision of auth store is old'],
  NoLeader: [UNAVAILABLE, 'etcdserver: no leader'],
  NotLeader: [FAILED_PRECONDITION, 'etcdserver: not leader'],
  LeaderChanged: [UNAVAILABLE, 'etcdserver: leader changed'],
  NotCapable: [UNAVAILABLE, 'etcdserver: not capable'],
  Stopped: [UNAVAILABLE, 'etcdserver: server stopped'],
  Timeout: [UNAVAILABLE, 'etcdserver: request timed out'],
  TimeoutDueToLeaderFail: [
    UNAVAILABLE,
    'etcdserver: request timed out, possibly due to previous leader failure',
  ],
  TimeoutDueToConnectionLost: [UNAVAILABLE, 'etcdserver: request timed out, possibly due to connection lost'],
  Unhealthy: [UNAVAILABLE, 'etcdserver: unhealthy cluster'],
  Corrupt: [DATA_LOSS, 'etcdserver: corrupt cluster'],
  NotSupportedForLearner: [FAILED_PRECONDITION, 'etcdserver: rpc not supported for learner'],
  BadLeaderTransferee: [FAILED_PRECONDITION, 'etcdserver: bad leader transferee'],
} as const satisfies Record<string, readonly [Code, string]>;

export type EtcdErrorName = keyof typeof ETCD_ERRORS;

export function etcdError(name: EtcdErrorName): GrpcError {
  const [code, text] = ETCD_ERRORS[name];
  return new GrpcError(code, text);
}

/** Errors of Kvorum that have a text of etcd. */
const NAMED: Partial<Record<ErrorCode, EtcdErrorName>> = {
  KEY_TOO_LARGE: 'RequestTooLarge',
  VALUE_TOO_LARGE: 'RequestTooLarge',
  REQUEST_TOO_LARGE: 'RequestTooLarge',
  DUPLICATE_KEY: 'DuplicateKey',
  COMPACTED: 'Compacted',
  FUTURE_REVISION: 'FutureRev',
  NOT_LEADER: 'NotLeader',
  NO_LEADER: 'NoLeader',
  TIMEOUT: 'Timeout',
  OVERLOADED: 'RequestTooManyRequests',
  NO_SPACE: 'NoSpace',
  CORRUPT: 'Corrupt',
  CLOSED: 'Stopped',
  MEMBER_NOT_FOUND: 'MemberNotFound',
  MEMBER_EXISTS: 'PeerURLExist',
  MEMBERSHIP_CHANGE_IN_PROGRESS: 'Unhealthy',
  LEARNER_NOT_READY: 'LearnerNotReady',
  REMOVED: 'Stopped',
  LEASE_NOT_FOUND: 'LeaseNotFound',
  LEASE_EXISTS: 'LeaseExist',
  LEASE_TTL_TOO_LARGE: 'LeaseTTLTooLarge',
  UNAUTHENTICATED: 'InvalidAuthToken',
  PERMISSION_DENIED: 'PermissionDenied',
  ROOT_USER_NOT_FOUND: 'RootUserNotExist',
  ROOT_ROLE_NOT_GRANTED: 'RootRoleNotExist',
  USER_EXISTS: 'UserAlreadyExist',
  USER_EMPTY: 'UserEmpty',
  USER_NOT_FOUND: 'UserNotFound',
  ROLE_EXISTS: 'RoleAlreadyExist',
  ROLE_EMPTY: 'RoleEmpty',
  ROLE_NOT_FOUND: 'RoleNotFound',
  ROLE_NOT_GRANTED: 'RoleNotGranted',
  PERMISSION_NOT_GRANTED: 'PermissionNotGranted',
  AUTH_FAILED: 'AuthFailed',
  AUTH_NOT_ENABLED: 'AuthNotEnabled',
  AUTH_STALE: 'AuthOldRevision',
  INVALID_AUTH_MANAGEMENT: 'InvalidAuthMgmt',
  KEY_NOT_FOUND: 'KeyNotFound',
  TOO_MANY_OPERATIONS: 'TooManyOps',
  ALARM_NO_SPACE: 'NoSpace',
  ALARM_CORRUPT: 'Corrupt',
  RATE_LIMITED: 'RequestTooManyRequests',
};

/** The rest, with their own texts. */
const CODES: Partial<Record<ErrorCode, Code>> = {
  INVALID_ARGUMENT,
  CANCELLED,
  UNAVAILABLE,
  UNSUPPORTED: CODE.UNIMPLEMENTED,
  UNSUPPORTED_VERSION: CODE.UNIMPLEMENTED,
  NOT_FOUND,
  INTERNAL: CODE.INTERNAL,
  STORAGE_FAILED: UNAVAILABLE,
  TXN_TOO_DEEP: INVALID_ARGUMENT,
  LEASE_FULL: RESOURCE_EXHAUSTED,
  LEASE_EXPIRED: NOT_FOUND,
  QUOTA_EXCEEDED: RESOURCE_EXHAUSTED,
};

/**
 * Any error as clients of etcd see it.
 * @param deadline the client had set a deadline, which explains a time-out.
 */
export function grpcErrorOf(error: unknown, deadline = false): GrpcError {
  if (error instanceof GrpcError) return error;
  if (!(error instanceof KvError)) return new GrpcError(CODE.INTERNAL, 'internal error');
  if (error.code === 'TIMEOUT' && deadline) {
    return new GrpcError(CODE.DEADLINE_EXCEEDED, 'context deadline exceeded');
  }
  if (error.code === 'PROTOCOL') {
    return new GrpcError(CODE.INTERNAL, `grpc: error unmarshalling request: ${error.message}`);
  }
  // The leader, or the way to it, was lost under a write.
  if (error.code === 'UNAVAILABLE' && error.maybeApplied) return etcdError('TimeoutDueToLeaderFail');
  const name = NAMED[error.code];
  if (name !== undefined) return etcdError(name);
  return new GrpcError(CODES[error.code] ?? UNKNOWN, `etcdserver: ${error.message}`);
}
