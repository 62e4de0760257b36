/**
 * The configurations that still matter: the newest one known to be committed and those that follow it in the log.
 *
 * Invariants: never empty; ascending by index; only the first may lie at or below the commit index (older ones are dropped), so the list stays at one
 * to three elements. The last one is in force: a node uses a configuration as soon as it is in its log (Raft paper, section 6), and
 * falls back to the one before when the entry is truncated. Nothing is ever looked for in the log again.
 */
import type { Configuration } from './types.ts';

interface ConfigurationAt {
  readonly index: number;
  readonly configuration: Configuration;
}

export class ConfigurationHistory {
  /** The configuration in force. */
  current: Configuration;
  /** Index of its entry, or of the log's start. */
  currentIndex: number;
  readonly #list: ConfigurationAt[];

  constructor(index: number, configuration: Configuration) {
    this.#list = [{ index, configuration }];
    this.current = configuration;
    this.currentIndex = index;
  }

  /** A configuration entry was appended at `index`. REQUIRES: above every index so far. */
  push(index: number, configuration: Configuration): void {
    this.#list.push({ index, configuration });
    this.#refresh();
  }

  /** The log was cut: entries above `lastIndex` are gone. Returns true when the configuration in force changed. */
  truncateAfter(lastIndex: number): boolean {
    if (this.currentIndex <= lastIndex) return false;
    while (this.#list.length > 1 && this.#list.at(-1)!.index > lastIndex) this.#list.pop();
    this.#refresh();
    return true;
  }

  /** Everything up to `commitIndex` is decided: configurations that were replaced by then are forgotten. */
  committed(commitIndex: number): void {
    while (this.#list.length > 1 && this.#list[1]!.index <= commitIndex) this.#list.shift();
  }

  /** The configuration before the one in force, while the latter is not known to be committed. */
  previous(): Configuration | undefined {
    return this.#list.at(-2)?.configuration;
  }

  /** A snapshot took the log's place. */
  reset(index: number, configuration: Configuration): void {
    this.#list.length = 0;
    this.push(index, configuration);
  }

  #refresh(): void {
    const last = this.#list.at(-1)!;
    this.current = last.configuration;
    this.currentIndex = last.index;
  }
}
