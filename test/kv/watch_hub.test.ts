/** The watch hub, case by case. Random interleavings are in watch_property.test.ts. */

import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import type { KvEvent } from '../../src/kv/command.ts';
import { type WatcherOptions, type WatcherSink, WatchHub } from '../../src/kv/watch_hub.ts';
import { type Watched, WatcherIndex } from '../../src/kv/watcher_index.ts';
import { test } from '../suite.ts';
import { bytes, key, keyName } from './commands.ts';

function event(name: string, revision: number, value = '', previous?: string): KvEvent {
  const record = {
    key: key(name),
    value: bytes(value),
    modRevision: revision,
    createRevision: 1,
    version: 1,
    subRevision: 0,
    flags: 0,
    lease: 0n,
    expiresAtMs: 0,
  };
  const old = previous === undefined ? undefined : { ...record, value: bytes(previous), modRevision: 1 };
  return { type: 'put', record, previous: old };
}

/** Notes what it gets; says "full" while `full` is set. */
class Sink implements WatcherSink {
  readonly got: string[] = [];
  ended: KvError | undefined;
  full = false;
  deliver(revision: number, events: readonly KvEvent[]): boolean {
    const list = events.map(
      ({ record, previous }) => `${keyName(record.key)}@${record.modRevision}${previous ? '+' : ''}`,
    );
    this.got.push(`${revision}:${list.join()}`);
    return !this.full;
  }
  end(error: KvError): void {
    this.ended = error;
  }
}

class Bench {
  readonly store = { revision: 10, compactRevision: 0 };
  readonly interest: string[] = [];
  laggingCalls = 0;
  readonly hub = new WatchHub({
    store: this.store,
    maxTotalQueueBytes: 10_000,
    onInterest: (watching, previous) => this.interest.push(`${watching}/${previous}`),
    onLagging: () => {
      this.laggingCalls++;
    },
  });
  watch(
    start: string,
    end: string | undefined,
    more: Partial<WatcherOptions> = {},
  ): { id: number; sink: Sink } {
    const sink = new Sink();
    const range = { start: key(start), end: end === undefined ? undefined : key(end) };
    const id = this.hub.register({
      ...range,
      fromRevision: 0,
      prevKv: false,
      maxQueueBytes: 1_000,
      sink,
      ...more,
    });
    return { id, sink };
  }
  publish(...names: string[]): void {
    const revision = ++this.store.revision;
    this.hub.publish(
      revision,
      names.map((name) => event(name, revision)),
    );
  }
}

test('keys and ranges get their own events, in whole revisions', () => {
  const bench = new Bench();
  const one = bench.watch('b', undefined);
  const some = bench.watch('b', 'd');
  const successor = bench.watch('c', 'c\0');
  bench.publish('a');
  bench.publish('a', 'b', 'c', 'd');
  bench.publish('c');
  assert.equal(one.sink.got, ['12:b@12']);
  assert.equal(some.sink.got, ['12:b@12,c@12', '13:c@13']);
  assert.equal(successor.sink.got, ['12:c@12', '13:c@13']);
});

test('previous versions are given only to those who asked', () => {
  const bench = new Bench();
  const plain = bench.watch('a', undefined);
  const curious = bench.watch('a', undefined, { prevKv: true });
  bench.store.revision = 11;
  bench.hub.publish(11, [event('a', 11, 'new', 'old')]);
  assert.equal(plain.sink.got, ['11:a@11']);
  assert.equal(curious.sink.got, ['11:a@11+']);
});

test('interest is told when it changes, and only then', () => {
  const bench = new Bench();
  const first = bench.watch('a', 'b');
  const second = bench.watch('a', undefined, { prevKv: true });
  bench.watch('b', undefined, { prevKv: true });
  bench.hub.cancel(second.id);
  bench.hub.cancel(second.id);
  bench.hub.cancel(first.id);
  bench.hub.endAll(new KvError('CLOSED', 'closed'));
  assert.equal(bench.interest, ['true/false', 'true/true', 'false/false']);
  assert.is(bench.hub.size, 0);
});

test('a slow sink: events wait within the bound, then come at once when it has room', () => {
  const bench = new Bench();
  const { id, sink } = bench.watch('a', 'z');
  sink.full = true;
  bench.publish('a');
  bench.publish('b');
  bench.publish('c');
  assert.equal(sink.got, ['11:a@11']);
  assert.ok(bench.hub.totalQueuedBytes > 0);
  sink.full = false;
  bench.hub.resume(id);
  assert.equal(sink.got, ['11:a@11', '13:b@12,c@13']);
  assert.is(bench.hub.totalQueuedBytes, 0);
  bench.publish('d');
  assert.is(sink.got.at(-1), '14:d@14');
  bench.hub.resume(id);
});

