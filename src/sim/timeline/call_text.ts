/** Calls of clients and their answers in a few words, for timelines. Invariants: bounded, whatever keys and values hold; only called where a run is recorded. */
import type { CommandResult, Compare, Operation, TxnBody } from '../../kv/command.ts';
import { USER_SPACE_END, userKey } from '../../kv/keyspace.ts';
import type { StoredRecord } from '../../storage/record.ts';
import { decodeCommand } from '../../wire/command_codec.ts';
import type {
  GetRequest,
  GetResponse,
  RangeRequest,
  RangeResponse,
  ScanPageRequest,
  ScanPageResponse,
} from '../../wire/messages.ts';

const MAX_SHOWN_BYTES = 24;
const MAX_SHOWN_ITEMS = 8;
const decoder = new TextDecoder();

function bytesText(bytes: Uint8Array): string {
  if (bytes.length <= MAX_SHOWN_BYTES) return JSON.stringify(decoder.decode(bytes));
  return `${JSON.stringify(decoder.decode(bytes.subarray(0, MAX_SHOWN_BYTES)))}… (${bytes.length} bytes)`;
}

function keyText(storedKey: Uint8Array): string {
  return bytesText(userKey(storedKey));
}

function endText(end: Uint8Array | undefined): string {
  if (end === undefined) return '';
  return end.length === 1 && end[0] === USER_SPACE_END[0] ? ' to the end' : ` to ${keyText(end)}`;
}

function listText<T>(list: readonly T[], text: (item: T) => string): string {
  const shown = list.slice(0, MAX_SHOWN_ITEMS).map(text).join(', ');
  return list.length <= MAX_SHOWN_ITEMS ? shown : `${shown}, and ${list.length - MAX_SHOWN_ITEMS} more`;
}

export function describeGet({ key, level }: GetRequest): string {
  return `get ${keyText(key)} (${level})`;
}

export function describeScan({ start, end, level }: ScanPageRequest): string {
  return `scan from ${keyText(start)}${endText(end)} (${level})`;
}

export function describeRange({ key, end, level, countOnly }: RangeRequest): string {
  return `${countOnly ? 'count' : 'range'} from ${keyText(key)}${endText(end)} (${level})`;
}

/** An encoded command. @throws KvError PROTOCOL when it is none */
export function describeCommand(bytes: Uint8Array): string {
  const command = decodeCommand(bytes);
  if (command.type === 'write') return describeOperation(command.operation);
  if (command.type !== 'txn') return command.type;
  return describeTxn(command);
}

function describeTxn({ compares, success, failure }: TxnBody): string {
  const when = compares.length === 0 ? '' : ` if ${listText(compares, describeCompare)}`;
  const otherwise = failure.length === 0 ? '' : `, else ${listText(failure, describeOperation)}`;
  return `txn${when}: ${listText(success, describeOperation) || 'nothing'}${otherwise}`;
}

function describeCompare({ target, result, key, end, value, lease, number }: Compare): string {
  const operand = target === 'value' ? bytesText(value) : target === 'lease' ? lease : number;
  return `${target} of ${keyText(key)}${end === undefined ? '' : endText(end)} ${result} ${operand}`;
}

function describeOperation(operation: Operation): string {
  if (operation.type === 'txn') return `(${describeTxn(operation)})`;
  const key = keyText(operation.key);
  switch (operation.type) {
    case 'put': {
      const value = operation.ignoreValue ? 'its value' : bytesText(operation.value);
      return `put ${key} = ${value}${ttlText(operation.ttlMs)}`;
    }
    case 'touch':
      return `touch ${key}${ttlText(operation.ttlMs)}`;
    default:
      return `${operation.type} ${key}${endText(operation.end)}`;
  }
}

function ttlText(ttlMs: number): string {
  return ttlMs === 0 ? '' : ` for ${ttlMs} ms`;
}

export function describeGot({ revision, record }: GetResponse): string {
  return record === undefined ? `nothing at ${revision}` : `${describeRecord(record)}, at ${revision}`;
}

export function describeRanged({ revision, records, more, count }: RangeResponse): string {
  return `${describeRecords(records)}${more ? ' and more' : ''}, ${count} in all, at ${revision}`;
}

export function describeScanned({ revision, records, more }: ScanPageResponse): string {
  return `${describeRecords(records)}${more ? ' and more' : ''}, at ${revision}`;
}

function describeRecord({ value, modRevision, version }: StoredRecord): string {
  return `${bytesText(value)} of ${modRevision} (version ${version})`;
}

function describeRecords(records: readonly StoredRecord[]): string {
  const found = listText(records, ({ key, value }) => `${keyText(key)} = ${bytesText(value)}`);
  return found === '' ? 'nothing' : found;
}

export function describeResult(result: CommandResult): string {
  switch (result.type) {
    case 'put':
      return `revision ${result.revision}`;
    case 'delete':
      return `revision ${result.revision}, deleted ${result.deleted}`;
    case 'touch':
      return `revision ${result.revision}${result.found ? '' : ', no such key'}`;
    case 'range':
      return `${describeRecords(result.records)}${result.more ? ' and more' : ''}`;
    case 'txn': {
      const branch = result.succeeded ? 'succeeded' : 'went the other way';
      return `revision ${result.revision}, ${branch}: ${listText(result.results, describeResult) || 'nothing'}`;
    }
    case 'session':
      return `session ${result.session}`;
    case 'failed':
      return `refused: ${result.code}`;
    case 'done':
      return `revision ${result.revision}`;
    case 'lease':
      return `lease ${result.lease} for ${result.ttlMs} ms`;
    case 'alarms':
      return `alarms ${listText(result.alarms, ({ type, member }) => `${type} of ${member}`) || 'none'}`;
  }
}
