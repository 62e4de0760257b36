/**
 * One node, asked directly: its status, all it holds, all events it keeps. A client of the product would ask whichever node is near; here it is this one's own account that
 * counts.
 */
import { openConnection, type TcpConnection } from '../../src/client/tcp_connection.ts';
import { KvError } from '../../src/errors.ts';
import { userKey } from '../../src/kv/keyspace.ts';
import { realPorts } from '../../src/real_ports.ts';
import { copyRecord, keyAfter, type StoredRecord } from '../../src/storage/record.ts';
import { readStatus } from '../../src/wire/client_admin_codec.ts';
import { readBatch, readPage, writeScan, writeWatch } from '../../src/wire/client_codec.ts';
import { OPCODE } from '../../src/wire/client_frames.ts';
import type { NodeStatus } from '../../src/wire/messages.ts';
import type { ByteReader, ByteWriter } from '../../src/wire/varint.ts';

const ATTEMPT_MS = 3_000;
const PAGE_KEYS = 1_000;
const PAGE_BYTES = 1024 * 1024;
/** All user keys: from the empty one to the next space. */
const FIRST_KEY = Uint8Array.of(1);
const PAST_LAST_KEY = Uint8Array.of(2);

/** A key as a node holds it. */
export interface HeldEntry {
  readonly key: string;
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly expiresAtMs: number;
}
export interface HeldEvent {
  readonly revision: number;
  readonly key: string;
  readonly type: 'put' | 'delete';
  readonly value: string;
  readonly createRevision: number;
  readonly version: number;
}

export class DirectNode {
  readonly #connection: TcpConnection;
  readonly #sweeper: NodeJS.Timeout;

  constructor(connection: TcpConnection) {
    this.#connection = connection;
    this.#sweeper = setInterval(() => connection.sweep(performance.now()), 200);
  }

  static async connect(address: string): Promise<DirectNode> {
    const connection = await openConnection(address, {
      ports: realPorts(),
      timeoutMs: ATTEMPT_MS,
      name: 'direct',
      closed: () => undefined,
      leader: () => undefined,
      progressed: () => undefined,
    });
    return new DirectNode(connection);
  }

  close(): void {
    clearInterval(this.#sweeper);
    this.#connection.close();
  }

  status(): Promise<NodeStatus> {
    return this.#call(OPCODE.STATUS, (writer) => writer.varint(ATTEMPT_MS), readStatus);
  }

  /** Live keys as of a revision. */
  async entries(revision: number): Promise<HeldEntry[]> {
    const held: HeldEntry[] = [];
    let start: Uint8Array = FIRST_KEY;
    for (;;) {
      const request = {
        start,
        end: PAST_LAST_KEY,
        reverse: false,
        limit: PAGE_KEYS,
        maxBytes: PAGE_BYTES,
        keysOnly: false,
        level: 'eventual',
        minRevision: 0,
        revision,
      } as const;
      const page = await this.#call(
        OPCODE.SCAN,
        (writer) => writeScan(writer.varint(ATTEMPT_MS).varint(0), request),
        (reader) => {
          const read = readPage(reader);
          return { more: read.more, records: read.records.map((record) => copyRecord(record)) };
        },
      );
      for (const record of page.records) held.push(entryOf(record));
      const last = page.records.at(-1);
      if (!page.more || last === undefined) return held;
      start = keyAfter(last.key);
    }
  }

  /** Every event from one revision up to and including another. */
  async events(fromRevision: number, toRevision: number): Promise<HeldEvent[]> {
    const events: HeldEvent[] = [];
    if (fromRevision > toRevision) return events;
    const request = { start: FIRST_KEY, end: PAST_LAST_KEY, fromRevision, prevKv: false };
    const connection = this.#connection;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        connection.cancel(id);
        reject(
          new KvError(
            'TIMEOUT',
            `events up to ${toRevision} did not come; the last is ${events.at(-1)?.revision}`,
          ),
        );
      }, 20_000);
      const id = connection.open({
        opcode: OPCODE.WATCH,
        write: (writer) => writeWatch(writer.varint(0).varint(4 * 1024 * 1024), request),
        data: (reader, sizeBytes) => {
          const batch = readBatch(reader);
          connection.grant(id, sizeBytes);
          for (const { type, record } of batch.events) {
            if (record.modRevision > toRevision) continue;
            const { key, value, modRevision: revision, createRevision, version } = entryOf(record);
            events.push({ revision, key, type, value: type === 'put' ? value : '', createRevision, version });
          }
          if (batch.partial || batch.revision < toRevision) return;
          clearTimeout(timer);
          connection.cancel(id);
          resolve();
        },
        ended: (error) => {
          clearTimeout(timer);
          reject(error ?? new KvError('UNAVAILABLE', 'the watch ended'));
        },
      });
    });
    return events;
  }

  #call<T>(
    opcode: number,
    write: (writer: ByteWriter) => unknown,
    read: (reader: ByteReader) => T,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      if (!this.#connection.usable) throw new KvError('UNAVAILABLE', 'the connection is gone');
      this.#connection.send({
        opcode,
        changes: false,
        attemptDeadlineMs: performance.now() + ATTEMPT_MS,
        write: (writer) => void write(writer),
        answered: (reader) => resolve(read(reader)),
        failed: reject,
      });
    });
  }
}

function entryOf(record: StoredRecord): HeldEntry {
  const { createRevision, modRevision, version, expiresAtMs } = record;
  return {
    key: Buffer.from(userKey(record.key)).toString(),
    value: Buffer.from(record.value).toString(),
    createRevision,
    modRevision,
    version,
    expiresAtMs,
  };
}
