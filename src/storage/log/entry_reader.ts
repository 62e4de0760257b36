/**
 * Reads entries that the cache no longer holds back from their segments, many with one read.
 *
 * Invariant: what is handed out has passed its checksum and is the entry that was asked for: bit rot ends here as CORRUPT and does not spread to
 * followers or into the state machine.
 */
import {
  ENTRY_COMMAND,
  ENTRY_CONFIGURATION,
  ENTRY_NOOP,
  type Entry,
  type EntryKind,
} from '../../raft/types.ts';
import type { EntryPositions } from './entry_positions.ts';
import { RECORD_HEADER_BYTES, readRecordHeader, recordBytes, recordIsValid } from './format.ts';
import { corrupt } from './recovery.ts';
import type { Segment } from './segment.ts';

const KINDS: readonly (EntryKind | undefined)[] = [undefined, ENTRY_COMMAND, ENTRY_NOOP, ENTRY_CONFIGURATION];
/** More than this between two entries (superseded ones, marks) is not read along. */
const MAX_GAP_BYTES = 64 * 1024;

/** The segment that holds `position`. REQUIRES: one does. */
export function segmentAt(segments: readonly Segment[], position: number): Segment {
  let low = 0;
  let high = segments.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (segments[middle]!.position <= position) low = middle;
    else high = middle - 1;
  }
  return segments[low]!;
}

/**
 * Appends entries [from, ...) to `into`, up to `to` or until `maxBytes` of data is reached (one at least), as far as one read goes; gives the
 * bytes of data added. REQUIRES: positions cover [from, to).
 */
export function readEntries(
  segments: readonly Segment[],
  positions: EntryPositions,
  from: number,
  to: number,
  maxBytes: number,
  into: Entry[],
): number {
  const segment = segmentAt(segments, positions.position(from));
  const start = positions.position(from);
  let dataBytes = positions.length(from);
  let end = start + recordBytes(dataBytes);
  let next = from + 1;
  for (; next < to; next++) {
    const position = positions.position(next);
    const length = positions.length(next);
    if (position >= segment.endPosition || position - end > MAX_GAP_BYTES) break;
    if (dataBytes + length > maxBytes) break;
    dataBytes += length;
    end = position + recordBytes(length);
  }
  const span = new Uint8Array(end - start);
  const offset = start - segment.position;
  const count = segment.file.readSync(span, offset);
  if (count < span.byteLength) {
    throw corrupt(segment.file.path, offset + count, 'the file ends within an entry');
  }
  for (let index = from; index < next; index++) {
    const position = positions.position(index);
    into.push(
      decode(segment, span, position - start, offset + position - start, positions.length(index), index),
    );
  }
  return dataBytes;
}

function decode(
  segment: Segment,
  span: Uint8Array,
  at: number,
  offset: number,
  length: number,
  index: number,
): Entry {
  const bytes = span.subarray(at, at + recordBytes(length));
  const header = readRecordHeader(new DataView(span.buffer, span.byteOffset), at);
  const kind = header === undefined ? undefined : KINDS[header.kind];
  if (header === undefined || kind === undefined || header.index !== index || header.length !== length) {
    throw corrupt(segment.file.path, offset, `entry ${index} is not where it was written`);
  }
  if (!recordIsValid(bytes, segment.seed)) {
    throw corrupt(segment.file.path, offset, `checksum mismatch in entry ${index}`);
  }
  const data = bytes.subarray(RECORD_HEADER_BYTES, RECORD_HEADER_BYTES + length);
  return { index, term: header.term, kind, data };
}
