/**
 * `kvorum lock` and `kvorum elect`.
 *
 * Invariants: the command of a lock runs only while the lock is held, as far as this process runs; the lock is released once the command has ended, whatever ended it; the exit status is the command's, 128 + N
 * where signal N ended it, and 1 where the lock was lost.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Command } from 'commander';
import type { ContendOptions, Lock } from '../client/lock_types.ts';
import type { Store } from '../client/store_types.ts';
import { KvError } from '../errors.ts';
import { type GlobalOptions, positiveInteger, withStore } from './endpoints.ts';
import { shownLease, untilSignalOr } from './lease_commands.ts';
import { note, print, printJson, shown } from './output.ts';
import { type EndSignal, onSignals, statusOf } from './signals.ts';

/** For the command to end by itself after the lock was lost. */
const KILL_AFTER_MS = 10_000;

interface ContendFlags {
  ttl?: string;
  wait?: string;
}

export function addLockCommands(program: Command): void {
  const globals = (): GlobalOptions => program.opts<GlobalOptions>();

  program
    .command('lock')
    .description('run a command while holding a lock; without a command: hold it until Ctrl-C')
    .argument('<name>')
    .argument('[command...]', 'behind --')
    .option('--ttl <milliseconds>', 'how long others wait for a holder that has died (default 60000)')
    .option('--wait <milliseconds>', 'give up when it was not free for so long')
    .addHelpText(
      'after',
      `
The command finds KVORUM_LOCK_KEY, KVORUM_LOCK_FENCE and KVORUM_LOCK_LEASE in its environment. It is ended when the lock is lost.

Examples:
  kvorum lock jobs/nightly -- ./nightly.sh
  kvorum lock jobs/nightly --wait 5000 -- sh -c 'echo "fence $KVORUM_LOCK_FENCE"'`,
    )
    .action((name: string, command: string[], flags: ContendFlags) =>
      withStore(globals(), async (store) => {
        const lock = await whileUnsignalled((signal) => store.lock(name, { ...contendOf(flags), signal }));
        if (lock === undefined) return;
        try {
          if (command.length === 0) await hold(lock, globals().json === true);
          else process.exitCode = await runUnder(lock, command);
        } finally {
          await givenUp(() => lock.release());
        }
      }),
    );

  program
    .command('elect')
    .description('lead under a name with a value until Ctrl-C; with --listen: show who leads')
    .argument('<name>')
    .argument('[value]')
    .option('--listen', 'only show who leads, now and after every change')
    .option('--ttl <milliseconds>', 'how long a leader that has died stays (default 60000)')
    .option('--wait <milliseconds>', 'give up when another led for so long')
    .addHelpText(
      'after',
      '\nExamples:\n  kvorum elect scheduler 10.0.0.7:9000\n  kvorum elect scheduler --listen',
    )
    .action((name: string, value: string | undefined, flags: ContendFlags & { listen?: boolean }) => {
      if (flags.listen === true && value !== undefined)
        throw new KvError('INVALID_ARGUMENT', '--listen takes no VALUE: it only shows who leads');
      if (flags.listen !== true && value === undefined)
        throw new KvError('INVALID_ARGUMENT', 'a VALUE is needed to lead, or --listen to see who does');
      return withStore(globals(), (store) =>
        value === undefined
          ? listen(store, name, globals().json === true)
          : lead(store, name, value, flags, globals().json === true),
      );
    });
}

function contendOf({ ttl, wait }: ContendFlags): ContendOptions {
  return {
    ttlMs: ttl === undefined ? undefined : positiveInteger('--ttl', ttl),
    timeoutMs: wait === undefined ? undefined : positiveInteger('--wait', wait),
  };
}

/** What the command has done stands, even where nobody can be told that the lock is free: others wait for the end of the lease then. */
async function givenUp(release: () => Promise<void>): Promise<void> {
  try {
    await release();
  } catch (error) {
    if (!(error instanceof KvError)) throw error;
    note(`kvorum: not released, it ends with its lease: ${error.message}`);
  }
}

/** undefined: a signal came first, and stands in the exit status. */
async function whileUnsignalled<T>(run: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> {
  const stop = new AbortController();
  const off = onSignals((signal) => {
    process.exitCode = statusOf(signal);
    stop.abort();
  });
  try {
    return await run(stop.signal);
  } catch (error) {
    if (stop.signal.aborted) return undefined;
    throw error;
  } finally {
    off();
  }
}

/** @throws KvError when it is lost */
async function hold(lock: Lock, json: boolean): Promise<void> {
  const key = shown(lock.key);
  await untilSignalOr(lock.signal, () => {
    if (json) printJson({ key, fence: lock.fence, lease: shownLease(lock.lease) });
    else print(key);
  });
}

/** @throws KvError when the lock is lost, or the command cannot be run */
async function runUnder(lock: Lock, [command = '', ...args]: readonly string[]): Promise<number> {
  const child = spawn(command, args, {
    stdio: 'inherit',
    env: {
      ...process.env,
      KVORUM_LOCK_KEY: shown(lock.key),
      KVORUM_LOCK_FENCE: String(lock.fence),
      KVORUM_LOCK_LEASE: shownLease(lock.lease),
    },
  });
  // What a terminal sends goes to its whole group: the command has heard it, too.
  const passOn = (signal: EndSignal): void => {
    if (signal !== 'SIGINT' || process.stdin.isTTY !== true) child.kill(signal);
  };
  const off = onSignals(passOn);
  let kill: NodeJS.Timeout | undefined;
  const end = (): void => {
    note('kvorum: the lock is lost, the command is being ended');
    child.kill('SIGTERM');
    kill = setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS);
  };
  lock.signal.addEventListener('abort', end, { once: true });
  if (lock.signal.aborted) end();
  try {
    const status = await ended(child, command);
    if (lock.signal.aborted) throw lock.signal.reason;
    return status;
  } finally {
    lock.signal.removeEventListener('abort', end);
    clearTimeout(kill);
    off();
  }
}

function ended(child: ChildProcess, command: string): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', (cause) =>
      reject(new KvError('NOT_FOUND', `cannot run ${JSON.stringify(command)}: ${cause.message}`, { cause })),
    );
    child.once('close', (code, signal) => resolve(signal === null ? (code ?? 1) : statusOf(signal)));
  });
}

async function lead(
  store: Store,
  name: string,
  value: string,
  flags: ContendFlags,
  json: boolean,
): Promise<void> {
  const office = await whileUnsignalled((signal) =>
    store.election(name).campaign(value, { ...contendOf(flags), signal }),
  );
  if (office === undefined) return;
  try {
    const key = shown(office.key);
    await untilSignalOr(office.signal, () => {
      if (json) printJson({ key, value, fence: office.fence, lease: shownLease(office.lease) });
      else print(`${key}\n${value}`);
    });
  } finally {
    await givenUp(() => office.resign());
  }
}

async function listen(store: Store, name: string, json: boolean): Promise<void> {
  const stop = new AbortController();
  const off = onSignals(() => stop.abort());
  try {
    for await (const leader of store.election(name).observe({ signal: stop.signal })) {
      const [key, value] = [shown(leader.key), shown(leader.value)];
      if (json) {
        const { fence, revision } = leader;
        printJson({ key, value, fence, revision, lease: shownLease(leader.lease) });
      } else print(`${key}\n${value}`);
    }
  } finally {
    off();
  }
}
