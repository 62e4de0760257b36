/**
 * etcd's Cluster: who its members are.
 *
 * A member's client URL is the address of its door for clients, which takes gRPC as well as Kvorum's own protocol (docs/decisions/0017).
 */
import type { MemberInfo } from '../../../wire/messages.ts';
import { etcdError } from '../etcd_errors.ts';
import {
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
} from '../messages/cluster.ts';
import { type ServiceTable, unary } from '../method.ts';
import { callOptionsOf, type EtcdContext, Headers } from './etcd_context.ts';

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
          callOptionsOf(service, call),
        );
        const members = added.members.map(memberOf);
        const id = BigInt(added.id);
        return { header: headers.header(), member: members.find(({ ID }) => ID === id), members };
      }),
      unary('MemberRemove', MemberRemoveRequest, MemberRemoveResponse, ({ ID }, call) =>
        listed(service.memberRemove(memberIdOf(ID), callOptionsOf(service, call))),
      ),
      unary('MemberUpdate', MemberUpdateRequest, MemberUpdateResponse, ({ ID, peerURLs }, call) =>
        listed(service.memberUpdate(memberIdOf(ID), addressOf(peerURLs), callOptionsOf(service, call))),
      ),
      unary('MemberList', MemberListRequest, MemberListResponse, (_request, call) => {
        headers.requireLeader(call);
        return listed(service.members(callOptionsOf(service, call)));
      }),
      unary('MemberPromote', MemberPromoteRequest, MemberPromoteResponse, ({ ID }, call) =>
        listed(service.memberPromote(memberIdOf(ID), callOptionsOf(service, call))),
      ),
    ],
  };
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
