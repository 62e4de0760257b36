/** What is asked of a cluster about users and rights. A change is sent again only when it was certainly refused. */
import type { AuthRequest, AuthStatus, RoleInfo, UserInfo } from '../wire/auth_messages.ts';
import {
  readAuthStatus,
  readNames,
  readRole,
  readUser,
  writeAuthRequest,
} from '../wire/client_auth_codec.ts';
import { wireTimeoutMs } from '../wire/client_codec.ts';
import { OPCODE } from '../wire/client_frames.ts';
import type { ByteReader, ByteWriter } from '../wire/varint.ts';
import type { CallRequest } from './call.ts';
import type { AuthCalls, ChannelOptions } from './channel.ts';
import type { ClusterClient } from './cluster_client.ts';

export class ClusterAuth implements AuthCalls {
  readonly #cluster: ClusterClient;

  constructor(cluster: ClusterClient) {
    this.#cluster = cluster;
  }

  change(request: AuthRequest, options: ChannelOptions): Promise<void> {
    const write = (writer: ByteWriter): void => writeAuthRequest(writer, request);
    return this.#cluster.call(
      callOf(OPCODE.AUTH_CHANGE, write, () => undefined),
      options,
    );
  }
  status(options: ChannelOptions): Promise<AuthStatus> {
    return this.#cluster.call(callOf(OPCODE.AUTH_STATUS, nothing, readAuthStatus), options);
  }
  user(name: string, options: ChannelOptions): Promise<UserInfo> {
    return this.#cluster.call(callOf(OPCODE.USER_GET, named(name), readUser), options);
  }
  users(options: ChannelOptions): Promise<string[]> {
    return this.#cluster.call(callOf(OPCODE.USER_LIST, nothing, readNames), options);
  }
  role(name: string, options: ChannelOptions): Promise<RoleInfo> {
    return this.#cluster.call(callOf(OPCODE.ROLE_GET, named(name), readRole), options);
  }
  roles(options: ChannelOptions): Promise<string[]> {
    return this.#cluster.call(callOf(OPCODE.ROLE_LIST, nothing, readNames), options);
  }
}

const CALL_BYTES = 200;

function callOf<T>(
  opcode: number,
  writeFields: (writer: ByteWriter) => void,
  read: (reader: ByteReader) => T,
): CallRequest<T> {
  const changes = opcode === OPCODE.AUTH_CHANGE;
  return {
    opcode,
    sizeBytes: CALL_BYTES,
    preferLeader: changes,
    changes,
    repeatable: !changes,
    retryWhenBehind: false,
    write(writer, timeoutMs) {
      writer.varint(wireTimeoutMs(timeoutMs));
      writeFields(writer);
    },
    read,
  };
}

function nothing(): void {}

function named(name: string): (writer: ByteWriter) => void {
  return (writer) => {
    writer.string(name);
  };
}
