/** Frames in words: every kind of message, and any bytes. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import type { Message } from '../../src/raft/types.ts';
import { describeFrame, messageKindOf } from '../../src/sim/timeline/frame_text.ts';
import {
  encodeAnswer,
  encodeIntroduction,
  encodeRequest,
  PEER_WRITE,
  RAFT_PREFIX,
} from '../../src/wire/peer_codec.ts';
import { encodeMessage } from '../../src/wire/raft_codec.ts';
import { test } from '../suite.ts';

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

const ends = { from: 1, to: 2, term: 4 };
const data = new Uint8Array(3);
const snapshot = {
  index: 90,
  term: 3,
  configuration: { voters: [1, 2], votersOutgoing: [], learners: [], members: [], lastId: 2 },
  sizeBytes: 50,
};

const WORDS: readonly (readonly [Message, string, string])[] = [
  [
    { ...ends, type: 'preVoteRequest', lastIndex: 7, lastTerm: 3 },
    'vote',
    'pre-vote for term 4? log ends at 7 (term 3)',
  ],
  [{ ...ends, type: 'preVoteResponse', granted: true }, 'vote', 'pre-vote granted, term 4'],
  [
    { ...ends, type: 'voteRequest', lastIndex: 7, lastTerm: 3, transfer: true },
    'vote',
    'vote in term 4? log ends at 7 (term 3) (leadership handed over)',
  ],
  [{ ...ends, type: 'voteResponse', granted: false }, 'vote', 'vote refused, term 4'],
  [
    {
      ...ends,
      type: 'appendRequest',
      prevIndex: 7,
      prevTerm: 3,
      commit: 6,
      entries: [
        { index: 8, term: 4, kind: 0, data },
        { index: 9, term: 4, kind: 0, data },
      ],
    },
    'append',
    'append 8..9 after 7 (term 3), commit 6, term 4',
  ],
  [
    { ...ends, type: 'appendRequest', prevIndex: 7, prevTerm: 3, commit: 6, entries: [] },
    'append',
    'append nothing after 7 (term 3), commit 6, term 4',
  ],
  [
    { ...ends, type: 'appendResponse', rejected: false, index: 9, hintIndex: 0, hintTerm: 0 },
    'append',
    'appended up to 9, term 4',
  ],
  [
    { ...ends, type: 'appendResponse', rejected: true, index: 9, hintIndex: 5, hintTerm: 2 },
    'append',
    'append refused after 9, try 5 (term 2), term 4',
  ],
  [{ ...ends, type: 'heartbeatRequest', commit: 6, readRound: 0 }, 'heartbeat', 'heartbeat term 4, commit 6'],
  [
    { ...ends, type: 'heartbeatResponse', readRound: 3 },
    'heartbeat',
    'heartbeat answer term 4, read round 3',
  ],
  [{ ...ends, type: 'readIndexRequest', context: 5 }, 'read', 'read index? (5) term 4'],
  [{ ...ends, type: 'readIndexResponse', context: 5, index: 0 }, 'read', 'read index unknown (5) term 4'],
  [
    { ...ends, type: 'snapshotChunkRequest', snapshot, offset: 10, data },
    'snapshot',
    'snapshot up to 90: bytes 10..13 of 50, term 4',
  ],
  [
    { ...ends, type: 'snapshotChunkResponse', snapshotIndex: 90, nextOffset: 13 },
    'snapshot',
    'snapshot up to 90: want bytes from 13, term 4',
  ],
  [{ ...ends, type: 'timeoutNowRequest' }, 'vote', 'elect yourself now, term 4'],
];

test('Raft messages tell their kind, term, indexes and entries', () => {
  for (const [message, kind, words] of WORDS) {
    const text = describeFrame(joined([RAFT_PREFIX, ...encodeMessage(message)]));
    assert.is(text, words);
    assert.is(messageKindOf(text), kind);
  }
});

test('requests between nodes tell what is asked and answered', () => {
  const request = { id: 5, operation: PEER_WRITE, timeoutMs: 10, body: data } as const;
  assert.is(describeFrame(joined(encodeRequest(request))), 'rpc 5: write, 3 bytes');
  assert.is(describeFrame(joined(encodeAnswer({ id: 5, ok: true, body: data }))), 'rpc 5: answer, 3 bytes');
  const error = new KvError('NOT_LEADER', 'ask another');
  const refused = describeFrame(joined(encodeAnswer({ id: 5, ok: false, error })));
  assert.is(refused, 'rpc 5: NOT_LEADER');
  assert.is(messageKindOf(refused), 'rpc');
  const introduced = describeFrame(encodeIntroduction('node-1:7000'));
  assert.is(introduced, 'introduction: reached at node-1:7000');
  assert.is(messageKindOf(introduced), 'rpc');
});

test('property: any bytes have some words', () => {
  const bytes = fc.uint8Array({ maxLength: 60 });
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 4 }), bytes, (first, rest) => {
      const text = describeFrame(Uint8Array.of(first, ...rest));
      assert.ok(text.length > 0 && text.length < 300);
    }),
  );
  assert.is(describeFrame(new Uint8Array()), 'unknown frame, 0 bytes');
  assert.match(describeFrame(Uint8Array.of(0, 1, 99)), /^unreadable frame, 3 bytes: /);
  assert.is(messageKindOf('unreadable frame'), 'other');
  assert.is(messageKindOf('bytes'), 'client');
});

test.run();
