/** The state machine's own state on disk: round trips, strictness, spoilt bytes. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { leaseRowsOf } from '../../src/kv/lease_state.ts';
import type { KvState } from '../../src/kv/state_machine.ts';
import type { TimeRows } from '../../src/kv/time_index.ts';
import { decodeState, encodeState, STATE_VERSION } from '../../src/wire/state_codec.ts';
import { put, remove, Store, txn, write } from '../kv/commands.ts';
import { test } from '../suite.ts';
import { alarms, authState, mutation, plain, quotaStates, result, spoil } from './command_arbitraries.ts';
import { leasesState } from './lease_arbitraries.ts';

const session = fc.record({
  acknowledgedBelow: fc.integer({ min: 1, max: 1e12 }),
  lastActiveMs: fc.maxSafeNat(),
  results: fc.uniqueArray(fc.tuple(fc.nat(2_000), result), {
    maxLength: 5,
    selector: ([sequence]) => sequence,
  }),
});
const state: fc.Arbitrary<KvState> = fc
  .record({
    revision: fc.integer({ min: 1, max: 1e15 }),
    compactRevision: fc.nat(1_000),
    timeMs: fc.nat(2 ** 50),
    sessions: fc.array(session, { maxLength: 4 }),
    auth: fc.option(authState, { nil: undefined }),
    leases: fc.option(leasesState, { nil: undefined }),
    alarms,
    quotas: quotaStates(100),
    times: fc.array(fc.tuple(fc.nat(5_000), fc.integer({ min: 1, max: 9 })), { maxLength: 4 }),
  })
  .map(({ alarms: active, times, quotas, ...one }) => ({
    ...one,
    compactRevision: Math.min(one.compactRevision, 100),
    ...(quotas.length > 0 && { quotas }),
    ...(active.length > 0 && { alarms: active }),
    ...(times.length > 1 && { times: timeRows(times, one.revision + 100, one.timeMs + 20_000) }),
  }))
  .map((one) => ({
    ...one,
    revision: one.revision + 100,
    timeMs: one.timeMs + 20_000,
    compactRevision: Math.min(one.compactRevision, one.revision),
    lastSessionId: 10 * one.sessions.length,
    sessions: one.sessions.map(({ acknowledgedBelow, lastActiveMs, results }, at) => ({
      id: at * 10 + 3,
      acknowledgedBelow,
      lastActiveMs,
      results: results
        .sort(([a], [b]) => a - b)
        .map(([offset, kept]) => ({ sequence: acknowledgedBelow + offset, result: kept })),
    })),
  }));

const EMPTY: KvState = {
  revision: 5,
  compactRevision: 2,
  timeMs: 1,
  lastSessionId: 9,
  sessions: [],
  leases: undefined,
};
/** Steps back from the newest. */
function timeRows(steps: readonly (readonly [number, number])[], revision: number, timeMs: number): TimeRows {
  const rows = [{ ms: timeMs, revision }];
  for (const [ms, revisions] of steps) {
    const next = rows.at(-1)!;
    rows.push({ ms: next.ms - ms, revision: next.revision - revisions });
  }
  rows.reverse();
  return { ms: rows.map(({ ms }) => ms), revisions: rows.map((row) => row.revision) };
}

test('a state comes back as it was', () => {
  fc.assert(
    fc.property(state, (one) => {
      assert.equal(plain(decodeState(encodeState(one))), plain(one));
    }),
  );
});

test('a captured state can be encoded, restored and captured again without a change', () => {
  const store = new Store();
  for (let i = 0; i < 3; i++) store.run({ type: 'openSession' });
  for (let sequence = 1; sequence < 30; sequence++) {
    const id = { session: 1 + (sequence % 3), sequence, acknowledgedBelow: 1 + (sequence >> 2) };
    const many = [put(`k${sequence}`, ''), remove('none'), put('last', '', { prevKv: sequence % 5 === 0 })];
    store.run(sequence % 2 === 0 ? txn(many, [], [], id) : write(put('a', ''), id));
  }
  const captured = encodeState(store.machine.captureState());
  const other = new Store();
  other.machine.restore(decodeState(captured));
  assert.equal([...encodeState(other.machine.captureState())], [...captured]);
  assert.is(other.machine.revision, store.machine.revision);
});

