/** Which requests of the TCP door are answered by streams, and what opens each. */
import { OPCODE } from '../../wire/client_frames.ts';
import type { ByteReader } from '../../wire/varint.ts';
import { openScan } from './scan_stream.ts';
import { openSnapshot } from './snapshot_stream.ts';
import type { DoorStream, StreamOutput } from './stream_output.ts';
import { openWatch } from './watch_stream.ts';

/** @throws KvError PROTOCOL, INVALID_ARGUMENT */
type Open = (output: StreamOutput, requestId: number, reader: ByteReader) => DoorStream;

/** undefined: the request has a single answer. */
export function streamOf(opcode: number): Open | undefined {
  switch (opcode) {
    case OPCODE.SCAN:
      return openScan;
    case OPCODE.WATCH:
      return openWatch;
    case OPCODE.SNAPSHOT:
      return openSnapshot;
    default:
      return undefined;
  }
}
