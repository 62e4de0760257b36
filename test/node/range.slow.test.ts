/** Ranges outside of transactions, on running nodes: at one revision, bounded, and the same as the plainest evaluation of what they ask. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import type { SortOrder, SortTarget } from '../../src/kv/command.ts';
import { storedKey, USER_SPACE_END, USER_SPACE_START } from '../../src/kv/keyspace.ts';
import type { RangeRequest, RangeResponse } from '../../src/wire/messages.ts';
import { PLAIN_SELECTION } from '../../src/wire/selection_codec.ts';
import { test } from '../suite.ts';
import { ClusterLab } from './cluster_lab.ts';

const key = (name: string): Uint8Array => storedKey(Buffer.from(name));
const request = (more: Partial<RangeRequest> = {}): RangeRequest => ({
  level: 'linearizable',
  minRevision: 0,
  revision: 0,
  ...PLAIN_SELECTION,
  key: USER_SPACE_START,
  end: USER_SPACE_END,
  maxBytes: 0,
  ...more,
});
const names = ({ records }: RangeResponse): string[] =>
  records.map((record) => Buffer.from(record.key.subarray(1)).toString());

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'fine',
    (error: unknown) => (error instanceof KvError ? error.code : String(error)),
  );
}

test('a range answers as filtering, sorting and cutting all keys of its revision would', async () => {
  const lab = await ClusterLab.start(1);
  try {
    const { node, store } = await lab.leader();
    const { service } = node;
    for (let i = 0; i < 40; i++) await store.put(`k${(i * 7) % 25}`, `v${(i * 5) % 9}`);
    const states = new Map<number, RangeResponse>();
    for (const revision of [20, 30, 41]) states.set(revision, await service.range(request({ revision })));
    const bound = fc.oneof(fc.constant(0), fc.nat(45));
    const some = fc.record({
      revision: fc.constantFrom(0, 20, 30),
      limit: fc.nat(12),
      sortTarget: fc.constantFrom<SortTarget>('key', 'version', 'createRevision', 'modRevision', 'value'),
      sortOrder: fc.constantFrom<SortOrder>('none', 'ascend', 'descend'),
      keysOnly: fc.boolean(),
      countOnly: fc.boolean(),
      counted: fc.boolean(),
      minModRevision: bound,
      maxModRevision: bound,
      minCreateRevision: bound,
      maxCreateRevision: bound,
      level: fc.constantFrom('linearizable', 'sequential', 'eventual'),
      key: fc.constantFrom(USER_SPACE_START, key('k1'), key('k3')),
      end: fc.constantFrom(USER_SPACE_END, key('k2'), key('k21'), undefined),
    });
    await fc.assert(
      fc.asyncProperty(some, async (asked) => {
        const answer = await service.range(request(asked));
        const all = states.get(asked.revision || 41)!.records.filter(({ key: one }) => {
          const from = Buffer.compare(one, asked.key);
          return asked.end === undefined ? from === 0 : from >= 0 && Buffer.compare(one, asked.end) < 0;
        });
        let left = all.filter(
          ({ modRevision, createRevision }) =>
            modRevision >= asked.minModRevision &&
            modRevision <= (asked.maxModRevision || 1e9) &&
            createRevision >= asked.minCreateRevision &&
            createRevision <= (asked.maxCreateRevision || 1e9),
        );
        const { minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = asked;
        const filtered = minModRevision + maxModRevision + minCreateRevision + maxCreateRevision > 0;
        if (asked.limit > 0 && asked.sortOrder === 'none' && !filtered) left = left.slice(0, asked.limit + 1);
        const { sortTarget } = asked;
        left.sort((a, b) => {
          const [x, y] = [a[sortTarget], b[sortTarget]];
          const order = typeof x === 'number' ? x - (y as number) : Buffer.compare(x, y as Uint8Array);
          return (asked.sortOrder === 'descend' ? -order : order) || Buffer.compare(a.key, b.key);
        });
        const shown = asked.countOnly ? [] : left.slice(0, asked.limit || 1e9);
        assert.equal(
          answer.records.map((one) => [[...one.key], [...one.value], one.modRevision, one.version]),
          shown.map((one) => [
            [...one.key],
            asked.keysOnly ? [] : [...one.value],
            one.modRevision,
            one.version,
          ]),
        );
        assert.is(answer.more, !asked.countOnly && left.length > shown.length);
        assert.is(answer.count, asked.counted || asked.countOnly ? all.length : shown.length);
        assert.is(answer.revision, 41);
      }),
      { numRuns: 400 },
    );
  } finally {
    await lab.stop();
  }
});

test('a range over many pages shows one revision, whatever is written meanwhile, and its revision is where a watch goes on', async () => {
  const lab = await ClusterLab.start(3);
  try {
    const leader = await lab.leader();
    const count = 9_000;
    for (let at = 0; at < count; at += 3_000) {
      const puts = Array.from({ length: 3_000 }, (_, i) => `n${String(at + i).padStart(5, '0')}`);
      await leader.store.batch(puts.map((name) => ({ type: 'put', key: name, value: 'old' })));
    }
    const follower = lab.follower(leader);
    const { service } = follower.node;
    let writing = true;
    const writer = (async () => {
      for (let i = 0; writing; i++) {
        await leader.store.put(`n${String((i * 97) % count).padStart(5, '0')}`, 'new');
        await leader.store.put(`o${i}`, 'new');
      }
    })();
    try {
      for (let round = 0; round < 3; round++) {
        const all = await service.range(request());
        const newest = Math.max(...all.records.map((record) => record.modRevision));
        assert.is(newest, all.revision, 'the last write of the revision is shown, none after it');
        const limited = await service.range(
          request({ revision: all.revision, limit: 2_500, counted: true, sortOrder: 'descend' }),
        );
        assert.equal([limited.count, limited.more], [all.count, true]);
        assert.equal(names(limited), names(all).reverse().slice(0, 2_500));
        const counted = await service.range(request({ revision: all.revision, countOnly: true }));
        assert.equal([counted.records.length, counted.count], [0, all.count]);
        const youngest = await service.range(
          request({ revision: all.revision, sortTarget: 'modRevision', sortOrder: 'descend', limit: 1 }),
        );
        assert.is(youngest.records[0]?.modRevision, all.revision);
      }
    } finally {
      writing = false;
      await writer;
    }
  } finally {
    await lab.stop();
  }
});

test('what is too much for one answer is refused without a limit, and cut off with one', async () => {
  const lab = await ClusterLab.start(1, { node: { maxRangeBytes: 64 * 1024 } });
  try {
    const { node, store } = await lab.leader();
    const { service } = node;
    for (let i = 0; i < 100; i++) await store.put(`k${String(i).padStart(2, '0')}`, 'v'.repeat(1_000));
    assert.is(await codeOf(service.range(request())), 'REQUEST_TOO_LARGE');
    const byValue = request({ sortTarget: 'value', sortOrder: 'descend' });
    assert.is(await codeOf(service.range(byValue)), 'REQUEST_TOO_LARGE');
    assert.is((await service.range(request({ keysOnly: true }))).records.length, 100);
    assert.is((await service.range(request({ countOnly: true }))).count, 100);
    const cut = await service.range(request({ limit: 90, counted: true, maxBytes: 5_000 }));
    assert.equal([cut.records.length, cut.more, cut.count], [4, true, 100]);
    const sorted = await service.range({ ...byValue, limit: 90, maxBytes: 5_000 });
    assert.equal([names(sorted), sorted.more], [['k00', 'k01', 'k02', 'k03'], true]);
    assert.equal(names(await service.range(request({ key: key('k05'), end: key('k03') }))), []);
    assert.is(await codeOf(service.range(request({ revision: 1_000 }))), 'FUTURE_REVISION');
  } finally {
    await lab.stop();
  }
});

test.run();
