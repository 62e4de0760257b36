/** Calls that are short fields behind a time-out, there and back: all but those of keys. */
import { wireTimeoutMs } from '../wire/client_codec.ts';
import type { ByteReader, ByteWriter } from '../wire/varint.ts';
import type { CallRequest } from './call.ts';

const CALL_BYTES = 200;

export interface PlainCall<T> {
  readonly opcode: number;
  /** What stands behind the time-out. Default: nothing. */
  readonly write?: (writer: ByteWriter) => void;
  readonly read: (reader: ByteReader) => T;
  /** It changes something: it goes to the leader if possible, and is sent again only when it was certainly refused. */
  readonly changes?: boolean;
  /** Default: where it changes something. */
  readonly preferLeader?: boolean;
  /** What an answer may take that is known to take long. */
  readonly attemptTimeoutMs?: number;
}

export function plainCall<T>(call: PlainCall<T>): CallRequest<T> {
  const { opcode, read, changes = false, preferLeader = changes, attemptTimeoutMs } = call;
  return {
    opcode,
    sizeBytes: CALL_BYTES,
    preferLeader,
    changes,
    repeatable: !changes,
    retryWhenBehind: false,
    ...(attemptTimeoutMs !== undefined && { attemptTimeoutMs }),
    write(writer, timeoutMs) {
      writer.varint(wireTimeoutMs(timeoutMs));
      call.write?.(writer);
    },
    read,
  };
}
