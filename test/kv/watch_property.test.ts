/**
 * Watches against a real state machine: random writes, compactions, slow sinks and catch-ups from stored history. Whatever the interleaving, a watcher gets exactly the
 * events of its range from its first revision on, whole revisions in order, or ends with COMPACTED (known failure 25).
 */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import type { KvError } from '../../src/errors.ts';
import type { Command, KvEvent } from '../../src/kv/command.ts';
import { rangeHolds } from '../../src/kv/key_order.ts';
import { WatchHistoryCollector } from '../../src/kv/watch_history.ts';
import { type LaggingWatcher, type WatchFilters, WatchHub } from '../../src/kv/watch_hub.ts';
import type { StoredRecord } from '../../src/storage/record.ts';
import { test } from '../suite.ts';
import { key, keyName, put, remove, Store, text, txn, write } from './commands.ts';

interface Watcher {
  id: number;
  readonly start: Uint8Array;
  readonly end: Uint8Array | undefined;
  readonly from: number;
  readonly prevKv: boolean;
  readonly filters: WatchFilters | undefined;
  readonly lines: string[];
  lastRevision: number;
  room: number;
  ended: KvError | undefined;
  cancelled: boolean;
}

function line(event: KvEvent, prevKv: boolean): string {
  const { type, record, previous } = event;
  const old = prevKv && previous !== undefined ? ` was ${text(previous.value)}@${previous.modRevision}` : '';
  return `${record.modRevision}.${record.subRevision} ${type} ${keyName(record.key)}=${text(record.value)}${old}`;
}

class World {
  readonly store = new Store();
  private readonly mirror = new Store();
  readonly truth: KvEvent[] = [];
  readonly watchers: Watcher[] = [];
  readonly hub: WatchHub;

  constructor() {
    this.hub = new WatchHub({ store: this.store.machine, maxTotalQueueBytes: 1_500 });
    this.store.machine.writer.eventsWithPrevious = true;
    // The truth is kept by a machine of its own, which builds events for every key.
    this.mirror.machine.writer.eventsWithPrevious = true;
    this.mirror.machine.writer.onEvents = (_, events) => this.truth.push(...events);
    this.store.machine.writer.watches = (name) => this.hub.watches(name);
    this.store.machine.writer.onEvents = (revision, events) => {
      this.hub.publish(revision, events);
    };
  }

  run(command: Command): void {
    this.mirror.run(command);
    this.store.run(command);
  }

  watch(
    start: string,
    end: string | undefined,
    fromBack: number,
    prevKv: boolean,
    filters?: WatchFilters,
  ): void {
    const { revision, compactRevision } = this.store.machine;
    const from = Math.max(compactRevision + 1, revision + 1 - fromBack);
    const watcher: Watcher = {
      id: 0,
      start: key(start),
      end: end === undefined ? undefined : key(end),
      from,
      prevKv,
      filters,
      lines: [],
      lastRevision: 0,
      room: 2,
      ended: undefined,
      cancelled: false,
    };
    const deliver = (revision: number, events: readonly KvEvent[]): boolean => {
      assert.ok(
        watcher.room > 0 && !watcher.ended && !watcher.cancelled,
        'nothing comes to a sink that is full or gone',
      );
      const first = events[0]?.record.modRevision ?? revision;
      assert.ok(first > watcher.lastRevision, 'a revision is in one batch');
      assert.ok(events.every((event) => event.record.modRevision <= revision));
      watcher.lastRevision = revision;
      for (const event of events) watcher.lines.push(line(event, true));
      watcher.room--;
      return watcher.room > 0;
    };
    const end_ = (error: KvError): void => {
      watcher.ended = error;
    };
    const { start: s, end: e } = watcher;
    const sink = { deliver, end: end_ };
    watcher.id = this.hub.register({
      start: s,
      end: e,
      fromRevision: from,
      prevKv,
      filters,
      maxQueueBytes: 400,
      sink,
    });
    this.watchers.push(watcher);
  }

