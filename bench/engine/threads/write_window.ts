/**
 * Writes of a thread that are sent without waiting for each: at most `size` of them are not acknowledged, and all are before `drain` resolves.
 */
export class WriteWindow {
  readonly #size: number;
  #waiting: Promise<unknown>[] = [];

  constructor(size: number) {
    this.#size = size;
  }

  /** Waits for every write of the window when it is full. */
  add(write: Promise<unknown>): Promise<void> | undefined {
    this.#waiting.push(write);
    return this.#waiting.length < this.#size ? undefined : this.drain();
  }

  async drain(): Promise<void> {
    const waiting = this.#waiting;
    this.#waiting = [];
    await Promise.all(waiting);
  }
}

/** Unacknowledged writes of one thread. */
export const WINDOW = 64;
