/** Hashing of keys for a filter in memory: FNV-1a over the bytes, then murmur3's finaliser so that every bit depends on every byte. */

/** A 32-bit hash of bytes [start, start + length). Never stored on disk. */
export function hashKey(bytes: Uint8Array, start: number, length: number): number {
  let hash = 0x811c9dc5;
  const end = start + length;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
