/**
 * A SCAN of the TCP door: pages of one revision, as far as the client's credit goes.
 *
 * Invariants: all pages show the revision of the first; one page is fetched at a time, and none while the credit is used up or the output is full;
 * a page never holds more than a frame may.
 */
import { KvError } from '../../errors.ts';
import { keyAfter } from '../../storage/record.ts';
import { readScan, writePage } from '../../wire/client_codec.ts';
import { beginFrame, endFrame, OPCODE } from '../../wire/client_frames.ts';
import { asKvError } from '../../wire/error_codec.ts';
import type { ScanPageRequest, ScanPageResponse } from '../../wire/messages.ts';
import type { ByteReader } from '../../wire/varint.ts';
import type { CallOptions } from '../service.ts';
import { callOptionsOf, checkUserEnd, checkUserKey } from './requests.ts';
import { type DoorStream, MAX_CREDIT_BYTES, type StreamOutput } from './stream_output.ts';

const MAX_PAGE_BYTES = 4 * 1024 * 1024;
const MAX_PAGE_RECORDS = 10_000;

/** @throws KvError PROTOCOL, INVALID_ARGUMENT */
export function openScan(output: StreamOutput, requestId: number, reader: ByteReader): DoorStream {
  const timeoutMs = reader.varint();
  const creditBytes = reader.varint();
  const request = readScan(reader);
  checkUserKey(request.start);
  checkUserEnd(request.end);
  if (request.limit === 0) throw new KvError('INVALID_ARGUMENT', 'limit is 0, allowed: at least 1');
  if (request.maxBytes === 0) throw new KvError('INVALID_ARGUMENT', 'maxBytes is 0, allowed: at least 1');
  return new ScanStream(output, requestId, request, creditBytes, callOptionsOf(timeoutMs, output.identity));
}

class ScanStream implements DoorStream {
  private readonly output: StreamOutput;
  private readonly requestId: number;
  private readonly call: CallOptions;
  /** A client that granted nothing wants a single page, as a RESULT. */
  private readonly single: boolean;
  private request: ScanPageRequest;
  private credit: number;
  private fetching = false;
  private ended = false;

  constructor(
    output: StreamOutput,
    requestId: number,
    request: ScanPageRequest,
    creditBytes: number,
    call: CallOptions,
  ) {
    this.output = output;
    this.requestId = requestId;
    this.request = request;
    this.single = creditBytes === 0;
    this.credit = Math.min(creditBytes, MAX_CREDIT_BYTES);
    this.call = call;
  }

  start(): void {
    this.fetch();
  }

  grant(creditBytes: number): void {
    this.credit = Math.min(this.credit + creditBytes, MAX_CREDIT_BYTES);
    this.roomAgain();
  }

  roomAgain(): void {
    if (!this.fetching && !this.ended && this.mayContinue()) this.fetch();
  }

  end(error: KvError | undefined): void {
    if (this.ended) return;
    this.ended = true;
    if (error !== undefined) {
      this.output.writeError(this.single ? OPCODE.ERROR : OPCODE.STREAM_END, this.requestId, error);
    } else if (this.single) {
      this.output.writeError(
        OPCODE.ERROR,
        this.requestId,
        new KvError('CANCELLED', 'the scan was cancelled'),
      );
    } else {
      endFrame(this.output.out, beginFrame(this.output.out, OPCODE.STREAM_END, this.requestId));
    }
    this.output.streamEnded(this.requestId);
  }

  abandon(): void {
    this.ended = true;
  }

  private mayContinue(): boolean {
    return this.single || (this.credit > 0 && this.output.hasRoom);
  }

  private fetch(): void {
    this.fetching = true;
    try {
      const page = this.output.context.service.scan(
        {
          ...this.request,
          limit: Math.min(this.request.limit, MAX_PAGE_RECORDS),
          maxBytes: Math.min(
            this.request.maxBytes,
            MAX_PAGE_BYTES,
            Math.max(1, this.output.maxFrameBytes >> 2),
          ),
        },
        this.call,
      );
      if (page instanceof Promise) {
        page.then(
          (late) => this.deliver(late),
          (error) => this.end(asKvError(error)),
        );
      } else {
        this.deliver(page);
      }
    } catch (error) {
      this.end(asKvError(error));
    }
  }

  /** Writes a page in the turn that it is valid in. */
  private deliver(page: ScanPageResponse): void {
    this.fetching = false;
    if (this.ended) return;
    const { out } = this.output;
    const start = beginFrame(out, this.single ? OPCODE.RESULT : OPCODE.STREAM_DATA, this.requestId);
    try {
      writePage(out, page);
    } catch (error) {
      // Half a frame would spoil all that follows it.
      out.truncate(start);
      this.end(asKvError(error));
      return;
    }
    const sizeBytes = this.output.endStreamFrame(start);
    if (sizeBytes === undefined) {
      this.end(new KvError('FRAME_TOO_LARGE', 'a page of the scan is longer than the client takes'));
      return;
    }
    if (this.single) {
      this.ended = true;
      this.output.streamEnded(this.requestId);
      return;
    }
    this.credit -= sizeBytes;
    const last = page.records.at(-1);
    const limit = this.request.limit - page.records.length;
    if (!page.more || limit <= 0 || last === undefined) {
      this.end(undefined);
      return;
    }
    const rest = { ...this.request, revision: page.revision, atTimeMs: undefined, limit };
    this.request = rest.reverse
      ? { ...rest, end: Uint8Array.from(last.key) }
      : { ...rest, start: keyAfter(last.key) };
    this.output.flushSoon();
    // The next page waits for other work: a scan must not hold up the connection's neighbours.
    this.output.context.ports.timers.afterIo(() => this.roomAgain());
  }
}
