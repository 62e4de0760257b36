/** One after the other: asynchronous work that must not overlap. A failed piece does not stop those behind it. */
export class SerialLock {
  #last: Promise<void> = Promise.resolve();

  /** Runs `work` when all that came before has ended, however it ended. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    const before = this.#last;
    let release = (): void => {};
    this.#last = new Promise((resolve) => {
      release = resolve;
    });
    await before;
    try {
      return await work();
    } finally {
      release();
    }
  }
}
