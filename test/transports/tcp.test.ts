/** The TCP transport: the suite that all transports run, dead connections, and a clean end. */

import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import type { Ports } from '../../src/ports.ts';
import { realPorts } from '../../src/real_ports.ts';
import { Backoff } from '../../transports/backoff.ts';
import { TcpTransport } from '../../transports/tcp.ts';
import type { TcpTransportOptions } from '../../transports/tcp_options.ts';
import { test } from '../suite.ts';
import { rejects, type TransportHarness, transportConformance, until } from './conformance.ts';
import { QUICK, scenariosOf } from './tcp_lab.ts';
import { TcpProxy } from './tcp_proxy.ts';

transportConformance(test, async (options) => {
  const created: TcpTransport[] = [];
  const proxies = new Map<number, TcpProxy>();
  const all: TcpProxy[] = [];
  const addresses = new Map<number, string>();
  const harness: TransportHarness = {
    create(id) {
      const transport = new TcpTransport({ ...QUICK, ...options, id, ports: realPorts() });
      created.push(transport);
      return transport;
    },
    // Everybody is reached through a proxy: it can stop reading, and its address outlives a restart.
    async addressOf(id, started) {
      const known = proxies.get(id);
      if (known !== undefined) {
        known.target = started;
        return addresses.get(id)!;
      }
      const proxy = new TcpProxy(started);
      all.push(proxy);
      proxies.set(id, proxy);
      const address = await proxy.start();
      addresses.set(id, address);
      return address;
    },
    move: (id) => void proxies.delete(id),
    stall: (id) => proxies.get(id)!.freeze(),
    resume: (id) => proxies.get(id)!.thaw(),
    async close() {
      for (const transport of created) await transport.close();
      for (const proxy of all) await proxy.close();
    },
  };
  return harness;
});

const scenario = scenariosOf(test);

scenario('a half-open connection is noticed by both ends although nobody closes it', async (lab) => {
  const quick = { keepAliveMs: 20, deadAfterMs: 100, handshakeTimeoutMs: 100 };
  const a = await lab.node(1, quick);
  const b = await lab.node(2, quick);
  const { proxy, address } = await lab.proxy(b.address);
  a.transport.setPeer(2, address);
  await until('connected', () => a.connected.has(2));
  proxy.freeze();
  await until('the dialing end notices', () => a.lost.some((reason) => /nothing heard/.test(reason)));
  await until('the accepting end notices', () =>
    lab.events.some((event) => event.type === 'incomingClosed' && /nothing heard/.test(event.reason)),
  );
  assert.not(a.transport.send(2, [new Uint8Array(1)]));
  proxy.thaw();
  await until('connected again', () => a.connected.has(2));
});

scenario('an idle connection is kept alive by pings', async (lab) => {
  const quick = { keepAliveMs: 10, deadAfterMs: 60 };
  const a = await lab.node(1, quick);
  const b = await lab.node(2, quick);
  a.transport.setPeer(2, b.address);
  await until('connected', () => a.connected.has(2));
  const startMs = performance.now();
  await until('five times the dead line has passed', () => performance.now() - startMs > 300);
  assert.is(a.lost.length, 0);
  assert.equal(
    lab.events.filter((event) => event.type === 'incomingClosed'),
    [],
  );
});

scenario('a process that was paused does not blame its peers for the silence', async (lab) => {
  const real = realPorts();
  let skippedMs = 0;
  const ports: Ports = {
    ...real,
    clock: { ...real.clock, monotonicMs: () => real.clock.monotonicMs() + skippedMs },
  };
  const a = await lab.node(1, { keepAliveMs: 20, deadAfterMs: 5000, ports });
  const b = await lab.node(2);
  a.transport.setPeer(2, b.address);
  await until('connected', () => a.connected.has(2));
  skippedMs = 60_000;
  await a.sendSurely(2, [Buffer.from('still there')]);
  await until('heard', () => b.inbox.length === 1);
  const startMs = performance.now();
  await until('some keep-alives have passed', () => performance.now() - startMs > 100);
  assert.is(a.lost.length, 0);
});

scenario('a connection that breaks in the middle of a frame loses that frame alone', async (lab) => {
  const a = await lab.node(1);
  const b = await lab.node(2);
  const { proxy, address } = await lab.proxy(b.address);
  a.transport.setPeer(2, address);
  for (let round = 0; round < 10; round++) {
    await until('connected', () => a.connected.has(2));
    const losses = a.lost.length;
    for (let i = 0; i < 20; i++) a.transport.send(2, [Buffer.alloc(100_000, round)]);
    a.transport.flush();
    if (round % 2 === 0) await new Promise((resolve) => setImmediate(resolve));
    proxy.cut();
    await until('the loss is noticed', () => a.lost.length > losses);
  }
  for (const { payload } of b.inbox) {
    assert.is(payload.length, 100_000);
    assert.ok(Buffer.from(payload).equals(Buffer.alloc(100_000, payload[0])));
  }
});

scenario('an address that cannot be one is reported, and a better one later is taken', async (lab) => {
  const a = await lab.node(1);
  const b = await lab.node(2);
  a.transport.setPeer(2, 'nowhere');
  await until('reported', () =>
    lab.events.some((event) => event.type === 'connectFailed' && event.error.code === 'INVALID_ARGUMENT'),
  );
  a.transport.setPeer(2, b.address);
  await until('connected', () => a.connected.has(2));
  a.transport.setPeer(2, b.address);
  assert.is(a.lost.length, 0, 'the same address again changes nothing');
});

