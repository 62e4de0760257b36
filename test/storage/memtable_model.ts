/** A plain model of the memtable (a sorted array, no cleverness), and generators of keys that are hard for it. */
import * as fc from 'fast-check';
import {
  FLAG_TOMBSTONE,
  type ScanPage,
  type ScanRequest,
  type StoredRecord,
  type VersionsRequest,
} from '../../src/storage/record.ts';

export class MemtableModel {
  /** In record order. */
  readonly all: StoredRecord[] = [];

  put(record: StoredRecord): void {
    this.all.push(record);
    this.all.sort((a, b) => Buffer.compare(a.key, b.key) || b.modRevision - a.modRevision);
  }

  at(key: Uint8Array, revision: number): StoredRecord | undefined {
    return this.all.find((record) => Buffer.compare(record.key, key) === 0 && record.modRevision <= revision);
  }

  scan(request: ScanRequest): ScanPage {
    const seen = new Set<string>();
    const visible = this.all.filter((record) => {
      const name = Buffer.from(record.key).toString('hex');
      if (seen.has(name) || record.modRevision > request.revision || !inRange(record.key, request))
        return false;
      seen.add(name);
      return request.tombstones === true || (record.flags & FLAG_TOMBSTONE) === 0;
    });
    if (request.reverse) visible.reverse();
    const shown = request.keysOnly
      ? visible.map((record) => ({ ...record, value: new Uint8Array(0) }))
      : visible;
    return page(shown, request.limit, request.maxBytes);
  }

  versions(request: VersionsRequest): ScanPage {
    const { after } = request;
    const chosen = this.all.filter((record) => {
      if (!inRange(record.key, request)) return false;
      if (record.modRevision < request.minRevision || record.modRevision > request.maxRevision) return false;
      if (after === undefined) return true;
      const order = Buffer.compare(record.key, after.key);
      return order > 0 || (order === 0 && record.modRevision < after.modRevision);
    });
    return page(chosen, request.limit, request.maxBytes);
  }
}

function inRange(key: Uint8Array, range: { start: Uint8Array; end: Uint8Array | undefined }): boolean {
  return (
    Buffer.compare(key, range.start) >= 0 && (range.end === undefined || Buffer.compare(key, range.end) < 0)
  );
}

function page(records: StoredRecord[], limit: number, maxBytes: number): ScanPage {
  const taken: StoredRecord[] = [];
  let bytes = 0;
  for (const record of records) {
    if (taken.length === limit || bytes >= maxBytes) break;
    taken.push(record);
    bytes += record.key.length + record.value.length;
  }
  return { records: taken, more: taken.length < records.length };
}

/** What a record looks like when all that is compared is plain. */
export function plain(record: StoredRecord | undefined): unknown {
  if (record === undefined) return undefined;
  return { ...record, key: hex(record.key), value: hex(record.value) };
}

export function plainPage(page: ScanPage): unknown {
  return { more: page.more, records: page.records.map(plain) };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

/** Bytes that make prefixes, neighbours and the ends of the order likely. */
const edgyByte = fc.constantFrom(0x00, 0x01, 0x61, 0x62, 0x7f, 0x80, 0xff);
const shortKey = fc.uint8Array({ minLength: 1, maxLength: 3 });
const edgyKey = fc.array(edgyByte, { minLength: 1, maxLength: 20 }).map((bytes) => Uint8Array.from(bytes));
/** Keys with a long shared beginning, whose difference lies behind the first words. */
const longKey = fc
  .tuple(fc.constantFrom(7, 8, 9, 15, 16, 17, 300), fc.array(edgyByte, { maxLength: 3 }))
  .map(([length, tail]) => Uint8Array.from([...new Array<number>(length).fill(0x61), ...tail]));

export const anyKey = fc.oneof(shortKey, edgyKey, longKey);
export const anyBound = fc.oneof(anyKey, fc.constant(new Uint8Array(0)));
export const anyValue = fc.oneof(
  { weight: 8, arbitrary: fc.uint8Array({ maxLength: 40 }) },
  {
    weight: 1,
    arbitrary: fc.integer({ min: 1000, max: 70_000 }).map((n) => new Uint8Array(n).fill(n & 255)),
  },
);

export interface Write {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly tombstone: boolean;
  readonly revisionStep: number;
  readonly lease: bigint;
  readonly expiresAtMs: number;
}

/** Writes over few keys, so that overwrites are common. */
export const anyWrites = fc.array(anyKey, { minLength: 1, maxLength: 25 }).chain((keys) =>
  fc.array(
    fc.record({
      key: fc.constantFrom(...keys),
      value: anyValue,
      tombstone: fc.boolean(),
      revisionStep: fc.integer({ min: 1, max: 3 }),
      lease: fc.constantFrom(0n, 1n, -1n, 2n ** 63n - 1n, 1n << 32n),
      expiresAtMs: fc.constantFrom(0, 1, 1_750_000_000_000),
    }),
    { minLength: 1, maxLength: 120 },
  ),
);
