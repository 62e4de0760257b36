/**
 * What every transport keeps (transports/transport.ts), as tests that each implementation runs with a harness of its own.
 */
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Transport } from '../../transports/transport.ts';

export interface HarnessOptions {
  readonly maxQueuedBytes?: number;
  readonly maxFrameBytes?: number;
}

/** One network of nodes for one test. */
export interface TransportHarness {
  /** A transport for the node, not started yet; its address is the one that `start` resolves to, passed through `addressOf`. */
  create(id: number): Transport;
  /** Where others reach the node that `start` gave this address to. The same again when the node restarts. */
  addressOf(id: number, started: string): Promise<string>;
  /** Makes the node's next start take place somewhere else. */
  move(id: number): void;
  /** Lets the node stop reading while its connections stay open. */
  stall(id: number): void;
  resume(id: number): void;
  close(): Promise<void>;
}

/** Waits until something holds, letting I/O happen; a failure after ten seconds. */
export async function until(what: string, holds: () => boolean, limitMs = 10_000): Promise<void> {
  const start = performance.now();
  while (!holds()) {
    if (performance.now() - start > limitMs) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** A started transport with what it received. */
export class TestNode {
  readonly id: number;
  readonly transport: Transport;
  address = '';
  readonly inbox: { from: number; payload: Uint8Array }[] = [];
  readonly connected = new Set<number>();
  readonly lost: string[] = [];
  onFrame: ((from: number, payload: Uint8Array) => void) | undefined;

  constructor(id: number, transport: Transport) {
    this.id = id;
    this.transport = transport;
  }

  async start(harness: TransportHarness): Promise<this> {
    const started = await this.transport.start({
      frame: ({ from, payload }) => {
        if (this.onFrame !== undefined) this.onFrame(from, payload);
        else this.inbox.push({ from, payload });
      },
      connected: (peer) => void this.connected.add(peer),
      disconnected: (peer, reason) => {
        this.connected.delete(peer);
        this.lost.push(reason);
      },
    });
    this.address = await harness.addressOf(this.id, started);
    return this;
  }

  /** Sends until the transport takes it. */
  async sendSurely(to: number, parts: readonly Uint8Array[]): Promise<void> {
    await until(`node ${this.id} can send to ${to}`, () => this.transport.send(to, parts));
  }
}

async function pair(harness: TransportHarness): Promise<[TestNode, TestNode]> {
  const a = await new TestNode(1, harness.create(1)).start(harness);
  const b = await new TestNode(2, harness.create(2)).start(harness);
  a.transport.setPeer(2, b.address);
  b.transport.setPeer(1, a.address);
  await until('both are connected', () => a.connected.has(2) && b.connected.has(1));
  return [a, b];
}

/** Bytes that tell which frame of which length they are from. */
function pattern(sequence: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = (sequence * 2654435761 + length) >>> 0;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

function numbered(sequence: number, length: number): Uint8Array[] {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(sequence);
  head.writeUInt32LE(length, 4);
  return [head, pattern(sequence, length)];
}

/** Checks a frame made by `numbered` and gives its number. */
function check(payload: Uint8Array): number {
  const view = Buffer.from(payload.buffer, payload.byteOffset, payload.length);
  const sequence = view.readUInt32LE(0);
  const length = view.readUInt32LE(4);
  assert.is(payload.length, 8 + length);
  if (!view.subarray(8).equals(pattern(sequence, length))) throw new Error(`frame ${sequence} is corrupted`);
  return sequence;
}

const MIB = 1024 * 1024;

/** Adds the suite to a test file. */
export function transportConformance(
  test: Test,
  open: (options: HarnessOptions) => Promise<TransportHarness>,
): void {
  const scenario = (
    name: string,
    run: (harness: TransportHarness) => Promise<void>,
    options: HarnessOptions = {},
  ) =>
    test(name, async () => {
      const harness = await open(options);
      try {
        await run(harness);
      } finally {
        await harness.close();
      }
    });

  scenario('frames arrive whole, in order and once, both ways', async (harness) => {
    const [a, b] = await pair(harness);
    for (let i = 0; i < 500; i++) {
      await a.sendSurely(2, numbered(i, i % 50));
      await b.sendSurely(1, numbered(i, i % 70));
    }
    await until('all arrived', () => a.inbox.length === 500 && b.inbox.length === 500);
    for (const node of [a, b]) {
      node.inbox.forEach(({ from, payload }, i) => {
        assert.is(from, 3 - node.id);
        assert.is(check(payload), i);
      });
    }
    const { framesSent, framesReceived, queuedBytes } = a.transport.stats();
    assert.is(framesSent, 500);
    assert.is(framesReceived, 500);
    assert.is(queuedBytes, 0);
    assert.is(a.transport.stats().bytesReceived, b.transport.stats().bytesSent);
  });

  scenario('frames of 0 bytes to 4 MiB, in any number of parts, are not corrupted', async (harness) => {
    const [a, b] = await pair(harness);
    const sizes = [0, 1, 2, 7, 8191, 8192, 8193, 65535, 65536, 65537, MIB, 3, 4 * MIB, 0, 100_000, 5];
    let got = 0;
    b.onFrame = (_from, payload) => {
      assert.is(check(payload), got);
      got++;
    };
    for (let i = 0; i < sizes.length; i++) {
      const [head, body] = numbered(i, sizes[i]!) as [Uint8Array, Uint8Array];
      const cut = Math.floor(body.length / 3);
      await a.sendSurely(2, [head, body.subarray(0, cut), new Uint8Array(0), body.subarray(cut)]);
    }
    await until('all arrived', () => got === sizes.length);
    b.onFrame = undefined;
    await a.sendSurely(2, []);
    await until('an empty frame arrived', () => b.inbox.length === 1);
    assert.is(b.inbox[0]!.payload.length, 0);
  });

  scenario('the receiver owns what it gets: payloads kept for long do not change', async (harness) => {
    const [a, b] = await pair(harness);
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 20; i++) await a.sendSurely(2, numbered(round * 20 + i, 3000));
      await until('the round arrived', () => b.inbox.length === (round + 1) * 20);
    }
    b.inbox.forEach(({ payload }, i) => {
      assert.is(check(payload), i);
    });
  });

  scenario('nothing is delivered inside send, and flush sends what is queued', async (harness) => {
    const [a, b] = await pair(harness);
    assert.ok(a.transport.send(2, numbered(0, 10)));
    assert.is(b.inbox.length, 0);
    a.transport.flush();
    await until('it arrived', () => b.inbox.length === 1);
  });

  scenario(
    'a receiver that does not read: send says no, what is queued stays bounded, and later it goes on',
    async (harness) => {
      const [a, b] = await pair(harness);
      harness.stall(2);
      const frame = numbered(0, 64 * 1024);
      let taken = 0;
      let refused = 0;
      // The operating system may take some megabytes before anything piles up here.
      await until(
        'send says no',
        () => {
          for (let i = 0; i < 16; i++) {
            if (a.transport.send(2, frame)) taken++;
            else refused++;
          }
          return refused > 100;
        },
        20_000,
      );
      const { queuedBytes, framesDropped } = a.transport.stats();
      assert.ok(queuedBytes <= MIB + 64 * 1024, `${queuedBytes} bytes queued`);
      assert.is(framesDropped, refused);
      harness.resume(2);
      await until('everything that was taken arrived', () => b.inbox.length === taken);
      await a.sendSurely(2, numbered(1, 5));
      await until('it goes on', () => b.inbox.length === taken + 1);
    },
    { maxQueuedBytes: MIB },
  );

  scenario(
    'a frame above the limit is refused and costs no connection',
    async (harness) => {
      const [a, b] = await pair(harness);
      assert.not(a.transport.send(2, [new Uint8Array(60_000), new Uint8Array(60_000)]));
      assert.is(a.transport.stats().framesDropped, 1);
      await a.sendSurely(2, [new Uint8Array(100_000)]);
      await until('a frame at the limit arrived', () => b.inbox.length === 1);
      assert.is(a.lost.length, 0);
    },
    { maxFrameBytes: 100_000 },
  );

  scenario('a peer that restarts is found again, by both', async (harness) => {
    const [a, b] = await pair(harness);
    await a.sendSurely(2, numbered(0, 10));
    await until('the first arrived', () => b.inbox.length === 1);
    await b.transport.close();
    await until('the loss is noticed', () => !a.connected.has(2));
    assert.not(a.transport.send(2, numbered(1, 10)), 'frames for a lost peer are not queued');
    const again = await new TestNode(2, harness.create(2)).start(harness);
    again.transport.setPeer(1, a.address);
    await until('both are connected again', () => a.connected.has(2) && again.connected.has(1));
    await a.sendSurely(2, numbered(2, 10));
    await again.sendSurely(1, numbered(3, 10));
    await until('both arrived', () => again.inbox.length === 1 && a.inbox.length === 1);
    assert.is(check(again.inbox[0]!.payload), 2);
  });

  scenario('a peer that starts later than its address was set is found', async (harness) => {
    const [a, b] = await pair(harness);
    await b.transport.close();
    await until('the loss is noticed', () => !a.connected.has(2));
    const c = new TestNode(1, a.transport);
    assert.is(c.transport.stats().queuedBytes, 0);
    const again = await new TestNode(2, harness.create(2)).start(harness);
    await until('it is found', () => a.connected.has(2));
    await a.sendSurely(2, numbered(7, 1));
    await until('it hears', () => again.inbox.length === 1);
  });

  scenario('setPeer with a new address leads there', async (harness) => {
    const [a, b] = await pair(harness);
    await b.transport.close();
    harness.move(2);
    const moved = await new TestNode(2, harness.create(2)).start(harness);
    assert.is.not(moved.address, b.address);
    // Until then the old connection counts as one.
    await until('the loss is noticed', () => !a.connected.has(2));
    a.transport.setPeer(2, moved.address);
    await until('the new place is connected', () => a.connected.has(2));
    await a.sendSurely(2, numbered(1, 10));
    await until('it arrived there', () => moved.inbox.length === 1);
    assert.is(b.inbox.length, 0);
  });

  scenario('unknown peers, oneself, removed peers and a closed transport get nothing', async (harness) => {
    const [a, b] = await pair(harness);
    a.transport.setPeer(1, a.address);
    assert.not(a.transport.send(9, numbered(0, 1)));
    assert.not(a.transport.send(1, numbered(0, 1)));
    a.transport.removePeer(2);
    assert.not(a.transport.send(2, numbered(0, 1)));
    assert.not(a.connected.has(2));
    a.transport.removePeer(2);
    assert.is(a.transport.stats().framesDropped, 3);
    await b.transport.close();
    await b.transport.close();
    assert.not(b.transport.send(1, numbered(0, 1)));
    b.transport.setPeer(1, a.address);
    b.transport.flush();
    await rejects('CLOSED', () => b.transport.start({ frame: () => {} }));
  });

  scenario('closing in the middle of sending loses frames and nothing else', async (harness) => {
    const [a, b] = await pair(harness);
    let last = -1;
    b.onFrame = (_from, payload) => {
      const sequence = check(payload);
      assert.is(sequence, last + 1);
      last = sequence;
    };
    for (let i = 0; i < 200; i++) a.transport.send(2, numbered(i, 20_000));
    await a.transport.close();
    assert.not(a.transport.send(2, numbered(200, 1)));
    await until('the other side notices', () => !b.connected.has(1));
    assert.ok(last < 200);
  });

  scenario('many nodes talk to each other at the same time', async (harness) => {
    const ids = [1, 2, 3, 4, 5];
    const nodes = await Promise.all(ids.map((id) => new TestNode(id, harness.create(id)).start(harness)));
    for (const a of nodes) for (const b of nodes) if (a !== b) a.transport.setPeer(b.id, b.address);
    await until('all are connected', () => nodes.every((node) => node.connected.size === 4));
    for (let i = 0; i < 50; i++)
      for (const a of nodes) for (const b of nodes) if (a !== b) await a.sendSurely(b.id, numbered(i, 100));
    await until('all arrived', () => nodes.every((node) => node.inbox.length === 200));
    for (const node of nodes) {
      for (const from of ids) {
        const sequences = node.inbox
          .filter((frame) => frame.from === from)
          .map(({ payload }) => check(payload));
        if (from !== node.id)
          assert.equal(
            sequences,
            Array.from({ length: 50 }, (_, i) => i),
          );
      }
    }
  });
}

/** Runs something that must reject with a KvError of this code. */
export async function rejects(code: string, run: () => Promise<unknown>): Promise<void> {
  let got: unknown;
  try {
    await run();
  } catch (error) {
    got = error;
  }
  assert.is((got as { code?: string } | undefined)?.code, code);
}