test('spoilt states give a KvError or a state with these bytes', () => {
  let refused = 0;
  fc.assert(
    fc.property(state, mutation, (one, how) => {
      const spoilt = spoil(encodeState(one), how);
      try {
        const decoded = decodeState(spoilt);
        // An unknown error code reads as INTERNAL: the one thing that may change.
        const kept = decoded.sessions.flatMap(({ results }) => results.map((held) => held.result));
        if (kept.every((held) => held.type !== 'failed' || held.code !== 'INTERNAL')) {
          assert.equal([...encodeState(decoded)], [...spoilt]);
        }
      } catch (error) {
        if (!(error instanceof KvError)) throw error;
        refused++;
      }
    }),
    { numRuns: 1_000 },
  );
  assert.ok(refused > 100);
});

const RAISED = { type: 'nospace', member: 1, byNode: true } as const;
const FIRST: TimeRows = { ms: [0], revisions: [1] };

test('refused: what no state machine can have captured', () => {
  const base: KvState = { ...EMPTY };
  const one = { id: 3, acknowledgedBelow: 4, lastActiveMs: 0, results: [] };
  const done = { type: 'done', revision: 1 } as const;
  const bad: [string, KvState][] = [
    ['revision 0', { ...base, revision: 0, compactRevision: 0 }],
    ['compacted beyond the present', { ...base, compactRevision: 6 }],
    ['a session that was never opened', { ...base, sessions: [{ ...one, id: 10 }] }],
    ['sessions out of order', { ...base, sessions: [one, { ...one, id: 2 }] }],
    ['a session twice', { ...base, sessions: [one, one] }],
    ['alarms out of order', { ...base, alarms: [RAISED, RAISED] }],
    ['times that go back', { ...base, times: { ms: [0, 1], revisions: [5, 5] } }],
    ['times that end before the present', { ...base, times: { ms: [0, 1], revisions: [1, 4] } }],
    ['times after the present', { ...base, times: { ms: [0, 2], revisions: [1, 5] } }],
    ['a time that goes without saying', { ...base, revision: 1, compactRevision: 0, times: FIRST }],
    ['acknowledgedBelow 0', { ...base, sessions: [{ ...one, acknowledgedBelow: 0 }] }],
    ['a forgotten result', { ...base, sessions: [{ ...one, results: [{ sequence: 3, result: done }] }] }],
    [
      'a result far ahead',
      { ...base, sessions: [{ ...one, results: [{ sequence: 200_000, result: done }] }] },
    ],
    ['lease 0', { ...base, leases: leasesOf(0n) }],
    ['a lease twice', { ...base, leases: leasesOf(7n, 7n) }],
  ];
  assert.is(decodeState(encodeState({ ...base, sessions: [one] })).sessions.length, 1);
  for (const [what, wrong] of bad) assert.throws(() => decodeState(encodeState(wrong)), isProtocol, what);
  const bytes = encodeState(base);
  bytes[0] = STATE_VERSION + 1;
  assert.throws(
    () => decodeState(bytes),
    (error: unknown) => error instanceof KvError && error.code === 'UNSUPPORTED_VERSION',
  );
});

test('a state of the first version, which had no sections, is read; a section that nobody knows is not', () => {
  const base: KvState = { ...EMPTY };
  const bytes = encodeState(base);
  const first = new Uint8Array(bytes.subarray(0, -1));
  first[0] = 1;
  assert.equal(plain(decodeState(first)), plain({ ...base, auth: undefined }));
  const unknown = Uint8Array.from([...bytes.subarray(0, -1), 1, 99, 1, 0]);
  assert.throws(
    () => decodeState(unknown),
    (error: unknown) => error instanceof KvError && error.code === 'UNSUPPORTED',
  );
});

function leasesOf(...ids: bigint[]): KvState['leases'] {
  return { given: 1, rows: leaseRowsOf(ids.map((id) => ({ id, ttlMs: 5, expiresAtMs: 5, keys: 0 }))) };
}

function isProtocol(error: unknown): boolean {
  return error instanceof KvError && error.code === 'PROTOCOL';
}

test.run();
