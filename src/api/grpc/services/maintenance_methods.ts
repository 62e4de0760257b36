/** etcd's Maintenance, as far as Kvorum has what it is about. */
import type { Alarm } from '../../../kv/upkeep_command.ts';
import type { KeyHash } from '../../../wire/upkeep_messages.ts';
import { etcdError } from '../etcd_errors.ts';
import {
  AlarmAction,
  type AlarmMember,
  AlarmRequest,
  AlarmResponse,
  AlarmType,
  DefragmentRequest,
  DefragmentResponse,
  DowngradeRequest,
  DowngradeResponse,
  HashKVRequest,
  HashKVResponse,
  HashRequest,
  HashResponse,
  MoveLeaderRequest,
  MoveLeaderResponse,
  StatusRequest,
  StatusResponse,
} from '../messages/cluster.ts';
import { type ServiceTable, type UnaryMethod, unary } from '../method.ts';
import { CODE, GrpcError } from '../status.ts';
import { callOptionsOf, type EtcdContext, Headers } from './etcd_context.ts';
import { ETCD_VERSION } from './etcd_version.ts';
import { snapshotMethod } from './snapshot_method.ts';

export function maintenanceService(context: EtcdContext): ServiceTable {
  return {
    name: 'etcdserverpb.Maintenance',
    methods: [...lookingMethods(context), ...alarmMethods(context), snapshotMethod(context)],
  };
}

function lookingMethods({ service }: EtcdContext): UnaryMethod[] {
  const headers = new Headers(service);
  return [
    unary('Status', StatusRequest, StatusResponse, () => {
      const status = service.status();
      const errors = status.leader === 0 ? ['etcdserver: no leader'] : [];
      if (status.health !== 'ok') errors.push(status.health);
      for (const alarm of status.alarms) errors.push(alarmText(alarm));
      return {
        header: headers.header(status.revision),
        version: ETCD_VERSION,
        dbSize: status.dataBytes,
        leader: BigInt(status.leader),
        raftIndex: status.commitIndex,
        raftTerm: status.term,
        raftAppliedIndex: status.appliedIndex,
        errors,
        dbSizeInUse: status.dataBytes,
        isLearner: status.role === 'learner',
      };
    }),
    // Space is given back by compaction, which runs by itself all the time: there is nothing left to ask for.
    unary('Defragment', DefragmentRequest, DefragmentResponse, () => ({ header: headers.header() })),
    unary('MoveLeader', MoveLeaderRequest, MoveLeaderResponse, async ({ targetID }, call) => {
      const { nodeId, leader } = service.standing();
      if (leader === 0) throw etcdError('NoLeader');
      if (leader !== nodeId) throw etcdError('NotLeader');
      const { members } = await service.members(callOptionsOf(service, call));
      const target = members.find(({ id }) => BigInt(id) === targetID);
      if (target === undefined || target.role !== 'voter') throw etcdError('BadLeaderTransferee');
      if (target.id !== nodeId) await service.moveLeader(target.id, callOptionsOf(service, call));
      return { header: headers.header() };
    }),
    unary('Hash', HashRequest, HashResponse, async (_request, call) => {
      const hash = await service.hash({ revision: 0, compactRevision: 0 }, callOptionsOf(service, call));
      return { header: headers.header(), hash: shortHash(hash) };
    }),
    unary('HashKV', HashKVRequest, HashKVResponse, async (request, call) => {
      const revision = Math.max(0, request.revision);
      const hash = await service.hash({ revision, compactRevision: 0 }, callOptionsOf(service, call));
      return { header: headers.header(), hash: shortHash(hash), compact_revision: hash.compactRevision };
    }),
    unary('Downgrade', DowngradeRequest, DowngradeResponse, () => {
      throw new GrpcError(CODE.UNIMPLEMENTED, 'etcdserver: there is nothing to downgrade to');
    }),
  ];
}

function alarmMethods({ service }: EtcdContext): UnaryMethod[] {
  const headers = new Headers(service);
  return [
    unary('Alarm', AlarmRequest, AlarmResponse, async (request, call) => {
      const options = callOptionsOf(service, call);
      const { action, alarm: wanted } = request;
      const { values } = AlarmAction;
      if (action === values.GET) {
        const { revision, alarms } = await service.alarms(options);
        const shown = alarms.map(alarmOf).filter(({ alarm }) => wanted === 0 || alarm === wanted);
        return { header: headers.header(revision), alarms: shown };
      }
      if (action !== values.ACTIVATE && action !== values.DEACTIVATE) {
        throw new GrpcError(CODE.INVALID_ARGUMENT, 'etcdserver: unknown action on alarms');
      }
      const type = typeOf(wanted);
      const member = Number(BigInt.asUintN(53, request.memberID));
      const change = action === values.ACTIVATE ? 'raise' : 'clear';
      const changed = await service.changeAlarm(change, { type, member, byNode: false }, options);
      return { header: headers.header(changed.revision), alarms: changed.alarms.map(alarmOf) };
    }),
  ];
}

function alarmOf({ type, member }: Alarm): ReturnType<typeof AlarmMember.create> {
  const alarm = type === 'nospace' ? AlarmType.values.NOSPACE : AlarmType.values.CORRUPT;
  return { memberID: BigInt(member), alarm };
}

/** As etcd writes the message out. */
function alarmText({ type, member }: Alarm): string {
  return `memberID:${member} alarm:${type === 'nospace' ? 'NOSPACE' : 'CORRUPT'} `;
}

/** @throws GrpcError */
function typeOf(alarm: number): Alarm['type'] {
  if (alarm === AlarmType.values.NOSPACE) return 'nospace';
  if (alarm === AlarmType.values.CORRUPT) return 'corrupt';
  throw new GrpcError(CODE.INVALID_ARGUMENT, 'etcdserver: unknown kind of alarm');
}

/** etcd's hashes have 32 bits: the first ones of ours. */
function shortHash({ hash }: KeyHash): number {
  return Number.parseInt(hash.slice(0, 8), 16);
}
