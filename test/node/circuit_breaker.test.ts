/** The circuit breaker by itself, and in the requests between nodes. */

import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { CircuitBreaker } from '../../src/node/circuit_breaker.ts';
import { PeerRpc } from '../../src/node/peer_rpc.ts';
import { realPorts } from '../../src/real_ports.ts';
import { decodeRequest, encodeAnswer, PEER_WRITE } from '../../src/wire/peer_codec.ts';
import type { Transport } from '../../transports/transport.ts';
import { test } from '../suite.ts';

test('five time-outs in a row open it for a second; then one call at a time finds out', () => {
  let nowMs = 0;
  const breaker = new CircuitBreaker(() => nowMs);
  for (let i = 0; i < 5; i++) {
    assert.ok(breaker.admits(2));
    breaker.timedOut(2);
  }
  assert.not(breaker.admits(2));
  assert.ok(breaker.admits(3), 'others are not concerned');
  nowMs = 999;
  assert.not(breaker.admits(2));
  nowMs = 1_000;
  assert.ok(breaker.admits(2), 'one tries');
  assert.not(breaker.admits(2), 'the others wait');
  breaker.timedOut(2);
  nowMs = 1_999;
  assert.not(breaker.admits(2));
  nowMs = 2_000;
  assert.ok(breaker.admits(2));
  nowMs = 2_500;
  breaker.timedOut(2);
  nowMs = 3_000;
  assert.ok(breaker.admits(2), 'what times out of the calls before does not keep others from trying');
  breaker.answered(2);
  assert.ok(breaker.admits(2) && breaker.admits(2));
  for (let i = 0; i < 4; i++) breaker.timedOut(2);
  breaker.answered(2);
  breaker.timedOut(2);
  assert.ok(breaker.admits(2), 'in a row');
});

test('a peer that does not answer is spared further calls until it answers, or its connection is lost', async () => {
  let nowMs = 0;
  const sent: Uint8Array[] = [];
  const transport: Pick<Transport, 'send'> = {
    send: (_peer, parts) => {
      sent.push(Buffer.concat(parts));
      return true;
    },
  };
  const nobody = async (): Promise<Uint8Array> => new Uint8Array(0);
  const rpc = new PeerRpc(transport as Transport, () => nowMs, realPorts().random, nobody);
  const outcome = (call: Promise<Uint8Array>): Promise<string> =>
    call.then(
      () => 'answered',
      (error: unknown) => (error instanceof KvError ? `${error.code} ${error.maybeApplied}` : 'else'),
    );
  const call = (): Promise<string> => outcome(rpc.call(2, PEER_WRITE, new Uint8Array(1), 100));
  const silent = async (): Promise<void> => {
    const calls = Array.from({ length: 5 }, call);
    nowMs += 100;
    rpc.sweep();
    assert.equal(await Promise.all(calls), Array(5).fill('TIMEOUT true'));
  };
  await silent();
  const before = sent.length;
  assert.is(await call(), 'UNAVAILABLE false');
  assert.is(sent.length, before, 'nothing was sent');
  nowMs += 1_000;
  const tries = call();
  assert.is(await call(), 'UNAVAILABLE false');
  const { id } = decodeRequest(sent.at(-1) as Uint8Array);
  rpc.onAnswer(2, Buffer.concat(encodeAnswer({ id, ok: false, error: new KvError('NOT_LEADER', 'no') })));
  assert.is(await tries, 'NOT_LEADER false', 'an error is an answer');
  await silent();
  assert.is(await call(), 'UNAVAILABLE false');
  const late = Buffer.concat(encodeAnswer({ id, ok: true, body: new Uint8Array(1) }));
  rpc.onAnswer(3, late);
  assert.is(await call(), 'UNAVAILABLE false', 'another peer has answered');
  rpc.onAnswer(2, late);
  await silent();
  rpc.disconnected(2);
  const after = call();
  assert.is(decodeRequest(sent.at(-1) as Uint8Array).operation, PEER_WRITE);
  rpc.close();
  assert.is(await after, 'UNAVAILABLE true');
});

test.run();
