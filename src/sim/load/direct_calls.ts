/**
 * Calls that the Store has no words for: leases, nested transactions, ranges with all their options, compaction. They go past it over the same channel, with a session of their own, as
 * commands of the store.
 */
import type { Channel } from '../../client/channel.ts';
import type { StoreCore } from '../../client/store_core.ts';
import { KvError } from '../../errors.ts';
import type {
  Command,
  CommandResult,
  Compare,
  Operation,
  OperationResult,
  RangeSelection,
  WriteId,
} from '../../kv/command.ts';
import { storedKey, userKey } from '../../kv/keyspace.ts';
import type { StoredRecord } from '../../storage/record.ts';
import { encodeCommand } from '../../wire/command_codec.ts';
import type { OperationRecord, Step, StepResult } from '../check/observations.ts';
import type {
  CompareAsked,
  Entry,
  RangeAsked,
  TxnAnswer,
  TxnAsked,
  TxnStepAnswer,
  TxnStepAsked,
} from '../check/reference_txn.ts';
import { tokenOf, valueBytes } from './values.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const NOTHING = new Uint8Array(0);

export interface LeaseAsker {
  /** Gives a lease its time anew, and tells it; 0: there is none. @throws KvError */
  keepAlive(lease: bigint, timeoutMs: number): Promise<number>;
  /** What is left of its time; -1: there is none. @throws KvError */
  remaining(lease: bigint, timeoutMs: number): Promise<number>;
}

export interface DirectCallsOptions {
  /** Over the channel that is overheard. */
  readonly core: StoreCore;
  readonly channel: Channel;
  readonly leases: LeaseAsker;
}

export class DirectCalls {
  readonly #core: StoreCore;
  readonly #channel: Channel;
  readonly #leases: LeaseAsker;

  constructor({ core, channel, leases }: DirectCallsOptions) {
    this.#core = core;
    this.#channel = channel;
    this.#leases = leases;
  }

  /** @throws KvError */
  async carryOut(operation: OperationRecord, timeoutMs: number): Promise<StepResult[]> {
    const { nested } = operation;
    const step = operation.steps[0];
    if (nested !== undefined) {
      nested.answer =
        operation.kind === 'range'
          ? await this.#range(operation, nested.asked, timeoutMs)
          : await this.#txn(nested.asked, timeoutMs);
      const taken: Step[] = [];
      const results: StepResult[] = [];
      takenOf(nested.asked, nested.answer, taken, results);
      operation.taken = taken;
      operation.succeeded = nested.answer.succeeded;
      return results;
    }
    switch (step?.type) {
      case 'put': {
        await this.#run((id) => ({ type: 'write', id, operation: putOf(step) }), timeoutMs);
        return [{ type: 'put' }];
      }
      case 'grant': {
        const result = await this.#run(
          (id) => ({ type: 'leaseGrant', id, lease: 0n, ttlMs: step.ttlMs }),
          timeoutMs,
        );
        if (result.type !== 'lease') throw unexpected(result);
        return [{ type: 'lease', lease: String(result.lease), ttlMs: result.ttlMs }];
      }
      case 'revoke':
        await this.#run((id) => ({ type: 'leaseRevoke', id, lease: BigInt(step.lease) }), timeoutMs);
        return [{ type: 'done' }];
      case 'keepAlive': {
        const ttlMs = await this.#leases.keepAlive(BigInt(step.lease), timeoutMs);
        return [{ type: 'lease', lease: step.lease, ttlMs }];
      }
      case 'look': {
        const remainingMs = await this.#leases.remaining(BigInt(step.lease), timeoutMs);
        return [{ type: 'look', lease: step.lease, remainingMs }];
      }
      case 'compact': {
        const command = encodeCommand({ type: 'compact', revision: step.revision });
        const result = await this.#channel.write(command, { timeoutMs });
        if (result.type === 'failed') throw new KvError(result.code, result.message);
        return [{ type: 'done' }];
      }
      default:
        throw new Error(`no call for a ${step?.type}`);
    }
  }

  async #run(make: (id: WriteId) => Command, timeoutMs: number): Promise<CommandResult> {
    const result = await this.#core.run(make, { timeoutMs });
    if (result.type === 'failed') throw new KvError(result.code, result.message);
    return result;
  }

  async #txn(asked: TxnAsked, timeoutMs: number): Promise<TxnAnswer> {
    const result = await this.#run((id) => ({ type: 'txn', id, ...txnOf(asked) }), timeoutMs);
    if (result.type !== 'txn') throw unexpected(result);
    return answerOf(result);
  }

  async #range(operation: OperationRecord, asked: TxnAsked, timeoutMs: number): Promise<TxnAnswer> {
    const [step] = asked.success;
    if (step?.type !== 'range') throw new Error('a range asks for one');
    const { level, seenRevision } = operation;
    const { records, more, count } = await this.#channel.range(
      {
        ...selectionOf(step),
        key: keyBytes(step.key),
        end: step.end === undefined ? undefined : keyBytes(step.end),
        level,
        minRevision: level === 'sequential' ? seenRevision : 0,
        revision: step.revision,
        maxBytes: 0,
      },
      { timeoutMs },
    );
    return { succeeded: true, results: [{ type: 'range', entries: records.map(entryOf), more, count }] };
  }
}

