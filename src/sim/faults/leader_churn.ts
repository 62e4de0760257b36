/**
 * One leader after the other is cut off for a while, so that entries that are not decided pile up in several terms (Raft paper, figure 8).
 *
 * Invariant: at most one node is cut off at a time, and nobody once it has ended.
 */
import type { NodeId } from '../../raft/types.ts';
import type { World } from '../world.ts';
import type { FaultStep } from './fault_plan.ts';
import type { LinkEffects } from './link_effects.ts';

/** Begins; gives what ends it. */
export function beginLeaderChurn(
  world: World,
  links: LinkEffects,
  step: Extract<FaultStep, { kind: 'leaderChurn' }>,
): () => void {
  let cutOff: NodeId | undefined;
  let ended = false;
  const turn = (): void => {
    if (ended) return;
    const leader = cutOff === undefined ? world.leader() : undefined;
    cutOff = leader?.id;
    if (leader !== undefined)
      world.trace.add('fault', leader.lane, 'cut off', step.id, undefined, 0, 'the leader is cut off');
    links.refresh();
    world.ports.timers.after(leader === undefined ? step.gapMs : step.cutMs, turn);
  };
  links.begin(step.id, (from, to) => (from === cutOff || to === cutOff ? { blocked: true } : undefined));
  turn();
  return () => {
    ended = true;
    links.end(step.id);
  };
}
