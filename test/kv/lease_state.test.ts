/** The leases as rows of bytes: always what a table written out from scratch would give, and never changed after it was captured. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { LEASE_ROW_BYTES, type LeaseRow, leaseRowAt, leaseRowsOf } from '../../src/kv/lease_state.ts';
import { LeaseTable } from '../../src/kv/lease_table.ts';
import { test } from '../suite.ts';

function rowsIn(table: LeaseTable): LeaseRow[] {
  return table.ids().map((id) => {
    const lease = table.get(id);
    if (lease === undefined) throw new Error(`lease ${id} is listed and not there`);
    const { ttlMs, expiresAtMs, keys } = lease;
    return { id, ttlMs, expiresAtMs, keys };
  });
}

function read(rows: Uint8Array): LeaseRow[] {
  return Array.from({ length: rows.length / LEASE_ROW_BYTES }, (_, at) => leaseRowAt(rows, at));
}

const step = fc.oneof(
  fc.record({
    type: fc.constant('grant' as const),
    count: fc.integer({ min: 1, max: 700 }),
    ttlMs: fc.maxSafeNat(),
  }),
  fc.record({ type: fc.constant('remove' as const), every: fc.integer({ min: 1, max: 5 }) }),
  fc.record({
    type: fc.constant('renew' as const),
    every: fc.integer({ min: 1, max: 5 }),
    nowMs: fc.maxSafeNat(),
  }),
  fc.record({
    type: fc.constant('keys' as const),
    every: fc.integer({ min: 1, max: 5 }),
    more: fc.integer({ min: 0, max: 9 }),
  }),
  fc.record({ type: fc.constant('restore' as const) }),
);

test('the captured rows are those of the leases, in the order of granting, through any changes', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 20 }), (steps) => {
      let table = new LeaseTable();
      for (const one of steps) {
        const before = table.capture();
        const copy = before === undefined ? undefined : new Uint8Array(before.rows);
        if (one.type === 'grant') {
          for (let n = 0; n < one.count; n++) table.grant(table.chooseId(), one.ttlMs, n);
        } else if (one.type === 'restore') {
          const restored = new LeaseTable();
          restored.restore(before);
          table = restored;
        } else {
          for (const [at, id] of table.ids().entries()) {
            if (at % one.every !== 0) continue;
            if (one.type === 'remove') table.remove(id);
            else if (one.type === 'renew') assert.ok(table.renew(id, one.nowMs));
            else table.countKeys(table.get(id)!, one.more);
          }
        }
        // What was captured before is as it was: a cut of one moment.
        if (before !== undefined) assert.equal(before.rows, copy);
        const rows = rowsIn(table);
        const captured = table.capture();
        assert.equal(captured === undefined ? [] : read(captured.rows), rows);
        if (captured !== undefined) assert.equal(captured.rows, leaseRowsOf(rows));
      }
    }),
    { numRuns: 60 },
  );
});

test('what is gone leaves no row behind for long: the rows stay within about twice what there is', () => {
  const table = new LeaseTable();
  let oldest = 0;
  const ids: bigint[] = [];
  for (let n = 0; n < 20_000; n++) {
    const id = table.chooseId();
    ids.push(id);
    table.grant(id, 1_000, n);
    if (table.size > 100) table.remove(ids[oldest++] as bigint);
  }
  const { place } = table.get(ids.at(-1) as bigint)!;
  assert.ok(place < 2_000, `the last row lies at place ${place}`);
  assert.equal(read(table.capture()!.rows), rowsIn(table));
});

test.run();
