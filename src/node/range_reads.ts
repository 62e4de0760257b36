/**
 * Ranges outside of transactions, with all that etcd's know: one revision, read page by page, so that neither the event loop nor the memory suffers from a large one.
 *
 * Invariants: all of an answer shows one revision, whatever is written or compacted meanwhile; kept are at most about twice the bytes that an answer may have; an answer
 * without a limit is never cut off: it is refused.
 */
import type { CallOptions, Service } from '../api/service.ts';
import { KvError } from '../errors.ts';
import { RangeCollector } from '../kv/range_collector.ts';
import { feedsReverse, looksAtAll, needsNoValues } from '../kv/range_selection.ts';
import type { Ports } from '../ports.ts';
import { compareKeys, keyAfter } from '../storage/record.ts';
import { TimeSlice } from '../storage/time_slice.ts';
import type { RangeRequest, RangeResponse } from '../wire/messages.ts';

const PAGE_RECORDS = 1_000;
/** Of records that are only counted. */
const COUNT_RECORDS = 4_000;
const PAGE_BYTES = 256 * 1024;
/** How often a range begins anew at a newer revision because its own was compacted under it. */
const MAX_STARTS = 3;

export interface RangeLimits {
  readonly requestTimeoutMs: number;
  /** The most that the records of an answer may weigh. */
  readonly maxRangeBytes: number;
}

export class RangeReads {
  readonly #reads: Pick<Service, 'get' | 'scan'>;
  readonly #store: { readonly revision: number };
  readonly #ports: Ports;
  readonly #limits: RangeLimits;

  constructor(
    reads: Pick<Service, 'get' | 'scan'>,
    store: { readonly revision: number },
    ports: Ports,
    limits: RangeLimits,
  ) {
    this.#reads = reads;
    this.#store = store;
    this.#ports = ports;
    this.#limits = limits;
  }

  /** @throws KvError REQUEST_TOO_LARGE (more than may be answered, and no limit), COMPACTED, FUTURE_REVISION, and what any read throws */
  async range(request: RangeRequest, options?: CallOptions): Promise<RangeResponse> {
    const { requestTimeoutMs } = this.#limits;
    const deadlineMs = this.#ports.clock.monotonicMs() + (options?.timeoutMs ?? requestTimeoutMs);
    for (let start = 1; ; start++) {
      try {
        return await this.#read(request, options, deadlineMs);
      } catch (error) {
        // The newest revision was compacted by hand before the last page: there is a newer one by now.
        const again = error instanceof KvError && error.code === 'COMPACTED' && start < MAX_STARTS;
        if (!again || request.revision !== 0 || request.atTimeMs !== undefined) throw error;
      }
    }
  }

  async #read(
    request: RangeRequest,
    options: CallOptions | undefined,
    deadlineMs: number,
  ): Promise<RangeResponse> {
    const maxBytes = Math.min(
      request.maxBytes === 0 ? Infinity : request.maxBytes,
      this.#limits.maxRangeBytes,
    );
    const collector = new RangeCollector(request, maxBytes);
    const revision =
      request.end === undefined
        ? await this.#oneKey(request, options, collector)
        : await this.#pages(request, request.end, options, collector, deadlineMs);
    if (collector.overflows) throw tooLarge(maxBytes);
    return { revision, ...collector.finish() };
  }

  async #oneKey(
    request: RangeRequest,
    options: CallOptions | undefined,
    collector: RangeCollector,
  ): Promise<number> {
    const answer = this.#reads.get(request, options);
    // A record that comes at once is valid for this turn only.
    const { revision, record } = answer instanceof Promise ? await answer : answer;
    if (record !== undefined) collector.add(record);
    return revision;
  }

  /** Gives the store's revision. */
  async #pages(
    request: RangeRequest,
    end: Uint8Array,
    options: CallOptions | undefined,
    collector: RangeCollector,
    deadlineMs: number,
  ): Promise<number> {
    const slice = new TimeSlice(this.#ports);
    const reverse = feedsReverse(request);
    const all = looksAtAll(request);
    // Whoever watches on from the answer's revision must miss nothing: a read of the newest tells the one that it shows.
    const ofThePast = request.revision !== 0 || request.atTimeMs !== undefined;
    let [from, to] = compareKeys(request.key, end) < 0 ? [request.key, end] : [request.key, request.key];
    let { level, revision, minRevision, atTimeMs } = request;
    let answered = 0;
    for (let taken = 0; ; ) {
      const keysOnly = needsNoValues(request) || collector.countsOnly;
      const most = keysOnly ? COUNT_RECORDS : PAGE_RECORDS;
      const limit = all ? most : Math.min(most, request.limit + 1 - taken);
      const page = this.#reads.scan(
        {
          level,
          revision,
          minRevision,
          atTimeMs,
          start: from,
          end: to,
          reverse,
          limit,
          maxBytes: PAGE_BYTES,
          keysOnly,
        },
        options,
      );
      const { records, more, revision: shown } = page instanceof Promise ? await page : page;
      for (const record of records) collector.add(record);
      if (answered === 0) answered = ofThePast ? Math.max(shown, this.#store.revision) : shown;
      const last = records.at(-1);
      if (!more || last === undefined || collector.done || collector.overflows) return answered;
      taken += records.length;
      // The following pages show what the first one has shown, here.
      [level, revision, minRevision, atTimeMs] = ['eventual', shown, 0, undefined];
      if (reverse) to = new Uint8Array(last.key);
      else from = keyAfter(last.key);
      await slice.rest();
      if (this.#ports.clock.monotonicMs() > deadlineMs) {
        throw new KvError('TIMEOUT', 'the range was not read to its end in time');
      }
    }
  }
}

function tooLarge(maxBytes: number): KvError {
  const message = `the range holds more than the ${maxBytes} bytes that an answer may have: give a limit, or scan it`;
  return new KvError('REQUEST_TOO_LARGE', message, { details: { limitBytes: maxBytes } });
}
