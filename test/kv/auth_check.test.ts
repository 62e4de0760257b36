/** Rights on ranges of keys, against a model that asks of each place between the bounds whether some grant covers it; and of whole transactions. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { AuthTable } from '../../src/kv/auth.ts';
import { refuseCommand } from '../../src/kv/auth_check.ts';
import { RangeSet } from '../../src/kv/auth_ranges.ts';
import type { Grant } from '../../src/kv/auth_types.ts';
import type { Compare, Operation, PlainCommand, RangeOp, TxnOp } from '../../src/kv/command.ts';
import { compareKeys } from '../../src/storage/record.ts';
import { PLAIN_SELECTION } from '../../src/wire/selection_codec.ts';
import { test } from '../suite.ts';
import { bytes, LIMITS, NO_ID } from './commands.ts';

// Few and short keys, so that bounds meet.
const shortKey = fc.uint8Array({ min: 0, max: 2, maxLength: 3 }).map((tail) => Uint8Array.of(1, ...tail));
const someEnd = fc.option(fc.oneof(shortKey, fc.constant(Uint8Array.of(2))), { nil: undefined });
const grant: fc.Arbitrary<Grant> = fc.record({
  kind: fc.constantFrom('read', 'write', 'readwrite'),
  key: shortKey,
  end: someEnd,
});
const request = fc.record({ key: shortKey, end: someEnd });

function holds(grant: { key: Uint8Array; end: Uint8Array | undefined }, key: Uint8Array): boolean {
  if (grant.end === undefined) return compareKeys(grant.key, key) === 0;
  return compareKeys(grant.key, key) <= 0 && compareKeys(key, grant.end) < 0;
}

/** Coverage can end only where a grant ends: at its end, or just behind its one key. */
function covered(
  grants: readonly { key: Uint8Array; end: Uint8Array | undefined }[],
  { key, end }: { key: Uint8Array; end: Uint8Array | undefined },
): boolean {
  if (end === undefined) return grants.some((one) => holds(one, key));
  const places = [key, ...grants.map((one) => one.end ?? Uint8Array.of(...one.key, 0))];
  const within = places.filter((place) => compareKeys(key, place) <= 0 && compareKeys(place, end) < 0);
  return within.length > 0 && within.every((place) => grants.some((one) => holds(one, place)));
}

test('a request is covered exactly when every place of it lies in some grant', () => {
  let ranges = 0;
  fc.assert(
    fc.property(fc.array(grant, { maxLength: 8 }), request, (grants, one) => {
      const set = new RangeSet(grants);
      const answer = one.end === undefined ? set.coversKey(one.key) : set.coversRange(one.key, one.end);
      assert.is(answer, covered(grants, one));
      if (answer && one.end !== undefined) ranges++;
    }),
    { numRuns: 3_000 },
  );
  assert.ok(ranges > 50, `${ranges} ranges were covered`);
});

const lease = fc.constantFrom(0n, 0n, 7n);
const step: fc.Arbitrary<Exclude<Operation, TxnOp>> = fc.oneof(
  fc.record({
    type: fc.constant('put' as const),
    key: shortKey,
    value: fc.constant(new Uint8Array(0)),
    ttlMs: fc.constant(0),
    lease,
    prevKv: fc.boolean(),
    ignoreValue: fc.boolean(),
    ignoreLease: fc.boolean(),
  }),
  fc.record({ type: fc.constant('delete' as const), key: shortKey, end: someEnd, prevKv: fc.boolean() }),
  fc.record({ type: fc.constant('touch' as const), key: shortKey, ttlMs: fc.constant(1) }),
  fc.record({ key: shortKey, end: someEnd, countOnly: fc.boolean() }).map(
    (keys): RangeOp => ({
      type: 'range',
      revision: 0,
      ...PLAIN_SELECTION,
      ...keys,
    }),
  ),
);
const compare: fc.Arbitrary<Compare> = request.map((keys) => ({
  target: 'version',
  result: '=',
  ...keys,
  value: new Uint8Array(0),
  lease: 0n,
  number: 0,
}));
const { operation } = fc.letrec<{ operation: Operation; txn: TxnOp }>((tie) => ({
  operation: fc.oneof({ maxDepth: 2 }, step, step, tie('txn')),
  txn: fc.record({
    type: fc.constant('txn' as const),
    compares: fc.array(compare, { maxLength: 1 }),
    success: fc.array(tie('operation'), { maxLength: 2 }),
    failure: fc.array(tie('operation'), { maxLength: 1 }),
  }),
}));
const command: fc.Arbitrary<PlainCommand> = fc.record({
  type: fc.constant('txn' as const),
  id: fc.constant(NO_ID),
  compares: fc.array(compare, { maxLength: 2 }),
  success: fc.array(operation, { maxLength: 3 }),
  failure: fc.array(operation, { maxLength: 2 }),
});

/** What a transaction reads and writes, said once more. */
function touched(one: PlainCommand | TxnOp, leased: readonly Uint8Array[]) {
  const reads: { key: Uint8Array; end: Uint8Array | undefined }[] = [];
  const writes: { key: Uint8Array; end: Uint8Array | undefined }[] = [];
  if (one.type !== 'txn') throw new Error('transactions only');
  for (const { key, end } of one.compares) reads.push({ key, end });
  for (const step of [...one.success, ...one.failure]) {
    if (step.type === 'txn') {
      const inner = touched(step, leased);
      reads.push(...inner.reads);
      writes.push(...inner.writes);
      continue;
    }
    const keys = { key: step.key, end: 'end' in step ? step.end : undefined };
    if (step.type === 'range' || ('prevKv' in step && step.prevKv)) reads.push(keys);
    if (step.type !== 'range') writes.push(keys);
    if (step.type === 'put' && step.lease !== 0n)
      for (const key of leased) writes.push({ key, end: undefined });
  }
  return { reads, writes };
}

test('a transaction is allowed exactly when each key that it could read or write is', () => {
  let allowed = 0;
  fc.assert(
    fc.property(
      fc.array(grant, { maxLength: 10 }),
      command,
      fc.array(shortKey, { maxLength: 2 }),
      (grants, one, leased) => {
        const auth = new AuthTable({ ...LIMITS, maxGrantsPerRole: 100 }, () => false);
        auth.apply({ type: 'userAdd', user: 'u', passwordHash: bytes('h') });
        auth.apply({ type: 'roleAdd', role: 'r' });
        auth.apply({ type: 'userGrantRole', user: 'u', role: 'r' });
        for (const given of grants) auth.apply({ type: 'roleGrant', role: 'r', grant: given });
        const held = auth.role('r')?.grants ?? [];
        const { reads, writes } = touched(one, leased);
        const may =
          reads.every((keys) =>
            covered(
              held.filter(({ kind }) => kind !== 'write'),
              keys,
            ),
          ) &&
          writes.every((keys) =>
            covered(
              held.filter(({ kind }) => kind !== 'read'),
              keys,
            ),
          );
        const refusal = refuseCommand(auth, 'u', one, (id) => (id === 7n ? leased : []));
        assert.is(refusal?.code, may ? undefined : 'PERMISSION_DENIED');
        if (may && reads.length + writes.length > 0) allowed++;
        assert.is(refuseCommand(auth, 'nobody', one, () => [])?.code, 'PERMISSION_DENIED');
        auth.apply({ type: 'userGrantRole', user: 'u', role: 'root' });
        assert.is(
          refuseCommand(auth, 'u', one, () => leased),
          undefined,
          'root may',
        );
      },
    ),
    { numRuns: 2_000 },
  );
  assert.ok(allowed > 20, `${allowed} were allowed`);
});

test.run();
