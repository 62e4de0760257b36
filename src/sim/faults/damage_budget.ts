/**
 * Which disks may be damaged: never more copies of a decided entry than the promises allow to be lost.
 *
 * The promise: with n voters, n = 2f + 1 or 2f + 2, every acknowledged write survives the loss of what f of them hold. An entry may be on f + 1 nodes only (a quorum), and nobody knows
 * on which, so damage counts per node and not per entry: while f voters are damaged, no other may be. A node counts from the moment its disk is damaged until it holds
 * everything again: its store was replaced from another node's, or it was removed and another one has taken its place and caught up.
 *
 * What is no damage, and may happen to all nodes at once: a power cut that takes what was not synced (nothing was promised of it), a failed write or sync that ends a
 * node, a full disk. A cluster of one has f = 0: its damage is a matter of tests of their own, where it must be told and never be served.
 *
 * Learners are not counted as holding anything, so they may always be damaged.
 */
import type { NodeId } from '../../raft/types.ts';

/** Where a damaged node stands on the way back. */
export type DamageState =
  /** Its disk was damaged; it has not noticed, or mends itself from another node. */
  | 'damaged'
  /** It has refused to start: it must be removed from the cluster and replaced. */
  | 'refused';

export class DamageBudget {
  readonly #damaged = new Map<NodeId, DamageState>();

  /** Nodes that count at the moment, by id. */
  get damaged(): ReadonlyMap<NodeId, DamageState> {
    return this.#damaged;
  }

  /** How many voters may be damaged at once. */
  static allowance(voters: number): number {
    return Math.max(0, Math.floor((voters - 1) / 2));
  }

  /** Why a node may not be damaged now; undefined: it may. `quorums`: the voters of each configuration that is or may yet be in force. */
  refusal(id: NodeId, quorums: readonly (readonly NodeId[])[]): string | undefined {
    if (this.#damaged.has(id)) return undefined;
    for (const voters of quorums) {
      if (!voters.includes(id)) continue;
      const allowance = DamageBudget.allowance(voters.length);
      const used = [...this.#damaged.keys()].filter((other) => voters.includes(other));
      if (used.length < allowance) continue;
      if (allowance === 0) return `${voters.length} voters have no copy to spare`;
      return `${allowance} of ${voters.length} voters may be damaged at once, and node ${used.join(', ')} is already`;
    }
    return undefined;
  }

  /** REQUIRES: `refusal` gave none. */
  damage(id: NodeId): void {
    if (!this.#damaged.has(id)) this.#damaged.set(id, 'damaged');
  }

  /** The node has refused to start because of its damage. */
  refused(id: NodeId): void {
    this.#damaged.set(id, 'refused');
  }

  /** The node holds everything again, or is a member no more and its successor has caught up. */
  restored(id: NodeId): void {
    this.#damaged.delete(id);
  }

  isDamaged(id: NodeId): boolean {
    return this.#damaged.has(id);
  }
}
