/**
 * Calls that another node has to answer: writes and membership calls for the leader, statuses of everybody.
 *
 * Both sides are here: the caller's (`write`, `members`, ...) and the answering node's (`answer`). A call waits for a leader to be known, within its
 * deadline. A forwarded write that was not answered may have been applied: it is never sent twice from here; clients with a
 * session repeat it safely.
 */
import { z } from 'zod';
import type { LeaseService, Service } from '../api/service.ts';
import { KvError } from '../errors.ts';
import type { CommandResult } from '../kv/command.ts';
import type { Clock } from '../ports.ts';
import type { NodeId, RaftCore } from '../raft/types.ts';
import type { Identity } from '../security/identity.ts';
import { readIds, writeIds } from '../wire/lease_codec.ts';
import type { MemberAddRequest, MemberAddResponse, MembersResponse, NodeStatus } from '../wire/messages.ts';
import {
  decodeJson,
  encodeJson,
  PEER_HASH,
  PEER_LEASE_RENEW,
  PEER_MEMBER_ADD,
  PEER_MEMBER_PROMOTE,
  PEER_MEMBER_REMOVE,
  PEER_MEMBER_UPDATE,
  PEER_MEMBERS,
  PEER_MOVE_LEADER,
  PEER_REMOVED,
  PEER_SNAPSHOT,
  PEER_SNAPSHOT_READ,
  PEER_STATUS,
  PEER_WRITE,
  type PeerOperation,
} from '../wire/peer_codec.ts';
import { decodeResult, encodeResult } from '../wire/result_codec.ts';
import { ByteReader, ByteWriter } from '../wire/varint.ts';
import type { Conditions } from './conditions.ts';
import type { PeerRpc } from './peer_rpc.ts';

const STATUS_TIMEOUT_MS = 1_000;
const NOTHING = new Uint8Array(0);

/** What the client protocol can carry: another node's answer may go on to a client. */
const whole = z.number().int().min(0);
const clusterId = z
  .string()
  .regex(/^\d{1,20}$/)
  .refine((text) => BigInt(text) < 1n << 64n);

const memberSchema = z.object({
  id: whole,
  peerAddress: z.string(),
  clientAddress: z.string(),
  role: z.enum(['voter', 'learner']),
  leader: z.boolean(),
  matchIndex: whole.optional().transform((value): number | undefined => value),
});
const membersSchema = z.object({ clusterId, leader: whole, members: z.array(memberSchema) });
/** Who asks, as the node that took the call knows it; never a password. */
const identitySchema = z
  .object({ user: z.string(), generation: whole, expiresAtMs: whole })
  .optional()
  .transform((value): Identity | undefined => value);
const memberAddSchema = z.object({
  peerAddress: z.string(),
  clientAddress: z.string(),
  identity: identitySchema,
});
const memberAddedSchema = z.object({ id: whole, clusterId, members: z.array(memberSchema) });
const idSchema = z.object({ id: z.number().int().min(0) });
const idForSchema = z.object({ id: whole, identity: identitySchema });
const memberUpdateSchema = z.object({ id: whole, peerAddress: z.string(), identity: identitySchema });
const alarmSchema = z.object({ type: z.enum(['nospace', 'corrupt']), member: whole, byNode: z.boolean() });
const statusSchema = z.object({
  id: whole,
  clusterId,
  role: z.enum(['leader', 'follower', 'candidate', 'preCandidate', 'learner']),
  pid: whole,
  term: whole,
  leader: whole,
  commitIndex: whole,
  appliedIndex: whole,
  revision: whole,
  compactRevision: whole,
  version: z.string(),
  uptimeMs: z.number().min(0).max(Number.MAX_SAFE_INTEGER),
  rssBytes: whole,
  dataBytes: whole,
  health: z.string(),
  alarms: z.array(alarmSchema).default([]),
  endpoints: z.array(z.string()),
  metrics: z.record(z.string(), z.number()).default({}),
});

export interface ForwardingOptions {
  readonly rpc: PeerRpc;
  readonly raft: RaftCore;
  readonly conditions: Conditions;
  readonly clock: Clock;
}

