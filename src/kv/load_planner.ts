/**
 * What a command will read, so that the shell can bring it into memory before the command is applied.
 *
 * Invariant: names at least everything that StateMachine.apply asks the engine for, in whatever branch it takes.
 */
import type { LoadRequest } from '../storage/engine_port.ts';
import type { KeyRange } from '../storage/record.ts';
import type { Command, Operation, PlainCommand } from './command.ts';
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
        const keys: Uint8Array[] = [];
        const ranges: KeyRange[] = [];
        for (const compare of command.compares) keys.push(compare.key);
        const revisions: number[] = [];
        addOperations(command.success, keys, ranges, revisions);
        addOperations(command.failure, keys, ranges, revisions);
        return { keys, ranges, revisions };
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
  const operations =
    command.type === 'write'
      ? [command.operation]
      : command.type === 'txn'
        ? [...command.success, ...command.failure]
        : [];
  const leases = operations.flatMap((one) => (one.type === 'put' && one.lease !== 0n ? [one.lease] : []));
  if (leases.length === 0) return request;
  return { ...request, ranges: [...request.ranges, ...leases.map(leaseRows)] };
}

function addOperations(
  operations: readonly Operation[],
  keys: Uint8Array[],
  ranges: KeyRange[],
  revisions: number[],
): void {
  for (const operation of operations) {
    if (operation.type === 'range' && operation.revision > 0) revisions.push(operation.revision);
    if ((operation.type === 'delete' || operation.type === 'range') && operation.end !== undefined) {
      ranges.push({ start: operation.key, end: operation.end });
    } else {
      keys.push(operation.key);
    }
  }
}
