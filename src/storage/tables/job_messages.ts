/**
 * What the thread that writes tables and the one that orders them say to each other (worker_runner.ts, job_worker.ts), and how errors cross.
 *
 * Invariant: an error arrives with its class (KvError, DiskError), code, message and details; of anything else the message arrives.
 */
import { ERROR_CODES, type ErrorCode, KvError } from '../../errors.ts';
import { DiskError, type DiskErrorCode } from '../disk.ts';
import type { TableInfo } from './format.ts';
import type { FlushJob, MergeJob } from './job_runner.ts';

export type ToWorker =
  | { readonly type: 'flush'; readonly id: number; readonly job: FlushJob }
  | { readonly type: 'merge'; readonly id: number; readonly job: MergeJob }
  /** The bytes that a merge asked for may be handled. */
  | { readonly type: 'granted'; readonly id: number }
  | { readonly type: 'cancel'; readonly id: number }
  | { readonly type: 'close' };

export type FromWorker =
  | { readonly type: 'take'; readonly id: number; readonly bytes: number }
  | { readonly type: 'done'; readonly id: number; readonly tables: readonly TableInfo[] }
  | { readonly type: 'failed'; readonly id: number; readonly error: PlainError };

type Details = Readonly<Record<string, string | number | boolean>>;

export type PlainError =
  | {
      readonly kind: 'kv';
      readonly code: ErrorCode;
      readonly message: string;
      readonly details: Details;
      readonly cause: PlainError | undefined;
    }
  | {
      readonly kind: 'disk';
      readonly code: DiskErrorCode;
      readonly path: string;
      readonly message: string;
      readonly cause: PlainError | undefined;
    }
  | { readonly kind: 'other'; readonly message: string };

/** Chains of causes are followed so far. */
const MAX_CAUSES = 4;

export function plainError(error: unknown, causes = MAX_CAUSES): PlainError {
  const cause =
    error instanceof Error && error.cause !== undefined && causes > 0
      ? plainError(error.cause, causes - 1)
      : undefined;
  if (error instanceof KvError && error.code in ERROR_CODES) {
    const { code, message, details } = error;
    return { kind: 'kv', code, message, details, cause };
  }
  if (error instanceof DiskError) {
    const { code, path, message } = error;
    return { kind: 'disk', code, path, message, cause };
  }
  return { kind: 'other', message: error instanceof Error ? (error.stack ?? error.message) : String(error) };
}

export function errorOf(plain: PlainError): Error {
  if (plain.kind === 'other') return new KvError('INTERNAL', plain.message);
  const cause = plain.cause === undefined ? undefined : errorOf(plain.cause);
  if (plain.kind === 'disk') return new DiskError(plain.code, plain.path, plain.message, cause);
  return new KvError(plain.code, plain.message, { details: plain.details, cause });
}
