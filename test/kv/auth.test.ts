/** Users, roles and rights in the state machine: every change and every refusal, and what survives a restart. */

import * as assert from 'uvu/assert';
import type { ErrorCode } from '../../src/errors.ts';
import type { AuthChange, Grant } from '../../src/kv/auth_types.ts';
import type { Command, CommandResult, PlainCommand } from '../../src/kv/command.ts';
import { decodeState, encodeState } from '../../src/wire/state_codec.ts';
import { test } from '../suite.ts';
import { bytes, compare, key, put, range, remove, Store, touch, txn, write } from './commands.ts';

const SECRET = new Uint8Array(32).fill(7);
const HASH = bytes('hash');

function change(one: AuthChange): Command {
  return { type: 'authChange', change: one };
}
function grant(kind: Grant['kind'], from: string, to?: string): Grant {
  return { kind, key: key(from), end: to === undefined ? undefined : key(to) };
}
function codeOf(result: CommandResult): ErrorCode | 'done' {
  return result.type === 'failed' ? result.code : 'done';
}

class AuthStore extends Store {
  change(...changes: AuthChange[]): (ErrorCode | 'done')[] {
    return changes.map((one) =>
      codeOf(
        this.run(
          this.machine.auth.enabled ? this.asked('root', { type: 'authChange', change: one }) : change(one),
        ),
      ),
    );
  }

  asked(user: string, command: PlainCommand): Command {
    return { type: 'asUser', user, generation: this.machine.auth.user(user)?.generation ?? 0, command };
  }

  as(user: string, command: Command): CommandResult {
    if (command.type === 'asUser') throw new Error('named already');
    return this.run(this.asked(user, command));
  }

  /** root, and a user `ann` with the role `app`. */
  static enabled(...grants: Grant[]): AuthStore {
    const store = new AuthStore();
    const outcomes = store.change(
      { type: 'userAdd', user: 'root', passwordHash: HASH },
      { type: 'userGrantRole', user: 'root', role: 'root' },
      { type: 'userAdd', user: 'ann', passwordHash: HASH },
      { type: 'roleAdd', role: 'app' },
      { type: 'userGrantRole', user: 'ann', role: 'app' },
      ...grants.map((one) => ({ type: 'roleGrant', role: 'app', grant: one }) as const),
      { type: 'enable', secret: SECRET },
    );
    assert.ok(outcomes.every((outcome) => outcome === 'done'));
    return store;
  }
}

test('users and roles: each change, and each reason to refuse it', () => {
  const store = new AuthStore();
  const add = (user: string): AuthChange => ({ type: 'userAdd', user, passwordHash: HASH });
  assert.equal(store.change({ type: 'enable', secret: SECRET }, add('root')), [
    'ROOT_USER_NOT_FOUND',
    'done',
  ]);
  assert.equal(store.change({ type: 'enable', secret: SECRET }), ['ROOT_ROLE_NOT_GRANTED']);
  assert.equal(store.change(add(''), add('root'), add('x'.repeat(257))), [
    'USER_EMPTY',
    'USER_EXISTS',
    'INVALID_ARGUMENT',
  ]);
  assert.equal(store.change(add('ä'.repeat(128)), add('ä'.repeat(129))), ['done', 'INVALID_ARGUMENT']);
  assert.equal(store.change({ type: 'userAdd', user: 'h', passwordHash: new Uint8Array(257) }), [
    'INVALID_ARGUMENT',
  ]);
  assert.equal(
    store.change(
      { type: 'roleAdd', role: '' },
      { type: 'roleAdd', role: 'app' },
      { type: 'roleAdd', role: 'app' },
      { type: 'roleDelete', role: 'none' },
    ),
    ['ROLE_EMPTY', 'done', 'ROLE_EXISTS', 'ROLE_NOT_FOUND'],
  );
  assert.equal(
    store.change(
      { type: 'userGrantRole', user: 'root', role: 'root' },
      { type: 'userGrantRole', user: 'none', role: 'none' },
      { type: 'userGrantRole', user: 'root', role: 'none' },
      { type: 'userRevokeRole', user: 'none', role: 'none' },
      { type: 'userRevokeRole', user: 'root', role: 'app' },
      { type: 'userDelete', user: 'none' },
      { type: 'userChangePassword', user: 'none', passwordHash: HASH },
    ),
    [
      'done',
      'USER_NOT_FOUND',
      'ROLE_NOT_FOUND',
      'USER_NOT_FOUND',
      'ROLE_NOT_GRANTED',
      'USER_NOT_FOUND',
      'USER_NOT_FOUND',
    ],
  );
  assert.equal(
    store.change(
      { type: 'roleGrant', role: 'none', grant: grant('read', 'a') },
      { type: 'roleGrant', role: 'app', grant: grant('read', 'b', 'a') },
      { type: 'roleGrant', role: 'app', grant: grant('read', 'a', 'b') },
      { type: 'roleRevoke', role: 'app', key: key('a'), end: undefined },
      { type: 'roleRevoke', role: 'none', key: key('a'), end: undefined },
      { type: 'roleRevoke', role: 'app', key: key('a'), end: key('b') },
    ),
    ['ROLE_NOT_FOUND', 'INVALID_AUTH_MANAGEMENT', 'done', 'PERMISSION_NOT_GRANTED', 'ROLE_NOT_FOUND', 'done'],
  );
  assert.equal(
    store.change({ type: 'enable', secret: new Uint8Array(3) }, { type: 'enable', secret: SECRET }),
    ['INVALID_ARGUMENT', 'done'],
  );
  assert.equal(
    store.change(
      { type: 'userDelete', user: 'root' },
      { type: 'roleDelete', role: 'root' },
      { type: 'userRevokeRole', user: 'root', role: 'root' },
    ),
    ['INVALID_AUTH_MANAGEMENT', 'INVALID_AUTH_MANAGEMENT', 'INVALID_AUTH_MANAGEMENT'],
  );
  assert.equal(store.change({ type: 'disable' }, { type: 'userDelete', user: 'root' }), ['done', 'done']);
});

