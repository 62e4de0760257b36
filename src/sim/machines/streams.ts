/**
 * Byte streams between clients and nodes, in virtual time: what TCP gives, with what goes wrong with it.
 *
 * Invariants: bytes arrive in order, once, or not at all; what one direction holds beyond the window counts as `writableLength` of its sender and is announced by `drain`
 * when it has left, so a receiver that takes nothing (paused stream or paused process) stops its sender; a way that is blocked is silence, as with a half-open
 * connection: bytes wait, like TCP's retransmissions, and go on when it is mended; a process that ends resets its streams, a machine that goes dark leaves them
 * silent until it is up again and answers with a reset. Events reach a stream only as events of its process.
 */
import { crc32 } from 'node:zlib';
import type { ByteStream, Dial, Listen, ListenEvents } from '../../byte_stream.ts';
import { KvError } from '../../errors.ts';
import type { Scheduler } from '../core/scheduler.ts';
import type { SeededRandom } from '../core/seeded_random.ts';
import type { SimProcess } from '../core/sim_process.ts';
import type { Trace } from '../core/trace.ts';

/** What is the matter with one direction between a client and a node. */
export interface StreamFault {
  /** Nothing arrives: silence. */
  readonly blocked?: boolean | undefined;
  /** New connections are refused (only looked at from the client to the node). */
  readonly refused?: boolean | undefined;
  readonly delayMs?: readonly [number, number] | undefined;
}

const HEALTHY: StreamFault = {};
const DEFAULT_DELAY_MS: readonly [number, number] = [0.1, 0.6];
/** Bytes that one direction carries before its sender has to wait. */
const WINDOW_BYTES = 64 * 1024;

interface Way {
  fault: StreamFault;
  /** What waits for the end of `blocked`. */
  waiting: (() => void)[];
}

interface Listening {
  readonly process: SimProcess;
  readonly events: ListenEvents;
}

export class StreamNetwork {
  readonly scheduler: Scheduler;
  readonly trace: Trace;
  readonly #random: SeededRandom;
  readonly #ways = new Map<string, Way>();
  readonly #listening = new Map<string, Listening>();
  /** Lanes of machines without power: they don't even refuse. */
  readonly #dark = new Set<string>();
  readonly #open = new Set<SimStream>();
  #sent = 0;

  constructor(scheduler: Scheduler, trace: Trace, random: SeededRandom) {
    this.scheduler = scheduler;
    this.trace = trace;
    this.#random = random;
  }

  /** Streams that are not over, both ends counted. */
  get open(): number {
    return this.#open.size;
  }

