/** The cases of the suite: what is asked, and what every door must answer. See case_runner.ts for how answers read. */
import type { KeySelection, RangeView } from '../../../src/client/store_types.ts';
import type { Case, Step } from './case_runner.ts';
import type { DoorCompare, DoorDelete, DoorOperation, DoorPut, DoorRange, DoorTxn } from './door.ts';

const put = (key: string, value?: string, more: Partial<DoorPut> = {}): DoorPut => ({
  type: 'put',
  key,
  ...(value === undefined ? {} : { value }),
  ...more,
});
const keysOf = (keys: string | KeySelection): KeySelection =>
  typeof keys === 'string' ? { key: keys } : keys;
const del = (keys: string | KeySelection, more: Partial<DoorDelete> = {}): DoorDelete => ({
  type: 'delete',
  keys: keysOf(keys),
  ...more,
});
const get = (keys: string | KeySelection, view?: RangeView, more: Partial<DoorRange> = {}): DoorRange => ({
  type: 'range',
  keys: keysOf(keys),
  ...(view === undefined ? {} : { view }),
  ...more,
});
const txn = (
  compare: readonly DoorCompare[],
  then: readonly DoorOperation[],
  otherwise: readonly DoorOperation[] = [],
): DoorTxn => ({ type: 'txn', compare, then, else: otherwise });
const ALL: KeySelection = { prefix: '' };

/** Five keys at revisions 1 to 6; b twice. */
const FIVE: readonly Step[] = [
  [put('b', '4'), 'put @1'],
  [put('d', '2'), 'put @2'],
  [put('b', '9'), 'put @3'],
  [put('e', '1'), 'put @4'],
  [put('c', '3'), 'put @5'],
  [put('a', '5'), 'put @6'],
];
const [A, B, C, D, E] = ['a=5 c6m6v1', 'b=9 c1m3v2', 'c=3 c5m5v1', 'd=2 c2m2v1', 'e=1 c4m4v1'];

function ranges(name: string, view: RangeView, expected: string, keys: KeySelection = ALL): Case {
  return { name: `range: ${name}`, steps: [...FIVE, [get(keys, view), `${expected} @6`]] };
}

const RANGES: readonly Case[] = [
  ranges('all of it, in order', {}, `[${A}, ${B}, ${C}, ${D}, ${E}] of 5`),
  ranges('from one key to before another', {}, `[${B}, ${C}] of 2`, { start: 'b', end: 'd' }),
  ranges('a range of one key', {}, `[${C}] of 1`, { start: 'c', end: 'd' }),
  ranges('an empty range', {}, '[] of 0', { start: 'x', end: 'y' }),
  ranges('a range whose end lies before its start', {}, '[] of 0', { start: 'd', end: 'b' }),
  ranges('a limit, and how many there are', { limit: 2 }, `[${A}, ${B}] of 5 more`),
  ranges('a limit that is just enough', { limit: 5 }, `[${A}, ${B}, ${C}, ${D}, ${E}] of 5`),
  ranges('downwards', { sortOrder: 'descend' }, `[${E}, ${D}, ${C}, ${B}, ${A}] of 5`),
  ranges('downwards with a limit', { sortOrder: 'descend', limit: 1 }, `[${E}] of 5 more`),
  ranges('by value', { sortTarget: 'value' }, `[${E}, ${D}, ${C}, ${A}, ${B}] of 5`),
  ranges(
    'by value downwards',
    { sortTarget: 'value', sortOrder: 'descend', limit: 2 },
    `[${B}, ${A}] of 5 more`,
  ),
  ranges('by version, ties by key', { sortTarget: 'version' }, `[${A}, ${C}, ${D}, ${E}, ${B}] of 5`),
  ranges('by createRevision', { sortTarget: 'createRevision' }, `[${B}, ${D}, ${E}, ${C}, ${A}] of 5`),
  ranges(
    'by modRevision downwards',
    { sortTarget: 'modRevision', sortOrder: 'descend' },
    `[${A}, ${C}, ${E}, ${B}, ${D}] of 5`,
  ),
  ranges('keys only', { keysOnly: true, limit: 2 }, `[${'a= c6m6v1'}, ${'b= c1m3v2'}] of 5 more`),
  ranges(
    'keys only, by value',
    { keysOnly: true, sortTarget: 'value', limit: 2 },
    `[${'e= c4m4v1'}, ${'d= c2m2v1'}] of 5 more`,
  ),
  ranges('only a count', { countOnly: true }, '[] of 5'),
  ranges('a filter by modRevision', { minModRevision: 3, maxModRevision: 4 }, `[${B}, ${E}] of 5`),
  ranges(
    'a filter by createRevision',
    { minCreateRevision: 2, maxCreateRevision: 5 },
    `[${C}, ${D}, ${E}] of 5`,
  ),
  ranges('a filter before the limit', { minModRevision: 4, limit: 1 }, `[${A}] of 5 more`),
  ranges(
    'a filter, a sort and a limit',
    { maxModRevision: 5, sortTarget: 'modRevision', sortOrder: 'descend', limit: 2 },
    `[${C}, ${E}] of 5 more`,
  ),
  ranges('a filter that nothing passes', { minModRevision: 100 }, '[] of 5'),
  {
    name: 'range: as of a revision',
    steps: [
      ...FIVE,
      [get(ALL, {}, { revision: 2 }), '[b=4 c1m1v1, d=2 c2m2v1] of 2 @6'],
      [get('b', {}, { revision: 3 }), '[b=9 c1m3v2] of 1 @6'],
      [get('a', {}, { revision: 3 }), '[] of 0 @6'],
    ],
  },
  {
    name: 'range: sequential reads see what was written through the same door',
    steps: [...FIVE, [get('a', {}, { level: 'sequential' }), `[${A}] of 1 @6`]],
  },
  {
    name: 'range: a revision that has not come',
    steps: [[get('a', {}, { revision: 1_000 }), '! FUTURE_REVISION']],
  },
];

