/** `kvorum auth user role` as processes against one node, and what `--user` changes. */

import * as assert from 'uvu/assert';
import {
  type Ended,
  freePorts,
  kvorum,
  type ServedNode,
  serve,
  temporaryDirectory,
} from '../end_to_end/processes.ts';
import { test } from '../suite.ts';

let node: ServedNode;

function run(args: string[], env: Record<string, string> = {}, input = ''): Promise<Ended> {
  return kvorum(args, { input, env: { KVORUM_ENDPOINTS: node.endpoint, ...env } });
}

async function succeeds(args: string[], env: Record<string, string> = {}, input = ''): Promise<string> {
  const { status, stdout, stderr } = await run(args, env, input);
  assert.is(status, 0, `kvorum ${args.join(' ')}: ${stderr}`);
  return stdout;
}

async function refused(args: string[], code: string, env: Record<string, string> = {}): Promise<void> {
  const { status, stderr } = await run(args, env);
  assert.is(status, 1, `kvorum ${args.join(' ')}`);
  assert.match(stderr, `[${code}]`);
}

test.before(async () => {
  const [clientPort, peerPort] = await freePorts(2);
  node = await serve({ data: `${temporaryDirectory()}/node`, clientPort: clientPort!, peerPort: peerPort! });
});

test.after(async () => {
  await node.command.stop();
});

test('users and roles are made, shown, used and taken away', async () => {
  await refused(['auth', 'enable'], 'ROOT_USER_NOT_FOUND');
  await refused(['user', 'add', 'root'], 'INVALID_ARGUMENT');
  await succeeds(['user', 'add', 'root', '--password-stdin'], {}, 'secret\nmore');
  await succeeds(['user', 'grant-role', 'root', 'root']);
  await succeeds(['user', 'add', 'ann', '--password', 'pa:ss']);
  await succeeds(['role', 'add', 'app']);
  await succeeds(['role', 'grant', 'app', 'readwrite', 'app/', '--prefix']);
  await succeeds(['role', 'grant', 'app', 'read', 'motd']);
  await succeeds(['role', 'grant', 'app', 'read', 'x', '--to', 'y']);
  await succeeds(['role', 'revoke', 'app', 'x', '--to', 'y']);
  await refused(['role', 'grant', 'app', 'all', 'k'], 'INVALID_ARGUMENT');
  await succeeds(['user', 'grant-role', 'ann', 'app']);
  assert.match(await succeeds(['auth', 'status']), /^rights are not enforced/);
  await succeeds(['auth', 'enable']);

  const root = { KVORUM_USER: 'root', KVORUM_PASSWORD: 'secret' };
  await refused(['put', 'app/1', 'one'], 'USER_EMPTY');
  await refused(['put', 'app/1', 'one', '--user', 'ann'], 'INVALID_ARGUMENT');
  await refused(['put', 'app/1', 'one', '--user', 'ann:wrong'], 'AUTH_FAILED');
  await succeeds(['put', 'app/1', 'one', '--user', 'ann:pa:ss']);
  await refused(['put', 'motd', 'mine', '--user', 'ann:pa:ss'], 'PERMISSION_DENIED');
  await refused(['member', 'remove', '9', '--user', 'ann:pa:ss'], 'PERMISSION_DENIED');
  await refused(['user', 'list', '--user', 'ann:pa:ss'], 'PERMISSION_DENIED');
  assert.is(await succeeds(['user', 'get', 'ann', '--user', 'ann:pa:ss']), 'app\n');
  assert.is(await succeeds(['user', 'list'], root), 'ann\nroot\n');
  assert.equal(JSON.parse(await succeeds(['role', 'get', 'app', '--json'], root)), {
    name: 'app',
    grants: [
      { permission: 'readwrite', key: 'app/', end: 'app0' },
      { permission: 'read', key: 'motd' },
    ],
  });
  assert.match(await succeeds(['role', 'get', 'app'], root), /readwrite {3}app\/ to app0\nread {8}motd/);
  await succeeds(['user', 'revoke-role', 'ann', 'app'], root);
  await succeeds(['user', 'passwd', 'ann', '--no-password'], root);
  await succeeds(['user', 'delete', 'ann'], root);
  await succeeds(['role', 'delete', 'app'], root);
  assert.is(await succeeds(['role', 'list', '--json'], root), '{"roles":[]}\n');
  await succeeds(['auth', 'disable'], root);
});

test.run();
