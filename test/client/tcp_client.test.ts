/** The client over real sockets against fake nodes: fail-over, retries that apply once, streams that resume, bounds and time-outs. */

import * as assert from 'uvu/assert';
import { connectAdmin } from '../../src/client/admin.ts';
import { jsonCodec } from '../../src/client/codecs.ts';
import { connectWith } from '../../src/client/connect.ts';
import { type ErrorCode, KvError } from '../../src/errors.ts';
import { realPorts } from '../../src/real_ports.ts';
import { SOME_ALARM, SOME_HASH } from '../api/fake_upkeep.ts';
import { test } from '../suite.ts';
import { connectedTo, type FakeNode, withCluster } from './fake_cluster.ts';
import { FaultyProxy } from './faulty_proxy.ts';

async function failure(promise: Promise<unknown>): Promise<KvError> {
  try {
    await promise;
  } catch (error) {
    assert.instance(error, KvError);
    return error as KvError;
  }
  return assert.unreachable('it did not fail') as never;
}

async function waitFor(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise<void>((resolve) => setTimeout(resolve, 1));
}

const wireCode: Record<string, ErrorCode> = { lost: 'UNAVAILABLE' };

test('everything that a store can do works over the wire', () =>
  withCluster(1, async (_nodes, _store, open) => {
    const kv = await open();
    assert.equal(await kv.put('a', 'one'), { revision: 1 });
    assert.is(Buffer.from((await kv.get('a'))!).toString(), 'one');
    assert.is(await kv.get('none'), undefined);
    await kv.batch([
      { type: 'put', key: 'b', value: 'two' },
      { type: 'delete', key: 'a' },
    ]);
    const entry = await kv.getEntry('b');
    assert.is(entry!.modRevision, 2);
    assert.is(await kv.touch('b', { ttlMs: 100 }), true);
    assert.equal(await kv.delete('b'), { revision: 4, deleted: true });
    assert.equal(await kv.delete('b'), { revision: 4, deleted: false });
    const answer = await kv.txn({
      then: [
        { type: 'put', key: 'c', value: '3' },
        { type: 'get', key: 'c' },
      ],
    });
    assert.is(answer.succeeded, true);
    const typed = kv.withCodec(jsonCodec<{ n: number }>());
    await typed.put('j', { n: 5 });
    assert.equal(await typed.get('j', { level: 'sequential' }), { n: 5 });
  }));

test('a scan of many pages is complete, in both directions, and survives the loss of its node', () =>
  withCluster(2, async (nodes, _store, open) => {
    const kv = await open();
    const names = Array.from({ length: 2500 }, (_, i) => `k${String(i).padStart(4, '0')}`);
    await kv.batch(names.map((key) => ({ type: 'put' as const, key, value: key })));
    await connectedTo(kv, nodes[1]!);
    const seen: string[] = [];
    for await (const { key } of kv.scan({ prefix: 'k' })) {
      if (seen.length === 500) nodes[0]!.proxy.cut();
      if (seen.length === 700) await kv.put('k9999', 'later than the scan', { timeoutMs: 3_000 });
      seen.push(Buffer.from(key).toString());
    }
    assert.equal(seen, names);
    const back: string[] = [];
    for await (const { key } of kv.scan({ start: 'k0100', end: 'k2000', reverse: true, limit: 1500 })) {
      back.push(Buffer.from(key).toString());
    }
    assert.equal(back, names.slice(500, 2000).reverse());
  }));

test('a write whose answer is lost is repeated and applied once', () =>
  withCluster(1, async (nodes, store, open) => {
    const { proxy } = nodes[0]!;
    const kv = await open();
    await kv.put('n', '0');
    let cuts = 0;
    // The connection dies each time when the node has answered and the client has not heard it.
    proxy.toClient = () => {
      if (store.revision <= cuts + 1 || cuts >= 5) return true;
      cuts++;
      proxy.cut();
      return false;
    };
    for (let i = 1; i <= 10; i++) {
      const { revision } = await kv.put('n', String(i));
      assert.is(revision, i + 1);
    }
    assert.is(cuts, 5);
    assert.is(new Set(store.applied).size, 11);
    assert.is(store.revision, 11);
  }));

