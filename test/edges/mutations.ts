/**
 * How the tests at the edges spoil valid bytes: bit flips, wrong lengths, cuts, splices, and whatever else a broken disk, an old version or an enemy may
 * send. A spoiling is data (a list of steps), so that fast-check can replay and shrink it.
 *
 * Invariants: the same bytes and steps give the same result; the input is never changed; what comes out is at most MAX_SPOILT_BYTES long, and at least one
 * step long of work away from the input (a step may still happen to change nothing).
 */
import * as fc from 'fast-check';

/** Nothing is made longer than this. */
export const MAX_SPOILT_BYTES = 256 * 1024;

const KINDS = [
  'flipBit',
  'setByte',
  'stepByte',
  'truncate',
  'extend',
  'splice',
  'duplicate',
  'remove',
  'swap',
  'overlongVarint',
  'endlessVarint',
  'hugeVarint',
  'hugeU32',
  'hugeU64',
  'hugeDouble',
  'zeros',
  'garbage',
] as const;
export type StepKind = (typeof KINDS)[number];

/** `at` and `to` are places (taken modulo the length), `amount` a length or a choice; `fill` what is written. */
export interface Step {
  readonly kind: StepKind;
  readonly at: number;
  readonly to: number;
  readonly amount: number;
  readonly fill: number;
}

/** Bytes that mean something to somebody: ends of ranges, high bits, small counts. */
const TELLING_BYTES = [0, 1, 2, 3, 0x7f, 0x80, 0x81, 0xfe, 0xff];
const HUGE_U32 = [0xffff_ffff, 0x8000_0000, 0x7fff_ffff, 0x4000_0000, 0x1000_0000, 0x00ff_ffff, 0xffff_fffc];
const HUGE_U64 = [
  0xffff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0x7fff_ffff_ffff_ffffn,
  0x0020_0000_0000_0000n,
  0x001f_ffff_ffff_ffffn,
  0x0000_0001_0000_0000n,
];
const HUGE_VARINTS = [
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
  [0xff, 0xff, 0xff, 0xff, 0x0f],
  [0xff, 0xff, 0xff, 0xff, 0x07],
  [0x80, 0x80, 0x80, 0x80, 0x08],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
];
const HUGE_DOUBLES = [Number.NaN, Number.POSITIVE_INFINITY, -1, -0, 0.5, 2 ** 53, 1e300, 2 ** 31, 2 ** 32];

const place = fc.oneof(
  { weight: 3, arbitrary: fc.nat(24) },
  { weight: 3, arbitrary: fc.nat(400) },
  { weight: 2, arbitrary: fc.nat(1 << 20) },
  // From the end: footers, checksums, last records.
  { weight: 2, arbitrary: fc.integer({ min: -80, max: -1 }) },
);

export const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom(...KINDS),
  at: place,
  to: place,
  amount: fc.oneof(fc.nat(12), fc.nat(300)),
  fill: fc.nat(0xffff_ffff),
});

/** Mostly one or two steps: bytes that are nearly valid get furthest into a decoder. */
export const steps: fc.Arbitrary<Step[]> = fc.oneof(
  { weight: 5, arbitrary: fc.array(step, { minLength: 1, maxLength: 1 }) },
  { weight: 3, arbitrary: fc.array(step, { minLength: 2, maxLength: 3 }) },
  { weight: 1, arbitrary: fc.array(step, { minLength: 4, maxLength: 12 }) },
);

/** Bytes that nobody wrote. */
export const noise: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.uint8Array({ maxLength: 80 }),
  fc.uint8Array({ maxLength: 2_000 }),
  fc.tuple(fc.nat(255), fc.nat(3_000)).map(([byte, length]) => new Uint8Array(length).fill(byte)),
);

/** `bytes` after the steps; `other` is a second valid input, to be spliced in. */
export function spoilt(bytes: Uint8Array, other: Uint8Array, how: readonly Step[]): Uint8Array {
  let now = new Uint8Array(bytes);
  for (const one of how) now = applied(now, other, one);
  return now;
}

