/**
 * A section of the engine benchmark as one peer's process runs it: a plan of steps, and the rows that come of it.
 */
import type { BenchResult } from '../result.ts';
import { GcWatch } from './gc.ts';
import { type Stretch, toResult } from './stretch.ts';

export interface Section {
  /** The steps in order; a step stands in it as often as it is to be done. */
  readonly plan: readonly string[];
  step(name: string): Promise<void>;
  results(): readonly BenchResult[];
  close(): Promise<void>;
}

interface Case {
  readonly stretches: Stretch[];
  note: string;
  bytesPerOperation: number | undefined;
  rssMb: number;
}

/** Collects the stretches of each case of a peer, with the share of garbage collection in each and the memory after it. */
export class Cases {
  readonly #peer: string;
  readonly #cases = new Map<string, Case>();
  readonly #gc = new GcWatch();

  constructor(peer: string) {
    this.#peer = peer;
  }

  async add(name: string, stretch: Stretch, note: string, bytesPerOperation?: number): Promise<void> {
    const gcPercent = await this.#gc.percentBetween(stretch.startedMs, stretch.endedMs);
    const found = this.#cases.get(name) ?? { stretches: [], note, bytesPerOperation, rssMb: 0 };
    found.stretches.push({ ...stretch, gcPercent });
    found.note = note;
    found.rssMb = process.memoryUsage.rss() / 1024 ** 2;
    this.#cases.set(name, found);
  }

  results(): BenchResult[] {
    return [...this.#cases].map(([name, { stretches, ...facts }]) =>
      toResult(this.#peer, name, stretches, facts),
    );
  }

  close(): void {
    this.#gc.stop();
  }
}

/** `steps`, so many times over. */
export function repeated(times: number, steps: readonly string[]): string[] {
  return Array.from({ length: times }, () => steps).flat();
}
