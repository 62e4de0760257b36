/** What can be wrong with transactions, and what shows it. */
import type { Operation } from './history.ts';

export interface TxnAnomaly {
  /** G0, G1a, G1b, G1c, G-single, G2 (with `-realtime` where the order of time closes the ring), internal, incompatible-order, duplicate-element, unwritten-value, or order. */
  readonly name: string;
  /** For a person: what happened, with lines. */
  readonly text: string;
  /** The transactions concerned; of a ring, in its order. */
  readonly operations: readonly Operation[];
  /** Of a ring: why each comes before the next (the last one: before the first). */
  readonly because?: readonly string[] | undefined;
}
