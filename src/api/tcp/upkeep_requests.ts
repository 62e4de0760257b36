/** Requests of the TCP door about the upkeep of the store: compaction, hashes, alarms, quotas. */

import { OPCODE } from '../../wire/client_frames.ts';
import {
  readCompact,
  readHashRequest,
  readQuotaRequest,
  writeAlarmsAnswer,
  writeClusterHash,
  writeKeyHash,
  writeQuotasAnswer,
} from '../../wire/client_upkeep_codec.ts';
import { readAlarm } from '../../wire/upkeep_codec.ts';
import type { ByteReader, ByteWriter } from '../../wire/varint.ts';
import type { CallOptions, Service } from '../service.ts';

/** As answerAdmin, behind the time-out; undefined for another opcode. @throws KvError PROTOCOL for a malformed payload */
export async function answerUpkeep(
  service: Service,
  opcode: number,
  reader: ByteReader,
  call: CallOptions,
): Promise<((out: ByteWriter) => void) | undefined> {
  switch (opcode) {
    case OPCODE.COMPACT: {
      const request = readCompact(reader);
      reader.expectEnd();
      const revision = await service.compact(request, call);
      return (out) => out.varint(revision);
    }
    case OPCODE.HASH: {
      const request = readHashRequest(reader);
      reader.expectEnd();
      const hash = await service.hash(request, call);
      return (out) => writeKeyHash(out, hash);
    }
    case OPCODE.CLUSTER_HASH: {
      reader.expectEnd();
      const hashes = await service.clusterHash(call);
      return (out) => writeClusterHash(out, hashes);
    }
    case OPCODE.ALARMS: {
      reader.expectEnd();
      const alarms = await service.alarms(call);
      return (out) => writeAlarmsAnswer(out, alarms);
    }
    case OPCODE.ALARM: {
      const action = reader.bool() ? 'clear' : 'raise';
      // What clients raise stays until it is cleared.
      const alarm = { ...readAlarm(reader), byNode: false };
      reader.expectEnd();
      const alarms = await service.changeAlarm(action, alarm, call);
      return (out) => writeAlarmsAnswer(out, alarms);
    }
    case OPCODE.QUOTAS: {
      reader.expectEnd();
      const quotas = await service.quotas.list(call);
      return (out) => writeQuotasAnswer(out, quotas);
    }
    case OPCODE.QUOTA: {
      const { prefix, limits } = readQuotaRequest(reader);
      reader.expectEnd();
      const { quotas } = service;
      const revision = await (limits === undefined
        ? quotas.remove(prefix, call)
        : quotas.set(prefix, limits, call));
      return (out) => out.varint(revision);
    }
    default:
      return undefined;
  }
}
