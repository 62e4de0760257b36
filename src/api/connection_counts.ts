/**
 * How many connections each remote address has, so that one address can't take them all.
 *
 * Of IPv6 the first 64 bits count, of which a customer of a network has one or a few; the rest an address may choose as it likes. A stream that has no address (in tests, in the simulator) is not
 * counted.
 *
 * Invariant: as many entries as there are addresses with connections.
 */
import type { ByteStream } from '../byte_stream.ts';

const IPV4_IN_IPV6 = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;
const COUNTED_GROUPS = 4;
const GROUPS = 8;

export class ConnectionCounts {
  readonly #maxPerAddress: number;
  readonly #counts = new Map<string, number>();

  constructor(maxPerAddress: number) {
    this.#maxPerAddress = maxPerAddress;
  }

  get maxPerAddress(): number {
    return this.#maxPerAddress;
  }

  /** Counts a connection until it is closed, or `release` is called; undefined: its address has as many as it may have. */
  take(stream: ByteStream): { release(): void } | undefined {
    if (stream.remoteAddress === undefined) return UNCOUNTED;
    const address = countedAddress(stream.remoteAddress);
    const count = this.#counts.get(address) ?? 0;
    if (count >= this.#maxPerAddress) return undefined;
    this.#counts.set(address, count + 1);
    let held = true;
    const release = (): void => {
      if (!held) return;
      held = false;
      const left = (this.#counts.get(address) ?? 1) - 1;
      if (left === 0) this.#counts.delete(address);
      else this.#counts.set(address, left);
    };
    stream.on('close', release);
    return { release };
  }
}

const UNCOUNTED = { release: (): void => undefined };

/** What an address counts as. */
export function countedAddress(address: string): string {
  const mapped = IPV4_IN_IPV6.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!address.includes(':')) return address;
  const [head = '', tail] = (address.split('%')[0] ?? '').toLowerCase().split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : Math.max(0, GROUPS - before.length - after.length);
  const groups = [...before, ...Array<string>(zeros).fill('0'), ...after];
  return groups.slice(0, COUNTED_GROUPS).join(':');
}
