/** A plain model of versioned records, and random ones to fill it with: what trees and the engine are compared against. */
import {
  compareKeys,
  compareRecords,
  FLAG_TOMBSTONE,
  type ScanPage,
  type ScanRequest,
  type StoredRecord,
  type VersionsRequest,
} from '../../src/storage/record.ts';
import type { Run } from '../../src/storage/tree.ts';

/** mulberry32: the same numbers for the same seed. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** A record in one line that can be compared and read. */
export function show(record: StoredRecord | undefined): string {
  if (record === undefined) return 'none';
  const key = Buffer.from(record.key).toString('latin1');
  const value = Buffer.from(record.value);
  const shown =
    value.length > 40 ? `${value.length}B:${value.subarray(0, 16).toString('hex')}` : value.toString('hex');
  const { modRevision, createRevision, version, subRevision, flags, lease, expiresAtMs } = record;
  return `${key}@${modRevision} c${createRevision} v${version} s${subRevision} f${flags} l${lease} x${expiresAtMs} ${shown}`;
}

export function showAll(records: readonly StoredRecord[]): string[] {
  return records.map(show);
}

/** A run from records in any order. */
export function runOf(records: readonly StoredRecord[]): Run {
  const sorted = [...records].sort(compareRecords);
  const dataBytes = sorted.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
  return { recordCount: sorted.length, dataBytes, records: () => sorted.values() };
}

/** Keys that share prefixes, are prefixes of each other, and use the ends of the byte range. */
export function randomKey(random: () => number): Uint8Array {
  const kind = Math.floor(random() * 10);
  if (kind === 0) return Uint8Array.of(1, 0, Math.floor(random() * 3));
  if (kind === 1) return Uint8Array.of(1, 255, 255, Math.floor(random() * 3) + 253);
  if (kind === 2) return bytesOf(`\u0001${'p'.repeat(Math.floor(random() * 30))}`);
  return bytesOf(`\u0001key-${String(Math.floor(random() * 150)).padStart(4, '0')}`);
}

export class RecordModel {
  revision = 0;
  /** All ever written, by key (latin1), newest first. */
  readonly #keys = new Map<string, StoredRecord[]>();
  #sorted: StoredRecord[] | undefined;

  get records(): readonly StoredRecord[] {
    this.#sorted ??= [...this.#keys.values()].flat().sort(compareRecords);
    return this.#sorted;
  }

  add(record: StoredRecord): void {
    const name = Buffer.from(record.key).toString('latin1');
    const versions = this.#keys.get(name);
    if (versions === undefined) this.#keys.set(name, [record]);
    else versions.unshift(record);
    if (record.modRevision > this.revision) this.revision = record.modRevision;
    this.#sorted = undefined;
  }

  clear(): void {
    this.#keys.clear();
    this.#sorted = undefined;
  }

  get(key: Uint8Array, revision: number): StoredRecord | undefined {
    return this.#keys
      .get(Buffer.from(key).toString('latin1'))
      ?.find((record) => record.modRevision <= revision);
  }

  /** The next put or tombstone of a random key, as the state machine would write it. */
  randomWrite(random: () => number, maxValueBytes = 200): StoredRecord {
    const key = randomKey(random);
    const previous = this.get(key, Number.MAX_SAFE_INTEGER);
    const modRevision = this.revision + 1;
    const dead = previous === undefined || (previous.flags & FLAG_TOMBSTONE) !== 0;
    if (!dead && random() < 0.2) return tombstone(key, modRevision);
    const value = new Uint8Array(Math.floor(random() * maxValueBytes)).fill(modRevision % 251);
    return {
      key,
      value,
      modRevision,
      createRevision: dead ? modRevision : previous.createRevision,
      version: dead ? 1 : previous.version + 1,
      subRevision: Math.floor(random() * 3),
      flags: 0,
      lease: random() < 0.1 ? BigInt(Math.floor(random() * 2 ** 50)) * 1000n : 0n,
      expiresAtMs: random() < 0.1 ? Math.floor(random() * 2 ** 45) : 0,
    };
  }

