/** Random commands on a few keys, which often meet: all kinds that clients send, and those by which keys go. */
import * as fc from 'fast-check';
import type { Command, Operation, TxnOp } from '../../src/kv/command.ts';
import { compare, key, nested, put, range, remove, touch, txn, write } from './commands.ts';

export const NAMES = ['a', 'b', 'c', 'd', 'e', 'f'];
const name = fc.constantFrom(...NAMES);
const end = fc.option(fc.constantFrom(...NAMES, 'z'), { nil: undefined });
const ttlMs = fc.constantFrom(0, 0, 5, 20);
const ignoring = fc.constantFrom({}, {}, {}, { ignoreValue: true }, { ignoreLease: true });
const leaseId = fc.constantFrom(0n, 0n, 0n, 7n, 7n, 8n, 6n);
const putOp = fc
  .tuple(name, fc.constantFrom('', 'x', 'y'), ttlMs, fc.boolean(), ignoring, leaseId)
  .map(([n, value, ttl, prevKv, ignore, lease]) => {
    const { ignoreValue, ignoreLease } = put(n, value, ignore);
    const kept = ignoreValue ? '' : value;
    return put(n, kept, { ttlMs: ttl, prevKv, ...ignore, lease: ignoreLease ? 0n : lease });
  });
const deleteOp = fc.tuple(name, end, fc.boolean()).map(([n, e, prevKv]) => remove(n, e, prevKv));
const touchOp = fc.tuple(name, ttlMs).map(([n, ttl]) => touch(n, ttl));
const bound = fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(12) });
const selection = fc.record({
  revision: fc.oneof(fc.constant(0), fc.nat(12)),
  limit: fc.nat(3),
  sortTarget: fc.constantFrom('key', 'key', 'version', 'createRevision', 'modRevision', 'value'),
  sortOrder: fc.constantFrom('none', 'ascend', 'descend'),
  keysOnly: fc.boolean(),
  countOnly: fc.constantFrom(false, false, true),
  counted: fc.boolean(),
  minModRevision: bound,
  maxModRevision: bound,
  minCreateRevision: bound,
  maxCreateRevision: bound,
});
const rangeOp = fc.tuple(name, end, selection).map(([n, e, more]) => range(n, e, more));
const relation = fc.constantFrom('=', '!=', '<', '>');
const compareOp = fc
  .tuple(fc.constantFrom('version', 'createRevision', 'modRevision'), relation, name, fc.nat(4), end)
  .map(([target, result, n, number, e]) => compare(target, result, n, number, e));
const leaseCompare = fc
  .tuple(relation, name, fc.constantFrom(0n, 7n, 8n), end)
  .map(([result, n, lease, e]) => compare('lease', result, n, lease, e));
const valueCompare = fc
  .tuple(relation, name, fc.constantFrom('', 'x'), end)
  .map(([result, n, value, e]) => compare('value', result, n, value, e));
const compares = fc.array(fc.oneof(compareOp, leaseCompare, valueCompare), { maxLength: 2 });
const { operations } = fc.letrec<{ operations: Operation[]; txnOp: TxnOp }>((tie) => ({
  operations: fc.array(fc.oneof({ maxDepth: 3 }, putOp, deleteOp, touchOp, rangeOp, tie('txnOp')), {
    maxLength: 4,
  }),
  txnOp: fc
    .tuple(tie('operations'), compares, tie('operations'))
    .map(([success, conditions, failure]) => nested(success, conditions, failure)),
}));
export const anyCommand: fc.Arbitrary<Command> = fc.oneof(
  { weight: 3, arbitrary: fc.oneof(putOp, deleteOp, touchOp).map((operation) => write(operation)) },
  {
    weight: 3,
    arbitrary: fc
      .tuple(operations, compares, operations)
      .map(([success, conditions, failure]) => txn(success, conditions, failure)),
  },
  {
    weight: 1,
    arbitrary: fc
      .array(name, { maxLength: 5 })
      .map((names): Command => ({ type: 'expire', keys: names.map(key) })),
  },
  { weight: 1, arbitrary: fc.nat(20).map((revision): Command => ({ type: 'compact', revision })) },
);
