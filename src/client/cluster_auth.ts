/** What is asked of a cluster about users and rights. A change is sent again only when it was certainly refused. */
import type { AuthRequest, AuthStatus, RoleInfo, UserInfo } from '../wire/auth_messages.ts';
import {
  readAuthStatus,
  readNames,
  readRole,
  readUser,
  writeAuthRequest,
} from '../wire/client_auth_codec.ts';
import { OPCODE } from '../wire/client_frames.ts';
import type { ByteWriter } from '../wire/varint.ts';
import type { AuthCalls, ChannelOptions } from './channel.ts';
import type { ClusterClient } from './cluster_client.ts';
import { plainCall } from './plain_call.ts';

export class ClusterAuth implements AuthCalls {
  readonly #cluster: ClusterClient;

  constructor(cluster: ClusterClient) {
    this.#cluster = cluster;
  }

  change(request: AuthRequest, options: ChannelOptions): Promise<void> {
    const write = (writer: ByteWriter): void => writeAuthRequest(writer, request);
    const call = { opcode: OPCODE.AUTH_CHANGE, changes: true, write, read: () => undefined };
    return this.#cluster.call(plainCall(call), options);
  }
  status(options: ChannelOptions): Promise<AuthStatus> {
    return this.#cluster.call(plainCall({ opcode: OPCODE.AUTH_STATUS, read: readAuthStatus }), options);
  }
  user(name: string, options: ChannelOptions): Promise<UserInfo> {
    const call = { opcode: OPCODE.USER_GET, write: named(name), read: readUser };
    return this.#cluster.call(plainCall(call), options);
  }
  users(options: ChannelOptions): Promise<string[]> {
    return this.#cluster.call(plainCall({ opcode: OPCODE.USER_LIST, read: readNames }), options);
  }
  role(name: string, options: ChannelOptions): Promise<RoleInfo> {
    const call = { opcode: OPCODE.ROLE_GET, write: named(name), read: readRole };
    return this.#cluster.call(plainCall(call), options);
  }
  roles(options: ChannelOptions): Promise<string[]> {
    return this.#cluster.call(plainCall({ opcode: OPCODE.ROLE_LIST, read: readNames }), options);
  }
}

function named(name: string): (writer: ByteWriter) => void {
  return (writer) => {
    writer.string(name);
  };
}
