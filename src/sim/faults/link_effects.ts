/**
 * What is the matter with the links between nodes while several steps of a plan are at work on them.
 *
 * Invariant: a link shows the sum of the effects that are at work, whatever the order in which they began and end; with none it is healthy.
 */
import type { NodeId } from '../../raft/types.ts';
import { HEALTHY, type LinkFault } from '../machines/peer_network.ts';
import type { FaultStep } from './fault_plan.ts';

const CUT: LinkFault = { blocked: true };

/** What a step does to the way from one node to another; undefined: nothing. */
export type LinkEffect = (from: NodeId, to: NodeId) => LinkFault | undefined;

export type LinkStep = Extract<
  FaultStep,
  { kind: 'oneWay' | 'bridge' | 'cutLink' | 'drop' | 'duplicate' | 'reorder' | 'delay' | 'hold' }
>;

/** What a step does to the links of node `id`; or why it does nothing. `other`: the other end, where the step names one. */
export function linkEffectOf(
  step: LinkStep,
  id: NodeId,
  other: NodeId | undefined,
  nodes: readonly NodeId[],
): LinkEffect | string {
  const touches = (from: NodeId, to: NodeId): boolean => from === id || to === id;
  const onEach = (fault: LinkFault): LinkEffect => {
    return (from, to) => (touches(from, to) ? fault : undefined);
  };
  switch (step.kind) {
    case 'oneWay': {
      const out = step.direction === 'out';
      return (from, to) => ((out ? from : to) === id ? CUT : undefined);
    }
    case 'bridge': {
      const others = nodes.filter((node) => node !== id);
      if (others.length < 2) return 'a bridge needs two sides';
      const left = new Set(others.slice(0, Math.ceil(others.length / 2)));
      return (from, to) => (touches(from, to) || left.has(from) === left.has(to) ? undefined : CUT);
    }
    case 'cutLink':
      if (other === undefined || other === id) return 'a link needs two ends';
      return (from, to) => (touches(from, to) && (from === other || to === other) ? CUT : undefined);
    case 'drop':
      return onEach({ dropRate: step.rate });
    case 'duplicate':
      return onEach({ duplicateRate: step.rate });
    case 'reorder':
      return onEach({ reorderRate: step.rate });
    case 'delay':
      return onEach({ delayMs: step.delayMs });
    case 'hold':
      return (_, to) => (to === id ? { held: true } : undefined);
  }
}

export interface LinkEffectsOptions {
  /** Every node there is, in a fixed order. */
  readonly nodes: () => readonly NodeId[];
  readonly setLink: (from: NodeId, to: NodeId, fault: LinkFault) => void;
}

export class LinkEffects {
  readonly #options: LinkEffectsOptions;
  readonly #effects = new Map<number, LinkEffect>();
  /** Links that are not healthy, with a description of what was set. */
  readonly #set = new Map<string, string>();

  constructor(options: LinkEffectsOptions) {
    this.#options = options;
  }

  /** @param step names the effect */
  begin(step: number, effect: LinkEffect): void {
    this.#effects.set(step, effect);
    this.refresh();
  }

  end(step: number): void {
    if (this.#effects.delete(step)) this.refresh();
  }

  endAll(): void {
    this.#effects.clear();
    this.refresh();
  }

  /** Also to be called when a node has come. */
  refresh(): void {
    const nodes = this.#options.nodes();
    for (const from of nodes) for (const to of nodes) if (from !== to) this.#refreshLink(from, to);
  }

  #refreshLink(from: NodeId, to: NodeId): void {
    let sum: LinkFault = HEALTHY;
    for (const effect of this.#effects.values()) {
      const fault = effect(from, to);
      if (fault !== undefined) sum = sum === HEALTHY ? fault : added(sum, fault);
    }
    const link = `${from}>${to}`;
    const text = sum === HEALTHY ? '' : JSON.stringify(sum);
    if ((this.#set.get(link) ?? '') === text) return;
    if (sum === HEALTHY) this.#set.delete(link);
    else this.#set.set(link, text);
    this.#options.setLink(from, to, sum);
  }
}

/** Both at once: what is cut stays cut, and the worse of two rates counts. */
export function added(a: LinkFault, b: LinkFault): LinkFault {
  return {
    blocked: a.blocked === true || b.blocked === true,
    held: a.held === true || b.held === true,
    dropRate: Math.max(a.dropRate ?? 0, b.dropRate ?? 0),
    duplicateRate: Math.max(a.duplicateRate ?? 0, b.duplicateRate ?? 0),
    reorderRate: Math.max(a.reorderRate ?? 0, b.reorderRate ?? 0),
    ...(a.delayMs === undefined && b.delayMs === undefined
      ? {}
      : {
          delayMs: [
            Math.max(a.delayMs?.[0] ?? 0, b.delayMs?.[0] ?? 0),
            Math.max(a.delayMs?.[1] ?? 0, b.delayMs?.[1] ?? 0),
          ],
        }),
  };
}
