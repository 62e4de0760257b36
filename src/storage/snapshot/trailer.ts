/**
 * Snapshots as they leave the cluster and come back: the file of docs/formats/snapshot.md, alone or with what etcd's clients want to find behind it.
 *
 *     portable := file [padding sha256]
 *     padding  := zeros up to a multiple of 512 bytes       sha256: 32 bytes, over everything before it
 *
 * Invariants: whether a trailer is there follows from the length alone (length % 512 is 32), as clients of etcd decide it; a snapshot of that very length is taken for one without trailer when its own
 * footer ends the file; what follows a snapshot and is no trailer is damage.
 */
import { createHash } from 'node:crypto';
import { KvError } from '../../errors.ts';
import type { Disk, DiskFile } from '../disk.ts';
import {
  BLOCK_HEADER_BYTES,
  CRC_BYTES,
  decodeBlockHeader,
  decodeStateLength,
  FOOTER_BYTES,
  HEADER_FIXED_BYTES,
} from './snapshot_format.ts';
import { SnapshotReader } from './snapshot_reader.ts';

const ALIGNMENT_BYTES = 512;
const DIGEST_BYTES = 32;
const READ_BYTES = 1024 * 1024;

/** What a snapshot of so many bytes takes with its trailer. */
export function sizeWithTrailer(sizeBytes: number): number {
  return Math.ceil(sizeBytes / ALIGNMENT_BYTES) * ALIGNMENT_BYTES + DIGEST_BYTES;
}

/** The chunks of a snapshot, then its trailer. */
export async function* withTrailer(
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, void> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  for await (const chunk of chunks) {
    hash.update(chunk);
    sizeBytes += chunk.length;
    yield chunk;
  }
  const padding = new Uint8Array(sizeWithTrailer(sizeBytes) - DIGEST_BYTES - sizeBytes);
  yield Buffer.concat([padding, hash.update(padding).digest()]);
}

/** Opens a snapshot with or without trailer; the trailer is checked, the header too, blocks as they are read. @throws KvError CORRUPT, DiskError */
export async function openPortable(disk: Disk, path: string): Promise<SnapshotReader> {
  const file = await disk.open(path, 'read');
  try {
    const sizeBytes = await contentBytes(file);
    if (sizeBytes < file.sizeBytes()) await checkTrailer(file, sizeBytes);
    return await SnapshotReader.start(file, sizeBytes);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Steps from block to block to the footer. What the steps go by is checked when the blocks are read. */
async function contentBytes(file: DiskFile): Promise<number> {
  const total = file.sizeBytes();
  const stateLength = decodeStateLength(await read(file, 0, HEADER_FIXED_BYTES), total);
  if (!stateLength.ok) throw corrupt(file, 0, stateLength.problem);
  let at = HEADER_FIXED_BYTES + stateLength.value + CRC_BYTES;
  for (;;) {
    const header = await read(file, at, BLOCK_HEADER_BYTES);
    if (header.length < BLOCK_HEADER_BYTES)
      throw corrupt(file, Math.min(at, total), 'the file ends without a footer');
    const { payloadLength } = decodeBlockHeader(header);
    if (payloadLength === 0) break;
    at += BLOCK_HEADER_BYTES + payloadLength;
  }
  if (at + FOOTER_BYTES > total) throw corrupt(file, at, 'the file ends within its footer');
  return at + FOOTER_BYTES;
}

async function checkTrailer(file: DiskFile, sizeBytes: number): Promise<void> {
  const total = file.sizeBytes();
  if (total !== sizeWithTrailer(sizeBytes))
    throw corrupt(file, sizeBytes, `${total - sizeBytes} B follow the snapshot that are none of it`);
  const hash = createHash('sha256');
  const end = total - DIGEST_BYTES;
  for (let at = 0; at < end; at += READ_BYTES)
    hash.update(await read(file, at, Math.min(READ_BYTES, end - at)));
  const found = await read(file, end, DIGEST_BYTES);
  if (Buffer.compare(hash.digest(), found) !== 0) throw corrupt(file, end, 'the SHA-256 at the end is wrong');
}

async function read(file: DiskFile, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  return bytes.subarray(0, await file.read(bytes, offset));
}

function corrupt(file: DiskFile, offset: number, problem: string): KvError {
  return new KvError('CORRUPT', `${file.path}: damaged at offset ${offset}: ${problem}`, {
    details: { file: file.path, offset, problem },
  });
}