const WRITES: readonly Case[] = [
  {
    name: 'put: a new key, then another value',
    steps: [
      [put('a', '1'), 'put @1'],
      [get('a'), '[a=1 c1m1v1] of 1 @1'],
      [put('a', '2'), 'put @2'],
      [get('a'), '[a=2 c1m2v2] of 1 @2'],
    ],
  },
  {
    name: 'put: tells what it replaces',
    steps: [
      [put('a', '1', { prevKv: true }), 'put @1'],
      [put('a', '2', { prevKv: true }), 'put was a=1 c1m1v1 @2'],
    ],
  },
  {
    name: 'put: an empty value',
    steps: [
      [put('a', ''), 'put @1'],
      [get('a'), '[a= c1m1v1] of 1 @1'],
    ],
  },
  {
    name: 'put: keeps the value',
    steps: [
      [put('a', '1'), 'put @1'],
      [put('a', undefined, { prevKv: true }), 'put was a=1 c1m1v1 @2'],
      [get('a'), '[a=1 c1m2v2] of 1 @2'],
    ],
  },
  {
    name: 'put: keeps the value of a key that is not there',
    steps: [
      [put('a'), '! KEY_NOT_FOUND'],
      [get('a'), '[] of 0 @0'],
    ],
  },
  { name: 'put: the empty key', steps: [[put('', '1'), '! INVALID_ARGUMENT']] },
  {
    name: 'put: a key that is too long',
    steps: [
      [put('k'.repeat(2_000), '1'), '! KEY_TOO_LARGE'],
      [get(ALL), '[] of 0 @0'],
    ],
  },
  { name: 'put: a value that is too long', steps: [[put('a', 'v'.repeat(70_000)), '! VALUE_TOO_LARGE']] },
  {
    name: 'put: text beyond ASCII',
    steps: [
      [put('grün', '✓'), 'put @1'],
      [get(ALL), '[grün=✓ c1m1v1] of 1 @1'],
    ],
  },
  {
    name: 'delete: a key, and a key that is not there',
    steps: [
      [put('a', '1'), 'put @1'],
      [del('a'), 'deleted 1 @2'],
      [del('a'), 'deleted 0 @2'],
      [get('a'), '[] of 0 @2'],
      [get('a', {}, { revision: 1 }), '[a=1 c1m1v1] of 1 @2'],
    ],
  },
  {
    name: 'delete: a key that comes back is new',
    steps: [
      [put('a', '1'), 'put @1'],
      [del('a'), 'deleted 1 @2'],
      [put('a', '2', { prevKv: true }), 'put @3'],
      [get('a'), '[a=2 c3m3v1] of 1 @3'],
    ],
  },
  {
    name: 'delete: tells what it removes',
    steps: [
      [put('a', '1'), 'put @1'],
      [del('a', { prevKv: true }), 'deleted 1 was a=1 c1m1v1 @2'],
      [del('a', { prevKv: true }), 'deleted 0 @2'],
    ],
  },
  {
    name: 'delete: a range, at one revision',
    steps: [
      ...FIVE,
      [del({ start: 'b', end: 'e' }, { prevKv: true }), `deleted 3 was ${B}, ${C}, ${D} @7`],
      [get(ALL), `[${A}, ${E}] of 2 @7`],
    ],
  },
  { name: 'delete: a prefix', steps: [...FIVE, [del(ALL), 'deleted 5 @7'], [del(ALL), 'deleted 0 @7']] },
];

