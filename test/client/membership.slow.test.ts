/** The client follows the members of the cluster: it is told of changes, leaves former members, and finds its way back when what it was told was old. */

import * as assert from 'uvu/assert';
import { connectAdmin } from '../../src/client/admin.ts';
import { realPorts } from '../../src/real_ports.ts';
import { test } from '../suite.ts';
import { connectedTo, type FakeNode, memberOf, withCluster } from './fake_cluster.ts';

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise<void>((resolve) => setTimeout(resolve, 1));
}

function asked({ service }: FakeNode): number {
  return service.calls.filter((name) => name === 'members').length;
}

test('a client is told of new members, and has connections to them before it needs them', () =>
  withCluster(3, async ([first, second, third], store, open) => {
    store.members = [memberOf(first!)];
    const kv = await open();
    await kv.put('k', 'v');
    await until(() => asked(first!) > 0);
    assert.is(second!.door.connections(), 0);
    store.members = [first!, second!, third!].map(memberOf);
    await until(() => second!.door.connections() > 0 && third!.door.connections() > 0);
    assert.is(second!.proxy.connectionsMade, 1);
  }));

test('a client that no node tells of changes asks no more often than it must', () =>
  withCluster(1, async ([only], _store, open) => {
    const kv = await open();
    await kv.put('k', 'v');
    await until(() => asked(only!) > 0);
    const before = asked(only!);
    // Twice the time within which a door would tell.
    const endMs = performance.now() + 2_200;
    while (performance.now() < endMs) await kv.get('k');
    // One more: where the machine is so busy that the first went unanswered.
    assert.ok(asked(only!) - before <= 1, `asked ${asked(only!) - before} times`);
  }));

test('a member that an answer left out is asked again when nobody else is there', () =>
  withCluster(2, async ([first, second], store, open) => {
    const kv = await open();
    await kv.put('k', 'v');
    await connectedTo(kv, second!);
    // As a leader says that has been cut off since before the second one joined.
    store.members = [memberOf(first!)];
    await until(() => second!.door.connections() === 0);
    store.members = [memberOf(second!)];
    store.leader = 2;
    await first!.proxy.close();
    assert.ok(await kv.get('k'));
  }));

test('a node that was named and is no member any longer is left, though it answers', () =>
  withCluster(2, async ([first, second], store, open) => {
    const kv = await open();
    await kv.put('k', 'v');
    await connectedTo(kv, second!);
    store.leader = 2;
    store.members = [memberOf(second!)];
    await until(() => first!.door.connections() === 0);
    const before = first!.service.calls.length;
    for (let i = 0; i < 10; i++) await kv.get('k', { level: 'eventual' });
    assert.is(first!.service.calls.length, before);
  }));

test('a node that was named by another address than its own is kept', () =>
  withCluster(2, async ([first, second], store, open) => {
    store.members = [{ ...memberOf(first!), clientAddress: second!.proxy.address }];
    const kv = await open();
    await kv.put('k', 'v');
    await until(() => asked(first!) > 0);
    await connectedTo(kv, second!);
    assert.is(first!.door.connections(), 1);
  }));

test('of many former members those known longest are forgotten', () =>
  withCluster(2, async ([first, second], store, open) => {
    const kv = await open();
    await kv.put('k', 'v');
    for (let round = 0; round < 3; round++) {
      const before = asked(first!);
      const gone = Array.from({ length: 12 }, (_, i) => ({
        ...memberOf(second!),
        id: 100 * round + i + 10,
        clientAddress: `127.0.0.1:${round * 20 + i + 1}`,
      }));
      store.members = [memberOf(first!), ...gone];
      await until(() => asked(first!) > before);
    }
    const before = second!.proxy.connectionsMade;
    store.members = [first!, second!].map(memberOf);
    await until(() => second!.proxy.connectionsMade > before);
  }));

test('who asks for a change of members learns of it from the answer', () =>
  withCluster(2, async ([first, second]) => {
    await using admin = connectAdmin({
      endpoints: [first!.proxy.address],
      ports: realPorts(),
      timeoutMs: 2_000,
    });
    await admin.memberAdd({ peerAddress: 'p:2', clientAddress: second!.proxy.address });
    await first!.proxy.close();
    assert.is((await admin.status()).id, 2);
  }));

test.run();
