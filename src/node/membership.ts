/**
 * Changes of the cluster's membership and handing over leadership, as the leader carries them out.
 *
 * Raft does the work (joint consensus, raft/membership.ts); this room waits until a change has been applied and tells what came of it.
 * REQUIRES everywhere: this node leads; other nodes forward (kv_service.ts).
 */
import { isAddress } from '../config.ts';
import { KvError } from '../errors.ts';
import type { Clock } from '../ports.ts';
import type { ConfigurationChange, Member, NodeId, ProposeResult, RaftCore } from '../raft/types.ts';
import type { MemberAddRequest, MemberAddResponse, MemberInfo, MembersResponse } from '../wire/messages.ts';
import type { Applier } from './applier.ts';
import type { Conditions } from './conditions.ts';

/** Longer than an election timeout, in which Raft either carries a transfer out or gives it up. */
const TRANSFER_ATTEMPT_MS = 2_000;

export interface MembershipOptions {
  readonly raft: RaftCore;
  readonly applier: Applier;
  readonly conditions: Conditions;
  readonly clock: Clock;
  readonly clusterId: string;
  /** Lets the ready loop work off what was proposed. */
  readonly schedule: () => void;
}

export class Membership {
  readonly #options: MembershipOptions;

  constructor(options: MembershipOptions) {
    this.#options = options;
  }

  members(): MembersResponse {
    const { raft, clusterId } = this.#options;
    const { configuration, progress, lastIndex } = raft.status();
    const matches = new Map(progress.map((peer) => [peer.id, peer.match]));
    const members = configuration.members.map(
      (member): MemberInfo => ({
        id: member.id,
        peerAddress: member.peerAddress,
        clientAddress: member.clientAddress,
        role: configuration.learners.includes(member.id) ? 'learner' : 'voter',
        leader: member.id === raft.leader,
        matchIndex:
          raft.role !== 'leader' ? undefined : member.id === raft.id ? lastIndex : matches.get(member.id),
      }),
    );
    return { clusterId, leader: raft.leader, members };
  }

  async add(request: MemberAddRequest, deadlineMs: number): Promise<MemberAddResponse> {
    checkAddress('peerAddress', request.peerAddress);
    checkAddress('clientAddress', request.clientAddress);
    try {
      await this.#change({ type: 'addLearner', member: request }, deadlineMs);
    } catch (error) {
      const waitedFor = this.#waitedFor(request.peerAddress);
      if (!(error instanceof KvError && error.code === 'MEMBER_EXISTS') || waitedFor === undefined)
        throw error;
      await this.#takeUp(waitedFor, request.clientAddress, deadlineMs, error);
    }
    const { clusterId, members } = this.members();
    const added = members.find((member) => member.peerAddress === request.peerAddress);
    if (added === undefined)
      throw new KvError('UNAVAILABLE', 'the member was removed again while it was being added');
    return { id: added.id, clusterId, members };
  }

