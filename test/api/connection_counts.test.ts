/** Connections by address: counted until they are closed, and what an address counts as. */
import { EventEmitter } from 'node:events';
import * as assert from 'uvu/assert';
import { ConnectionCounts, countedAddress } from '../../src/api/connection_counts.ts';
import type { ByteStream } from '../../src/byte_stream.ts';
import { test } from '../suite.ts';

function stream(remoteAddress: string | undefined): ByteStream & EventEmitter {
  return Object.assign(new EventEmitter(), { remoteAddress }) as unknown as ByteStream & EventEmitter;
}

test('an address counts until its connections are closed or given back, once each', () => {
  const counts = new ConnectionCounts(2);
  const first = stream('10.0.0.1');
  assert.ok(counts.take(first));
  const second = counts.take(stream('::ffff:10.0.0.1'));
  assert.ok(second);
  assert.is(counts.take(stream('10.0.0.1')), undefined);
  assert.ok(counts.take(stream('10.0.0.2')), 'another address');
  second!.release();
  second!.release();
  assert.ok(counts.take(stream('10.0.0.1')));
  assert.is(counts.take(stream('10.0.0.1')), undefined, 'given back once');
  first.emit('close');
  assert.ok(counts.take(stream('10.0.0.1')));
  for (let i = 0; i < 5; i++) assert.ok(counts.take(stream(undefined)), 'no address, no count');
});

test('of IPv6 the network counts, in whatever form it is written', () => {
  const same = ['2001:db8:0:1::1', '2001:DB8:0:1:2:3:4:5', '2001:db8:0:1::', '2001:db8::1:0:0:0:9'];
  assert.equal([...new Set(same.map(countedAddress))], ['2001:db8:0:1']);
  assert.is(countedAddress('fe80::1%eth0'), 'fe80:0:0:0');
  assert.is(countedAddress('::1'), '0:0:0:0');
  assert.is(countedAddress('::ffff:192.168.1.2'), '192.168.1.2');
  assert.is(countedAddress('192.168.1.2'), '192.168.1.2');
});

test.run();
