/**
 * Raft messages as bytes. docs/formats/peer_protocol.md shows them beside the frames that carry them.
 *
 *   message   := version u8 (1), type u8, from varint, to varint, term varint, body
 *   body of
 *     1 preVoteRequest          lastIndex varint, lastTerm varint
 *     2 preVoteResponse         granted bool
 *     3 voteRequest             lastIndex varint, lastTerm varint, transfer bool
 *     4 voteResponse            granted bool
 *     5 appendRequest           prevIndex varint, prevTerm varint, commit varint, count varint, header[count], data of the entries, joined
 *     6 appendResponse          rejected bool, index varint, hintIndex varint, hintTerm varint
 *     7 heartbeatRequest        commit varint, readRound varint
 *     8 heartbeatResponse       readRound varint
 *     9 readIndexRequest        context varint
 *    10 readIndexResponse       context varint, index varint
 *    11 snapshotChunkRequest    snapshot, offset varint, data (all the rest)
 *    12 snapshotChunkResponse   snapshotIndex varint, nextOffset varint
 *    13 timeoutNowRequest       (nothing)
 *   header    := term varint, kind u8, dataBytes varint         (entry i has index prevIndex + 1 + i)
 *   snapshot  := index varint, term varint, sizeBytes varint, configuration
 *   configuration := ids voters, ids votersOutgoing, ids learners, count varint, member[count], lastId varint
 *   ids       := count varint, id varint[count]
 *   member    := id varint, peerAddress string, clientAddress string
 *
 * Invariants: entry data and snapshot data are neither copied when encoding (they become parts of their own) nor when decoding (they are views of
 * the payload); a message has one encoding; decoding throws KvError PROTOCOL (or UNSUPPORTED_VERSION) and nothing else, and takes no memory that the
 * payload's size does not warrant.
 */
import { KvError } from '../errors.ts';
import {
  type AppendRequest,
  type Configuration,
  ENTRY_CONFIGURATION,
  type Entry,
  type EntryKind,
  type Member,
  type Message,
  type NodeId,
  type SnapshotMeta,
} from '../raft/types.ts';
import { ByteReader, ByteWriter, malformed } from './varint.ts';

/** Version of the encoding; a node refuses others. */
export const RAFT_MESSAGE_VERSION = 1;

/** Wire numbers of the message types; never reused. */
export const TYPE_NUMBERS = {
  preVoteRequest: 1,
  preVoteResponse: 2,
  voteRequest: 3,
  voteResponse: 4,
  appendRequest: 5,
  appendResponse: 6,
  heartbeatRequest: 7,
  heartbeatResponse: 8,
  readIndexRequest: 9,
  readIndexResponse: 10,
  snapshotChunkRequest: 11,
  snapshotChunkResponse: 12,
  timeoutNowRequest: 13,
} as const satisfies Record<Message['type'], number>;

/** Most bytes that one field list of a small message takes: enough that the header never grows its buffer. */
const HEADER_BYTES = 64;
const ENTRY_HEADER_BYTES = 20;
const MIN_ENTRY_HEADER_BYTES = 3;
const MIN_MEMBER_BYTES = 3;
/** Ids or members in one list: far more than any cluster has, and little memory. */
const MAX_LISTED = 4096;

/** Encodes a message as parts to be sent joined: the header first, then the data of the entries or of the snapshot chunk as it is, without a copy. */
export function encodeMessage(message: Message): Uint8Array[] {
  const entryCount = message.type === 'appendRequest' ? message.entries.length : 0;
  const writer = new ByteWriter(HEADER_BYTES + entryCount * ENTRY_HEADER_BYTES);
  writer.u8(RAFT_MESSAGE_VERSION).u8(TYPE_NUMBERS[message.type]);
  writer.varint(message.from).varint(message.to).varint(message.term);
  switch (message.type) {
    case 'preVoteRequest':
      writer.varint(message.lastIndex).varint(message.lastTerm);
      break;
    case 'voteRequest':
      writer.varint(message.lastIndex).varint(message.lastTerm).bool(message.transfer);
      break;
    case 'preVoteResponse':
    case 'voteResponse':
      writer.bool(message.granted);
      break;
    case 'appendRequest':
      return encodeAppend(writer, message);
    case 'appendResponse':
      writer.bool(message.rejected).varint(message.index);
      writer.varint(message.hintIndex).varint(message.hintTerm);
      break;
    case 'heartbeatRequest':
      writer.varint(message.commit).varint(message.readRound);
      break;
    case 'heartbeatResponse':
      writer.varint(message.readRound);
      break;
    case 'readIndexRequest':
      writer.varint(message.context);
      break;
    case 'readIndexResponse':
      writer.varint(message.context).varint(message.index);
      break;
    case 'snapshotChunkRequest':
      putSnapshotMeta(writer, message.snapshot);
      writer.varint(message.offset);
      return message.data.length === 0 ? [writer.finish()] : [writer.finish(), message.data];
    case 'snapshotChunkResponse':
      writer.varint(message.snapshotIndex).varint(message.nextOffset);
      break;
    case 'timeoutNowRequest':
      break;
  }
  return [writer.finish()];
}