function compares(name: string, compare: DoorCompare, holds: boolean): Case {
  const expected = holds ? 'yes {} @6' : 'no {} @6';
  return { name: `compare: ${name}`, steps: [...FIVE, [txn([compare], []), expected]] };
}

const COMPARES: readonly Case[] = [
  compares('a value', { key: 'a', value: '5' }, true),
  compares('another value', { key: 'a', value: '6' }, false),
  compares('a greater value', { key: 'a', value: '4', is: '>' }, true),
  compares('a lesser value', { key: 'a', value: '4', is: '<' }, false),
  compares('a value that differs', { key: 'a', value: '4', is: '!=' }, true),
  compares('the value of a key that is not there', { key: 'x', value: '', is: '=' }, false),
  compares('that the value of a key that is not there differs', { key: 'x', value: '1', is: '!=' }, false),
  compares('a version', { key: 'b', version: 2 }, true),
  compares('that a key is there', { key: 'b', version: 0, is: '>' }, true),
  compares('that a key is not there', { key: 'x', version: 0 }, true),
  compares('a createRevision', { key: 'b', createRevision: 1 }, true),
  compares('a createRevision before another', { key: 'b', createRevision: 1, is: '<' }, false),
  compares('a modRevision', { key: 'b', modRevision: 3 }, true),
  compares('a modRevision after another', { key: 'b', modRevision: 3, is: '>' }, false),
  compares('the createRevision of a key that is not there', { key: 'x', createRevision: 0 }, true),
  compares('a lease where there is none', { key: 'a', lease: 0n }, true),
  compares('a lease', { key: 'a', lease: 1n }, false),
  compares('all versions of a range', { key: 'c', end: 'f', version: 1 }, true),
  compares('a range with one that differs', { key: 'a', end: 'f', version: 1 }, false),
  compares('a prefix', { prefix: '', modRevision: 1, is: '>' }, true),
  compares('a prefix without keys, as a key that is not there', { prefix: 'x', version: 0 }, true),
  compares('the values of a prefix without keys', { prefix: 'x', value: '1', is: '!=' }, false),
  {
    name: 'compare: all must hold',
    steps: [
      ...FIVE,
      [
        txn(
          [
            { key: 'a', value: '5' },
            { key: 'b', value: '9' },
          ],
          [get('a')],
        ),
        `yes {[${A}] of 1} @6`,
      ],
      [
        txn(
          [
            { key: 'a', value: '5' },
            { key: 'b', value: '8' },
          ],
          [get('a')],
        ),
        'no {} @6',
      ],
    ],
  },
];

const NESTED: DoorTxn = txn(
  [{ key: 'a', value: '1' }],
  [put('b', 'then', { prevKv: true }), txn([{ key: 'b', version: 0 }], [get(ALL)], [get('a')]), get('b')],
  [txn([], [put('c', 'deep')]), get('c')],
);

/** Ten deep. */
let deep: DoorOperation = put('deep', '1');
for (let depth = 0; depth < 10; depth++) deep = txn([], [deep]);

