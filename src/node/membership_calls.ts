/** Calls about the cluster's members: answered by the leader, here or passed on to it, and only to whom they are allowed. */
import type { CallOptions } from '../api/service.ts';
import type { RaftCore } from '../raft/types.ts';
import type { Identity } from '../security/identity.ts';
import type { MemberAddRequest, MemberAddResponse, MembersResponse } from '../wire/messages.ts';
import type { AuthGate } from './auth_gate.ts';
import { whenFresh } from './auth_writes.ts';
import type { Forwarding } from './forwarding.ts';
import type { Membership } from './membership.ts';

export interface MembershipCallsOptions {
  readonly raft: RaftCore;
  readonly forwarding: Forwarding;
  readonly membership: Membership;
  readonly gate: AuthGate;
  readonly barrier: () => Promise<void>;
  readonly deadline: (options: CallOptions | undefined) => number;
  /** Throws when the node takes no calls. */
  readonly checkOpen: () => void;
}

export class MembershipCalls {
  readonly #options: MembershipCallsOptions;

  constructor(options: MembershipCallsOptions) {
    this.#options = options;
  }

  /** For everybody: clients find the nodes by it. */
  async members(options: CallOptions | undefined): Promise<MembersResponse> {
    const { raft, forwarding, membership, checkOpen, deadline } = this.#options;
    checkOpen();
    const deadlineMs = deadline(options);
    return raft.role === 'leader' ? membership.members() : forwarding.members(deadlineMs);
  }

  add(request: MemberAddRequest, options: CallOptions | undefined): Promise<MemberAddResponse> {
    const { forwarding, membership } = this.#options;
    return this.#onLeader(
      options,
      (deadlineMs, identity) => forwarding.memberAdd(request, deadlineMs, identity),
      (deadlineMs) => membership.add(request, deadlineMs),
    );
  }

  promote(id: number, options: CallOptions | undefined): Promise<MembersResponse> {
    const { forwarding, membership } = this.#options;
    return this.#onLeader(
      options,
      (deadlineMs, identity) => forwarding.memberPromote(id, deadlineMs, identity),
      (deadlineMs) => membership.promote(id, deadlineMs),
    );
  }

  update(id: number, peerAddress: string, options: CallOptions | undefined): Promise<MembersResponse> {
    const { forwarding, membership } = this.#options;
    return this.#onLeader(
      options,
      (deadlineMs, identity) => forwarding.memberUpdate(id, peerAddress, deadlineMs, identity),
      (deadlineMs) => membership.update(id, peerAddress, deadlineMs),
    );
  }

  remove(id: number, options: CallOptions | undefined): Promise<MembersResponse> {
    const { forwarding, membership } = this.#options;
    return this.#onLeader(
      options,
      (deadlineMs, identity) => forwarding.memberRemove(id, deadlineMs, identity),
      (deadlineMs) => membership.remove(id, deadlineMs),
    );
  }

  moveLeader(to: number, options: CallOptions | undefined): Promise<number> {
    const { forwarding, membership } = this.#options;
    return this.#onLeader(
      options,
      (deadlineMs, identity) => forwarding.moveLeader(to, deadlineMs, identity),
      (deadlineMs) => membership.moveLeader(to, deadlineMs),
    );
  }

  /** The leader's check of who may change the cluster is the one that counts, whichever node took the call. */
  async #onLeader<T>(
    options: CallOptions | undefined,
    forward: (deadlineMs: number, identity: Identity | undefined) => Promise<T>,
    here: (deadlineMs: number) => Promise<T>,
  ): Promise<T> {
    const { raft, gate, barrier, deadline, checkOpen } = this.#options;
    checkOpen();
    const deadlineMs = deadline(options);
    if (raft.role !== 'leader') return forward(deadlineMs, options?.identity);
    if (gate.auth.enabled) await whenFresh(barrier, () => gate.checkRoot(options?.identity));
    return here(deadlineMs);
  }
}