function encodeAppend(writer: ByteWriter, message: AppendRequest): Uint8Array[] {
  const entries = message.entries;
  writer.varint(message.prevIndex).varint(message.prevTerm).varint(message.commit).varint(entries.length);
  const parts: Uint8Array[] = new Array(1);
  for (let i = 0; i < entries.length; i++) {
    const entry = entries[i]!;
    if (entry.index !== message.prevIndex + 1 + i) {
      throw new KvError(
        'INTERNAL',
        `entry ${entry.index} in an append request that begins after ${message.prevIndex}`,
      );
    }
    writer.varint(entry.term).u8(entry.kind).varint(entry.data.length);
    if (entry.data.length > 0) parts.push(entry.data);
  }
  parts[0] = writer.finish();
  return parts;
}

/**
 * Decodes one message. `data` of entries and chunks are views of `payload`: it must not be changed afterwards.
 * @throws KvError PROTOCOL for bytes that are not one message; UNSUPPORTED_VERSION for a message of another version.
 */
export function decodeMessage(payload: Uint8Array): Message {
  const reader = new ByteReader(payload);
  const version = reader.u8();
  if (version !== RAFT_MESSAGE_VERSION) {
    throw new KvError(
      'UNSUPPORTED_VERSION',
      `a Raft message of version ${version}; this node speaks version ${RAFT_MESSAGE_VERSION}`,
    );
  }
  const type = reader.u8();
  const from = reader.varint();
  const to = reader.varint();
  const term = reader.varint();
  const message = decodeBody(reader, type, from, to, term);
  reader.expectEnd();
  return message;
}

function decodeBody(reader: ByteReader, type: number, from: NodeId, to: NodeId, term: number): Message {
  switch (type) {
    case TYPE_NUMBERS.appendRequest:
      return decodeAppend(reader, from, to, term);
    case TYPE_NUMBERS.appendResponse: {
      const rejected = reader.bool();
      const index = reader.varint();
      const hintIndex = reader.varint();
      return {
        type: 'appendResponse',
        from,
        to,
        term,
        rejected,
        index,
        hintIndex,
        hintTerm: reader.varint(),
      };
    }
    case TYPE_NUMBERS.heartbeatRequest: {
      const commit = reader.varint();
      return { type: 'heartbeatRequest', from, to, term, commit, readRound: reader.varint() };
    }
    case TYPE_NUMBERS.heartbeatResponse:
      return { type: 'heartbeatResponse', from, to, term, readRound: reader.varint() };
    case TYPE_NUMBERS.readIndexRequest:
      return { type: 'readIndexRequest', from, to, term, context: reader.varint() };
    case TYPE_NUMBERS.readIndexResponse: {
      const context = reader.varint();
      return { type: 'readIndexResponse', from, to, term, context, index: reader.varint() };
    }
    case TYPE_NUMBERS.preVoteRequest: {
      const lastIndex = reader.varint();
      return { type: 'preVoteRequest', from, to, term, lastIndex, lastTerm: reader.varint() };
    }
    case TYPE_NUMBERS.voteRequest: {
      const lastIndex = reader.varint();
      const lastTerm = reader.varint();
      return { type: 'voteRequest', from, to, term, lastIndex, lastTerm, transfer: reader.bool() };
    }
    case TYPE_NUMBERS.preVoteResponse:
      return { type: 'preVoteResponse', from, to, term, granted: reader.bool() };
    case TYPE_NUMBERS.voteResponse:
      return { type: 'voteResponse', from, to, term, granted: reader.bool() };
    case TYPE_NUMBERS.snapshotChunkRequest:
      return decodeSnapshotChunk(reader, from, to, term);
    case TYPE_NUMBERS.snapshotChunkResponse: {
      const snapshotIndex = reader.varint();
      return {
        type: 'snapshotChunkResponse',
        from,
        to,
        term,
        snapshotIndex,
        nextOffset: reader.varint(),
      };
    }
    case TYPE_NUMBERS.timeoutNowRequest:
      return { type: 'timeoutNowRequest', from, to, term };
    default:
      throw malformed(`no Raft message has the type ${type}`);
  }
}

