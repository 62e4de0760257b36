/** Users and rights on a cluster: who is served where, and what happens to calls and watches when rights change. */

import * as assert from 'uvu/assert';
import type { CallOptions, Service } from '../../src/api/service.ts';
import { KvError } from '../../src/errors.ts';
import type { Operation } from '../../src/kv/command.ts';
import { type Identity, THE_CLUSTER } from '../../src/security/identity.ts';
import { signToken } from '../../src/security/tokens.ts';
import type { AuthRequest } from '../../src/wire/auth_messages.ts';
import { encodeCommand } from '../../src/wire/command_codec.ts';
import type { WatchBatch } from '../../src/wire/messages.ts';
import { bytes, key, put, range, txn, write } from '../kv/commands.ts';
import { codeOf } from '../outcomes.ts';
import { test } from '../suite.ts';
import { ClusterLab, until } from './cluster_lab.ts';

const ROOT_CALL: CallOptions = { identity: THE_CLUSTER };
const READ = { level: 'linearizable', minRevision: 0, revision: 0 } as const;

async function writes(service: Service, identity: Identity | undefined, ...operations: Operation[]) {
  const [one] = operations;
  const command = operations.length === 1 && one?.type === 'put' ? write(one) : txn(operations);
  const result = await service.write(encodeCommand(command), { identity });
  if (result.type === 'failed') throw new KvError(result.code, result.message);
  return result;
}

async function changes(service: Service, ...requests: AuthRequest[]): Promise<void> {
  for (const request of requests) await service.auth.change(request, ROOT_CALL);
}

const USERS: AuthRequest[] = [
  { type: 'userAdd', user: 'root', password: 'secret' },
  { type: 'userGrantRole', user: 'root', role: 'root' },
  { type: 'userAdd', user: 'ann', password: 'pa' },
  { type: 'roleAdd', role: 'app' },
  { type: 'userGrantRole', user: 'ann', role: 'app' },
  { type: 'roleGrant', role: 'app', grant: { kind: 'readwrite', key: key('a'), end: key('b') } },
];
const ENABLED: AuthRequest[] = [...USERS, { type: 'enable' }];

test('on every node: nobody without a name, each within their rights, root everything', async () => {
  const lab = await ClusterLab.start(3);
  try {
    const leader = await lab.leader();
    const serviceOf = (id: number): Service => lab.node(id).node.service;
    const [one, two, three] = [serviceOf(1), serviceOf(2), serviceOf(3)];
    assert.is(await codeOf(() => one.auth.authenticate('ann', 'pa')), 'AUTH_NOT_ENABLED');
    await writes(one, undefined, put('z', 'before'));
    await changes(two, ...ENABLED);
    assert.is(await codeOf(() => one.auth.authenticate('ann', 'wrong')), 'AUTH_FAILED');
    assert.is(await codeOf(() => one.auth.authenticate('nobody', 'pa')), 'AUTH_FAILED');
    const { token, identity: ann } = await one.auth.authenticate('ann', 'pa');
    const { identity: root } = await three.auth.authenticate('root', 'secret');
    for (const service of [one, two, three]) {
      assert.is(await codeOf(() => writes(service, undefined, put('a1', ''))), 'USER_EMPTY');
      assert.is(await codeOf(() => writes(service, ann, put('a1', ''))), 'fine');
      assert.is(await codeOf(() => writes(service, ann, put('b', ''))), 'PERMISSION_DENIED');
      assert.is(await codeOf(() => writes(service, ann, put('a1', ''), range('z'))), 'PERMISSION_DENIED');
      assert.is(await codeOf(() => writes(service, root, put('b', ''))), 'fine');
      assert.is(await codeOf(() => service.get({ ...READ, key: key('a1') }, { identity: ann })), 'fine');
      assert.is(
        await codeOf(() => service.get({ ...READ, key: key('z') }, { identity: ann })),
        'PERMISSION_DENIED',
      );
      assert.is(await codeOf(() => service.get({ ...READ, key: key('a1') })), 'USER_EMPTY');
      const scan = { ...READ, start: key('a'), reverse: false, limit: 9, maxBytes: 1e6, keysOnly: false };
      assert.is(await codeOf(() => service.scan({ ...scan, end: key('b') }, { identity: ann })), 'fine');
      for (const end of [key('c'), undefined])
        assert.is(await codeOf(() => service.scan({ ...scan, end }, { identity: ann })), 'PERMISSION_DENIED');
      assert.is(await codeOf(() => service.scan({ ...scan, end: undefined }, { identity: root })), 'fine');
      assert.equal(service.auth.identify(token), ann, 'one token for all nodes');
      // The cluster is root's.
      assert.is(await codeOf(() => service.moveLeader(leader.id, { identity: ann })), 'PERMISSION_DENIED');
      assert.is(await codeOf(() => service.memberRemove(9, { identity: ann })), 'PERMISSION_DENIED');
      assert.is(await codeOf(() => service.memberRemove(9)), 'USER_EMPTY');
      assert.is(await codeOf(() => service.memberRemove(9, { identity: root })), 'MEMBER_NOT_FOUND');
      assert.is((await service.members()).members.length, 3, 'where the nodes are is for everybody');
      // What is the cluster's own is not for clients to say.
      const forged = encodeCommand({
        type: 'asUser',
        user: '',
        generation: 0,
        command: write(put('b', '')) as never,
      });
      assert.is(await codeOf(() => service.write(forged, { identity: ann })), 'INVALID_ARGUMENT');
      const change = encodeCommand({ type: 'authChange', change: { type: 'disable' } });
      assert.is(await codeOf(() => service.write(change, { identity: root })), 'INVALID_ARGUMENT');
    }
    // What is held open in this process is the process's own.
    await lab.node(1).store.put('z', 'mine');
    assert.equal(await lab.node(2).store.get('z'), bytes('mine'));
  } finally {
    await lab.stop();
  }
});

