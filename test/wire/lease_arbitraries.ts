/** Random commands about leases and random states of the lease table. */
import * as fc from 'fast-check';
import type { LeaseCommand, WriteId } from '../../src/kv/command.ts';
import { type LeasesState, leaseRowsOf } from '../../src/kv/lease_state.ts';

export const leaseId: fc.Arbitrary<bigint> = fc.oneof(
  fc.bigInt(1n, 300n),
  fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n).filter((id) => id !== 0n),
  fc.constantFrom(-1n, 2n ** 63n - 1n, -(2n ** 63n)),
);
const safeInteger = fc.oneof(fc.nat(300), fc.maxSafeNat());
const leases = fc.array(leaseId, { maxLength: 6 });

export function leaseCommands(writeId: fc.Arbitrary<WriteId>): fc.Arbitrary<LeaseCommand> {
  return fc.oneof(
    fc.record({
      type: fc.constant('leaseGrant' as const),
      id: writeId,
      lease: fc.oneof(fc.constant(0n), leaseId),
      ttlMs: safeInteger,
    }),
    fc.record({ type: fc.constant('leaseRevoke' as const), id: writeId, lease: leaseId }),
    fc.record({ type: fc.constant('leaseRenew' as const), leases }),
    fc.record({ type: fc.constant('leaseExpire' as const), leases }),
  );
}

export const leasesState: fc.Arbitrary<LeasesState> = fc
  .record({
    given: fc.integer({ min: 1, max: 1_000 }),
    rows: fc.uniqueArray(fc.tuple(leaseId, safeInteger, safeInteger, fc.nat(2 ** 32 - 1)), {
      maxLength: 5,
      selector: ([id]) => id,
    }),
  })
  .map(({ given, rows }) => ({
    given,
    rows: leaseRowsOf(rows.map(([id, ttlMs, expiresAtMs, keys]) => ({ id, ttlMs, expiresAtMs, keys }))),
  }));