test('a writer goes on at another node when the leader dies', () =>
  withCluster(3, async (nodes, store, open) => {
    const kv = await open();
    await kv.put('a', '1');
    await waitFor(() => nodes.every(({ door }) => door.connections() > 0));
    await nodes[0]!.proxy.close();
    store.leader = 2;
    const started = performance.now();
    await kv.put('a', '2');
    assert.ok(performance.now() - started < 1_500);
    await waitFor(
      () => nodes[1]!.service.calls.includes('write') || nodes[2]!.service.calls.includes('write'),
    );
    assert.is(store.revision, 2);
  }));

test('a first write that runs out of time says what kept it from its session', () =>
  withCluster(1, async ([node], _store, open) => {
    const kv = await open(300);
    node!.service.before = (name) => {
      if (name === 'write') throw new KvError('NO_LEADER', 'an election is under way');
    };
    const failureOf = async (timeoutMs?: number): Promise<string> => {
      const error = await kv.put('n', '1', { timeoutMs }).then(
        () => assert.unreachable(),
        (thrown: unknown) => thrown,
      );
      assert.instance(error, KvError);
      return String(error);
    };
    assert.match(await failureOf(), /no answer in time; .* NO_LEADER: an election is under way/);
    // Others share the opening, and may have less time.
    assert.match(await failureOf(50), /no session for writes could be opened in time/);
  }));

test('writes go to the leader that a NOT_LEADER names, and wait through a time without leader', () =>
  withCluster(2, async (nodes, store, open) => {
    const [first, second] = nodes as [FakeNode, FakeNode];
    const kv = await open();
    await waitFor(() => second.door.connections() > 0);
    let refusals = 0;
    store.leader = 0;
    first.service.before = (name) => {
      if (name === 'members') throw new KvError('NO_LEADER', 'election');
      if (name !== 'write') return;
      if (++refusals < 3) throw new KvError('NO_LEADER', 'election');
      throw new KvError('NOT_LEADER', 'node 2 leads', {
        details: { leader: 2, leaderAddress: second.proxy.address },
      });
    };
    second.service.before = (name) => {
      if (name === 'write' && refusals < 3) throw new KvError('NO_LEADER', 'election');
      if (name === 'members') throw new KvError('NO_LEADER', 'election');
    };
    assert.equal(await kv.put('a', '1'), { revision: 1 });
    assert.ok(second.service.calls.includes('write'));
  }));

test('an expired session is replaced; a write with an unknown outcome is not repeated under the new one', () =>
  withCluster(1, async (nodes, store, open) => {
    const { proxy } = nodes[0]!;
    const kv = await open();
    await kv.put('a', '1');
    store.sessions.clear();
    await kv.put('a', '2');
    assert.is(store.revision, 2);
    proxy.toClient = () => {
      if (store.revision < 3) return true;
      proxy.toClient = () => true;
      store.sessions.clear();
      proxy.cut();
      return false;
    };
    const error = await failure(kv.put('a', '3'));
    assert.is(error.code, 'SESSION_EXPIRED');
    assert.is(error.maybeApplied, true);
    assert.is(store.revision, 3);
    await kv.put('a', '4');
    assert.is(store.revision, 4);
  }));

test('a call ends with its time-out or its signal and says truthfully whether it may have been applied', () =>
  withCluster(1, async (nodes, _store, open) => {
    const { service } = nodes[0]!;
    const kv = await open();
    await kv.put('a', '1');
    service.before = (name) => (name === 'write' || name === 'get' ? new Promise<void>(() => {}) : undefined);
    const late = await failure(kv.put('a', '2', { timeoutMs: 60 }));
    assert.is(late.code, 'TIMEOUT');
    assert.is(late.maybeApplied, true);
    const read = await failure(kv.get('a', { timeoutMs: 60 }));
    assert.is(read.code, 'TIMEOUT');
    assert.is(read.maybeApplied, false);
    const abort = new AbortController();
    const writing = kv.put('a', '3', { signal: abort.signal });
    const begun = service.calls.length;
    await waitFor(() => service.calls.length > begun);
    abort.abort();
    const cancelled = await failure(writing);
    assert.is(cancelled.code, 'CANCELLED');
    assert.is(cancelled.maybeApplied, true);
    const never = await failure(kv.get('a', { signal: AbortSignal.abort() }));
    assert.is(never.code, 'CANCELLED');
    service.before = () => {
      throw new KvError('LOCKED', 'no');
    };
    const refused = await failure(kv.put('a', '4'));
    assert.is(refused.code, 'LOCKED');
    assert.is(refused.maybeApplied, false);
  }));

