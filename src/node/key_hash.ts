/**
 * The hash of the key space between two revisions, to find out whether nodes hold the same.
 *
 * It covers what can be read from the compact revision on: of each key of users the versions above it, and the newest at or below it unless that is a tombstone. What compaction may have dropped
 * or not is left out, so that the hash is equal on nodes whose trees have not come equally far.
 *
 *     hash    := SHA-256 over the versions in record order
 *     version := keyBytes:u32 valueBytes:u32 modRevision:u64 createRevision:u64 version:u64 subRevision:u32 flags:u32 lease:u64 expiresAtMs:u64 key value      little-endian
 *
 * Invariants: one page is in memory at a time, and other work goes on between pages; a walk that compaction has overtaken fails.
 */
import { createHash, type Hash } from 'node:crypto';
import { KvError } from '../errors.ts';
import { USER_SPACE_END, USER_SPACE_START } from '../kv/keyspace.ts';
import type { StateMachine } from '../kv/state_machine.ts';
import type { Timers } from '../ports.ts';
import type { Engine } from '../storage/engine_port.ts';
import { compareKeys, FLAG_TOMBSTONE, type StoredRecord } from '../storage/record.ts';
import type { KeyHash } from '../wire/upkeep_messages.ts';
import type { Pins } from './pins.ts';

const PAGE_RECORDS = 1_000;
const PAGE_BYTES = 1024 * 1024;
const HEADER_BYTES = 56;
const TWO_32 = 0x1_0000_0000;

export interface KeyHashOptions {
  readonly engine: Engine;
  readonly stateMachine: StateMachine;
  readonly timers: Timers;
  readonly pins: Pins;
  /** Called between pages; throws when the walk should end. */
  readonly check: () => void;
  /** While a snapshot is being put in place (snapshots.ts): a promise of its end. */
  readonly replaced: () => Promise<void> | undefined;
}

/**
 * REQUIRES: compactRevision <= revision <= the store's.
 * @throws KvError COMPACTED when the store has compacted above `compactRevision`, before or during the walk; CORRUPT
 */
export async function hashKeys(
  options: KeyHashOptions,
  revision: number,
  compactRevision: number,
): Promise<KeyHash> {
  const { engine, stateMachine, timers, pins, check } = options;
  const walk = new HashWalk(compactRevision);
  let after: { key: Uint8Array; modRevision: number } | undefined;
  for (;;) {
    for (let wait = options.replaced(); wait !== undefined; wait = options.replaced()) await wait;
    check();
    pins.touch(compactRevision);
    const page = await engine.versions({
      start: USER_SPACE_START,
      end: USER_SPACE_END,
      after,
      minRevision: 0,
      maxRevision: revision,
      limit: PAGE_RECORDS,
      maxBytes: PAGE_BYTES,
    });
    // Views are good for this turn only.
    walk.add(page.records);
    // What was read after compaction may lack what counts.
    if (stateMachine.compactRevision > compactRevision)
      throw overtaken(compactRevision, stateMachine.compactRevision);
    const last = page.records.at(-1);
    if (!page.more || last === undefined) break;
    after = { key: new Uint8Array(last.key), modRevision: last.modRevision };
    await new Promise<void>((resolve) => timers.afterIo(resolve));
  }
  return { revision, compactRevision, ...walk.finish() };
}

function overtaken(asked: number, compactRevision: number): KvError {
  const message = `history below revision ${compactRevision} is compacted: a hash that counts from ${asked} on cannot be given`;
  return new KvError('COMPACTED', message, { details: { compactRevision } });
}

class HashWalk {
  readonly #compactRevision: number;
  readonly #hash: Hash = createHash('sha256');
  readonly #header = new Uint8Array(HEADER_BYTES);
  readonly #view = new DataView(this.#header.buffer);
  /** The key whose newest version at or below the compact revision was met. */
  #doneKey: Uint8Array | undefined;
  #versions = 0;

  constructor(compactRevision: number) {
    this.#compactRevision = compactRevision;
  }

  add(records: readonly StoredRecord[]): void {
    for (const record of records) {
      if (record.modRevision <= this.#compactRevision) {
        if (this.#doneKey !== undefined && compareKeys(this.#doneKey, record.key) === 0) continue;
        this.#doneKey = new Uint8Array(record.key);
        if ((record.flags & FLAG_TOMBSTONE) !== 0) continue;
      }
      this.#addOne(record);
    }
  }

  finish(): { hash: string; versions: number } {
    return { hash: this.#hash.digest('hex'), versions: this.#versions };
  }

  #addOne(record: StoredRecord): void {
    const view = this.#view;
    view.setUint32(0, record.key.length, true);
    view.setUint32(4, record.value.length, true);
    this.#u64(8, record.modRevision);
    this.#u64(16, record.createRevision);
    this.#u64(24, record.version);
    view.setUint32(32, record.subRevision, true);
    view.setUint32(36, record.flags, true);
    view.setBigInt64(40, BigInt.asIntN(64, record.lease), true);
    this.#u64(48, record.expiresAtMs);
    this.#hash.update(this.#header).update(record.key).update(record.value);
    this.#versions++;
  }

  #u64(at: number, value: number): void {
    this.#view.setUint32(at, value % TWO_32, true);
    this.#view.setUint32(at + 4, Math.floor(value / TWO_32), true);
  }
}