test('a change raises the revision of users and rights, what changes nothing does not', () => {
  const store = AuthStore.enabled();
  const { auth } = store.machine;
  const before = auth.revision;
  store.change(
    { type: 'enable', secret: new Uint8Array(32) },
    { type: 'userGrantRole', user: 'ann', role: 'app' },
  );
  assert.is(auth.revision, before);
  assert.equal([...auth.secret], [...SECRET], 'and keeps the secret');
  const generation = auth.user('ann')?.generation ?? 0;
  store.change({ type: 'userChangePassword', user: 'ann', passwordHash: undefined });
  assert.is(auth.revision, before + 1);
  assert.ok(
    (auth.user('ann')?.generation ?? 0) > generation,
    'what was issued for the password before is void',
  );
  store.change({ type: 'disable' }, { type: 'disable' });
  assert.is(auth.revision, before + 2);
  assert.is(store.machine.revision, 1, 'the revision of keys is another one');
});

test('a user deleted and added again is somebody else', () => {
  const store = AuthStore.enabled(grant('readwrite', 'a'));
  const { auth } = store.machine;
  const generation = auth.user('ann')?.generation;
  const opened = store.as('ann', { type: 'openSession' });
  const session = opened.type === 'session' ? opened.session : 0;
  store.change({ type: 'userDelete', user: 'ann' }, { type: 'userAdd', user: 'ann', passwordHash: HASH });
  store.change({ type: 'userGrantRole', user: 'ann', role: 'app' });
  assert.is.not(auth.user('ann')?.generation, generation);
  const id = { session, sequence: 1, acknowledgedBelow: 1 };
  assert.is(codeOf(store.as('ann', write(put('a', '1'), id))), 'SESSION_EXPIRED');
});

test('a role that is deleted is nobody any more', () => {
  const store = AuthStore.enabled(grant('write', 'a'));
  assert.is(codeOf(store.as('ann', write(put('a', '1')))), 'done');
  store.change({ type: 'roleDelete', role: 'app' });
  assert.is(codeOf(store.as('ann', write(put('a', '1')))), 'PERMISSION_DENIED');
  store.change(
    { type: 'roleAdd', role: 'app' },
    { type: 'roleGrant', role: 'app', grant: grant('write', 'a') },
  );
  assert.is(codeOf(store.as('ann', write(put('a', '1')))), 'PERMISSION_DENIED', 'the user has it no more');
});