test('past its bound a slow watcher lags, keeps what was queued, and catches up from history', () => {
  const bench = new Bench();
  const { id, sink } = bench.watch('a', 'z', { maxQueueBytes: 100 });
  sink.full = true;
  for (const name of ['a', 'b', 'c', 'd']) bench.publish(name);
  assert.ok(bench.hub.totalQueuedBytes <= 100);
  assert.equal(bench.hub.lagging(), [], 'paused: nothing to read yet');
  sink.full = false;
  bench.hub.resume(id);
  assert.equal(sink.got, ['11:a@11', '12:b@12']);
  assert.is(bench.laggingCalls, 1);
  assert.equal(
    bench.hub.lagging().map((watcher) => [watcher.id, watcher.fromRevision]),
    [[id, 13]],
  );
  bench.publish('e');
  assert.is(bench.hub.catchUp(id, 13, [event('c', 13)]), 'lagging');
  assert.is(
    bench.hub.catchUp(id, 12, [event('b', 12)]),
    'lagging',
    'an answer to an older question changes nothing',
  );
  assert.is(bench.hub.catchUp(id, 15, [event('c', 13), event('d', 14), event('e', 15)]), 'synced');
  assert.is(bench.hub.catchUp(id, 15, [event('e', 15)]), 'synced');
  bench.publish('f');
  assert.equal(sink.got, ['11:a@11', '12:b@12', '13:c@13', '15:d@14,e@15', '16:f@16']);
});

test('the bound over all watchers makes them lag as well', () => {
  const bench = new Bench();
  const watchers = Array.from({ length: 200 }, () => bench.watch('a', 'z', { maxQueueBytes: 1e9 }));
  for (const { sink } of watchers) sink.full = true;
  for (let i = 0; i < 5; i++) bench.publish('a');
  assert.ok(bench.hub.totalQueuedBytes <= 10_000 && bench.hub.totalQueuedBytes > 9_000);
});

test('a sink may be full while it catches up', () => {
  const bench = new Bench();
  const { id, sink } = bench.watch('a', 'z', { fromRevision: 5 });
  sink.full = true;
  assert.is(bench.hub.catchUp(id, 10, [event('a', 5), event('b', 10)]), 'paused');
  assert.is(bench.hub.catchUp(id, 10, []), 'paused');
  bench.publish('c');
  sink.full = false;
  bench.hub.resume(id);
  assert.equal(sink.got, ['10:a@5,b@10', '11:c@11']);
  const late = bench.watch('a', 'z', { fromRevision: 5 });
  late.sink.full = true;
  assert.is(bench.hub.catchUp(late.id, 7, [event('a', 5)]), 'paused');
  assert.is(bench.hub.catchUp(late.id, 9, [event('a', 8)]), 'paused', 'not while it is full');
  late.sink.full = false;
  bench.hub.resume(late.id);
  assert.is(bench.hub.lagging()[0]?.fromRevision, 8);
  assert.is(bench.hub.catchUp(99, 10, []), 'ended');
});

test('a watch from a future revision shows nothing earlier', () => {
  const bench = new Bench();
  const { id, sink } = bench.watch('a', 'z', { fromRevision: 13 });
  assert.equal(bench.hub.lagging(), []);
  assert.is(bench.hub.nextRevision(id), 13);
  assert.is(bench.hub.progress(id), false);
  for (let i = 0; i < 4; i++) bench.publish('a');
  assert.equal(sink.got, ['13:a@13', '14:a@14']);
  assert.is(bench.hub.nextRevision(id), 15);
});

test('a watch of compacted revisions is refused, or ended with COMPACTED', () => {
  const bench = new Bench();
  const early = bench.watch('a', 'z', { fromRevision: 4 });
  const synced = bench.watch('a', 'z');
  bench.store.compactRevision = 3;
  bench.hub.endCompacted();
  assert.is(early.sink.ended, undefined);
  bench.store.compactRevision = 4;
  assert.equal(bench.hub.lagging(), []);
  assert.is(early.sink.ended?.code, 'COMPACTED');
  assert.equal(early.sink.ended?.details, { compactRevision: 4 });
  assert.is(synced.sink.ended, undefined);
  try {
    bench.watch('a', 'z', { fromRevision: 4 });
    assert.unreachable();
  } catch (error) {
    assert.ok(error instanceof KvError && error.code === 'COMPACTED');
  }
});

test('history that was read before a compaction is not trusted after it', () => {
  const bench = new Bench();
  const { id, sink } = bench.watch('a', 'z', { fromRevision: 4 });
  assert.is(bench.hub.lagging().length, 1);
  bench.store.compactRevision = 6;
  assert.is(bench.hub.catchUp(id, 10, [event('a', 8)]), 'ended');
  assert.equal(sink.got, []);
  assert.is(sink.ended?.code, 'COMPACTED');
});

test('progress is told to synced, idle watchers only, and never before the events it covers', () => {
  const bench = new Bench();
  const { id, sink } = bench.watch('b', 'c');
  assert.ok(bench.hub.progress(id));
  const lagging = bench.watch('b', 'c', { fromRevision: 3 });
  assert.not(bench.hub.progress(lagging.id));
  let during: boolean | undefined;
  const first: WatcherSink = {
    deliver: () => {
      during = bench.hub.progress(id);
      return true;
    },
    end: () => {},
  };
  bench.hub.cancel(id);
  const meddler = bench.watch('b', undefined, { sink: first });
  const again = bench.hub.register({
    ...range('b', 'c'),
    fromRevision: 0,
    prevKv: false,
    maxQueueBytes: 1,
    sink,
  });
  assert.is.not(again, meddler.id);
  bench.publish('b');
  assert.is(during, false);
  assert.equal(sink.got, ['10:', '11:b@11']);
  sink.full = true;
  assert.ok(bench.hub.progress(again));
  assert.not(bench.hub.progress(again));
});

