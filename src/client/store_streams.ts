/**
 * Scans and watches of the public store as async iterables.
 *
 * Invariants: all pages of a scan show one revision; at most one page is fetched ahead of its use; a watch ends quietly with its signal or the store's close, and
 * otherwise only by throwing.
 */
import { KvError } from '../errors.ts';
import type { KvEvent } from '../kv/command.ts';
import { keyAfter, type MaybePromise, type StoredRecord } from '../storage/record.ts';
import type { ScanPageRequest, ScanPageResponse } from '../wire/messages.ts';
import type { Channel } from './channel.ts';
import { keysOf, rangeOf } from './key_range.ts';
import { checkRevision, type StoreLimits } from './operations.ts';
import { readOptionsOf } from './ranges.ts';
import type { ScanOptions, WatchOptions } from './store_types.ts';

const PAGE_RECORDS = 1_000;
const PAGE_BYTES = 1024 * 1024;

/** What a stream needs of its store. */
export interface StreamSource {
  readonly channel: Channel;
  readonly limits: StoreLimits;
  readonly seenRevision: number;
  readonly closeController: AbortController;
  checkOpen(): void;
  saw(revision: number): void;
}

export async function* scanEntries<T>(
  source: StreamSource,
  options: ScanOptions,
  convert: (record: StoredRecord) => T,
): AsyncGenerator<T, void, undefined> {
  source.checkOpen();
  const range = rangeOf(options, source.limits.maxKeyBytes);
  let left = checkLimit(options.limit);
  const read = readOptionsOf(options, source.seenRevision);
  if (range === undefined || left === 0) return;
  let request: ScanPageRequest = {
    ...range,
    ...read,
    reverse: options.reverse ?? false,
    keysOnly: options.keysOnly ?? false,
    limit: Math.min(left, PAGE_RECORDS),
    maxBytes: PAGE_BYTES,
  };
  let coming: MaybePromise<ScanPageResponse> | undefined = source.channel.scan(request, options);
  while (coming !== undefined) {
    const page: ScanPageResponse = await coming;
    source.saw(page.revision);
    left -= page.records.length;
    coming = undefined;
    const last = page.records.at(-1);
    if (page.more && left > 0 && last !== undefined) {
      request = { ...followingPage(request, page, last.key), limit: Math.min(left, PAGE_RECORDS) };
      coming = source.channel.scan(request, options);
      // Its failure is thrown when its turn comes; a consumer that stops before has no interest in it.
      if (coming instanceof Promise) coming.catch(() => {});
    }
    for (const record of page.records) {
      source.checkOpen();
      yield convert(record);
    }
  }
}

/** Later pages are of the first one's revision, which is fixed: any node that has applied it may give them. */
function followingPage(request: ScanPageRequest, page: ScanPageResponse, last: Uint8Array): ScanPageRequest {
  const level = request.level === 'linearizable' ? 'sequential' : request.level;
  const { revision } = page;
  const pinned = { ...request, level, revision, minRevision: revision, atTimeMs: undefined };
  return request.reverse ? { ...pinned, end: last } : { ...pinned, start: keyAfter(last) };
}

function checkLimit(limit: number | undefined): number {
  if (limit === undefined) return Number.POSITIVE_INFINITY;
  if (!Number.isSafeInteger(limit) || limit < 0) {
    throw new KvError('INVALID_ARGUMENT', `limit is ${limit}, allowed: whole numbers from 0`);
  }
  return limit;
}

export async function* watchEvents<T>(
  source: StreamSource,
  options: WatchOptions,
  convert: (event: KvEvent) => T,
): AsyncGenerator<T, void, undefined> {
  source.checkOpen();
  const watched = keysOf(options, source.limits.maxKeyBytes);
  if (watched === undefined) throw new KvError('INVALID_ARGUMENT', 'the watched range holds no key');
  const fromRevision = checkRevision(options.fromRevision, 'fromRevision');
  const { signal: closed } = source.closeController;
  // One of its own: ten thousand watches that listen to the same one look like a leak.
  const signal = AbortSignal.any(options.signal === undefined ? [closed] : [options.signal, closed]);
  if (signal.aborted) return;
  const { key: start, end = keyAfter(start) } = watched;
  const request = { start, end, fromRevision, prevKv: options.prevKv ?? false };
  // A node that lags behind what this store has seen would show some of it again as new.
  const seen = fromRevision === 0 ? source.seenRevision : 0;
  try {
    for await (const batch of source.channel.watch(request, { signal, timeoutMs: options.timeoutMs })) {
      source.saw(batch.revision);
      for (const event of batch.events) {
        if (signal.aborted) return;
        if (event.record.modRevision > seen) yield convert(event);
      }
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