test('a node that goes silent is noticed and its calls are answered elsewhere', () =>
  withCluster(2, async (nodes, store, open) => {
    const kv = await open();
    await kv.put('a', '1');
    await waitFor(() => nodes[1]!.door.connections() > 0);
    // Half-open: nothing passes any longer, and nothing is closed.
    nodes[0]!.proxy.toServer = () => false;
    nodes[0]!.proxy.toClient = () => false;
    const started = performance.now();
    await kv.put('a', '2');
    assert.ok(performance.now() - started < 3_000);
    assert.is(store.revision, 2);
  }));

test('a watch goes on across reconnects without gaps and duplicates', () =>
  withCluster(2, async (nodes, store, open) => {
    const kv = await open();
    const writer = await open();
    const abort = new AbortController();
    const seen: string[] = [];
    let last = 0;
    const watching = (async () => {
      for await (const event of kv.watch({ prefix: 'w', fromRevision: 1, signal: abort.signal })) {
        assert.ok(event.revision > last);
        last = event.revision;
        seen.push(Buffer.from(event.value!).toString());
        if (seen.length === 300) abort.abort();
      }
    })();
    for (let i = 0; i < 300; i++) {
      await writer.put('w', String(i));
      if (i % 60 === 30) for (const { proxy } of nodes) proxy.cut();
    }
    await watching;
    assert.equal(
      seen,
      Array.from({ length: 300 }, (_, i) => String(i)),
    );
    await waitFor(() => store.watcherCount === 0);
  }));

test('a watcher that does not consume holds the node back instead of growing', () =>
  withCluster(1, async (nodes, _store, open) => {
    const kv = await open();
    const value = Buffer.alloc(256 * 1024, 'v');
    const iterator = kv.watch({ key: 'big', fromRevision: 1 })[Symbol.asyncIterator]();
    const first = iterator.next();
    for (let i = 0; i < 64; i++) await kv.put('big', value);
    assert.is((await first).value!.revision, 1);
    let passed = 0;
    nodes[0]!.proxy.toClient = (chunk) => {
      passed += chunk.length;
      return true;
    };
    for (let i = 2; i <= 64; i++) assert.is((await iterator.next()).value!.revision, i);
    // Of 16 MB, only the window of 4 MB (and what the kernel held) had been sent before they were asked for.
    assert.ok(passed > 6 << 20, `${passed} bytes came later`);
    await iterator.return?.(undefined);
  }));

test('a watch on what was compacted, or on nothing, fails; one with an aborted signal is empty', () =>
  withCluster(1, async (_nodes, store, open) => {
    const kv = await open();
    await kv.put('a', '1');
    store.compactRevision = 5;
    const first = (options: object) => kv.watch(options)[Symbol.asyncIterator]().next();
    assert.is((await failure(first({ fromRevision: 2 }))).code, 'COMPACTED');
    assert.is((await failure(first({ start: 'b', end: 'a' }))).code, 'INVALID_ARGUMENT');
    assert.is((await failure(first({ key: 'a', prefix: 'a' }))).code, 'INVALID_ARGUMENT');
    assert.is((await first({ signal: AbortSignal.abort() })).done, true);
  }));

test('connect says which endpoints were tried and why each failed', async () => {
  const closed = await FaultyProxy.start('127.0.0.1:1');
  const { address } = closed;
  await closed.close();
  const error = await failure(
    connectWith({ endpoints: [address, 'nowhere.invalid:7400'], timeoutMs: 1_500 }, realPorts()),
  );
  assert.is(error.code, wireCode['lost']);
  assert.ok(error.message.includes(address) && error.message.includes('nowhere.invalid'), error.message);
  assert.ok(error.message.includes('ECONNREFUSED'), error.message);
  assert.is((await failure(connectWith({ endpoints: ['no port'] }, realPorts()))).code, 'INVALID_ARGUMENT');
  assert.is((await failure(connectWith({ endpoints: [] }, realPorts()))).code, 'INVALID_ARGUMENT');
});

test('many calls at once all succeed within the bounds of a connection', () =>
  withCluster(
    1,
    async (_nodes, store, open) => {
      const kv = await open();
      await Promise.all(Array.from({ length: 500 }, (_, i) => kv.put(`k${i}`, 'v')));
      assert.is(store.revision, 500);
      const values = await Promise.all(Array.from({ length: 500 }, (_, i) => kv.get(`k${i}`)));
      assert.ok(values.every((value) => value !== undefined));
    },
    { maxRequestsPerConnection: 3 },
  ));

