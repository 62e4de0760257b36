/** For code that runs in the caller's own worker threads: reads a store that another thread of this process has open. */
import { realPorts } from './real_ports.ts';
import type { ReaderHandle } from './threads/mailbox.ts';
import { Reader } from './threads/reader.ts';

/**
 * Takes a reader's place in this thread. `handle` comes from `store.readers[i].handle()`, by postMessage with `handle.port` in the transfer list.
 * @throws KvError INVALID_ARGUMENT in the store's own thread, or for what is no handle.
 */
export function attachReader(handle: ReaderHandle): Reader {
  return new Reader(handle, realPorts());
}