test('users and roles are shown to root, and to the users themselves', async () => {
  const lab = await ClusterLab.start(1);
  try {
    const { service } = lab.node(1).node;
    await changes(service, ...ENABLED, { type: 'roleAdd', role: 'other' });
    const { identity: ann } = await service.auth.authenticate('ann', 'pa');
    const asAnn = { identity: ann };
    assert.equal(await service.auth.user('ann', asAnn), { name: 'ann', roles: ['app'] });
    assert.equal((await service.auth.role('app', asAnn)).grants.length, 1);
    const { enabled, authRevision } = await service.auth.status();
    assert.ok(enabled && authRevision > 7);
    const refused = [
      () => service.auth.user('root', asAnn),
      () => service.auth.user('nobody', asAnn),
      () => service.auth.role('other', asAnn),
      () => service.auth.users(asAnn),
      () => service.auth.roles(asAnn),
      () => service.auth.change({ type: 'disable' }, asAnn),
      () => service.auth.change({ type: 'userChangePassword', user: 'ann', password: 'x' }, asAnn),
    ];
    for (const run of refused) assert.is(await codeOf(run), 'PERMISSION_DENIED');
    assert.is(await codeOf(() => service.auth.user('ann')), 'USER_EMPTY');
    assert.equal(await service.auth.users(ROOT_CALL), ['ann', 'root']);
    assert.equal(await service.auth.roles(ROOT_CALL), ['app', 'other']);
    assert.is(await codeOf(() => service.auth.user('nobody', ROOT_CALL)), 'USER_NOT_FOUND');
    assert.is(await codeOf(() => service.auth.role('nobody', ROOT_CALL)), 'ROLE_NOT_FOUND');
    assert.is(
      await codeOf(() => changes(service, { type: 'userAdd', user: 'ann', password: '' })),
      'USER_EXISTS',
    );
    const beyond: AuthRequest = {
      type: 'roleGrant',
      role: 'app',
      grant: { kind: 'read', key: Uint8Array.of(0), end: Uint8Array.of(2) },
    };
    assert.is(await codeOf(() => changes(service, beyond)), 'INVALID_ARGUMENT', 'the keys of users only');
  } finally {
    await lab.stop();
  }
});

test('another password, another user of the name, or a token too old: authenticate again', async () => {
  const lab = await ClusterLab.start(1, { node: { tokenTtlMs: 60_000 } });
  try {
    const { node, ports } = lab.node(1);
    const { service } = node;
    await changes(service, ...ENABLED);
    const first = await service.auth.authenticate('ann', 'pa');
    await changes(service, { type: 'userChangePassword', user: 'ann', password: 'pb' });
    assert.is(await codeOf(() => writes(service, first.identity, put('a', ''))), 'UNAUTHENTICATED');
    assert.is(await codeOf(() => service.auth.identify(first.token)), 'UNAUTHENTICATED');
    assert.is(await codeOf(() => service.auth.authenticate('ann', 'pa')), 'AUTH_FAILED');
    const second = await service.auth.authenticate('ann', 'pb');
    assert.is(await codeOf(() => writes(service, second.identity, put('a', ''))), 'fine');
    const late = { ...second.identity, expiresAtMs: ports.clock.wallMs() - 1 };
    assert.is(await codeOf(() => writes(service, late, put('a', ''))), 'UNAUTHENTICATED');
    const forged = signToken(new Uint8Array(32), second.identity);
    assert.is(await codeOf(() => service.auth.identify(forged)), 'UNAUTHENTICATED');
    await changes(service, { type: 'userChangePassword', user: 'ann', password: undefined });
    assert.is(
      await codeOf(() => service.auth.authenticate('ann', '')),
      'AUTH_FAILED',
      'no password, no entry',
    );
    await changes(service, { type: 'userDelete', user: 'ann' });
    assert.is(await codeOf(() => writes(service, second.identity, put('a', ''))), 'UNAUTHENTICATED');
    await changes(service, { type: 'disable' });
    assert.is(await codeOf(() => writes(service, undefined, put('q', ''))), 'fine');
    assert.is(service.auth.identify(second.token), undefined, 'tokens say nothing now');
  } finally {
    await lab.stop();
  }
});