const TXNS: readonly Case[] = [
  {
    name: 'txn: one revision for all that it writes',
    steps: [
      [txn([], [put('a', '1'), put('b', '2'), get(ALL)]), 'yes {put; put; [a=1 c1m1v1, b=2 c1m1v1] of 2} @1'],
      [txn([], [del('a'), put('c', '3'), del('x')]), 'yes {deleted 1; put; deleted 0} @2'],
      [get(ALL), '[b=2 c1m1v1, c=3 c2m2v1] of 2 @2'],
    ],
  },
  {
    name: 'txn: the other branch',
    steps: [
      [
        txn([{ key: 'a', value: '1' }], [put('a', '2')], [put('a', '1'), get('a')]),
        'no {put; [a=1 c1m1v1] of 1} @1',
      ],
      [txn([{ key: 'a', value: '1' }], [put('a', '2')], [put('a', '1')]), 'yes {put} @2'],
    ],
  },
  { name: 'txn: nothing to do', steps: [[txn([], []), 'yes {} @0']] },
  {
    name: 'txn: one that only reads writes no revision',
    steps: [
      [put('a', '1'), 'put @1'],
      [txn([], [get('a'), get('x')]), 'yes {[a=1 c1m1v1] of 1; [] of 0} @1'],
    ],
  },
  {
    name: 'txn: nested ones, whose comparisons see the store before the whole',
    steps: [
      [NESTED, 'no {yes {put}; [c=deep c1m1v1] of 1} @1'],
      [put('a', '1'), 'put @2'],
      [NESTED, 'yes {put; yes {[a=1 c2m2v1, b=then c3m3v1, c=deep c1m1v1] of 3}; [b=then c3m3v1] of 1} @3'],
      [NESTED, 'yes {put was b=then c3m3v1; no {[a=1 c2m2v1] of 1}; [b=then c3m4v2] of 1} @4'],
    ],
  },
  {
    name: 'txn: ranges with options',
    steps: [
      ...FIVE,
      [
        txn(
          [],
          [
            get(ALL, { sortTarget: 'value', limit: 2 }),
            get(ALL, { countOnly: true }),
            get('b', {}, { revision: 1 }),
          ],
        ),
        `yes {[${E}, ${D}] of 5 more; [] of 5; [b=4 c1m1v1] of 1} @6`,
      ],
    ],
  },
  {
    name: 'txn: deletes tell what they remove, and may meet',
    steps: [
      ...FIVE,
      [
        txn(
          [],
          [del({ start: 'a', end: 'c' }, { prevKv: true }), del({ start: 'b', end: 'd' }, { prevKv: true })],
        ),
        `yes {deleted 2 was ${A}, ${B}; deleted 1 was ${C}} @7`,
      ],
    ],
  },
  {
    name: 'txn: a put that keeps the value, and one that cannot',
    steps: [
      [put('a', '1'), 'put @1'],
      [
        txn([], [put('a', undefined, { prevKv: true }), get('a')]),
        'yes {put was a=1 c1m1v1; [a=1 c1m2v2] of 1} @2',
      ],
      [txn([], [put('b', '1'), put('x')]), '! KEY_NOT_FOUND'],
      [get('b'), '[] of 0 @2'],
    ],
  },
  {
    name: 'txn: a key twice',
    steps: [
      [txn([], [put('a', '1'), put('a', '2')]), '! DUPLICATE_KEY'],
      [txn([], [put('a', '1'), txn([], [put('a', '2')])]), '! DUPLICATE_KEY'],
      [txn([], [put('b', '1'), del(ALL)]), '! DUPLICATE_KEY'],
      [txn([], [put('a', '1')], [put('a', '2')]), 'yes {put} @1'],
    ],
  },
  {
    name: 'txn: a revision that has not come',
    steps: [
      [txn([], [put('a', '1'), get('a', {}, { revision: 1_000 })]), '! FUTURE_REVISION'],
      [get('a'), '[] of 0 @0'],
    ],
  },
  {
    name: 'txn: too many operations',
    steps: [
      [
        txn(
          [],
          Array.from({ length: 201 }, (_, at) => put(`k${at}`, '1')),
        ),
        '! TOO_MANY_OPERATIONS',
      ],
      [get(ALL), '[] of 0 @0'],
    ],
  },
  {
    name: 'txn: too deep',
    steps: [
      [txn([], [deep]), '! TXN_TOO_DEEP'],
      [get('deep'), '[] of 0 @0'],
    ],
  },
  { name: 'txn: the empty key', steps: [[txn([], [get('')]), '! INVALID_ARGUMENT']] },
  {
    name: 'txn: a result that is too large',
    steps: [
      ...Array.from({ length: 5 }, (_, at): Step => [put(`k${at}`, 'v'.repeat(60_000)), `put @${at + 1}`]),
      [txn([], [put('a', '1'), get({ start: 'k0', end: 'k9' })]), '! REQUEST_TOO_LARGE'],
      [get('a'), '[] of 0 @5'],
      [txn([], [get({ start: 'k0', end: 'k9' }, { countOnly: true })]), 'yes {[] of 5} @5'],
    ],
  },
];

