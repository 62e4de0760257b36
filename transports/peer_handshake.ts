/**
 * How two nodes open a connection, and the kinds of frame on it. docs/formats/peer_protocol.md describes the whole protocol.
 *
 *   payload := kind u8, body
 *     1 hello    magic "KVPR", version u8, clusterId u64, from varint, to varint       the dialer's first frame
 *     2 welcome  magic "KVPR", version u8, clusterId u64, id varint                    the acceptor's answer
 *     3 refusal  code u16, message string                                              instead of a welcome; then the acceptor closes
 *     4 ping     (nothing)
 *     5 pong     (nothing)
 *     6 data     the frame's payload as the sender gave it                             dialer to acceptor only
 *
 * The layout of the hello up to its version, and of the refusal, never changes: that is how versions that differ tell each other.
 */
import { type ErrorCode, errorCodeOf, errorNumber, KvError } from '../src/errors.ts';
import type { NodeId } from '../src/raft/types.ts';
import { ByteReader, ByteWriter } from '../src/wire/varint.ts';

export const PEER_PROTOCOL_VERSION = 1;
/** Largest frame before the handshake is over. */
export const MAX_HANDSHAKE_BYTES = 512;

export const KIND_HELLO = 1;
export const KIND_WELCOME = 2;
export const KIND_REFUSAL = 3;
export const KIND_PING = 4;
export const KIND_PONG = 5;
export const KIND_DATA = 6;

const MAGIC = 0x5250564b; // "KVPR" read as u32le

export interface Hello {
  readonly version: number;
  readonly clusterId: bigint;
  readonly from: NodeId;
  readonly to: NodeId;
}

export interface Welcome {
  readonly version: number;
  readonly clusterId: bigint;
  readonly id: NodeId;
}

export interface Refusal {
  readonly code: ErrorCode;
  readonly message: string;
}

export function encodeHello(clusterId: bigint, from: NodeId, to: NodeId): Uint8Array {
  return preamble(KIND_HELLO).bigU64(clusterId).varint(from).varint(to).finish();
}

export function encodeWelcome(clusterId: bigint, id: NodeId): Uint8Array {
  return preamble(KIND_WELCOME).bigU64(clusterId).varint(id).finish();
}

export function encodeRefusal(code: ErrorCode, message: string): Uint8Array {
  return new ByteWriter().u8(KIND_REFUSAL).u16(errorNumber(code)).string(message.slice(0, 128)).finish();
}

/** @throws KvError PROTOCOL when it is no hello, UNSUPPORTED_VERSION for another version's. */
export function decodeHello(payload: Uint8Array): Hello {
  const reader = new ByteReader(payload);
  const version = readPreamble(reader, KIND_HELLO);
  const clusterId = reader.bigU64();
  const from = reader.varint();
  const hello = { version, clusterId, from, to: reader.varint() };
  reader.expectEnd();
  return hello;
}

/** @throws KvError PROTOCOL when it is no welcome, UNSUPPORTED_VERSION for another version's; what the acceptor says when it refuses. */
export function decodeWelcome(payload: Uint8Array): Welcome | Refusal {
  const reader = new ByteReader(payload);
  if (payload[0] === KIND_REFUSAL) {
    reader.u8();
    const code = errorCodeOf(reader.u16());
    return { code, message: reader.string() };
  }
  const version = readPreamble(reader, KIND_WELCOME);
  const clusterId = reader.bigU64();
  const welcome = { version, clusterId, id: reader.varint() };
  reader.expectEnd();
  return welcome;
}

/** Why a node that is `id` in `clusterId` refuses this hello; undefined when it does not. */
export function objectionTo(hello: Hello, clusterId: bigint, id: NodeId): Refusal | undefined {
  if (hello.clusterId !== clusterId)
    return { code: 'CLUSTER_MISMATCH', message: `this node belongs to cluster ${clusterId}` };
  if (hello.to !== id) return { code: 'MEMBER_NOT_FOUND', message: `this is node ${id}, not ${hello.to}` };
  if (hello.from === id || hello.from === 0)
    return { code: 'MEMBER_EXISTS', message: `no peer can have the id ${hello.from}` };
  return undefined;
}

function preamble(kind: number): ByteWriter {
  return new ByteWriter(40).u8(kind).u32(MAGIC).u8(PEER_PROTOCOL_VERSION);
}

function readPreamble(reader: ByteReader, kind: number): number {
  if (reader.u8() !== kind || reader.u32() !== MAGIC)
    throw new KvError('PROTOCOL', 'this is not the peer protocol');
  const version = reader.u8();
  if (version !== PEER_PROTOCOL_VERSION) {
    throw new KvError(
      'UNSUPPORTED_VERSION',
      `peer protocol version ${version}; this node speaks version ${PEER_PROTOCOL_VERSION}`,
    );
  }
  return version;
}
