/**
 * The network between simulated nodes: frames with latency, and links that lose, hold, delay, duplicate and reorder them.
 *
 * Invariants: a frame arrives as an event of the receiving process, so a paused one takes nothing and its links fill up to their bound; frames of one link keep their
 * order and arrive at most once, as the transport port promises, except that Raft's own frames may come twice or out of order where a link is told so (Raft must bear
 * it); what one link holds is bounded in bytes; payloads are copied, nodes share no memory. A link that is cut for longer than its nodes' patience is
 * a lost connection for both ends; it comes back some time after the cut is mended.
 */
import { crc32 } from 'node:zlib';
import {
  joinParts,
  type Transport,
  type TransportEvents,
  type TransportStats,
} from '../../../transports/transport.ts';
import { KvError } from '../../errors.ts';
import type { NodeId } from '../../raft/types.ts';
import { FRAME_RAFT } from '../../wire/peer_codec.ts';
import type { Scheduler } from '../core/scheduler.ts';
import type { SeededRandom } from '../core/seeded_random.ts';
import type { SimProcess } from '../core/sim_process.ts';
import type { Trace } from '../core/trace.ts';
import { describeFrame } from '../timeline/frame_text.ts';

/** What is the matter with one direction of one link. */
export interface LinkFault {
  /** Every frame is lost. */
  readonly blocked?: boolean | undefined;
  /** Frames wait until the fault is lifted. */
  readonly held?: boolean | undefined;
  /** Share of frames that is lost. */
  readonly dropRate?: number | undefined;
  /** Share of Raft frames that comes twice. */
  readonly duplicateRate?: number | undefined;
  /** Share of Raft frames that may overtake or be overtaken. */
  readonly reorderRate?: number | undefined;
  readonly delayMs?: readonly [number, number] | undefined;
}

export const HEALTHY: LinkFault = {};
const DEFAULT_DELAY_MS: readonly [number, number] = [0.1, 0.6];
const MIB = 1024 * 1024;
const MAX_FRAME_BYTES = 64 * MIB;
export const MAX_QUEUED_BYTES = 64 * MIB;
/** A connection whose peer was silent for so long is given up. */
const PATIENCE_MS: readonly [number, number] = [1_500, 3_000];
const RECONNECT_MS: readonly [number, number] = [20, 300];
/** How much later a reordered or repeated frame may come. */
const STRAY_MS: readonly [number, number] = [0, 20];

/** One direction between two nodes. */
interface Link {
  readonly from: NodeId;
  readonly to: NodeId;
  fault: LinkFault;
  queuedBytes: number;
  /** Grows when what is under way is forgotten. */
  epoch: number;
  /** When the last frame that keeps the order arrives. */
  lastArrivalMs: number;
  /** Frames that wait for the end of `held`. */
  waiting: (() => void)[];
  /** Counts the changes of `blocked`, so that a lapse of patience knows whether it still counts. */
  cuts: number;
}

export interface LinkSizes {
  readonly from: NodeId;
  readonly to: NodeId;
  readonly queuedBytes: number;
}

export class PeerNetwork {
  readonly scheduler: Scheduler;
  readonly trace: Trace;
  /** Shown every frame that a node sends, lost ones included. */
  onSend: ((from: NodeId, payload: Uint8Array) => void) | undefined;
  /** Shown every frame that reaches a node, before the node is. */
  onDeliver: ((to: NodeId, from: NodeId, payload: Uint8Array) => void) | undefined;
  readonly #random: SeededRandom;
  readonly #links = new Map<string, Link>();
  readonly #ends = new Map<NodeId, PeerEnd>();
  #frames = 0;

  constructor(scheduler: Scheduler, trace: Trace, random: SeededRandom) {
    this.scheduler = scheduler;
    this.trace = trace;
    this.#random = random;
  }

  /** The end of a life of a node. */
  transport(id: NodeId, address: string, process: SimProcess): Transport {
    return new PeerEnd(this, id, address, process);
  }

