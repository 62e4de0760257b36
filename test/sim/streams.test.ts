/** Byte streams in virtual time behave as sockets do, and go wrong as sockets do. */

import * as assert from 'uvu/assert';
import type { ByteStream } from '../../src/byte_stream.ts';
import { Scheduler } from '../../src/sim/core/scheduler.ts';
import { SeededRandom } from '../../src/sim/core/seeded_random.ts';
import { MachineClock, SimProcess } from '../../src/sim/core/sim_process.ts';
import { Trace } from '../../src/sim/core/trace.ts';
import { StreamNetwork } from '../../src/sim/machines/streams.ts';
import { test } from '../suite.ts';

const ADDRESS = 'node-1:7400';
const KIB = 1024;

class Lab {
  readonly scheduler = new Scheduler();
  readonly network: StreamNetwork;
  readonly client: SimProcess;
  server: SimProcess;
  /** Streams that the server took. */
  readonly taken: ByteStream[] = [];
  readonly test: SimProcess;

  constructor(seed = 1) {
    const random = new SeededRandom(seed);
    const trace = new Trace(false, () => this.scheduler.nowMs);
    this.network = new StreamNetwork(this.scheduler, trace, random.fork('streams'));
    this.client = this.process('client-1');
    this.server = this.process('node-1');
    this.test = this.process('world');
  }

  process(lane: string): SimProcess {
    return new SimProcess(lane, this.scheduler, new MachineClock(this.scheduler, 0), new SeededRandom(lane));
  }

  async listen(): Promise<void> {
    await this.network.listenFor(this.server)(ADDRESS, {
      accept: (stream) => this.taken.push(stream),
      failed: (error) => {
        throw error;
      },
    });
  }

  dial(): { stream: ByteStream; told: string[]; received: number[] } {
    const stream = this.network.dialFrom(this.client)(ADDRESS);
    return { stream, ...observe(stream) };
  }

  run(body: () => Promise<void>): Promise<void> {
    return this.scheduler.drive(body, { deadlineMs: 60_000 });
  }

  sleep(ms: number): Promise<void> {
    return this.test.sleep(ms);
  }

  /** A connection, both ends. */
  async connected(): Promise<{ near: ReturnType<Lab['dial']>; far: ByteStream }> {
    await this.listen();
    const near = this.dial();
    await this.sleep(20);
    assert.is(this.taken.length, 1);
    return { near, far: this.taken[0]! };
  }
}

function observe(stream: ByteStream): { told: string[]; received: number[] } {
  const told: string[] = [];
  const received: number[] = [];
  stream.on('data', (chunk) => received.push(...chunk));
  stream.on('error', (error) => told.push(error.message));
  stream.on('end', () => told.push('end'));
  stream.on('close', () => told.push('close'));
  stream.on('drain', () => told.push('drain'));
  return { told, received };
}

test('bytes arrive in order, both ways, and an end is an end for both', async () => {
  const lab = new Lab();
  await lab.run(async () => {
    const { near, far } = await lab.connected();
    const other = observe(far);
    for (let i = 0; i < 50; i++) near.stream.write(Uint8Array.of(i));
    far.write(Uint8Array.of(7, 8));
    await lab.sleep(20);
    assert.equal(
      other.received,
      Array.from({ length: 50 }, (_, i) => i),
    );
    assert.equal(near.received, [7, 8]);
    far.end();
    await lab.sleep(20);
    assert.equal(near.told, ['end', 'close']);
    assert.equal(other.told, ['end', 'close']);
    assert.is(lab.network.open, 0);
  });
});

test('bytes that were written are the writer’s again at once', async () => {
  const lab = new Lab();
  await lab.run(async () => {
    const { near, far } = await lab.connected();
    const other = observe(far);
    const buffer = Uint8Array.of(1, 2, 3);
    near.stream.write(buffer);
    buffer.fill(9);
    await lab.sleep(20);
    assert.equal(other.received, [1, 2, 3]);
  });
});

test('a receiver that does not read stops its sender, whose bytes then count as queued until they drain', async () => {
  const lab = new Lab();
  await lab.run(async () => {
    const { near, far } = await lab.connected();
    const other = observe(far);
    far.pause();
    for (let i = 0; i < 40; i++) near.stream.write(new Uint8Array(4 * KIB));
    await lab.sleep(50);
    assert.is(near.stream.writableLength, (160 - 64) * KIB);
    assert.is(other.received.length, 0);
    assert.equal(near.told, []);
    far.resume();
    await lab.sleep(100);
    assert.is(near.stream.writableLength, 0);
    assert.is(other.received.length, 160 * KIB);
    assert.equal(near.told, ['drain']);
  });
});

