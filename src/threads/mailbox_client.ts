/**
 * A reader's end of its mailbox: requests that are waited for in place, and requests that come back as promises.
 *
 * Invariants: requests are carried out in the order in which they were made; every one is settled once: by its reply, by a time-out, or by the end of the store; what
 * waits here because the ring is full is bounded (OVERLOADED beyond). A write that timed out, or was cut off by the end, may have been applied.
 */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { KvError } from '../errors.ts';
import type { Clock } from '../ports.ts';
import type { MemoryMessage } from '../storage/shared/shared_reads.ts';
import { readGot, readPage, writeGet, writeScan } from '../wire/client_codec.ts';
import { decodeError } from '../wire/error_codec.ts';
import type { GetResponse, ScanPageRequest, ScanPageResponse } from '../wire/messages.ts';
import { ByteReader, ByteWriter } from '../wire/varint.ts';
import {
  Doorbell,
  isPortMessage,
  Mailbox,
  type PortMessage,
  REPLY,
  REQUEST,
  type ReaderHandle,
  requestWord,
} from './mailbox.ts';

const MAX_WAITING_BYTES = 32 * 1024 * 1024;
const NO_BYTES = new Uint8Array(0);
const WOKEN = Promise.resolve();
const WAKE: PortMessage = { type: 'wake' };

interface Pending {
  readonly isWrite: boolean;
  readonly settle: (reader: ByteReader) => void;
  readonly fail: (error: KvError) => void;
}

interface Frame {
  readonly kind: number;
  readonly id: number;
  readonly payload: Uint8Array;
}

export class MailboxClient {
  /** Takes memories that came with other messages. */
  onMemory: (message: MemoryMessage) => void = () => {};
  readonly #mailbox: Mailbox;
  readonly #doorbell: Doorbell;
  readonly #port: MessagePort;
  readonly #clock: Clock;
  readonly #isClosed: () => boolean;
  readonly #writer = new ByteWriter();
  readonly #pending = new Map<number, Pending>();
  /** Requests that found the ring full. */
  readonly #waiting: Frame[] = [];
  #waitingBytes = 0;
  #newestId = 0;
  #calls = 0;

  /** `isClosed`: whether the store's thread has said that it answers no more. */
  constructor(handle: ReaderHandle, clock: Clock, isClosed: () => boolean) {
    this.#mailbox = new Mailbox(handle.mailbox);
    this.#doorbell = new Doorbell(handle.doorbell);
    this.#port = handle.port;
    this.#clock = clock;
    this.#isClosed = isClosed;
  }