/** What a forwarded call is answered with on the node that it reaches. */
export interface ForwardTarget extends Service {
  writeHere(command: Uint8Array, timeoutMs: number): Promise<CommandResult>;
  readonly leases: LeaseService & {
    /** Keep-alives that another node has gathered; times to live by position. */
    renewAll(leases: readonly bigint[], timeoutMs: number): Promise<readonly number[]>;
  };
  notLeader(): KvError;
  /** The cluster has let this node go. */
  removed(): void;
  /** Another node repairs its store from this one. */
  answerRepair(operation: PeerOperation, body: Uint8Array): Promise<Uint8Array>;
  answerHash(body: Uint8Array, timeoutMs: number): Promise<Uint8Array>;
}

export class Forwarding {
  readonly #options: ForwardingOptions;

  constructor(options: ForwardingOptions) {
    this.#options = options;
  }

  async write(command: Uint8Array, deadlineMs: number): Promise<CommandResult> {
    const body = await this.#toLeader(PEER_WRITE, command, deadlineMs);
    return decodeResult(new ByteReader(body));
  }

  /** Keep-alives; times to live by position. */
  async leaseRenew(leases: readonly bigint[], deadlineMs: number): Promise<number[]> {
    const writer = new ByteWriter(16 + 8 * leases.length);
    writeIds(writer, leases);
    const reader = new ByteReader(await this.#toLeader(PEER_LEASE_RENEW, writer.finish(), deadlineMs));
    const ttlsMs: number[] = [];
    for (let left = reader.count(1); left > 0; left--) ttlsMs.push(reader.varint());
    reader.expectEnd();
    if (ttlsMs.length !== leases.length)
      throw new KvError('PROTOCOL', `${ttlsMs.length} answers to ${leases.length} keep-alives`);
    return ttlsMs;
  }

  async members(deadlineMs: number): Promise<MembersResponse> {
    return parse(membersSchema, await this.#toLeader(PEER_MEMBERS, NOTHING, deadlineMs));
  }

  async memberAdd(
    request: MemberAddRequest,
    deadlineMs: number,
    identity: Identity | undefined,
  ): Promise<MemberAddResponse> {
    return parse(
      memberAddedSchema,
      await this.#toLeader(PEER_MEMBER_ADD, encodeJson({ ...request, identity }), deadlineMs),
    );
  }

  async memberPromote(
    id: NodeId,
    deadlineMs: number,
    identity: Identity | undefined,
  ): Promise<MembersResponse> {
    return parse(
      membersSchema,
      await this.#toLeader(PEER_MEMBER_PROMOTE, encodeJson({ id, identity }), deadlineMs),
    );
  }

  async memberUpdate(
    id: NodeId,
    peerAddress: string,
    deadlineMs: number,
    identity: Identity | undefined,
  ): Promise<MembersResponse> {
    const body = encodeJson({ id, peerAddress, identity });
    return parse(membersSchema, await this.#toLeader(PEER_MEMBER_UPDATE, body, deadlineMs));
  }

  async memberRemove(
    id: NodeId,
    deadlineMs: number,
    identity: Identity | undefined,
  ): Promise<MembersResponse> {
    return parse(
      membersSchema,
      await this.#toLeader(PEER_MEMBER_REMOVE, encodeJson({ id, identity }), deadlineMs),
    );
  }

  async moveLeader(to: NodeId, deadlineMs: number, identity: Identity | undefined): Promise<NodeId> {
    return parse(
      idSchema,
      await this.#toLeader(PEER_MOVE_LEADER, encodeJson({ id: to, identity }), deadlineMs),
    ).id;
  }

  async clusterStatus(own: NodeStatus, deadlineMs: number): Promise<NodeStatus[]> {
    const { raft, rpc, clock } = this.#options;
    const timeoutMs = Math.max(1, Math.min(STATUS_TIMEOUT_MS, deadlineMs - clock.monotonicMs()));
    const others = raft.status().configuration.members.filter((member) => member.id !== raft.id);
    const answers = await Promise.allSettled(
      others.map(async (member) =>
        parse(statusSchema, await rpc.call(member.id, PEER_STATUS, NOTHING, timeoutMs)),
      ),
    );
    const reached = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
    return [own, ...reached].toSorted((a, b) => a.id - b.id);
  }

  /** Tells a node that it is no longer a member. Nothing depends on whether it hears of it. */
  async farewell(id: NodeId): Promise<void> {
    await this.#options.rpc.call(id, PEER_REMOVED, NOTHING, STATUS_TIMEOUT_MS);
  }

  async #toLeader(operation: PeerOperation, body: Uint8Array, deadlineMs: number): Promise<Uint8Array> {
    const { raft, rpc, conditions, clock } = this.#options;
    await conditions.until(
      () => raft.leader !== 0,
      deadlineMs,
      () => new KvError('NO_LEADER', 'the cluster has no leader at the moment; try again'),
    );
    if (raft.leader === raft.id)
      throw new KvError('NO_LEADER', 'this node has just become the leader; try again');
    return rpc.call(raft.leader, operation, body, Math.max(1, deadlineMs - clock.monotonicMs()));
  }
}

/** Answers a call that another node forwarded. */
export async function answerPeer(
  target: ForwardTarget,
  leads: () => boolean,
  operation: PeerOperation,
  body: Uint8Array,
  timeoutMs: number,
): Promise<Uint8Array> {
  const options = { timeoutMs };
  if (operation === PEER_STATUS) return encodeJson(target.status());
  if (operation === PEER_SNAPSHOT || operation === PEER_SNAPSHOT_READ)
    return target.answerRepair(operation, body);
  if (operation === PEER_HASH) return target.answerHash(body, timeoutMs);
  if (operation === PEER_REMOVED) {
    target.removed();
    return NOTHING;
  }
  // The command is kept until the end of the turn at least, by when it has been copied into the log entry.
  if (operation === PEER_WRITE) {
    const result = await target.writeHere(body, timeoutMs);
    const writer = new ByteWriter(64);
    encodeResult(result, writer);
    return writer.finish();
  }
  if (!leads()) throw target.notLeader();
  switch (operation) {
    case PEER_LEASE_RENEW: {
      const reader = new ByteReader(body);
      const leases = readIds(reader);
      reader.expectEnd();
      const ttlsMs = await target.leases.renewAll(leases, timeoutMs);
      const writer = new ByteWriter(16 + 8 * ttlsMs.length);
      writer.varint(ttlsMs.length);
      for (const ttlMs of ttlsMs) writer.varint(ttlMs);
      return writer.finish();
    }
    case PEER_MEMBERS:
      return encodeJson(await target.members(options));
    case PEER_MEMBER_ADD: {
      const { identity, ...request } = parse(memberAddSchema, body);
      return encodeJson(await target.memberAdd(request, { timeoutMs, identity }));
    }
    case PEER_MEMBER_PROMOTE: {
      const { id, identity } = parse(idForSchema, body);
      return encodeJson(await target.memberPromote(id, { timeoutMs, identity }));
    }
    case PEER_MEMBER_REMOVE: {
      const { id, identity } = parse(idForSchema, body);
      return encodeJson(await target.memberRemove(id, { timeoutMs, identity }));
    }
    case PEER_MEMBER_UPDATE: {
      const { id, peerAddress, identity } = parse(memberUpdateSchema, body);
      return encodeJson(await target.memberUpdate(id, peerAddress, { timeoutMs, identity }));
    }
    case PEER_MOVE_LEADER: {
      const { id, identity } = parse(idForSchema, body);
      return encodeJson({ id: await target.moveLeader(id, { timeoutMs, identity }) });
    }
  }
}

function parse<T>(schema: z.ZodType<T>, body: Uint8Array): T {
  const result = schema.safeParse(decodeJson(body));
  if (result.success) return result.data;
  throw new KvError('PROTOCOL', `a node sent an unexpected answer: ${z.prettifyError(result.error)}`);
}
