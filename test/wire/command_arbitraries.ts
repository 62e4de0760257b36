/**
 * Random commands, results and records for the tests of their codecs, and the mutations that such bytes are put through.
 */
import * as fc from 'fast-check';
import { compareAlarms } from '../../src/kv/alarms.ts';
import type { AuthChange, AuthState, Grant } from '../../src/kv/auth_types.ts';
import type {
  Command,
  CommandResult,
  Compare,
  KvEvent,
  Operation,
  OperationResult,
  PlainCommand,
  RangeSelection,
  SortOrder,
  SortTarget,
  TxnOp,
  WriteId,
} from '../../src/kv/command.ts';
import type { QuotaState } from '../../src/kv/quotas.ts';
import type { Alarm } from '../../src/kv/upkeep_command.ts';
import type { StoredRecord } from '../../src/storage/record.ts';
import { leaseCommands, leaseId } from './lease_arbitraries.ts';

export const safeInteger = fc.oneof(
  fc.nat(300),
  fc.maxSafeNat(),
  fc.constantFrom(0, 127, 128, 16_383, 16_384, 2 ** 31, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER),
);
export const someBytes = fc.uint8Array({ maxLength: 200 });
const lease = fc.oneof(fc.constant(0n), leaseId);
const maybeZero = fc.oneof(fc.constant(0), safeInteger);
const maybeBytes = fc.option(someBytes, { nil: undefined });

export const writeId: fc.Arbitrary<WriteId> = fc.oneof(
  fc.constant({ session: 0, sequence: 0, acknowledgedBelow: 0 }),
  fc
    .tuple(fc.integer({ min: 1, max: 1e9 }), fc.integer({ min: 1, max: 1e9 }), fc.nat(1e9))
    .map(([session, sequence, below]) => ({
      session,
      sequence,
      acknowledgedBelow: Math.min(below, sequence),
    })),
);
const putOp = fc
  .record({
    type: fc.constant('put' as const),
    key: someBytes,
    value: someBytes,
    ttlMs: safeInteger,
    lease,
    prevKv: fc.boolean(),
    ignoreValue: fc.boolean(),
    ignoreLease: fc.boolean(),
  })
  .map((put) => ({
    ...put,
    value: put.ignoreValue ? new Uint8Array(0) : put.value,
    lease: put.ignoreLease ? 0n : put.lease,
  }));
const deleteOp = fc.record({
  type: fc.constant('delete' as const),
  key: someBytes,
  end: maybeBytes,
  prevKv: fc.boolean(),
});
const touchOp = fc.record({ type: fc.constant('touch' as const), key: someBytes, ttlMs: safeInteger });
const selectionFields = {
  limit: safeInteger,
  sortTarget: fc.constantFrom<SortTarget>('key', 'key', 'version', 'createRevision', 'modRevision', 'value'),
  sortOrder: fc.constantFrom<SortOrder>('none', 'ascend', 'descend'),
  keysOnly: fc.boolean(),
  countOnly: fc.boolean(),
  counted: fc.boolean(),
  minModRevision: maybeZero,
  maxModRevision: maybeZero,
  minCreateRevision: maybeZero,
  maxCreateRevision: maybeZero,
};
export const rangeSelection: fc.Arbitrary<RangeSelection> = fc.record(selectionFields);
const rangeOp = fc.record({
  type: fc.constant('range' as const),
  key: someBytes,
  end: maybeBytes,
  revision: safeInteger,
  ...selectionFields,
});
const compare: fc.Arbitrary<Compare> = fc
  .record({
    target: fc.constantFrom('value', 'version', 'createRevision', 'modRevision', 'lease'),
    result: fc.constantFrom('=', '!=', '>', '<'),
    key: someBytes,
    end: maybeBytes,
    value: someBytes,
    lease,
    number: safeInteger,
  })
  .map((one) => ({
    ...one,
    value: one.target === 'value' ? one.value : new Uint8Array(0),
    lease: one.target === 'lease' ? one.lease : 0n,
    number: one.target === 'value' || one.target === 'lease' ? 0 : one.number,
  }));
/** Lists of operations, with transactions in them that nest a few levels deep. */
const { operations } = fc.letrec<{ operations: Operation[]; txn: TxnOp }>((tie) => ({
  operations: fc.array(
    fc.oneof({ depthSize: 'small', withCrossShrink: true }, putOp, deleteOp, touchOp, rangeOp, tie('txn')),
    { maxLength: 5 },
  ),
  txn: fc.record({
    type: fc.constant('txn' as const),
    compares: fc.array(compare, { maxLength: 2 }),
    success: tie('operations'),
    failure: tie('operations'),
  }),
}));