function range(start: string, end: string): { start: Uint8Array; end: Uint8Array } {
  return { start: key(start), end: key(end) };
}

test('a sink may cancel others or itself while it is delivered to', () => {
  const bench = new Bench();
  const other = bench.watch('b', 'c');
  const killer: WatcherSink = {
    deliver: () => {
      bench.hub.cancel(killerId);
      bench.hub.cancel(other.id);
      return false;
    },
    end: () => assert.unreachable(),
  };
  const killerId = bench.watch('b', undefined, { sink: killer }).id;
  bench.publish('b');
  bench.publish('b');
  assert.equal(other.sink.got, [], 'exact keys are served first');
  assert.is(bench.hub.size, 0);
});

test('before the store is replaced by a later state everybody is made to read history', () => {
  const bench = new Bench();
  const idle = bench.watch('a', 'z');
  const future = bench.watch('a', 'z', { fromRevision: 20 });
  const far = bench.watch('a', 'z', { fromRevision: 200 });
  const full = bench.watch('a', 'z');
  full.sink.full = true;
  bench.publish('a');
  bench.hub.lagAll();
  bench.store.revision = 50;
  full.sink.full = false;
  bench.hub.resume(full.id);
  assert.equal(
    bench.hub.lagging().map((watcher) => [watcher.id, watcher.fromRevision]),
    [
      [idle.id, 12],
      [future.id, 20],
      [full.id, 12],
    ],
  );
  assert.is(bench.hub.nextRevision(far.id), 200);
  assert.is(bench.hub.catchUp(idle.id, 50, [event('b', 30)]), 'synced');
  bench.publish('c');
  assert.equal(idle.sink.got, ['11:a@11', '50:b@30', '51:c@51']);
});

test('a watcher keeps its own copy of its range, whatever kind of array it came in', () => {
  const bench = new Bench();
  const sink = new Sink();
  const start = Buffer.from(key('b'));
  const end = Buffer.from(key('d'));
  bench.hub.register({ start, end, fromRevision: 0, prevKv: false, maxQueueBytes: 1, sink });
  start.fill(0);
  end.fill(0);
  bench.publish('a', 'c');
  assert.equal(sink.got, ['11:c@11']);
});

test('an empty range is refused', () => {
  const bench = new Bench();
  try {
    bench.watch('b', 'a');
    assert.unreachable();
  } catch (error) {
    assert.ok(error instanceof KvError && error.code === 'INVALID_ARGUMENT');
  }
});

test('the index finds exactly the watchers of a key, with many coming and going', () => {
  const index = new WatcherIndex<Watched>();
  const present = new Map<number, Watched>();
  let seed = 7;
  const next = (below: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return (seed >>> 8) % below;
  };
  for (let id = 1; id <= 3_000; id++) {
    const start = next(100);
    const watched: Watched = {
      id,
      start: Uint8Array.of(1, start),
      end: next(3) === 0 ? undefined : Uint8Array.of(1, start + 1 + next(12)),
    };
    index.add(watched);
    present.set(id, watched);
    const victim = present.get(1 + next(id));
    if (victim !== undefined && next(2) === 0) {
      index.remove(victim);
      present.delete(victim.id);
    }
  }
  assert.is(index.size, present.size);
  for (let at = 0; at < 115; at++) {
    const found: number[] = [];
    index.match(Uint8Array.of(1, at), ({ id }) => found.push(id));
    assert.is(index.has(Uint8Array.of(1, at)), found.length > 0);
    const wanted = [...present.values()].filter(({ start, end }) =>
      end === undefined ? start[1] === at : start[1]! <= at && at < end[1]!,
    );
    assert.equal(
      found.sort((a, b) => a - b),
      wanted.map(({ id }) => id),
    );
  }
  for (const watched of present.values()) index.remove(watched);
  assert.is(index.size, 0);
});

test('with 10,000 watchers of other keys a put costs about what it costs with none', () => {
  const index = new WatcherIndex<Watched>();
  let compared = 0;
  // Counts how often a start is looked at, instead of measuring time.
  const counting = (start: Uint8Array): Uint8Array =>
    new Proxy(start, {
      get(target, property) {
        if (property === 'length') compared++;
        const value: unknown = Reflect.get(target, property, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  for (let id = 1; id <= 10_000; id++) {
    const high = id >> 8;
    const low = id & 255;
    index.add({ id, start: counting(Uint8Array.of(1, high, low)), end: Uint8Array.of(1, high, low, 9) });
  }
  compared = 0;
  let found = 0;
  index.match(Uint8Array.of(1, 20, 20, 3), () => found++);
  assert.is(found, 1);
  assert.ok(compared < 120, `${compared} of 10,000 looked at`);
});

test.run();