  /** One round of the history reader: reads in small pages, as of `upTo`. */
  read(
    lagging: LaggingWatcher,
    maxBytes: number,
    pageSize: number,
  ): { upTo: number; events: readonly KvEvent[] } {
    const { start, fromRevision, prevKv } = lagging;
    const end = lagging.end ?? Uint8Array.of(...start, 0);
    const toRevision = this.store.machine.revision;
    const collector = new WatchHistoryCollector({ fromRevision, toRevision, maxBytes, prevKv });
    let after: StoredRecord | undefined;
    for (let more = true; more; ) {
      const { minRevision, maxRevision } = collector;
      const request = { start, end, after, minRevision, maxRevision, limit: pageSize, maxBytes: 1e9 };
      const page = this.store.engine.versions(request);
      collector.feed(page.records);
      more = page.more;
      after = page.records.at(-1) ?? after;
    }
    const { events, completeUpTo } = collector.finish();
    return { upTo: completeUpTo, events };
  }

  /** What a watcher must have seen by now, if it has seen everything. */
  expected(watcher: Watcher): string[] {
    return this.truth
      .filter(
        ({ type, record }) =>
          record.modRevision >= watcher.from &&
          rangeHolds(watcher.start, watcher.end, record.key) &&
          !(type === 'put' ? watcher.filters?.noPut : watcher.filters?.noDelete),
      )
      .map((event) => line(event, watcher.prevKv));
  }

  check(): void {
    for (const watcher of this.watchers) {
      const expected = this.expected(watcher);
      assert.equal(watcher.lines, expected.slice(0, watcher.lines.length), 'a prefix of what happened');
    }
    assert.ok(this.hub.totalQueuedBytes <= 1_500);
  }

  /** Gives everybody room and reads history until all are done. */
  settle(): void {
    for (const watcher of this.watchers) watcher.room = Number.POSITIVE_INFINITY;
    for (const { id } of this.watchers) this.hub.resume(id);
    for (let round = 0; round < 1_000; round++) {
      const lagging = this.hub.lagging();
      if (lagging.length === 0) break;
      for (const one of lagging) {
        const { upTo, events } = this.read(one, 300, 3);
        this.hub.catchUp(one.id, upTo, events);
      }
    }
    assert.equal(this.hub.lagging(), []);
    for (const watcher of this.watchers) {
      if (watcher.cancelled) continue;
      if (watcher.ended) assert.is(watcher.ended.code, 'COMPACTED');
      else assert.equal(watcher.lines, this.expected(watcher));
    }
  }
}

