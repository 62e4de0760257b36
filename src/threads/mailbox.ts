/**
 * What a reader thread and the store's thread share for requests: two rings, a signal, and a doorbell that all readers of a store have in common.
 *
 *     mailbox    0 request ring's words    128 reply ring's words    256 signal    320 wish for a wake-up    1024 requests    then replies
 *     request    kind in the low byte, above it the time-out in ms (0: the store's own): WRITE an encoded command, GET writeGet, SCAN writeScan (wire/client_codec.ts), LARGE the port brings kind and payload; id: the reader's
 *     reply      kind: OK the request's own result form, FAILED encodeError; id: the request's
 *
 * A reader pushes a request and rings the doorbell; only who finds it silent sends a message to wake the store's thread. That thread answers many requests
 * in one turn and then raises the signal of each reader it has answered: a reader that waits in place wakes from it, and one that wished for it gets a message.
 * What is too large for a ring goes through the port beside it; a LARGE frame keeps its place in the order of requests.
 */
import type { MessagePort } from 'node:worker_threads';
import { KvError } from '../errors.ts';
import type { MemoryMessage, SharedAttachment } from '../storage/shared/shared_reads.ts';
import { ByteRing, RING_WORDS_BYTES } from './byte_ring.ts';

export const REQUEST = { WRITE: 1, GET: 2, SCAN: 3, LARGE: 4 } as const;
export const REPLY = { OK: 1, FAILED: 2 } as const;

const MAX_TIMEOUT_MS = 0xffffff;

/** A request's kind and time-out in one word. */
export function requestWord(kind: number, timeoutMs: number | undefined): number {
  return kind | (Math.min(Math.ceil(timeoutMs ?? 0), MAX_TIMEOUT_MS) << 8);
}

export function requestTimeoutMs(word: number): number | undefined {
  return word >>> 8 === 0 ? undefined : word >>> 8;
}

const RING_BYTES = 256 * 1024;
const SIGNAL_AT = 256;
const WISH_AT = 320;
const DATA_AT = 1024;
const MAILBOX_BYTES = DATA_AT + 2 * RING_BYTES;

/** The limits of the store that a reader checks by itself. */
export interface ReaderLimits {
  readonly maxKeyBytes: number;
  readonly maxValueBytes: number;
  readonly maxTxnOperations: number;
  readonly requestTimeoutMs: number;
}

/**
 * A place among a store's readers, for one thread: send it there with `port` in the transfer list, and give it to attachReader.
 */
export interface ReaderHandle {
  readonly port: MessagePort;
  readonly shared: SharedAttachment;
  readonly mailbox: SharedArrayBuffer;
  readonly doorbell: SharedArrayBuffer;
  readonly limits: ReaderLimits;
  /** The thread of the store, which can't be the reader's. */
  readonly storeThread: number;
}

/** What goes through a reader's port. */
export type PortMessage =
  | MemoryMessage
  | { readonly type: 'wake' }
  | { readonly type: 'large'; readonly kind: number; readonly payload: Uint8Array }
  | { readonly type: 'reply'; readonly kind: number; readonly id: number; readonly payload: Uint8Array };

const PORT_MESSAGES = new Set(['memory', 'forget', 'wake', 'large', 'reply']);

/** A message of this file's own making: nobody else has the other end of the port. */
export function isPortMessage(message: unknown): message is PortMessage {
  return (
    typeof message === 'object' &&
    message !== null &&
    'type' in message &&
    typeof message.type === 'string' &&
    PORT_MESSAGES.has(message.type)
  );
}

export class Mailbox {
  readonly requests: ByteRing;
  readonly replies: ByteRing;
  readonly #signal: Int32Array;
  readonly #wish: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    if (buffer.byteLength !== MAILBOX_BYTES) {
      throw new KvError('INVALID_ARGUMENT', `a mailbox of ${buffer.byteLength} bytes`);
    }
    this.requests = new ByteRing(buffer, 0, DATA_AT, RING_BYTES);
    this.replies = new ByteRing(buffer, RING_WORDS_BYTES, DATA_AT + RING_BYTES, RING_BYTES);
    this.#signal = new Int32Array(buffer, SIGNAL_AT, 1);
    this.#wish = new Int32Array(buffer, WISH_AT, 1);
  }

  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer(MAILBOX_BYTES);
  }

  /** Tells the reader of replies; true when it wants a message as well. */
  raise(): boolean {
    Atomics.add(this.#signal, 0, 1);
    Atomics.notify(this.#signal, 0);
    return Atomics.load(this.#wish, 0) === 1 && Atomics.exchange(this.#wish, 0, 0) === 1;
  }

  /** The signal as it is now: taken before the replies are looked at, and given to `wait`. */
  get signal(): number {
    return Atomics.load(this.#signal, 0);
  }

  /** Waits in place until the signal differs from `seen`. False: not in time. */
  wait(seen: number, timeoutMs: number): boolean {
    return Atomics.wait(this.#signal, 0, seen, timeoutMs) !== 'timed-out';
  }

  /** The reader wants a message with the next replies. */
  wish(): void {
    Atomics.store(this.#wish, 0, 1);
  }
}

export class Doorbell {
  readonly #word: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#word = new Int32Array(buffer, 0, 1);
  }

  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer(4);
  }

  /** True for who has to wake the store's thread. */
  ring(): boolean {
    return Atomics.load(this.#word, 0) === 0 && Atomics.exchange(this.#word, 0, 1) === 0;
  }

  /** The store's thread: it comes to look by itself. */
  mute(): void {
    Atomics.store(this.#word, 0, 1);
  }

  /** The store's thread: it wants to be woken from now on. What was pushed before that it has to look for once more. */
  arm(): void {
    Atomics.store(this.#word, 0, 0);
  }
}
