/**
 * The bytes of a snapshot file (docs/formats/snapshot.md). All integers little-endian.
 *
 *     file    := header block* footer
 *     header  := magic "KVSNAP\r\n"  version:u16 (1)  reserved:u16 (0)  stateLength:u32  index:u64  term:u64  state  crc:u32
 *     block   := payloadLength:u32 (> 0)  recordCount:u32 (> 0)  crc:u32  payload
 *     footer  := 0:u32  recordCount:u64  sizeBytes:u64  blocksCrc:u32  crc:u32
 *
 * A header's and a footer's `crc` covers all of it that comes before; a block's covers its payload and the two fields before the crc. `blocksCrc` is
 * the CRC-32 over the four-byte crcs of all blocks, in order: no block can be missing, doubled or moved. `sizeBytes` is the whole file's length.
 * A payload is packed records (record_codec.ts) in record order, which goes on from block to block.
 */
import { crc32 } from 'node:zlib';
import { KvError } from '../../errors.ts';
import type { AppliedState } from '../record.ts';
import { MAX_RECORD_BYTES } from './record_codec.ts';

const MAGIC = Uint8Array.from('KVSNAP\r\n', (character) => character.charCodeAt(0));
const VERSION = 1;

export const HEADER_FIXED_BYTES = 32;
export const CRC_BYTES = 4;
export const BLOCK_HEADER_BYTES = 12;
export const FOOTER_BYTES = 28;
/** A block is closed when its payload has reached this. */
export const BLOCK_TARGET_BYTES = 64 * 1024;
export const MAX_PAYLOAD_BYTES = BLOCK_TARGET_BYTES + MAX_RECORD_BYTES;
export const MAX_STATE_BYTES = 1024 * 1024 * 1024;

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 0x100000000, true);
  view.setUint32(at + 4, Math.floor(value / 0x100000000), true);
}

/** A number above MAX_SAFE_INTEGER is given as undefined. */
function getU64(view: DataView, at: number): number | undefined {
  const value = view.getUint32(at, true) + view.getUint32(at + 4, true) * 0x100000000;
  return Number.isSafeInteger(value) ? value : undefined;
}

/** @throws KvError INVALID_ARGUMENT when the state is larger than MAX_STATE_BYTES. */
export function encodeHeader(applied: AppliedState): Uint8Array {
  const { state } = applied;
  if (state.length > MAX_STATE_BYTES)
    throw new KvError(
      'INVALID_ARGUMENT',
      `the state of ${state.length} B is larger than a snapshot may hold`,
    );
  const bytes = new Uint8Array(HEADER_FIXED_BYTES + state.length + CRC_BYTES);
  const view = viewOf(bytes);
  bytes.set(MAGIC);
  view.setUint16(8, VERSION, true);
  view.setUint32(12, state.length, true);
  setU64(view, 16, applied.index);
  setU64(view, 24, applied.term);
  bytes.set(state, HEADER_FIXED_BYTES);
  const end = HEADER_FIXED_BYTES + state.length;
  view.setUint32(end, crc32(bytes.subarray(0, end)), true);
  return bytes;
}

/** What went wrong, in words, or what was read. */
export type Decoded<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problem: string };

function bad(problem: string): { ok: false; problem: string } {
  return { ok: false, problem };
}

/** The state's length from the fixed part of a header. */
export function decodeStateLength(fixed: Uint8Array, fileBytes: number): Decoded<number> {
  if (fixed.length < HEADER_FIXED_BYTES) return bad('the header is cut off');
  for (let i = 0; i < MAGIC.length; i++) if (fixed[i] !== MAGIC[i]) return bad('this is not a snapshot file');
  const view = viewOf(fixed);
  const version = view.getUint16(8, true);
  if (version !== VERSION) return bad(`format version ${version} is unknown (known: ${VERSION})`);
  if (view.getUint16(10, true) !== 0) return bad('a reserved field is not zero');
  const length = view.getUint32(12, true);
  if (length > MAX_STATE_BYTES || HEADER_FIXED_BYTES + length + CRC_BYTES + FOOTER_BYTES > fileBytes)
    return bad('the header names more bytes than the file has');
  return { ok: true, value: length };
}

/** A whole header, as long as `decodeStateLength` told. */
export function decodeHeader(bytes: Uint8Array): Decoded<AppliedState> {
  const view = viewOf(bytes);
  const end = bytes.length - CRC_BYTES;
  if (crc32(bytes.subarray(0, end)) !== view.getUint32(end, true))
    return bad('the checksum of the header is wrong');
  const index = getU64(view, 16);
  const term = getU64(view, 24);
  if (index === undefined || term === undefined) return bad('index or term is out of range');
  return { ok: true, value: { index, term, state: bytes.subarray(HEADER_FIXED_BYTES, end) } };
}

/** Fills in a block's header. `block` is header and payload. Gives the block's crc. */
export function sealBlock(block: Uint8Array, recordCount: number): number {
  const view = viewOf(block);
  view.setUint32(0, block.length - BLOCK_HEADER_BYTES, true);
  view.setUint32(4, recordCount, true);
  const crc = blockCrc(block);
  view.setUint32(8, crc, true);
  return crc;
}

export function blockCrc(block: Uint8Array): number {
  return crc32(block.subarray(BLOCK_HEADER_BYTES), crc32(block.subarray(0, 8)));
}

export interface BlockHeader {
  /** 0: this is the footer. */
  readonly payloadLength: number;
  readonly recordCount: number;
  readonly crc: number;
}

export function decodeBlockHeader(bytes: Uint8Array): BlockHeader {
  const view = viewOf(bytes);
  return {
    payloadLength: view.getUint32(0, true),
    recordCount: view.getUint32(4, true),
    crc: view.getUint32(8, true),
  };
}

/** The running value of `blocksCrc`. */
export function extendBlocksCrc(blocksCrc: number, crc: number): number {
  const bytes = new Uint8Array(4);
  viewOf(bytes).setUint32(0, crc, true);
  return crc32(bytes, blocksCrc);
}

export interface Footer {
  readonly recordCount: number;
  readonly sizeBytes: number;
  readonly blocksCrc: number;
}

export function encodeFooter(footer: Footer): Uint8Array {
  const bytes = new Uint8Array(FOOTER_BYTES);
  const view = viewOf(bytes);
  setU64(view, 4, footer.recordCount);
  setU64(view, 12, footer.sizeBytes);
  view.setUint32(20, footer.blocksCrc, true);
  view.setUint32(24, crc32(bytes.subarray(0, 24)), true);
  return bytes;
}

export function decodeFooter(bytes: Uint8Array): Decoded<Footer> {
  if (bytes.length < FOOTER_BYTES) return bad('the footer is cut off');
  const view = viewOf(bytes);
  if (crc32(bytes.subarray(0, 24)) !== view.getUint32(24, true))
    return bad('the checksum of the footer is wrong');
  const recordCount = getU64(view, 4);
  const sizeBytes = getU64(view, 12);
  if (view.getUint32(0, true) !== 0 || recordCount === undefined || sizeBytes === undefined)
    return bad('the footer is malformed');
  return { ok: true, value: { recordCount, sizeBytes, blocksCrc: view.getUint32(20, true) } };
}
