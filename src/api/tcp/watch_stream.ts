/**
 * A WATCH of the TCP door: batches as the service delivers them, as far as the client's credit goes.
 *
 * Invariants: the first frame says from where events come (no events, revision = first wanted - 1); batches leave in the order delivered; while the credit is
 * used up or the output is full the service is told to hold back, so that at most one batch is queued here; a batch above PART_BYTES is sent in parts.
 */
import { KvError } from '../../errors.ts';
import { readWatch, writeBatch } from '../../wire/client_codec.ts';
import { beginFrame, endFrame, OPCODE } from '../../wire/client_frames.ts';
import { asKvError } from '../../wire/error_codec.ts';
import type { WatchBatch, WatchRequest } from '../../wire/messages.ts';
import type { ByteReader } from '../../wire/varint.ts';
import type { WatchHandle } from '../service.ts';
import { checkUserEnd, checkUserKey } from './requests.ts';
import { type DoorStream, MAX_CREDIT_BYTES, type StreamOutput } from './stream_output.ts';

/** A frame of a batch is closed once it holds this much. */
const PART_BYTES = 1024 * 1024;

/** @throws KvError PROTOCOL, INVALID_ARGUMENT */
export function openWatch(output: StreamOutput, requestId: number, reader: ByteReader): DoorStream {
  reader.varint();
  const creditBytes = reader.varint();
  const request = readWatch(reader);
  checkUserKey(request.start);
  checkUserEnd(request.end);
  return new WatchStream(output, requestId, request, creditBytes);
}

class WatchStream implements DoorStream {
  private readonly output: StreamOutput;
  private readonly requestId: number;
  private readonly request: WatchRequest;
  private credit: number;
  private handle: WatchHandle | undefined;
  /** Delivered when it could not be sent: before the service has said from where, or without credit. The service stops after the first. */
  private queued: WatchBatch[] = [];
  /** The service waits for resume(). */
  private held = false;
  private ended = false;

  constructor(output: StreamOutput, requestId: number, request: WatchRequest, creditBytes: number) {
    this.output = output;
    this.requestId = requestId;
    this.request = request;
    this.credit = Math.min(creditBytes, MAX_CREDIT_BYTES);
  }

  start(): void {
    const sink = {
      deliver: (batch: WatchBatch) => this.deliver(batch),
      end: (error: Error) => this.end(asKvError(error)),
    };
    this.output.context.service.watch(this.request, sink, { identity: this.output.identity }).then(
      (handle) => this.opened(handle),
      (error) => this.end(asKvError(error)),
    );
  }

  grant(creditBytes: number): void {
    this.credit = Math.min(this.credit + creditBytes, MAX_CREDIT_BYTES);
    this.roomAgain();
  }

  roomAgain(): void {
    if (!this.held || this.handle === undefined) return;
    while (this.queued.length > 0 && !this.ended && this.mayContinue()) this.send(this.queued.shift()!);
    if (this.queued.length > 0 || this.ended || !this.mayContinue()) return;
    this.held = false;
    this.handle.resume();
  }

  end(error: KvError | undefined): void {
    if (this.ended) return;
    this.abandon();
    if (error !== undefined) this.output.writeError(OPCODE.STREAM_END, this.requestId, error);
    else endFrame(this.output.out, beginFrame(this.output.out, OPCODE.STREAM_END, this.requestId));
    this.output.streamEnded(this.requestId);
  }

  abandon(): void {
    this.ended = true;
    this.queued = [];
    this.handle?.cancel();
  }

  private opened(handle: WatchHandle): void {
    if (this.ended) {
      handle.cancel();
      return;
    }
    this.handle = handle;
    this.send({ revision: Math.max(0, handle.fromRevision - 1), events: [] });
    this.roomAgain();
  }

  private deliver(batch: WatchBatch): boolean {
    if (this.ended) return false;
    if (this.handle === undefined || !this.mayContinue()) {
      this.queued.push(batch);
      this.held = true;
      return false;
    }
    this.send(batch);
    this.held = !this.mayContinue();
    return !this.held;
  }

  private mayContinue(): boolean {
    return this.credit > 0 && this.output.hasRoom;
  }

  private send(batch: WatchBatch): void {
    const partBytes = Math.min(PART_BYTES, this.output.maxFrameBytes >> 1);
    const count = batch.events.length;
    let from = 0;
    do {
      let to = from;
      for (let bytes = 0; to < count && (to === from || bytes < partBytes); to++) {
        bytes += eventBytes(batch, to);
        // The event that would overflow the part begins the next one.
        if (to > from && bytes > partBytes) break;
      }
      const start = beginFrame(this.output.out, OPCODE.STREAM_DATA, this.requestId);
      try {
        writeBatch(this.output.out, batch, from, to, to < count);
      } catch (error) {
        // Half a frame would spoil all that follows it.
        this.output.out.truncate(start);
        this.end(asKvError(error));
        return;
      }
      const sizeBytes = this.output.endStreamFrame(start);
      if (sizeBytes === undefined) {
        this.end(new KvError('FRAME_TOO_LARGE', 'an event is longer than the client takes'));
        return;
      }
      this.credit -= sizeBytes;
      from = to;
    } while (from < count);
    this.output.flushSoon();
  }
}

function eventBytes(batch: WatchBatch, index: number): number {
  const { record, previous } = batch.events[index]!;
  const before = previous === undefined ? 0 : previous.key.length + previous.value.length;
  return record.key.length + record.value.length + before + 64;
}
