/** Arbitrary Raft messages that carry numbers and flags only: all but appends and chunks of snapshots. */
import type * as fc from 'fast-check';
import { boolean, constant, record } from 'fast-check';
import type { Message } from '../../src/raft/types.ts';

type Numbers = fc.Arbitrary<number>;

/** @param base what every message has. @param number indexes, terms and contexts. */
export function plainMessages(
  base: { readonly from: Numbers; readonly to: Numbers; readonly term: Numbers },
  number: Numbers,
): fc.Arbitrary<Message>[] {
  return [
    record({ type: constant('preVoteRequest' as const), ...base, lastIndex: number, lastTerm: number }),
    record({ type: constant('preVoteResponse' as const), ...base, granted: boolean() }),
    record({
      type: constant('voteRequest' as const),
      ...base,
      lastIndex: number,
      lastTerm: number,
      transfer: boolean(),
    }),
    record({ type: constant('voteResponse' as const), ...base, granted: boolean() }),
    record({
      type: constant('appendResponse' as const),
      ...base,
      rejected: boolean(),
      index: number,
      hintIndex: number,
      hintTerm: number,
    }),
    record({ type: constant('heartbeatRequest' as const), ...base, commit: number, readRound: number }),
    record({ type: constant('heartbeatResponse' as const), ...base, readRound: number }),
    record({ type: constant('readIndexRequest' as const), ...base, context: number }),
    record({ type: constant('readIndexResponse' as const), ...base, context: number, index: number }),
    record({
      type: constant('snapshotChunkResponse' as const),
      ...base,
      snapshotIndex: number,
      nextOffset: number,
    }),
    record({ type: constant('timeoutNowRequest' as const), ...base }),
  ];
}