/** The writes of every branch, for a record of what may happen. */
export function writesOf({ success, failure }: TxnAsked): Step[] {
  return [...success, ...failure].flatMap((step) => (step.type === 'txn' ? writesOf(step) : stepOf(step)));
}

function stepOf(step: Exclude<TxnStepAsked, { type: 'txn' }>): Step[] {
  if (step.type === 'range') return [];
  const { key } = step;
  if (step.type === 'delete')
    return [
      step.end === undefined ? { type: 'delete', key } : { type: 'deleteRange', start: key, end: step.end },
    ];
  const { value, lease } = step;
  return [{ type: 'put', key, value, ttlMs: 0, lease: lease === '0' ? undefined : lease }];
}

function takenOf(asked: TxnAsked, answer: TxnAnswer, steps: Step[], results: StepResult[]): void {
  const branch = answer.succeeded ? asked.success : asked.failure;
  for (let at = 0; at < branch.length; at++) {
    const step = branch[at]!;
    const result = answer.results[at];
    if (step.type === 'txn') {
      if (result?.type === 'txn') takenOf(step, result, steps, results);
      continue;
    }
    steps.push(...stepOf(step));
    if (result?.type === 'put') results.push({ type: 'put' });
    if (result?.type === 'delete') results.push({ type: 'delete', deleted: result.deleted });
  }
}

function putOf({
  key,
  value,
  ttlMs,
  lease,
}: Extract<Step, { type: 'put' }>): Extract<Operation, { type: 'put' }> {
  return {
    type: 'put',
    key: keyBytes(key),
    value: valueBytes(value),
    ttlMs,
    lease: BigInt(lease ?? 0),
    prevKv: false,
    ignoreValue: false,
    ignoreLease: false,
  };
}

function txnOf({ compares, success, failure }: TxnAsked): {
  compares: Compare[];
  success: Operation[];
  failure: Operation[];
} {
  return {
    compares: compares.map(compareOf),
    success: success.map(operationOf),
    failure: failure.map(operationOf),
  };
}

function operationOf(step: TxnStepAsked): Operation {
  switch (step.type) {
    case 'txn':
      return { type: 'txn', ...txnOf(step) };
    case 'put': {
      const { key, value, lease, prevKv } = step;
      return { ...putOf({ type: 'put', key, value, ttlMs: 0, lease }), prevKv };
    }
    case 'delete': {
      const end = step.end === undefined ? undefined : keyBytes(step.end);
      return { type: 'delete', key: keyBytes(step.key), end, prevKv: step.prevKv };
    }
    case 'range': {
      const end = step.end === undefined ? undefined : keyBytes(step.end);
      return { ...selectionOf(step), type: 'range', key: keyBytes(step.key), end, revision: step.revision };
    }
  }
}

function selectionOf(asked: RangeAsked): RangeSelection {
  const { limit, sortTarget, sortOrder, keysOnly, countOnly, counted } = asked;
  const { minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = asked;
  return {
    limit,
    sortTarget,
    sortOrder,
    keysOnly,
    countOnly,
    counted,
    minModRevision,
    maxModRevision,
    minCreateRevision,
    maxCreateRevision,
  };
}

function compareOf({ target, relation, key, end, operand }: CompareAsked): Compare {
  const isNumber = target !== 'value' && target !== 'lease';
  return {
    target,
    result: relation,
    key: keyBytes(key),
    end: end === undefined ? undefined : keyBytes(end),
    value: target === 'value' ? valueBytes(String(operand)) : NOTHING,
    lease: target === 'lease' ? BigInt(operand) : 0n,
    number: isNumber ? Number(operand) : 0,
  };
}

function answerOf({ succeeded, results }: Extract<OperationResult, { type: 'txn' }>): TxnAnswer {
  return { succeeded, results: results.map(stepAnswerOf) };
}

function stepAnswerOf(result: OperationResult): TxnStepAnswer {
  switch (result.type) {
    case 'put':
      return { type: 'put', previous: result.previous === undefined ? undefined : entryOf(result.previous) };
    case 'delete':
      return { type: 'delete', deleted: result.deleted, previous: result.previous.map(entryOf) };
    case 'range': {
      const { records, more, count } = result;
      return { type: 'range', entries: records.map(entryOf), more, count };
    }
    case 'txn':
      return { type: 'txn', ...answerOf(result) };
    case 'touch':
      throw new Error('nobody asked for a touch');
  }
}

function entryOf({ key, value, createRevision, modRevision, version, lease }: StoredRecord): Entry {
  return {
    key: decoder.decode(userKey(key)),
    value: value.length === 0 ? '' : tokenOf(value),
    createRevision,
    modRevision,
    version,
    lease: String(lease),
  };
}

function keyBytes(key: string): Uint8Array {
  return storedKey(encoder.encode(key));
}

function unexpected({ type }: CommandResult): KvError {
  return new KvError('PROTOCOL', `unexpected result '${type}'`, { maybeApplied: true });
}
