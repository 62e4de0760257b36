/** Configurations: majorities, the bytes of an entry, and everything that bytes from a disk or a peer may have wrong. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import {
  decodeConfiguration,
  EMPTY_CONFIGURATION,
  electionResult,
  encodeConfiguration,
  isMember,
  isSoleVoter,
  isVoter,
  quorumValue,
} from '../../src/raft/configuration.ts';
import { ConfigurationHistory } from '../../src/raft/configuration_history.ts';
import type { Configuration } from '../../src/raft/types.ts';
import { test } from '../suite.ts';
import { configurationOf, memberOf } from './cluster.ts';

const ids = fc.uniqueArray(fc.integer({ min: 1, max: 1000 }), { minLength: 1, maxLength: 9 });
const ascending = (list: Iterable<number>): number[] => [...new Set(list)].sort((a, b) => a - b);

/** Any valid configuration. */
const configurations: fc.Arbitrary<Configuration> = fc
  .tuple(ids, fc.array(fc.integer({ min: 1, max: 1000 }), { maxLength: 7 }), ids, fc.nat(1000))
  .map(([voters, outgoing, others, more]) => {
    const learners = others.filter((id) => !voters.includes(id) && !outgoing.includes(id));
    const all = ascending([...voters, ...outgoing, ...learners]);
    return {
      voters: ascending(voters),
      votersOutgoing: ascending(outgoing),
      learners: ascending(learners),
      members: all.map((id) => memberOf(id)),
      lastId: all.at(-1)! + more,
    };
  });

test('bytes and back', () => {
  fc.assert(
    fc.property(configurations, (configuration) => {
      assert.equal(decodeConfiguration(encodeConfiguration(configuration)), configuration);
    }),
  );
  assert.equal(decodeConfiguration(encodeConfiguration(EMPTY_CONFIGURATION)), { ...EMPTY_CONFIGURATION });
});

test('the canonical form', () => {
  assert.is(
    new TextDecoder().decode(encodeConfiguration(configurationOf([1], [2]))),
    '{"voters":[1],"votersOutgoing":[],"learners":[2],"members":[' +
      '{"id":1,"peerAddress":"peer1:1","clientAddress":"client1:1"},' +
      '{"id":2,"peerAddress":"peer2:1","clientAddress":"client2:1"}],"lastId":2}',
  );
});

test('a majority is what more than half have reached; of a joint configuration both halves', () => {
  const naive = (list: readonly number[], value: Map<number, number>): number => {
    let best = 0;
    for (const candidate of value.values()) {
      const reached = list.filter((id) => (value.get(id) ?? 0) >= candidate).length;
      if (reached * 2 > list.length) best = Math.max(best, candidate);
    }
    return best;
  };
  fc.assert(
    fc.property(configurations, fc.infiniteStream(fc.nat(20)), (configuration, values) => {
      const value = new Map(configuration.members.map(({ id }) => [id, values.next().value ?? 0]));
      const expected = [configuration.voters, configuration.votersOutgoing]
        .filter((list) => list.length > 0)
        .map((list) => naive(list, value));
      assert.is(
        quorumValue(configuration, (id) => value.get(id) ?? 0, []),
        Math.min(...expected),
      );
    }),
  );
});

test('an election is won by a majority of each list, and lost when one list can give none', () => {
  const joint = { ...configurationOf([1, 2, 3]), votersOutgoing: [3, 4, 5] };
  const result = (granted: number[], refused: number[], configuration: Configuration = joint): string =>
    electionResult(
      configuration,
      new Map([...granted.map((id) => [id, true] as const), ...refused.map((id) => [id, false] as const)]),
    );
  assert.is(result([1, 2], []), 'pending');
  assert.is(result([1, 3, 4], []), 'won');
  assert.is(result([1, 2, 3], [4, 5]), 'lost');
  assert.is(result([3, 4, 5], [1, 2]), 'lost');
  assert.is(result([3, 4], [1]), 'pending');
  assert.is(result([], [], EMPTY_CONFIGURATION), 'lost');
});

test('who is who', () => {
  const joint = { ...configurationOf([1], [3]), votersOutgoing: [2] };
  assert.equal(
    [1, 2, 3, 4].map((id) => [isVoter(joint, id), isMember(joint, id), isSoleVoter(joint, id)]),
    [
      [true, true, false],
      [true, true, false],
      [false, true, false],
      [false, false, false],
    ],
  );
  assert.ok(isSoleVoter(configurationOf([7], [8]), 7));
  assert.not(isSoleVoter(configurationOf([7, 8]), 7));
});

