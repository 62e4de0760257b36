/**
 * All invariants of one world: looks at every node after every event, and at every frame between nodes, and ends the run at the first violation.
 *
 * Invariants: nothing in the world is changed by being looked at; what is checked depends on the world alone, so that equal seeds find equal violations.
 */
import { KvError } from '../../errors.ts';
import type { NodeId } from '../../raft/types.ts';
import { FRAME_RAFT } from '../../wire/peer_codec.ts';
import type { SimNode } from '../machines/sim_node.ts';
import type { World } from '../world.ts';
import { AppliedState } from './applied_state.ts';
import { CommittedLog } from './committed_log.ts';
import { Elections } from './elections.ts';
import { type Held, NodeMonitor, type SharedChecks } from './node_monitor.ts';
import { promiseOf } from './raft_frames.ts';
import { promiseEntries } from './raft_rules.ts';
import type { Report, Violation } from './violation.ts';

/** Ends a run. */
export class InvariantViolated extends Error {
  override readonly name = 'InvariantViolated';
  readonly violation: Violation;
  constructor(violation: Violation) {
    super(`${violation.invariant}: ${violation.message}`);
    this.violation = violation;
  }
}

export class Checks implements SharedChecks {
  readonly elections: Elections;
  readonly log: CommittedLog;
  readonly state: AppliedState;
  /** In the order in which they were seen; the first one ends the run. */
  readonly violations: Violation[] = [];
  readonly #world: World;
  /** True for a node whose disk may lack what it held. */
  readonly #mayLack: (id: NodeId) => boolean;
  readonly #monitors = new Map<NodeId, { readonly of: SimNode['node']; readonly monitor: NodeMonitor }>();
  readonly #held = new Map<NodeId, Held>();
  /** Told of each promise that leaves a node, before anything else happens. */
  onPromise: ((from: NodeId, type: 'vote' | 'holds') => void) | undefined;

  constructor(world: World, mayLack: (id: NodeId) => boolean) {
    this.#world = world;
    this.#mayLack = mayLack;
    this.elections = new Elections(this.report);
    this.log = new CommittedLog(this.report);
    this.state = new AppliedState(this.report);
    world.scheduler.afterEvent = () => this.look();
    world.network.onSend = (from, payload) => this.#sent(from, payload);
    world.network.onDeliver = (to, from, payload) => {
      if (payload[0] === FRAME_RAFT) this.monitor(to)?.contact.heard(from);
    };
  }

  readonly report: Report = (invariant, node, message, details = {}) => {
    const { scheduler, trace } = this.#world;
    const violation: Violation = { invariant, message, atMs: scheduler.nowMs, node, details };
    this.violations.push(violation);
    const lane = node === undefined ? 'world' : `node-${node}`;
    trace.add('violation', lane, invariant, 0, undefined, 0, `${invariant}: ${message}`);
    scheduler.fail(new InvariantViolated(violation));
  };

  /** Looks at the node whose event has just run, which can have changed no other; after all other events at every node. REQUIRES: between two events. */
  look(): void {
    const { lastOwner } = this.#world.scheduler;
    for (const node of this.#world.nodes.values()) {
      if (node.process !== lastOwner || lastOwner === undefined) continue;
      this.#lookAt(node);
      return;
    }
    for (const node of this.#world.nodes.values()) this.#lookAt(node);
  }

  #lookAt(node: SimNode): void {
    if (node.node === undefined) return;
    try {
      this.#monitorOf(node).look(this.#world.scheduler.nowMs);
    } catch (error) {
      // The log could not be read: the node meets the same when it does, and then it has to end.
      if (!(error instanceof KvError)) throw error;
      if (error.code === 'CORRUPT' && !this.#mayLack(node.id))
        this.report('unprovoked damage', node.id, `the log of node ${node.id} is damaged: ${error.message}`);
    }
  }

  /** What is being watched of a node that runs. */
  monitor(id: NodeId): NodeMonitor | undefined {
    const watched = this.#monitors.get(id);
    return watched !== undefined && watched.of === this.#world.nodes.get(id)?.node
      ? watched.monitor
      : undefined;
  }

  /** The node is no member any more: its id is not used again. */
  forget(id: NodeId): void {
    this.elections.forget(id);
    this.#held.delete(id);
  }

  #monitorOf(node: SimNode): NodeMonitor {
    const watched = this.#monitors.get(node.id);
    if (watched !== undefined && watched.of === node.node) return watched.monitor;
    if (node.node === undefined) throw new Error(`${node.lane} does not run`);
    const { id } = node;
    const { config } = this.#world;
    const monitor = new NodeMonitor(id, node.node.parts, config, this, this.#heldBy(id), this.#mayLack(id));
    this.#monitors.set(id, { of: node.node, monitor });
    return monitor;
  }

  #heldBy(id: NodeId): Held {
    let held = this.#held.get(id);
    if (held === undefined) {
      held = { applied: 0, acknowledged: 0, acknowledgedTerm: 0, promisedIn: 0, promisedTo: 0 };
      this.#held.set(id, held);
    }
    return held;
  }

  #sent(from: NodeId, payload: Uint8Array): void {
    const promise = promiseOf(payload);
    if (promise === undefined) return;
    const { type, term } = promise;
    if (type !== 'leads') this.onPromise?.(from, type);
    if (type === 'vote') this.elections.voted(from, promise.to, term);
    else if (type === 'leads') this.elections.leads(from, term);
    else {
      this.elections.entered(from, term);
      const held = this.#heldBy(from);
      promiseEntries(held, term, promise.index);
      held.acknowledged = promise.index;
      held.acknowledgedTerm = this.monitor(from)?.parts.storage.log.term(promise.index) ?? 0;
    }
  }
}
