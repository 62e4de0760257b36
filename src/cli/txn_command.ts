/**
 * `kvorum txn`: a compare-and-set transaction from words.
 *
 *     condition := 'value' KEY RELATION VALUE | ('version' | 'create' | 'mod') KEY RELATION NUMBER | 'exists' KEY | 'missing' KEY
 *     operation := 'put' KEY VALUE | 'del' KEY | 'get' KEY
 *     RELATION  := = | != | < | >
 *
 * A word with spaces stands in double or single quotes; a backslash takes the next character as it is.
 */
import type { Command } from 'commander';
import type { TxnCompare, TxnOperation } from '../client/store_types.ts';
import { KvError } from '../errors.ts';
import { entryJson } from './data_commands.ts';
import { type GlobalOptions, positiveInteger, withStore } from './endpoints.ts';
import { EXIT_ABSENT, print, printJson, shown } from './output.ts';

const RELATIONS = ['=', '!=', '<', '>'] as const;

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
Conditions: 'value KEY = VALUE'  'version KEY > N'  'create KEY = N'  'mod KEY = N'  'exists KEY'  'missing KEY'   (= != < >)
Operations: 'put KEY VALUE'  'del KEY'  'get KEY'

Examples:
  kvorum txn --if 'missing lock' --then 'put lock me' --else 'get lock'
  kvorum txn --if 'value stock = 5' --then 'put stock 4' --then 'put sold "1 piece"'`,
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
        if (globals.json) {
          const shownResults = results.map((result) =>
            result.type === 'get' ? { type: 'get', entry: result.entry && entryJson(result.entry) } : result,
          );
          printJson({ succeeded, revision, results: shownResults });
          return;
        }
        print(succeeded ? `done, revision ${revision}` : `conditions did not hold, revision ${revision}`);
        for (const result of results) {
          if (result.type !== 'get') continue;
          print(
            result.entry === undefined
              ? '(no such key)'
              : `${shown(result.entry.key)}\t${shown(result.entry.value)}`,
          );
        }
      });
    });
}

export function parseCondition(text: string): TxnCompare {
  const words = splitWords(text);
  const [target, key, relation, operand] = words;
  const wrong = (): KvError =>
    new KvError('INVALID_ARGUMENT', `--if ${JSON.stringify(text)} is not a condition; see kvorum txn --help`);
  if (key === undefined) throw wrong();
  if (words.length === 2 && target === 'exists') return { key, exists: true };
  if (words.length === 2 && target === 'missing') return { key, exists: false };
  const is = RELATIONS.find((known) => known === relation);
  if (words.length !== 4 || is === undefined || operand === undefined) throw wrong();
  if (target === 'value') return { key, value: operand, is };
  const number = positiveInteger('--if', operand, 0);
  if (target === 'version') return { key, version: number, is };
  if (target === 'create') return { key, createRevision: number, is };
  if (target === 'mod') return { key, modRevision: number, is };
  throw wrong();
}

export function parseOperation(text: string): TxnOperation {
  const words = splitWords(text);
  const [verb, key, value] = words;
  if (key !== undefined && verb === 'put' && value !== undefined && words.length === 3)
    return { type: 'put', key, value };
  if (key !== undefined && verb === 'del' && words.length === 2) return { type: 'delete', key };
  if (key !== undefined && verb === 'get' && words.length === 2) return { type: 'get', key };
  throw new KvError('INVALID_ARGUMENT', `${JSON.stringify(text)} is not an operation; see kvorum txn --help`);
}

/** Words as a shell would split them, without its expansions. */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = '';
  for (let i = 0; i < text.length; i++) {
    const character = text[i]!;
    if (character === '\\' && i + 1 < text.length) word = (word ?? '') + text[++i]!;
    else if (quote !== '') {
      if (character === quote) quote = '';
      else word += character;
    } else if (character === '"' || character === "'") {
      quote = character;
      word ??= '';
    } else if (/\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? '') + character;
  }
  if (quote !== '') throw new KvError('INVALID_ARGUMENT', `${JSON.stringify(text)}: a quote is not closed`);
  if (word !== undefined) words.push(word);
  return words;
}
