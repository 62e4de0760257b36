/** What a check of a history gives. */
import type { TxnAnomaly } from './txn_anomaly.ts';
import type { Violation } from './violation.ts';

export type Verdict = 'linearizable' | 'not linearizable' | 'undecided';

/** Why a partition was not decided. */
export interface Undecided {
  readonly key: string | number | undefined;
  readonly operations: number;
  /** Operations of unknown outcome: what makes a search long. */
  readonly unknown: number;
  readonly reason: string;
}

export interface CheckResult {
  readonly verdict: Verdict;
  readonly model: string;
  readonly operations: number;
  /** How many keys (or other partitions) there are. */
  readonly partitions: number;
  readonly steps: number;
  /** Not linearizable: the shortest part of the history that was found to show it. */
  readonly violation?: Violation | undefined;
  /** Not linearizable, transactions: what was found. */
  readonly anomalies?: readonly TxnAnomaly[] | undefined;
  readonly undecided?: readonly Undecided[] | undefined;
}
