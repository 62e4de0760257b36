/**
 * Watches one life of one node: looks at it between two events and tells the checks what is new.
 *
 * Invariants: the node is only looked at; every entry that it applies is shown to CommittedLog once and in order; a look at a node in which nothing moved costs a
 * few comparisons.
 */
import type { Config } from '../../config.ts';
import type { NodeParts } from '../../node/node.ts';
import { TOTAL_QUEUES } from '../../node/watches.ts';
import { ENTRY_OVERHEAD_BYTES } from '../../raft/raft_log_view.ts';
import type { NodeId } from '../../raft/types.ts';
import { crc32 } from '../../storage/crc32.ts';
import { SOFT_QUEUE_BYTES } from '../../storage/log/log_writer.ts';
import { encodeState } from '../../wire/state_codec.ts';
import { MAX_QUEUED_BYTES } from '../machines/peer_network.ts';
import type { AppliedState } from './applied_state.ts';
import type { CommittedLog } from './committed_log.ts';
import type { Elections } from './elections.ts';
import { OneLife } from './one_life.ts';
import { checkQueues } from './queue_bounds.ts';
import { QuorumContact } from './quorum_contact.ts';
import { QuotaLimitsKept } from './quota_rules.ts';
import { checkCommit, checkKept, type PromisedEntries } from './raft_rules.ts';
import type { Report } from './violation.ts';

/** What one sees of all nodes. */
export interface SharedChecks {
  readonly elections: Elections;
  readonly log: CommittedLog;
  readonly state: AppliedState;
  readonly report: Report;
}

/** What a machine has held over its lives. */
export interface Held extends PromisedEntries {
  /** The last entry that was applied. */
  applied: number;
  /** The last entry that was acknowledged to a leader, and its term. */
  acknowledged: number;
  acknowledgedTerm: number;
}

const READ_BYTES = 256 * 1024;
/** Looks in which something moved, between two looks at the queues. */
const QUEUES_EVERY = 32;
/** Applied indexes that are multiples of it: the state besides the records is compared in full. */
const FULL_EVERY = 16;

export class NodeMonitor {
  readonly id: NodeId;
  readonly parts: NodeParts;
  readonly contact: QuorumContact;
  readonly #config: Config;
  readonly #checks: SharedChecks;
  readonly #held: Held;
  readonly #life: OneLife;
  readonly #quotas: QuotaLimitsKept;
  #term = -1;
  #role = '';
  #commit = -1;
  #applied = -1;
  /** The last entry that was shown to the checks. */
  #shownTo: number;
  /** The newest term in which it was seen to lead with its log in order. */
  #ledIn = 0;
  #looks = 0;

  /** REQUIRES: the node was just started. `mayLack`: its disk was damaged, so that it need not hold what it held. */
  constructor(
    id: NodeId,
    parts: NodeParts,
    config: Config,
    checks: SharedChecks,
    held: Held,
    mayLack: boolean,
  ) {
    this.id = id;
    this.parts = parts;
    this.#config = config;
    this.#checks = checks;
    this.#held = held;
    this.#life = new OneLife(id, checks.report);
    this.#quotas = new QuotaLimitsKept(id, checks.report);
    this.contact = new QuorumContact(id, config.raft.electionTicks, checks.report);
    this.#shownTo = parts.storage.appliedIndex;
    if (mayLack) {
      held.promisedIn = 0;
      return;
    }
    const { log, appliedIndex } = parts.storage;
    checks.elections.opened(id, log.hardState);
    // What was acknowledged and is not what was decided in the end may have given way to it.
    const agreed = checks.log.termAt(held.acknowledged) === held.acknowledgedTerm ? held.acknowledged : 0;
    checks.log.opened(id, Math.max(held.applied, agreed), appliedIndex, log);
  }

