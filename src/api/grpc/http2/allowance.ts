/**
 * How much a client may ask for without getting anything done: frames that cost work and move no request on (pings, settings, resets, empty data, ...) take tokens, which come
 * back with time. Whoever runs out of them is cut off. This is what bounds the floods that HTTP/2 servers met in 2019 (CVE-2019-9512 to 9518) and 2023 (rapid reset, CVE-2023-44487).
 *
 * Honest clients stay far below: grpc-go pings once a round trip while data flows, a client that gives up on its requests resets each once.
 */
export class Allowance {
  readonly #burst: number;
  readonly #perSecond: number;
  #tokens: number;
  #lastMs: number;

  constructor(burst: number, perSecond: number, nowMs: number) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#tokens = burst;
    this.#lastMs = nowMs;
  }

  /** False: used up. */
  take(cost: number, nowMs: () => number): boolean {
    this.#tokens -= cost;
    if (this.#tokens >= 0) return true;
    const now = nowMs();
    const earned = ((now - this.#lastMs) * this.#perSecond) / 1_000;
    this.#lastMs = now;
    this.#tokens = Math.min(this.#burst, this.#tokens + Math.max(0, earned));
    return this.#tokens >= 0;
  }
}
