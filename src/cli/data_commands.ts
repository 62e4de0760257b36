/** `kvorum put get del scan watch`: reading and writing data from the command line. */
import type { Command } from 'commander';
import type {
  KeyEntry,
  ReadCallOptions,
  ScanOptions,
  WatchEvent,
  WatchOptions,
} from '../client/store_types.ts';
import { KvError } from '../errors.ts';
import { type GlobalOptions, positiveInteger, withStore } from './endpoints.ts';
import { leaseOf } from './lease_commands.ts';
import { EXIT_ABSENT, note, print, printJson, shown } from './output.ts';

interface ReadFlags {
  level?: string;
  revision?: string;
  atTime?: string;
}

const LEVELS = ['linearizable', 'sequential', 'eventual'] as const;

export function addDataCommands(program: Command): void {
  const globals = (): GlobalOptions => program.opts<GlobalOptions>();

  program
    .command('put')
    .description('write a key (value from standard input when it is "-")')
    .argument('<key>')
    .argument('<value>')
    .option('--ttl <milliseconds>', 'let the key expire')
    .option('--lease <id>', 'let the key go with a lease (kvorum lease grant)')
    .addHelpText(
      'after',
      '\nExamples:\n  kvorum put colour blue\n  kvorum put session/42 alice --ttl 30000\n  kvorum put logo - < logo.png',
    )
    .action((key: string, value: string, flags: { ttl?: string; lease?: string }) =>
      withStore(globals(), async (store) => {
        const ttlMs = flags.ttl === undefined ? undefined : positiveInteger('--ttl', flags.ttl);
        const lease = flags.lease === undefined ? undefined : leaseOf(flags.lease);
        const given = value === '-' ? await standardInput() : value;
        const { revision } = await store.put(key, given, { ttlMs, lease });
        if (globals().json) printJson({ key, revision });
        else print(`OK revision ${revision}`);
      }),
    );

  program
    .command('get')
    .description("print a key's value; exit status 2 when there is no such key")
    .argument('<key>')
    .option('--level <level>', LEVELS.join(', '), 'linearizable')
    .option('--revision <n>', 'read the store as of a past revision')
    .option(
      '--at-time <time>',
      'read the store as of a time: milliseconds, or a date such as 2026-05-01T12:00Z',
    )
    .addHelpText(
      'after',
      '\nExamples:\n  kvorum get colour\n  kvorum get colour --json\n  kvorum get colour --level eventual',
    )
    .action((key: string, flags: ReadFlags) =>
      withStore(globals(), async (store) => {
        const entry = await store.getEntry(key, readOptions(flags));
        if (entry === undefined) {
          process.exitCode = EXIT_ABSENT;
          if (globals().json) printJson(null);
          else note(`no key ${JSON.stringify(key)}`);
        } else if (globals().json) printJson(entryJson(entry));
        else if (process.stdout.isTTY) print(shown(entry.value));
        else {
          // As it is, for pipes and files; a newline only after text, as terminals' tools expect.
          const isText = !shown(entry.value).startsWith('base64:');
          process.stdout.write(entry.value);
          if (isText) process.stdout.write('\n');
        }
      }),
    );

  program
    .command('del')
    .description('delete a key; exit status 2 when there was none')
    .argument('<key>')
    .addHelpText('after', '\nExample:\n  kvorum del colour')
    .action((key: string) =>
      withStore(globals(), async (store) => {
        const { deleted, revision } = await store.delete(key);
        if (!deleted) process.exitCode = EXIT_ABSENT;
        if (globals().json) printJson({ key, deleted, revision });
        else print(deleted ? `deleted, revision ${revision}` : 'no such key');
      }),
    );

  program
    .command('scan')
    .description('print keys and values in order')
    .argument('[prefix]', 'only keys that begin so')
    .option('--start <key>', 'first key')
    .option('--end <key>', 'first key that is left out')
    .option('--reverse', 'last key first')
    .option('--limit <n>', 'at most so many')
    .option('--keys-only', 'no values')
    .option('--level <level>', LEVELS.join(', '), 'linearizable')
    .option('--revision <n>', 'read the store as of a past revision')
    .option(
      '--at-time <time>',
      'read the store as of a time: milliseconds, or a date such as 2026-05-01T12:00Z',
    )
    .addHelpText(
      'after',
      '\nExamples:\n  kvorum scan user/\n  kvorum scan --start a --end b --limit 10 --reverse',
    )
    .action((prefix: string | undefined, flags: ReadFlags & ScanFlags) =>
      withStore(globals(), async (store) => {
        const limit = flags.limit === undefined ? undefined : positiveInteger('--limit', flags.limit);
        const options: ScanOptions = {
          ...readOptions(flags),
          prefix,
          start: flags.start,
          end: flags.end,
          reverse: flags.reverse,
          limit,
          keysOnly: flags.keysOnly,
        };
        for await (const entry of store.scan(options)) {
          if (globals().json) printJson(entryJson(entry));
          else print(entryLine(entry));
        }
      }),
    );

  program
    .command('watch')
    .description('print changes as they happen, until Ctrl-C')
    .argument('[key]', 'the key; with --prefix, what keys begin with; left out: everything')
    .option('--prefix', 'watch all keys that begin with KEY')
    .option('--from <revision>', 'begin with the changes of this revision')
    .addHelpText('after', '\nExamples:\n  kvorum watch colour\n  kvorum watch user/ --prefix --from 1')
    .action((key: string | undefined, flags: { prefix?: boolean; from?: string }) => {
      if (flags.prefix && key === undefined) {
        throw new KvError('INVALID_ARGUMENT', '--prefix needs a KEY; without both everything is watched');
      }
      return withStore(globals(), async (store) => {
        const stop = new AbortController();
        process.once('SIGINT', () => stop.abort());
        const fromRevision = flags.from === undefined ? undefined : positiveInteger('--from', flags.from);
        const target: WatchOptions = flags.prefix ? { prefix: key } : { key };
        try {
          for await (const event of store.watch({ ...target, fromRevision, signal: stop.signal })) {
            if (globals().json) printJson(eventJson(event));
            else print(eventLine(event));
          }
        } catch (error) {
          if (!stop.signal.aborted) throw error;
        }
      });
    });
}