  /** REQUIRES: between two events. */
  look(nowMs: number): void {
    const { consensus } = this.parts;
    const { raft, applier, replica, health } = consensus;
    if (replica.failed || health.state === 'REMOVED') return;
    const { term, role, commitIndex } = raft;
    if (this.contact.hasTicked(replica.sinceTickMs, nowMs))
      this.contact.ticked({ role, term, leader: raft.leader, quorums: this.#quorums });
    const { appliedIndex } = applier;
    if (role === 'follower') checkKept(this.id, this.#held, raft.lastIndex, term, this.#checks.report);
    if (
      commitIndex === this.#commit &&
      appliedIndex === this.#applied &&
      term === this.#term &&
      role === this.#role &&
      (role !== 'leader' || this.#ledIn === term)
    )
      return;
    // Where it has led before already: what it was told as a follower is not its own decision.
    if (role === 'leader' && this.#role === role && this.#term === term && commitIndex > this.#commit)
      checkCommit(this.id, commitIndex, this.parts.storage.log.term(commitIndex), term, this.#checks.report);
    this.#term = term;
    this.#role = role;
    this.#commit = commitIndex;
    if (role === 'leader') this.#leads(term);
    if (appliedIndex !== this.#applied) this.#hasApplied(appliedIndex, term);
    if (role === 'leader') this.#show(Math.min(commitIndex, this.parts.storage.log.lastIndex()), term);
    const { revision, compactRevision } = this.parts.storage.stateMachine;
    this.#life.seen({ term, commitIndex, appliedIndex, revision, compactRevision });
    if (++this.#looks % QUEUES_EVERY === 0) this.#lookAtQueues();
  }

  readonly #quorums = (): readonly (readonly NodeId[])[] => {
    const { voters, votersOutgoing } = this.parts.consensus.raft.status().configuration;
    return votersOutgoing.length > 0 ? [voters, votersOutgoing] : [voters];
  };

  #leads(term: number): void {
    const { log } = this.parts.storage;
    this.#checks.elections.leads(this.id, term);
    // The entry that opens the term has reached the log, and with it all that came before.
    if (this.#ledIn === term || log.term(log.lastIndex()) !== term) return;
    this.#ledIn = term;
    this.#checks.log.leaderElected(this.id, term, log);
  }

  #hasApplied(appliedIndex: number, term: number): void {
    const { storage, consensus } = this.parts;
    this.#applied = appliedIndex;
    this.#show(appliedIndex, term);
    if (appliedIndex > this.#held.applied) this.#held.applied = appliedIndex;
    // Half an entry may be in memory until a damaged store is whole again.
    if (consensus.health.state === 'CORRUPT') return;
    const { revision, compactRevision, timeMs, sessionCount: sessions } = storage.stateMachine;
    this.#quotas.look(storage.stateMachine.quotas.list);
    this.#checks.state.at(this.id, appliedIndex, { revision, compactRevision, timeMs, sessions });
    if (appliedIndex % FULL_EVERY === 0) this.#checks.state.sumAt(this.id, appliedIndex, this.stateSum());
  }

  /** Checksum of the state besides the records, as of the applied index. */
  stateSum(): number {
    return crc32(encodeState(this.parts.storage.stateMachine.captureState()));
  }

  /** Shows entries up to `to` as decided. */
  #show(to: number, term: number): void {
    const { log } = this.parts.storage;
    let index = Math.max(this.#shownTo + 1, log.firstIndex());
    while (index <= to) {
      const entries = log.entries(index, to + 1, READ_BYTES);
      for (const entry of entries) {
        this.#checks.log.decided(this.id, entry.index, entry.term, entry.kind, crc32(entry.data), term);
        index = entry.index + 1;
      }
    }
    if (to > this.#shownTo) this.#shownTo = to;
  }

  #lookAtQueues(): void {
    const { consensus, watches, storage } = this.parts;
    const { raft, node, limits } = this.#config;
    const { uncommittedBytes } = consensus.raft.status();
    const largestEntry = Math.max(raft.maxAppendBytes, limits.maxCommandBytes) + 2 * ENTRY_OVERHEAD_BYTES;
    checkQueues(
      this.id,
      [
        // A single entry is always let in, and so is the one that opens a term.
        {
          name: 'uncommitted log',
          bytes: uncommittedBytes,
          maxBytes: raft.maxUncommittedBytes + largestEntry,
        },
        {
          name: 'pending writes',
          bytes: consensus.proposals.pendingBytes,
          maxBytes: Math.max(node.maxPendingBytes, limits.maxCommandBytes),
        },
        {
          name: 'committed entries that wait to be applied',
          bytes: consensus.applier.backlogBytes,
          maxBytes: raft.maxUncommittedBytes + largestEntry,
        },
        // On followers, too. What comes in within one turn is let in by itself, message by message.
        {
          name: 'log that waits to be written',
          bytes: storage.log.queuedBytes(),
          maxBytes: SOFT_QUEUE_BYTES + raft.maxInflightBytes + largestEntry,
        },
        {
          name: 'frames to other nodes',
          bytes: consensus.transport.stats().queuedBytes,
          maxBytes: MAX_QUEUED_BYTES * Math.max(1, consensus.raft.status().configuration.members.length),
        },
        {
          name: 'events for slow watchers',
          bytes: watches.queuedBytes,
          maxBytes: node.maxWatchQueueBytes * (TOTAL_QUEUES + 1),
        },
      ],
      this.#checks.report,
    );
  }
}