/** Offset of a place within [0, length); 0 of nothing. */
function offsetOf(at: number, length: number): number {
  if (length === 0) return 0;
  return at < 0 ? Math.max(0, length + at) : at % length;
}

function joined(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  const all = new Uint8Array(Math.min(size, MAX_SPOILT_BYTES));
  let at = 0;
  for (const part of parts) {
    const piece = part.subarray(0, all.length - at);
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

/** Deterministic bytes from a number. */
function bytesFrom(seed: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed | 1;
  for (let i = 0; i < length; i++) {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b_3c6d) + 0x9e37_79b9;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

function choice<T>(list: readonly T[], number: number): T {
  return list[number % list.length]!;
}

function littleEndian(write: (view: DataView) => void, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  write(new DataView(bytes.buffer));
  return bytes;
}

/** Writes over what stands at `at`, as far as there is room. */
function overwritten(bytes: Uint8Array<ArrayBuffer>, at: number, by: Uint8Array): Uint8Array<ArrayBuffer> {
  bytes.set(by.subarray(0, Math.max(0, bytes.length - at)), at);
  return bytes;
}

function applied(bytes: Uint8Array<ArrayBuffer>, other: Uint8Array, one: Step): Uint8Array<ArrayBuffer> {
  const { kind, amount, fill } = one;
  const at = offsetOf(one.at, bytes.length);
  const before = bytes.subarray(0, at);
  const length = Math.min(amount + 1, bytes.length - at);
  const range = bytes.subarray(at, at + length);
  switch (kind) {
    case 'flipBit':
      if (bytes.length > 0) bytes[at]! ^= 1 << (fill & 7);
      return bytes;
    case 'setByte':
      if (bytes.length > 0) bytes[at] = amount % 2 === 0 ? choice(TELLING_BYTES, fill) : fill & 255;
      return bytes;
    case 'stepByte':
      // A length that is a little too small or too large.
      if (bytes.length > 0) bytes[at] = bytes[at]! + choice([1, -1, 2, -2, 8, -8, 64], fill);
      return bytes;
    case 'truncate':
      return joined(before);
    case 'extend':
      return joined(bytes, amount % 3 === 0 ? new Uint8Array(amount) : bytesFrom(fill, amount));
    case 'splice':
      return joined(before, other.subarray(offsetOf(one.to, other.length)));
    case 'duplicate':
      return joined(bytes.subarray(0, at + length), range, bytes.subarray(at + length));
    case 'remove':
      return joined(before, bytes.subarray(at + length));
    case 'swap': {
      const to = offsetOf(one.to, bytes.length);
      const size = Math.min(length, Math.abs(to - at), bytes.length - to);
      const copy = bytes.slice(at, at + size);
      bytes.copyWithin(at, to, to + size);
      bytes.set(copy, to);
      return bytes;
    }
    case 'overlongVarint':
      return joined(
        before,
        Uint8Array.of((bytes[at] ?? 0) | 0x80, ...(fill % 2 === 0 ? [0] : [0x80, 0])),
        bytes.subarray(at + 1),
      );
    case 'endlessVarint':
      return joined(before, new Uint8Array(amount).fill(0x80), bytes.subarray(at));
    case 'hugeVarint':
      return joined(
        before,
        Uint8Array.from(choice(HUGE_VARINTS, fill)),
        bytes.subarray(at + (amount % 2 === 0 ? 1 : 0)),
      );
    case 'hugeU32': {
      const value = choice(HUGE_U32, fill);
      return overwritten(
        bytes,
        at,
        littleEndian((view) => view.setUint32(0, value, true), 4),
      );
    }
    case 'hugeU64': {
      const value = choice(HUGE_U64, fill);
      return overwritten(
        bytes,
        at,
        littleEndian((view) => view.setBigUint64(0, value, true), 8),
      );
    }
    case 'hugeDouble': {
      const value = choice(HUGE_DOUBLES, fill);
      return overwritten(
        bytes,
        at,
        littleEndian((view) => view.setFloat64(0, value, true), 8),
      );
    }
    case 'zeros':
      range.fill(0);
      return bytes;
    case 'garbage':
      range.set(bytesFrom(fill, range.length));
      return bytes;
  }
}
