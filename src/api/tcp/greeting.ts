/** How the TCP door answers HELLO: which clients it takes, and what it tells them about this node. */
import type { DoorConfig, Limits } from '../../config.ts';
import { KvError } from '../../errors.ts';
import { type Hello, PROTOCOL_VERSION, readHello, type Welcome } from '../../wire/client_codec.ts';
import type { ByteReader } from '../../wire/varint.ts';
import type { Service } from '../service.ts';

const MIN_CLIENT_FRAME_BYTES = 1024;

/** @throws KvError PROTOCOL, UNSUPPORTED_VERSION: the connection is of no use. */
export function acceptHello(reader: ByteReader): Hello {
  const hello = readHello(reader);
  if (hello.minVersion > PROTOCOL_VERSION || hello.maxVersion < PROTOCOL_VERSION) {
    throw new KvError(
      'UNSUPPORTED_VERSION',
      `client speaks versions ${hello.minVersion} to ${hello.maxVersion}, this node ${PROTOCOL_VERSION}`,
      { details: { minVersion: PROTOCOL_VERSION, maxVersion: PROTOCOL_VERSION } },
    );
  }
  if (hello.maxFrameBytes < MIN_CLIENT_FRAME_BYTES) {
    throw new KvError('PROTOCOL', `a client must take frames of ${MIN_CLIENT_FRAME_BYTES} bytes`);
  }
  return hello;
}

export function welcomeOf(node: {
  readonly service: Service;
  readonly config: DoorConfig;
  readonly limits: Limits;
}): Welcome {
  const { config, limits, service } = node;
  const status = service.status();
  return {
    version: PROTOCOL_VERSION,
    nodeId: status.id,
    leader: status.leader,
    clusterId: status.clusterId,
    limits: {
      maxFrameBytes: config.maxFrameBytes,
      maxKeyBytes: limits.maxKeyBytes,
      maxValueBytes: limits.maxValueBytes,
      maxCommandBytes: limits.maxCommandBytes,
      maxTxnOperations: limits.maxTxnOperations,
      maxDeleteRangeKeys: limits.maxDeleteRangeKeys,
      maxSessionResults: limits.maxSessionResults,
      // One less than where reading stops: a client that keeps to it is always heard when it asks whether we live.
      maxRequests: maxRunning(config) - 1,
      idleTimeoutMs: config.idleTimeoutMs,
    },
  };
}

/** Requests at which reading stops. */
export function maxRunning(config: DoorConfig): number {
  return Math.max(2, config.maxRequestsPerConnection);
}
