/**
 * Scans in a reader thread: pages from the store's thread, waited for in place as they are consumed.
 *
 * Invariants: all pages of a scan show one revision.
 */
import { rangeOf } from '../client/key_range.ts';
import type { Key, KeyEntry } from '../client/store_types.ts';
import { KvError } from '../errors.ts';
import { keyAfter, type StoredRecord } from '../storage/record.ts';
import type { ScanPageRequest } from '../wire/messages.ts';
import type { ReaderLimits } from './mailbox.ts';
import type { MailboxClient } from './mailbox_client.ts';

export interface ReaderScanOptions {
  /** First key, included. With `prefix`: the scan starts at the greater of both. */
  readonly start?: Key | undefined;
  /** First key that is not included. */
  readonly end?: Key | undefined;
  readonly prefix?: Key | undefined;
  readonly reverse?: boolean | undefined;
  readonly limit?: number | undefined;
  readonly keysOnly?: boolean | undefined;
}

const PAGE_RECORDS = 500;
/** A page fits into the ring of replies, unless single values are large. */
const PAGE_BYTES = 64 * 1024;

/** The entry of a record whose bytes are the caller's own. */
export function ownEntry(record: StoredRecord): KeyEntry {
  const { value, createRevision, modRevision, version, expiresAtMs, lease } = record;
  return {
    key: record.key.subarray(1),
    value,
    createRevision,
    modRevision,
    version,
    expiresAtMs: expiresAtMs === 0 ? undefined : expiresAtMs,
    lease: lease === 0n ? undefined : lease,
  };
}

/** `revision` is asked at the first step. @throws KvError at once for wrong options, and while it is consumed. */
export function scanPages(
  client: MailboxClient,
  limits: ReaderLimits,
  options: ReaderScanOptions,
  revision: () => number,
): IterableIterator<KeyEntry> {
  const { limit = Number.POSITIVE_INFINITY } = options;
  if (!(limit >= 0) || (limit !== Number.POSITIVE_INFINITY && !Number.isSafeInteger(limit))) {
    throw new KvError('INVALID_ARGUMENT', `limit is ${limit}, allowed: whole numbers from 0`);
  }
  const range = rangeOf(options, limits.maxKeyBytes);
  return entries(client, limits.requestTimeoutMs, range, options, limit, revision);
}

function* entries(
  client: MailboxClient,
  timeoutMs: number,
  range: { readonly start: Uint8Array; readonly end: Uint8Array } | undefined,
  { reverse = false, keysOnly = false }: ReaderScanOptions,
  limit: number,
  revision: () => number,
): Generator<KeyEntry, void, undefined> {
  if (range === undefined || limit === 0) return;
  let left = limit;
  let request: ScanPageRequest = {
    ...range,
    level: 'eventual',
    minRevision: 0,
    revision: revision(),
    reverse,
    keysOnly,
    limit: 0,
    maxBytes: PAGE_BYTES,
  };
  for (;;) {
    const page = client.scan({ ...request, limit: Math.min(left, PAGE_RECORDS) }, timeoutMs);
    for (const record of page.records) yield ownEntry(record);
    left -= page.records.length;
    const last = page.records.at(-1);
    if (!page.more || left === 0 || last === undefined) return;
    request = reverse ? { ...request, end: last.key } : { ...request, start: keyAfter(last.key) };
  }
}
