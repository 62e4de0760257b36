/**
 * etcd's Cluster and Maintenance, as far as Kvorum has what they are about.
 *
 * A member's client URL is the address of its door for clients, which takes gRPC as well as Kvorum's own protocol (docs/decisions/0017).
 */
import type { MemberInfo } from '../../../wire/messages.ts';
import { etcdError } from '../etcd_errors.ts';
import {
  DefragmentRequest,
  DefragmentResponse,
  DowngradeRequest,
  DowngradeResponse,
  type Member,
  MemberAddRequest,
  MemberAddResponse,
  MemberListRequest,
  MemberListResponse,
  MemberPromoteRequest,
  MemberPromoteResponse,
  MemberRemoveRequest,
  MemberRemoveResponse,
  MemberUpdateRequest,
  MemberUpdateResponse,
  MoveLeaderRequest,
  MoveLeaderResponse,
  StatusRequest,
  StatusResponse,
} from '../messages/cluster.ts';
import { type CallContext, type Method, type ServiceTable, unary } from '../method.ts';
import { CODE, GrpcError } from '../status.ts';
import { callOptionsOf, type EtcdContext, Headers } from './etcd_context.ts';
import { ETCD_VERSION } from './etcd_version.ts';

export function clusterService({ service }: EtcdContext): ServiceTable {
  const headers = new Headers(service);
  const listed = async (list: Promise<{ readonly members: readonly MemberInfo[] }>) => {
    const { members } = await list;
    return { header: headers.header(), members: members.map(memberOf) };
  };
  return {
    name: 'etcdserverpb.Cluster',
    methods: [
      unary('MemberAdd', MemberAddRequest, MemberAddResponse, async (request, call) => {
        const peerAddress = addressOf(request.peerURLs);
        // Its address for clients is not known to etcd's clients: the member itself tells it when it joins.
        const added = await service.memberAdd(
          { peerAddress, clientAddress: peerAddress },
          callOptionsOf(call),
        );
        const members = added.members.map(memberOf);
        const id = BigInt(added.id);
        return { header: headers.header(), member: members.find(({ ID }) => ID === id), members };
      }),
      unary('MemberRemove', MemberRemoveRequest, MemberRemoveResponse, ({ ID }, call) =>
        listed(service.memberRemove(memberIdOf(ID), callOptionsOf(call))),
      ),
      unary('MemberUpdate', MemberUpdateRequest, MemberUpdateResponse, () => {
        throw new GrpcError(
          CODE.UNIMPLEMENTED,
          'etcdserver: a member tells its addresses itself when it starts',
        );
      }),
      unary('MemberList', MemberListRequest, MemberListResponse, (_request, call) => {
        headers.requireLeader(call);
        return listed(service.members(callOptionsOf(call)));
      }),
      unary('MemberPromote', MemberPromoteRequest, MemberPromoteResponse, ({ ID }, call) =>
        listed(service.memberPromote(memberIdOf(ID), callOptionsOf(call))),
      ),
    ],
  };
}

export function maintenanceMethods({ service }: EtcdContext): Method[] {
  const headers = new Headers(service);
  return [
    unary('Status', StatusRequest, StatusResponse, () => {
      const status = service.status();
      const noLeader = status.leader === 0 ? ['etcdserver: no leader'] : [];
      return {
        header: headers.header(status.revision),
        version: ETCD_VERSION,
        dbSize: status.dataBytes,
        leader: BigInt(status.leader),
        raftIndex: status.commitIndex,
        raftTerm: status.term,
        raftAppliedIndex: status.appliedIndex,
        errors: status.health === 'ok' ? noLeader : [...noLeader, status.health],
        dbSizeInUse: status.dataBytes,
        isLearner: status.role === 'learner',
      };
    }),
    // Space is given back by compaction, which runs by itself all the time: there is nothing left to ask for.
    unary('Defragment', DefragmentRequest, DefragmentResponse, () => ({ header: headers.header() })),
    unary('MoveLeader', MoveLeaderRequest, MoveLeaderResponse, async ({ targetID }, call: CallContext) => {
      const { nodeId, leader } = service.standing();
      if (leader === 0) throw etcdError('NoLeader');
      if (leader !== nodeId) throw etcdError('NotLeader');
      const { members } = await service.members(callOptionsOf(call));
      const target = members.find(({ id }) => BigInt(id) === targetID);
      if (target === undefined || target.role !== 'voter') throw etcdError('BadLeaderTransferee');
      if (target.id !== nodeId) await service.moveLeader(target.id, callOptionsOf(call));
      return { header: headers.header() };
    }),
    unary('Downgrade', DowngradeRequest, DowngradeResponse, () => {
      throw new GrpcError(CODE.UNIMPLEMENTED, 'etcdserver: there is nothing to downgrade to');
    }),
  ];
}

/** Named after its number: Kvorum's nodes have no other names. */
function memberOf({ id, peerAddress, clientAddress, role }: MemberInfo): Member {
  return {
    ID: BigInt(id),
    name: `node-${id}`,
    peerURLs: [`http://${peerAddress}`],
    clientURLs: clientAddress === '' ? [] : [`http://${clientAddress}`],
    isLearner: role === 'learner',
  };
}

/** @throws GrpcError MemberNotFound for ids that no node of Kvorum has */
function memberIdOf(id: bigint): number {
  if (id <= 0n || id > BigInt(Number.MAX_SAFE_INTEGER)) throw etcdError('MemberNotFound');
  return Number(id);
}

/** @throws GrpcError MemberBadURLs */
function addressOf(urls: readonly string[]): string {
  const match = /^https?:\/\/([^/\s]+:\d+)\/?$/.exec(urls[0] ?? '');
  if (match === null || urls.length !== 1) throw etcdError('MemberBadURLs');
  return match[1]!;
}
