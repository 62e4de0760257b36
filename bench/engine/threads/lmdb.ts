/** LMDB from several threads: every thread opens the same files; writers take turns by LMDB's lock. */
import { z } from 'zod';
import { openLmdbDatabase } from '../peers/lmdb.ts';
import type { ThreadedPeer } from './threaded_peer.ts';
import { WINDOW, WriteWindow } from './write_window.ts';

export const lmdbThreads: ThreadedPeer = {
  async openOwner(directory, data) {
    const database = openLmdbDatabase(directory, 'os');
    return {
      note: `getBinary; put, at most ${WINDOW} a thread not acknowledged, noSync`,
      put: (n) => database.putSync(data.keys.at(n), data.valueOf(n)),
      handle: async () => ({ message: directory }),
      close: () => database.close(),
    };
  },
  async openEnd(message) {
    const database = openLmdbDatabase(z.string().parse(message), 'os');
    const window = new WriteWindow(WINDOW);
    return {
      get: (key) => database.getBinary(key),
      put: (key, value) => window.add(database.put(key, value)),
      drain: () => window.drain(),
      close: () => database.close(),
    };
  },
};
