/**
 * Kvorum's storage engine without the consensus, the service and the promises above it: the floor under what the public interface can do. It opens the directory that a store
 * left and reads what has been flushed; what lies in the log only is not there.
 */

import { parseConfig } from '../../src/config.ts';
import { storedKey, USER_SPACE_END, USER_SPACE_START } from '../../src/kv/keyspace.ts';
import { openStorage, type ReplicaStorage } from '../../src/node/replica_storage.ts';
import { realPorts } from '../../src/real_ports.ts';
import { NodeDisk } from '../../src/storage/node_disk.ts';
import { keyAfter } from '../../src/storage/record.ts';
import type { Data } from './data.ts';
import type { Totals } from './peer.ts';
import { kvorumConfig } from './peers/kvorum.ts';
import { type Stretch, toStretch } from './stretch.ts';

/** Operations between two looks at the clock. */
const GROUP = 32;
const NEWEST = Number.MAX_SAFE_INTEGER;
const PAGE_RECORDS = 1_000;
const PAGE_BYTES = 1024 * 1024;

export class EngineLevel {
  readonly note = 'the engine alone, no log, no promises';
  readonly #storage: ReplicaStorage;
  /** Space for one stored key: the engine does not keep it. */
  readonly #key = storedKey(new Uint8Array(16));

  private constructor(storage: ReplicaStorage) {
    this.#storage = storage;
  }

  static async open(path: string): Promise<EngineLevel> {
    const storage = await openStorage({
      disk: new NodeDisk(),
      path,
      config: parseConfig(kvorumConfig('os')),
      ports: realPorts(),
      create: () => Promise.reject(new Error(`there is no store in ${path}`)),
    });
    return new EngineLevel(storage);
  }

  #stored(key: Buffer): Uint8Array {
    this.#key.set(key, 1);
    return this.#key;
  }

  /** One pass over the keys of `data`, until the time is up. @returns the stretch, and how many were found. */
  async get(data: Data, first: number, seconds: number): Promise<{ stretch: Stretch; found: number }> {
    const { engine } = this.#storage;
    const startedMs = performance.now();
    const endMs = startedMs + seconds * 1_000;
    let found = 0;
    let n = first;
    let now = startedMs;
    while (now < endMs) {
      for (const end = n + GROUP; n < end; n++) {
        const answer = engine.get(this.#stored(data.keys.at(n)), NEWEST);
        const record = answer instanceof Promise ? await answer : answer;
        if (record === undefined) continue;
        data.check(n, record.value);
        found++;
      }
      now = performance.now();
    }
    return { stretch: toStretch(n - first, startedMs, now), found };
  }

  async scan(): Promise<Totals> {
    let entries = 0;
    let bytes = 0;
    let start: Uint8Array | undefined = USER_SPACE_START;
    while (start !== undefined) {
      const page = await this.#storage.engine.scan({
        start,
        end: USER_SPACE_END,
        revision: NEWEST,
        reverse: false,
        limit: PAGE_RECORDS,
        maxBytes: PAGE_BYTES,
        keysOnly: false,
      });
      entries += page.records.length;
      for (const { key, value } of page.records) bytes += key.length - 1 + value.length;
      const last = page.records.at(-1);
      start = page.more && last !== undefined ? keyAfter(last.key) : undefined;
    }
    return { entries, bytes };
  }

  close(): Promise<void> {
    return this.#storage.close();
  }
}
