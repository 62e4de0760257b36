/**
 * What a command will read, so that the shell can bring it into memory before the command is applied.
 *
 * Invariant: names at least everything that StateMachine.apply asks the engine for, in whatever branch it takes.
 */
import type { LoadRequest } from '../storage/engine_port.ts';
import type { KeyRange } from '../storage/record.ts';
import type { Command, Operation, PlainCommand, TxnBody } from './command.ts';
import { leaseRows, namingRows } from './lease_rows.ts';

const NOTHING: LoadRequest = { keys: [], ranges: [] };
const NO_RANGES: readonly KeyRange[] = [];

export class LoadPlanner {
  /** The request for a single key, used again for every such command: plain puts are the hot path. */
  private readonly oneKey: Uint8Array[] = [new Uint8Array(0)];
  private readonly oneKeyRequest: LoadRequest = { keys: this.oneKey, ranges: NO_RANGES };

  /** The answer is valid until the next call. */
  plan(command: Command): LoadRequest {
    switch (command.type) {
      case 'write': {
        const operation = command.operation;
        if (operation.type === 'delete' && operation.end !== undefined) {
          return { keys: [], ranges: [{ start: operation.key, end: operation.end }] };
        }
        this.oneKey[0] = operation.key;
        return this.oneKeyRequest;
      }
      case 'txn': {
        const request: Growing = { keys: [], ranges: [], revisions: [] };
        addTxn(command, request);
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
  return { ...request, ranges: [...request.ranges, ...leases.map(leaseRows)] };
}

/** The leases that puts name, however deep. */
function leasesOf(operations: readonly Operation[]): bigint[] {
  return operations.flatMap((one) => {
    if (one.type === 'txn') return leasesOf([...one.success, ...one.failure]);
    return one.type === 'put' && one.lease !== 0n ? [one.lease] : [];
  });
}

interface Growing {
  readonly keys: Uint8Array[];
  readonly ranges: KeyRange[];
  readonly revisions: number[];
}

/** Both branches, and those of all transactions in them. */
function addTxn({ compares, success, failure }: TxnBody, request: Growing): void {
  for (const { key, end } of compares) addKeys(key, end, request);
  addOperations(success, request);
  addOperations(failure, request);
}

function addOperations(operations: readonly Operation[], request: Growing): void {
  for (const operation of operations) {
    switch (operation.type) {
      case 'txn':
        addTxn(operation, request);
        break;
      case 'range':
        if (operation.revision > 0) request.revisions.push(operation.revision);
        addKeys(operation.key, operation.end, request);
        break;
      case 'delete':
        addKeys(operation.key, operation.end, request);
        break;
      default:
        request.keys.push(operation.key);
    }
  }
}

function addKeys(key: Uint8Array, end: Uint8Array | undefined, request: Growing): void {
  if (end === undefined) request.keys.push(key);
  else request.ranges.push({ start: key, end });
}
