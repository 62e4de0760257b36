/**
 * Byte streams as the clients' protocol sees them: what of a socket is used there, and how connections are made and taken. net_streams.ts makes them over TCP,
 * the simulator in virtual time.
 */

/** A connection. A `net.Socket` is one. */
export interface ByteStream {
  /** Bytes given to `write` that have not been passed on yet; 0: the buffers given belong to the caller again. */
  readonly writableLength: number;
  readonly destroyed: boolean;
  /** Of the other side, without the port; undefined: not known. */
  readonly remoteAddress?: string | undefined;
  on(event: 'data', listener: (chunk: Uint8Array) => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  /** drain: all that was written has been passed on. end: the other side will send nothing more. close: nothing follows. */
  on(event: 'drain' | 'end' | 'close', listener: () => void): unknown;
  write(bytes: Uint8Array): unknown;
  /** Ends this side after what was written; `passedOn` hears when all of it has left. */
  end(passedOn?: () => void): unknown;
  destroy(): unknown;
  /** Takes no more bytes until `resume`. */
  pause(): unknown;
  resume(): unknown;
}

/** Begins to connect to HOST:PORT. What is written meanwhile waits; a failure comes as `error`, then `close`. */
export type Dial = (address: string) => ByteStream;

export interface StreamListener {
  /** HOST:PORT, with the real port where 0 was asked for. */
  readonly address: string;
  /** Takes no more connections; resolves when those that it took have ended. */
  close(): Promise<void>;
}

export interface ListenEvents {
  accept(stream: ByteStream): void;
  /** Listening has failed after it had begun. */
  failed(error: Error): void;
}

/** Listens on HOST:PORT. @throws KvError UNAVAILABLE (as a rejection) when it can't. */
export type Listen = (address: string, events: ListenEvents) => Promise<StreamListener>;