const good =
  '{"voters":[1],"votersOutgoing":[],"learners":[],"members":[{"id":1,"peerAddress":"a:1","clientAddress":""}],"lastId":1}';
for (const [what, text] of [
  ['no JSON', '{'],
  ['no object', '7'],
  ['null', 'null'],
  ['a list that is none', good.replace('"learners":[]', '"learners":{}')],
  ['members that are no list', good.replace(/"members":\[.*\]/, '"members":1')],
  ['a member that is no object', good.replace(/"members":\[.*\]/, '"members":[1]')],
  ['an id that is a text', good.replace('[1]', '["1"]')],
  ['an id of 0', good.replaceAll('1]', '0]').replace('"id":1', '"id":0')],
  ['an id that is no integer', good.replace('[1]', '[1.5]')],
  ['an id that is too large', good.replace('"lastId":1', '"lastId":9007199254740993')],
  ['ids out of order', good.replace('[1]', '[2,1]')],
  ['an id twice', good.replace('[1]', '[1,1]')],
  ['a voter that is a learner', good.replace('"learners":[]', '"learners":[1]')],
  ['a voter without a member', good.replace('[1]', '[1,2]')],
  [
    'a member without a role',
    good.replace('"voters":[1]', '"voters":[2]').replace('"lastId":1', '"lastId":2'),
  ],
  ['no voters', good.replace('"voters":[1]', '"voters":[]').replace('"learners":[]', '"learners":[1]')],
  ['an empty address', good.replace('a:1', '')],
  ['an endless address', good.replace('a:1', 'a'.repeat(513))],
  ['an address that is a number', good.replace('"a:1"', '1')],
  ['lastId below an id', good.replace('"lastId":1', '"lastId":0')],
  ['a field too many', good.replace('}]', ',"x":1}]')],
  ['a field twice', good.replace('"lastId":1', '"lastId":1,"lastId":1')],
  ['spaces', good.replace(',', ', ')],
  ['another order', good.replace('"voters":[1],"votersOutgoing":[]', '"votersOutgoing":[],"voters":[1]')],
  ['a byte order mark', `\ufeff${good}`],
  ['more after the end', `${good} `],
] as const) {
  test(`bytes with ${what} are refused as corrupt`, () => {
    assert.not(text === good, 'the case must differ from the good one');
    assert.is(
      codeOf(() => decodeConfiguration(new TextEncoder().encode(text))),
      'CORRUPT',
    );
  });
}

test('the good one is good; bytes that are not UTF-8, or far too many, are not', () => {
  assert.equal(decodeConfiguration(new TextEncoder().encode(good)).voters, [1]);
  assert.is(
    codeOf(() => decodeConfiguration(new Uint8Array([0xff, 0xfe]))),
    'CORRUPT',
  );
  assert.is(
    codeOf(() => decodeConfiguration(new Uint8Array(2 * 1024 * 1024))),
    'CORRUPT',
  );
});

test('random damage never gets through as another configuration without notice', () => {
  const bytes = encodeConfiguration(configurationOf([1, 2, 3], [4]));
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const damaged = bytes.slice();
      damaged[at] = damaged[at]! ^ change;
      let decoded: Configuration;
      try {
        decoded = decodeConfiguration(damaged);
      } catch (error) {
        assert.ok(error instanceof KvError && error.code === 'CORRUPT');
        return;
      }
      assert.equal(encodeConfiguration(decoded), damaged, 'what is accepted is exactly what stands there');
    }),
  );
});

test('an invalid configuration is not encoded; two members cannot share an address', () => {
  const twice = configurationOf([1, 2]);
  const members = [memberOf(1), { ...memberOf(1), id: 2 }];
  assert.is(
    codeOf(() => encodeConfiguration({ ...twice, members })),
    'INVALID_ARGUMENT',
  );
});

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return error instanceof KvError ? error.code : String(error);
  }
  return 'none';
}

test('the history keeps what may still be rolled back, and no more', () => {
  const [a, b, c] = [configurationOf([1]), configurationOf([1, 2]), configurationOf([1, 2, 3])];
  const history = new ConfigurationHistory(0, a);
  assert.is(history.previous(), undefined);
  history.push(5, b);
  history.push(8, c);
  assert.equal([history.current, history.previous()], [c, b]);
  assert.not(history.truncateAfter(8));
  assert.ok(history.truncateAfter(7));
  assert.equal([history.current, history.currentIndex], [b, 5]);
  history.committed(4);
  assert.is(history.previous(), a);
  history.committed(5);
  assert.is(history.previous(), undefined);
  history.reset(20, c);
  assert.equal([history.current, history.currentIndex], [c, 20]);
});

test.run();