  /** Sets what is the matter with the way from one node to another, in place of what was. */
  setLink(from: NodeId, to: NodeId, fault: LinkFault): void {
    const link = this.#link(from, to);
    const wasBlocked = link.fault.blocked === true;
    link.fault = fault;
    const isBlocked = fault.blocked === true;
    if (isBlocked !== wasBlocked) {
      link.cuts++;
      if (isBlocked) this.#losePatience(link);
      else this.#reconnect(from, to);
    }
    if (fault.held !== true) {
      const waiting = link.waiting;
      link.waiting = [];
      for (const go of waiting) go();
    }
  }

  fault(from: NodeId, to: NodeId): LinkFault {
    return this.#links.get(keyOf(from, to))?.fault ?? HEALTHY;
  }

  /** Lifts every fault. */
  heal(): void {
    for (const link of this.#links.values()) this.setLink(link.from, link.to, HEALTHY);
  }

  /** What each link holds. */
  queues(): LinkSizes[] {
    return [...this.#links.values()].map(({ from, to, queuedBytes }) => ({ from, to, queuedBytes }));
  }

  /** @internal */
  endOf(id: NodeId, address: string): PeerEnd | undefined {
    const end = this.#ends.get(id);
    return end?.address === address ? end : undefined;
  }

  /** @internal A node became reachable. */
  register(end: PeerEnd): void {
    const other = this.#ends.get(end.id);
    if (other !== undefined)
      throw new KvError('UNAVAILABLE', `another node is reachable at ${other.address}`);
    this.#ends.set(end.id, end);
    for (const peer of this.#ends.values()) {
      if (peer === end) continue;
      this.#reconnect(end.id, peer.id);
    }
  }

  /** @internal A node's end is gone: its process ended (peers hear at once) or its machine went dark (they find out). */
  unregister(end: PeerEnd, dark: boolean): void {
    if (this.#ends.get(end.id) !== end) return;
    this.#ends.delete(end.id);
    for (const peer of this.#ends.values()) {
      const [from, to] = dark ? PATIENCE_MS : DEFAULT_DELAY_MS;
      this.scheduler.after(this.#random.between(from, to), () => peer.lost(end), peer.process);
    }
  }

  /** @internal Both ends learn of each other, some time from now. */
  #reconnect(a: NodeId, b: NodeId): void {
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      const end = this.#ends.get(from);
      if (end === undefined) continue;
      this.reconnectLater(end, to);
    }
  }

  /** @internal */
  reconnectLater(end: PeerEnd, to: NodeId): void {
    const delayMs = this.#random.between(RECONNECT_MS[0], RECONNECT_MS[1]);
    this.scheduler.after(delayMs, () => end.connect(to), end.process);
  }

  /** @internal A node closes its connection to a peer. */
  hangUp(end: PeerEnd, id: NodeId): void {
    const peer = this.#ends.get(id);
    if (peer === undefined || !this.passable(end.id, id)) return;
    this.scheduler.after(this.#random.between(...DEFAULT_DELAY_MS), () => peer.lost(end), peer.process);
  }

  #losePatience(link: Link): void {
    const { cuts } = link;
    for (const [from, to] of [
      [link.from, link.to],
      [link.to, link.from],
    ] as const) {
      const end = this.#ends.get(from);
      if (end === undefined) continue;
      const delayMs = this.#random.between(PATIENCE_MS[0], PATIENCE_MS[1]);
      const lapse = (): void => {
        if (link.cuts === cuts) end.disconnect(to, 'nothing was heard from it');
      };
      this.scheduler.after(delayMs, lapse, end.process);
    }
  }

  /** @internal True when frames pass both ways, which a handshake needs. */
  passable(a: NodeId, b: NodeId): boolean {
    return this.fault(a, b).blocked !== true && this.fault(b, a).blocked !== true;
  }

  /** @internal */
  queuedBytes(from: NodeId, to: NodeId): number {
    return this.#links.get(keyOf(from, to))?.queuedBytes ?? 0;
  }

  /** @internal Puts a frame on its way. False: it is lost already. */
  carry(sender: PeerEnd, target: PeerEnd, payload: Uint8Array): boolean {
    const link = this.#link(sender.id, target.id);
    const { fault } = link;
    const id = ++this.#frames;
    this.onSend?.(sender.id, payload);
    const sum = crc32(payload);
    const text = this.trace.recording ? describeFrame(payload) : undefined;
    this.trace.add('send', sender.process.lane, kindOf(payload), sum, target.process.lane, id, text);
    if (fault.blocked === true || (fault.dropRate !== undefined && this.#random.chance(fault.dropRate))) {
      this.trace.add('drop', sender.process.lane, 'lost', 0, target.process.lane, id);
      return false;
    }
    this.#fly(link, target, payload, id);
    const isRaft = payload[0] === FRAME_RAFT;
    if (isRaft && fault.duplicateRate !== undefined && this.#random.chance(fault.duplicateRate)) {
      this.#fly(link, target, new Uint8Array(payload), id, this.#random.between(...STRAY_MS));
    }
    return true;
  }

  #fly(link: Link, target: PeerEnd, payload: Uint8Array, id: number, extraMs = 0): void {
    const { fault } = link;
    const [fromMs, toMs] = fault.delayMs ?? DEFAULT_DELAY_MS;
    let arrivalMs = this.scheduler.nowMs + this.#random.between(fromMs, toMs) + extraMs;
    const isRaft = payload[0] === FRAME_RAFT;
    const strays =
      extraMs > 0 || (isRaft && fault.reorderRate !== undefined && this.#random.chance(fault.reorderRate));
    if (strays) arrivalMs += this.#random.between(...STRAY_MS);
    else {
      if (arrivalMs < link.lastArrivalMs) arrivalMs = link.lastArrivalMs;
      link.lastArrivalMs = arrivalMs;
    }
    link.queuedBytes += payload.length;
    const { epoch } = link;
    const arrive = (): void => {
      if (link.fault.held === true) {
        link.waiting.push(() => void this.scheduler.after(0, arrive, target.process));
        return;
      }
      if (link.epoch === epoch) link.queuedBytes -= payload.length;
      const lane = `node-${link.from}`;
      if (link.fault.blocked === true) this.trace.add('drop', lane, 'lost', 0, target.process.lane, id);
      else {
        this.trace.add('deliver', target.process.lane, kindOf(payload), payload.length, lane, id);
        target.deliver(link.from, payload);
      }
    };
    this.scheduler.at(arrivalMs, arrive, target.process);
  }

  /** @internal What was under way to a dead life is lost. */
  forgetTo(id: NodeId): void {
    for (const link of this.#links.values()) {
      if (link.to !== id) continue;
      link.queuedBytes = 0;
      link.epoch++;
      link.waiting = [];
    }
  }

  #link(from: NodeId, to: NodeId): Link {
    const key = keyOf(from, to);
    let link = this.#links.get(key);
    if (link === undefined) {
      link = { from, to, fault: HEALTHY, queuedBytes: 0, epoch: 0, lastArrivalMs: 0, waiting: [], cuts: 0 };
      this.#links.set(key, link);
    }
    return link;
  }
}

function keyOf(from: NodeId, to: NodeId): string {
  return `${from}>${to}`;
}

function kindOf(payload: Uint8Array): string {
  return payload[0] === FRAME_RAFT ? 'raft' : 'rpc';
}

/** One life of a node on the network. */
class PeerEnd implements Transport {
  readonly id: NodeId;
  readonly address: string;
  readonly process: SimProcess;
  readonly #network: PeerNetwork;
  readonly #peers = new Map<NodeId, string>();
  /** The lives that this one is connected to. */
  readonly #connected = new Map<NodeId, PeerEnd>();
  #events: TransportEvents | undefined;
  #closed = false;
  #framesSent = 0;
  #framesReceived = 0;
  #framesDropped = 0;
  #bytesSent = 0;
  #bytesReceived = 0;

  constructor(network: PeerNetwork, id: NodeId, address: string, process: SimProcess) {
    this.#network = network;
    this.id = id;
    this.address = address;
    this.process = process;
  }

  async start(events: TransportEvents): Promise<string> {
    if (this.#closed) throw new KvError('CLOSED', 'the transport is closed');
    this.#network.register(this);
    this.#events = events;
    return this.address;
  }

  setPeer(id: NodeId, address: string): void {
    if (this.#closed || id === this.id || this.#peers.get(id) === address) return;
    this.disconnect(id, 'its address changed');
    this.#peers.set(id, address);
    this.process.after(0, () => this.connect(id));
  }

  removePeer(id: NodeId): void {
    this.#peers.delete(id);
    this.disconnect(id, 'it was removed');
    this.#network.hangUp(this, id);
  }

  send(to: NodeId, parts: readonly Uint8Array[]): boolean {
    const target = this.#connected.get(to);
    let length = 0;
    for (const part of parts) length += part.length;
    const queued = this.#network.queuedBytes(this.id, to);
    const full = queued > 0 && queued + length > MAX_QUEUED_BYTES;
    if (this.#closed || target === undefined || full || length > MAX_FRAME_BYTES) {
      this.#framesDropped++;
      return false;
    }
    const payload = joinParts(parts, length);
    if (this.#network.carry(this, target, payload)) {
      this.#framesSent++;
      this.#bytesSent += length;
    } else this.#framesDropped++;
    return true;
  }

  flush(): void {
    // Frames are on their way as soon as they are sent.
  }

  stats(): TransportStats {
    let queuedBytes = 0;
    for (const id of this.#peers.keys()) queuedBytes += this.#network.queuedBytes(this.id, id);
    return {
      framesSent: this.#framesSent,
      framesReceived: this.#framesReceived,
      framesDropped: this.#framesDropped,
      bytesSent: this.#bytesSent,
      bytesReceived: this.#bytesReceived,
      queuedBytes,
    };
  }

  async close(): Promise<void> {
    this.end(false);
  }

  /** @internal @param dark the machine lost its power: peers are not told. */
  end(dark: boolean): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#connected.clear();
    this.#network.unregister(this, dark);
    this.#network.forgetTo(this.id);
  }

  /** @internal */
  deliver(from: NodeId, payload: Uint8Array): void {
    if (this.#closed) return;
    this.#framesReceived++;
    this.#bytesReceived += payload.length;
    this.#network.onDeliver?.(this.id, from, payload);
    this.#events?.frame({ from, payload });
  }

  /** @internal Whether the handshake of this peer fails because it was removed. */
  refuses(peer: NodeId): boolean {
    return this.#events?.wasRemoved?.(peer) === true;
  }

  /** @internal Connects to a peer where it can be reached; tried again whenever a node appears, a link is mended, or a connection was lost. */
  connect(id: NodeId): void {
    const address = this.#peers.get(id);
    if (this.#closed || this.#events === undefined || address === undefined) return;
    const target = this.#network.endOf(id, address);
    const known = this.#connected.get(id);
    if (known !== undefined && known !== target) this.disconnect(id, 'it was started anew');
    if (target === undefined || this.#connected.has(id) || !this.#network.passable(this.id, id)) return;
    if (target.process.paused) this.#network.reconnectLater(this, id);
    else if (target.refuses(this.id)) this.#events.removed?.(id);
    else {
      this.#connected.set(id, target);
      this.#events.connected?.(id);
    }
  }

  /** @internal The other end is gone. */
  lost(end: PeerEnd): void {
    if (this.#connected.get(end.id) !== end) return;
    this.disconnect(end.id, 'it closed');
    this.#network.reconnectLater(this, end.id);
  }

  /** @internal */
  disconnect(id: NodeId, reason: string): void {
    if (this.#connected.delete(id)) this.#events?.disconnected?.(id, reason);
  }
}
