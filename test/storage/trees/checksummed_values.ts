/**
 * Values that say whose they are: `id:u32 version:u32 length:u32 crc:u32 filler`, little-endian; crc covers the three words before it and the filler. A value in the wrong place, of
 * the wrong version, cut or changed is told from the right one.
 */
import { crc32 } from 'node:zlib';

const HEADER_BYTES = 16;
const FILLER = fillerOf(64 * 1024);

function fillerOf(bytes: number): Uint8Array {
  const words = new Uint32Array(bytes / 4);
  let state = 0x1234_5678;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer);
}

export function writeValue(target: Uint8Array, id: number, version: number): void {
  const view = new DataView(target.buffer, target.byteOffset, target.byteLength);
  const length = target.length;
  view.setUint32(0, id, true);
  view.setUint32(4, version, true);
  view.setUint32(8, length, true);
  const from = (Math.imul(id, 2_654_435_761) + Math.imul(version, 40_503)) >>> 17; // below 32 KiB
  target.set(FILLER.subarray(from, from + length - HEADER_BYTES), HEADER_BYTES);
  view.setUint32(12, checksum(target), true);
}

function checksum(value: Uint8Array): number {
  return crc32(value.subarray(HEADER_BYTES), crc32(value.subarray(0, 12)));
}

/** What is wrong with a value that should be version `version` of key `id`; undefined when nothing is. */
export function problemOf(value: Uint8Array, id: number, version: number): string | undefined {
  if (value.length < HEADER_BYTES) return `${value.length} B`;
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  const [foundId, foundVersion] = [view.getUint32(0, true), view.getUint32(4, true)];
  if (foundId !== id || foundVersion !== version) return `key ${foundId}, version ${foundVersion}`;
  if (view.getUint32(8, true) !== value.length)
    return `${value.length} B instead of ${view.getUint32(8, true)}`;
  return view.getUint32(12, true) === checksum(value) ? undefined : 'the checksum is wrong';
}
