/**
 * What a command will read, so that the shell can bring it into memory before the command is applied.
 *
 * Invariant: names at least everything that StateMachine.apply asks the engine for, in whatever branch it takes. How far into a range it will look, and whether at values, is what
 * may be expected: earlier commands of the same entry can change it, and what was not brought is then read in apply.
 */
import type { KeyVersion, LoadRange, LoadRequest } from '../storage/engine_port.ts';
import type { Command, DeleteOp, Operation, PlainCommand, RangeOp, TxnBody } from './command.ts';
import { leaseRows, namingRows } from './lease_rows.ts';
import { feedsReverse, looksAtAll, needsNoValues } from './range_selection.ts';

const NOTHING: LoadRequest = { keys: [], ranges: [] };
const NO_RANGES: readonly LoadRange[] = [];

export class LoadPlanner {
  /** The request for a single key, used again for every such command: plain puts are the hot path. */
  private readonly oneKey: Uint8Array[] = [new Uint8Array(0)];
  private readonly oneKeyRequest: LoadRequest = { keys: this.oneKey, ranges: NO_RANGES };
  /** One more shows that there are too many. */
  private readonly mostKeys: number;
  private readonly removedValuesWanted: () => boolean;

  /** `maxKeys`: what a command may look at or remove in ranges. `removedValuesWanted`: whether values of removed keys are needed for other reasons than the client's. */
  constructor(maxKeys: number, removedValuesWanted: () => boolean) {
    this.mostKeys = maxKeys + 1;
    this.removedValuesWanted = removedValuesWanted;
  }

  /** The answer is valid until the next call. */
  plan(command: Command): LoadRequest {
    switch (command.type) {
      case 'write': {
        const operation = command.operation;
        if (operation.type === 'delete' && operation.end !== undefined) {
          const request: Growing = { keys: [], ranges: [], older: [] };
          this.addDelete(operation, request);
          return request;
        }
        this.oneKey[0] = operation.key;
        return this.oneKeyRequest;
      }
      case 'txn': {
        const request: Growing = { keys: [], ranges: [], older: [] };
        this.addTxn(command, request);
        return request;
      }
      case 'asUser':
        return withLeases(this.plan(command.command), command.command);
      case 'expire':
        return { keys: command.keys, ranges: NO_RANGES };
      case 'leaseRevoke':
        return { keys: [], ranges: NO_RANGES, naming: namingRows([command.lease]) };
      case 'leaseExpire':
        return { keys: [], ranges: NO_RANGES, naming: namingRows(command.leases) };
      default:
        return NOTHING;
    }
  }

  /** Both branches, and those of all transactions in them. */
  private addTxn({ compares, success, failure }: TxnBody, request: Growing): void {
    for (const { key, end, target } of compares) {
      const keysOnly = target !== 'value';
      if (end === undefined) request.keys.push(key);
      else request.ranges.push(this.newest(key, end, keysOnly));
    }
    this.addOperations(success, request);
    this.addOperations(failure, request);
  }

  private addOperations(operations: readonly Operation[], request: Growing): void {
    for (const operation of operations) {
      switch (operation.type) {
        case 'txn':
          this.addTxn(operation, request);
          break;
        case 'range':
          this.addRange(operation, request);
          break;
        case 'delete':
          this.addDelete(operation, request);
          break;
        default:
          request.keys.push(operation.key);
      }
    }
  }

  private addRange(operation: RangeOp, request: Growing): void {
    const { key, end, revision, limit } = operation;
    if (end !== undefined) {
      const most = looksAtAll(operation) ? this.mostKeys : Math.min(this.mostKeys, limit + 1);
      const keysOnly = needsNoValues(operation);
      const reverse = feedsReverse(operation);
      request.ranges.push({ start: key, end, revision, reverse, keysOnly, limit: most });
      return;
    }
    request.keys.push(key);
    if (revision > 0) request.older.push({ key, revision });
  }

  private addDelete({ key, end, prevKv }: DeleteOp, request: Growing): void {
    if (end === undefined) request.keys.push(key);
    else request.ranges.push(this.newest(key, end, !prevKv && !this.removedValuesWanted()));
  }

  private newest(start: Uint8Array, end: Uint8Array | undefined, keysOnly: boolean): LoadRange {
    return { start, end, revision: 0, reverse: false, keysOnly, limit: this.mostKeys };
  }
}

/** A user who attaches a key needs rights to all other keys of its lease (auth_check.ts). */
function withLeases(request: LoadRequest, command: PlainCommand): LoadRequest {
  const leases =
    command.type === 'write'
      ? leasesOf([command.operation])
      : command.type === 'txn'
        ? leasesOf([...command.success, ...command.failure])
        : [];
  if (leases.length === 0) return request;
  return { ...request, ranges: [...request.ranges, ...leases.map(rowsOfLease)] };
}

/** The leases that puts name, however deep. */
function leasesOf(operations: readonly Operation[]): bigint[] {
  return operations.flatMap((one) => {
    if (one.type === 'txn') return leasesOf([...one.success, ...one.failure]);
    return one.type === 'put' && one.lease !== 0n ? [one.lease] : [];
  });
}

function rowsOfLease(lease: bigint): LoadRange {
  const limit = Number.POSITIVE_INFINITY;
  return { ...leaseRows(lease), revision: 0, reverse: false, keysOnly: true, limit };
}

interface Growing {
  readonly keys: Uint8Array[];
  readonly ranges: LoadRange[];
  readonly older: KeyVersion[];
}
