/**
 * What a frame between two nodes holds: a Raft message, or a request of one node to another (a forwarded write, a status) and its answer.
 *
 *     payload  := 0 raftMessage (raft_codec.ts)
 *               | 1 id:varint operation:u8 timeoutMs:varint body
 *               | 2 id:varint ok:u8(1) body
 *               | 2 id:varint ok:u8(0) error (error_codec.ts)
 *               | 3 address:string                             where the sender is reached by other nodes
 *               | 4 term:varint timeMs:u64                     the store's time, told by the leader of a term; term 0: by another node
 *
 * The body of PEER_WRITE is an encoded command, its answer an encoded result, that of PEER_SNAPSHOT_READ the snapshot's bytes; PEER_LEASE_RENEW
 * has count*lease:u64, its answer count*ttlMs:varint (0: no such lease);
 * all other bodies are JSON in UTF-8 (cold paths).
 */
import type { KvError } from '../errors.ts';
import { decodeError, encodeError } from './error_codec.ts';
import { ByteReader, ByteWriter, malformed } from './varint.ts';

export const FRAME_RAFT = 0;
export const FRAME_REQUEST = 1;
export const FRAME_ANSWER = 2;
export const FRAME_INTRODUCTION = 3;
export const FRAME_TIME = 4;

export const PEER_WRITE = 1;
export const PEER_STATUS = 2;
export const PEER_MEMBERS = 3;
export const PEER_MEMBER_ADD = 4;
export const PEER_MEMBER_PROMOTE = 5;
export const PEER_MEMBER_REMOVE = 6;
export const PEER_MOVE_LEADER = 7;
/** The leader tells a member that its removal is committed: it would not hear of it otherwise, since nothing is replicated to it any more. */
export const PEER_REMOVED = 8;
/** Asks for a snapshot that covers an index, to repair a damaged store from; and for its bytes. */
export const PEER_SNAPSHOT = 9;
export const PEER_SNAPSHOT_READ = 10;
/** Asks for the hash of the key space (node/upkeep_service.ts). */
export const PEER_HASH = 11;
/** Keep-alives of leases, gathered. */
export const PEER_LEASE_RENEW = 12;
/** Changes the address of a member for its peers. */
export const PEER_MEMBER_UPDATE = 13;
export type PeerOperation =
  | typeof PEER_WRITE
  | typeof PEER_STATUS
  | typeof PEER_MEMBERS
  | typeof PEER_MEMBER_ADD
  | typeof PEER_MEMBER_PROMOTE
  | typeof PEER_MEMBER_REMOVE
  | typeof PEER_MOVE_LEADER
  | typeof PEER_REMOVED
  | typeof PEER_SNAPSHOT
  | typeof PEER_SNAPSHOT_READ
  | typeof PEER_HASH
  | typeof PEER_LEASE_RENEW
  | typeof PEER_MEMBER_UPDATE;

export const RAFT_PREFIX: Uint8Array = Uint8Array.of(FRAME_RAFT);

export interface PeerRequest {
  readonly id: number;
  readonly operation: PeerOperation;
  readonly timeoutMs: number;
  readonly body: Uint8Array;
}
export type PeerAnswer =
  | { readonly id: number; readonly ok: true; readonly body: Uint8Array }
  | { readonly id: number; readonly ok: false; readonly error: KvError };

export function encodeRequest(request: PeerRequest): Uint8Array[] {
  const head = new ByteWriter(32);
  head.u8(FRAME_REQUEST).varint(request.id).u8(request.operation).varint(request.timeoutMs);
  return [head.finish(), request.body];
}

export function encodeAnswer(answer: PeerAnswer): Uint8Array[] {
  const head = new ByteWriter(32);
  head.u8(FRAME_ANSWER).varint(answer.id).bool(answer.ok);
  if (answer.ok) return [head.finish(), answer.body];
  encodeError(head, answer.error);
  return [head.finish()];
}

/** REQUIRES: the payload begins with FRAME_REQUEST. @throws KvError PROTOCOL */
export function decodeRequest(payload: Uint8Array): PeerRequest {
  const reader = new ByteReader(payload, 1);
  const id = reader.varint();
  const operation = operationOf(reader.u8());
  const timeoutMs = reader.varint();
  return { id, operation, timeoutMs, body: reader.rest() };
}

/** REQUIRES: the payload begins with FRAME_ANSWER. @throws KvError PROTOCOL */
export function decodeAnswer(payload: Uint8Array): PeerAnswer {
  const reader = new ByteReader(payload, 1);
  const id = reader.varint();
  if (reader.bool()) return { id, ok: true, body: reader.rest() };
  const error = decodeError(reader);
  reader.expectEnd();
  return { id, ok: false, error };
}

function operationOf(number: number): PeerOperation {
  if (number >= PEER_WRITE && number <= PEER_MEMBER_UPDATE) return number as PeerOperation;
  throw malformed(`unknown peer operation ${number}`);
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

export function encodeJson(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

/** @throws KvError PROTOCOL when the bytes are not JSON. */
export function decodeJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(utf8.decode(bytes));
  } catch {
    throw malformed('not JSON');
  }
}

/** @param address HOST:PORT of the sender */
export function encodeIntroduction(address: string): Uint8Array {
  return new ByteWriter(64).u8(FRAME_INTRODUCTION).string(address).finish();
}

/** The sender's address, unchecked. @throws KvError PROTOCOL */
export function decodeIntroduction(payload: Uint8Array): string {
  const reader = new ByteReader(payload);
  if (reader.u8() !== FRAME_INTRODUCTION) throw malformed('no introduction');
  const address = reader.string();
  reader.expectEnd();
  return address;
}

/** The store's time, as told to other nodes. */
export interface StoreTime {
  /** 0: the sender does not lead. */
  readonly term: number;
  readonly timeMs: number;
}

export function encodeStoreTime({ term, timeMs }: StoreTime): Uint8Array {
  return new ByteWriter(32).u8(FRAME_TIME).varint(term).u64(timeMs).finish();
}

/** @throws KvError PROTOCOL */
export function decodeStoreTime(payload: Uint8Array): StoreTime {
  const reader = new ByteReader(payload);
  if (reader.u8() !== FRAME_TIME) throw malformed('no time');
  const term = reader.varint();
  const timeMs = reader.u64();
  reader.expectEnd();
  return { term, timeMs };
}