function decodeAppend(reader: ByteReader, from: NodeId, to: NodeId, term: number): AppendRequest {
  const prevIndex = reader.varint();
  const prevTerm = reader.varint();
  const commit = reader.varint();
  const count = reader.count(MIN_ENTRY_HEADER_BYTES);
  if (prevIndex + count > Number.MAX_SAFE_INTEGER) throw malformed('entry index above 2^53 - 1');
  const headersAt = reader.offset;
  // The data lies behind the last header: a first pass finds it, the second takes both together.
  let dataBytes = 0;
  for (let i = 0; i < count; i++) {
    if (reader.varint() > term) throw malformed("an entry's term is above the message's");
    if (reader.u8() > ENTRY_CONFIGURATION) throw malformed('no entry has this kind');
    dataBytes += reader.varint();
  }
  if (dataBytes !== reader.remaining)
    throw malformed(`${dataBytes} bytes of entries announced, ${reader.remaining} there`);
  let dataAt = reader.offset;
  reader.offset = headersAt;
  const bytes = reader.bytes;
  const entries: Entry[] = new Array(count);
  for (let i = 0; i < count; i++) {
    const entryTerm = reader.varint();
    const kind = entryKind(reader.u8());
    const length = reader.varint();
    entries[i] = {
      index: prevIndex + 1 + i,
      term: entryTerm,
      kind,
      data: bytes.subarray(dataAt, dataAt + length),
    };
    dataAt += length;
  }
  reader.offset = dataAt;
  return { type: 'appendRequest', from, to, term, prevIndex, prevTerm, commit, entries };
}

function entryKind(value: number): EntryKind {
  switch (value) {
    case 0:
    case 1:
    case 2:
      return value;
    default:
      throw malformed(`no entry has the kind ${value}`);
  }
}

function decodeSnapshotChunk(reader: ByteReader, from: NodeId, to: NodeId, term: number): Message {
  const snapshot = readSnapshotMeta(reader);
  const offset = reader.varint();
  const data = reader.rest();
  if (offset + data.length > snapshot.sizeBytes) throw malformed('a snapshot chunk beyond the snapshot');
  return { type: 'snapshotChunkRequest', from, to, term, snapshot, offset, data };
}

/** Appends a snapshot's description. */
export function putSnapshotMeta(writer: ByteWriter, snapshot: SnapshotMeta): void {
  writer.varint(snapshot.index).varint(snapshot.term).varint(snapshot.sizeBytes);
  putConfiguration(writer, snapshot.configuration);
}

/** @throws KvError PROTOCOL */
export function readSnapshotMeta(reader: ByteReader): SnapshotMeta {
  const index = reader.varint();
  const term = reader.varint();
  const sizeBytes = reader.varint();
  return { index, term, configuration: readConfiguration(reader), sizeBytes };
}

function putIds(writer: ByteWriter, ids: readonly NodeId[]): void {
  writer.varint(ids.length);
  for (const id of ids) writer.varint(id);
}

function readIds(reader: ByteReader): NodeId[] {
  const count = listed(reader.count(1));
  const ids: NodeId[] = new Array(count);
  for (let i = 0; i < count; i++) ids[i] = reader.varint();
  return ids;
}

function listed(count: number): number {
  if (count > MAX_LISTED) throw malformed(`${count} members, allowed: at most ${MAX_LISTED}`);
  return count;
}

function putConfiguration(writer: ByteWriter, configuration: Configuration): void {
  putIds(writer, configuration.voters);
  putIds(writer, configuration.votersOutgoing);
  putIds(writer, configuration.learners);
  writer.varint(configuration.members.length);
  for (const member of configuration.members)
    writer.varint(member.id).string(member.peerAddress).string(member.clientAddress);
  writer.varint(configuration.lastId);
}

function readConfiguration(reader: ByteReader): Configuration {
  const voters = readIds(reader);
  const votersOutgoing = readIds(reader);
  const learners = readIds(reader);
  const count = listed(reader.count(MIN_MEMBER_BYTES));
  const members: Member[] = new Array(count);
  for (let i = 0; i < count; i++) {
    const id = reader.varint();
    const peerAddress = reader.string();
    members[i] = { id, peerAddress, clientAddress: reader.string() };
  }
  return { voters, votersOutgoing, learners, members, lastId: reader.varint() };
}
