/**
 * A network inside one process: for embedded clusters, tests and the simulator.
 *
 * Invariants: nothing is delivered inside `send`; everything happens in the order in which the timers handed in run, so equal timers and an equal random
 * port give an equal run; payloads are copied, nodes share no memory; one link keeps its order whatever its delay; what a link holds is bounded in bytes.
 */
import { KvError } from '../src/errors.ts';
import type { Random, Timers } from '../src/ports.ts';
import type { NodeId } from '../src/raft/types.ts';
import { joinParts, type Transport, type TransportEvents, type TransportStats } from './transport.ts';

export interface MemoryNetworkOptions {
  readonly ports: { readonly timers: Timers; readonly random: Random };
  /** Bytes that one link (from, to) may hold. Default 64 MiB. */
  readonly maxQueuedBytes?: number;
  /** Largest frame. Default 64 MiB. */
  readonly maxFrameBytes?: number;
  /** When a frame without a delay arrives: after pending I/O (default), or as soon as the sender's call stack has ended. */
  readonly delivery?: 'afterIo' | 'soon';
}

/** What is wrong with one direction of one link. */
export interface LinkFault {
  /** Every frame is lost. Default false. */
  readonly blocked?: boolean;
  /** Share of frames that is lost, 0 to 1. Default 0. */
  readonly dropRate?: number;
  /** Default 0. */
  readonly delayMs?: number;
  /** Frames wait (and count as queued) until the fault is lifted: a receiver that does not read. Default false. */
  readonly held?: boolean;
}

const MIB = 1024 * 1024;
const HEALTHY: LinkFault = {};

/** A frame under way. `due` turns true when its delay is over. */
interface Flight {
  readonly target: MemoryTransport;
  readonly payload: Uint8Array;
  due: boolean;
}

/** One direction between two nodes: a queue in order. */
class Link {
  readonly from: MemoryTransport;
  /** Flights from `head` on are under way; the places before it are empty. */
  queue: (Flight | undefined)[] = [];
  head = 0;
  queuedBytes = 0;
  fault: LinkFault = HEALTHY;
  constructor(from: MemoryTransport) {
    this.from = from;
  }
}

export class MemoryNetwork {
  readonly #timers: Timers;
  readonly #random: Random;
  readonly #deliverNext: (run: () => void) => void;
  readonly maxQueuedBytes: number;
  readonly maxFrameBytes: number;
  readonly #nodes = new Map<string, MemoryTransport>();
  readonly #faults = new Map<string, LinkFault>();
  readonly #transports = new Set<MemoryTransport>();

  constructor(options: MemoryNetworkOptions) {
    const timers = options.ports.timers;
    this.#timers = timers;
    this.#random = options.ports.random;
    this.#deliverNext =
      options.delivery === 'soon' ? (run) => timers.soon(run) : (run) => timers.afterIo(run);
    this.maxQueuedBytes = options.maxQueuedBytes ?? 64 * MIB;
    this.maxFrameBytes = options.maxFrameBytes ?? 64 * MIB;
  }

  /** A node's end of the network; `start` makes it reachable at `address`. A node that restarts asks for a new one. */
  transport(id: NodeId, address = `memory:${id}`): Transport {
    return new MemoryTransport(this, id, address);
  }

  /** Sets what is wrong with the way from one node to another, for transports of today and tomorrow. No fault: heals it. */
  setLink(from: NodeId, to: NodeId, fault: LinkFault = HEALTHY): void {
    const name = `${from}>${to}`;
    if (fault === HEALTHY) this.#faults.delete(name);
    else this.#faults.set(name, fault);
    for (const transport of this.#transports) {
      if (transport.id !== from) continue;
      const link = transport.links.get(to);
      if (link === undefined) continue;
      link.fault = fault;
      this.#pump(link);
    }
  }

  /** Cuts every way between the two groups, in both directions. */
  partition(groupA: readonly NodeId[], groupB: readonly NodeId[]): void {
    this.partitionOneWay(groupA, groupB);
    this.partitionOneWay(groupB, groupA);
  }

  /** Cuts every way from the first group to the second; the way back stays. */
  partitionOneWay(from: readonly NodeId[], to: readonly NodeId[]): void {
    for (const a of from) for (const b of to) this.setLink(a, b, { ...this.fault(a, b), blocked: true });
  }

