/**
 * What is the matter with the connections between clients and nodes while several steps of a plan are at work on them.
 *
 * Invariant: a way shows what is left of the effects at work on it; with none it is healthy.
 */
import type { NodeId } from '../../raft/types.ts';
import type { StreamFault } from '../machines/streams.ts';
import type { World } from '../world.ts';
import type { FaultStep } from './fault_plan.ts';

export type ClientStep = Extract<
  FaultStep,
  { kind: 'clientSilence' | 'clientReset' | 'clientRefused' | 'clientDelay' }
>;

export class ClientFaults {
  readonly #world: World;
  readonly #faults = new Map<number, { readonly node: NodeId; readonly fault: StreamFault }>();

  constructor(world: World) {
    this.#world = world;
  }

  /** For every client of now, to one node. Gives how to end it. */
  begin(step: Exclude<ClientStep, { kind: 'clientReset' }>, node: NodeId): () => void {
    this.#faults.set(step.id, { node, fault: faultOf(step) });
    this.#refresh(node);
    return () => {
      this.#faults.delete(step.id);
      this.#refresh(node);
    };
  }

  #refresh(id: NodeId): void {
    let sum: StreamFault = {};
    for (const { node, fault } of this.#faults.values()) if (node === id) sum = { ...sum, ...fault };
    for (const { name } of this.#world.clients) this.#world.setClientLink(name, id, 'both', sum);
  }
}

function faultOf(step: Exclude<ClientStep, { kind: 'clientReset' }>): StreamFault {
  switch (step.kind) {
    case 'clientSilence':
      return { blocked: true };
    case 'clientRefused':
      return { refused: true };
    case 'clientDelay':
      return { delayMs: step.delayMs };
  }
}