  scan(request: ScanRequest): ScanPage {
    const newest = new Map<string, StoredRecord>();
    for (const record of this.records) {
      if (!within(record.key, request) || record.modRevision > request.revision) continue;
      const name = Buffer.from(record.key).toString('latin1');
      if (!newest.has(name)) newest.set(name, record);
    }
    let shown = [...newest.values()];
    if (request.tombstones !== true) shown = shown.filter((record) => (record.flags & FLAG_TOMBSTONE) === 0);
    if (request.reverse) shown.reverse();
    if (request.keysOnly) shown = shown.map((record) => ({ ...record, value: new Uint8Array(0) }));
    return cut(shown, request.limit, request.maxBytes);
  }

  versions(request: VersionsRequest): ScanPage {
    const { after, minRevision, maxRevision } = request;
    const shown = this.records.filter(
      (record) =>
        within(record.key, request) &&
        (after === undefined || compareRecords(record, after) > 0) &&
        record.modRevision >= minRevision &&
        record.modRevision <= maxRevision,
    );
    return cut(shown, request.limit, request.maxBytes);
  }

  /** What must still be there after compaction at `revision`. */
  retained(revision: number): StoredRecord[] {
    let key: Uint8Array | undefined;
    return this.records.filter((record) => {
      if (record.modRevision > revision) return true;
      const isNewest = key === undefined || compareKeys(record.key, key) !== 0;
      key = record.key;
      return isNewest && (record.flags & FLAG_TOMBSTONE) === 0;
    });
  }

  /** One that goes its own way from here. */
  copy(): RecordModel {
    const copy = new RecordModel();
    copy.revision = this.revision;
    for (const [name, versions] of this.#keys) copy.#keys.set(name, [...versions]);
    return copy;
  }
}

export function tombstone(key: Uint8Array, modRevision: number): StoredRecord {
  const value = new Uint8Array(0);
  return {
    key,
    value,
    modRevision,
    createRevision: 0,
    version: 0,
    subRevision: 0,
    flags: FLAG_TOMBSTONE,
    lease: 0n,
    expiresAtMs: 0,
  };
}

export function plainRecord(key: string | Uint8Array, modRevision: number, value: Uint8Array): StoredRecord {
  return {
    key: typeof key === 'string' ? bytesOf(key) : key,
    value,
    modRevision,
    createRevision: modRevision,
    version: 1,
    subRevision: 0,
    flags: 0,
    lease: 0n,
    expiresAtMs: 0,
  };
}

function within(key: Uint8Array, range: { start: Uint8Array; end: Uint8Array | undefined }): boolean {
  if (compareKeys(key, range.start) < 0) return false;
  return range.end === undefined || compareKeys(key, range.end) < 0;
}

function cut(records: StoredRecord[], limit: number, maxBytes: number): ScanPage {
  let bytes = 0;
  let count = 0;
  while (count < records.length && count < limit && bytes < maxBytes) {
    bytes += records[count]!.key.length + records[count]!.value.length;
    count++;
  }
  return { records: records.slice(0, count), more: count < records.length };
}

export function randomScan(random: () => number, minRevision: number, maxRevision: number): ScanRequest {
  const all = random() < 0.3;
  const a = randomKey(random);
  const b = randomKey(random);
  return {
    start: all ? new Uint8Array(0) : a,
    end: all || random() < 0.2 ? undefined : b,
    revision: minRevision + Math.floor(random() * (maxRevision - minRevision + 1)),
    reverse: random() < 0.5,
    limit: random() < 0.5 ? 1 + Math.floor(random() * 10) : 100_000,
    maxBytes: random() < 0.3 ? 1 + Math.floor(random() * 500) : Number.MAX_SAFE_INTEGER,
    keysOnly: random() < 0.2,
  };
}

export function randomVersions(
  random: () => number,
  minRevision: number,
  maxRevision: number,
): VersionsRequest {
  const { start, end, limit, maxBytes } = randomScan(random, minRevision, maxRevision);
  const span = maxRevision - minRevision + 1;
  const from = minRevision + Math.floor(random() * span);
  return {
    start,
    end,
    after:
      random() < 0.5
        ? undefined
        : { key: randomKey(random), modRevision: Math.floor(random() * maxRevision) + 1 },
    minRevision: random() < 0.5 ? minRevision : from,
    maxRevision: random() < 0.5 ? maxRevision : Math.max(from, Math.floor(random() * maxRevision)),
    limit,
    maxBytes,
  };
}
