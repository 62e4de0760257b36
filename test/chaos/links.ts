/**
 * A proxy for every directed link of a cluster: between nodes, and between clients and nodes.
 *
 * Every node advertises an address that is the proxy's. Who dials is read from the first frame (hello_names.ts), so that each connection belongs to two named ends, and
 * each direction of it to one directed link. A fault set on the link from a to b meets all bytes that go from a to b, on whichever of
 * their connections.
 *
 * Invariants: no connection outlives `close`; faults are set and lifted at any time and meet connections that exist as well as new ones.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { NameReader } from './hello_names.ts';
import { abort, Lane, type LinkCounts, type LinkFault } from './link.ts';

const HELLO_LIMIT_MS = 15_000;
const MAX_HELLO_WAIT_BYTES = 64 * 1024;

/** A connection that passes through. */
interface Passage {
  readonly dialer: string;
  readonly target: string;
  readonly near: Socket;
  readonly far: Socket;
  readonly there: Lane;
  readonly back: Lane;
}

export interface DoorOptions {
  /** The end that listens behind this door. */
  readonly name: () => string;
  /** HOST:PORT of that end. */
  readonly target: string;
  readonly port: number;
  /** The address it listens on; default 127.0.0.1. */
  readonly host?: string;
  readonly nameOf: NameReader;
}

export class Links {
  readonly counts: LinkCounts & { connections: number } = {
    bytesPassed: 0,
    bytesSwallowed: 0,
    resets: 0,
    connections: 0,
  };
  readonly #faults = new Map<string, LinkFault>();
  readonly #servers = new Map<number, Server>();
  readonly #passages = new Set<Passage>();
  readonly #sockets = new Set<Socket>();
  readonly #random: () => number;

  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** Opens the proxy in front of one address of one node. */
  async open(options: DoorOptions): Promise<void> {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => this.#greet(near, options));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(options.port, options.host ?? '127.0.0.1', resolve);
    });
    this.#servers.set(options.port, server);
  }

  /** Sets, or with undefined lifts, the fault of the link that carries bytes from one end to another. */
  set(from: string, to: string, fault: LinkFault | undefined): void {
    const link = linkOf(from, to);
    if (fault === undefined) this.#faults.delete(link);
    else this.#faults.set(link, fault);
    for (const passage of [...this.#passages]) {
      if (passage.dialer === from && passage.target === to) passage.there.faultChanged();
      else if (passage.dialer === to && passage.target === from) passage.back.faultChanged();
    }
  }

  fault(from: string, to: string): LinkFault | undefined {
    return this.#faults.get(linkOf(from, to));
  }

  /** Lifts all faults. */
  heal(): void {
    this.#faults.clear();
    for (const { there, back } of [...this.#passages]) {
      there.faultChanged();
      back.faultChanged();
    }
  }

  /**
   * Breaks the connections that `from` dialed to `to` at the dialing end only: `from` dials anew at once, while what was under way on the old connections arrives
   * `lateMs` later, beside or after what the new one brings. To have something under way the link must be delayed or held before. Gives the number of connections.
   */
  overtake(from: string, to: string, lateMs: number): number {
    const overtaken = [...this.#passages].filter(({ dialer, target }) => dialer === from && target === to);
    for (const { near, there, back } of overtaken) {
      back.forget();
      there.keep(true);
      // The news of this reset travels behind what is kept.
      abort(near);
      setTimeout(() => there.keep(false), lateMs).unref();
    }
    return overtaken.length;
  }

  async close(): Promise<void> {
    const closed = [...this.#servers.values()].map(
      (server) => new Promise<void>((resolve) => server.close(() => resolve())),
    );
    for (const { there, back } of this.#passages) {
      there.forget();
      back.forget();
    }
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(closed);
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => this.#sockets.delete(socket));
  }

  /** Reads who dials, then joins the two ends. */
  #greet(near: Socket, options: DoorOptions): void {
    this.#track(near);
    this.counts.connections++;
    const timer = setTimeout(() => abort(near), HELLO_LIMIT_MS);
    let early = Buffer.alloc(0);
    const read = (chunk: Uint8Array): void => {
      early = Buffer.concat([early, chunk]);
      let dialer: string | undefined;
      try {
        dialer = options.nameOf(early);
      } catch {
        // Not a client or a node of ours: nothing to pass on.
        abort(near);
        return;
      }
      if (dialer === undefined && early.length > MAX_HELLO_WAIT_BYTES) abort(near);
      if (dialer === undefined) return;
      clearTimeout(timer);
      near.off('data', read);
      near.off('end', gone);
      this.#join(near, dialer, early, options);
    };
    const gone = (): void => {
      near.destroy();
    };
    near.on('data', read);
    near.on('end', gone);
    near.on('close', () => clearTimeout(timer));
  }

  #join(near: Socket, dialer: string, early: Uint8Array, options: DoorOptions): void {
    const target = options.name();
    const colon = options.target.lastIndexOf(':');
    const [host, port] = [options.target.slice(0, colon), Number(options.target.slice(colon + 1))];
    const far = connect({ host, port, noDelay: true, allowHalfOpen: true });
    this.#track(far);
    const there = this.#lane(near, far, dialer, target);
    const back = this.#lane(far, near, target, dialer);
    const passage: Passage = { dialer, target, near, far, there, back };
    this.#passages.add(passage);
    const closed = (): void => {
      if (!near.destroyed || !far.destroyed) return;
      there.forget();
      back.forget();
      this.#passages.delete(passage);
    };
    near.on('close', closed);
    far.on('close', closed);
    if (this.fault(target, dialer)?.kind === 'cut') back.reset();
    else there.push(early);
  }

  #lane(from: Socket, to: Socket, source: string, destination: string): Lane {
    return new Lane(from, to, () => this.fault(source, destination), this.#random, this.counts);
  }
}

function linkOf(from: string, to: string): string {
  return `${from} ${to}`;
}