  /** Takes the next memory that was sent, without the event loop. */
  readonly nextMemory = (): MemoryMessage | undefined => {
    for (;;) {
      const received = receiveMessageOnPort(this.#port);
      if (received === undefined) return undefined;
      const { message } = received;
      if (isPortMessage(message)) {
        if (message.type === 'memory' || message.type === 'forget') return message;
        // Taken out of the event loop's hands: what it would have done is done when this thread's code gives way.
        if (message.type === 'wake') void WOKEN.then(() => this.#drain());
        else this.#takeReply(message);
      }
    }
  };

  /** A message that the event loop brought. */
  take(message: unknown): void {
    if (!isPortMessage(message)) return;
    if (message.type === 'memory' || message.type === 'forget') this.onMemory(message);
    else this.#takeReply(message);
    this.#drain();
  }

  call<T>(
    kind: number,
    payload: Uint8Array,
    decode: (reader: ByteReader) => T,
    timeoutMs: number | undefined,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#port.ref();
      this.#calls++;
      this.#send(requestWord(kind, timeoutMs), payload, {
        isWrite: kind === REQUEST.WRITE,
        settle: (reader) => {
          resolve(decode(reader));
          this.#callEnded();
        },
        fail: (error) => {
          this.#callEnded();
          reject(error);
        },
      });
    });
  }

  /** Waits in place. @throws KvError TIMEOUT, CLOSED, and what the request failed with. */
  callSync<T>(kind: number, payload: Uint8Array, decode: (reader: ByteReader) => T, timeoutMs: number): T {
    const deadlineMs = this.#clock.monotonicMs() + timeoutMs;
    let outcome: { value: T } | { error: KvError } | undefined;
    const id = this.#send(requestWord(kind, timeoutMs), payload, {
      isWrite: kind === REQUEST.WRITE,
      settle: (reader) => {
        outcome = { value: decode(reader) };
      },
      fail: (error) => {
        outcome = { error };
      },
    });
    for (;;) {
      const seen = this.#mailbox.signal;
      this.#drain();
      if (outcome === undefined) this.#receive();
      if (outcome !== undefined) break;
      const leftMs = deadlineMs - this.#clock.monotonicMs();
      if (leftMs <= 0 || !this.#mailbox.wait(seen, leftMs)) this.#giveUp(id, timeoutMs);
    }
    if ('error' in outcome) throw outcome.error;
    return outcome.value;
  }

  get(key: Uint8Array, revision: number, timeoutMs: number): GetResponse {
    writeGet(this.#writer.reset(), { key, level: 'eventual', minRevision: 0, revision });
    return this.callSync(REQUEST.GET, this.#writer.view(), readGot, timeoutMs);
  }

  scan(request: ScanPageRequest, timeoutMs: number): ScanPageResponse {
    writeScan(this.#writer.reset(), request);
    return this.callSync(REQUEST.SCAN, this.#writer.view(), readPage, timeoutMs);
  }

  /** Nothing is answered any more. */
  close(): void {
    for (const [id, { isWrite, fail }] of this.#pending) {
      this.#pending.delete(id);
      fail(new KvError('CLOSED', 'the store was closed', { maybeApplied: isWrite }));
    }
    this.#waiting.length = 0;
    this.#waitingBytes = 0;
  }

  /** A thread stays alive while promises of this file are unsettled. */
  #callEnded(): void {
    if (--this.#calls === 0) this.#port.unref();
  }

  #send(kind: number, payload: Uint8Array, pending: Pending): number {
    this.#newestId = (this.#newestId + 1) & 0x7fffffff;
    const id = this.#newestId;
    if (this.#isClosed()) {
      pending.fail(new KvError('CLOSED', 'the store was closed'));
      return id;
    }
    if (this.#waitingBytes + payload.length > MAX_WAITING_BYTES) {
      const details = { limit: MAX_WAITING_BYTES };
      pending.fail(new KvError('OVERLOADED', 'too many requests of this thread wait already', { details }));
      return id;
    }
    this.#pending.set(id, pending);
    // Before the request is seen: its reply must find the wish.
    this.#mailbox.wish();
    if (this.#waiting.length > 0 || !this.#push(kind, id, payload)) {
      // A copy: the caller may use its buffer again.
      this.#waiting.push({ kind, id, payload: new Uint8Array(payload) });
      this.#waitingBytes += payload.length;
    }
    return id;
  }

  #push(kind: number, id: number, payload: Uint8Array): boolean {
    const { requests } = this.#mailbox;
    if (payload.length <= requests.maxPayloadBytes) {
      if (!requests.push(kind, id, payload)) return false;
    } else {
      // First the message, then the frame that stands for it: who finds the frame finds the message.
      if (!requests.hasRoom(0)) return false;
      const large: PortMessage = { type: 'large', kind, payload };
      this.#port.postMessage(large);
      requests.push(REQUEST.LARGE, id, NO_BYTES);
    }
    if (this.#doorbell.ring()) this.#port.postMessage(WAKE);
    return true;
  }

  #drain(): void {
    const { replies } = this.#mailbox;
    for (;;) {
      while (replies.next()) {
        const { kind, id } = replies;
        // A copy: what is decoded may keep views.
        const payload = new Uint8Array(replies.payload);
        replies.release();
        this.#settle(kind, id, payload);
      }
      this.#pushWaiting();
      if (this.#pending.size === 0) return;
      // Wish anew, then look again: a reply that came in between did not see the wish.
      this.#mailbox.wish();
      if (replies.empty) return;
    }
  }

  #pushWaiting(): void {
    let pushed = 0;
    for (const { kind, id, payload } of this.#waiting) {
      if (!this.#push(kind, id, payload)) break;
      this.#waitingBytes -= payload.length;
      pushed++;
    }
    if (pushed > 0) this.#waiting.splice(0, pushed);
  }

  /** What came through the port, without the event loop. */
  #receive(): void {
    for (let memory = this.nextMemory(); memory !== undefined; memory = this.nextMemory())
      this.onMemory(memory);
    if (this.#isClosed()) this.close();
  }

  #takeReply(message: PortMessage): void {
    if (message.type === 'reply') this.#settle(message.kind, message.id, message.payload);
  }

  #settle(kind: number, id: number, payload: Uint8Array): void {
    const pending = this.#pending.get(id);
    // Whoever gave up on it has been told so.
    if (pending === undefined) return;
    this.#pending.delete(id);
    try {
      const reader = new ByteReader(payload);
      if (kind === REPLY.FAILED) pending.fail(decodeError(reader));
      else pending.settle(reader);
    } catch (error) {
      pending.fail(
        error instanceof KvError ? error : new KvError('INTERNAL', String(error), { cause: error }),
      );
    }
  }

  #giveUp(id: number, timeoutMs: number): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    pending?.fail(
      new KvError('TIMEOUT', `the store's thread did not answer within ${timeoutMs} ms`, {
        maybeApplied: pending.isWrite,
      }),
    );
  }
}
