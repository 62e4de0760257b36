/**
 * Where Kvorum's answers differ from those of etcd 3.4 on purpose: the one table of it. Each row stands in docs/etcd_compatibility.md, too; a difference that is not here is a bug.
 */
import { CODE } from '../../src/api/grpc/status.ts';
import type { Answer, Ask, Plain } from './asks.ts';

export interface Intended {
  readonly what: string;
  /** The stores hold different things from here on: the run ends. */
  readonly diverges: boolean;
  applies(ask: Ask, ours: Answer, theirs: Answer): boolean;
}

const failedWith = (answer: Answer, text: string): boolean => 'text' in answer && answer.text.includes(text);
const withoutUser = (answer: Answer): boolean =>
  failedWith(answer, 'user name is empty') || failedWith(answer, 'invalid auth token');
const mayNot = (answer: Answer): boolean => withoutUser(answer) || failedWith(answer, 'permission denied');
const succeeded = (answer: Answer): boolean => 'message' in answer;

const reasonOf = (answer: Answer): string =>
  'message' in answer && typeof answer.message === 'object' && 'cancel_reason' in answer.message
    ? String(answer.message['cancel_reason'])
    : '';

/** Whether some part of a message says so. */
function holds(plain: Plain, test: (name: string, value: Plain) => boolean): boolean {
  if (typeof plain !== 'object') return false;
  return Object.entries(plain).some(([name, value]) => test(name, value) || holds(value, test));
}

export const INTENDED: readonly Intended[] = [
  {
    what: 'a sort order or target that does not exist is refused',
    diverges: true,
    applies: ({ message }, ours) =>
      failedWith(ours, 'invalid sort option') &&
      holds(message, (name, value) => name.startsWith('sort_') && Number(value) > 4),
  },
  {
    what: 'an unknown target or result of a compare is refused',
    diverges: true,
    applies: ({ call }, ours) =>
      call === 'KV/Txn' && failedWith(ours, 'unknown target or result of a compare'),
  },
  {
    what: 'a put that meets the delete of a later nested transaction, or of all keys from one on, is refused',
    diverges: true,
    applies: ({ message }, ours) =>
      failedWith(ours, 'duplicate key given in txn request') &&
      holds(message, (name, value) => name === 'request_txn' || (name === 'range_end' && value === '\0')),
  },
  {
    what: 'a right to an empty range or from an empty key is refused, as by etcd 3.5',
    diverges: true,
    applies: ({ call }, ours) =>
      call === 'Auth/RoleGrantPermission' && failedWith(ours, 'invalid auth management'),
  },
  {
    what: 'leases are for users: granted and revoked by them',
    diverges: true,
    applies: ({ call }, ours, theirs) =>
      (call === 'Lease/LeaseGrant' || call === 'Lease/LeaseRevoke') &&
      withoutUser(ours) &&
      !('text' in theirs && theirs.code === CODE.PERMISSION_DENIED),
  },
  {
    what: 'leases are for users: kept alive and looked at by them, with their keys by who may read those',
    diverges: false,
    applies: ({ call }, ours) =>
      (/^Lease.(LeaseKeepAlive|LeaseTimeToLive|LeaseLeases)$/.test(call) && withoutUser(ours)) ||
      (call === 'Lease/LeaseTimeToLive' && failedWith(ours, 'permission denied')),
  },
  {
    what: 'who may not do it hears that before what else is wrong with it',
    diverges: false,
    applies: (_ask, ours, theirs) => mayNot(ours) && 'text' in theirs && !mayNot(theirs),
  },
  {
    what: 'a watch without user or with a wrong token is told so, as by etcd 3.5',
    diverges: false,
    applies: ({ call }, ours, theirs) =>
      call === 'Watch/Watch' &&
      /desc = etcdserver: (user name is empty|invalid auth token)/.test(reasonOf(ours)) &&
      reasonOf(theirs).endsWith('desc = etcdserver: permission denied'),
  },
  {
    what: 'rights are asked for in nested transactions, too',
    diverges: true,
    applies: ({ message }, ours, theirs) =>
      mayNot(ours) && succeeded(theirs) && holds(message, (name) => name === 'request_txn'),
  },
  {
    what: 'a negative revision means the newest one, in transactions, too',
    diverges: true,
    applies: ({ call, message }, ours, theirs) =>
      call === 'KV/Txn' &&
      succeeded(ours) &&
      failedWith(theirs, 'required revision has been compacted') &&
      holds(message, (name, value) => name === 'revision' && Number(value) < 0),
  },
  {
    what: 'who is nobody may not even ask nothing: a transaction without operations',
    diverges: false,
    applies: ({ call }, ours, theirs) =>
      call === 'KV/Txn' &&
      withoutUser(ours) &&
      succeeded(theirs) &&
      !JSON.stringify(theirs).includes('responses'),
  },
  {
    what: "that a user has no password is nobody's business",
    diverges: false,
    applies: (_ask, ours, theirs) =>
      failedWith(ours, 'authentication failed, invalid user ID or password') &&
      failedWith(theirs, 'password was given for no password user'),
  },
  {
    what: 'which is said of an alarm and of what else is wrong with a write',
    diverges: false,
    applies: ({ call }, ours, theirs) =>
      (failedWith(ours, 'database space exceeded') && 'text' in theirs && theirs.code !== CODE.UNAVAILABLE) ||
      (call === 'Lease/LeaseGrant' &&
        failedWith(ours, 'too large lease TTL') &&
        failedWith(theirs, 'database space exceeded')),
  },
  {
    what: 'the compacted revision itself can be hashed, as it can be read',
    diverges: false,
    applies: ({ call }, ours, theirs) =>
      call === 'Maintenance/HashKV' &&
      succeeded(ours) &&
      failedWith(theirs, 'required revision has been compacted'),
  },
  {
    what: 'compaction needs the role root',
    diverges: true,
    applies: ({ call }, ours, theirs) => call === 'KV/Compact' && mayNot(ours) && succeeded(theirs),
  },
  {
    what: 'the id of a watch that a compaction has ended is free again',
    diverges: true,
    applies: ({ call }, ours, theirs) =>
      call === 'Watch/Watch' &&
      succeeded(ours) &&
      reasonOf(ours) === '' &&
      reasonOf(theirs).includes('duplicate watch ID'),
  },
];
