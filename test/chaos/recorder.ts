/**
 * What the clients of a round asked and were told, as they learn it.
 *
 * Values are unique and tell their own length, so that one that was damaged or cut on its way shows. Times are those of this process's monotonic clock, placed where the wall clock
 * was when the round began, so that they compare with times to live: an operation is noted before anything is sent and settled after its answer is here, so the interval is never too short.
 */
import type { KeyEntry } from '../../src/client/store_types.ts';
import { KvError } from '../../src/errors.ts';
import type { EntrySeen, OperationRecord, WatcherRecord } from '../../src/sim/check/observations.ts';

type Asked = Pick<OperationRecord, 'client' | 'kind'> &
  Partial<
    Pick<OperationRecord, 'compares' | 'steps' | 'elseSteps' | 'level' | 'atRevision' | 'seenRevision'>
  >;
type Told = Pick<OperationRecord, 'revision' | 'results'> & Partial<Pick<OperationRecord, 'succeeded'>>;

/** Failures that say nothing of a mistake, only of a fault on the way. */
const PASSING = new Set(['CANCELLED', 'CLOSED', 'SESSION_EXPIRED', 'COMPACTED', 'FUTURE_REVISION']);

export class Recorder {
  readonly operations: OperationRecord[] = [];
  readonly watchers: WatcherRecord[] = [];
  readonly failures: string[] = [];
  /** Wall clock less monotonic clock when the round began. */
  readonly #wallMs = Date.now() - performance.now();
  #values = 0;

  /** Wall-clock milliseconds as of the beginning of the round, going on monotonically. */
  now(): number {
    return this.#wallMs + performance.now();
  }

  /** A value that nobody has put before, padded to a length. */
  value(sizeBytes: number): { readonly name: string; readonly text: string } {
    const text = `v${++this.#values}/${sizeBytes}/`;
    return { name: text, text: text.padEnd(sizeBytes, '.') };
  }

  begin(asked: Asked): OperationRecord {
    const operation: OperationRecord = {
      id: this.operations.length,
      invokedMs: this.now(),
      settledMs: Number.POSITIVE_INFINITY,
      outcome: 'info',
      errorCode: undefined,
      revision: 0,
      writeIds: [],
      compares: [],
      steps: [],
      elseSteps: [],
      succeeded: true,
      results: [],
      level: 'linearizable',
      atRevision: 0,
      seenRevision: 0,
      ...asked,
    };
    this.operations.push(operation);
    return operation;
  }

  ok(operation: OperationRecord, told: Told): void {
    operation.settledMs = this.now();
    operation.outcome = 'ok';
    operation.revision = told.revision;
    operation.results = told.results;
    operation.succeeded = told.succeeded ?? true;
  }

  /** An error: a fault explains it, or it is a finding. */
  failed(operation: OperationRecord, error: unknown): void {
    operation.settledMs = this.now();
    if (!(error instanceof KvError)) {
      this.failures.push(
        `${operation.client}: a call failed with ${error instanceof Error ? error.stack : error}`,
      );
      return;
    }
    operation.errorCode = error.code;
    operation.outcome = error.maybeApplied ? 'info' : 'fail';
    if (!error.retryable && !PASSING.has(error.code))
      this.failures.push(
        `${operation.client}: ${operation.kind} failed with ${error.code}: ${error.message}`,
      );
  }

  entry({ key, value, createRevision, modRevision, version, expiresAtMs }: KeyEntry): EntrySeen {
    const name = this.name(value);
    return {
      key: Buffer.from(key).toString(),
      value: name,
      createRevision,
      modRevision,
      version,
      expiresAtMs: expiresAtMs ?? 0,
    };
  }

  /** The name of a value; a damaged one is a failure. */
  name(value: Uint8Array | string): string {
    const text = typeof value === 'string' ? value : Buffer.from(value).toString();
    const match = /^(v\d+\/(\d+)\/)(\.*)$/.exec(text);
    if (match !== null && text.length === Math.max(Number(match[2]), match[1]!.length)) return match[1]!;
    this.failures.push(`a value is not as it was put: ${text.length} bytes, ${text.slice(0, 100)}`);
    return text.slice(0, 100);
  }
}
