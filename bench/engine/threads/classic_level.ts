/** LevelDB from several threads: its binding shares one open database within a process. */
import { z } from 'zod';
import { openClassicLevelDatabase } from '../peers/classic_level.ts';
import type { ThreadedPeer } from './threaded_peer.ts';
import { WINDOW, WriteWindow } from './write_window.ts';

export const classicLevelThreads: ThreadedPeer = {
  async openOwner(directory, data) {
    const database = await openClassicLevelDatabase(directory, true);
    return {
      note: `getSync; put, at most ${WINDOW} a thread not acknowledged`,
      put: (n) => database.put(data.keys.at(n), data.valueOf(n)),
      handle: async () => ({ message: directory }),
      close: () => database.close(),
    };
  },
  async openEnd(message) {
    const database = await openClassicLevelDatabase(z.string().parse(message), true);
    const window = new WriteWindow(WINDOW);
    return {
      get: (key) => database.getSync(key),
      put: (key, value) => window.add(database.put(key, value)),
      drain: () => window.drain(),
      close: () => database.close(),
    };
  },
};