const HISTORY: readonly Case[] = [
  {
    name: 'compaction: what lies below cannot be read any more, by whatever read',
    steps: [
      ...FIVE,
      [{ type: 'compact', revision: 4 }, 'compacted'],
      [get('b', {}, { revision: 3 }), '! COMPACTED'],
      [get(ALL, {}, { revision: 3 }), '! COMPACTED'],
      [txn([], [get('b', {}, { revision: 3 })]), '! COMPACTED'],
      [get('b', {}, { revision: 4 }), `[${B}] of 1 @6`],
      [get(ALL), `[${A}, ${B}, ${C}, ${D}, ${E}] of 5 @6`],
    ],
  },
  {
    name: 'compaction: done before, or of what has not come',
    steps: [
      ...FIVE,
      [{ type: 'compact', revision: 4 }, 'compacted'],
      [{ type: 'compact', revision: 4 }, '! COMPACTED'],
      [{ type: 'compact', revision: 3 }, '! COMPACTED'],
      [{ type: 'compact', revision: 1_000 }, '! FUTURE_REVISION'],
    ],
  },
  {
    name: 'watch: what happened from a revision on, in order',
    steps: [
      ...FIVE,
      [del('b'), 'deleted 1 @7'],
      [
        { type: 'watch', keys: { key: 'b' }, fromRevision: 1, prevKv: false, events: 3 },
        'put b=4 c1m1v1, put b=9 c1m3v2, delete b= c0m7v0',
      ],
      [{ type: 'watch', keys: ALL, fromRevision: 5, prevKv: false, events: 2 }, `put ${C}, put ${A}`],
    ],
  },
  {
    name: 'watch: with what was there before',
    steps: [
      ...FIVE,
      [del('b'), 'deleted 1 @7'],
      [
        { type: 'watch', keys: { start: 'b', end: 'd' }, fromRevision: 3, prevKv: true, events: 3 },
        'put b=9 c1m3v2 was b=4 c1m1v1, put c=3 c5m5v1, delete b= c0m7v0 was b=9 c1m3v2',
      ],
    ],
  },
  {
    name: 'watch: the events of one transaction come in its order',
    steps: [
      [txn([], [put('b', '1'), put('a', '2'), txn([], [put('c', '3')])]), 'yes {put; put; yes {put}} @1'],
      [
        { type: 'watch', keys: ALL, fromRevision: 1, prevKv: false, events: 3 },
        'put b=1 c1m1v1, put a=2 c1m1v1, put c=3 c1m1v1',
      ],
    ],
  },
  {
    name: 'watch: from before what is kept',
    steps: [
      ...FIVE,
      [{ type: 'compact', revision: 4 }, 'compacted'],
      [{ type: 'watch', keys: ALL, fromRevision: 2, prevKv: false, events: 1 }, '! COMPACTED'],
    ],
  },
];

