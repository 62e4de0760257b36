/** `kvorum put get del watch`: reading and writing data from the command line. */
import type { Command } from 'commander';
import type { KeyEntry, WatchEvent, WatchOptions } from '../client/store_types.ts';
import { KvError } from '../errors.ts';
import { type GlobalOptions, positiveInteger, withStore } from './endpoints.ts';
import { leaseOf } from './lease_commands.ts';
import { EXIT_ABSENT, note, print, printJson, shown } from './output.ts';
import { type ReadFlags, readOptions, withReadFlags } from './read_flags.ts';

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

  withReadFlags(program.command('get'))
    .description("print a key's value; exit status 2 when there is no such key")
    .argument('<key>')
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
