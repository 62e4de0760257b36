/** The in-process network: the suite that all transports run, and the faults it can make. */

import * as assert from 'uvu/assert';
import type { Ports } from '../../src/ports.ts';
import { realPorts } from '../../src/real_ports.ts';
import { MemoryNetwork, type MemoryNetworkOptions } from '../../transports/memory.ts';
import type { Transport } from '../../transports/transport.ts';
import { test } from '../suite.ts';
import { rejects, type TransportHarness, transportConformance } from './conformance.ts';

transportConformance(test, async (options) => {
  const network = new MemoryNetwork({ ports: realPorts(), ...options });
  const created: Transport[] = [];
  const places = new Map<number, number>();
  const harness: TransportHarness = {
    create(id) {
      const transport = network.transport(id, `memory:${id}/${places.get(id) ?? 0}`);
      created.push(transport);
      return transport;
    },
    addressOf: async (_id, started) => started,
    move: (id) => void places.set(id, (places.get(id) ?? 0) + 1),
    stall: (id) => {
      for (let from = 1; from < 6; from++) network.setLink(from, id, { held: true });
    },
    resume: (id) => {
      for (let from = 1; from < 6; from++) network.setLink(from, id);
    },
    async close() {
      for (const transport of created) await transport.close();
    },
  };
  return harness;
});

/** Time that passes when the test says so, and chance that a seed decides. */
type VirtualPorts = Ports & { run(untilMs?: number): void; nowMs: number };

function virtualPorts(seed = 1): VirtualPorts {
  let queue: { atMs: number; order: number; run: () => void }[] = [];
  let order = 0;
  let state = seed;
  const add = (delayMs: number, run: () => void) => {
    const item = { atMs: ports.nowMs + delayMs, order: order++, run };
    queue.push(item);
    return {
      cancel: () => {
        queue = queue.filter((other) => other !== item);
      },
    };
  };
  const ports: VirtualPorts = {
    nowMs: 0,
    clock: { wallMs: () => ports.nowMs, monotonicMs: () => ports.nowMs },
    timers: {
      after: add,
      every: () => ({ cancel: () => {} }),
      soon: (run: () => void) => void add(0, run),
      afterIo: (run: () => void) => void add(0, run),
    },
    random: {
      next: () => {
        state = (Math.imul(state, 1103515245) + 12345) >>> 0;
        return state / 2 ** 32;
      },
      bytes: (count: number) => new Uint8Array(count),
    },
    run(untilMs = ports.nowMs) {
      for (;;) {
        queue.sort((a, b) => a.atMs - b.atMs || a.order - b.order);
        const next = queue[0];
        if (next === undefined || next.atMs > untilMs) break;
        queue.shift();
        ports.nowMs = next.atMs;
        next.run();
      }
      ports.nowMs = untilMs;
    },
  };
  return ports;
}

async function trio(options: Partial<MemoryNetworkOptions> = {}, seed = 1) {
  const ports = virtualPorts(seed);
  const network = new MemoryNetwork({ ports, ...options });
  const heard: string[] = [];
  const nodes = [1, 2, 3].map((id) => network.transport(id));
  for (const [i, node] of nodes.entries()) {
    await node.start({
      frame: ({ from, payload }) => void heard.push(`${from}>${i + 1}:${Buffer.from(payload).toString()}`),
    });
    for (let id = 1; id <= 3; id++) node.setPeer(id, `memory:${id}`);
  }
  ports.run();
  const say = (from: number, to: number, text: string) => nodes[from - 1]!.send(to, [Buffer.from(text)]);
  const take = () => heard.splice(0);
  return { ports, network, nodes, say, take };
}

test('the sender may change its bytes after sending: they were copied', async () => {
  const { ports, nodes, take } = await trio();
  const bytes = Buffer.from('before');
  nodes[0]!.send(2, [bytes]);
  bytes.fill(0);
  ports.run();
  assert.equal(take(), ['1>2:before']);
});

test('a partition cuts both ways, a one-way partition one, and healing ends both', async () => {
  const { ports, network, say, take, nodes } = await trio();
  network.partition([1], [2, 3]);
  assert.ok(say(1, 2, 'a'), 'a sender does not notice');
  say(2, 1, 'b');
  say(2, 3, 'c');
  ports.run();
  assert.equal(take(), ['2>3:c']);
  assert.is(nodes[0]!.stats().framesDropped, 1);
  network.heal();
  network.partitionOneWay([1], [2]);
  say(1, 2, 'd');
  say(2, 1, 'e');
  ports.run();
  assert.equal(take(), ['2>1:e']);
  network.heal();
  say(1, 2, 'f');
  ports.run();
  assert.equal(take(), ['1>2:f']);
});

test('a partition also loses what is under way', async () => {
  const { ports, network, say, take, nodes } = await trio();
  network.setLink(1, 2, { delayMs: 10 });
  say(1, 2, 'under way');
  network.partition([1], [2]);
  ports.run(20);
  assert.equal(take(), []);
  assert.is(nodes[0]!.stats().framesDropped, 1);
  assert.is(nodes[0]!.stats().queuedBytes, 0);
});

test('a delay is kept, and a delay that shrinks does not reorder', async () => {
  const { ports, network, say, take } = await trio();
  network.setLink(1, 2, { delayMs: 100 });
  say(1, 2, 'slow');
  network.setLink(1, 2, { delayMs: 1 });
  say(1, 2, 'fast');
  ports.run(99);
  assert.equal(take(), []);
  ports.run(100);
  assert.equal(take(), ['1>2:slow', '1>2:fast']);
});

test('a drop rate loses about its share, and the same seed loses the same frames', async () => {
  const run = async (seed: number) => {
    const { ports, network, say, take } = await trio({}, seed);
    network.setLink(1, 2, { dropRate: 0.5 });
    for (let i = 0; i < 200; i++) say(1, 2, `${i}`);
    ports.run();
    return take();
  };
  const first = await run(7);
  assert.ok(first.length > 60 && first.length < 140, `${first.length} of 200 arrived`);
  assert.equal(await run(7), first);
  assert.not.equal(await run(8), first);
});

test('delivery may also follow the call stack at once', async () => {
  const { ports, say, take } = await trio({ delivery: 'soon' });
  say(1, 2, 'x');
  assert.equal(take(), []);
  ports.run();
  assert.equal(take(), ['1>2:x']);
});

test('frames to a node that restarted in the meantime are lost, not given to the new one', async () => {
  const { ports, network, say, take, nodes } = await trio();
  network.setLink(1, 2, { delayMs: 10 });
  say(1, 2, 'for the old one');
  await nodes[1]!.close();
  const heard: string[] = [];
  await network.transport(2).start({ frame: () => void heard.push('frame') });
  ports.run(50);
  assert.equal([...take(), ...heard], []);
  assert.ok(say(1, 2, 'for the new one'));
  ports.run(100);
  assert.equal(heard, ['frame']);
});

test('two nodes cannot have one address, and a transport starts once', async () => {
  const { network, nodes } = await trio();
  await rejects('UNAVAILABLE', () => network.transport(4, 'memory:1').start({ frame: () => {} }));
  await rejects('INTERNAL', () => nodes[0]!.start({ frame: () => {} }));
});

test('an address at which another node lives is no connection', async () => {
  const { ports, nodes, say } = await trio();
  nodes[0]!.setPeer(2, 'memory:3');
  ports.run();
  assert.not(say(1, 2, 'x'));
});

test.run();
