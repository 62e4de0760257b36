/** Kvorum from several threads: reader threads read the shared memory, writes go to the thread that opened the store and are waited for in place. */
import { z } from 'zod';
import { attachReader, open, type ReaderHandle } from '../../../src/index.ts';
import { eventually } from '../../processes.ts';
import { kvorumConfig } from '../peers/kvorum.ts';
import type { ThreadedPeer } from './threaded_peer.ts';
import { WINDOW, WriteWindow } from './write_window.ts';

const MAX_THREADS = 8;
/** A place is free again a moment after its thread has ended. */
const PLACE_LIMIT_MS = 5_000;

const handleSchema = z.custom<ReaderHandle>(
  (value) => typeof value === 'object' && value !== null && 'port' in value && 'shared' in value,
);

export const kvorumThreads: ThreadedPeer = {
  async openOwner(directory, data) {
    const store = await open({ path: directory, config: kvorumConfig('os'), readers: MAX_THREADS });
    return {
      note: `reader threads: get; put, at most ${WINDOW} a thread not acknowledged; durability os`,
      put: (n) => store.put(data.keys.at(n), data.valueOf(n)),
      async handle(index) {
        const handle = await eventually(PLACE_LIMIT_MS, async () => store.readers[index]!.handle());
        return { message: handle, transfer: [handle.port] };
      },
      close: () => store.close(),
    };
  },
  async openEnd(message) {
    const reader = attachReader(handleSchema.parse(message));
    const window = new WriteWindow(WINDOW);
    return {
      get: (key) => reader.get(key),
      put: (key, value) => window.add(reader.put(key, value)),
      drain: () => window.drain(),
      close: () => reader.close(),
    };
  },
};
