/**
 * One direction of one proxied connection: what becomes of the bytes between the two ends.
 *
 * Invariants: bytes leave in the order in which they came, or not at all; after bytes were swallowed nothing more passes on this connection (a stream with a hole in
 * it would be something that no network makes); the end of a connection travels like its bytes: a silent link does not tell of it. What waits is
 * bounded: past MAX_QUEUED_BYTES the sending end is not read any more, and its own window fills.
 */
import type { Socket } from 'node:net';

/** What a link does to the bytes on it; undefined: nothing. */
export type LinkFault =
  /** Connections are reset, new ones at once as well. */
  | { readonly kind: 'cut' }
  /** Half-open: bytes are swallowed, connections stay; when the fault ends, connections that lost something are reset. */
  | { readonly kind: 'silent' }
  /** Half-open as well, but what was held arrives when the fault ends. */
  | { readonly kind: 'held' }
  | { readonly kind: 'delayed'; readonly delayMs: number; readonly jitterMs: number }
  | { readonly kind: 'throttled'; readonly bytesPerSecond: number };

type Parcel = { readonly dueMs: number } & (
  | { readonly what: 'bytes'; readonly bytes: Uint8Array }
  | { readonly what: 'end' | 'reset' }
);

const MAX_QUEUED_BYTES = 1024 * 1024;
const HELD: LinkFault = { kind: 'held' };

export interface LinkCounts {
  bytesPassed: number;
  bytesSwallowed: number;
  resets: number;
}

/** Ends a connection by RST alone: `resetAndDestroy` sends a FIN before it when the socket can still be written, and the other end may take that for a good end. */
export function abort(socket: Socket): void {
  socket.destroySoon = () => socket.destroy();
  socket.resetAndDestroy();
}

export class Lane {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #linkFault: () => LinkFault | undefined;
  readonly #random: () => number;
  readonly #counts: LinkCounts;
  #queue: Parcel[] = [];
  #queuedBytes = 0;
  #lastDueMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #broken = false;
  #closed = false;
  #keeping = false;

  /** Takes what `from` has to say and passes it to `to` as the fault of the moment allows. */
  constructor(
    from: Socket,
    to: Socket,
    fault: () => LinkFault | undefined,
    random: () => number,
    counts: LinkCounts,
  ) {
    this.#from = from;
    this.#to = to;
    this.#linkFault = fault;
    this.#random = random;
    this.#counts = counts;
    to.on('drain', () => this.#readOn());
    from.on('data', (chunk: Uint8Array) => this.push(chunk));
    from.on('end', () => this.#add({ what: 'end', dueMs: this.#due(0) }));
    from.on('close', () => {
      if (!from.readableEnded) this.#add({ what: 'reset', dueMs: this.#due(0) });
    });
  }

  /** Takes bytes as if `from` had sent them just now. */
  push(bytes: Uint8Array): void {
    this.#add({ what: 'bytes', bytes, dueMs: this.#due(bytes.length) });
  }

  /** The fault of this link has changed. */
  faultChanged(): void {
    if (this.#closed) return;
    const fault = this.#fault();
    if (fault?.kind === 'cut' || (this.#broken && fault?.kind !== 'silent')) {
      this.reset();
      return;
    }
    this.#lastDueMs = 0;
    this.#queue = this.#queue.map((parcel) => ({
      ...parcel,
      dueMs: this.#due(parcel.what === 'bytes' ? parcel.bytes.length : 0),
    }));
    this.#deliver();
  }

  /** Holds what this connection alone carries, whatever its link does; delivers it, late, when told to let go. */
  keep(keeping: boolean): void {
    this.#keeping = keeping;
    if (!keeping) this.#deliver();
  }

  /** Resets both ends. */
  reset(): void {
    if (this.#closed) return;
    this.#counts.resets++;
    this.forget();
    abort(this.#from);
    abort(this.#to);
  }

  /** Delivers nothing more. */
  forget(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#queue = [];
    this.#queuedBytes = 0;
  }

  #fault(): LinkFault | undefined {
    return this.#keeping ? HELD : this.#linkFault();
  }

  #due(sizeBytes: number): number {
    const fault = this.#fault();
    const nowMs = performance.now();
    let dueMs = nowMs;
    if (fault?.kind === 'delayed') dueMs = nowMs + fault.delayMs + fault.jitterMs * this.#random();
    if (fault?.kind === 'throttled')
      dueMs = Math.max(nowMs, this.#lastDueMs) + (sizeBytes / fault.bytesPerSecond) * 1000;
    this.#lastDueMs = Math.max(this.#lastDueMs, dueMs);
    return this.#lastDueMs;
  }

  #add(parcel: Parcel): void {
    if (this.#closed) return;
    const fault = this.#fault();
    if (fault?.kind === 'cut') {
      this.reset();
      return;
    }
    if (fault?.kind === 'silent' || this.#broken) {
      this.#broken = true;
      if (parcel.what === 'bytes') this.#counts.bytesSwallowed += parcel.bytes.length;
      return;
    }
    this.#queue.push(parcel);
    if (parcel.what === 'bytes') this.#queuedBytes += parcel.bytes.length;
    if (this.#queuedBytes > MAX_QUEUED_BYTES) this.#from.pause();
    this.#deliver();
  }

  #deliver(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const kind = this.#fault()?.kind;
    if (this.#closed || kind === 'held' || kind === 'silent') return;
    const nowMs = performance.now();
    let done = 0;
    for (const parcel of this.#queue) {
      if (parcel.dueMs > nowMs) break;
      done++;
      this.#hand(parcel);
    }
    this.#queue.splice(0, done);
    if (this.#closed) return;
    this.#readOn();
    const next = this.#queue[0];
    if (next !== undefined) this.#timer = setTimeout(() => this.#deliver(), Math.max(1, next.dueMs - nowMs));
  }

  #hand(parcel: Parcel): void {
    if (this.#to.destroyed) return;
    if (parcel.what === 'bytes') {
      this.#queuedBytes -= parcel.bytes.length;
      this.#counts.bytesPassed += parcel.bytes.length;
      if (!this.#to.writableEnded) this.#to.write(parcel.bytes);
    } else if (parcel.what === 'end') this.#to.end();
    else abort(this.#to);
  }

  #readOn(): void {
    if (this.#queuedBytes <= MAX_QUEUED_BYTES && this.#to.writableLength <= MAX_QUEUED_BYTES)
      this.#from.resume();
    else this.#from.pause();
  }
}
