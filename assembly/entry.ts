// One record as it lies in a block of a table (docs/formats/table.md), and decoded as a descriptor.
//
//   entry       := shared:varint unshared:varint valueLength:varint shape:u8 modRevision:varint createRevision:varint version:varint
//                  subRevision:varint [lease:i64] [expiresAtMs:varint] keySuffix value
//   shape       := the record's flags (0 to 63), LEASE and EXPIRES telling which of the optional fields follow
//
//   descriptor  +0  u32 key         +4  u32 keyLength    +8  u32 value        +12 u32 valueLength
//               +16 f64 modRevision +24 f64 createRevision +32 f64 version    +40 i64 lease
//               +48 f64 expiresAtMs +56 u32 subRevision   +60 u32 flags
//
// Invariants: `shared` counts the bytes that the key has in common with the key of the entry before it in the block. Decoding believes nothing: every
// length is checked against the end it was given, every number against 2^53.

import { compareBytes } from './compare';

export const DESCRIPTOR_BYTES: u32 = 64;
/** Varints of at most 3 + 3 + 4 + 8 + 8 + 8 + 5 + 8 bytes, the shape and the lease. */
export const MAX_ENTRY_HEADER: u32 = 64;
/** The longest key that a block may hold: a stored key and what the store's own rows put before it. */
export const MAX_ENTRY_KEY: u32 = 65536 + 64;
export const MAX_ENTRY_VALUE: u32 = 8 * 1024 * 1024;

const LEASE: u32 = 0x80;
const EXPIRES: u32 = 0x40;
const FLAG_MASK: u32 = 0x3f;
const MAX_SAFE: u64 = (1 << 53) - 1;

export function keyOf(descriptor: u32): u32 {
  return load<u32>(descriptor);
}
export function keyLengthOf(descriptor: u32): u32 {
  return load<u32>(descriptor, 4);
}
export function valueOf(descriptor: u32): u32 {
  return load<u32>(descriptor, 8);
}
export function valueLengthOf(descriptor: u32): u32 {
  return load<u32>(descriptor, 12);
}
export function modRevisionOf(descriptor: u32): f64 {
  return load<f64>(descriptor, 16);
}
export function flagsOf(descriptor: u32): u32 {
  return load<u32>(descriptor, 60);
}

/** Record order (key ascending, modRevision descending) of two descriptors. */
export function compareDescriptors(a: u32, b: u32): i32 {
  const order = compareBytes(load<u32>(a), load<u32>(a, 4), load<u32>(b), load<u32>(b, 4));
  if (order != 0) return order;
  const x = modRevisionOf(a);
  const y = modRevisionOf(b);
  return x > y ? -1 : x < y ? 1 : 0;
}

/** Copies eight bytes at a time: up to seven bytes behind `length` are read and overwritten. Faster than memory.copy for keys. */
export function copyShort(to: u32, from: u32, length: u32): void {
  if (length > 64) {
    memory.copy(to, from, length);
    return;
  }
  for (let at: u32 = 0; at < length; at += 8) store<u64>(to + at, load<u64>(from + at));
}

/** How many bytes two strings have in common at their start. */
export function sharedPrefix(a: u32, aLength: u32, b: u32, bLength: u32): u32 {
  const most = aLength < bLength ? aLength : bLength;
  let at: u32 = 0;
  for (; at + 8 <= most; at += 8) {
    const difference = load<u64>(a + at) ^ load<u64>(b + at);
    if (difference != 0) return at + ((ctz<u64>(difference) >> 3) as u32);
  }
  while (at < most && load<u8>(a + at) == load<u8>(b + at)) at++;
  return at;
}

export function varintBytes(value: u64): u32 {
  return value == 0 ? 1 : (((63 - clz<u64>(value)) / 7) as u32) + 1;
}

export function writeVarint(at: u32, value: u64): u32 {
  while (value >= 0x80) {
    store<u8>(at++, (value as u8) | 0x80);
    value >>= 7;
  }
  store<u8>(at++, value as u8);
  return at;
}

/** The bytes that an entry takes in a block. */
export function entryBytes(descriptor: u32, shared: u32): u32 {
  const unshared = keyLengthOf(descriptor) - shared;
  const valueLength = valueLengthOf(descriptor);
  let bytes = varintBytes(shared as u64) + varintBytes(unshared as u64) + varintBytes(valueLength as u64) + 1;
  bytes += varintBytes(modRevisionOf(descriptor) as u64) + varintBytes(load<f64>(descriptor, 24) as u64);
  bytes += varintBytes(load<f64>(descriptor, 32) as u64) + varintBytes(load<u32>(descriptor, 56) as u64);
  if (load<i64>(descriptor, 40) != 0) bytes += 8;
  const expiresAtMs = load<f64>(descriptor, 48);
  if (expiresAtMs != 0) bytes += varintBytes(expiresAtMs as u64);
  return bytes + unshared + valueLength;
}

