/** `kvorum lease`: granting, revoking, keeping alive, looking. Leases are written in hexadecimal, as `etcdctl` does. */
import type { Command } from 'commander';
import { KvError } from '../errors.ts';
import { type GlobalOptions, positiveInteger, withStore } from './endpoints.ts';
import { EXIT_ABSENT, note, print, printJson, shown } from './output.ts';
import { onSignals } from './signals.ts';

export function addLeaseCommands(program: Command): void {
  const globals = (): GlobalOptions => program.opts<GlobalOptions>();
  const lease = program
    .command('lease')
    .description('leases: keys that go together when their time is over')
    .addHelpText(
      'after',
      '\nExamples:\n  kvorum lease grant 30000\n  kvorum put session/7 alice --lease 32695410dcc0ca06\n  kvorum lease keep-alive 32695410dcc0ca06',
    );

  lease
    .command('grant')
    .description('a lease with a time to live in milliseconds; prints its id')
    .argument('<ttl>')
    .option('--id <id>', 'its id, in hexadecimal (else the store chooses)')
    .addHelpText('after', '\nExample:\n  kvorum lease grant 30000')
    .action((ttl: string, flags: { id?: string }) =>
      withStore(globals(), async (store) => {
        const id = flags.id === undefined ? undefined : leaseOf(flags.id);
        const granted = await store.leases.grant({ ttlMs: positiveInteger('TTL', ttl), id });
        if (globals().json) printJson({ lease: shownLease(granted.id), ttlMs: granted.ttlMs });
        else print(`${shownLease(granted.id)}`);
      }),
    );

  lease
    .command('revoke')
    .description('end a lease and delete its keys')
    .argument('<id>')
    .addHelpText('after', '\nExample:\n  kvorum lease revoke 32695410dcc0ca06')
    .action((id: string) =>
      withStore(globals(), async (store) => {
        await store.leases.revoke(leaseOf(id));
        if (globals().json) printJson({ lease: shownLease(leaseOf(id)), revoked: true });
        else print(`lease ${shownLease(leaseOf(id))} revoked`);
      }),
    );

  lease
    .command('keep-alive')
    .description('renew a lease until Ctrl-C; exit status 1 when it is lost')
    .argument('<id>')
    .option('--once', 'give it its whole time once')
    .addHelpText('after', '\nExample:\n  kvorum lease keep-alive 32695410dcc0ca06')
    .action((id: string, flags: { once?: boolean }) =>
      withStore(globals(), async (store) => {
        const kept = await store.leases.keepAlive(leaseOf(id));
        try {
          const say = (): void => {
            if (globals().json) printJson({ lease: shownLease(kept.id), ttlMs: kept.ttlMs });
            else print(`lease ${shownLease(kept.id)} is kept alive, ${kept.ttlMs} ms at a time`);
          };
          if (flags.once === true) say();
          else await untilSignalOr(kept.signal, say);
        } finally {
          kept.close();
        }
      }),
    );

  lease
    .command('ttl')
    .description('what is left of a lease; exit status 2 when there is none')
    .argument('<id>')
    .option('--keys', 'with its keys')
    .addHelpText('after', '\nExample:\n  kvorum lease ttl 32695410dcc0ca06 --keys')
    .action((id: string, flags: { keys?: boolean }) =>
      withStore(globals(), async (store) => {
        const found = await store.leases.timeToLive(leaseOf(id), { keys: flags.keys });
        if (found === undefined) {
          process.exitCode = EXIT_ABSENT;
          if (globals().json) printJson(null);
          else note(`no lease ${shownLease(leaseOf(id))}`);
          return;
        }
        const { ttlMs, remainingMs } = found;
        const keys = found.keys.map(shown);
        if (globals().json) {
          printJson({ lease: shownLease(found.id), ttlMs, remainingMs, ...(flags.keys ? { keys } : {}) });
          return;
        }
        print(`${remainingMs} ms left of ${ttlMs} ms`);
        for (const key of keys) print(key);
      }),
    );

  lease
    .command('list')
    .description('the leases there are, oldest first')
    .addHelpText('after', '\nExample:\n  kvorum lease list')
    .action(() =>
      withStore(globals(), async (store) => {
        for (const id of await store.leases.list()) {
          if (globals().json) printJson({ lease: shownLease(id) });
          else print(shownLease(id));
        }
      }),
    );
}

/** @throws KvError INVALID_ARGUMENT */
export function leaseOf(text: string): bigint {
  if (!/^[0-9a-fA-F]{1,16}$/.test(text)) {
    throw new KvError(
      'INVALID_ARGUMENT',
      `lease ${JSON.stringify(text)} is not a number of up to 16 hexadecimal digits`,
    );
  }
  return BigInt.asIntN(64, BigInt(`0x${text}`));
}

export function shownLease(id: bigint): string {
  return BigInt.asUintN(64, id).toString(16);
}

/** Resolves with the first signal to this process; `say` is called when one may come. @throws what `lost` aborts with */
export async function untilSignalOr(lost: AbortSignal, say: () => void): Promise<void> {
  const stopped = new AbortController();
  const off = onSignals(() => stopped.abort());
  try {
    say();
    const any = AbortSignal.any([lost, stopped.signal]);
    if (!any.aborted) await new Promise((resolve) => any.addEventListener('abort', resolve));
  } finally {
    off();
  }
  if (lost.aborted && !stopped.signal.aborted) throw lost.reason;
}
