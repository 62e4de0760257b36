/**
 * etcdctl of Debian, unchanged, against three nodes of `kvorum local`: what it prints for each of its verbs, and for what may not be, through different nodes. Across a leader's death:
 * etcdctl_leader_death.slow.test.ts and etcdctl_users.slow.test.ts.
 */
// needs: etcdctl
import { statSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { requireBinaries } from '../../binaries.ts';
import {
  endAll,
  endWithTest,
  eventually,
  freePorts,
  kvorum,
  type LocalCluster,
  localBasePort,
  serve,
  signal,
  startLocal,
  statusOf,
  temporaryDirectory,
} from '../../end_to_end/processes.ts';
import { test } from '../../suite.ts';
import { Etcdctl, type Run, type Running } from './etcdctl.ts';

const binaries = requireBinaries(['etcdctl']);

let cluster: LocalCluster;

const at = (endpoints: readonly string[]): Etcdctl => new Etcdctl(binaries!.etcdctl, endpoints);
const etcdctl = (args: readonly string[]): Promise<Run> => at(cluster.endpoints).run(args);
const lines = (args: readonly string[], input = '', endpoints = cluster.endpoints): Promise<string[]> =>
  at(endpoints).lines(args, input);
const failure = (args: readonly string[], input = ''): Promise<string> =>
  at(cluster.endpoints).failure(args, input);
const running = (args: readonly string[], endpoints = cluster.endpoints): Running =>
  at(endpoints).running(args);

if (binaries !== undefined) {
  test('put, get and del, through every node', async () => {
    cluster = await startLocal(3, temporaryDirectory(), await localBasePort(3));
    for (const [i, endpoint] of cluster.endpoints.entries()) {
      assert.equal(await lines(['put', `k${i}`, `v${i}`], '', [endpoint]), ['OK']);
      assert.equal(await lines(['get', `k${i}`], '', [endpoint]), [`k${i}`, `v${i}`]);
    }
    assert.equal(await lines(['get', '--prefix', 'k', '--keys-only']), ['k0', '', 'k1', '', 'k2']);
    assert.equal(await lines(['get', 'k0', 'k2', '--print-value-only']), ['v0', 'v1']);
    assert.equal(await lines(['get', '--from-key', 'k1', '--order', 'DESCEND', '--limit', '1']), [
      'k2',
      'v2',
    ]);
    assert.equal(await lines(['put', 'k0', 'new', '--prev-kv']), ['OK', 'k0', 'v0']);
    assert.equal(await lines(['put', 'k0', '--ignore-value']), ['OK']);
    assert.equal(await lines(['del', 'k1', '--prev-kv']), ['1', 'k1', 'v1']);
    assert.equal(await lines(['del', 'k1']), ['0']);
    assert.match(await failure(['get', '']), 'etcdserver: key is not provided');
    assert.match(await failure(['put', 'nothing', '--ignore-value']), 'etcdserver: key not found');
  });

  test('txn: both branches, compares, and what may not be', async () => {
    await lines(['put', 't', '1']);
    const txn = 'value("t") = "1"\nversion("t") > "0"\n\nput t 2\nget t\n\nget t\n\n';
    assert.equal(await lines(['txn'], txn), ['SUCCESS', '', 'OK', '', 't', '2']);
    assert.equal(await lines(['txn'], txn), ['FAILURE', '', 't', '2']);
    assert.match(await failure(['txn'], '\nput t 1\nput t 2\n\n\n'), 'duplicate key given in txn request');
  });

  test('lease: grant, put, time to live, keep-alive, list, revoke', async () => {
    const [granted] = await lines(['lease', 'grant', '60']);
    const id = /^lease ([0-9a-f]+) granted with TTL\(60s\)$/.exec(granted!)?.[1];
    assert.ok(id, granted);
    await lines(['put', 'l/1', 'x', '--lease', id]);
    assert.match((await lines(['lease', 'timetolive', id, '--keys']))[0]!, 'attached keys([l/1])');
    assert.match(
      (await lines(['lease', 'keep-alive', id, '--once']))[0]!,
      `lease ${id} keepalived with TTL(60)`,
    );
    assert.equal(await lines(['lease', 'list']), ['found 1 leases', id]);
    assert.equal(await lines(['lease', 'revoke', id]), [`lease ${id} revoked`]);
    assert.equal(await lines(['get', 'l/1']), ['']);
    assert.equal(await lines(['lease', 'timetolive', id]), [`lease ${id} already expired`]);
    assert.match(await failure(['lease', 'revoke', id]), 'requested lease not found');
    assert.match(await failure(['put', 'l/1', 'x', '--lease', id]), 'requested lease not found');
    assert.match(await failure(['lease', 'grant', '9000000001']), 'too large lease TTL');
  });

  test('compaction, and revisions that are gone or to come', async () => {
    const [json] = await lines(['put', 'c', '1', '-w', 'json']);
    const { revision } = JSON.parse(json!).header as { revision: number };
    await lines(['put', 'c', '2']);
    assert.equal(await lines(['get', 'c', '--rev', String(revision)]), ['c', '1']);
    await lines(['put', 'c', '3']);
    assert.equal(await lines(['compaction', String(revision + 1)]), [`compacted revision ${revision + 1}`]);
    assert.match(await failure(['get', 'c', '--rev', String(revision)]), 'has been compacted');
    assert.match(await failure(['compaction', String(revision)]), 'has been compacted');
    assert.match(await failure(['get', 'c', '--rev', '100000']), 'is a future revision');
  });

  test('watch: history, what comes, and previous values', async () => {
    const [json] = await lines(['put', 'w', '1', '-w', 'json']);
    const { revision } = JSON.parse(json!).header as { revision: number };
    const args = ['watch', 'w', '--prev-kv', '--rev', String(revision)];
    const { child, out } = running(args, [cluster.endpoints[1]!]);
    await eventually('the first event', async () => (out().includes('PUT') ? true : undefined));
    await lines(['put', 'w', '2']);
    await lines(['del', 'w']);
    await eventually('the last event', async () => (out().includes('DELETE\nw\n2\nw\n') ? true : undefined));
    assert.is(out(), 'PUT\nw\n1\nPUT\nw\n1\nw\n2\nDELETE\nw\n2\nw\n\n');
    child.kill();
  });

  test('member, endpoint, alarm, defrag, hashkv', async () => {
    const members = await lines(['member', 'list']);
    assert.is(members.length, 3);
    for (const [i, endpoint] of cluster.endpoints.entries()) {
      assert.match(members[i]!, `${i + 1}, started, node-${i + 1}, http://`);
      assert.match(members[i]!, `http://${endpoint}, false`);
    }
    const health = await etcdctl(['endpoint', 'health', '--cluster']);
    assert.is(`${health.out}${health.errors}`.match(/is healthy/g)?.length, 3);
    const status = await lines(['endpoint', 'status', '--cluster']);
    assert.is(status.filter((line) => line.includes(', true, false,')).length, 1, 'one leads');
    assert.equal(await lines(['alarm', 'list']), ['']);
    assert.equal(await lines(['alarm', 'disarm']), ['']);
    assert.is((await lines(['defrag', '--cluster'])).length, 3);
    const hashes = await lines(['endpoint', 'hashkv', '--cluster']);
    assert.is(new Set(hashes.map((line) => line.split(', ')[1])).size, 1, hashes.join());
  });

  test('lock runs a command while it holds the lock; elect proclaims, and tells who leads', async () => {
    const [key] = await lines(['lock', 'resource', '--', 'sh', '-c', 'echo $ETCD_LOCK_KEY']);
    assert.match(key!, /^resource\/[0-9a-f]+$/);
    assert.equal(await lines(['get', '--prefix', 'resource/']), [''], 'the lock was given back');
    const first = running(['elect', 'post', 'one']);
    await eventually('the first leads', () =>
      /^post\/[0-9a-f]+\none\n/.test(first.out()) ? true : undefined,
    );
    const observer = running(['elect', '-l', 'post']);
    await eventually('one is seen', () => (observer.out().includes('\none\n') ? true : undefined));
    const second = running(['elect', 'post', 'two'], [cluster.endpoints[2]!]);
    await eventually('two stand', async () =>
      (await lines(['get', '--prefix', 'post/', '--keys-only'])).filter((line) => line !== '').length === 2
        ? true
        : undefined,
    );
    assert.is(second.out(), '');
    first.child.kill('SIGINT');
    await eventually('the second leads', () => (second.out().includes('\ntwo\n') ? true : undefined));
    await eventually('two is seen', () => (observer.out().includes('\ntwo\n') ? true : undefined));
    for (const { child } of [observer, second]) child.kill('SIGINT');
  });

  test('member add, update, promote and remove', async () => {
    const [one, other] = await freePorts(2);
    const added = await lines([
      'member',
      'add',
      'fourth',
      '--learner',
      '--peer-urls',
      `http://127.0.0.1:${one}`,
    ]);
    const id = /^Member\s+([0-9a-f]+) added to cluster/.exec(added[0]!)?.[1];
    assert.ok(id, added[0]);
    assert.match((await lines(['member', 'list'])).join('\n'), `http://127.0.0.1:${one},`);
    await lines(['member', 'update', id, '--peer-urls', `http://127.0.0.1:${other}`]);
    assert.match((await lines(['member', 'list'])).join('\n'), `http://127.0.0.1:${other},`);
    const [peer] = (await lines(['member', 'list']))[0]!.match(/http:\/\/[^,]+/)!;
    assert.match(await failure(['member', 'update', id, '--peer-urls', peer]), 'Peer URLs already exists');
    assert.match(await failure(['member', 'update', 'abc', '--peer-urls', peer]), 'member not found');
    assert.match(await failure(['member', 'promote', id]), 'in sync with leader');
    assert.match(await failure(['member', 'promote', '1']), 'member not found');
    await lines(['member', 'remove', id]);
    assert.is((await lines(['member', 'list'])).length, 3);
    assert.match(await failure(['member', 'remove', id]), 'member not found');
  });

  test('make-mirror: what is there and what comes', async () => {
    const [clientPort, peerPort] = (await freePorts(2)) as [number, number];
    const mirror = await serve({ data: temporaryDirectory(), clientPort, peerPort });
    await lines(['put', 'm/1', 'old']);
    const { child } = running(['make-mirror', '--prefix', 'm/', mirror.endpoint]);
    const shown = (key: string) => lines(['get', key, '--print-value-only'], '', [mirror.endpoint]);
    await eventually('what was there', async () => ((await shown('m/1'))[0] === 'old' ? true : undefined));
    await lines(['put', 'm/2', 'new']);
    await lines(['del', 'm/1']);
    await eventually('what came', async () =>
      (await shown('m/2'))[0] === 'new' && (await shown('m/1'))[0] === '' ? true : undefined,
    );
    child.kill('SIGINT');
    assert.is((await mirror.command.stop()).status, 0);
  });

  test('snapshot save, and a store that is restored from it', async () => {
    const directory = temporaryDirectory();
    const file = `${directory}/saved`;
    await lines(['snapshot', 'save', file], '', [cluster.endpoints[1]!]);
    // What clients of etcd know a whole snapshot by.
    assert.is(statSync(file).size % 512, 32);
    const data = `${directory}/restored`;
    const restored = await kvorum(['restore', file, '--data', data]);
    assert.is(restored.status, 0, restored.stderr);
    const [clientPort, peerPort] = (await freePorts(2)) as [number, number];
    const node = await serve({ data, clientPort, peerPort });
    assert.is((await kvorum(['get', 'k0', '--endpoints', node.endpoint])).stdout, 'new\n');
    assert.is((await node.command.stop()).status, 0);
  });

  test('move-leader', async () => {
    const nodes = await statusOf(cluster.endpoints);
    const leader = nodes.find(({ role }) => role === 'leader')!;
    const other = nodes.find(({ role }) => role === 'follower')!;
    const [said] = await lines(['move-leader', other.id.toString(16)]);
    assert.match(said!, `Leadership transferred from ${leader.id.toString(16)} to ${other.id.toString(16)}`);
    const now = (await statusOf(cluster.endpoints)).find(({ role }) => role === 'leader');
    assert.is(now?.id, other.id);
  });

  test('the leader dies: etcdctl goes on with the others', async () => {
    await lines(['put', 'before', '1']);
    const nodes = await statusOf(cluster.endpoints);
    for (const { pid } of nodes) endWithTest(pid);
    signal(nodes.find(({ role }) => role === 'leader')!.pid, 'SIGKILL');
    await eventually('a write through who is left', async () => {
      const { status } = await etcdctl(['put', 'after', '2']);
      return status === 0 ? true : undefined;
    });
    assert.equal(await lines(['get', 'before', '--print-value-only']), ['1']);
    assert.equal(await lines(['get', 'after', '--print-value-only']), ['2']);
    await eventually('three nodes again', async () => {
      const all = await statusOf(cluster.endpoints);
      for (const { pid } of all) endWithTest(pid);
      return all.length === 3 ? true : undefined;
    });
  });

  test('users and roles', async () => {
    await lines(['user', 'add', 'root:secret']);
    await lines(['user', 'add', 'joe:pw']);
    await lines(['role', 'add', 'reader']);
    await lines(['role', 'grant-permission', 'reader', 'read', 'pub/', '--prefix']);
    await lines(['user', 'grant-role', 'joe', 'reader']);
    assert.match((await lines(['role', 'get', 'reader'])).join('\n'), '[pub/, pub0) (prefix pub/)');
    await lines(['role', 'add', 'brief']);
    await lines(['role', 'grant-permission', 'brief', 'readwrite', 'x', 'y']);
    await lines(['role', 'revoke-permission', 'brief', 'x', 'y']);
    assert.match(
      await failure(['role', 'revoke-permission', 'brief', 'x', 'y']),
      'permission is not granted',
    );
    assert.equal(await lines(['role', 'list']), ['brief', 'reader']);
    assert.match(await failure(['role', 'add', 'brief']), 'role name already exists');
    assert.match(await failure(['user', 'add', 'joe:pw']), 'user name already exists');
    await lines(['user', 'grant-role', 'joe', 'brief']);
    assert.match((await lines(['user', 'get', 'joe'])).join('\n'), 'Roles: brief reader');
    await lines(['user', 'revoke-role', 'joe', 'brief']);
    assert.match(await failure(['user', 'revoke-role', 'joe', 'brief']), 'role is not granted to the user');
    await lines(['role', 'delete', 'brief']);
    assert.match(await failure(['role', 'get', 'brief']), 'role name not found');
    await lines(['user', 'add', 'brief:pw']);
    await lines(['user', 'delete', 'brief']);
    assert.match(await failure(['user', 'get', 'brief']), 'user name not found');
    await lines(['user', 'passwd', 'joe', '--interactive=false'], 'changed\n');
    await lines(['user', 'passwd', 'joe', '--interactive=false'], 'pw\n');
    await lines(['put', 'pub/a', '1']);
    assert.equal(await lines(['auth', 'enable']), ['Authentication Enabled']);
    const root = ['--user', 'root:secret'];
    const joe = ['--user', 'joe:pw'];
    assert.match(await failure(['get', 'pub/a']), 'etcdserver: user name is empty');
    assert.match(await failure(['--user', 'joe:no', 'get', 'pub/a']), 'invalid user ID or password');
    assert.equal(await lines([...joe, 'get', 'pub/a']), ['pub/a', '1']);
    assert.match(await failure([...joe, 'put', 'pub/a', '2']), 'etcdserver: permission denied');
    assert.match(await failure([...joe, 'get', 'other']), 'etcdserver: permission denied');
    assert.equal(await lines([...root, 'user', 'list']), ['joe', 'root']);
    assert.equal(await lines([...root, 'auth', 'disable']), ['Authentication Disabled']);
    assert.equal(await lines(['get', 'pub/a']), ['pub/a', '1']);
  });

  test.after(endAll);
}

test.run();
