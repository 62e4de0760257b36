/**
 * Reading a store from another thread: memtables directly, whatever is not there over the store's thread.
 *
 * Consistency: a read sees everything that was acknowledged before it began; revisions that a reader has seen never go back; a transaction is seen whole or not at
 * all. Several reads at one revision (`snapshot`, `at`) show one state.
 *
 * Invariants: values are copies; a read looks at shared memory only between `enter` and `leave`, and never waits there.
 */
import { threadId } from 'node:worker_threads';
import { checkKey } from '../client/key_range.ts';
import { checkRevision, checkTtl, checkValue } from '../client/operations.ts';
import { createStore } from '../client/store.ts';
import type { Key, KeyEntry, PutOptions, Store, Value } from '../client/store_types.ts';
import { KvError } from '../errors.ts';
import { SPACE_USER } from '../kv/keyspace.ts';
import type { Ports } from '../ports.ts';
import type { MemtableReads } from '../storage/memtable_reads.ts';
import { copyRecord, FLAG_TOMBSTONE, type StoredRecord } from '../storage/record.ts';
import { SharedView } from '../storage/shared/shared_view.ts';
import { ASK, TableReader } from '../storage/tables/table_reader.ts';
import { encodeCommand, encodePut } from '../wire/command_codec.ts';
import type { GetResponse } from '../wire/messages.ts';
import { decodeResult } from '../wire/result_codec.ts';
import { REQUEST, type ReaderHandle } from './mailbox.ts';
import { MailboxChannel } from './mailbox_channel.ts';
import { MailboxClient } from './mailbox_client.ts';
import { ownEntry, type ReaderScanOptions, scanPages } from './reader_scan.ts';

export interface ReaderPutOptions {
  /** The key expires so many milliseconds after the write. */
  readonly ttlMs?: number | undefined;
  /** Default: the store's node.requestTimeoutMs. */
  readonly timeoutMs?: number | undefined;
}

/** Reads at one revision. */
export interface ReaderSnapshot {
  readonly revision: number;
  /** @throws KvError COMPACTED when the revision is not kept any more; CLOSED, TIMEOUT, CORRUPT, KEY_TOO_LARGE, INVALID_ARGUMENT. */
  get(key: Key): Uint8Array | undefined;
  getEntry(key: Key): KeyEntry | undefined;
  scan(options?: ReaderScanOptions): IterableIterator<KeyEntry>;
}

export class Reader {
  /**
   * The whole store for this thread, with promises: reads are done here, all else goes through the store's thread. `watch` is not there
   * (UNSUPPORTED). Closing it closes the reader.
   */
  readonly store: Store;
  readonly #view: SharedView;
  /** undefined: what is in no memtable has to be asked for. */
  readonly #tables: TableReader | undefined;
  readonly #client: MailboxClient;
  readonly #handle: ReaderHandle;
  readonly #requestTimeoutMs: number;
  /** The stored form of the key being read. */
  readonly #key: Buffer;
  #stored: Uint8Array;
  #closed = false;

