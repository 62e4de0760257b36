/**
 * How long a search may go on: steps, which are the same on every machine, and time, when a clock is given. Memory follows from the bound on configurations.
 */
export interface Limits {
  readonly maxSteps: number;
  /** How many configurations a search may hold at once; each takes 12 bytes and more. */
  readonly maxConfigurations: number;
  /** Milliseconds on some clock, and when on it to stop. */
  readonly now?: (() => number) | undefined;
  readonly endMs?: number | undefined;
}

const STEPS_BETWEEN_LOOKS = 4096;

export class Budget {
  steps = 0;
  /** What ended the search; undefined while it may go on. */
  exhausted: 'steps' | 'time' | 'configurations' | undefined;
  readonly #limits: Limits;
  #nextLook = STEPS_BETWEEN_LOOKS;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** Counts steps; false when there are none left. */
  take(count = 1): boolean {
    this.steps += count;
    if (this.steps < this.#nextLook) return this.exhausted === undefined;
    this.#nextLook = this.steps + STEPS_BETWEEN_LOOKS;
    const { maxSteps, now, endMs } = this.#limits;
    if (this.steps > maxSteps) this.exhausted ??= 'steps';
    if (now !== undefined && endMs !== undefined && now() >= endMs) this.exhausted ??= 'time';
    return this.exhausted === undefined;
  }

  /** False when so many configurations are too many. */
  holds(configurations: number): boolean {
    if (configurations > this.#limits.maxConfigurations) this.exhausted ??= 'configurations';
    return this.exhausted === undefined;
  }
}

/** Why a search ended without a verdict, for a person. @param limits of the whole check */
export function reasonText(exhausted: Budget['exhausted'], limits: Limits): string {
  if (exhausted === 'time') return 'the time limit was reached';
  if (exhausted === 'configurations')
    return `more than ${limits.maxConfigurations} configurations had to be held at once`;
  return `the limit of ${limits.maxSteps} steps was reached`;
}