scenario(
  'a peer that is to move is heard from where it still is, and dialed where it will be',
  async (lab) => {
    const a = await lab.node(1);
    const b = await lab.node(2);
    const old = await lab.proxy(b.address);
    a.transport.setPeer(2, old.address);
    await until('connected', () => a.connected.has(2));
    const { proxy, address } = await lab.proxy(b.address);
    a.transport.setPeer(2, address);
    await a.sendSurely(2, [Buffer.from('still there')]);
    await until('heard', () => b.inbox.length === 1);
    assert.is(a.lost.length, 0);
    assert.is(proxy.accepted, 0);
    old.proxy.cut();
    await until('connected anew', () => a.lost.length === 1 && a.connected.has(2));
    assert.is(proxy.accepted, 1);
    await a.sendSurely(2, [Buffer.from('there now')]);
    await until('heard again', () => b.inbox.length === 2);
  },
);

scenario('a peer that cannot be reached is dialed at its new address at once', async (lab) => {
  const a = await lab.node(1, { reconnectMinMs: 3_600_000, reconnectMaxMs: 3_600_000 });
  const b = await lab.node(2);
  a.transport.setPeer(2, 'nowhere');
  await until('reported', () => lab.events.some((event) => event.type === 'connectFailed'));
  a.transport.setPeer(2, b.address);
  await until('connected', () => a.connected.has(2));
});

scenario('after close nothing is left: no socket, no server, no timer', async (lab) => {
  const real = realPorts();
  let timers = 0;
  const counted: Ports = {
    ...real,
    timers: {
      ...real.timers,
      after(delayMs, run) {
        timers++;
        let live = true;
        const done = () => {
          if (live) timers--;
          live = false;
        };
        const handle = real.timers.after(delayMs, () => {
          done();
          run();
        });
        return {
          cancel: () => {
            done();
            handle.cancel();
          },
        };
      },
      every(intervalMs, run) {
        timers++;
        const handle = real.timers.every(intervalMs, run);
        return {
          cancel: () => {
            timers--;
            handle.cancel();
          },
        };
      },
    },
  };
  const handles = () =>
    process.getActiveResourcesInfo().filter((name) => /TCP|Timeout|GetAddrInfo/.test(name)).length;
  const before = handles();
  const a = new TcpTransport({ ...QUICK, id: 1, ports: counted });
  const b = new TcpTransport({ ...QUICK, id: 2, ports: counted });
  const heard = { frame: () => {} };
  const [addressA, addressB] = [await a.start(heard), await b.start(heard)];
  a.setPeer(2, addressB);
  b.setPeer(1, addressA);
  a.setPeer(3, '127.0.0.1:1');
  await until('connected', () => a.stats().connectedPeers === 1 && b.stats().connectedPeers === 1);
  lab.stranger(addressA);
  a.send(2, [new Uint8Array(1_000_000)]);
  await Promise.all([a.close(), b.close()]);
  assert.is(timers, 0);
  assert.is(a.stats().connections + b.stats().connections, 0);
  await until('no handle is left', () => handles() <= before, 2000);
});

scenario('start: an address in use, a second start, closing at once', async (lab) => {
  const node = await lab.node(1);
  const second = new TcpTransport({ ...QUICK, listen: node.address, id: 2, ports: realPorts() });
  await rejects('UNAVAILABLE', () => second.start({ frame: () => {} }));
  await second.close();
  await rejects('INTERNAL', () => node.transport.start({ frame: () => {} }));
  const hasty = new TcpTransport({ ...QUICK, id: 3, ports: realPorts() });
  const starting = rejects('CLOSED', () => hasty.start({ frame: () => {} }));
  await hasty.close();
  await starting;
});

scenario('the address for peers is the advertised one, with the real port in place of 0', async (lab) => {
  assert.match((await lab.node(1)).address, /^127\.0\.0\.1:[1-9]\d*$/);
  assert.match((await lab.node(2, { advertise: 'node.example:0' })).address, /^node\.example:[1-9]\d*$/);
  assert.is((await lab.node(3, { advertise: '[::1]:7401' })).address, '[::1]:7401');
});

test('wrong options are named', () => {
  const wrong = (options: Partial<TcpTransportOptions>, pattern: RegExp) =>
    assert.throws(
      () => new TcpTransport({ ...QUICK, id: 1, ports: realPorts(), ...options }),
      (error: unknown) =>
        error instanceof KvError && error.code === 'CONFIG_INVALID' && pattern.test(error.message),
    );
  wrong({ id: 0 }, /id is 0/);
  wrong({ clusterId: 'seven' }, /clusterId is seven/);
  wrong({ clusterId: 1n << 64n }, /clusterId/);
  wrong({ clusterId: -1n }, /clusterId/);
  wrong({ listen: '127.0.0.1' }, /listen is "127.0.0.1"/);
  wrong({ advertise: 'x:99999' }, /advertise/);
  wrong({ keepAliveMs: 100, deadAfterMs: 150 }, /deadAfterMs is 150/);
  wrong({ maxFrameBytes: 1.5 }, /maxFrameBytes/);
});

test('pauses between attempts grow to the maximum, with jitter, and start over after a reset', () => {
  for (const chance of [0, 0.999]) {
    const backoff = new Backoff(100, 1000, { next: () => chance, bytes: (count) => new Uint8Array(count) });
    const pauses = Array.from({ length: 6 }, () => backoff.nextMs());
    for (const [i, full] of [100, 200, 400, 800, 1000, 1000].entries()) {
      assert.ok(pauses[i]! >= full / 2 && pauses[i]! < full, `${pauses[i]} of ${full}`);
    }
    backoff.reset();
    assert.ok(backoff.nextMs() < 100);
  }
});

test.run();