interface ScanFlags {
  start?: string;
  end?: string;
  reverse?: boolean;
  limit?: string;
  keysOnly?: boolean;
}

function readOptions(flags: ReadFlags): ReadCallOptions {
  const level = LEVELS.find((name) => name === flags.level);
  if (level === undefined) {
    throw new KvError(
      'INVALID_ARGUMENT',
      `--level is ${JSON.stringify(flags.level)}, allowed: ${LEVELS.join(', ')}`,
    );
  }
  const revision = flags.revision === undefined ? undefined : positiveInteger('--revision', flags.revision);
  const atTimeMs = flags.atTime === undefined ? undefined : timeOf(flags.atTime);
  return { level, revision, atTimeMs };
}

/** Milliseconds, or a date with a time; without a zone it is this machine's. @throws KvError INVALID_ARGUMENT */
export function timeOf(text: string): number {
  const timeMs = /^\d+$/.test(text) ? Number(text) : Date.parse(text);
  if (Number.isSafeInteger(timeMs) && timeMs >= 0) return timeMs;
  throw new KvError(
    'INVALID_ARGUMENT',
    `--at-time is ${JSON.stringify(text)}, allowed: milliseconds since 1970, or a date such as 2026-05-01T12:00Z`,
  );
}

/** Of an entry without a value the key alone. */
export function entryLine({ key, value }: KeyEntry<Uint8Array | undefined>): string {
  return value === undefined ? shown(key) : `${shown(key)}\t${shown(value)}`;
}

export function entryJson(entry: KeyEntry<Uint8Array | undefined>): Record<string, unknown> {
  const { key, value, createRevision, modRevision, version, expiresAtMs, lease } = entry;
  const shownValue = value === undefined ? undefined : shown(value);
  const numbers = { createRevision, modRevision, version, expiresAtMs };
  return { key: shown(key), value: shownValue, ...numbers, lease: lease?.toString() };
}

function eventJson({
  type,
  key,
  value,
  revision,
  createRevision,
  version,
}: WatchEvent): Record<string, unknown> {
  const shownValue = value === undefined ? undefined : shown(value);
  return { type, key: shown(key), value: shownValue, revision, createRevision, version };
}

function eventLine({ type, key, value, revision }: WatchEvent): string {
  return `${revision}\t${type}\t${shown(key)}${value === undefined ? '' : `\t${shown(value)}`}`;
}

async function standardInput(): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  return Buffer.concat(chunks);
}