  /** Bytes that wait anywhere for a receiver. */
  queuedBytes(): number {
    let sum = 0;
    for (const stream of this.#open) sum += stream.heldBytes;
    return sum;
  }

  /** How a process reaches nodes. */
  dialFrom(process: SimProcess): Dial {
    return (address) => {
      const stream = new SimStream(this, process, address.replace(/:\d+$/, ''));
      this.#open.add(stream);
      this.#call(stream, address);
      return stream;
    };
  }

  /** How a process is reached. */
  listenFor(process: SimProcess): Listen {
    return async (address, events) => {
      if (this.#listening.has(address))
        throw new KvError('UNAVAILABLE', `cannot listen on ${address}: it is in use`);
      this.#listening.set(address, { process, events });
      return {
        address,
        close: async () => {
          if (this.#listening.get(address)?.process === process) this.#listening.delete(address);
        },
      };
    };
  }

  /** Sets what is the matter with the way from one lane to another, in place of what was. */
  setWay(from: string, to: string, fault: StreamFault): void {
    const way = this.way(from, to);
    way.fault = fault;
    if (fault.blocked === true) return;
    const { waiting } = way;
    way.waiting = [];
    for (const go of waiting) go();
  }

  fault(from: string, to: string): StreamFault {
    return this.way(from, to).fault;
  }

  /** Lifts every fault. */
  heal(): void {
    for (const [key, way] of this.#ways) {
      if (way.fault === HEALTHY) continue;
      const [from, to] = key.split('>');
      this.setWay(from!, to!, HEALTHY);
    }
  }

  /** Breaks the streams between two lanes: both ends hear of a reset. */
  reset(laneA: string, laneB: string): number {
    let broken = 0;
    for (const stream of [...this.#open]) {
      if (stream.process.lane !== laneA || stream.peerLane !== laneB) continue;
      broken++;
      stream.breakBoth();
    }
    return broken;
  }

  /** A process has ended: its listeners and streams are gone. `dark`: without anybody being told. */
  processEnded(process: SimProcess, dark: boolean): void {
    if (dark) this.#dark.add(process.lane);
    for (const [address, listening] of [...this.#listening]) {
      if (listening.process === process) this.#listening.delete(address);
    }
    for (const stream of [...this.#open]) {
      if (stream.process === process) stream.vanish(dark);
    }
  }

  /** A machine has power (again): it answers for processes that are gone. */
  powerOn(lane: string): void {
    this.#dark.delete(lane);
  }

  /** @internal */
  isDark(lane: string): boolean {
    return this.#dark.has(lane);
  }

  /** @internal */
  way(from: string, to: string): Way {
    const key = `${from}>${to}`;
    let way = this.#ways.get(key);
    if (way === undefined) {
      way = { fault: HEALTHY, waiting: [] };
      this.#ways.set(key, way);
    }
    return way;
  }

  /** @internal */
  delayMs(way: Way): number {
    const [from, to] = way.fault.delayMs ?? DEFAULT_DELAY_MS;
    return this.#random.between(from, to);
  }

  /** @internal */
  nextId(): number {
    return ++this.#sent;
  }

  /** @internal */
  over(stream: SimStream): void {
    this.#open.delete(stream);
  }

  /** The first packet: taken by the machine itself, even while the process that listens is paused. */
  #call(stream: SimStream, address: string): void {
    const there = this.way(stream.process.lane, stream.peerLane);
    const back = this.way(stream.peerLane, stream.process.lane);
    const arrive = (): void => {
      if (there.fault.blocked === true) {
        there.waiting.push(() => void this.scheduler.after(this.delayMs(there), arrive));
        return;
      }
      const listening = this.#listening.get(address);
      if (listening === undefined || there.fault.refused === true) {
        if (this.#dark.has(stream.peerLane)) return;
        stream.process.after(this.delayMs(back), () => stream.fail(`connect ECONNREFUSED ${address}`));
        return;
      }
      const { process, events } = listening;
      const end = new SimStream(this, process, stream.process.lane);
      this.#open.add(end);
      end.joinTo(stream);
      process.after(0, () => {
        if (this.#listening.get(address) === listening) events.accept(end);
        else end.destroy();
      });
      const established = (): void => {
        if (back.fault.blocked === true) {
          back.waiting.push(() => void stream.process.after(this.delayMs(back), established));
        } else stream.joinTo(end);
      };
      stream.process.after(this.delayMs(back), established);
    };
    this.scheduler.after(this.delayMs(there), arrive);
  }
}

type Listener = (argument: never) => void;
/** A piece of a stream; undefined: its end. */
type Piece = Uint8Array | undefined;

/** One end of a stream. */
class SimStream implements ByteStream {
  readonly process: SimProcess;
  readonly peerLane: string;
  destroyed = false;
  readonly #network: StreamNetwork;
  readonly #way: Way;
  #peer: SimStream | undefined;
  readonly #listeners: { data: ((chunk: Uint8Array) => void)[]; error: ((error: Error) => void)[] } & Record<
    'drain' | 'end' | 'close',
    (() => void)[]
  > = { data: [], error: [], drain: [], end: [], close: [] };
  /** Given to write and not sent yet. */
  #outgoing: Piece[] = [];
  #outgoingBytes = 0;
  /** Sent and not yet taken by the other side's reader. */
  #underWayBytes = 0;
  /** Sent and not yet at the other side, oldest first. */
  readonly #underWay: (readonly [piece: Piece, id: number])[] = [];
  #lastArrivalMs = 0;
  /** Arrived while this end was not reading. */
  #arrived: Piece[] = [];
  #reading = true;
  #owesDrain = false;
  #ending = false;
  #passedOn: (() => void) | undefined;

  constructor(network: StreamNetwork, process: SimProcess, peerLane: string) {
    this.#network = network;
    this.process = process;
    this.peerLane = peerLane;
    this.#way = network.way(process.lane, peerLane);
  }

  get writableLength(): number {
    return this.#outgoingBytes;
  }

  /** Waiting at this end or under way from it. */
  get heldBytes(): number {
    return this.#outgoingBytes + this.#underWayBytes;
  }

  on(event: 'data', listener: (chunk: Uint8Array) => void): void;
  on(event: 'error', listener: (error: Error) => void): void;
  on(event: 'drain' | 'end' | 'close', listener: () => void): void;
  on(event: 'data' | 'error' | 'drain' | 'end' | 'close', listener: Listener): void {
    (this.#listeners[event] as Listener[]).push(listener);
  }

  write(bytes: Uint8Array): void {
    if (this.destroyed || this.#ending || bytes.length === 0) return;
    this.#outgoing.push(new Uint8Array(bytes));
    this.#outgoingBytes += bytes.length;
    this.#send();
    if (this.#outgoingBytes > 0) this.#owesDrain = true;
  }

  end(passedOn?: () => void): void {
    if (this.destroyed || this.#ending) return;
    this.#ending = true;
    this.#passedOn = passedOn;
    this.#outgoing.push(undefined);
    this.#send();
  }

  destroy(): void {
    if (this.destroyed) return;
    this.#closeSoon();
    // What has left arrives; what has not is lost, and so is the order to end.
    this.#transmit(undefined);
  }

  pause(): void {
    this.#reading = false;
  }

  resume(): void {
    if (this.#reading) return;
    this.#reading = true;
    if (this.#arrived.length > 0) this.process.after(0, () => this.#readOn());
  }

  /** @internal The connection stands, as this end sees it. */
  joinTo(peer: SimStream): void {
    if (this.#peer !== undefined) return;
    this.#peer = peer;
    if (this.destroyed) this.#transmit(undefined);
    else this.#send();
  }

  /** @internal An error ends this end. */
  fail(message: string): void {
    if (this.destroyed) return;
    this.#closeSoon();
    const error = new Error(message);
    for (const listener of this.#listeners.error) listener(error);
  }

  /** @internal A reset from the network. */
  breakBoth(): void {
    const peer = this.#peer;
    this.process.after(0, () => this.fail('read ECONNRESET'));
    peer?.process.after(0, () => peer.fail('read ECONNRESET'));
  }

  /** @internal The process is gone. */
  vanish(dark: boolean): void {
    const peer = this.#peer;
    this.destroyed = true;
    this.#network.over(this);
    if (!dark && peer !== undefined) this.#resetFrom(peer);
  }

  /** The other side learns, after a packet's time, that this end is no more. */
  #resetFrom(peer: SimStream): void {
    const way = this.#way;
    const arrive = (): void => {
      if (way.fault.blocked === true) {
        way.waiting.push(() => void peer.process.after(this.#network.delayMs(way), arrive));
      } else peer.fail('read ECONNRESET');
    };
    peer.process.after(this.#network.delayMs(way), arrive);
  }

  #closeSoon(): void {
    this.destroyed = true;
    this.#network.over(this);
    this.#outgoing = [];
    this.#outgoingBytes = 0;
    this.#arrived = [];
    this.process.after(0, () => {
      for (const listener of this.#listeners.close) listener();
    });
  }

  /** Sends what the window allows. */
  #send(): void {
    if (this.#peer === undefined) return;
    while (
      this.#outgoing.length > 0 &&
      (this.#underWayBytes < WINDOW_BYTES || this.#outgoing[0] === undefined)
    ) {
      const piece = this.#outgoing.shift();
      this.#outgoingBytes -= piece?.length ?? 0;
      this.#transmit(piece);
    }
    if (this.#outgoing.length > 0) return;
    if (this.#owesDrain) {
      this.#owesDrain = false;
      this.process.after(0, () => {
        if (!this.destroyed) for (const listener of this.#listeners.drain) listener();
      });
    }
    const passedOn = this.#passedOn;
    if (passedOn === undefined) return;
    this.#passedOn = undefined;
    this.process.after(0, passedOn);
  }

  #transmit(piece: Piece): void {
    const peer = this.#peer;
    if (peer === undefined) return;
    const way = this.#way;
    const network = this.#network;
    const id = network.nextId();
    const lane = this.process.lane;
    const size = piece?.length ?? 0;
    const text = network.trace.recording ? (piece === undefined ? 'bytes end' : `bytes ${size}`) : undefined;
    const sum = piece === undefined ? -1 : crc32(piece);
    network.trace.add('send', lane, 'bytes', sum, this.peerLane, id, text);
    this.#underWayBytes += size;
    this.#underWay.push([piece, id]);
    // Each arrival brings the oldest piece: what was held up by a fault is not overtaken by what was sent right before its end.
    const arrive = (): void => {
      if (way.fault.blocked === true) {
        way.waiting.push(depart);
        return;
      }
      const [oldest, oldestId] = this.#underWay.shift()!;
      const length = oldest?.length ?? 0;
      network.trace.add('deliver', this.peerLane, 'bytes', length, lane, oldestId);
      if (peer.destroyed) this.#answeredByReset(length);
      else peer.#take(oldest);
    };
    const depart = (): void => {
      const dueMs = network.scheduler.nowMs + network.delayMs(way);
      this.#lastArrivalMs = Math.max(dueMs, this.#lastArrivalMs);
      // A process that has ended takes no events, but its machine answers once it is up again.
      network.scheduler.at(this.#lastArrivalMs, arrive, peer.process.alive ? peer.process : undefined);
    };
    depart();
  }

  #answeredByReset(size: number): void {
    this.#underWayBytes -= size;
    if (this.destroyed || this.#network.isDark(this.peerLane)) return;
    this.process.after(this.#network.delayMs(this.#way), () => this.fail('read ECONNRESET'));
  }

  #take(piece: Piece): void {
    if (!this.#reading || this.#arrived.length > 0) {
      this.#arrived.push(piece);
      return;
    }
    this.#deliver(piece);
  }

  #readOn(): void {
    while (this.#reading && !this.destroyed && this.#arrived.length > 0) this.#deliver(this.#arrived.shift());
  }

  #deliver(piece: Piece): void {
    if (piece === undefined) {
      for (const listener of this.#listeners.end) listener();
      // As sockets do unless told otherwise: what ends on one side ends on the other.
      if (this.destroyed) return;
      if (this.#ending) this.destroy();
      else this.end(() => this.destroy());
      return;
    }
    this.#peer?.taken(piece.length);
    for (const listener of this.#listeners.data) listener(piece);
  }

  /** @internal The reader has taken so many bytes: the window opens. */
  taken(size: number): void {
    this.#underWayBytes -= size;
    if (this.#outgoing.length > 0 && !this.destroyed) this.process.after(0, () => this.#send());
  }
}
