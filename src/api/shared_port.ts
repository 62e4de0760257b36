/**
 * One port for two kinds of clients: those of Kvorum's own protocol, whose door listens with what `sharePort` gives, and all others.
 *
 * A connection's first four bytes tell: in our own protocol they are the length of a HELLO, which is far below what the three letters would say that every request of HTTP
 * begins with, whichever its version (four million at least).
 *
 * Invariants: who says nothing is closed after a while, and not more than `maxWaiting` are waited for, nor more of one address than `addresses` allows.
 */
import type { ByteStream, Listen } from '../byte_stream.ts';
import { listenTcp, peek } from '../net_streams.ts';
import type { Ports } from '../ports.ts';
import type { ConnectionCounts } from './connection_counts.ts';

const HEAD_BYTES = 4;
const TIMEOUT_MS = 5_000;
const FIRST_LETTER = 0x41;
const LAST_LETTER = 0x5a;

export interface SharedPortOptions {
  /** Takes connections that are not of our own protocol. */
  readonly others: (stream: ByteStream) => void;
  readonly ports: Ports;
  readonly maxWaiting: number;
  /** Of its own: the doors count what they take. */
  readonly addresses: ConnectionCounts;
}

/** Listens for the door of our own protocol, and passes on what is for others. */
export function sharePort({ others, ports, maxWaiting, addresses }: SharedPortOptions): Listen {
  return async (address, events) => {
    const waiting = new Set<ByteStream>();
    const accept = (stream: ByteStream): void => {
      stream.on('error', () => stream.destroy());
      const place = waiting.size >= maxWaiting ? undefined : addresses.take(stream);
      if (place === undefined) {
        stream.destroy();
        return;
      }
      waiting.add(stream);
      const timer = ports.timers.after(TIMEOUT_MS, () => stream.destroy());
      stream.on('close', () => {
        timer.cancel();
        waiting.delete(stream);
      });
      peek(stream, HEAD_BYTES, (head) => {
        timer.cancel();
        waiting.delete(stream);
        place.release();
        if (isText(head)) others(stream);
        else events.accept(stream);
      });
    };
    const listener = await listenTcp(address, { accept, failed: (error) => events.failed(error) });
    return {
      address: listener.address,
      async close() {
        const closed = listener.close();
        for (const stream of waiting) stream.destroy();
        await closed;
      },
    };
  };
}

function isText(head: Uint8Array): boolean {
  if (head.length < HEAD_BYTES) return false;
  for (let i = 0; i < 3; i++) if (head[i]! < FIRST_LETTER || head[i]! > LAST_LETTER) return false;
  return true;
}
