/**
 * A second copy of the applied state, outside of the tree: who the members are at the log's beginning, should the tree's manifest be lost (lost_tree.ts).
 *
 *     applied.state := "KVAPPLD\n"  version:u16 (1)  zero:u16  stateLength:u32  index:u64  term:u64  state  crc:u32
 *     crc = CRC-32 of all before it. Integers little-endian; a u64 is at most 2^53 - 1. `state`: node_state.ts.
 *
 * Invariants: before entries are cut from the log, this file holds a state that was applied at or after the cut; replaced whole, so that after a crash the old or
 * the new one is there.
 */
import { KvError } from '../errors.ts';
import { crc32 } from '../storage/crc32.ts';
import { type Disk, DiskError } from '../storage/disk.ts';
import type { AppliedState } from '../storage/record.ts';

const NAME = 'applied.state';
const MAGIC = new TextEncoder().encode('KVAPPLD\n');
const VERSION = 1;
const HEADER_BYTES = 32;
const CRC_BYTES = 4;

export class KeptState {
  readonly #disk: Disk;
  readonly #path: string;
  /** 0: none is known of. */
  #index = 0;

  /** @param path the data directory */
  constructor(disk: Disk, path: string) {
    this.#disk = disk;
    this.#path = path;
  }

  /** Keeps `applied`, unless what is kept reaches `cutIndex` already. @throws DiskError */
  async cover(cutIndex: number, applied: AppliedState): Promise<void> {
    if (this.#index >= cutIndex) return;
    const temporary = `${this.#path}/${NAME}.tmp`;
    const bytes = encode(applied);
    const { index } = applied;
    const file = await this.#disk.open(temporary, 'open');
    try {
      if (file.sizeBytes() > 0) await file.truncate(0);
      await file.write([bytes], 0);
      await file.sync();
    } finally {
      await file.close();
    }
    await this.#disk.rename(temporary, `${this.#path}/${NAME}`);
    await this.#disk.syncDirectory(this.#path);
    this.#index = index;
  }
}

/** What was kept; undefined when there is nothing, or nothing that can be believed. @throws KvError UNSUPPORTED_VERSION; DiskError */
export async function readKeptState(disk: Disk, path: string): Promise<AppliedState | undefined> {
  let bytes: Uint8Array;
  try {
    bytes = await disk.readFile(`${path}/${NAME}`);
  } catch (error) {
    // It is a second copy: without it, less can be mended.
    if (error instanceof DiskError && (error.code === 'NOT_FOUND' || error.code === 'IO')) return undefined;
    throw error;
  }
  return decode(bytes);
}

function encode({ index, term, state }: AppliedState): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + state.length + CRC_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC);
  view.setUint16(8, VERSION, true);
  view.setUint32(12, state.length, true);
  view.setBigUint64(16, BigInt(index), true);
  view.setBigUint64(24, BigInt(term), true);
  bytes.set(state, HEADER_BYTES);
  const end = HEADER_BYTES + state.length;
  view.setUint32(end, crc32(bytes.subarray(0, end)), true);
  return bytes;
}

function decode(bytes: Uint8Array): AppliedState | undefined {
  const end = bytes.length - CRC_BYTES;
  if (end < HEADER_BYTES || MAGIC.some((byte, at) => bytes[at] !== byte)) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint32(end, true) !== crc32(bytes.subarray(0, end))) return undefined;
  const version = view.getUint16(8, true);
  if (version !== VERSION)
    throw new KvError('UNSUPPORTED_VERSION', `${NAME} has version ${version}, this program reads ${VERSION}`);
  const index = Number(view.getBigUint64(16, true));
  const term = Number(view.getBigUint64(24, true));
  const isSound =
    view.getUint32(12, true) === end - HEADER_BYTES &&
    Number.isSafeInteger(index) &&
    Number.isSafeInteger(term);
  return isSound ? { index, term, state: new Uint8Array(bytes.subarray(HEADER_BYTES, end)) } : undefined;
}