const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 });
const hash = fc.option(fc.uint8Array({ minLength: 1, maxLength: 100 }), { nil: undefined });
const secret = fc.uint8Array({ minLength: 32, maxLength: 32 });
const grant: fc.Arbitrary<Grant> = fc.record({
  kind: fc.constantFrom('read', 'write', 'readwrite'),
  key: someBytes,
  end: maybeBytes,
});
const userAndRole = { user: name, role: name };
export const authChange: fc.Arbitrary<AuthChange> = fc.oneof(
  fc.record({ type: fc.constant('enable' as const), secret }),
  fc.constant({ type: 'disable' as const }),
  fc.record({ type: fc.constantFrom('userAdd', 'userChangePassword'), user: name, passwordHash: hash }),
  fc.record({ type: fc.constant('userDelete' as const), user: name }),
  fc.record({ type: fc.constantFrom('userGrantRole', 'userRevokeRole'), ...userAndRole }),
  fc.record({ type: fc.constantFrom('roleAdd', 'roleDelete'), role: name }),
  fc.record({ type: fc.constant('roleGrant' as const), role: name, grant }),
  fc.record({ type: fc.constant('roleRevoke' as const), role: name, key: someBytes, end: maybeBytes }),
);

const order = (a: Uint8Array, b: Uint8Array): number => Buffer.compare(a, b);
const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const names = fc.uniqueArray(name, { maxLength: 4 }).map((some) => some.sort(byText));
/** What a store may hold of users and rights. */
export const authState: fc.Arbitrary<AuthState> = fc
  .record({
    enabled: fc.boolean(),
    revision: fc.integer({ min: 1, max: 1e9 }),
    secret,
    users: fc.array(fc.tuple(name, hash, names), { maxLength: 4 }),
    roles: fc.array(fc.tuple(name, fc.array(grant, { maxLength: 4 })), { maxLength: 4 }),
    sessions: fc.array(name, { maxLength: 4 }),
  })
  .map(({ users, roles, sessions, ...rest }) => ({
    ...rest,
    lastGeneration: 100,
    users: [...new Map(users.map((user) => [user[0], user] as const)).values()]
      .sort((a, b) => byText(a[0], b[0]))
      .map(([one, passwordHash, held], at) => ({ name: one, passwordHash, generation: at, roles: held })),
    roles: [...new Map(roles.map((role) => [role[0], role] as const)).values()]
      .sort((a, b) => byText(a[0], b[0]))
      .map(([one, grants]) => ({ name: one, grants: distinct(grants) })),
    sessions: sessions.map((user, at) => ({ session: 5 * at + 1, user })),
  }));

/** In order, no two of the same keys. No end comes before an empty one, which no store holds. */
function distinct(grants: readonly Grant[]): Grant[] {
  const none = new Uint8Array(0);
  const sorted = grants
    .filter(({ end }) => end === undefined || end.length > 0)
    .toSorted((a, b) => order(a.key, b.key) || order(a.end ?? none, b.end ?? none));
  return sorted.filter((one, at) => {
    const before = sorted[at - 1];
    return (
      before === undefined ||
      order(before.key, one.key) !== 0 ||
      order(before.end ?? none, one.end ?? none) !== 0
    );
  });
}

const alarm: fc.Arbitrary<Alarm> = fc.record({
  type: fc.constantFrom('nospace', 'corrupt'),
  member: safeInteger,
  byNode: fc.boolean(),
});
/** In their order. */
export const alarms: fc.Arbitrary<Alarm[]> = fc
  .uniqueArray(alarm, { maxLength: 5, selector: ({ type, member }) => `${type} ${member}` })
  .map((some) => some.sort(compareAlarms));

const limits = { maxBytes: safeInteger, maxKeys: safeInteger, maxRequestsPerSecond: safeInteger };
const quotaCommands: fc.Arbitrary<PlainCommand> = fc.oneof(
  fc.record({
    type: fc.constant('quota' as const),
    prefix: someBytes,
    limits: fc.option(fc.record(limits), { nil: undefined }),
  }),
  fc.record({
    type: fc.constant('quotaCounted' as const),
    prefix: someBytes,
    revision: fc.integer({ min: 1, max: 1e15 }),
    bytes: safeInteger,
    keys: safeInteger,
  }),
);
const difference = fc.oneof(
  fc.integer({ min: -300, max: 300 }),
  fc.integer({ min: -(2 ** 50), max: 2 ** 50 }),
);
/** In their order; those that are being counted began at `revision`. */
export function quotaStates(revision: number): fc.Arbitrary<QuotaState[]> {
  return fc
    .uniqueArray(
      fc.record({ name: someBytes, ...limits, counting: fc.boolean(), bytes: difference, keys: difference }),
      { maxLength: 4, selector: ({ name: text }) => Buffer.from(text).toString('hex') },
    )
    .map((some) =>
      some
        .toSorted((a, b) => order(a.name, b.name))
        .map(({ name: rest, counting, bytes, keys, ...limited }) => ({
          prefix: Uint8Array.from([1, ...rest]),
          ...limited,
          countingFrom: counting ? revision : 0,
          bytes: counting ? bytes : Math.abs(bytes),
          keys: counting ? keys : Math.abs(keys),
        })),
    );
}