  /** Lifts every fault. */
  heal(): void {
    for (const name of [...this.#faults.keys()]) {
      const [from, to] = name.split('>').map(Number);
      this.setLink(from!, to!);
    }
  }

  fault(from: NodeId, to: NodeId): LinkFault {
    return this.#faults.get(`${from}>${to}`) ?? HEALTHY;
  }

  /** @internal */
  nodeAt(address: string): MemoryTransport | undefined {
    return this.#nodes.get(address);
  }

  /** @internal A node became reachable. */
  register(node: MemoryTransport): void {
    if (this.#nodes.has(node.address)) {
      throw new KvError('UNAVAILABLE', `another node is reachable at ${node.address}`);
    }
    this.#nodes.set(node.address, node);
    this.#transports.add(node);
    for (const other of this.#transports) this.#timers.soon(() => other.peerAppeared(node));
    this.#timers.soon(() => node.connectAll());
  }

  /** @internal A node is gone: what was under way to it is lost. */
  unregister(node: MemoryTransport): void {
    this.#nodes.delete(node.address);
    this.#transports.delete(node);
    for (const other of this.#transports) this.#timers.soon(() => other.peerGone(node));
  }

  /** @internal */
  soon(run: () => void): void {
    this.#timers.soon(run);
  }

  /** @internal Puts a frame on its way. */
  carry(link: Link, target: MemoryTransport, payload: Uint8Array): boolean {
    const fault = link.fault;
    if (fault.blocked === true) return false;
    if (fault.dropRate !== undefined && this.#random.next() < fault.dropRate) return false;
    const flight: Flight = { target, payload, due: false };
    link.queue.push(flight);
    link.queuedBytes += payload.length;
    const arrive = () => {
      flight.due = true;
      this.#pump(link);
    };
    const delayMs = fault.delayMs ?? 0;
    if (delayMs > 0) this.#timers.after(delayMs, arrive);
    else this.#deliverNext(arrive);
    return true;
  }

  /** Delivers what is due at the head of the link. */
  #pump(link: Link): void {
    while (link.fault.held !== true) {
      const flight = link.queue[link.head];
      if (flight === undefined || !flight.due) return;
      link.queue[link.head++] = undefined;
      if (link.head === link.queue.length) {
        link.queue.length = 0;
        link.head = 0;
      } else if (link.head >= 1024 && link.head * 2 >= link.queue.length) {
        link.queue = link.queue.slice(link.head);
        link.head = 0;
      }
      link.queuedBytes -= flight.payload.length;
      if (link.fault.blocked === true) link.from.countDropped();
      else flight.target.deliver(link.from.id, flight.payload);
    }
  }
}

class MemoryTransport implements Transport {
  readonly id: NodeId;
  readonly address: string;
  readonly links = new Map<NodeId, Link>();
  readonly #network: MemoryNetwork;
  readonly #peers = new Map<NodeId, string>();
  /** The transport that each connected peer is at. */
  readonly #connected = new Map<NodeId, MemoryTransport>();
  #events: TransportEvents | undefined;
  #closed = false;
  #framesSent = 0;
  #framesReceived = 0;
  #framesDropped = 0;
  #bytesSent = 0;
  #bytesReceived = 0;

  constructor(network: MemoryNetwork, id: NodeId, address: string) {
    this.#network = network;
    this.id = id;
    this.address = address;
  }

  async start(events: TransportEvents): Promise<string> {
    if (this.#closed) throw new KvError('CLOSED', 'the transport is closed');
    if (this.#events !== undefined) throw new KvError('INTERNAL', 'the transport was started before');
    this.#network.register(this);
    this.#events = events;
    return this.address;
  }

  setPeer(id: NodeId, address: string): void {
    if (this.#closed || id === this.id || this.#peers.get(id) === address) return;
    this.#disconnect(id, 'its address changed');
    this.#peers.set(id, address);
    this.#network.soon(() => this.#connect(id));
  }

  removePeer(id: NodeId): void {
    this.#peers.delete(id);
    this.links.delete(id);
    this.#disconnect(id, 'it was removed');
  }

  send(to: NodeId, parts: readonly Uint8Array[]): boolean {
    const target = this.#connected.get(to);
    let length = 0;
    for (const part of parts) length += part.length;
    const queued = this.links.get(to)?.queuedBytes ?? 0;
    const full = queued > 0 && queued + length > this.#network.maxQueuedBytes;
    if (this.#closed || target === undefined || full || length > this.#network.maxFrameBytes) {
      this.#framesDropped++;
      return false;
    }
    let link = this.links.get(to);
    if (link === undefined) {
      link = new Link(this);
      link.fault = this.#network.fault(this.id, to);
      this.links.set(to, link);
    }
    const payload = joinParts(parts, length);
    if (this.#network.carry(link, target, payload)) {
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
    for (const link of this.links.values()) queuedBytes += link.queuedBytes;
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
    if (this.#closed) return;
    this.#closed = true;
    this.links.clear();
    this.#connected.clear();
    if (this.#events !== undefined) this.#network.unregister(this);
  }

  /** @internal */
  deliver(from: NodeId, payload: Uint8Array): void {
    if (this.#closed) return;
    this.#framesReceived++;
    this.#bytesReceived += payload.length;
    this.#events?.frame({ from, payload });
  }

  /** @internal */
  countDropped(): void {
    this.#framesDropped++;
  }

  /** @internal */
  connectAll(): void {
    for (const id of this.#peers.keys()) this.#connect(id);
  }

  /** @internal */
  peerAppeared(node: MemoryTransport): void {
    if (this.#peers.get(node.id) === node.address) this.#connect(node.id);
  }

  /** @internal */
  peerGone(node: MemoryTransport): void {
    if (this.#connected.get(node.id) === node) this.#disconnect(node.id, 'it closed');
    // It may have come back already under the same address.
    if (this.#peers.get(node.id) === node.address) this.#connect(node.id);
  }

  #connect(id: NodeId): void {
    const address = this.#peers.get(id);
    if (this.#closed || this.#events === undefined || address === undefined || this.#connected.has(id))
      return;
    const target = this.#network.nodeAt(address);
    if (target === undefined || target.id !== id) return;
    this.#connected.set(id, target);
    this.#events.connected?.(id);
  }

  #disconnect(id: NodeId, reason: string): void {
    if (this.#connected.delete(id)) this.#events?.disconnected?.(id, reason);
  }
}
