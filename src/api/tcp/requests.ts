/** Requests of the TCP door that are neither the hot ones nor streams: ranges, status and membership; and the check on keys that all share. */
import { KvError } from '../../errors.ts';
import { SPACE_USER } from '../../kv/keyspace.ts';
import type { Identity } from '../../security/identity.ts';
import { writeMembers, writeStatus, writeStatuses } from '../../wire/client_admin_codec.ts';
import { MAX_TIMEOUT_MS, readRange, writeRanged } from '../../wire/client_codec.ts';
import { OPCODE } from '../../wire/client_frames.ts';
import type { ByteReader, ByteWriter } from '../../wire/varint.ts';
import type { CallOptions, Service } from '../service.ts';
import { answerAuth, isAuthOpcode, type NamedConnection } from './auth_requests.ts';
import { answerLease, isLeaseOpcode } from './lease_requests.ts';
import { answerUpkeep } from './upkeep_requests.ts';

const DEFAULT_CALL: CallOptions = {};
/** Of an answer that holds records, beside these. */
const ANSWER_OVERHEAD_BYTES = 64;

/** What a time-out of the wire asks for: 0 lets the node choose, and nobody is waited for longer than MAX_TIMEOUT_MS. */
export function callOptionsOf(timeoutMs: number, identity: Identity | undefined): CallOptions {
  if (timeoutMs === 0) return identity === undefined ? DEFAULT_CALL : { identity };
  return { timeoutMs: Math.min(timeoutMs, MAX_TIMEOUT_MS), identity };
}

/** Clients may name keys of the user space only. @throws KvError INVALID_ARGUMENT */
export function checkUserKey(key: Uint8Array): void {
  if (key[0] !== SPACE_USER) throw new KvError('INVALID_ARGUMENT', 'the key is not in the user key space');
}

/** The end of a range may also be the first key after the user space. @throws KvError INVALID_ARGUMENT */
export function checkUserEnd(end: Uint8Array | undefined): void {
  if (end === undefined || (end.length === 1 && end[0] === SPACE_USER + 1)) return;
  checkUserKey(end);
}

/**
 * Calls the service and gives what writes the answer's payload.
 * @throws KvError UNSUPPORTED for an opcode that this version does not know, PROTOCOL for a malformed payload.
 */
export async function answerAdmin(
  service: Service,
  opcode: number,
  reader: ByteReader,
  connection: NamedConnection & { readonly maxFrameBytes: number },
): Promise<(out: ByteWriter) => void> {
  const { identity } = connection;
  if (isAuthOpcode(opcode))
    return answerAuth(service, opcode, reader, connection, callOptions(reader, false, identity));
  if (isLeaseOpcode(opcode))
    return answerLease(service, opcode, reader, callOptions(reader, false, identity));
  switch (opcode) {
    case OPCODE.RANGE: {
      const options = callOptions(reader, false, identity);
      const request = readRange(reader);
      checkUserKey(request.key);
      checkUserEnd(request.end);
      // An answer that the client does not take would have been read for nothing.
      const most = Math.max(1, connection.maxFrameBytes - ANSWER_OVERHEAD_BYTES);
      const maxBytes = request.maxBytes === 0 ? most : Math.min(request.maxBytes, most);
      const answer = await service.range({ ...request, maxBytes }, options);
      return (out) => writeRanged(out, answer);
    }
    case OPCODE.STATUS: {
      callOptions(reader, true, identity);
      const status = service.status();
      return (out) => writeStatus(out, status);
    }
    case OPCODE.CLUSTER_STATUS: {
      const statuses = await service.clusterStatus(callOptions(reader, true, identity));
      return (out) => writeStatuses(out, statuses);
    }
    case OPCODE.MEMBERS: {
      const members = await service.members(callOptions(reader, true, identity));
      return (out) => writeMembers(out, members);
    }
    case OPCODE.MEMBER_ADD: {
      const options = callOptions(reader, false, identity);
      const peerAddress = reader.string();
      const clientAddress = reader.string();
      reader.expectEnd();
      const added = await service.memberAdd({ peerAddress, clientAddress }, options);
      return (out) => {
        out.varint(added.id);
        writeMembers(out, { clusterId: added.clusterId, leader: 0, members: added.members });
      };
    }
    case OPCODE.MEMBER_PROMOTE:
    case OPCODE.MEMBER_REMOVE: {
      const options = callOptions(reader, false, identity);
      const id = reader.varint();
      reader.expectEnd();
      const members = await (opcode === OPCODE.MEMBER_PROMOTE
        ? service.memberPromote(id, options)
        : service.memberRemove(id, options));
      return (out) => writeMembers(out, members);
    }
    case OPCODE.MOVE_LEADER: {
      const options = callOptions(reader, false, identity);
      const to = reader.varint();
      reader.expectEnd();
      const leader = await service.moveLeader(to, options);
      return (out) => out.varint(leader);
    }
    default: {
      const isUpkeep = opcode >= OPCODE.COMPACT && opcode <= OPCODE.QUOTA;
      const answer = isUpkeep
        ? await answerUpkeep(service, opcode, reader, callOptions(reader, false, identity))
        : undefined;
      if (answer !== undefined) return answer;
      throw new KvError('UNSUPPORTED', `unknown opcode 0x${opcode.toString(16).padStart(2, '0')}`);
    }
  }
}

function callOptions(reader: ByteReader, last: boolean, identity: Identity | undefined): CallOptions {
  const timeoutMs = reader.varint();
  if (last) reader.expectEnd();
  return callOptionsOf(timeoutMs, identity);
}
