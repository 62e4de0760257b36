/** A node that was removed from its cluster while it was away learns of it from the first peer that it dials. */

import * as assert from 'uvu/assert';
import { realPorts } from '../../src/real_ports.ts';
import { TcpTransport } from '../../transports/tcp.ts';
import { test } from '../suite.ts';
import { until } from './conformance.ts';
import { QUICK } from './tcp_lab.ts';

test('a removed member is refused and told; others are let in', async () => {
  const member = new TcpTransport({ ...QUICK, id: 1, ports: realPorts() });
  const removed = new TcpTransport({ ...QUICK, id: 2, ports: realPorts() });
  const joining = new TcpTransport({ ...QUICK, id: 3, ports: realPorts() });
  const told: string[] = [];
  const connected: string[] = [];
  const nothing = (): void => undefined;
  try {
    const address = await member.start({ frame: nothing, wasRemoved: (peer) => peer === 2 });
    for (const [name, transport] of Object.entries({ removed, joining })) {
      await transport.start({
        frame: nothing,
        connected: () => void connected.push(name),
        removed: (by) => void told.push(`${name} by ${by}`),
      });
      transport.setPeer(1, address);
    }
    await until('both to be answered', () => told.length > 0 && connected.length > 0);
    assert.equal(connected, ['joining']);
    assert.is(told[0], 'removed by 1');
    assert.is(removed.send(1, [new Uint8Array(1)]), false);
  } finally {
    await Promise.all([member.close(), removed.close(), joining.close()]);
  }
});

test.run();
