/**
 * The store's end of one reader's mailbox: carries out its requests over the service and sends the replies.
 *
 * Invariants: a reader's requests reach the service in order; a reader that ended gets no replies, and whatever it had asked for is done or not as the service decides; replies
 * that the ring has no room for go through the port, so that nothing here ever waits for a reader.
 */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { Service } from '../api/service.ts';
import { KvError } from '../errors.ts';
import type { CommandResult } from '../kv/command.ts';
import { THE_CLUSTER } from '../security/identity.ts';
import { readGet, readScan, writeGot, writePage } from '../wire/client_codec.ts';
import { asKvError, encodeError } from '../wire/error_codec.ts';
import type { GetResponse, ScanPageResponse } from '../wire/messages.ts';
import { encodeResult } from '../wire/result_codec.ts';
import { ByteReader, ByteWriter } from '../wire/varint.ts';
import {
  isPortMessage,
  type Mailbox,
  type PortMessage,
  REPLY,
  REQUEST,
  requestTimeoutMs,
} from './mailbox.ts';

const WAKE: PortMessage = { type: 'wake' };

type Encode<T> = (answer: T, writer: ByteWriter) => void;

const encodeGot: Encode<GetResponse> = (answer, writer) => writeGot(writer, answer);
const encodePage: Encode<ScanPageResponse> = (answer, writer) => writePage(writer, answer);

export class MailboxServer {
  readonly #mailbox: Mailbox;
  readonly #port: MessagePort;
  readonly #service: Service;
  /** There are replies that `flush` must tell of, and nobody has said so yet. */
  readonly #onReplies: () => void;
  readonly #writer = new ByteWriter(1024);
  /** Payloads that came before the frames that stand for them were looked at. */
  readonly #large: { kind: number; payload: Uint8Array }[] = [];
  #answered = false;
  #ended = false;

  constructor(mailbox: Mailbox, port: MessagePort, service: Service, onReplies: () => void) {
    this.#mailbox = mailbox;
    this.#port = port;
    this.#service = service;
    this.#onReplies = onReplies;
  }

  /** A message of the port. */
  take(message: unknown): void {
    if (isPortMessage(message) && message.type === 'large') this.#large.push(message);
  }

  /** Carries out what waits in the ring; gives how many requests that were. */
  drain(): number {
    const { requests } = this.#mailbox;
    let count = 0;
    while (!this.#ended && requests.next()) {
      const { kind: word, id } = requests;
      // Copied, since the service keeps what it is given.
      const bytes = Buffer.allocUnsafe(requests.payload.length);
      bytes.set(requests.payload);
      requests.release();
      count++;
      if ((word & 0xff) === REQUEST.LARGE) this.#carryOutLarge(id);
      else this.#carryOut(word, id, bytes);
    }
    return count;
  }

  /** Wakes the reader when there is something for it. */
  flush(): void {
    if (!this.#answered || this.#ended) return;
    this.#answered = false;
    if (this.#mailbox.raise()) this.#port.postMessage(WAKE);
  }

  /** The reader is gone, or is to hear no more. */
  end(): void {
    this.#ended = true;
    this.#mailbox.raise();
  }

  #carryOutLarge(id: number): void {
    while (this.#large.length === 0) {
      const received = receiveMessageOnPort(this.#port);
      if (received === undefined) {
        const error = new KvError('INTERNAL', 'a large request did not come with its frame');
        this.#reply(REPLY.FAILED, id, error, encodeFailure);
        return;
      }
      this.take(received.message);
    }
    const { kind, payload } = this.#large.shift()!;
    this.#carryOut(kind, id, payload);
  }

  #carryOut(word: number, id: number, bytes: Uint8Array): void {
    const timeoutMs = requestTimeoutMs(word);
    try {
      switch (word & 0xff) {
        case REQUEST.WRITE:
          return this.#answer(
            id,
            this.#service.write(bytes, { timeoutMs, identity: THE_CLUSTER }),
            encodeResult,
          );
        case REQUEST.GET: {
          const answer = this.#service.get(readGet(new ByteReader(bytes)), {
            timeoutMs,
            identity: THE_CLUSTER,
          });
          return this.#answer(id, answer, encodeGot);
        }
        case REQUEST.SCAN: {
          const answer = this.#service.scan(readScan(new ByteReader(bytes)), {
            timeoutMs,
            identity: THE_CLUSTER,
          });
          return this.#answer(id, answer, encodePage);
        }
        default:
          throw new KvError('PROTOCOL', `a request of the unknown kind ${word & 0xff}`);
      }
    } catch (error) {
      this.#reply(REPLY.FAILED, id, error, encodeFailure);
    }
  }

  #answer<T extends CommandResult | GetResponse | ScanPageResponse>(
    id: number,
    answer: T | Promise<T>,
    encode: Encode<T>,
  ): void {
    if (answer instanceof Promise) {
      answer.then(
        (value) => this.#reply(REPLY.OK, id, value, encode),
        (error) => this.#reply(REPLY.FAILED, id, error, encodeFailure),
      );
    } else {
      this.#reply(REPLY.OK, id, answer, encode);
    }
  }

  #reply<T>(kind: number, id: number, answer: T, encode: Encode<T>): void {
    if (this.#ended) return;
    const writer = this.#writer.reset();
    encode(answer, writer);
    const payload = writer.view();
    const { replies } = this.#mailbox;
    if (!(payload.length <= replies.maxPayloadBytes && replies.push(kind, id, payload))) {
      const message: PortMessage = { type: 'reply', kind, id, payload: new Uint8Array(payload) };
      this.#port.postMessage(message);
    }
    if (!this.#answered) {
      this.#answered = true;
      this.#onReplies();
    }
  }
}

function encodeFailure(error: unknown, writer: ByteWriter): void {
  encodeError(writer, asKvError(error));
}