  /**
   * A learner of this address that was added and has never been heard of: the answer to it was lost, and it asks again, or somebody else added it before it was started. A learner has no
   * vote, so even one that comes back without its disk can do no harm under its old id.
   */
  #waitedFor(peerAddress: string): Member | undefined {
    const { learners, members } = this.#options.applier.appliedConfiguration;
    const member = members.find((one) => one.peerAddress === peerAddress);
    if (member === undefined || !learners.includes(member.id)) return undefined;
    const { matchIndex } = this.members().members.find(({ id }) => id === member.id) ?? {};
    return matchIndex === 0 ? member : undefined;
  }

  /** The member says where its clients are to go. Who added it for another (a client of etcd) could not know, and gave the address for peers. @throws `exists` where it is another one's place */
  async #takeUp(member: Member, clientAddress: string, deadlineMs: number, exists: KvError): Promise<void> {
    if (member.clientAddress === clientAddress) return;
    if (member.clientAddress !== member.peerAddress) throw exists;
    await this.#change({ type: 'updateAddresses', member: { ...member, clientAddress } }, deadlineMs);
  }

  async promote(id: NodeId, deadlineMs: number): Promise<MembersResponse> {
    await this.#change({ type: 'promote', id }, deadlineMs);
    return this.members();
  }

  /** Has the others reach a member at another address. */
  async update(id: NodeId, peerAddress: string, deadlineMs: number): Promise<MembersResponse> {
    checkAddress('peerAddress', peerAddress);
    const { members } = this.#options.applier.appliedConfiguration;
    const member = members.find((one) => one.id === id);
    if (member === undefined) throw new KvError('MEMBER_NOT_FOUND', `${id} is not a member`);
    await this.#change({ type: 'updateAddresses', member: { ...member, peerAddress } }, deadlineMs);
    return this.members();
  }

  async remove(id: NodeId, deadlineMs: number): Promise<MembersResponse> {
    await this.#change({ type: 'remove', id }, deadlineMs);
    return this.members();
  }

  /** Gives the new leader's id. `to` 0: the voter that has most of the log. */
  async moveLeader(to: NodeId, deadlineMs: number): Promise<NodeId> {
    const { raft, conditions, clock, schedule } = this.#options;
    const target = to === 0 ? this.#bestSuccessor() : to;
    if (target === raft.id) return raft.id;
    const moved = (): boolean => raft.leader !== raft.id && raft.leader !== 0;
    const late = (): KvError =>
      new KvError('TIMEOUT', `node ${target} did not take over in time`, { maybeApplied: true });
    while (!moved()) {
      if (!raft.transferLeadership(target)) {
        throw new KvError(
          'MEMBER_NOT_FOUND',
          `node ${target} is not a voter of this cluster that could lead`,
        );
      }
      schedule();
      // Raft gives a transfer up after an election timeout, and the old leader leads on: it is tried again until the deadline.
      const attemptMs = Math.min(deadlineMs, clock.monotonicMs() + TRANSFER_ATTEMPT_MS);
      try {
        await conditions.until(moved, attemptMs, late);
      } catch (error) {
        if (raft.role !== 'leader' || clock.monotonicMs() >= deadlineMs) throw error;
      }
    }
    return raft.leader;
  }

  #bestSuccessor(): NodeId {
    const { raft } = this.#options;
    const { configuration, progress } = raft.status();
    const voters = progress.filter((peer) => configuration.voters.includes(peer.id) && peer.recentlyActive);
    const best = voters.toSorted((a, b) => b.match - a.match)[0];
    if (best === undefined) throw new KvError('UNAVAILABLE', 'no other voter is there to take over');
    return best.id;
  }

  /** Proposes a change and waits until it has been applied here and the configuration is no longer joint. */
  async #change(change: ConfigurationChange, deadlineMs: number): Promise<void> {
    const { raft, applier, conditions, schedule } = this.#options;
    let result = raft.proposeConfiguration(change);
    while (!result.ok && result.reason === 'changeInProgress') {
      // Another change, or the first entry of a new leader, has to be applied first.
      const refusal = changeRefusal(result);
      const before = applier.appliedIndex;
      await conditions.until(
        () => applier.appliedIndex > before || raft.role !== 'leader',
        deadlineMs,
        () => refusal,
      );
      result = raft.proposeConfiguration(change);
    }
    if (!result.ok) throw changeRefusal(result);
    schedule();
    await conditions.until(
      () => applier.appliedIndex >= result.index && applier.appliedConfiguration.votersOutgoing.length === 0,
      deadlineMs,
      () => new KvError('TIMEOUT', 'the change was not committed in time', { maybeApplied: true }),
    );
    if (!changeHolds(change, applier)) {
      throw new KvError('UNAVAILABLE', 'the leader changed and the membership change was lost');
    }
  }
}

function checkAddress(name: string, address: string): void {
  if (isAddress(address)) return;
  throw new KvError('INVALID_ARGUMENT', `${name} is ${JSON.stringify(address)}, allowed: HOST:PORT`);
}

function changeHolds(change: ConfigurationChange, applier: Applier): boolean {
  const { members, voters } = applier.appliedConfiguration;
  switch (change.type) {
    case 'addLearner':
      return members.some((member) => member.peerAddress === change.member.peerAddress);
    case 'promote':
      return voters.includes(change.id);
    case 'remove':
      return !members.some((member) => member.id === change.id);
    case 'updateAddresses':
      return members.some(
        (member) => member.id === change.member.id && member.peerAddress === change.member.peerAddress,
      );
  }
}

function changeRefusal(result: Extract<ProposeResult, { ok: false }>): KvError {
  const message = result.message ?? '';
  switch (result.reason) {
    case 'notLeader':
      return new KvError('NOT_LEADER', 'this node does not lead');
    case 'changeInProgress':
      return new KvError(
        'MEMBERSHIP_CHANGE_IN_PROGRESS',
        message || 'another membership change is under way, or the leader is new; try again',
      );
    case 'learnerNotReady':
      return new KvError('LEARNER_NOT_READY', message || 'the learner has not caught up yet; try again');
    case 'invalidChange':
      if (message.startsWith('exists')) return new KvError('MEMBER_EXISTS', message);
      return new KvError('MEMBER_NOT_FOUND', message || 'no such member');
    default:
      return new KvError('OVERLOADED', message || 'the leader takes no changes now; try again');
  }
}