  /** See attachReader. */
  constructor(handle: ReaderHandle, ports: Ports) {
    if (handle.storeThread === threadId) {
      throw new KvError('INVALID_ARGUMENT', "a reader belongs into another thread than its store's");
    }
    this.#handle = handle;
    this.#client = new MailboxClient(handle, ports.clock, () => this.#closed || this.#view.closed);
    this.#view = new SharedView(handle.shared, this.#client.nextMemory);
    this.#tables = handle.shared.tree === undefined ? undefined : new TableReader(handle.shared.tree);
    this.#client.onMemory = (message) => this.#view.take(message);
    const { limits } = handle;
    this.#requestTimeoutMs = limits.requestTimeoutMs;
    this.#key = Buffer.alloc(limits.maxKeyBytes + 1);
    this.#key[0] = SPACE_USER;
    this.#stored = this.#key.subarray(0, 1);
    const channel = new MailboxChannel(
      this.#client,
      (key, revision) => this.#response(key, revision),
      () => this.close(),
    );
    this.store = createStore({
      channel,
      limits,
      ports,
      maxSessionResults: 1,
      timeoutMs: limits.requestTimeoutMs,
    });
    handle.port.on('message', (message: unknown) => this.#client.take(message));
    handle.port.on('close', () => this.#client.close());
    handle.port.unref();
  }

  /** The newest revision that reads show now; never goes back. */
  get revision(): number {
    return this.#view.visibleRevision;
  }

  /**
   * The value as a copy, or undefined when there is no such key. At once from memory; else waits in place for the store's thread.
   * @throws KvError CLOSED, TIMEOUT, CORRUPT, KEY_TOO_LARGE, INVALID_ARGUMENT
   */
  get(key: Key): Uint8Array | undefined {
    return this.#read(key, 0, copyOfValue, valueOfRecord);
  }

  /** Like `get`, with what is known of the key. */
  getEntry(key: Key): KeyEntry | undefined {
    return this.#read(key, 0, entryOfMemtable, entryOfRecord);
  }

  /**
   * Keys in order, as of one revision: the newest one at the first step. Pages are fetched from the store's thread as they are consumed.
   * @throws KvError as `get` does.
   */
  scan(options: ReaderScanOptions = {}): IterableIterator<KeyEntry> {
    return scanPages(this.#client, this.#handle.limits, options, () => this.#checkOpen().visibleRevision);
  }

  /** Reads at the newest revision that there is now. */
  snapshot(): ReaderSnapshot {
    return this.#snapshotAt(this.#checkOpen().visibleRevision);
  }

  /**
   * Reads at a revision in the past.
   * @throws KvError COMPACTED, FUTURE_REVISION, INVALID_ARGUMENT
   */
  at(revision: number): ReaderSnapshot {
    checkRevision(revision, 'revision');
    const { visibleRevision, compactRevision } = this.#checkOpen();
    if (revision > visibleRevision) {
      throw new KvError(
        'FUTURE_REVISION',
        `revision ${revision} does not exist yet; the store is at ${visibleRevision}`,
      );
    }
    if (revision < compactRevision || revision === 0) throw compacted(revision, compactRevision);
    return this.#snapshotAt(revision);
  }

  /** Writes through the store's thread. Writes of one reader are carried out in order. @throws KvError as Store.put does. */
  put(key: Key, value: Value, options?: PutOptions): Promise<{ readonly revision: number }> {
    return this.store.put(key, value, options);
  }

  /** Like `put`, but waits in place. */
  putSync(key: Key, value: Value, options: ReaderPutOptions = {}): { readonly revision: number } {
    const { limits } = this.#handle;
    this.#checkOpen();
    checkKey(key, limits.maxKeyBytes);
    checkValue(value, limits.maxValueBytes);
    const command = encodePut(key, value, checkTtl(options.ttlMs), 0, 0, 0);
    return { revision: this.#writeSync(command, options.timeoutMs).revision };
  }

  /** Deletes a key and waits in place. */
  deleteSync(
    key: Key,
    options: { readonly timeoutMs?: number | undefined } = {},
  ): { readonly revision: number; readonly deleted: boolean } {
    this.#checkOpen();
    const stored = new Uint8Array(this.#stage(key));
    const operation = { type: 'delete', key: stored, end: undefined, prevKv: false } as const;
    const id = { session: 0, sequence: 0, acknowledgedBelow: 0 };
    const command = encodeCommand({ type: 'write', id, operation });
    const result = this.#writeSync(command, options.timeoutMs);
    return { revision: result.revision, deleted: result.type === 'delete' && result.deleted > 0 };
  }

  /** Gives the place among the store's readers back. The store stays open. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#client.close();
    this.#tables?.close();
    this.#handle.port.close();
  }

  #checkOpen(): SharedView {
    if (this.#closed) throw new KvError('CLOSED', 'the reader was closed');
    if (this.#view.closed) throw new KvError('CLOSED', 'the store was closed');
    return this.#view;
  }

  #snapshotAt(revision: number): ReaderSnapshot {
    return {
      revision,
      get: (key) => this.#read(key, revision, copyOfValue, valueOfRecord),
      getEntry: (key) => this.#read(key, revision, entryOfMemtable, entryOfRecord),
      scan: (options = {}) => scanPages(this.#client, this.#handle.limits, options, () => revision),
    };
  }

  #writeSync(command: Uint8Array, timeoutMs = this.#requestTimeoutMs) {
    const result = this.#client.callSync(REQUEST.WRITE, command, decodeResult, timeoutMs);
    if (result.type === 'failed') throw new KvError(result.code, result.message);
    return result;
  }

  /** `revision` 0: the newest. */
  #read<T>(
    key: Key,
    revision: number,
    fromMemtable: (memtable: MemtableReads, handle: number, stored: Uint8Array) => T,
    fromRecord: (record: StoredRecord) => T,
  ): T | undefined {
    const stored = this.#stage(key);
    const view = this.#checkOpen();
    for (;;) {
      let at = revision;
      view.enter();
      try {
        // Before the list: the list then has everything up to this revision.
        if (at === 0) at = view.visibleRevision;
        const memtables = view.memtables();
        for (let i = 0; i < memtables.length; i++) {
          const memtable = memtables[i]!;
          const handle = memtable.findAt(stored, at);
          if (handle !== 0)
            return memtable.isTombstone(handle) ? undefined : fromMemtable(memtable, handle, stored);
        }
      } finally {
        view.leave();
      }
      const record = this.#readTree(stored, at, revision === 0);
      if (record !== AGAIN) return record === undefined ? undefined : fromRecord(record);
    }
  }

  /** What is in no memtable. AGAIN: the newest revision of a moment ago has been compacted since. */
  #readTree(stored: Uint8Array, revision: number, newest: boolean): StoredRecord | undefined | typeof AGAIN {
    // The tables of now, which is after the list of memtables was read: what that lacks has got into them before.
    const record = this.#tables?.get(stored, revision) ?? (this.#tables === undefined ? ASK : undefined);
    if (record === ASK) return this.#ask(stored, revision, newest);
    // Tables are taken away only after this was said.
    this.#checkOpen();
    const { compactRevision } = this.#view;
    if (compactRevision > revision) {
      if (newest) return AGAIN;
      throw compacted(revision, compactRevision);
    }
    return record === undefined || (record.flags & FLAG_TOMBSTONE) !== 0 ? undefined : record;
  }

  /** Reads over the store's thread. */
  #ask(stored: Uint8Array, revision: number, newest: boolean): StoredRecord | undefined | typeof AGAIN {
    try {
      return this.#client.get(stored, revision, this.#requestTimeoutMs).record;
    } catch (error) {
      if (newest && error instanceof KvError && error.code === 'COMPACTED') return AGAIN;
      throw error;
    }
  }

  #response(key: Uint8Array, revision: number): GetResponse {
    const { visibleRevision } = this.#checkOpen();
    const record = this.#read(key.subarray(1), revision, recordOfMemtable, ownRecord);
    return { revision: visibleRevision, record };
  }

  /** The stored form of a key, valid until the next call. */
  #stage(key: Key): Uint8Array {
    checkKey(key, this.#handle.limits.maxKeyBytes);
    let length: number;
    if (typeof key === 'string') {
      length = this.#key.utf8Write(key, 1, this.#key.length - 1);
    } else {
      this.#key.set(key, 1);
      length = key.length;
    }
    if (this.#stored.length !== length + 1) this.#stored = this.#key.subarray(0, length + 1);
    return this.#stored;
  }
}

const AGAIN = Symbol('read again');

function compacted(revision: number, compactRevision: number): KvError {
  return new KvError(
    'COMPACTED',
    `revision ${revision} has been compacted; ${compactRevision} is the oldest`,
    { details: { compactRevision } },
  );
}

function copyOfValue(memtable: MemtableReads, handle: number): Uint8Array {
  return memtable.valueCopy(handle);
}

function valueOfRecord(record: StoredRecord): Uint8Array {
  return record.value;
}

function entryOfMemtable(memtable: MemtableReads, handle: number, stored: Uint8Array): KeyEntry {
  return ownEntry(recordOfMemtable(memtable, handle, stored));
}

/** The key of a record may be the staged one. */
function entryOfRecord(record: StoredRecord): KeyEntry {
  return ownEntry(ownRecord(record));
}

function recordOfMemtable(memtable: MemtableReads, handle: number, stored: Uint8Array): StoredRecord {
  return copyRecord(memtable.recordOf(stored, handle));
}

function ownRecord(record: StoredRecord): StoredRecord {
  return { ...record, key: new Uint8Array(record.key) };
}