test('writes go on while rights that do not concern them change', async () => {
  const lab = await ClusterLab.start(3);
  try {
    await changes(lab.node(1).node.service, ...ENABLED);
    const { identity } = await lab.node(2).node.service.auth.authenticate('ann', 'pa');
    let going = true;
    const writing = [1, 2, 3].map(async (id) => {
      for (let i = 0; going; i++) await writes(lab.node(id).node.service, identity, put(`a${id}`, `${i}`));
    });
    const { service } = lab.node(3).node;
    for (let i = 0; i < 30; i++) await changes(service, { type: 'roleAdd', role: `r${i}` });
    going = false;
    await Promise.all(writing);
    // And one that does is in force for every write that begins after it.
    await changes(service, { type: 'userRevokeRole', user: 'ann', role: 'app' });
    for (const id of [1, 2, 3])
      assert.is(
        await codeOf(() => writes(lab.node(id).node.service, identity, put('a', ''))),
        'PERMISSION_DENIED',
      );
    await changes(service, { type: 'userGrantRole', user: 'ann', role: 'app' });
    for (const id of [1, 2, 3])
      assert.is(await codeOf(() => writes(lab.node(id).node.service, identity, put('a', ''))), 'fine');
  } finally {
    await lab.stop();
  }
});

test('a watch ends when its right ends, before anything that comes after is delivered', async () => {
  const lab = await ClusterLab.start(1);
  try {
    const { service } = lab.node(1).node;
    await changes(service, ...USERS);
    const heard: string[] = [];
    const ended: string[] = [];
    const watch = (name: string, from: string, to: string | undefined, identity: Identity | undefined) =>
      service.watch(
        { start: key(from), end: to === undefined ? undefined : key(to), fromRevision: 0, prevKv: false },
        {
          deliver: (batch: WatchBatch) => {
            for (const { record } of batch.events) heard.push(`${name} ${Buffer.from(record.value)}`);
            return true;
          },
          end: (error) => ended.push(`${name} ${error instanceof KvError ? error.code : error.message}`),
        },
        { identity },
      );
    await watch('nobody', 'a', undefined, undefined);
    await changes(service, { type: 'enable' });
    assert.equal(ended, ['nobody USER_EMPTY'], 'nobody may watch once rights are enforced');
    const { identity: ann } = await service.auth.authenticate('ann', 'pa');
    assert.is(await codeOf(() => watch('x', 'a', 'c', ann)), 'PERMISSION_DENIED');
    assert.is(await codeOf(() => watch('x', 'a', 'b', undefined)), 'USER_EMPTY');
    await watch('ann', 'a', 'b', ann);
    const cancelled = await watch('gone', 'a', 'b', ann);
    await watch('root', 'a', 'b', THE_CLUSTER);
    cancelled.cancel();
    await writes(service, THE_CLUSTER, put('a', '1'));
    // Proposed in one turn, and so perhaps applied in one.
    await Promise.all([
      changes(service, { type: 'roleRevoke', role: 'app', key: key('a'), end: key('b') }),
      writes(service, THE_CLUSTER, put('a', '2')),
    ]);
    await writes(service, THE_CLUSTER, put('a', '3'));
    await until(() => heard.includes('root 3'), 'the last event');
    assert.equal(ended, ['nobody USER_EMPTY', 'ann PERMISSION_DENIED']);
    assert.ok(heard.includes('ann 1'));
    assert.not.ok(heard.includes('ann 3'));
    assert.not.ok(heard.some((line) => line.startsWith('gone')));
  } finally {
    await lab.stop();
  }
});

test('passwords are neither in the log nor in what is captured', async () => {
  const lab = await ClusterLab.start(1);
  try {
    const { service } = lab.node(1).node;
    await changes(service, ...ENABLED, { type: 'userAdd', user: 'bob', password: 'unmistakable-password' });
    await service.auth.authenticate('bob', 'unmistakable-password');
    lab.crash(1, 'none');
    const disk = lab.disks.get(1);
    assert.ok(disk !== undefined);
    let files = 0;
    let named = false;
    const look = async (path: string): Promise<void> => {
      for (const name of await disk.list(path)) {
        const file = `${path}/${name}`;
        let content: Uint8Array;
        try {
          content = await disk.readFile(file);
        } catch {
          await look(file);
          continue;
        }
        files++;
        assert.not.ok(Buffer.from(content).includes('unmistakable-password'), file);
        named ||= Buffer.from(content).includes('bob');
      }
    };
    await look('node-1');
    assert.ok(files > 2 && named, 'the log was looked at');
  } finally {
    await lab.stop();
  }
});

test.run();
