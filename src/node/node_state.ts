/**
 * The state that goes to disk with a flush and at the head of a snapshot: what the state machine knows besides the records, and the cluster's
 * configuration, both as of the applied index.
 *
 *     state := version:u8(1) configuration:byteString kvState:byteString
 */

import { KvError } from '../errors.ts';
import type { KvState } from '../kv/state_machine.ts';
import { decodeConfiguration, encodeConfiguration } from '../raft/configuration.ts';
import type { Configuration } from '../raft/types.ts';
import { decodeState, encodeState } from '../wire/state_codec.ts';
import { ByteReader, ByteWriter } from '../wire/varint.ts';

const VERSION = 1;

export interface NodeState {
  readonly configuration: Configuration;
  readonly kv: KvState;
}

export function encodeNodeState(state: NodeState): Uint8Array {
  return new ByteWriter(1024)
    .u8(VERSION)
    .byteString(encodeConfiguration(state.configuration))
    .byteString(encodeState(state.kv))
    .finish();
}

/** @throws KvError UNSUPPORTED_VERSION or PROTOCOL */
export function decodeNodeState(bytes: Uint8Array): NodeState {
  const reader = new ByteReader(bytes);
  const version = reader.u8();
  if (version !== VERSION) {
    throw new KvError(
      'UNSUPPORTED_VERSION',
      `node state has version ${version}, this program reads ${VERSION}`,
    );
  }
  const configuration = decodeConfiguration(reader.byteString());
  const kv = decodeState(reader.byteString());
  reader.expectEnd();
  return { configuration, kv };
}
