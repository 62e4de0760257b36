/** etcd's Lock: the recipe of its clients, run by the server. The client keeps its lease alive itself. */

import { userKey } from '../../../kv/keyspace.ts';
import type { Ports } from '../../../ports.ts';
import { encodeCommand } from '../../../wire/command_codec.ts';
import { NO_WRITE_ID } from '../../../wire/write_id.ts';
import { LockRequest, LockResponse, UnlockRequest, UnlockResponse } from '../messages/lease.ts';
import { type ServiceTable, unary } from '../method.ts';
import { Contender, recipeError } from './contender.ts';
import { callOptionsOf, type EtcdContext, Headers, storedKeyOf, succeeded } from './etcd_context.ts';

const NO_BYTES = new Uint8Array(0);

export function lockService({ service }: EtcdContext, ports: Ports): ServiceTable {
  const headers = new Headers(service);
  return {
    name: 'v3lockpb.Lock',
    methods: [
      unary('Lock', LockRequest, LockResponse, async ({ name, lease }, call) => {
        headers.requireLeader(call);
        try {
          const place = await new Contender(service, ports, call).win(name, lease, NO_BYTES);
          return { header: headers.header(), key: userKey(place.key) };
        } catch (error) {
          throw recipeError(error, 'mutex: session is expired');
        }
      }),
      unary('Unlock', UnlockRequest, UnlockResponse, async ({ key: given }, call) => {
        headers.requireLeader(call);
        const key = storedKeyOf(given);
        const operation = { type: 'delete' as const, key, end: undefined, prevKv: false };
        const command = encodeCommand({ type: 'write', id: NO_WRITE_ID, operation });
        const result = succeeded(await service.write(command, callOptionsOf(service, call)));
        return { header: headers.header(result.revision) };
      }),
    ],
  };
}