test('a paused process takes nothing, and everything in order once it goes on', async () => {
  const lab = new Lab();
  await lab.run(async () => {
    const { near, far } = await lab.connected();
    const other = observe(far);
    lab.server.pause();
    for (let i = 0; i < 10; i++) near.stream.write(Uint8Array.of(i));
    await lab.sleep(2_000);
    assert.equal(other.received, []);
    lab.server.resume();
    await lab.sleep(1);
    assert.equal(other.received, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });
});

test('a blocked way is silence; what was sent comes when it is mended, in order', async () => {
  const lab = new Lab();
  await lab.run(async () => {
    const { near, far } = await lab.connected();
    const other = observe(far);
    lab.network.setWay('client-1', 'node-1', { blocked: true });
    for (let i = 0; i < 20; i++) near.stream.write(Uint8Array.of(i));
    far.write(Uint8Array.of(99));
    await lab.sleep(5_000);
    assert.equal(other.received, []);
    assert.equal(near.received, [99], 'the other way is open');
    assert.equal(near.told, []);
    lab.network.heal();
    near.stream.write(Uint8Array.of(20));
    await lab.sleep(20);
    assert.equal(
      other.received,
      Array.from({ length: 21 }, (_, i) => i),
    );
  });
});

test('what was sent right before a blocked way is mended does not overtake what waited', async () => {
  // The last piece is still on its way when the others set out again: seeds differ in who would come first.
  for (let seed = 1; seed <= 20; seed++) {
    const lab = new Lab(seed);
    await lab.run(async () => {
      const { near, far } = await lab.connected();
      const { received } = observe(far);
      lab.network.setWay('client-1', 'node-1', { blocked: true });
      near.stream.write(Uint8Array.of(1));
      near.stream.write(Uint8Array.of(2));
      await lab.sleep(100);
      near.stream.write(Uint8Array.of(3));
      lab.network.setWay('client-1', 'node-1', {});
      await lab.sleep(100);
      assert.equal(received, [1, 2, 3], `seed ${seed}`);
    });
  }
});

test('where nobody listens, and where a fault refuses, connections are refused', async () => {
  const lab = new Lab();
  await lab.run(async () => {
    const first = lab.dial();
    await lab.sleep(20);
    assert.equal(first.told, [`connect ECONNREFUSED ${ADDRESS}`, 'close']);
    await lab.listen();
    lab.network.setWay('client-1', 'node-1', { refused: true });
    const second = lab.dial();
    await lab.sleep(20);
    assert.equal(second.told, [`connect ECONNREFUSED ${ADDRESS}`, 'close']);
    lab.network.heal();
    const third = lab.dial();
    await lab.sleep(20);
    assert.equal(third.told, []);
    assert.is(lab.taken.length, 1);
  });
});

test('a process that is killed resets its streams; a machine without power is silent until it is back', async () => {
  const lab = new Lab();
  await lab.run(async () => {
    const { near } = await lab.connected();
    lab.server.kill();
    lab.network.processEnded(lab.server, false);
    await lab.sleep(20);
    assert.equal(near.told, ['read ECONNRESET', 'close']);
    lab.server = lab.process('node-1');
    await lab.listen();
    const second = lab.dial();
    await lab.sleep(20);
    lab.server.kill();
    lab.network.processEnded(lab.server, true);
    second.stream.write(Uint8Array.of(1));
    const third = lab.dial();
    await lab.sleep(5_000);
    assert.equal(second.told, []);
    assert.equal(third.told, [], 'not even refused');
    lab.network.powerOn('node-1');
    second.stream.write(Uint8Array.of(2));
    await lab.sleep(20);
    assert.equal(second.told, ['read ECONNRESET', 'close']);
  });
});

test('a reset breaks both ends at once', async () => {
  const lab = new Lab();
  await lab.run(async () => {
    const { near, far } = await lab.connected();
    const other = observe(far);
    assert.is(lab.network.reset('client-1', 'node-1'), 1);
    await lab.sleep(20);
    assert.equal(near.told, ['read ECONNRESET', 'close']);
    assert.equal(other.told, ['read ECONNRESET', 'close']);
    assert.is(lab.network.open, 0);
  });
});

test.run();
