/**
 * The byte form of commands: written once by the client, and the same bytes lie in the log and reach every node.
 *
 *     command  := version:u8(1) kind:u8 body
 *     kind 1     write         id operation                      (put, delete or touch)
 *     kind 2     txn           id count*compare count*operation count*operation      (compare_codec.ts; success, failure)
 *     kind 3     openSession   -
 *     kind 4     closeSession  session:varint
 *     kind 5     expire        count*key
 *     kind 6     compact       revision:varint
 *     kinds 7-10 leases                                          (lease_codec.ts)
 *     kind 12    authChange    change                            (auth_codec.ts)
 *     kind 13    asUser        user:string generation:varint command       (not one of kind 13; user empty: the cluster itself)
 *     kinds 14-16 alarms, quotas                                 (upkeep_codec.ts)
 *     id       := 0 | session:varint sequence:varint outstanding:varint     (write_id.ts)
 *     operation := number:u8 flags:u8 key ...                    (operation_codec.ts)
 *
 * Byte strings and varints as in varint.ts; docs/formats/command.md says the same at length, with the numbers that are kept free.
 * Here too: encodePut, the client's short way to a single put, and checkClientCommand, what a client may ask for.
 * Invariants: one command has one encoding; decoding allocates nothing before a count was checked against the bytes left; decoded keys and values are views.
 */
import { KvError } from '../errors.ts';
import type { Command, Operation, PlainCommand, TxnBody, TxnCommand, WriteCommand } from '../kv/command.ts';
import { SPACE_USER, USER_SPACE_END } from '../kv/keyspace.ts';
import { compareKeys } from '../storage/record.ts';
import { readAuthChange, writeAuthChange } from './auth_codec.ts';
import { checkLeaseId, readLeaseCommand, writeLeaseCommand } from './lease_codec.ts';
import {
  OP_PUT,
  operationBytesAtMost,
  PUT_PREV_KV,
  PUT_TTL,
  readOperation,
  readTxnBody,
  txnBytesAtMost,
  writeOperation,
  writeTxnBody,
} from './operation_codec.ts';
import { readUpkeepCommand, writeUpkeepCommand } from './upkeep_codec.ts';
import { ByteReader, ByteWriter, malformed, putVarint, varintBytes } from './varint.ts';
import { MAX_WRITE_ID_BYTES, readWriteId, writeWriteId } from './write_id.ts';

export const COMMAND_VERSION = 1;
export const KIND_WRITE = 1;
export const KIND_TXN = 2;
export const KIND_OPEN_SESSION = 3;
export const KIND_CLOSE_SESSION = 4;
export const KIND_EXPIRE = 5;
export const KIND_COMPACT = 6;
export const KIND_AUTH_CHANGE = 12;
export const KIND_AS_USER = 13;

const SHORT_COPY_BYTES = 32;

/** The bytes of a command. The result owns its memory. @throws RangeError on numbers that are no safe integers. */
export function encodeCommand(command: Command): Uint8Array {
  const writer = new ByteWriter(commandBytesAtMost(command));
  writeCommand(writer, command);
  return writer.finish();
}

/** The same, after what `writer` holds already. */
export function writeCommand(writer: ByteWriter, command: Command): void {
  writer.u8(COMMAND_VERSION);
  switch (command.type) {
    case 'write':
      writer.u8(KIND_WRITE);
      writeWriteId(writer, command.id);
      writeOperation(writer, command.operation);
      break;
    case 'txn':
      writer.u8(KIND_TXN);
      writeWriteId(writer, command.id);
      writeTxnBody(writer, command);
      break;
    case 'openSession':
      writer.u8(KIND_OPEN_SESSION);
      break;
    case 'closeSession':
      writer.u8(KIND_CLOSE_SESSION).varint(command.session);
      break;
    case 'expire':
      writer.u8(KIND_EXPIRE).varint(command.keys.length);
      for (const key of command.keys) writer.byteString(key);
      break;
    case 'compact':
      writer.u8(KIND_COMPACT).varint(command.revision);
      break;
    case 'authChange':
      writer.u8(KIND_AUTH_CHANGE);
      writeAuthChange(writer, command.change);
      break;
    case 'asUser':
      writer.u8(KIND_AS_USER).string(command.user).varint(command.generation);
      writeCommand(writer, command.command);
      break;
    case 'leaseGrant':
    case 'leaseRevoke':
    case 'leaseRenew':
    case 'leaseExpire':
      writeLeaseCommand(writer, command);
      break;
    default:
      writeUpkeepCommand(writer, command);
  }
}

