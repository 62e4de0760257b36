/**
 * `kvorum scan` and `kvorum count`: many keys at once.
 *
 * Keys in their own order are printed page by page, however many there are; those that are sorted or filtered come in one answer, which the nodes bound.
 */
import type { Command } from 'commander';
import type { KeyEntry, RangeOptions, RangeView, Store } from '../client/store_types.ts';
import { KvError } from '../errors.ts';
import { entryJson, entryLine } from './data_commands.ts';
import { type GlobalOptions, positiveInteger, withStore } from './endpoints.ts';
import { note, print, printJson } from './output.ts';
import { type ReadFlags, readOptions, withReadFlags } from './read_flags.ts';

interface SpanFlags extends ReadFlags {
  start?: string;
  end?: string;
}

interface ScanFlags extends SpanFlags {
  sortBy?: string;
  reverse?: boolean;
  limit?: string;
  keysOnly?: boolean;
  minModRevision?: string;
  maxModRevision?: string;
  minCreateRevision?: string;
  maxCreateRevision?: string;
}

/** What the sort can be by, in the words of --sort-by. */
const SORT_TARGETS: Readonly<Record<string, NonNullable<RangeView['sortTarget']>>> = {
  key: 'key',
  value: 'value',
  version: 'version',
  'create-revision': 'createRevision',
  'mod-revision': 'modRevision',
};

export function addRangeCommands(program: Command): void {
  const globals = (): GlobalOptions => program.opts<GlobalOptions>();

  withSpan(program.command('scan'))
    .description('print keys and values in order')
    .option('--sort-by <what>', Object.keys(SORT_TARGETS).join(', '), 'key')
    .option('--reverse', 'the last first')
    .option('--limit <n>', 'at most so many')
    .option('--keys-only', 'no values')
    .option('--min-mod-revision <n>', 'only keys that were last changed at this revision or later')
    .option('--max-mod-revision <n>', '... or earlier')
    .option('--min-create-revision <n>', 'only keys that were made at this revision or later')
    .option('--max-create-revision <n>', '... or earlier')
    .addHelpText(
      'after',
      '\nExamples:\n  kvorum scan user/\n  kvorum scan --start a --end b --limit 10 --reverse\n' +
        '  kvorum scan user/ --sort-by mod-revision --reverse --limit 5   what was changed last',
    )
    .action((prefix: string | undefined, flags: ScanFlags) =>
      withStore(globals(), async (store) => {
        const show = (entry: KeyEntry<Uint8Array | undefined>): void =>
          globals().json ? printJson(entryJson(entry)) : print(entryLine(entry));
        for await (const entry of entriesOf(store, spanOf(prefix, flags), flags)) show(entry);
      }),
    );

  withSpan(program.command('count'))
    .description('print how many keys there are')
    .addHelpText('after', '\nExamples:\n  kvorum count\n  kvorum count user/')
    .action((prefix: string | undefined, flags: SpanFlags) =>
      withStore(globals(), async (store) => {
        const count = await store.count(spanOf(prefix, flags));
        if (globals().json) printJson({ count });
        else print(String(count));
      }),
    );
}

function withSpan(command: Command): Command {
  return withReadFlags(
    command
      .argument('[prefix]', 'only keys that begin so')
      .option('--start <key>', 'first key')
      .option('--end <key>', 'first key that is left out'),
  );
}

/** @throws KvError INVALID_ARGUMENT */
function spanOf(prefix: string | undefined, flags: SpanFlags): RangeOptions {
  return { ...readOptions(flags), prefix, start: flags.start, end: flags.end };
}

async function* entriesOf(
  store: Store,
  span: RangeOptions,
  flags: ScanFlags,
): AsyncGenerator<KeyEntry<Uint8Array | undefined>, void, undefined> {
  const { reverse = false, keysOnly = false } = flags;
  const limit = numberOf('--limit', flags.limit);
  const view: RangeView = {
    sortTarget: sortTargetOf(flags.sortBy),
    minModRevision: numberOf('--min-mod-revision', flags.minModRevision),
    maxModRevision: numberOf('--max-mod-revision', flags.maxModRevision),
    minCreateRevision: numberOf('--min-create-revision', flags.minCreateRevision),
    maxCreateRevision: numberOf('--max-create-revision', flags.maxCreateRevision),
  };
  const { sortTarget, ...filters } = view;
  if (sortTarget === 'key' && Object.values(filters).every((filter) => filter === undefined)) {
    yield* store.scan({ ...span, reverse, limit, keysOnly });
    return;
  }
  const sortOrder = reverse ? 'descend' : 'ascend';
  const { entries, more } = await store.range({ ...span, ...view, sortOrder, limit, keysOnly });
  yield* entries;
  // More than one answer holds: the limit that was asked for says nothing of it.
  if (more && entries.length !== limit) note('there are more: an answer holds no more than these');
}

function numberOf(name: string, text: string | undefined): number | undefined {
  return text === undefined ? undefined : positiveInteger(name, text);
}

/** @throws KvError INVALID_ARGUMENT */
function sortTargetOf(text = 'key'): NonNullable<RangeView['sortTarget']> {
  const target = Object.hasOwn(SORT_TARGETS, text) ? SORT_TARGETS[text] : undefined;
  if (target !== undefined) return target;
  throw new KvError(
    'INVALID_ARGUMENT',
    `--sort-by is ${JSON.stringify(text)}, allowed: ${Object.keys(SORT_TARGETS).join(', ')}`,
  );
}
