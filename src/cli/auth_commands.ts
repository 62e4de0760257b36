/** `kvorum auth`, `user` and `role`: who may do what. */
import type { Command } from 'commander';
import type { GrantKeys, RoleGrant } from '../client/auth_types.ts';
import { KvError } from '../errors.ts';
import { type GlobalOptions, withStore } from './endpoints.ts';
import { print, printJson, shown, table } from './output.ts';

interface PasswordFlags {
  /** --no-password: false. */
  readonly password?: string | false;
  readonly passwordStdin?: boolean;
}
interface KeyFlags {
  readonly prefix?: boolean;
  readonly to?: string;
  readonly fromKey?: boolean;
}
const KINDS = ['read', 'write', 'readwrite'] as const;

export function addAuthCommands(program: Command): void {
  const globals = (): GlobalOptions => program.opts<GlobalOptions>();
  const done = (what: string): void => {
    if (globals().json) printJson({ ok: true });
    else print(what);
  };
  addAuth(program, globals, done);
  addUser(program, globals, done);
  addRole(program, globals, done);
}

type Globals = () => GlobalOptions;
type Done = (what: string) => void;

function addAuth(program: Command, globals: Globals, done: Done): void {
  const auth = program.command('auth').description('enforce rights, or stop enforcing them');
  auth
    .command('enable')
    .description('from now on nobody does anything without a right to it')
    .action(() =>
      withStore(globals(), async (store) => {
        await store.auth.enable();
        done('rights are enforced');
      }),
    );
  auth
    .command('disable')
    .description('everybody may do everything')
    .action(() =>
      withStore(globals(), async (store) => {
        await store.auth.disable();
        done('rights are not enforced');
      }),
    );
  auth
    .command('status')
    .description('whether rights are enforced')
    .action(() =>
      withStore(globals(), async (store) => {
        const status = await store.auth.status();
        if (globals().json) printJson(status);
        else print(`rights are ${status.enabled ? '' : 'not '}enforced (revision ${status.authRevision})`);
      }),
    );
  auth.addHelpText(
    'after',
    '\nExample:\n  kvorum user add root --password-stdin\n  kvorum user grant-role root root\n  kvorum auth enable\n  kvorum --user root user list',
  );
}

function addUser(program: Command, globals: Globals, done: Done): void {
  const user = program.command('user').description('users, their passwords and roles');
  withPassword(user.command('add').description('add a user').argument('<name>')).action(
    async (name: string, flags: PasswordFlags) => {
      const password = await passwordOf(flags);
      await withStore(globals(), (store) => store.auth.addUser(name, password));
      done(`added user ${name}`);
    },
  );
  withPassword(user.command('passwd').description('give a user another password').argument('<name>')).action(
    async (name: string, flags: PasswordFlags) => {
      const password = await passwordOf(flags);
      await withStore(globals(), (store) => store.auth.changePassword(name, password));
      done(`user ${name} has another password`);
    },
  );
  user
    .command('delete')
    .argument('<name>')
    .action((name: string) =>
      withStore(globals(), async (store) => {
        await store.auth.deleteUser(name);
        done(`deleted user ${name}`);
      }),
    );
  user
    .command('grant-role')
    .argument('<user>')
    .argument('<role>')
    .action((name: string, role: string) =>
      withStore(globals(), async (store) => {
        await store.auth.grantRole(name, role);
        done(`user ${name} has the role ${role}`);
      }),
    );
  user
    .command('revoke-role')
    .argument('<user>')
    .argument('<role>')
    .action((name: string, role: string) =>
      withStore(globals(), async (store) => {
        await store.auth.revokeRole(name, role);
        done(`user ${name} has the role ${role} no more`);
      }),
    );
  user
    .command('get')
    .description('the roles of a user')
    .argument('<name>')
    .action((name: string) =>
      withStore(globals(), async (store) => {
        const found = await store.auth.user(name);
        if (globals().json) printJson(found);
        else print(found.roles.join('\n'));
      }),
    );
  user.command('list').action(() =>
    withStore(globals(), async (store) => {
      const users = await store.auth.users();
      if (globals().json) printJson({ users });
      else print(users.join('\n'));
    }),
  );
  user.addHelpText(
    'after',
    '\nExamples:\n  kvorum user add ann --password-stdin < password\n  kvorum user grant-role ann app',
  );
}