/** Writes an entry, gives where it ends. REQUIRES: entryBytes and seven bytes more are free at `at`. */
export function writeEntry(at: u32, descriptor: u32, shared: u32): u32 {
  const unshared = keyLengthOf(descriptor) - shared;
  const valueLength = valueLengthOf(descriptor);
  const lease = load<i64>(descriptor, 40);
  const expiresAtMs = load<f64>(descriptor, 48);
  at = writeVarint(at, shared as u64);
  at = writeVarint(at, unshared as u64);
  at = writeVarint(at, valueLength as u64);
  let shape = flagsOf(descriptor) & FLAG_MASK;
  if (lease != 0) shape |= LEASE;
  if (expiresAtMs != 0) shape |= EXPIRES;
  store<u8>(at++, shape as u8);
  at = writeVarint(at, modRevisionOf(descriptor) as u64);
  at = writeVarint(at, load<f64>(descriptor, 24) as u64);
  at = writeVarint(at, load<f64>(descriptor, 32) as u64);
  at = writeVarint(at, load<u32>(descriptor, 56) as u64);
  if (lease != 0) {
    store<i64>(at, lease);
    at += 8;
  }
  if (expiresAtMs != 0) at = writeVarint(at, expiresAtMs as u64);
  copyShort(at, keyOf(descriptor) + shared, unshared);
  at += unshared;
  if (valueLength != 0) memory.copy(at, valueOf(descriptor), valueLength);
  return at + valueLength;
}

// Where the last readVarint stopped; 0 after damage. Per instance, so per thread.
let cursor: u32 = 0;

function readVarint(end: u32): u64 {
  let value: u64 = 0;
  let shift: u64 = 0;
  let at = cursor;
  if (at == 0) return 0;
  while (at < end && shift <= 49) {
    const byte = load<u8>(at++) as u64;
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) {
      cursor = value <= MAX_SAFE ? at : 0;
      return value;
    }
    shift += 7;
  }
  cursor = 0;
  return 0;
}

/** What readEntry found in front of the key suffix. Per instance. */
export let entryShared: u32 = 0;
export let entryUnshared: u32 = 0;
/** Where the key's suffix lies. */
export let entrySuffix: u32 = 0;

/**
 * Reads the entry at `at` into a descriptor, all but its key, which the caller puts together from `entryShared` bytes of the key before
 * and `entryUnshared` bytes at `entrySuffix`. Gives where the entry ends, 0 when it is malformed.
 */
export function readEntry(at: u32, end: u32, previousKeyLength: u32, descriptor: u32): u32 {
  cursor = at;
  const shared = readVarint(end);
  const unshared = readVarint(end);
  const valueLength = readVarint(end);
  if (cursor == 0 || cursor >= end) return 0;
  const shape = load<u8>(cursor++) as u32;
  const modRevision = readVarint(end);
  const createRevision = readVarint(end);
  const version = readVarint(end);
  const subRevision = readVarint(end);
  if (cursor == 0) return 0;
  let lease: i64 = 0;
  if ((shape & LEASE) != 0) {
    if (end - cursor < 8) return 0;
    lease = load<i64>(cursor);
    cursor += 8;
  }
  const expiresAtMs = (shape & EXPIRES) != 0 ? readVarint(end) : 0;
  if (cursor == 0) return 0;
  const keyLength = shared + unshared;
  if (shared > (previousKeyLength as u64) || keyLength == 0 || keyLength > (MAX_ENTRY_KEY as u64)) return 0;
  if (valueLength > (MAX_ENTRY_VALUE as u64) || subRevision > 0xffffffff) return 0;
  if (unshared + valueLength > ((end - cursor) as u64)) return 0;
  entryShared = shared as u32;
  entryUnshared = unshared as u32;
  entrySuffix = cursor;
  const value = cursor + (unshared as u32);
  store<u32>(descriptor, keyLength as u32, 4);
  store<u32>(descriptor, value, 8);
  store<u32>(descriptor, valueLength as u32, 12);
  store<f64>(descriptor, modRevision as f64, 16);
  store<f64>(descriptor, createRevision as f64, 24);
  store<f64>(descriptor, version as f64, 32);
  store<i64>(descriptor, lease, 40);
  store<f64>(descriptor, expiresAtMs as f64, 48);
  store<u32>(descriptor, subRevision as u32, 56);
  store<u32>(descriptor, shape & FLAG_MASK, 60);
  return value + (valueLength as u32);
}
