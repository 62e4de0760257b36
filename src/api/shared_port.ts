/**
 * One port for two kinds of clients: those of Kvorum's own protocol, whose door listens with what `sharePort` gives, and all others.
 *
 * A connection's first four bytes tell: in our own protocol they are the length of a HELLO, which is far below what the three letters would say that every request of HTTP
 * begins with, whichever its version (four million at least).
 *
 * Invariants: who says nothing is closed after a while, and not more than `maxWaiting` are waited for.
 */
import type { ByteStream, Listen } from '../byte_stream.ts';
import { listenTcp, peek } from '../net_streams.ts';
import type { Ports } from '../ports.ts';

const HEAD_BYTES = 4;
const TIMEOUT_MS = 5_000;
const FIRST_LETTER = 0x41;
const LAST_LETTER = 0x5a;

export interface SharedPortOptions {
  /** Takes connections that are not of our own protocol. */
  readonly others: (stream: ByteStream) => void;
  readonly ports: Ports;
  readonly maxWaiting: number;
}

/** Listens for the door of our own protocol, and passes on what is for others. */
export function sharePort({ others, ports, maxWaiting }: SharedPortOptions): Listen {
  return async (address, events) => {
    const waiting = new Set<ByteStream>();
    const accept = (stream: ByteStream): void => {
      stream.on('error', () => stream.destroy());
      if (waiting.size >= maxWaiting) {
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
