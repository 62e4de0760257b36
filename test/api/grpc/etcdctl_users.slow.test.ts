/** Users, roles and rights with etcdctl as somebody new to it types them, on three nodes that have none yet; and across a leader's death while rights are enforced. */
// needs: etcdctl
import * as assert from 'uvu/assert';
import { requireBinaries } from '../../binaries.ts';
import { endAll, eventually } from '../../end_to_end/processes.ts';
import { test } from '../../suite.ts';
import { Etcdctl, interrupted, type Running, seen, Trio } from './etcdctl.ts';

const ROOT = ['--user', 'root:secret'];
const JOE = ['--user', 'joe', '--password', 'pw'];
const KEPT_SECONDS = 6;
const binaries = requireBinaries(['etcdctl']);

let trio: Trio;
let dead: number;
/** The one that is to die is named first. */
let nobody: Etcdctl;
let root: Etcdctl;
let joe: Etcdctl;

const as = (flags: readonly string[], endpoints = [...trio.endpoints]): Etcdctl =>
  new Etcdctl(binaries!.etcdctl, endpoints, [...flags, '--command-timeout', '25s']);
const keepAlives = ({ out }: Running): number => out().match(/keepalived/g)?.length ?? 0;

if (binaries !== undefined) {
  test('the first user and the first rights', async () => {
    trio = await Trio.start();
    dead = await trio.leader();
    const endpoints = [trio.endpoint(dead), ...trio.others(dead)];
    [nobody, root, joe] = [as([], endpoints), as(ROOT, endpoints), as(JOE, endpoints)];
    assert.match(await nobody.failure(['auth', 'enable']), 'etcdserver: root user does not exist');
    assert.equal(await nobody.lines(['user', 'add', 'root', '--interactive=false'], 'secret\n'), [
      'User root created',
    ]);
    // etcdctl hears that the role root is missing, makes it and gives it.
    assert.equal(await nobody.lines(['auth', 'enable']), ['Authentication Enabled']);
    assert.equal(await root.lines(['role', 'list']), ['root']);
    assert.match((await root.lines(['user', 'get', 'root'])).join('\n'), 'Roles: root');
    for (const verb of [
      ['get', 'a'],
      ['put', 'a', '1'],
      ['user', 'list'],
      ['compaction', '1'],
    ])
      assert.match(await nobody.failure(verb), 'etcdserver: user name is empty');
    assert.match(await as(['--user', 'root:wrong']).failure(['get', 'a']), 'invalid user ID or password');

    assert.equal(await root.lines(['user', 'add', 'joe:pw']), ['User joe created']);
    assert.match(await joe.failure(['put', 'pub/a', '1']), 'etcdserver: permission denied');
    await root.lines(['role', 'add', 'writer']);
    await root.lines(['role', 'grant-permission', 'writer', '--prefix', 'readwrite', 'pub/']);
    await root.lines(['user', 'grant-role', 'joe', 'writer']);
    assert.equal(await joe.lines(['put', 'pub/a', '1']), ['OK']);
    assert.match(await joe.failure(['put', 'private', '1']), 'etcdserver: permission denied');
    assert.match(await joe.failure(['user', 'list']), 'etcdserver: permission denied');
    assert.match(await joe.failure(['auth', 'disable']), 'etcdserver: permission denied');
    assert.match((await joe.lines(['user', 'get', 'joe'])).join('\n'), 'Roles: writer');
    assert.equal(await root.lines(['user', 'list']), ['joe', 'root']);
  });

  test('the leader dies while rights are enforced: who was let in goes on, and the others stay outside', async () => {
    const [line] = await joe.lines(['lease', 'grant', String(KEPT_SECONDS)]);
    const lease = /^lease ([0-9a-f]+)/.exec(line!)![1]!;
    await joe.lines(['put', 'pub/kept', 'alive', '--lease', lease]);
    const watcher = joe.running(['watch', '--prefix', 'pub/']);
    const keeper = joe.running(['lease', 'keep-alive', lease]);
    const holder = joe.running(['lock', 'pub/lock']);
    const leading = joe.running(['elect', 'pub/post', 'joe']);
    await seen('the lock', holder, /^pub\/lock\/[0-9a-f]+\n/);
    await seen('the post', leading, /^pub\/post\/[0-9a-f]+\njoe\n/);
    await eventually('the watch', async () => {
      if (watcher.out().includes('ready')) return true;
      await joe.lines(['put', 'pub/ready', '']);
      return undefined;
    });
    await seen('the lease to be kept', keeper, /keepalived/);

    await trio.end(dead, 'SIGKILL');
    const kept = keepAlives(keeper);
    await eventually('a write', async () =>
      (await joe.run(['put', 'pub/first', ''])).status === 0 ? true : undefined,
    );
    await joe.lines(['put', 'pub/after', 'a']);
    await seen('what came after', watcher, /PUT\npub\/after\na\n/);
    await eventually('the lease to be kept again', () => (keepAlives(keeper) >= kept + 3 ? true : undefined));
    assert.equal(await joe.lines(['get', 'pub/kept', '--print-value-only']), ['alive']);
    assert.match(await nobody.failure(['get', 'pub/after']), 'etcdserver: user name is empty');
    assert.match(await joe.failure(['get', 'private']), 'etcdserver: permission denied');
    for (const running of [watcher, keeper, holder, leading]) {
      assert.is(running.child.exitCode, null, running.errors());
      await interrupted(running);
    }
    await joe.lines(['lease', 'revoke', lease]);
  });

  test('rights change while a node is dead, and hold there when it is back', async () => {
    await root.lines(['user', 'passwd', 'joe', '--interactive=false'], 'other\n');
    assert.match(await joe.failure(['get', 'pub/a']), 'invalid user ID or password');
    await root.lines(['user', 'passwd', 'joe', '--interactive=false'], 'pw\n');
    await root.lines(['role', 'add', 'reader']);
    await root.lines(['role', 'grant-permission', 'reader', 'read', 'private']);
    await root.lines(['user', 'grant-role', 'joe', 'reader']);
    await root.lines(['role', 'revoke-permission', 'writer', 'pub/', '--prefix']);
    assert.match(await joe.failure(['put', 'pub/a', '2']), 'etcdserver: permission denied');
    await trio.begin(dead);
    await trio.leader();
    const there = [trio.endpoint(dead)];
    assert.match(await as([], there).failure(['get', 'private']), 'etcdserver: user name is empty');
    assert.equal(await as(JOE, there).lines(['get', 'private']), ['']);
    assert.match(await as(JOE, there).failure(['get', 'pub/a']), 'etcdserver: permission denied');
    await as(ROOT, there).lines(['user', 'revoke-role', 'joe', 'reader']);
    assert.match(await joe.failure(['get', 'private']), 'etcdserver: permission denied');
    await as(ROOT, there).lines(['user', 'delete', 'joe']);
    await as(ROOT, there).lines(['role', 'delete', 'reader']);
    assert.match(await joe.failure(['get', 'private']), 'invalid user ID or password');
  });

  test('rights are given up, and enforced again', async () => {
    assert.equal(await root.lines(['auth', 'disable']), ['Authentication Disabled']);
    assert.equal(await nobody.lines(['get', 'pub/a']), ['pub/a', '1']);
    // A client that still gives its password is let in.
    assert.equal(await root.lines(['get', 'pub/a']), ['pub/a', '1']);
    assert.equal(await nobody.lines(['auth', 'enable']), ['Authentication Enabled']);
    assert.match(await nobody.failure(['get', 'pub/a']), 'etcdserver: user name is empty');
    assert.equal(await root.lines(['auth', 'disable']), ['Authentication Disabled']);
    await nobody.lines(['user', 'delete', 'root']);
    await nobody.lines(['role', 'delete', 'root']);
    assert.match(await nobody.failure(['auth', 'enable']), 'etcdserver: root user does not exist');
    await trio.stop();
  });

  test.after(endAll);
}

test.run();
