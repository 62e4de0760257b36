/**
 * The watchers of a round: each follows all keys, or those of one prefix, batch by batch as its connection brings them, across everything that happens; some read slowly.
 *
 * A watch that falls behind what was compacted ends with COMPACTED: it is taken up again where history begins now, as a new record.
 */
import { KvError } from '../../src/errors.ts';
import { userKey } from '../../src/kv/keyspace.ts';
import type { WatcherRecord } from '../../src/sim/check/observations.ts';
import { RecordedStore } from './recorded_store.ts';
import type { Recorder } from './recorder.ts';

const TIMEOUT_MS = 2_000;
const SLOW_MS = 120;
/** From the first key of the user's space to the next space. */
const PREFIXES = ['', 'r/', ''] as const;

export class Watchers {
  readonly #recorder: Recorder;
  readonly #stop = new AbortController();
  readonly #stores: RecordedStore[] = [];
  readonly #latest: number[] = [];
  #hurried = false;
  #done: Promise<unknown> = Promise.resolve();

  constructor(recorder: Recorder) {
    this.#recorder = recorder;
  }

  async start(count: number, endpoints: readonly string[]): Promise<void> {
    for (let number = 0; number < count; number++)
      this.#stores.push(await RecordedStore.connect(endpoints, `watcher-${number + 1}`, TIMEOUT_MS));
    this.#done = Promise.all(this.#stores.map((_, number) => this.#follow(number)));
    this.#done.catch(() => undefined);
  }

  /** Whether all watchers have been told of everything up to a revision. */
  haveReached(revision: number): boolean {
    return this.#latest.every((latest) => latest >= revision);
  }

  get latest(): readonly number[] {
    return this.#latest;
  }

  /** From now on none of them is slow. */
  hurry(): void {
    this.#hurried = true;
  }

  /** Ends all watches; fails with what ended one of them before. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#stores.map(({ store }) => store.close()));
  }

  async #follow(number: number): Promise<void> {
    this.#latest[number] = 0;
    const prefix = PREFIXES[number % PREFIXES.length]!;
    const slow = number % PREFIXES.length === 2;
    for (let fromRevision = 1; !this.#stop.signal.aborted; ) {
      const record: WatcherRecord = {
        name: `watcher-${number + 1}/${fromRevision}`,
        start: prefix,
        end: prefix === '' ? undefined : after(prefix),
        fromRevision,
        openedMs: this.#recorder.now(),
        seenRevision: 0,
        batches: [],
        ended: undefined,
      };
      this.#recorder.watchers.push(record);
      const compacted = await this.#watch(number, record, slow);
      fromRevision = compacted + 1;
    }
  }

  /** Follows until it is told to stop; gives the compacted revision when that ended it. */
  async #watch(number: number, record: WatcherRecord, slow: boolean): Promise<number> {
    const { signal } = this.#stop;
    const end = record.end === undefined ? Uint8Array.of(2) : stored(record.end);
    const request = { start: stored(record.start), end, fromRevision: record.fromRevision, prevKv: false };
    const atMs = (): number => this.#recorder.now();
    try {
      for await (const { revision, events } of this.#stores[number]!.channel.watch(request, {
        signal,
        timeoutMs: undefined,
      })) {
        const seen = events.map(({ type, record: { key, value, modRevision, createRevision, version } }) => ({
          revision: modRevision,
          key: Buffer.from(userKey(key)).toString(),
          type,
          value: type === 'put' ? this.#recorder.name(value) : '',
          createRevision,
          version,
        }));
        record.batches.push({ atMs: atMs(), revision, events: seen });
        this.#latest[number] = revision;
        if (slow && !this.#hurried && !signal.aborted)
          await new Promise((resolve) => setTimeout(resolve, SLOW_MS * Math.random()));
      }
      record.ended = {
        atMs: atMs(),
        how: signal.aborted ? 'cancelled' : 'silent',
        code: '',
        compactRevision: 0,
      };
      if (!signal.aborted) this.#recorder.failures.push(`${record.name} ended although nobody asked for it`);
      return 0;
    } catch (error) {
      if (!(error instanceof KvError)) throw error;
      const compactRevision = Number(error.details['compactRevision'] ?? 0);
      record.ended = { atMs: atMs(), how: 'error', code: error.code, compactRevision };
      if (error.code === 'COMPACTED' && compactRevision > 0) return compactRevision;
      // Opening a watch is bounded; following one is not.
      if (!error.retryable)
        this.#recorder.failures.push(`${record.name} ended with ${error.code}: ${error.message}`);
      return record.batches.at(-1)?.revision ?? record.fromRevision - 1;
    }
  }
}

function stored(key: string): Uint8Array {
  return Buffer.from(`\x01${key}`);
}

/** The first key behind all that begin with a prefix of ASCII. */
function after(prefix: string): string {
  return prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1);
}