function addRole(program: Command, globals: Globals, done: Done): void {
  const role = program.command('role').description('roles, and what they allow');
  role
    .command('add')
    .argument('<name>')
    .action((name: string) =>
      withStore(globals(), async (store) => {
        await store.auth.addRole(name);
        done(`added role ${name}`);
      }),
    );
  role
    .command('delete')
    .argument('<name>')
    .action((name: string) =>
      withStore(globals(), async (store) => {
        await store.auth.deleteRole(name);
        done(`deleted role ${name}`);
      }),
    );
  withKeys(role.command('grant').description(`allow ${KINDS.join(', ')}`))
    .argument('<role>')
    .argument('<permission>')
    .argument('<key>')
    .action((name: string, permission: string, key: string, flags: KeyFlags) =>
      withStore(globals(), async (store) => {
        const kind = KINDS.find((one) => one === permission);
        if (kind === undefined)
          throw new KvError(
            'INVALID_ARGUMENT',
            `the permission is ${JSON.stringify(permission)}, allowed: ${KINDS.join(', ')}`,
          );
        await store.auth.grant(name, kind, keysOf(key, flags));
        done(`role ${name} allows ${kind} there`);
      }),
    );
  withKeys(role.command('revoke').description('take back what was granted on the very same keys'))
    .argument('<role>')
    .argument('<key>')
    .action((name: string, key: string, flags: KeyFlags) =>
      withStore(globals(), async (store) => {
        await store.auth.revoke(name, keysOf(key, flags));
        done(`role ${name} allows nothing there`);
      }),
    );
  role
    .command('get')
    .description('what a role allows')
    .argument('<name>')
    .action((name: string) =>
      withStore(globals(), async (store) => {
        const { grants } = await store.auth.role(name);
        if (globals().json) printJson({ name, grants: grants.map(grantJson) });
        else
          print(
            table([['permission', 'keys'], ...grants.map((grant) => [grant.permission, rangeText(grant)])]),
          );
      }),
    );
  role.command('list').action(() =>
    withStore(globals(), async (store) => {
      const roles = await store.auth.roles();
      if (globals().json) printJson({ roles });
      else print(roles.join('\n'));
    }),
  );
  role.addHelpText(
    'after',
    '\nExamples:\n  kvorum role add app\n  kvorum role grant app readwrite app/ --prefix\n  kvorum role grant app read motd\n  kvorum role revoke app motd',
  );
}

function withPassword(command: Command): Command {
  return command
    .option('--password <password>', 'others on this machine may see it: rather use --password-stdin')
    .option('--password-stdin', 'the first line of standard input')
    .option('--no-password', 'the user cannot authenticate with a password');
}

function withKeys(command: Command): Command {
  return command
    .option('--prefix', 'all keys that begin with <key>')
    .option('--to <key>', 'the keys from <key> to this one, which is not included')
    .option('--from-key', 'the keys from <key> on');
}

async function passwordOf(flags: PasswordFlags): Promise<string | undefined> {
  if (flags.passwordStdin === true) return firstLineOfInput();
  if (typeof flags.password === 'string') return flags.password;
  if (flags.password === false) return undefined;
  throw new KvError('INVALID_ARGUMENT', 'which password? --password-stdin, --password or --no-password');
}

async function firstLineOfInput(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const [line = ''] = Buffer.concat(chunks).toString().split('\n');
  return line.replace(/\r$/, '');
}

function keysOf(key: string, flags: KeyFlags): GrantKeys {
  if (flags.prefix === true) return { prefix: key };
  if (flags.to !== undefined) return { start: key, end: flags.to };
  return flags.fromKey === true ? { start: key } : { key };
}

function grantJson({ permission, key, end }: RoleGrant): Record<string, unknown> {
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
  return { permission, key: text(key), ...(end !== undefined && { end: text(end) }) };
}

function rangeText({ key, end }: RoleGrant): string {
  const from = shown(key);
  if (end === undefined) return from;
  return end.length === 0 ? `${from} and all after it` : `${from} to ${shown(end)}`;
}