const LEASES: readonly Case[] = [
  {
    name: 'lease: granted, listed, looked at, kept, revoked',
    steps: [
      [{ type: 'grant', lease: 1n, ttlMs: 60_000 }, 'granted 60000 ms'],
      [{ type: 'grant', lease: 2n, ttlMs: 90_000 }, 'granted 90000 ms'],
      [{ type: 'leases' }, 'leases 1 2'],
      [{ type: 'lease', lease: 2n }, '90000 ms'],
      [{ type: 'keepAlive', lease: 1n }, 'kept'],
      [{ type: 'revoke', lease: 1n }, 'revoked'],
      [{ type: 'leases' }, 'leases 2'],
      [{ type: 'lease', lease: 1n }, 'no lease'],
    ],
  },
  {
    name: 'lease: its keys go with it, at one revision',
    steps: [
      [{ type: 'grant', lease: 1n, ttlMs: 60_000 }, 'granted 60000 ms'],
      [put('a', '1', { lease: 1n }), 'put @1'],
      [txn([], [put('b', '2', { lease: 1n }), put('c', '3')]), 'yes {put; put} @2'],
      [get(ALL), '[a=1 c1m1v1 L1, b=2 c2m2v1 L1, c=3 c2m2v1] of 3 @2'],
      [{ type: 'lease', lease: 1n }, '60000 ms a b'],
      [{ type: 'revoke', lease: 1n }, 'revoked'],
      [get(ALL), '[c=3 c2m2v1] of 1 @3'],
    ],
  },
  {
    name: 'lease: a put keeps it, or takes the key from it',
    steps: [
      [{ type: 'grant', lease: 1n, ttlMs: 60_000 }, 'granted 60000 ms'],
      [put('a', '1', { lease: 1n }), 'put @1'],
      [put('a', '2', { ignoreLease: true }), 'put @2'],
      [txn([{ key: 'a', lease: 1n }], [get('a')]), 'yes {[a=2 c1m2v2 L1] of 1} @2'],
      [put('a', '3'), 'put @3'],
      [txn([{ key: 'a', lease: 0n }], [get('a')]), 'yes {[a=3 c1m3v3] of 1} @3'],
      [{ type: 'lease', lease: 1n }, '60000 ms'],
      [put('x', '1', { ignoreLease: true }), '! KEY_NOT_FOUND'],
    ],
  },
  {
    name: 'lease: that is not there, or there already, or far too long',
    steps: [
      [put('a', '1', { lease: 7n }), '! LEASE_NOT_FOUND'],
      [txn([], [put('a', '1', { lease: 7n })]), '! LEASE_NOT_FOUND'],
      [{ type: 'revoke', lease: 7n }, '! LEASE_NOT_FOUND'],
      [{ type: 'keepAlive', lease: 7n }, '! LEASE_NOT_FOUND'],
      [{ type: 'grant', lease: 1n, ttlMs: 60_000 }, 'granted 60000 ms'],
      [{ type: 'grant', lease: 1n, ttlMs: 60_000 }, '! LEASE_EXISTS'],
      [{ type: 'grant', lease: 2n, ttlMs: 1e13 }, '! LEASE_TTL_TOO_LARGE'],
      [get('a'), '[] of 0 @0'],
    ],
  },
];

const QUOTAS: readonly Case[] = [
  {
    name: 'quota: holds for what was there before, and whatever would go past it is refused',
    steps: [
      [put('p/a', '1'), 'put @1'],
      [{ type: 'setQuota', prefix: 'p/', settings: { maxKeys: 2 } }, 'set'],
      [{ type: 'quotas' }, 'p/ 1 of 2 keys, 4 of 0 bytes'],
      [put('p/b', '22'), 'put @2'],
      [put('p/c', '3'), '! QUOTA_EXCEEDED'],
      [txn([], [put('p/c', '3'), put('q', '1')]), '! QUOTA_EXCEEDED'],
      [txn([], [del('p/a'), put('p/c', '3')]), 'yes {deleted 1; put} @3'],
      [put('p/c', '4444'), 'put @4'],
      [put('q', '1'), 'put @5'],
      [{ type: 'quotas' }, 'p/ 2 of 2 keys, 12 of 0 bytes'],
      [{ type: 'removeQuota', prefix: 'p/' }, 'removed'],
      [put('p/d', '1'), 'put @6'],
      [{ type: 'quotas' }, 'no quotas'],
      [{ type: 'removeQuota', prefix: 'p/' }, '! NOT_FOUND'],
    ],
  },
  {
    name: 'quota: set anew below what there is, it refuses only what grows',
    steps: [
      [{ type: 'setQuota', prefix: '', settings: { maxKeys: 9 } }, 'set'],
      [put('p/a', 'v'.repeat(100)), 'put @1'],
      [{ type: 'setQuota', prefix: '', settings: { maxBytes: 50 } }, 'set'],
      [{ type: 'quotas' }, ' 1 of 0 keys, 103 of 50 bytes'],
      [put('p/a', 'v'.repeat(101)), '! QUOTA_EXCEEDED'],
      [put('p/a', 'v'), 'put @2'],
      [{ type: 'removeQuota', prefix: '' }, 'removed'],
    ],
  },
  {
    name: 'quota: of limits that are none',
    steps: [
      [{ type: 'setQuota', prefix: 'p/', settings: { maxKeys: -1 } }, '! INVALID_ARGUMENT'],
      [{ type: 'setQuota', prefix: 'p/', settings: { maxBytes: 1.5 } }, '! INVALID_ARGUMENT'],
      [{ type: 'quotas' }, 'no quotas'],
    ],
  },
];

export const CASES: readonly Case[] = [
  ...RANGES,
  ...WRITES,
  ...COMPARES,
  ...TXNS,
  ...HISTORY,
  ...LEASES,
  ...QUOTAS,
];