test('a command is carried out only by the rights that its user has when it is applied', () => {
  const store = AuthStore.enabled(grant('write', 'a', 'c'));
  assert.is(codeOf(store.as('ann', write(put('b', '1')))), 'done');
  assert.is(codeOf(store.as('ann', write(put('c', '1')))), 'PERMISSION_DENIED');
  assert.is(codeOf(store.as('bob', write(put('b', '1')))), 'UNAUTHENTICATED');
  assert.is(codeOf(store.as('root', write(put('c', '1')))), 'done');
  assert.is(codeOf(store.run(write(put('b', '2')))), 'AUTH_STALE', 'nobody asked');
  const early = store.asked('ann', {
    type: 'write',
    id: { session: 0, sequence: 0, acknowledgedBelow: 0 },
    operation: put('b', '3'),
  });
  store.change({ type: 'roleRevoke', role: 'app', key: key('a'), end: key('c') });
  assert.is(codeOf(store.run(early)), 'PERMISSION_DENIED');
  store.change({ type: 'roleGrant', role: 'app', grant: grant('write', 'a', 'c') });
  store.change({ type: 'userChangePassword', user: 'ann', passwordHash: HASH });
  assert.is(codeOf(store.run(early)), 'UNAUTHENTICATED', 'who asked had another password');
  assert.equal(store.get('b'), ['b', '1', 2, 2, 1]);
  assert.is(
    codeOf(store.run({ type: 'asUser', user: '', generation: 0, command: { type: 'compact', revision: 2 } })),
    'done',
  );
  assert.is(codeOf(store.run({ type: 'compact', revision: 3 })), 'AUTH_STALE');
  assert.is(codeOf(store.as('ann', { type: 'compact', revision: 3 })), 'PERMISSION_DENIED');
  assert.is(
    codeOf(store.as('ann', { type: 'authChange', change: { type: 'disable' } })),
    'PERMISSION_DENIED',
  );
  store.change({ type: 'disable' });
  assert.is(codeOf(store.run(write(put('b', '4')))), 'done');
  assert.is(codeOf(store.run(early)), 'done', 'nothing is enforced');
});

test('every part of a transaction is looked at, in the branch that is not taken too', () => {
  const store = AuthStore.enabled(grant('write', 'w'), grant('read', 'r'), grant('readwrite', 'b'));
  store.as('root', write(put('r', 'there')));
  const cases: [Command, 'done' | 'PERMISSION_DENIED'][] = [
    [txn([put('w', '')], [compare('version', '=', 'r', 0)], [range('r')]), 'done'],
    [txn([put('w', '')], [compare('version', '=', 'w', 0)]), 'PERMISSION_DENIED'],
    [txn([put('w', '')], [], [put('r', '')]), 'PERMISSION_DENIED'],
    [txn([put('w', '')], [], [range('w')]), 'PERMISSION_DENIED'],
    [txn([put('w', '', { prevKv: true })]), 'PERMISSION_DENIED'],
    [txn([put('b', '', { prevKv: true })]), 'done'],
    [txn([remove('b', undefined, true), remove('w')]), 'done'],
    [txn([remove('w', undefined, true)]), 'PERMISSION_DENIED'],
    [txn([touch('r', 5)]), 'PERMISSION_DENIED'],
    [txn([touch('w', 5)]), 'done'],
    [txn([range('r', 's')]), 'PERMISSION_DENIED'],
    [write(remove('w', 'x')), 'PERMISSION_DENIED'],
    [write(put('w', '', { prevKv: true })), 'PERMISSION_DENIED'],
    [txn([]), 'done'],
  ];
  for (const [command, expected] of cases) assert.is(codeOf(store.as('ann', command)), expected);
});

test('a session is used by who opened it alone', () => {
  const store = new AuthStore();
  const before = store.run({ type: 'openSession' });
  const early = before.type === 'session' ? before.session : 0;
  const enabled = AuthStore.enabled(grant('readwrite', 'a', 'z'));
  enabled.change(
    { type: 'userAdd', user: 'bob', passwordHash: HASH },
    { type: 'userGrantRole', user: 'bob', role: 'app' },
  );
  const opened = enabled.as('ann', { type: 'openSession' });
  const session = opened.type === 'session' ? opened.session : 0;
  const id = { session, sequence: 1, acknowledgedBelow: 1 };
  assert.is(codeOf(enabled.as('ann', write(put('a', 'secret'), id))), 'done');
  const answer = enabled.as('ann', write(put('a', 'other', { prevKv: true }), { ...id, sequence: 2 }));
  assert.is(answer.type, 'put');
  assert.is(codeOf(enabled.as('bob', write(put('b', ''), { ...id, sequence: 2 }))), 'SESSION_EXPIRED');
  assert.is(codeOf(enabled.as('bob', { type: 'closeSession', session })), 'SESSION_EXPIRED');
  // Across a restart, too.
  const restarted = new AuthStore();
  restarted.machine.restore(decodeState(encodeState(enabled.machine.captureState())));
  assert.is(codeOf(restarted.as('bob', write(put('b', ''), { ...id, sequence: 2 }))), 'SESSION_EXPIRED');
  assert.equal(
    restarted.as('ann', write(put('a', 'other', { prevKv: true }), { ...id, sequence: 2 })),
    answer,
  );
  // One that was opened before rights were enforced is of no use.
  for (const user of ['root']) {
    store.change(
      { type: 'userAdd', user, passwordHash: HASH },
      { type: 'userGrantRole', user, role: 'root' },
    );
  }
  store.change({ type: 'enable', secret: SECRET });
  assert.is(codeOf(store.as('root', write(put('a', ''), { ...id, session: early }))), 'SESSION_EXPIRED');
});

