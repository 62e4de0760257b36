/** Requests of the TCP door about leases: keep-alives, and looks at them. They are granted and revoked by WRITE. */

import { OPCODE } from '../../wire/client_frames.ts';
import { writeKeptAlive, writeLeases, writeTimeToLive } from '../../wire/client_lease_codec.ts';
import { readLease } from '../../wire/lease_codec.ts';
import type { ByteReader, ByteWriter } from '../../wire/varint.ts';
import type { CallOptions, Service } from '../service.ts';

export const isLeaseOpcode = (opcode: number): boolean =>
  opcode >= OPCODE.LEASE_KEEP_ALIVE && opcode <= OPCODE.LEASES;

/** As answerAdmin, behind the time-out. @throws KvError PROTOCOL for a malformed payload */
export async function answerLease(
  { leases }: Service,
  opcode: number,
  reader: ByteReader,
  call: CallOptions,
): Promise<(out: ByteWriter) => void> {
  switch (opcode) {
    case OPCODE.LEASE_KEEP_ALIVE: {
      const lease = readLease(reader);
      reader.expectEnd();
      const kept = await leases.keepAlive(lease, call);
      return (out) => writeKeptAlive(out, kept);
    }
    case OPCODE.LEASE_TIME_TO_LIVE: {
      const lease = readLease(reader);
      const withKeys = reader.bool();
      reader.expectEnd();
      const found = await leases.timeToLive(lease, withKeys, call);
      return (out) => writeTimeToLive(out, found);
    }
    default: {
      reader.expectEnd();
      const found = await leases.list(call);
      return (out) => writeLeases(out, found);
    }
  }
}
