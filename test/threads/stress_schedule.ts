/**
 * What the stress test of reader threads writes, known on both sides: revision r writes both keys of pair `pairOf(r)`, with values that name the key, the revision and
 * their own checksum. So whoever reads at a revision knows exactly what it has to see.
 */
import { crc32 } from 'node:zlib';

export const PAIRS = 60;

/** Shared words. The last four count, over all threads: what a terminated thread did counts too. */
export const WORD = {
  STOP: 0,
  ACKNOWLEDGED: 1,
  BEGUN: 2,
  GETS: 3,
  SNAPSHOTS: 4,
  SCANS: 5,
  COMPACTED: 6,
} as const;
export const WORDS = 7;
const HEADER_BYTES = 16;

/** The pair that a revision writes. Pair 0 is hot. */
export function pairOf(revision: number): number {
  const mixed = Math.imul(revision ^ (revision >>> 7), 0x9e3779b1) >>> 8;
  return mixed % 5 === 0 ? 0 : mixed % PAIRS;
}

/** The revision that a reader at `revision` sees of a pair; 0: none yet. */
export function newestOf(pair: number, revision: number, firstRevision: number): number {
  for (let at = revision; at >= firstRevision; at--) if (pairOf(at) === pair) return at;
  return 0;
}

export function keyOf(pair: number, half: 0 | 1): string {
  return `pair/${String(pair).padStart(3, '0')}/${half}`;
}

/** Mostly small, now and then a large one that makes a memtable grow. */
export function stressValue(pair: number, half: 0 | 1, revision: number): Uint8Array {
  const sizeBytes = revision % 997 === 0 ? 400_000 : 100 + (Math.imul(revision, 2654435761) >>> 22);
  const value = Buffer.alloc(sizeBytes, revision & 255);
  value.writeUInt32LE(pair * 2 + half, 4);
  value.writeDoubleLE(revision, 8);
  value.writeUInt32LE(crc32(value.subarray(4)), 0);
  return value;
}

/** The revision that a value names. @throws Error for one that is not whole, or another key's. */
export function checkValue(value: Uint8Array, pair: number, half: 0 | 1): number {
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.length);
  if (bytes.length < HEADER_BYTES || crc32(bytes.subarray(4)) !== bytes.readUInt32LE(0))
    throw new Error(`a torn value of ${bytes.length} bytes for ${keyOf(pair, half)}`);
  if (bytes.readUInt32LE(4) !== pair * 2 + half)
    throw new Error(`${keyOf(pair, half)} shows the value of key ${bytes.readUInt32LE(4)}`);
  return bytes.readDoubleLE(8);
}
