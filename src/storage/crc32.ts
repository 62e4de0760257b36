/**
 * CRC-32 (IEEE 802.3, the one of zlib and gzip), native.
 *
 * `crc32(data, seed)` continues from `seed`: crc32(b, crc32(a)) equals crc32(a + b). A seed that two files do not share keeps the bytes
 * of one from ever being valid in the other.
 */
export { crc32 } from 'node:zlib';
