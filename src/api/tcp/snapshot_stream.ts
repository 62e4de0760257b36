/**
 * A SNAPSHOT of the TCP door: its head, then the bytes of the portable snapshot with its trailer, as far as the client's credit goes.
 *
 * Invariants: a chunk is fetched only when it may be sent, so that a slow client holds the reading back and no more than one waits for it; a client that is gone, or has
 * cancelled, lets go of the snapshot.
 */
import { KvError } from '../../errors.ts';
import { beginFrame, endFrame, OPCODE } from '../../wire/client_frames.ts';
import { writeSnapshotHead } from '../../wire/client_upkeep_codec.ts';
import { asKvError } from '../../wire/error_codec.ts';
import type { ByteReader, ByteWriter } from '../../wire/varint.ts';
import type { CallOptions } from '../service.ts';
import { callOptionsOf } from './requests.ts';
import { type DoorStream, MAX_CREDIT_BYTES, type StreamOutput } from './stream_output.ts';

/** @throws KvError PROTOCOL */
export function openSnapshot(output: StreamOutput, requestId: number, reader: ByteReader): DoorStream {
  const timeoutMs = reader.varint();
  const creditBytes = reader.varint();
  reader.expectEnd();
  return new SnapshotFlow(output, requestId, creditBytes, callOptionsOf(timeoutMs, output.identity));
}

class SnapshotFlow implements DoorStream {
  private readonly output: StreamOutput;
  private readonly requestId: number;
  private readonly call: CallOptions;
  private credit: number;
  private wake: (() => void) | undefined;
  private over = false;

  constructor(output: StreamOutput, requestId: number, creditBytes: number, call: CallOptions) {
    this.output = output;
    this.requestId = requestId;
    this.credit = Math.min(creditBytes, MAX_CREDIT_BYTES);
    this.call = call;
  }

  start(): void {
    this.run().then(
      () => this.end(undefined),
      (error: unknown) => this.end(asKvError(error)),
    );
  }

  grant(creditBytes: number): void {
    this.credit = Math.min(this.credit + creditBytes, MAX_CREDIT_BYTES);
    this.roomAgain();
  }

  roomAgain(): void {
    if (this.mayContinue()) this.proceed();
  }

  end(error: KvError | undefined): void {
    if (this.over) return;
    this.abandon();
    if (error !== undefined) this.output.writeError(OPCODE.STREAM_END, this.requestId, error);
    else endFrame(this.output.out, beginFrame(this.output.out, OPCODE.STREAM_END, this.requestId));
    this.output.streamEnded(this.requestId);
  }

  abandon(): void {
    this.over = true;
    this.proceed();
  }

  private async run(): Promise<void> {
    const snapshot = await this.output.context.service.snapshot(this.call);
    if (this.over) return;
    const { sizeBytes, chunks } = snapshot.withTrailer();
    this.send((out) => writeSnapshotHead(out, { revision: snapshot.revision, sizeBytes }));
    await this.room();
    if (this.over) return;
    const most = Math.max(1, this.output.maxFrameBytes >> 1);
    for await (const chunk of chunks) {
      for (let at = 0; at < chunk.length && !this.over; at += most) {
        this.send((out) => out.raw(chunk.subarray(at, at + most)));
        await this.room();
      }
      if (this.over) return;
    }
  }

  private send(write: (out: ByteWriter) => void): void {
    if (this.over) return;
    const start = beginFrame(this.output.out, OPCODE.STREAM_DATA, this.requestId);
    write(this.output.out);
    const sizeBytes = this.output.endStreamFrame(start);
    if (sizeBytes === undefined)
      throw new KvError('FRAME_TOO_LARGE', 'a part of the snapshot is longer than the client takes');
    this.credit -= sizeBytes;
    this.output.flushSoon();
  }

  private mayContinue(): boolean {
    return this.credit > 0 && this.output.hasRoom;
  }

  /** Resolves when more may be sent, or nothing will be. */
  private async room(): Promise<void> {
    while (!this.over && !this.mayContinue()) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  private proceed(): void {
    const { wake } = this;
    this.wake = undefined;
    wake?.();
  }
}
