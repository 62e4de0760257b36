/** What a broken invariant is told with. The message is read by a tired person: it says what was seen, where, and what should have been. */
import type { NodeId } from '../../raft/types.ts';

export interface Violation {
  readonly invariant: string;
  readonly message: string;
  /** Virtual time. */
  readonly atMs: number;
  /** The node that it was seen on; undefined: no single one. */
  readonly node: NodeId | undefined;
  /** Numbers and names, for the timeline and for tests. */
  readonly details: Readonly<Record<string, unknown>>;
}

/** Takes note of a violation; the first one ends the run. */
export type Report = (
  invariant: string,
  node: NodeId | undefined,
  message: string,
  details?: Readonly<Record<string, unknown>>,
) => void;
