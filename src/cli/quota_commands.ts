/** `kvorum quota`: what may lie under a prefix, and how often it may be asked for. */
import type { Command } from 'commander';
import { KvError } from '../errors.ts';
import { type GlobalOptions, positiveInteger, withAdmin } from './endpoints.ts';
import { note, print, printJson, shown, table } from './output.ts';

interface SetOptions {
  readonly bytes?: string;
  readonly keys?: string;
  readonly rate?: string;
}

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 };

export function addQuotaCommands(program: Command): void {
  const globals = (): GlobalOptions => program.opts<GlobalOptions>();
  const quota = program.command('quota').description('list, set and remove quotas of prefixes');

  quota
    .command('list')
    .description('the quotas, and what there is under them')
    .action(() =>
      withAdmin(globals(), async (admin) => {
        const quotas = await admin.upkeep.quotas();
        if (globals().json) return printJson(quotas.map((one) => ({ ...one, prefix: shown(one.prefix) })));
        if (quotas.length === 0) return note('no quotas');
        const rows = quotas.map(({ prefix, counted, bytes, keys, ...limits }) => [
          shown(prefix) || '(all keys)',
          counted ? String(bytes) : 'counting',
          limitOf(limits.maxBytes),
          counted ? String(keys) : 'counting',
          limitOf(limits.maxKeys),
          limitOf(limits.maxRequestsPerSecond),
        ]);
        print(table([['prefix', 'bytes', 'at most', 'keys', 'at most', 'requests/s'], ...rows]));
      }),
    );

  quota
    .command('set')
    .description('set the quota of a prefix; the empty prefix stands for all keys')
    .argument('<prefix>')
    .option('--bytes <count>', 'of keys and values together; K, M, G and T stand for powers of 1024')
    .option('--keys <count>', 'keys under the prefix')
    .option('--rate <count>', 'requests a second, at each node')
    .addHelpText('after', '\nExample:\n  kvorum quota set teams/blue/ --bytes 64M --keys 10000')
    .action((prefix: string, { bytes, keys, rate }: SetOptions) =>
      withAdmin(globals(), async (admin) => {
        const revision = await admin.upkeep.setQuota(prefix, {
          maxBytes: bytes === undefined ? 0 : byteCount(bytes),
          maxKeys: keys === undefined ? 0 : positiveInteger('--keys', keys),
          maxRequestsPerSecond: rate === undefined ? 0 : positiveInteger('--rate', rate),
        });
        if (globals().json) printJson({ prefix, revision });
        else print('set');
      }),
    );

  quota
    .command('remove')
    .description('remove the quota of a prefix')
    .argument('<prefix>')
    .action((prefix: string) =>
      withAdmin(globals(), async (admin) => {
        const revision = await admin.upkeep.removeQuota(prefix);
        if (globals().json) printJson({ prefix, revision });
        else print('removed');
      }),
    );
}

function limitOf(limit: number): string {
  return limit === 0 ? '-' : String(limit);
}

/** @throws KvError INVALID_ARGUMENT */
function byteCount(text: string): number {
  const [, digits = '', unit = ''] = /^(\d+)([KMGT]?)$/.exec(text) ?? [];
  const bytes = Number(digits) * (UNITS[unit] as number);
  if (digits !== '' && bytes > 0 && Number.isSafeInteger(bytes)) return bytes;
  const message = `--bytes is ${JSON.stringify(text)}, allowed: a whole number from 1, with K, M, G or T behind it`;
  throw new KvError('INVALID_ARGUMENT', message);
}