/**
 * The command in [offset, end) of `bytes`. Keys and values are views.
 * @throws KvError UNSUPPORTED_VERSION, UNSUPPORTED (unknown kind or operation) or PROTOCOL (anything else that is not a command).
 */
export function decodeCommand(bytes: Uint8Array, offset = 0, end: number = bytes.length): Command {
  const reader = new ByteReader(bytes, offset, end);
  const version = reader.u8();
  if (version !== COMMAND_VERSION) {
    throw new KvError(
      'UNSUPPORTED_VERSION',
      `command of version ${version}; this node reads ${COMMAND_VERSION}`,
    );
  }
  const kind = reader.u8();
  if (kind === KIND_WRITE) {
    const id = readWriteId(reader);
    const operation = readOperation(reader);
    reader.expectEnd();
    if (operation.type === 'range' || operation.type === 'txn') {
      throw malformed(`a ${operation.type} is no write`);
    }
    return { type: 'write', id, operation } satisfies WriteCommand;
  }
  if (kind === KIND_AS_USER) return readAsUser(reader);
  const command = readBody(reader, kind);
  reader.expectEnd();
  return command;
}

function readAsUser(reader: ByteReader): Command {
  const user = reader.string();
  const generation = reader.varint();
  const { bytes, offset, end } = reader;
  // Looked at before decoding, so that nobody nests them by the million.
  if (end - offset >= 2 && bytes[offset + 1] === KIND_AS_USER) throw malformed('a user within a user');
  const command = decodeCommand(bytes, offset, end);
  if (command.type === 'asUser') throw malformed('a user within a user');
  return { type: 'asUser', user, generation, command };
}

function readBody(reader: ByteReader, kind: number): PlainCommand {
  switch (kind) {
    case KIND_TXN: {
      const id = readWriteId(reader);
      const { compares, success, failure } = readTxnBody(reader);
      return { type: 'txn', id, compares, success, failure } satisfies TxnCommand;
    }
    case KIND_OPEN_SESSION:
      return { type: 'openSession' };
    case KIND_CLOSE_SESSION:
      return { type: 'closeSession', session: reader.varint() };
    case KIND_EXPIRE: {
      const keys: Uint8Array[] = [];
      for (let left = reader.count(1); left > 0; left--) keys.push(reader.byteString());
      return { type: 'expire', keys };
    }
    case KIND_COMPACT:
      return { type: 'compact', revision: reader.varint() };
    case KIND_AUTH_CHANGE:
      return { type: 'authChange', change: readAuthChange(reader) };
    default:
      return readCommandOfPart(reader, kind);
  }
}

/** The parts of the model have codecs of their own. */
function readCommandOfPart(reader: ByteReader, kind: number): PlainCommand {
  const command = readLeaseCommand(reader, kind) ?? readUpkeepCommand(reader, kind);
  if (command === undefined) throw new KvError('UNSUPPORTED', `unknown command kind ${kind}`);
  return command;
}

/** Room for the whole command, so that the writer need not grow and copy. */
function commandBytesAtMost(command: Command): number {
  let size = 2 + MAX_WRITE_ID_BYTES;
  if (command.type === 'write') size += operationBytesAtMost(command.operation);
  if (command.type === 'expire') for (const key of command.keys) size += key.length + 8;
  if (command.type === 'txn') size += txnBytesAtMost(command);
  return size;
}

/**
 * The bytes of encodeCommand for a single put, without a command object or intermediate buffers: key and value go straight into one buffer.
 * A put of a *user* key (the space byte is added here). Strings are UTF-8. Session 0: no protection against a second application, `sequence`
 * and `acknowledgedBelow` do not matter. REQUIRES: numbers are safe integers from 0, acknowledgedBelow <= sequence.
 */
