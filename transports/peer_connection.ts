/**
 * One TCP connection between two nodes, whichever of them dialed: framing, keep-alive, deadlines, and one clear end.
 *
 * Invariants: `closed` is called exactly once, and no frame after it; until `establish` only a handshake's worth of bytes is accepted, and not for longer
 * than the deadline; afterwards a connection on which nothing arrives for `deadAfterMs` is destroyed. Both ends ping: an end whose
 * sending side is busy with a large frame still hears the other end's pings.
 */
import type { Socket } from 'node:net';
import { KvError } from '../src/errors.ts';
import type { Ports, TimerHandle } from '../src/ports.ts';
import { FrameDecoder, FrameWriter } from '../src/wire/frame.ts';
import { KIND_DATA, KIND_PING, KIND_PONG, MAX_HANDSHAKE_BYTES } from './peer_handshake.ts';

export interface PeerConnectionSettings {
  readonly ports: Ports;
  readonly maxFrameBytes: number;
  readonly maxQueuedBytes: number;
  readonly keepAliveMs: number;
  readonly deadAfterMs: number;
  readonly handshakeTimeoutMs: number;
}

export interface PeerConnectionEvents {
  /** A frame before `establish` was called. What it throws (KvError) closes the connection. */
  handshake(payload: Uint8Array): void;
  /** The payload of a data frame. What it throws (KvError) closes the connection. */
  data(payload: Uint8Array): void;
  closed(reason: string): void;
}

const DATA_PREFIX = Uint8Array.of(KIND_DATA);
const PING = Uint8Array.of(KIND_PING);
const PONG = Uint8Array.of(KIND_PONG);

export class PeerConnection {
  readonly #socket: Socket;
  readonly #settings: PeerConnectionSettings;
  readonly #events: PeerConnectionEvents;
  readonly #decoder = new FrameDecoder(MAX_HANDSHAKE_BYTES);
  readonly #writer: FrameWriter;
  #deadline: TimerHandle | undefined;
  #keepAlive: TimerHandle | undefined;
  #established = false;
  #closed = false;
  #heardMs = 0;
  #checkedMs = 0;
  bytesReceived = 0;
  /** Resolves when the socket is really gone. */
  readonly gone: Promise<void>;
  readonly #onFrame = (payload: Uint8Array) => this.#frame(payload);

  constructor(socket: Socket, settings: PeerConnectionSettings, events: PeerConnectionEvents) {
    this.#socket = socket;
    this.#settings = settings;
    this.#events = events;
    this.#writer = new FrameWriter(socket, {
      // One byte more than the payload: the kind.
      maxFrameBytes: settings.maxFrameBytes + 1,
      maxQueuedBytes: settings.maxQueuedBytes,
      schedule: (run) => settings.ports.timers.afterIo(run),
    });
    this.gone = new Promise((resolve) => {
      socket.once('close', () => {
        this.close('connection closed');
        this.#deadline?.cancel();
        resolve();
      });
    });
    socket.on('data', (chunk) => this.#receive(chunk));
    socket.on('error', (error) => this.close(error.message));
    socket.on('end', () => {
      this.close(this.#decoder.atBoundary ? 'closed by the other end' : 'closed inside a frame');
    });
    this.#deadline = settings.ports.timers.after(settings.handshakeTimeoutMs, () => {
      this.destroy(`no handshake within ${settings.handshakeTimeoutMs} ms`);
    });
  }

  get established(): boolean {
    return this.#established;
  }

  get queuedBytes(): number {
    return this.#closed ? 0 : this.#writer.queuedBytes;
  }

  /** The handshake is over: large frames are welcome, and silence counts from now. */
  establish(): void {
    const { clock, timers } = this.#settings.ports;
    this.#deadline?.cancel();
    this.#deadline = undefined;
    this.#established = true;
    this.#decoder.setMaxFrameBytes(this.#settings.maxFrameBytes + 1);
    this.#heardMs = clock.monotonicMs();
    this.#checkedMs = this.#heardMs;
    this.#keepAlive = timers.every(this.#settings.keepAliveMs, () => this.#checkAlive());
  }

  /** Queues a handshake frame and sends it at once. */
  sendHandshake(payload: Uint8Array): void {
    this.#writer.writePayload(payload);
    this.#writer.flush();
  }

  /** Queues a data frame; false when the queue is full or the connection is gone. REQUIRES: the parts take at most maxFrameBytes. */
  send(parts: readonly Uint8Array[]): boolean {
    if (this.#closed) return false;
    const framed: Uint8Array[] = new Array(parts.length + 1);
    framed[0] = DATA_PREFIX;
    for (let i = 0; i < parts.length; i++) framed[i + 1] = parts[i]!;
    return this.#writer.writeFrame(framed);
  }

  flush(): void {
    if (!this.#closed) this.#writer.flush();
  }

  /** Says why, then ends the connection. The handshake deadline stays in force for an other end that does not close. */
  refuse(refusal: Uint8Array, reason: string): void {
    this.sendHandshake(refusal);
    this.#finish(reason);
    this.#socket.end();
  }

  /** Ends the connection now; does nothing to one that is ending already. */
  close(reason: string): void {
    if (!this.#closed) this.destroy(reason);
  }

  /** Ends the connection now, even one that is still saying why it refuses. */
  destroy(reason: string): void {
    if (!this.#closed) this.#finish(reason);
    this.#deadline?.cancel();
    this.#socket.destroy();
  }

  #finish(reason: string): void {
    this.#closed = true;
    this.#decoder.stop();
    this.#keepAlive?.cancel();
    this.#events.closed(reason);
  }

  #receive(chunk: Uint8Array): void {
    if (this.#closed) return;
    this.bytesReceived += chunk.length;
    if (this.#established) this.#heardMs = this.#settings.ports.clock.monotonicMs();
    try {
      this.#decoder.push(chunk, this.#onFrame);
    } catch (error) {
      // Anything else is a bug of ours and must not pass for a bug of the other end's.
      if (!(error instanceof KvError)) throw error;
      this.close(`${error.code}: ${error.message}`);
    }
  }

  #frame(payload: Uint8Array): void {
    if (!this.#established) {
      this.#events.handshake(payload);
      return;
    }
    switch (payload[0]) {
      case KIND_DATA:
        this.#events.data(payload.subarray(1));
        return;
      case KIND_PING:
        // A full queue loses the pong; whoever fills it is alive enough.
        this.#writer.writePayload(PONG);
        return;
      case KIND_PONG:
        return;
      default:
        throw new KvError('PROTOCOL', `no frame has the kind ${payload[0]}`);
    }
  }

  #checkAlive(): void {
    const nowMs = this.#settings.ports.clock.monotonicMs();
    // After a pause of this process what the other end sent is still unread: it gets one more interval.
    const paused = nowMs - this.#checkedMs > 2 * this.#settings.keepAliveMs;
    this.#checkedMs = nowMs;
    const silentMs = nowMs - this.#heardMs;
    if (silentMs >= this.#settings.deadAfterMs && !paused) {
      this.close(`nothing heard for ${Math.round(silentMs)} ms`);
      return;
    }
    this.#writer.writePayload(PING);
  }
}
