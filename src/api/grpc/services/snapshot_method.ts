/**
 * etcd's Maintenance.Snapshot: a portable snapshot (docs/formats/snapshot.md) in messages, with the checksum behind it that clients of etcd look for.
 *
 * Invariants: a slow client holds the reading back, so that no more than a chunk waits for it; a call that is over lets go of the snapshot.
 */
import type { SnapshotStream } from '../../service.ts';
import { SnapshotRequest, SnapshotResponse } from '../messages/cluster.ts';
import { type StreamCall, type StreamHandler, type StreamMethod, streaming } from '../method.ts';
import { callOptionsOf, type EtcdContext, Headers } from './etcd_context.ts';

export function snapshotMethod(context: EtcdContext): StreamMethod {
  return streaming(
    'Snapshot',
    SnapshotRequest,
    SnapshotResponse,
    false,
    (call) => new SnapshotCall(context, call),
  );
}

class SnapshotCall implements StreamHandler<object> {
  readonly #context: EtcdContext;
  readonly #call: StreamCall<ReturnType<typeof SnapshotResponse.create>>;
  #over = false;
  #wake: (() => void) | undefined;

  constructor(context: EtcdContext, call: StreamCall<ReturnType<typeof SnapshotResponse.create>>) {
    this.#context = context;
    this.#call = call;
  }

  message(): void {
    const { service } = this.#context;
    service
      .snapshot(callOptionsOf(service, this.#call.context))
      .then((snapshot) => this.#send(snapshot))
      .then(
        () => {
          if (!this.#over) this.#call.end();
        },
        (error: unknown) => {
          if (!this.#over) this.#call.end(error);
        },
      );
  }

  clientEnded(): void {}

  over(): void {
    this.#over = true;
    this.#wake?.();
  }

  roomAgain(): void {
    this.#wake?.();
  }

  async #send(snapshot: SnapshotStream): Promise<void> {
    const { sizeBytes, chunks } = snapshot.withTrailer();
    const header = new Headers(this.#context.service).header(snapshot.revision);
    let left = sizeBytes;
    for await (const blob of chunks) {
      while (!this.#call.hasRoom && !this.#over) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
      // Leaving the loop closes the snapshot's file.
      if (this.#over) return;
      left -= blob.length;
      this.#call.send({ header, remaining_bytes: left, blob });
    }
  }
}
