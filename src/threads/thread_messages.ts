/**
 * What a store and the worker thread of one of its readers tell each other beside the mailbox: which code to run, and what came of it.
 *
 * A KvError loses its class and its fields on the way between threads, so it travels as plain values.
 */
import { type ErrorCode, KvError } from '../errors.ts';
import type { ReaderHandle } from './mailbox.ts';

/** To the worker, at its start. */
export interface WorkerStart {
  readonly handle: ReaderHandle;
}

/** To the worker. */
export interface RunMessage {
  readonly id: number;
  /** Absolute: a file: or data: URL. */
  readonly moduleUrl: string;
  readonly args: unknown;
}

/** From the worker. */
export type RunOutcome =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly kvError: PlainKvError }
  | { readonly id: number; readonly error: unknown };

export interface PlainKvError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly maybeApplied: boolean;
  readonly details: KvError['details'];
  readonly stack: string | undefined;
}

export function plainOf({ code, message, maybeApplied, details, stack }: KvError): PlainKvError {
  return { code, message, maybeApplied, details, stack };
}

export function kvErrorOf({ code, message, maybeApplied, details, stack }: PlainKvError): KvError {
  const error = new KvError(code, message, { maybeApplied, details });
  if (stack !== undefined) error.stack = stack;
  return error;
}
