/**
 * The store's side of all its reader threads: gives out places, carries out what they ask for in turns, and notices when one is gone.
 *
 * While requests keep coming the hub looks for them once in every turn of the event loop and nobody has to wake it; after a few turns without any it arms the doorbell.
 *
 * Invariants: a place is held by one thread at a time, and is free again when the other end of its port is closed: Node closes the ports of a thread when it
 * ends, however it ends, and a reader that is closed closes its own.
 */
import { MessageChannel, type MessagePort, threadId } from 'node:worker_threads';
import type { Service } from '../api/service.ts';
import { KvError } from '../errors.ts';
import type { Timers } from '../ports.ts';
import type { SharedAttachment, SharedReads } from '../storage/shared/shared_reads.ts';
import { Doorbell, Mailbox, type ReaderHandle, type ReaderLimits } from './mailbox.ts';
import { MailboxServer } from './mailbox_server.ts';

/** Turns without a request after which the hub waits to be woken. */
const IDLE_TURNS = 3;

interface Place {
  readonly server: MailboxServer;
  readonly port: MessagePort;
}

export interface ReaderHubOptions {
  readonly shared: SharedReads;
  readonly service: Service;
  readonly timers: Timers;
  readonly limits: ReaderLimits;
}

export class ReaderHub {
  readonly #options: ReaderHubOptions;
  readonly #bell = Doorbell.allocate();
  readonly #doorbell = new Doorbell(this.#bell);
  readonly #places = new Map<number, Place>();
  #polling = false;
  #idleTurns = 0;
  #closed = false;

  constructor(options: ReaderHubOptions) {
    this.#options = options;
  }

  get closed(): boolean {
    return this.#closed;
  }
  get limits(): ReaderLimits {
    return this.#options.limits;
  }
  get visibleRevision(): number {
    return this.#options.shared.visibleRevision;
  }

  /**
   * Takes a reader's place for a thread, which gets the handle.
   * @throws KvError CLOSED; LOCKED when the place is taken.
   */
  open(reader: number): ReaderHandle {
    if (this.#closed) throw new KvError('CLOSED', 'the store was closed');
    if (this.#places.has(reader)) throw new KvError('LOCKED', `reader ${reader} has a thread already`);
    const { shared, service, limits } = this.#options;
    const { port1: port, port2 } = new MessageChannel();
    let attachment: SharedAttachment;
    try {
      attachment = shared.attach(reader, (message) => port.postMessage(message));
    } catch (error) {
      port.close();
      throw error;
    }
    const mailbox = Mailbox.allocate();
    const server = new MailboxServer(new Mailbox(mailbox), port, service, () => this.#poll());
    const place: Place = { server, port };
    this.#places.set(reader, place);
    port.on('message', (message: unknown) => {
      server.take(message);
      if (!this.#polling) this.#turn();
    });
    port.on('close', () => this.#end(reader, place));
    port.unref();
    return { port: port2, shared: attachment, mailbox, doorbell: this.#bell, limits, storeThread: threadId };
  }

  /**
   * Frees the place of a thread that has ended. A port that was on its way to a thread which ended before it took it is never closed by Node.
   * REQUIRES: no thread uses the handle any more.
   */
  release(reader: number): void {
    const place = this.#places.get(reader);
    if (place === undefined) return;
    this.#end(reader, place);
    place.port.close();
  }

  /** Readers get CLOSED from now on; those that wait are told. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#options.shared.close();
    for (const { server, port } of this.#places.values()) {
      server.end();
      port.close();
    }
  }

  #end(reader: number, place: Place): void {
    place.server.end();
    // After the store's close a thread may still be in the middle of a read: what it looks at is never used again.
    if (this.#closed || this.#places.get(reader) !== place) return;
    this.#places.delete(reader);
    this.#options.shared.detach(reader);
    // It may have silenced the doorbell and died before it sent its message.
    if (!this.#polling) this.#turn();
  }

  #poll(): void {
    if (this.#polling || this.#closed) return;
    this.#polling = true;
    this.#idleTurns = 0;
    this.#doorbell.mute();
    this.#options.timers.afterIo(() => {
      this.#polling = false;
      this.#turn();
    });
  }

  /** Requests in, replies out; then either another turn, or the doorbell armed. */
  #turn(): void {
    if (this.#closed) return;
    let requests = this.#drain();
    if (requests === 0 && this.#idleTurns >= IDLE_TURNS) {
      this.#doorbell.arm();
      // Whoever pushed before the bell was armed did not ring it.
      requests = this.#drain();
      if (requests === 0) return;
    }
    const idleTurns = requests > 0 ? 0 : this.#idleTurns + 1;
    this.#poll();
    this.#idleTurns = idleTurns;
  }

  #drain(): number {
    let requests = 0;
    for (const { server } of this.#places.values()) {
      requests += server.drain();
      server.flush();
    }
    return requests;
  }
}
