/**
 * What the checks need of a Raft frame on its way: as little as possible, since every frame of every run passes here.
 *
 *     payload := FRAME_RAFT version:u8 type:u8 from:varint to:varint term:varint …      (wire/raft_codec.ts)
 */
import { FRAME_RAFT } from '../../wire/peer_codec.ts';
import { TYPE_NUMBERS } from '../../wire/raft_codec.ts';
import { ByteReader } from '../../wire/varint.ts';

/** What a node promises with a frame: a vote, that it leads, or that its disk holds a log up to an index. */
export type Promised =
  | { readonly type: 'vote'; readonly from: number; readonly to: number; readonly term: number }
  | { readonly type: 'leads'; readonly from: number; readonly term: number }
  | { readonly type: 'holds'; readonly from: number; readonly term: number; readonly index: number };

/** undefined: nothing. REQUIRES: the frame was made by a node. */
export function promiseOf(payload: Uint8Array): Promised | undefined {
  if (payload[0] !== FRAME_RAFT) return undefined;
  const type = payload[2];
  switch (type) {
    case TYPE_NUMBERS.voteRequest:
    case TYPE_NUMBERS.voteResponse:
    case TYPE_NUMBERS.appendRequest:
    case TYPE_NUMBERS.appendResponse:
    case TYPE_NUMBERS.heartbeatRequest:
      break;
    default:
      return undefined;
  }
  const reader = new ByteReader(payload.subarray(3));
  const from = reader.varint();
  const to = reader.varint();
  const term = reader.varint();
  if (type === TYPE_NUMBERS.voteRequest) return { type: 'vote', from, to: from, term };
  if (type === TYPE_NUMBERS.voteResponse) return reader.bool() ? { type: 'vote', from, to, term } : undefined;
  if (type !== TYPE_NUMBERS.appendResponse) return { type: 'leads', from, term };
  return reader.bool() ? undefined : { type: 'holds', from, term, index: reader.varint() };
}
