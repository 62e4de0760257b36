/** Options that every command that reads has: how fresh the answer must be, and which past it shows. */
import type { Command } from 'commander';
import type { ReadCallOptions } from '../client/store_types.ts';
import { KvError } from '../errors.ts';
import { positiveInteger } from './endpoints.ts';

export interface ReadFlags {
  level?: string;
  revision?: string;
  atTime?: string;
}

const LEVELS = ['linearizable', 'sequential', 'eventual'] as const;

export function withReadFlags(command: Command): Command {
  return command
    .option('--level <level>', LEVELS.join(', '), 'linearizable')
    .option('--revision <n>', 'read the store as of a past revision')
    .option(
      '--at-time <time>',
      'read the store as of a time: milliseconds, or a date such as 2026-05-01T12:00Z',
    );
}

/** @throws KvError INVALID_ARGUMENT */
export function readOptions(flags: ReadFlags): ReadCallOptions {
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
function timeOf(text: string): number {
  const timeMs = /^\d+$/.test(text) ? Number(text) : Date.parse(text);
  if (Number.isSafeInteger(timeMs) && timeMs >= 0) return timeMs;
  throw new KvError(
    'INVALID_ARGUMENT',
    `--at-time is ${JSON.stringify(text)}, allowed: milliseconds since 1970, or a date such as 2026-05-01T12:00Z`,
  );
}
