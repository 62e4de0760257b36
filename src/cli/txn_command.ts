/** `kvorum txn`: a transaction from words (txn_words.ts). */
import type { Command } from 'commander';
import type { KeyEntry, TxnOperationResult } from '../client/store_types.ts';
import { KvError } from '../errors.ts';
import { entryJson, entryLine } from './data_commands.ts';
import { type GlobalOptions, withStore } from './endpoints.ts';
import { EXIT_ABSENT, print, printJson } from './output.ts';
import { parseCondition, parseOperation } from './txn_words.ts';

interface TxnFlags {
  if: string[];
  then: string[];
  else: string[];
}

export function addTxn(program: Command): void {
  const collect = (value: string, all: string[]): string[] => [...all, value];
  program
    .command('txn')
    .description('compare, then write, at one revision; exit status 2 when the conditions did not hold')
    .option('--if <condition>', 'may be given several times: all must hold', collect, [])
    .option('--then <operation>', 'done when they hold; may be given several times', collect, [])
    .option('--else <operation>', 'done when they do not', collect, [])
    .addHelpText(
      'after',
      `
Conditions   'value KEY = VALUE'  'version KEY > N'  'create KEY = N'  'mod KEY = N'  'lease KEY = ID'  'exists KEY'  'missing KEY'   (= != < >)
             'prefix PREFIX' or 'range KEY END' in place of KEY: true for each of these keys
Operations   'put KEY VALUE'  'keep KEY' (a put that keeps the value); with: prev, keep-lease, ttl=MILLISECONDS
             'get KEY'  'touch KEY MILLISECONDS'  'del KEY'  'del-prefix PREFIX'  'del-range KEY END'; with: prev
             'get-prefix PREFIX'  'get-range KEY END'; with: limit=N, keys, count, counted, descend, sort=key|version|create|mod|value,
             min-mod=N, max-mod=N, min-create=N, max-create=N, revision=N
             'txn if "CONDITION" then "OPERATION" else "OPERATION"': one within the other

Examples:
  kvorum txn --if 'missing lock' --then 'put lock me' --else 'get lock'
  kvorum txn --if 'value stock = 5' --then 'put stock 4 prev' --then 'put sold "1 piece"'
  kvorum txn --if 'missing prefix jobs/' --then 'txn if "exists owner" then "del owner prev"' --else 'get-prefix jobs/ limit=1'`,
    )
    .action((flags: TxnFlags) => {
      const globals = program.opts<GlobalOptions>();
      if (flags.then.length + flags.else.length === 0) {
        throw new KvError('INVALID_ARGUMENT', 'nothing to do: give --then or --else; see kvorum txn --help');
      }
      const request = {
        compare: flags.if.map(parseCondition),
        then: flags.then.map(parseOperation),
        else: flags.else.map(parseOperation),
      };
      return withStore(globals, async (store) => {
        const { succeeded, revision, results } = await store.txn(request);
        if (!succeeded) process.exitCode = EXIT_ABSENT;
        if (globals.json) return printJson({ succeeded, revision, results: results.map(resultJson) });
        print(succeeded ? `done, revision ${revision}` : `conditions did not hold, revision ${revision}`);
        for (const line of results.flatMap((result) => resultLines(result))) print(line);
      });
    });
}

/** What a result says beside that it was done. */
export function resultLines(result: TxnOperationResult): string[] {
  switch (result.type) {
    case 'put':
      return result.previous === undefined ? [] : [`was\t${entryLine(result.previous)}`];
    case 'delete':
      return [
        `deleted ${result.deleted}`,
        ...(result.previous ?? []).map((entry) => `was\t${entryLine(entry)}`),
      ];
    case 'touch':
      return [result.found ? 'touched' : '(no such key)'];
    case 'get':
      return [result.entry === undefined ? '(no such key)' : entryLine(result.entry)];
    case 'range': {
      const { entries, more, count } = result;
      const rest = more || count > entries.length ? [`(of ${count})`] : [];
      return [...entries.map(entryLine), ...rest];
    }
    case 'txn': {
      const head = result.succeeded ? 'txn: done' : 'txn: conditions did not hold';
      return [head, ...result.results.flatMap((one) => resultLines(one)).map((line) => `  ${line}`)];
    }
  }
}

function resultJson(result: TxnOperationResult): Record<string, unknown> {
  const shown = (entry: KeyEntry | undefined) => entry && entryJson(entry);
  switch (result.type) {
    case 'put':
      return { ...result, previous: shown(result.previous) };
    case 'delete':
      return { ...result, previous: result.previous?.map(entryJson) };
    case 'get':
      return { ...result, entry: shown(result.entry) };
    case 'range':
      return { ...result, entries: result.entries.map(entryJson) };
    case 'txn':
      return { ...result, results: result.results.map(resultJson) };
    case 'touch':
      return { ...result };
  }
}
