/**
 * Exponential backoff with jitter: attempts after failures are spread over [d/2, d), d doubling up to a maximum, so that nodes that lost the same peer
 * at the same moment do not come back at the same moment.
 */
import type { Random } from '../src/ports.ts';

export class Backoff {
  readonly #firstMs: number;
  readonly #maxMs: number;
  readonly #random: Random;
  #failures = 0;

  constructor(firstMs: number, maxMs: number, random: Random) {
    this.#firstMs = firstMs;
    this.#maxMs = maxMs;
    this.#random = random;
  }

  /** Milliseconds to wait after one more failure. */
  nextMs(): number {
    const fullMs = Math.min(this.#maxMs, this.#firstMs * 2 ** Math.min(this.#failures, 30));
    this.#failures++;
    return (fullMs / 2) * (1 + this.#random.next());
  }

  reset(): void {
    this.#failures = 0;
  }
}
