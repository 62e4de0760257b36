/** Requests of the TCP door about users and rights, and how a connection comes to have a name. */
import { KvError } from '../../errors.ts';
import type { Identity } from '../../security/identity.ts';
import {
  readAuthRequest,
  readCredentials,
  writeAuthStatus,
  writeNames,
  writeRole,
  writeUser,
} from '../../wire/client_auth_codec.ts';
import { OPCODE } from '../../wire/client_frames.ts';
import type { ByteReader, ByteWriter } from '../../wire/varint.ts';
import type { CallOptions, Service } from '../service.ts';

export const isAuthOpcode = (opcode: number): boolean =>
  opcode >= OPCODE.AUTHENTICATE && opcode <= OPCODE.ROLE_LIST;

/** What asks for these: whose connection it is from then on. */
export interface NamedConnection {
  identity: Identity | undefined;
}

/**
 * Calls the service and gives what writes the answer's payload; AUTHENTICATE names the connection.
 * @throws KvError PROTOCOL for a malformed payload, and what the service throws
 */
export async function answerAuth(
  service: Service,
  opcode: number,
  reader: ByteReader,
  connection: NamedConnection,
  options: CallOptions,
): Promise<(out: ByteWriter) => void> {
  const { auth } = service;
  switch (opcode) {
    case OPCODE.AUTHENTICATE: {
      const { token, identity } = await authenticated(service, reader, options);
      connection.identity = identity;
      return (out) => out.string(token).varint(identity.expiresAtMs);
    }
    case OPCODE.AUTH_CHANGE: {
      const request = readAuthRequest(reader);
      reader.expectEnd();
      await auth.change(request, options);
      return () => undefined;
    }
    case OPCODE.AUTH_STATUS: {
      reader.expectEnd();
      const status = await auth.status(options);
      return (out) => writeAuthStatus(out, status);
    }
    case OPCODE.USER_GET: {
      const user = await auth.user(nameOf(reader), options);
      return (out) => writeUser(out, user);
    }
    case OPCODE.ROLE_GET: {
      const role = await auth.role(nameOf(reader), options);
      return (out) => writeRole(out, role);
    }
    default: {
      reader.expectEnd();
      const names = await (opcode === OPCODE.USER_LIST ? auth.users(options) : auth.roles(options));
      return (out) => writeNames(out, names);
    }
  }
}

async function authenticated(
  { auth }: Service,
  reader: ByteReader,
  options: CallOptions,
): Promise<{ token: string; identity: Identity }> {
  const credentials = readCredentials(reader);
  reader.expectEnd();
  if (!('token' in credentials)) return auth.authenticate(credentials.user, credentials.password, options);
  const identity = auth.identify(credentials.token);
  if (identity === undefined) throw new KvError('AUTH_NOT_ENABLED', 'authentication is not enabled');
  return { token: credentials.token, identity };
}

function nameOf(reader: ByteReader): string {
  const name = reader.string();
  reader.expectEnd();
  return name;
}