test('counts and bytes are bounded', () => {
  const store = new AuthStore({ maxAuthBytes: 500 });
  for (let i = 0; i < 8; i++) assert.equal(store.change({ type: 'roleAdd', role: `r${i}` }), ['done']);
  assert.equal(store.change({ type: 'roleAdd', role: 'r8' }), ['REQUEST_TOO_LARGE']);
  for (let i = 0; i < 8; i++)
    assert.equal(store.change({ type: 'userAdd', user: `u${i}`, passwordHash: undefined }), ['done']);
  assert.equal(store.change({ type: 'userAdd', user: 'u8', passwordHash: undefined }), ['REQUEST_TOO_LARGE']);
  for (let i = 0; i < 5; i++) {
    assert.equal(store.change({ type: 'userGrantRole', user: 'u0', role: `r${i}` }), [
      i < 4 ? 'done' : 'REQUEST_TOO_LARGE',
    ]);
  }
  const long = 'k'.repeat(200);
  const roomy: AuthChange = { type: 'roleGrant', role: 'r0', grant: grant('read', long) };
  assert.equal(store.change(roomy), ['REQUEST_TOO_LARGE'], 'no room for so long a key');
  for (let i = 1; i < 8; i++) store.change({ type: 'roleDelete', role: `r${i}` });
  assert.equal(store.change(roomy), ['done'], 'what is deleted makes room');
  const wide = new AuthStore();
  wide.change({ type: 'roleAdd', role: 'r' });
  for (let i = 0; i < 9; i++) {
    const outcome = wide.change({ type: 'roleGrant', role: 'r', grant: grant('read', `${i}`) });
    assert.equal(outcome, [i < 8 ? 'done' : 'REQUEST_TOO_LARGE']);
  }
  assert.equal(
    wide.change({ type: 'roleGrant', role: 'r', grant: grant('write', '3') }),
    ['done'],
    'in the place of another',
  );
  assert.is(wide.machine.auth.role('r')?.grants.length, 8);
});

test('what is captured comes back whole, and is told of', () => {
  const store = AuthStore.enabled(grant('read', 'a', 'b'), grant('write', 'c'));
  store.as('ann', { type: 'openSession' });
  const captured = encodeState(store.machine.captureState());
  const other = new AuthStore();
  let told = 0;
  other.machine.auth.onChange = () => told++;
  other.machine.restore(decodeState(captured));
  assert.is(told, 1);
  assert.equal([...encodeState(other.machine.captureState())], [...captured]);
  assert.is(codeOf(other.as('ann', write(put('c', '')))), 'done');
  assert.is(codeOf(other.as('ann', write(put('a', '')))), 'PERMISSION_DENIED');
  assert.equal(other.change({ type: 'roleGrant', role: 'app', grant: grant('read', 'q') }), ['done']);
  assert.is(told, 2);
  other.machine.restore(decodeState(encodeState(new Store().machine.captureState())));
  assert.not.ok(other.machine.auth.enabled, 'a state without users has none');
});

test('what is kept of a change is no view of its bytes', () => {
  const store = new AuthStore();
  const hash = bytes('hash');
  const from = key('a');
  store.change({ type: 'userAdd', user: 'u', passwordHash: hash }, { type: 'roleAdd', role: 'r' });
  store.change({ type: 'roleGrant', role: 'r', grant: { kind: 'read', key: from, end: undefined } });
  hash.fill(0);
  from.fill(0);
  assert.equal([...(store.machine.auth.user('u')?.passwordHash ?? [])], [...bytes('hash')]);
  assert.equal([...(store.machine.auth.role('r')?.grants[0]?.key ?? [])], [...key('a')]);
});

test.run();
