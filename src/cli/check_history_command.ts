/**
 * `kvorum check-history`: is a recorded history linearizable?
 *
 * Exit status 0: it is; 1: it is not; 2: that could not be decided within the limits, or the file could not be read. On a violation the picture is written as
 * HTML beside the file, or where --html says.
 */
import { closeSync, fstatSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { KvError } from '../errors.ts';
import type { CheckResult } from '../sim/check/check_result.ts';
import type { GlobalOptions } from './endpoints.ts';
import { note, print, printJson } from './output.ts';

const EXIT_STATUS = { linearizable: 0, 'not linearizable': 1, undecided: 2 } as const;
const EXIT_UNDECIDED = 2;
const STANDARD_INPUT = 0;
const MAX_FILE_BYTES = 512 * 1024 * 1024;

interface Flags {
  readonly model?: string;
  readonly timeLimit: string;
  /** A path, or false for --no-html. */
  readonly html?: string | boolean;
}

export function addCheckHistory(program: Command): void {
  program
    .command('check-history')
    .description('is a recorded history of operations linearizable? (docs/formats/history.md)')
    .argument('<file>', 'the history, as JSON lines; - for standard input')
    .option('--model <model>', 'register, cas-register, kv or txn (default: what the operations are)')
    .option('--time-limit <seconds>', 'how long to search before the verdict is "undecided"', '60')
    .option('--html <file>', 'where to draw a violation (default: <file>.html)')
    .option('--no-html', 'draw nothing')
    .addHelpText(
      'after',
      `
Exit status: 0 linearizable, 1 not linearizable, 2 undecided or unreadable.

Examples:
  kvorum check-history history.jsonl
  kvorum check-history history.jsonl --model cas-register --html violation.html`,
    )
    // A mistake on the command line is no verdict.
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : EXIT_UNDECIDED))
    .action(async (file: string, flags: Flags) => {
      const json = program.opts<GlobalOptions>().json === true;
      try {
        process.exitCode = EXIT_STATUS[await check(file, flags, json)];
      } catch (error) {
        process.exitCode = EXIT_UNDECIDED;
        report(error, file, json);
      }
    });
}

async function check(file: string, flags: Flags, json: boolean): Promise<CheckResult['verdict']> {
  const seconds = Number(flags.timeLimit);
  if (!(seconds > 0) || !Number.isFinite(seconds))
    throw new KvError('INVALID_ARGUMENT', `--time-limit is ${flags.timeLimit}, allowed: seconds above 0`);
  // Loaded here: the other commands need nothing of it.
  const [
    { checkHistory },
    { parseHistory },
    { resultText, sceneOfResult },
    { pictureHtml },
    { MODEL_NAMES },
  ] = await Promise.all([
    import('../sim/check/linearizability.ts'),
    import('../sim/check/history.ts'),
    import('../sim/check/report.ts'),
    import('../sim/check/picture.ts'),
    import('../sim/check/models.ts'),
  ]);
  if (flags.model !== undefined && !MODEL_NAMES.includes(flags.model))
    throw new KvError('INVALID_ARGUMENT', `--model is ${flags.model}, allowed: ${MODEL_NAMES.join(', ')}`);
  const now = (): number => performance.now();
  const result = checkHistory(parseHistory(readText(file)), {
    model: flags.model,
    timeLimitMs: seconds * 1000,
    now,
    maxSteps: Number.MAX_SAFE_INTEGER,
  });
  if (json) printJson(forJson(result));
  else print(resultText(result));
  const scene = sceneOfResult(result);
  const target = typeof flags.html === 'string' ? flags.html : file === '-' ? undefined : `${file}.html`;
  if (scene !== undefined && flags.html !== false && target !== undefined)
    writePicture(target, pictureHtml(scene));
  return result.verdict;
}

function readText(file: string): string {
  const descriptor = file === '-' ? STANDARD_INPUT : openSync(file, 'r');
  try {
    const { size } = fstatSync(descriptor);
    if (size > MAX_FILE_BYTES)
      throw new KvError('INVALID_ARGUMENT', `is ${size} bytes long, allowed: ${MAX_FILE_BYTES}`);
    return readFileSync(descriptor, 'utf8');
  } finally {
    if (descriptor !== STANDARD_INPUT) closeSync(descriptor);
  }
}

/** The verdict stands whether or not there is room for its picture. */
function writePicture(target: string, html: string): void {
  try {
    writeFileSync(target, html);
    note(`picture: ${target}`);
  } catch (error) {
    note(`kvorum: the picture could not be written: ${error instanceof Error ? error.message : error}`);
  }
}

/** Infinity is not JSON: an operation without an end has none. */
function forJson(result: CheckResult): object {
  return JSON.parse(JSON.stringify(result));
}

function report(error: unknown, file: string, json: boolean): void {
  const name = file === '-' ? 'standard input' : file;
  const isKnown = error instanceof KvError || (error instanceof Error && 'syscall' in error);
  const message =
    error instanceof Error ? (isKnown ? error.message : (error.stack ?? error.message)) : `${error}`;
  const text = `${name}: ${message}`;
  if (!json) return note(`kvorum: ${text}`);
  const details = error instanceof KvError ? error.details : {};
  note(
    JSON.stringify({
      error: { code: error instanceof KvError ? error.code : 'INTERNAL', message: text, details },
    }),
  );
}