const plainCommand: fc.Arbitrary<PlainCommand> = fc.oneof(
  fc.record({
    type: fc.constant('write' as const),
    id: writeId,
    operation: fc.oneof(putOp, deleteOp, touchOp),
  }),
  fc.record({
    type: fc.constant('txn' as const),
    id: writeId,
    compares: fc.array(compare, { maxLength: 3 }),
    success: operations,
    failure: operations,
  }),
  fc.constant({ type: 'openSession' as const }),
  fc.record({ type: fc.constant('closeSession' as const), session: safeInteger }),
  fc.record({ type: fc.constant('expire' as const), keys: fc.array(someBytes, { maxLength: 4 }) }),
  fc.record({ type: fc.constant('compact' as const), revision: safeInteger }),
  fc.record({ type: fc.constant('authChange' as const), change: authChange }),
  leaseCommands(writeId),
  quotaCommands,
);
export const command: fc.Arbitrary<Command> = fc.oneof(
  { arbitrary: plainCommand, weight: 6 },
  {
    arbitrary: fc.record({
      type: fc.constant('asUser' as const),
      user: fc.oneof(name, fc.constant('')),
      generation: safeInteger,
      command: plainCommand,
    }),
    weight: 1,
  },
  fc.record({ type: fc.constant('alarm' as const), action: fc.constantFrom('raise', 'clear'), alarm }),
);

export const record: fc.Arbitrary<StoredRecord> = fc.record({
  key: someBytes,
  value: someBytes,
  modRevision: safeInteger,
  createRevision: safeInteger,
  version: safeInteger,
  subRevision: safeInteger,
  flags: fc.nat(255),
  lease,
  expiresAtMs: safeInteger,
});
export const event: fc.Arbitrary<KvEvent> = fc.record({
  type: fc.constantFrom('put', 'delete'),
  record,
  previous: fc.option(record, { nil: undefined }),
});
const records = fc.array(record, { maxLength: 3 });
const simpleResult: fc.Arbitrary<OperationResult> = fc.oneof(
  fc.record({
    type: fc.constant('put' as const),
    revision: safeInteger,
    previous: fc.option(record, { nil: undefined }),
  }),
  fc.record({
    type: fc.constant('delete' as const),
    revision: safeInteger,
    deleted: safeInteger,
    previous: records,
  }),
  fc.record({ type: fc.constant('touch' as const), revision: safeInteger, found: fc.boolean() }),
  fc.record({
    type: fc.constant('range' as const),
    revision: safeInteger,
    records,
    more: fc.boolean(),
    count: safeInteger,
  }),
);
const { result: operationResult } = fc.letrec<{ result: OperationResult }>((tie) => ({
  result: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    simpleResult,
    fc.record({
      type: fc.constant('txn' as const),
      revision: safeInteger,
      succeeded: fc.boolean(),
      results: fc.array(tie('result'), { maxLength: 4 }),
    }),
  ),
}));
export const result: fc.Arbitrary<CommandResult> = fc.oneof(
  operationResult,
  fc.record({ type: fc.constant('session' as const), revision: safeInteger, session: safeInteger }),
  fc.record({
    type: fc.constant('failed' as const),
    revision: safeInteger,
    code: fc.constantFrom('DUPLICATE_KEY', 'COMPACTED', 'OVERLOADED'),
    message: fc.string({ unit: 'grapheme', maxLength: 40 }),
  }),
  fc.record({ type: fc.constant('done' as const), revision: safeInteger }),
  fc.record({
    type: fc.constant('lease' as const),
    revision: safeInteger,
    lease: leaseId,
    ttlMs: safeInteger,
  }),
  fc.record({ type: fc.constant('alarms' as const), revision: safeInteger, alarms }),
);

/** How valid bytes are spoilt: cut off, lengthened, or with some bytes changed. */
export interface Mutation {
  readonly cut: number;
  readonly append: Uint8Array;
  readonly changes: readonly { readonly at: number; readonly to: number }[];
}
export const mutation: fc.Arbitrary<Mutation> = fc.record({
  cut: fc.oneof(fc.constant(0), fc.nat(60)),
  append: fc.oneof(fc.constant(new Uint8Array(0)), fc.uint8Array({ maxLength: 9 })),
  changes: fc.array(
    fc.record({
      at: fc.oneof(fc.nat(12), fc.nat(2_000)),
      to: fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.nat(255)),
    }),
    { maxLength: 4 },
  ),
});

export function spoil(bytes: Uint8Array, { cut, append, changes }: Mutation): Uint8Array {
  const spoilt = Uint8Array.of(...bytes.subarray(0, Math.max(0, bytes.length - cut)), ...append);
  for (const { at, to } of changes) if (spoilt.length > 0) spoilt[at % spoilt.length] = to;
  return spoilt;
}

/** A plain array, so that a view and a copy of the same bytes count as equal. */
export function plain<T>(value: T): unknown {
  if (ArrayBuffer.isView(value)) return [...(value as unknown as Iterable<unknown>)];
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]));
}
