/**
 * Many keys at once, at one revision, by several threads: the half that runs in the store's thread, and (the default export) the half that runs in a reader's.
 *
 * Keys and values travel packed: cloning one long array costs far less than many short ones.
 */
import type { Key } from '../client/store_types.ts';
import type { Reader } from './reader.ts';
import type { ReaderThread } from './reader_thread.ts';

/** A thread is worth its messages from so many keys on. */
const MIN_KEYS_PER_THREAD = 32;
const ABSENT = 0xffff_ffff;

interface Packed {
  /** ABSENT: there is none. */
  readonly lengths: Uint32Array;
  readonly bytes: Uint8Array;
}

interface GetManyArgs {
  readonly keys: Packed;
  readonly revision: number;
}

function pack(items: readonly (Uint8Array | undefined)[]): Packed {
  const lengths = Uint32Array.from(items, (item) => item?.length ?? ABSENT);
  const bytes = Buffer.allocUnsafeSlow(items.reduce((sum, item) => sum + (item?.length ?? 0), 0));
  let at = 0;
  for (const item of items) {
    if (item === undefined) continue;
    bytes.set(item, at);
    at += item.length;
  }
  return { lengths, bytes };
}

/** Views of the packed bytes. */
function unpack({ lengths, bytes }: Packed): (Uint8Array | undefined)[] {
  let at = 0;
  return Array.from(lengths, (length) => {
    if (length === ABSENT) return undefined;
    at += length;
    return bytes.subarray(at - length, at);
  });
}

const MODULE = new URL(import.meta.url);

/**
 * The values of many keys at a revision, in their order, read by the threads that run.
 * @param here reads one in this thread, where threads are not worth it
 */
export async function getMany(
  keys: readonly Key[],
  revision: number,
  threads: readonly ReaderThread[],
  here: (key: Key) => Promise<Uint8Array | undefined>,
): Promise<(Uint8Array | undefined)[]> {
  const count = Math.min(threads.length, Math.floor(keys.length / MIN_KEYS_PER_THREAD));
  if (count === 0) return Promise.all(keys.map(here));
  const share = Math.ceil(keys.length / count);
  const parts = await Promise.all(
    threads.slice(0, count).map(async (thread, i) => {
      const part = keys.slice(i * share, (i + 1) * share);
      const packed = pack(part.map((key) => (typeof key === 'string' ? Buffer.from(key) : key)));
      const args: GetManyArgs = { keys: packed, revision };
      return unpack(await thread.run<Packed>(MODULE, args));
    }),
  );
  return parts.flat();
}

/** In a reader's thread. */
export default function getPacked(reader: Reader, { keys, revision }: GetManyArgs): Packed {
  const snapshot = reader.at(revision);
  return pack(unpack(keys).map((key) => (key === undefined ? undefined : snapshot.get(key))));
}