const names = fc.constantFrom('a', 'b', 'c', 'd', 'e');
const ends = fc.option(fc.constantFrom('c', 'd', 'z'), { nil: undefined });
const action = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('put' as const), name: names, size: fc.nat(40) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('delete' as const), name: names, end: ends }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('txn' as const), names: fc.uniqueArray(names, { maxLength: 5 }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('watch' as const),
      name: fc.constantFrom('a', 'b'),
      end: ends,
      back: fc.integer({ min: -3, max: 12 }),
      prevKv: fc.boolean(),
      filters: fc.option(fc.record({ noPut: fc.boolean(), noDelete: fc.boolean() }), { nil: undefined }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('room' as const),
      which: fc.nat(9),
      room: fc.integer({ min: 1, max: 4 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('read' as const),
      bytes: fc.integer({ min: 1, max: 600 }),
      page: fc.integer({ min: 1, max: 4 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('answer' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('compact' as const), back: fc.nat(10) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('cancel' as const), which: fc.nat(9) }) },
);

test('every watcher sees exactly what happened in its range, or ends with COMPACTED', () => {
  let endings = 0;
  let caughtUp = 0;
  fc.assert(
    fc.property(fc.array(action, { minLength: 20, maxLength: 90 }), (actions) => {
      const world = new World();
      const { store, hub } = world;
      // History that was read and has not been handed over yet: other things happen in between.
      const inFlight: { id: number; upTo: number; events: readonly KvEvent[] }[] = [];
      for (const one of actions) {
        const watcher = 'which' in one ? world.watchers[one.which] : undefined;
        if (one.do === 'put') world.run(write(put(one.name, 'v'.repeat(one.size))));
        else if (one.do === 'delete') world.run(write(remove(one.name, one.end)));
        else if (one.do === 'txn')
          world.run(txn(one.names.map((name, at) => (at % 2 ? remove(name) : put(name, 't')))));
        else if (one.do === 'watch' && (one.end ?? 'z') > one.name)
          world.watch(one.name, one.end, one.back, one.prevKv, one.filters);
        else if (one.do === 'room' && watcher !== undefined) {
          watcher.room = one.room;
          hub.resume(watcher.id);
        } else if (one.do === 'read') {
          for (const lagging of hub.lagging())
            inFlight.push({ id: lagging.id, ...world.read(lagging, one.bytes, one.page) });
        } else if (one.do === 'answer') {
          for (const { id, upTo, events } of inFlight.splice(0))
            if (hub.catchUp(id, upTo, events) === 'synced') caughtUp++;
        } else if (one.do === 'compact') {
          world.run({ type: 'compact', revision: Math.max(1, store.machine.revision - one.back) });
        } else if (one.do === 'cancel' && watcher !== undefined) {
          watcher.cancelled = true;
          hub.cancel(watcher.id);
        }
        world.check();
      }
      world.settle();
      endings += world.watchers.filter((watcher) => watcher.ended).length;
    }),
    { numRuns: 300 },
  );
  assert.ok(endings > 0 && caughtUp > 0, 'the interesting cases came up');
});

test('history: whole revisions, the smallest first, within the budget; at least one', () => {
  const { engine, run, machine } = (() => {
    const store = new Store();
    return { engine: store.engine, run: store.run.bind(store), machine: store.machine };
  })();
  for (let round = 0; round < 20; round++) {
    run(txn(['a', 'b', 'c'].map((name) => put(name, `${round}`.padEnd(100)))));
  }
  const pages = engine.dump();
  const collect = (maxBytes: number, fromRevision: number) => {
    const collector = new WatchHistoryCollector({
      fromRevision,
      toRevision: machine.revision,
      maxBytes,
      prevKv: true,
    });
    collector.feed(pages);
    return collector.finish();
  };
  const tiny = collect(1, 5);
  assert.is(tiny.completeUpTo, 5);
  assert.equal(
    tiny.events.map((event) => line(event, true).slice(0, 9)),
    ['5.0 put a', '5.1 put b', '5.2 put c'],
  );
  assert.is(tiny.events[0]?.previous?.modRevision, 4);
  const some = collect(5_000, 2);
  assert.ok(some.completeUpTo >= 5 && some.completeUpTo < 12);
  assert.is(some.events.length, (some.completeUpTo - 1) * 3);
  assert.is(some.events[0]?.previous, undefined, 'there was nothing before the creation');
  assert.equal(collect(1e9, 2).completeUpTo, machine.revision);
});

test('history: a revision far beyond the budget is given whole', () => {
  const store = new Store();
  store.run(txn(Array.from({ length: 30 }, (_, i) => put(`k${i}`, 'v'.repeat(100)))));
  store.run(txn(Array.from({ length: 30 }, (_, i) => put(`k${i}`, 'w'))));
  const collector = new WatchHistoryCollector({
    fromRevision: 2,
    toRevision: 3,
    maxBytes: 10,
    prevKv: false,
  });
  assert.is(collector.minRevision, 2);
  for (const record of store.engine.dump()) collector.feed([record]);
  const { events, completeUpTo } = collector.finish();
  assert.is(completeUpTo, 2);
  assert.equal(
    events.map((event) => event.record.subRevision),
    Array.from({ length: 30 }, (_, i) => i),
  );
  assert.is(collector.maxRevision, 2);
});

test.run();