export function encodePut(
  key: Uint8Array | string,
  value: Uint8Array | string,
  ttlMs: number,
  session: number,
  sequence: number,
  acknowledgedBelow: number,
  prevKv = false,
): Uint8Array {
  const keyBytes = textBytes(key) + 1;
  const valueBytes = textBytes(value);
  const outstanding = sequence - acknowledgedBelow;
  let size = plainPutBytes(keyBytes, valueBytes, ttlMs) - 1 + varintBytes(session);
  if (session !== 0) size += varintBytes(sequence) + varintBytes(outstanding);
  const bytes = Buffer.allocUnsafe(size);
  bytes[0] = COMMAND_VERSION;
  bytes[1] = KIND_WRITE;
  let at = putVarint(bytes, 2, session);
  if (session !== 0) at = putVarint(bytes, putVarint(bytes, at, sequence), outstanding);
  putPutOperation(bytes, at, key, keyBytes, value, valueBytes, ttlMs, prevKv);
  return bytes;
}

/** Bytes of a key or a value as they are encoded. */
export function textBytes(text: Uint8Array | string): number {
  return typeof text === 'string' ? Buffer.byteLength(text) : text.length;
}

/** Bytes that `putPlainPut` writes, for a stored key (with its space byte) and a value of these sizes. */
export function plainPutBytes(keyBytes: number, valueBytes: number, ttlMs: number): number {
  const size = 5 + varintBytes(keyBytes) + keyBytes + varintBytes(valueBytes) + valueBytes;
  return ttlMs === 0 ? size : size + varintBytes(ttlMs);
}

/**
 * Writes the bytes of `encodePut` without a session to `at`; gives the offset after them. The stored key ends where the value's length (or the time to
 * live) begins, the value at the end. REQUIRES: sizes from `textBytes`, the key's one more; room for `plainPutBytes`.
 */
export function putPlainPut(
  bytes: Buffer,
  at: number,
  key: Uint8Array | string,
  keyBytes: number,
  value: Uint8Array | string,
  valueBytes: number,
  ttlMs: number,
): number {
  bytes[at] = COMMAND_VERSION;
  bytes[at + 1] = KIND_WRITE;
  bytes[at + 2] = 0;
  return putPutOperation(bytes, at + 3, key, keyBytes, value, valueBytes, ttlMs, false);
}

function putPutOperation(
  bytes: Buffer,
  start: number,
  key: Uint8Array | string,
  keyBytes: number,
  value: Uint8Array | string,
  valueBytes: number,
  ttlMs: number,
  prevKv: boolean,
): number {
  bytes[start] = OP_PUT;
  bytes[start + 1] = (prevKv ? PUT_PREV_KV : 0) | (ttlMs !== 0 ? PUT_TTL : 0);
  let at = putVarint(bytes, start + 2, keyBytes);
  bytes[at++] = SPACE_USER;
  at = putText(bytes, at, key, keyBytes - 1);
  if (ttlMs !== 0) at = putVarint(bytes, at, ttlMs);
  at = putVarint(bytes, at, valueBytes);
  return putText(bytes, at, value, valueBytes);
}

function putText(bytes: Buffer, at: number, text: Uint8Array | string, size: number): number {
  if (typeof text !== 'string') {
    // A short copy costs less than the call of a built-in.
    if (size > SHORT_COPY_BYTES) bytes.set(text, at);
    else for (let i = 0; i < size; i++) bytes[at + i] = text[i] as number;
  }
  // As many bytes as characters: ASCII, for which the Latin-1 writer is the fastest.
  else if (text.length === size) bytes.latin1Write(text, at, size);
  else bytes.utf8Write(text, at, size);
  return at + size;
}

export interface ClientCommandLimits {
  readonly maxKeyBytes: number;
  readonly maxValueBytes: number;
  readonly maxCommandBytes: number;
  readonly maxTxnOperations: number;
  readonly maxTxnDepth: number;
}

/**
 * Refuses a client's command that is not a client's to send, leaves the user space, or is too large. `sizeBytes` is the
 * length of its encoding.
 * @throws KvError INVALID_ARGUMENT, KEY_TOO_LARGE, VALUE_TOO_LARGE, REQUEST_TOO_LARGE, TOO_MANY_OPERATIONS or TXN_TOO_DEEP.
 */
export function checkClientCommand(command: Command, limits: ClientCommandLimits, sizeBytes = 0): void {
  if (sizeBytes > limits.maxCommandBytes) {
    const details = { limit: limits.maxCommandBytes, sizeBytes };
    throw new KvError('REQUEST_TOO_LARGE', `a request may have ${limits.maxCommandBytes} bytes`, { details });
  }
  switch (command.type) {
    case 'write':
      checkOperation(command.operation, limits);
      return;
    case 'txn':
      checkTxn(command, limits, { operations: limits.maxTxnOperations }, limits.maxTxnDepth);
      return;
    case 'openSession':
    case 'closeSession':
    case 'leaseGrant':
    case 'compact':
    case 'alarm':
      return;
    case 'leaseRevoke':
      checkLeaseId(command.lease);
      return;
    case 'quota':
      checkBound(command.prefix, limits);
      return;
    default:
      throw new KvError('INVALID_ARGUMENT', `clients may not send '${command.type}'`);
  }
}