test('a node that says goodbye is left without an error', () =>
  withCluster(2, async (nodes, store, open) => {
    const kv = await open();
    await kv.put('a', '1');
    await waitFor(() => nodes[1]!.door.connections() > 0);
    const writes = (async () => {
      for (let i = 0; i < 100; i++) await kv.put('a', String(i));
    })();
    await nodes[0]!.door.close();
    store.leader = 2;
    await writes;
    assert.is(store.revision, 101);
  }));

test('a closed store refuses calls and ends its watches', () =>
  withCluster(1, async (_nodes, store, open) => {
    const kv = await open();
    const iterator = kv.watch()[Symbol.asyncIterator]();
    const waiting = iterator.next();
    await kv.put('a', '1');
    assert.is((await waiting).value!.revision, 1);
    const next = iterator.next();
    await kv.close();
    assert.is((await next).done, true);
    assert.is((await failure(kv.get('a'))).code, 'CLOSED');
    assert.is((await failure(kv.put('a', 'b'))).code, 'CLOSED');
    assert.is(store.sessions.size, 0);
  }));

test('the admin client speaks every administrative request', () =>
  withCluster(1, async (nodes) => {
    const { service, proxy } = nodes[0]!;
    await using admin = connectAdmin({ endpoints: [proxy.address], ports: realPorts(), timeoutMs: 1_000 });
    assert.equal(await admin.status(), service.status());
    assert.equal(await admin.clusterStatus(), await service.clusterStatus());
    assert.equal(await admin.members(), await service.members());
    const request = { peerAddress: 'p:2', clientAddress: 'c:2' };
    assert.equal(await admin.memberAdd(request), await service.memberAdd(request));
    assert.is((await admin.memberPromote(9)).leader, 1);
    assert.is((await admin.memberRemove(8)).leader, 1);
    assert.is(await admin.moveLeader(3), 3);
    const { upkeep } = admin;
    assert.is(await upkeep.compact(5, { physical: true }), 6);
    assert.equal(await upkeep.nodeHash({ revision: 7, compactRevision: 3 }), SOME_HASH);
    assert.equal(await upkeep.hash(), await service.clusterHash());
    assert.equal(await upkeep.alarms(), [SOME_ALARM]);
    const raised = await upkeep.changeAlarm('raise', SOME_ALARM);
    assert.equal(raised, { ...SOME_ALARM, byNode: false }, 'only nodes raise alarms that pass');
    assert.is(await upkeep.changeAlarm('clear', SOME_ALARM), undefined);
    const [whole, part] = await upkeep.quotas();
    assert.equal([whole!.prefix.length, [...part!.prefix]], [0, [97, 255]]);
    assert.equal([whole!.counted, part!.counted, part!.bytes, part!.keys], [false, true, 70_000, 3]);
    assert.is(await upkeep.setQuota('a/', { maxBytes: 5, maxRequestsPerSecond: 7 }), 8);
    assert.is(await upkeep.removeQuota(''), 9);
    const refused = await upkeep.setQuota('a/', { maxKeys: -1 }).catch((error: KvError) => error.code);
    assert.is(refused, 'INVALID_ARGUMENT');
    assert.ok(service.calls.includes('quotas.set "a/" 5 0 7') && service.calls.includes('quotas.remove ""'));
    for (const call of ['compact 5 physical', 'hash 7 3', 'raise nospace 2', 'clear nospace 2'])
      assert.ok(service.calls.includes(call), call);
    assert.is(await admin.moveLeader(), 2);
    assert.ok(service.calls.includes('memberPromote 9') && service.calls.includes('memberRemove 8'));
    // A change with an unknown outcome is not repeated.
    service.before = (name) => {
      if (!name.startsWith('memberRemove')) return;
      proxy.cut();
    };
    const before = service.calls.length;
    const error = await failure(admin.memberRemove(7));
    assert.is(error.maybeApplied, true);
    assert.is(service.calls.slice(before).filter((name) => name === 'memberRemove 7').length, 1);
    try {
      admin.memberRemove(-1);
      assert.unreachable();
    } catch (wrong) {
      assert.is((wrong as KvError).code, 'INVALID_ARGUMENT');
    }
  }));

test.run();
