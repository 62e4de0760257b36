/** Random writes as a state machine would make them: transactions of one revision over several keys, in shapes that are hard on blocks, tables and merges. */
import { FLAG_TOMBSTONE, type StoredRecord } from '../../../src/storage/record.ts';
import { bytesOf, type RecordModel, tombstone } from '../record_model.ts';

export const WRITE_SHAPES = [
  'few',
  'mixed',
  'prefixed',
  'hot',
  'fresh',
  'deletes',
  'large',
  'long keys',
  'leases',
  'gaps',
  'huge',
] as const;
export type WriteShape = (typeof WRITE_SHAPES)[number];

const KIB = 1024;
const MIB = 1024 * KIB;
const LAST_REVISION = Number.MAX_SAFE_INTEGER;

const whole = (random: () => number, below: number): number => Math.floor(random() * below);

/** Keys come from small sets, so that most of them are met again. */
function keyOf(shape: WriteShape, random: () => number, model: RecordModel, i: number): Uint8Array {
  switch (shape) {
    case 'hot':
      return bytesOf(`\u0001hot/${whole(random, 3)}`);
    case 'prefixed': {
      // Prefixes of each other, and long shared ones.
      const depth = 1 + whole(random, 12);
      const parts = Array.from({ length: depth }, (_, level) => `part-${(level * 7) % 5}-`.repeat(2));
      return bytesOf(`\u0001${parts.join('/')}${whole(random, 4) === 0 ? '' : `#${whole(random, 9)}`}`);
    }
    case 'fresh':
      return bytesOf(`\u0001new/${String(model.revision).padStart(12, '0')}/${i}`);
    case 'long keys': {
      const key = new Uint8Array(1 + whole(random, 6 * KIB)).fill(0x61 + whole(random, 2));
      key[0] = 1;
      if (random() < 0.5) key[key.length - 1] = 0xff;
      return key;
    }
    case 'huge':
      return random() < 0.5 ? new Uint8Array(64 * KIB + 1).fill(1) : bytesOf('\u0001huge');
    default:
  }
  const kind = whole(random, 12);
  if (kind === 0) return Uint8Array.of(1, 0, whole(random, 3));
  if (kind === 1) return Uint8Array.of(1, 255, 255, 253 + whole(random, 3));
  if (kind === 2) return Uint8Array.of(whole(random, 2));
  return bytesOf(`\u0001key-${String(whole(random, 120)).padStart(4, '0')}`);
}

function valueBytes(shape: WriteShape, random: () => number): number {
  if (shape === 'huge') return random() < 0.5 ? 3 * MIB + whole(random, 1000) : 0;
  if (shape === 'large') return random() < 0.2 ? whole(random, 150 * KIB) : whole(random, 9 * KIB);
  const kind = random();
  if (kind < 0.15) return 0;
  return kind < 0.9 ? whole(random, 120) : whole(random, 5 * KIB);
}

/** Half of the values compress well, half do not at all. */
export function randomValue(random: () => number, sizeBytes: number): Uint8Array {
  if (random() < 0.5) return new Uint8Array(sizeBytes).fill(whole(random, 256));
  const words = new Uint32Array((sizeBytes + 3) >>> 2);
  let state = whole(random, 2 ** 31) | 1;
  for (let i = 0; i < words.length; i++) {
    // xorshift32
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  const value = new Uint8Array(words.buffer, 0, sizeBytes);
  return value;
}

function putOf(
  shape: WriteShape,
  random: () => number,
  model: RecordModel,
  key: Uint8Array,
  at: { modRevision: number; subRevision: number },
): StoredRecord {
  const previous = model.get(key, LAST_REVISION);
  const alive = previous !== undefined && (previous.flags & FLAG_TOMBSTONE) === 0;
  if (alive && random() < (shape === 'deletes' ? 0.8 : 0.15))
    return { ...tombstone(key, at.modRevision), subRevision: at.subRevision };
  const special = shape === 'leases' ? 0.7 : 0.1;
  return {
    key,
    value: randomValue(random, valueBytes(shape, random)),
    ...at,
    createRevision: alive ? previous.createRevision : at.modRevision,
    version: alive ? previous.version + 1 : 1,
    flags: 0,
    lease: random() < special ? BigInt(whole(random, 2 ** 31)) * 4_294_967_291n : 0n,
    expiresAtMs: random() < special ? whole(random, 2 ** 43) : 0,
  };
}

/** Writes transactions of together about `count` records to the model and gives the records, in the order in which they were written. */
export function writeRandom(
  model: RecordModel,
  random: () => number,
  count: number,
  shape: WriteShape,
): StoredRecord[] {
  const written: StoredRecord[] = [];
  while (written.length < count) {
    const modRevision = model.revision + (shape === 'gaps' ? 1 + whole(random, 2 ** 35) : 1);
    const keys = new Set<string>();
    const operations = random() < 0.7 ? 1 : 1 + whole(random, 5);
    for (let i = 0; i < operations; i++) {
      const key = keyOf(shape, random, model, i);
      const name = Buffer.from(key).toString('latin1');
      if (keys.has(name)) continue; // a transaction writes a key once
      keys.add(name);
      const record = putOf(shape, random, model, key, { modRevision, subRevision: i });
      model.add(record);
      written.push(record);
    }
  }
  return written;
}

/** A key that is there, or one close to it, or any. */
export function keyNear(model: RecordModel, random: () => number): Uint8Array {
  const { records } = model;
  if (records.length === 0 || random() < 0.1) return Uint8Array.of(1, whole(random, 256));
  const { key } = records[whole(random, records.length)]!;
  const kind = random();
  if (kind < 0.7 || key.length === 0) return key;
  if (kind < 0.8) return key.slice(0, whole(random, key.length));
  const longer = new Uint8Array(key.length + (kind < 0.9 ? 1 : 0));
  longer.set(key);
  if (kind >= 0.9) longer[key.length - 1] = (key[key.length - 1]! + 255) & 255;
  return longer;
}
