/** What the command line asks of a cluster: status, membership, leadership. Changes are sent again only when they were certainly refused. */
import type { Dial } from '../byte_stream.ts';
import { KvError } from '../errors.ts';
import type { Ports } from '../ports.ts';
import { readMembers, readStatus, readStatuses } from '../wire/client_admin_codec.ts';
import { OPCODE } from '../wire/client_frames.ts';
import type { MemberAddRequest, MemberAddResponse, MembersResponse, NodeStatus } from '../wire/messages.ts';
import type { ByteReader, ByteWriter } from '../wire/varint.ts';
import type { ChannelOptions } from './channel.ts';
import { ClusterClient } from './cluster_client.ts';
import { ClusterUpkeep } from './cluster_upkeep.ts';
import { plainCall } from './plain_call.ts';
import { UpkeepAdmin } from './upkeep_admin.ts';
import type { StoreUpkeep } from './upkeep_types.ts';

export interface AdminOptions {
  readonly endpoints: readonly string[];
  readonly ports: Ports;
  /** How to reach a node. Default: over TCP. */
  readonly dial?: Dial | undefined;
  readonly timeoutMs?: number | undefined;
  /** Who to be, where rights are enforced. With `password`. */
  readonly user?: string | undefined;
  readonly password?: string | undefined;
}

/** @throws KvError INVALID_ARGUMENT for endpoints that are none. Whether a node can be reached shows with the first call. */
export function connectAdmin(options: AdminOptions): AdminClient {
  return new AdminClient(new ClusterClient({ ...options, name: 'kvorum-admin' }));
}

export class AdminClient implements AsyncDisposable {
  /** Compaction, hashes, alarms, quotas. */
  readonly upkeep: StoreUpkeep;
  private readonly cluster: ClusterClient;

  constructor(cluster: ClusterClient) {
    this.cluster = cluster;
    this.upkeep = new UpkeepAdmin(new ClusterUpkeep(cluster));
  }

  /** The status of one node: any of the endpoints. */
  status(options: ChannelOptions = {}): Promise<NodeStatus> {
    return this.cluster.call(plainCall({ opcode: OPCODE.STATUS, read: readStatus }), options);
  }

  /** The statuses of all members that can be reached. */
  clusterStatus(options: ChannelOptions = {}): Promise<NodeStatus[]> {
    return this.cluster.call(plainCall({ opcode: OPCODE.CLUSTER_STATUS, read: readStatuses }), options);
  }

  members(options: ChannelOptions = {}): Promise<MembersResponse> {
    return this.cluster.members(options);
  }

  /** Adds a node as a learner; gives the id that it gets. */
  async memberAdd(request: MemberAddRequest, options: ChannelOptions = {}): Promise<MemberAddResponse> {
    const write = (writer: ByteWriter) => {
      writer.string(request.peerAddress).string(request.clientAddress);
    };
    const call = { opcode: OPCODE.MEMBER_ADD, changes: true, write, read: readAdded };
    const added = await this.cluster.call(plainCall(call), options);
    this.cluster.endpoints.learn({ ...added, leader: 0 });
    return added;
  }

  /** Makes a learner that has caught up a voter. */
  memberPromote(id: number, options: ChannelOptions = {}): Promise<MembersResponse> {
    return this.changeMember(OPCODE.MEMBER_PROMOTE, id, options);
  }

  memberRemove(id: number, options: ChannelOptions = {}): Promise<MembersResponse> {
    return this.changeMember(OPCODE.MEMBER_REMOVE, id, options);
  }

  private changeMember(opcode: number, id: number, options: ChannelOptions): Promise<MembersResponse> {
    const call = { opcode, changes: true, write: idField(id), read: readMembers };
    const changed = this.cluster.call(plainCall(call), options);
    return changed.then((members) => {
      // Nodes go as they come: who asks for the next change must know who is left.
      this.cluster.endpoints.learn(members);
      return members;
    });
  }

  /** Hands leadership to a member, or to one that the leader chooses (0); gives the new leader's id. */
  moveLeader(to = 0, options: ChannelOptions = {}): Promise<number> {
    const read = (reader: ByteReader) => reader.varint();
    const call = { opcode: OPCODE.MOVE_LEADER, changes: true, write: idField(to), read };
    return this.cluster.call(plainCall(call), options);
  }

  async close(): Promise<void> {
    this.cluster.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function idField(id: number): (writer: ByteWriter) => void {
  if (!Number.isSafeInteger(id) || id < 0) {
    throw new KvError('INVALID_ARGUMENT', `the member id is ${id}, allowed: whole numbers from 0`);
  }
  return (writer) => writer.varint(id);
}

function readAdded(reader: ByteReader): MemberAddResponse {
  const id = reader.varint();
  const { clusterId, members } = readMembers(reader);
  return { id, clusterId, members };
}
