/** Where etcd's gateway has its methods: the path behind `/v3/` -> the path of gRPC. */

function all(service: string, prefix: string, methods: Readonly<Record<string, string>>): [string, string][] {
  return Object.entries(methods).map(([path, method]) => [`${prefix}${path}`, `/${service}/${method}`]);
}

export const GATEWAY_PATHS: Readonly<Record<string, string>> = Object.fromEntries([
  ...all('etcdserverpb.KV', 'kv/', {
    range: 'Range',
    put: 'Put',
    deleterange: 'DeleteRange',
    txn: 'Txn',
    compaction: 'Compact',
  }),
  ...all('etcdserverpb.Watch', '', { watch: 'Watch' }),
  ...all('etcdserverpb.Lease', 'lease/', {
    grant: 'LeaseGrant',
    revoke: 'LeaseRevoke',
    keepalive: 'LeaseKeepAlive',
    timetolive: 'LeaseTimeToLive',
    leases: 'LeaseLeases',
  }),
  // The paths of etcd 3.2, which are served still.
  ...all('etcdserverpb.Lease', 'kv/lease/', {
    revoke: 'LeaseRevoke',
    timetolive: 'LeaseTimeToLive',
    leases: 'LeaseLeases',
  }),
  ...all('etcdserverpb.Cluster', 'cluster/member/', {
    add: 'MemberAdd',
    remove: 'MemberRemove',
    update: 'MemberUpdate',
    list: 'MemberList',
    promote: 'MemberPromote',
  }),
  ...all('etcdserverpb.Maintenance', 'maintenance/', {
    alarm: 'Alarm',
    status: 'Status',
    defragment: 'Defragment',
    hash: 'HashKV',
    snapshot: 'Snapshot',
    'transfer-leadership': 'MoveLeader',
    downgrade: 'Downgrade',
  }),
  ...all('etcdserverpb.Auth', 'auth/', {
    enable: 'AuthEnable',
    disable: 'AuthDisable',
    status: 'AuthStatus',
    authenticate: 'Authenticate',
    'user/add': 'UserAdd',
    'user/get': 'UserGet',
    'user/list': 'UserList',
    'user/delete': 'UserDelete',
    'user/changepw': 'UserChangePassword',
    'user/grant': 'UserGrantRole',
    'user/revoke': 'UserRevokeRole',
    'role/add': 'RoleAdd',
    'role/get': 'RoleGet',
    'role/list': 'RoleList',
    'role/delete': 'RoleDelete',
    'role/grant': 'RoleGrantPermission',
    'role/revoke': 'RoleRevokePermission',
  }),
  ...all('v3lockpb.Lock', 'lock/', { lock: 'Lock', unlock: 'Unlock' }),
  ...all('v3electionpb.Election', 'election/', {
    campaign: 'Campaign',
    proclaim: 'Proclaim',
    leader: 'Leader',
    observe: 'Observe',
    resign: 'Resign',
  }),
]);
