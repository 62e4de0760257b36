/**
 * A node that was killed and came back took the answer to a request of its life before for the answer to one of its own: ids of requests between nodes began at 1
 * in every life, and the transport delivers by peer. Clients of a follower were given each other's results.
 */

import * as assert from 'uvu/assert';
import { PeerRpc } from '../../../src/node/peer_rpc.ts';
import { SeededRandom } from '../../../src/sim/core/seeded_random.ts';
import { FRAME_ANSWER, PEER_STATUS } from '../../../src/wire/peer_codec.ts';
import type { Transport } from '../../../transports/transport.ts';
import { test } from '../../suite.ts';

/** A transport that keeps what is sent. */
function keeping(sent: Uint8Array[]): Transport {
  return {
    start: async () => 'nowhere',
    setPeer: () => undefined,
    removePeer: () => undefined,
    send(_to, parts) {
      sent.push(Buffer.concat(parts));
      return true;
    },
    flush: () => undefined,
    stats: () => ({
      framesSent: 0,
      framesReceived: 0,
      framesDropped: 0,
      bytesSent: 0,
      bytesReceived: 0,
      queuedBytes: 0,
    }),
    close: async () => undefined,
  };
}

function never(): Promise<Uint8Array> {
  return new Promise(() => undefined);
}

test('an answer to the life before does not answer a request of this life', async () => {
  const nowMs = (): number => 0;
  const asked: Uint8Array[] = [];
  const before = new PeerRpc(keeping(asked), nowMs, new SeededRandom('first life'), never);
  void before.call(2, PEER_STATUS, Uint8Array.of(1), 1_000).catch(() => undefined);
  // The other node is slow: it answers when the node that asked has been killed and is back.
  const answers: Uint8Array[] = [];
  const other = new PeerRpc(keeping(answers), nowMs, new SeededRandom('other node'), async () =>
    Uint8Array.of(111),
  );
  other.onRequest(1, asked[0]!);
  await new Promise((resolve) => setImmediate(resolve));
  assert.is(answers[0]![0], FRAME_ANSWER);

  const again: Uint8Array[] = [];
  const now = new PeerRpc(keeping(again), nowMs, new SeededRandom('second life'), never);
  const answer = now.call(2, PEER_STATUS, Uint8Array.of(2), 1_000);
  now.onAnswer(2, answers[0]!);
  const first = await Promise.race([answer, Promise.resolve('nothing')]);
  assert.is(first, 'nothing');

  other.onRequest(1, again[0]!);
  await new Promise((resolve) => setImmediate(resolve));
  now.onAnswer(2, answers[1]!);
  assert.equal([...(await answer)], [111]);
});

test.run();