/** A stored key of the user space that is not empty. @throws KvError INVALID_ARGUMENT, KEY_TOO_LARGE. */
export function checkKey(key: Uint8Array, limits: Pick<ClientCommandLimits, 'maxKeyBytes'>): void {
  if (key.length < 2) throw new KvError('INVALID_ARGUMENT', 'the key is empty');
  checkBound(key, limits);
}

/** [start, end) within the user space; the start may be the space's own. @throws KvError INVALID_ARGUMENT, KEY_TOO_LARGE. */
export function checkRange(
  start: Uint8Array,
  end: Uint8Array,
  limits: Pick<ClientCommandLimits, 'maxKeyBytes'>,
): void {
  checkBound(start, limits);
  checkEnd(end, limits);
}

/** The end of a range. @throws KvError INVALID_ARGUMENT, KEY_TOO_LARGE. */
export function checkEnd(end: Uint8Array, limits: Pick<ClientCommandLimits, 'maxKeyBytes'>): void {
  if (end.length > limits.maxKeyBytes + 2) throw keyTooLarge(end, limits);
  if (end.length === 0 || compareKeys(end, USER_SPACE_END) > 0) {
    throw new KvError('INVALID_ARGUMENT', 'the range leaves the keys of users');
  }
}

/** `left`: operations that it and all transactions in it may have. */
function checkTxn(
  { compares, success, failure }: TxnBody,
  limits: ClientCommandLimits,
  left: { operations: number },
  depthLeft: number,
): void {
  left.operations -= Math.max(compares.length, success.length, failure.length);
  if (left.operations < 0) {
    const details = { limit: limits.maxTxnOperations };
    throw new KvError(
      'TOO_MANY_OPERATIONS',
      `a transaction may have ${limits.maxTxnOperations} operations, all nested ones included`,
      { details },
    );
  }
  for (const { key, end } of compares) {
    if (end === undefined) checkKey(key, limits);
    else checkRange(key, end, limits);
  }
  for (const branch of [success, failure]) {
    for (const operation of branch) {
      if (operation.type !== 'txn') {
        checkOperation(operation, limits);
        continue;
      }
      if (depthLeft === 0) {
        const details = { limit: limits.maxTxnDepth };
        throw new KvError('TXN_TOO_DEEP', `transactions may nest ${limits.maxTxnDepth} deep`, { details });
      }
      checkTxn(operation, limits, left, depthLeft - 1);
    }
  }
}

function checkOperation(
  operation: Exclude<Operation, { readonly type: 'txn' }>,
  limits: ClientCommandLimits,
): void {
  if ((operation.type === 'delete' || operation.type === 'range') && operation.end !== undefined) {
    checkRange(operation.key, operation.end, limits);
    return;
  }
  checkKey(operation.key, limits);
  if (operation.type === 'put' && operation.value.length > limits.maxValueBytes) {
    const details = { limit: limits.maxValueBytes, sizeBytes: operation.value.length };
    throw new KvError('VALUE_TOO_LARGE', `a value may have ${limits.maxValueBytes} bytes`, { details });
  }
}

/** The beginning of a range, or a key that may be empty. @throws KvError INVALID_ARGUMENT, KEY_TOO_LARGE. */
export function checkBound(key: Uint8Array, limits: Pick<ClientCommandLimits, 'maxKeyBytes'>): void {
  if (key[0] !== SPACE_USER) throw new KvError('INVALID_ARGUMENT', 'the key is none of a user');
  if (key.length > limits.maxKeyBytes + 1) throw keyTooLarge(key, limits);
}

function keyTooLarge(key: Uint8Array, limits: Pick<ClientCommandLimits, 'maxKeyBytes'>): KvError {
  const details = { limit: limits.maxKeyBytes, sizeBytes: key.length - 1 };
  return new KvError('KEY_TOO_LARGE', `a key may have ${limits.maxKeyBytes} bytes`, { details });
}
