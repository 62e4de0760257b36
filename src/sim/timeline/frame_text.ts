/**
 * Frames between nodes in a few words, for timelines: kind, term, indexes, entries.
 *
 * Invariants: never throws, whatever the bytes; changes nothing. Only called where a run is recorded: decoding costs more than carrying the frame.
 */
import { KvError } from '../../errors.ts';
import type { AppendRequest, AppendResponse, Message } from '../../raft/types.ts';
import {
  decodeAnswer,
  decodeIntroduction,
  decodeRequest,
  decodeStoreTime,
  FRAME_ANSWER,
  FRAME_INTRODUCTION,
  FRAME_RAFT,
  FRAME_REQUEST,
  FRAME_TIME,
  PEER_LEASE_RENEW,
  PEER_MEMBER_ADD,
  PEER_MEMBER_PROMOTE,
  PEER_MEMBER_REMOVE,
  PEER_MEMBER_UPDATE,
  PEER_MEMBERS,
  PEER_MOVE_LEADER,
  PEER_REMOVED,
  PEER_SNAPSHOT,
  PEER_SNAPSHOT_READ,
  PEER_STATUS,
  PEER_WRITE,
} from '../../wire/peer_codec.ts';
import { decodeMessage } from '../../wire/raft_codec.ts';

/** What a frame is about, for folding and filtering. `client`: bytes of a client's connection. */
export const MESSAGE_KINDS = [
  'vote',
  'append',
  'heartbeat',
  'read',
  'snapshot',
  'rpc',
  'client',
  'other',
] as const;
export type MessageKind = (typeof MESSAGE_KINDS)[number];

const OPERATIONS: ReadonlyMap<number, string> = new Map([
  [PEER_WRITE, 'write'],
  [PEER_STATUS, 'status'],
  [PEER_MEMBERS, 'members'],
  [PEER_MEMBER_ADD, 'add member'],
  [PEER_MEMBER_PROMOTE, 'promote member'],
  [PEER_MEMBER_UPDATE, 'update member'],
  [PEER_MEMBER_REMOVE, 'remove member'],
  [PEER_MOVE_LEADER, 'move leader'],
  [PEER_REMOVED, 'you were removed'],
  [PEER_SNAPSHOT, 'snapshot to repair from'],
  [PEER_SNAPSHOT_READ, 'read snapshot'],
  [PEER_LEASE_RENEW, 'renew leases'],
]);

/** First words of the texts below. */
const KIND_OF_WORD: ReadonlyMap<string, MessageKind> = new Map<string, MessageKind>([
  ['pre-vote', 'vote'],
  ['vote', 'vote'],
  ['elect', 'vote'],
  ['append', 'append'],
  ['appended', 'append'],
  ['heartbeat', 'heartbeat'],
  ['read', 'read'],
  ['snapshot', 'snapshot'],
  ['rpc', 'rpc'],
  ['introduction:', 'rpc'],
  ['time:', 'rpc'],
  ['bytes', 'client'],
]);

/** The kind of a message, by the text that the trace has of it. */
export function messageKindOf(text: string): MessageKind {
  const space = text.indexOf(' ');
  return KIND_OF_WORD.get(space < 0 ? text : text.slice(0, space)) ?? 'other';
}

/** A frame between two nodes in a few words. */
export function describeFrame(payload: Uint8Array): string {
  try {
    switch (payload[0]) {
      case FRAME_RAFT:
        return describeMessage(decodeMessage(payload.subarray(1)));
      case FRAME_REQUEST: {
        const { id, operation, body } = decodeRequest(payload);
        return `rpc ${id}: ${OPERATIONS.get(operation) ?? operation}, ${body.length} bytes`;
      }
      case FRAME_ANSWER: {
        const answer = decodeAnswer(payload);
        return `rpc ${answer.id}: ${answer.ok ? `answer, ${answer.body.length} bytes` : answer.error.code}`;
      }
      case FRAME_TIME:
        return `time: ${decodeStoreTime(payload).timeMs}`;
      case FRAME_INTRODUCTION:
        return `introduction: reached at ${decodeIntroduction(payload)}`;
      default:
        return `unknown frame, ${payload.length} bytes`;
    }
  } catch (error) {
    const why = error instanceof KvError ? error.code : String(error);
    return `unreadable frame, ${payload.length} bytes: ${why}`;
  }
}

function describeMessage(message: Message): string {
  const { term } = message;
  switch (message.type) {
    case 'preVoteRequest':
      return `pre-vote for term ${term}? log ends at ${message.lastIndex} (term ${message.lastTerm})`;
    case 'preVoteResponse':
      return `pre-vote ${message.granted ? 'granted' : 'refused'}, term ${term}`;
    case 'voteRequest': {
      const why = message.transfer ? ' (leadership handed over)' : '';
      return `vote in term ${term}? log ends at ${message.lastIndex} (term ${message.lastTerm})${why}`;
    }
    case 'voteResponse':
      return `vote ${message.granted ? 'granted' : 'refused'}, term ${term}`;
    case 'appendRequest':
      return describeAppend(message);
    case 'appendResponse':
      return describeAppended(message);
    case 'heartbeatRequest': {
      const round = message.readRound === 0 ? '' : `, read round ${message.readRound}`;
      return `heartbeat term ${term}, commit ${message.commit}${round}`;
    }
    case 'heartbeatResponse':
      return `heartbeat answer term ${term}${message.readRound === 0 ? '' : `, read round ${message.readRound}`}`;
    case 'readIndexRequest':
      return `read index? (${message.context}) term ${term}`;
    case 'readIndexResponse':
      return `read index ${message.index === 0 ? 'unknown' : message.index} (${message.context}) term ${term}`;
    case 'snapshotChunkRequest': {
      const { index, sizeBytes } = message.snapshot;
      const end = message.offset + message.data.length;
      return `snapshot up to ${index}: bytes ${message.offset}..${end} of ${sizeBytes}, term ${term}`;
    }
    case 'snapshotChunkResponse':
      return `snapshot up to ${message.snapshotIndex}: want bytes from ${message.nextOffset}, term ${term}`;
    case 'timeoutNowRequest':
      return `elect yourself now, term ${term}`;
  }
}

function describeAppend({ term, prevIndex, prevTerm, commit, entries }: AppendRequest): string {
  const count = entries.length;
  const what =
    count === 0 ? 'nothing' : count === 1 ? `${prevIndex + 1}` : `${prevIndex + 1}..${prevIndex + count}`;
  return `append ${what} after ${prevIndex} (term ${prevTerm}), commit ${commit}, term ${term}`;
}

function describeAppended({ term, rejected, index, hintIndex, hintTerm }: AppendResponse): string {
  return rejected
    ? `append refused after ${index}, try ${hintIndex} (term ${hintTerm}), term ${term}`
    : `appended up to ${index}, term ${term}`;
}
