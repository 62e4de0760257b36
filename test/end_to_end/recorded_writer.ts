/**
 * A client that writes without pause and remembers what was acknowledged.
 *
 * Each of its lanes writes to one key, a number that grows by one; a lane goes on with the next number only after the acknowledgement, and repeats a write
 * that failed. So in the end a key must hold the last acknowledged number, or a later one that was tried: anything less is a lost write.
 */
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { connect, type Store } from '../../src/index.ts';

const ATTEMPT_MS = 10_000;

interface Lane {
  readonly key: string;
  acknowledged: number;
  tried: number;
  revision: number;
}

export class RecordedWriter {
  readonly store: Store;
  readonly #lanes: Lane[];
  readonly #valueBytes: number;
  #running = true;
  #lastMs = performance.now();
  #longestPauseMs = 0;
  #failures: unknown[] = [];
  readonly #done: Promise<unknown>;

  private constructor(store: Store, prefix: string, lanes: number, valueBytes: number) {
    this.store = store;
    this.#valueBytes = valueBytes;
    this.#lanes = Array.from({ length: lanes }, (_, i) => ({
      key: `${prefix}${i}`,
      acknowledged: 0,
      tried: 0,
      revision: 0,
    }));
    this.#done = Promise.all(this.#lanes.map((lane) => this.#write(lane)));
  }

  static async start(
    endpoints: readonly string[],
    { prefix = 'w/', lanes = 8, valueBytes = 100 } = {},
  ): Promise<RecordedWriter> {
    return new RecordedWriter(await connect({ endpoints, timeoutMs: ATTEMPT_MS }), prefix, lanes, valueBytes);
  }

  get acknowledged(): number {
    return this.#lanes.reduce((sum, lane) => sum + lane.acknowledged, 0);
  }

  /** Longest time between two acknowledgements since the last call. */
  takeLongestPauseMs(): number {
    const pauseMs = Math.max(this.#longestPauseMs, performance.now() - this.#lastMs);
    this.#longestPauseMs = 0;
    return pauseMs;
  }

  async #write(lane: Lane): Promise<void> {
    while (this.#running) {
      const number = lane.acknowledged + 1;
      lane.tried = number;
      try {
        const { revision } = await this.store.put(lane.key, String(number).padEnd(this.#valueBytes, '.'));
        if (revision <= lane.revision) this.#failures.push(`${lane.key}: ${revision} after ${lane.revision}`);
        lane.revision = revision;
        lane.acknowledged = number;
        const nowMs = performance.now();
        this.#longestPauseMs = Math.max(this.#longestPauseMs, nowMs - this.#lastMs);
        this.#lastMs = nowMs;
      } catch (error) {
        if (!(error instanceof KvError && (error.retryable || error.code === 'CLOSED'))) {
          this.#failures.push(error);
          return;
        }
      }
    }
  }

  /** Ends the writing; what was acknowledged is checked with `verify`. */
  async stop(): Promise<void> {
    this.#running = false;
    await this.#done;
    assert.equal(this.#failures, [], 'no write failed for good, and revisions grew');
  }

  /** No acknowledged write is lost, as `store` sees it. */
  async verify(store: Store = this.store): Promise<void> {
    for (const { key, acknowledged, tried } of this.#lanes) {
      const value = await store.get(key);
      const number = value === undefined ? 0 : Number(/^\d+/.exec(Buffer.from(value).toString())?.[0]);
      assert.ok(
        number >= acknowledged && number <= tried,
        `${key} holds ${number}, acknowledged ${acknowledged}, tried ${tried}`,
      );
    }
  }

  async close(): Promise<void> {
    this.#running = false;
    await this.store.close();
  }
}

/** Everything in a store, as one node sees it: for comparing nodes, and one node before and after. */
export async function contents(
  endpoint: string,
  level: 'eventual' | 'linearizable' = 'eventual',
): Promise<string[]> {
  const store = await connect({ endpoints: [endpoint] });
  try {
    const lines: string[] = [];
    for await (const { key, value, modRevision, createRevision, version } of store.scan({ level }))
      lines.push(`${Buffer.from(key)} ${Buffer.from(value)} ${modRevision} ${createRevision} ${version}`);
    return lines;
  } finally {
    await store.close();
  }
}
