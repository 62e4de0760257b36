/**
 * One file of the log.
 *
 * Invariants: `end` is the offset after the last record and only grows; [end, zeroedEnd) holds zeros that are written already, so that an
 * append there takes no new disk space and its fdatasync has no metadata to write.
 */
import type { DiskFile } from '../disk.ts';
import { HEADER_BYTES, type SegmentName } from './format.ts';

export class Segment {
  readonly name: string;
  readonly sequence: number;
  readonly seed: number;
  readonly file: DiskFile;
  /** Position in the log of the file's first byte; set when the segment is begun. */
  position: number;
  end: number;
  zeroedEnd: number;

  constructor(name: SegmentName, file: DiskFile, position = 0, end = HEADER_BYTES, zeroedEnd = 0) {
    this.name = name.name;
    this.sequence = name.sequence;
    this.seed = name.seed;
    this.file = file;
    this.position = position;
    this.end = end;
    this.zeroedEnd = zeroedEnd;
  }

  get endPosition(): number {
    return this.position + this.end;
  }

  /** Bytes that can be appended without new disk space. */
  get roomBytes(): number {
    return Math.max(0, this.zeroedEnd - this.end);
  }
}
