/**
 * Puts the checksums of spoilt files right again, so that the parsers behind them see hostile bytes that an enemy, or a bug of a writer, has sealed. As far as the
 * bytes still tell where a checksum stands; the rest is left alone.
 */
import { crc32 } from '../../src/storage/crc32.ts';
import {
  HEADER_BYTES,
  parseSegmentName,
  RECORD_HEADER_BYTES,
  recordBytes,
} from '../../src/storage/log/format.ts';
import { encodeFooter as encodeSnapshotFooter } from '../../src/storage/snapshot/snapshot_format.ts';
import { sealSection, sectionCrc, sectionsCrc } from '../../src/storage/tables/format.ts';

type Bytes = Uint8Array<ArrayBuffer>;

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A segment of the log, by its name: the header, and the records as they follow each other. */
export function resealSegment(bytes: Bytes, name: string): Bytes {
  const seed = parseSegmentName(name)?.seed;
  if (seed === undefined || bytes.length < HEADER_BYTES) return bytes;
  const view = viewOf(bytes);
  view.setUint32(12, 0, true);
  view.setUint32(12, crc32(bytes.subarray(0, HEADER_BYTES), seed), true);
  for (let at = HEADER_BYTES; at + RECORD_HEADER_BYTES <= bytes.length; ) {
    const size = recordBytes(view.getUint32(at + 4, true));
    const record = bytes.subarray(at, at + size);
    if (record.length < size || record.every((byte) => byte === 0)) break;
    view.setUint32(at, 0, true);
    view.setUint32(at, crc32(record, seed), true);
    at += size;
  }
  return bytes;
}

/** A snapshot: header, blocks, and a footer that fits them in all but the number of records. */
export function resealSnapshot(bytes: Bytes): Bytes {
  if (bytes.length < 64) return bytes;
  const view = viewOf(bytes);
  const headerEnd = 32 + view.getUint32(12, true);
  if (headerEnd + 4 > bytes.length) return bytes;
  view.setUint32(headerEnd, crc32(bytes.subarray(0, headerEnd)), true);
  let at = headerEnd + 4;
  let blocksCrc = 0;
  let recordCount = 0;
  while (at + 12 <= bytes.length && view.getUint32(at, true) !== 0) {
    const end = at + 12 + view.getUint32(at, true);
    if (end > bytes.length) return bytes;
    const crc = crc32(bytes.subarray(at + 12, end), crc32(bytes.subarray(at, at + 8)));
    view.setUint32(at + 8, crc, true);
    blocksCrc = crc32(bytes.subarray(at + 8, at + 12), blocksCrc);
    recordCount += view.getUint32(at + 4, true);
    at = end;
  }
  if (at + 28 > bytes.length) return bytes;
  bytes.set(encodeSnapshotFooter({ recordCount, sizeBytes: bytes.length, blocksCrc }), at);
  return bytes;
}

const FOOTER_BYTES = 64;
const INDEX_HEADER = 8;
const INDEX_ENTRY = 40;

/** A table: blocks as its index names them, the three sections as its footer names them, the footer. */
export function resealTable(bytes: Bytes): Bytes {
  if (bytes.length < FOOTER_BYTES) return bytes;
  const view = viewOf(bytes);
  const footer = bytes.length - FOOTER_BYTES;
  const section = (i: number): Bytes | undefined => {
    const start = view.getUint32(footer + 8 * i, true);
    const end = start + view.getUint32(footer + 8 * i + 4, true);
    return end - start >= 8 && end <= footer ? bytes.subarray(start, end) : undefined;
  };
  const index = section(1);
  if (index !== undefined) {
    const entries = viewOf(index);
    for (let at = INDEX_HEADER; at + INDEX_ENTRY <= index.length; at += INDEX_ENTRY) {
      const start = entries.getUint32(at + 8, true);
      const end = start + entries.getUint32(at + 12, true) - 4;
      if (end <= start || end > index.byteOffset - bytes.byteOffset) break;
      const crc = crc32(bytes.subarray(start, end));
      view.setUint32(end, crc, true);
      entries.setUint32(at + 24, crc, true);
    }
  }
  const crcs = [0, 1, 2].map((i) => {
    const one = section(i);
    return one === undefined ? 0 : sectionCrc(sealSection(one));
  });
  view.setUint32(footer + 40, sectionsCrc(crcs[0]!, crcs[1]!, crcs[2]!), true);
  view.setUint32(footer + 52, crc32(bytes.subarray(footer, footer + 52)), true);
  return bytes;
}

/** A manifest: its length and its checksum. */
export function resealManifest(bytes: Bytes): Bytes {
  if (bytes.length < 84) return bytes;
  const view = viewOf(bytes);
  view.setBigUint64(64, BigInt(bytes.length), true);
  view.setUint32(bytes.length - 4, crc32(bytes.subarray(0, bytes.length - 4)), true);
  return bytes;
}
