/** What a stream of the TCP door needs of its connection, and what the connection needs of a stream. */

import type { KvError } from '../../errors.ts';
import type { Ports } from '../../ports.ts';
import type { Identity } from '../../security/identity.ts';
import type { ByteWriter } from '../../wire/varint.ts';
import type { Service } from '../service.ts';

export interface StreamOutput {
  readonly context: { readonly service: Service; readonly ports: Ports };
  readonly identity: Identity | undefined;
  readonly out: ByteWriter;
  /** False: write nothing more until `roomAgain` of the stream is called. */
  readonly hasRoom: boolean;
  /** Longest frame that the client takes. */
  readonly maxFrameBytes: number;
  /** Closes the frame begun at `start`; gives its payload bytes, or undefined when it was too long and has been taken back. */
  endStreamFrame(start: number): number | undefined;
  writeError(opcode: number, requestId: number, error: KvError): void;
  /** The stream wrote its STREAM_END. */
  streamEnded(requestId: number): void;
  flushSoon(): void;
}

export interface DoorStream {
  start(): void;
  /** The client may be sent so many bytes more. */
  grant(creditBytes: number): void;
  /** The output has room again. */
  roomAgain(): void;
  /** Ends it with a STREAM_END: with an error, or because the client cancelled. */
  end(error: KvError | undefined): void;
  /** The connection is gone: frees what is held, writes nothing. */
  abandon(): void;
}

/** Credit never counts above this, however much a client grants. */
export const MAX_CREDIT_BYTES = 2 ** 40;
