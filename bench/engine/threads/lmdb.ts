/** LMDB from several threads: every thread opens the same files; writers take turns by LMDB's lock. */
import { z } from 'zod';
import { openLmdbDatabase } from '../peers/lmdb.ts';
import type { ThreadedPeer } from './threaded_peer.ts';

export const lmdbThreads: ThreadedPeer = {
  async openOwner(directory, data) {
    const database = openLmdbDatabase(directory, 'os');
    return {
      note: 'getBinary; putSync, noSync',
      put: (n) => database.putSync(data.keys.at(n), data.valueOf(n)),
      handle: async () => ({ message: directory }),
      close: () => database.close(),
    };
  },
  async openEnd(message) {
    const database = openLmdbDatabase(z.string().parse(message), 'os');
    return {
      get: (key) => database.getBinary(key),
      put: (key, value) => database.putSync(key, value),
      close: () => database.close(),
    };
  },
};
