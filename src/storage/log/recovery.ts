/**
 * Reads a log back, and tells a torn tail, which is cut, from damage, which is refused.
 *
 * The rule: the records up to the first place P that makes no sense hold. Whatever lies behind P is looked through for a valid header or
 * record whose `synced` is above P: it proves that the bytes at P had once been durable, so that acknowledged data may be gone (CORRUPT). Without
 * such proof the rest was never acknowledged as far as anyone can tell: later sectors of unsynced writes may reach a disk before earlier ones, so
 * valid records behind P alone prove nothing.
 *
 * Repair, in this order, each step durable before the next: remove the segments behind the cut (newest first), remove those below the log's
 * start (oldest first), zero the tail, write the bytes that no `synced` covers once more and sync them. The last step is against an fsync that
 * failed in an earlier life of the process: the page cache may call such bytes clean although the disk never got them.
 */
import { KvError } from '../../errors.ts';
import type { Disk, DiskFile } from '../disk.ts';
import {
  decodeHeader,
  HEADER_BYTES,
  type HeaderProblem,
  parseSegmentName,
  type SegmentHeader,
  type SegmentName,
} from './format.ts';
import { RecordReader } from './record_reader.ts';
import { Replay } from './replay.ts';
import { Segment } from './segment.ts';

const COPY_BYTES = 1024 * 1024;

export interface SegmentFile {
  readonly name: SegmentName;
  readonly path: string;
  readonly file: DiskFile;
  readonly header: SegmentHeader | HeaderProblem;
}

/** A place that makes no sense: in file number `at`, at `offset`, which is `position` in the log. */
interface Anomaly {
  readonly at: number;
  readonly offset: number;
  readonly position: number;
  readonly problem: string;
}

export interface LogImage {
  readonly replay: Replay;
  readonly files: readonly SegmentFile[];
  /** The log proper, oldest first. Empty: there is no log yet. */
  readonly segments: Segment[];
  /** Files that a reset superseded, oldest first. */
  readonly superseded: readonly SegmentFile[];
  /** Files behind the cut, oldest first. */
  readonly beyond: readonly SegmentFile[];
  /** A torn write was found where the log ends. */
  readonly torn: { readonly path: string; readonly offset: number; readonly problem: string } | undefined;
  /** Bytes other than zero lie behind the end of the last segment. */
  readonly dirtyTail: boolean;
}

export function corrupt(path: string, offset: number, problem: string): KvError {
  return new KvError('CORRUPT', `${path} at offset ${offset}: ${problem}`, {
    details: { file: path, offset, problem },
  });
}

/** Opens every segment in the directory, by sequence, and reads the headers. */
export async function openSegmentFiles(
  disk: Disk,
  path: string,
  mode: 'read' | 'open',
): Promise<SegmentFile[]> {
  const files: SegmentFile[] = [];
  try {
    for (const entry of await disk.list(path)) {
      const name = parseSegmentName(entry);
      if (name === undefined) continue;
      const filePath = `${path}/${entry}`;
      const file = await disk.open(filePath, mode);
      const bytes = new Uint8Array(HEADER_BYTES);
      files.push({ name, path: filePath, file, header: 'blank' });
      const count = await file.read(bytes, 0);
      const header = decodeHeader(bytes.subarray(0, count), name.seed);
      files[files.length - 1] = { name, path: filePath, file, header };
    }
  } catch (error) {
    await closeAll(files);
    throw error;
  }
  return files;
}

export async function closeAll(files: readonly SegmentFile[]): Promise<void> {
  for (const { file } of files) await file.close();
}

function isHeader(header: SegmentHeader | HeaderProblem | undefined): header is SegmentHeader {
  return typeof header === 'object';
}

/** Reads the log without changing anything. Throws CORRUPT or UNSUPPORTED_VERSION; the files stay open either way. */
export async function readLog(all: readonly SegmentFile[]): Promise<LogImage> {
  for (const { header, path } of all) {
    if (header === 'version') {
      throw new KvError('UNSUPPORTED_VERSION', `${path} was written in a newer log format`, {
        details: { file: path },
      });
    }
  }
  // A reset makes its segment the first one; everything older is superseded, whatever state it is in.
  const first = Math.max(
    0,
    all.findLastIndex(({ header, name }) => isHeader(header) && header.lowestSequence === name.sequence),
  );
  const superseded = all.slice(0, first);
  const files = all.slice(first);
  const scan = new Scan(files);
  const anomaly = await scan.run();
  if (anomaly !== undefined && (await scan.proves(anomaly))) {
    throw corrupt(files[anomaly.at]!.path, anomaly.offset, anomaly.problem);
  }
  const { segments, replay } = scan;
  if (segments.length > 0) checkStart(files[0]!, replay);
  const beyond = files.slice(segments.length);
  const last = segments.at(-1);
  const dirtyTail =
    last !== undefined && !(await new RecordReader(last.file, last.seed).isBlankFrom(last.end));
  let torn: LogImage['torn'];
  if (anomaly !== undefined && !(anomaly.offset === 0 && files[anomaly.at]!.header === 'blank')) {
    torn = { path: files[anomaly.at]!.path, offset: anomaly.offset, problem: anomaly.problem };
  } else if (dirtyTail && last !== undefined) {
    torn = { path: last.file.path, offset: last.end, problem: 'bytes behind the last record' };
  }
  return { replay, files: all, segments, superseded, beyond, torn, dirtyTail };
}

function checkStart(first: SegmentFile, replay: Replay): void {
  if (first.name.sequence > replay.lowestSequence) {
    throw corrupt(first.path, 0, `segment ${replay.lowestSequence}, which comes before this one, is missing`);
  }
  if (!replay.finish()) {
    throw corrupt(first.path, 0, `entries after ${replay.startIndex} are missing`);
  }
}

class Scan {
  readonly replay = new Replay();
  readonly segments: Segment[] = [];
  readonly #files: readonly SegmentFile[];

  constructor(files: readonly SegmentFile[]) {
    this.#files = files;
  }

  /** Reads up to the first place that makes no sense. */
  async run(): Promise<Anomaly | undefined> {
    for (let at = 0; at < this.#files.length; at++) {
      const anomaly = this.#begin(at) ?? (await this.#records(at));
      if (anomaly !== undefined) return anomaly;
    }
    return undefined;
  }

  #begin(at: number): Anomaly | undefined {
    const { name, file, header } = this.#files[at]!;
    const before = this.segments.at(-1);
    const position = before?.endPosition ?? 0;
    if (!isHeader(header)) return { at, offset: 0, position, problem: `${header} segment header` };
    if (before === undefined) {
      this.replay.begin(header);
    } else {
      if (header.position !== position || name.sequence !== before.sequence + 1) {
        return {
          at: at - 1,
          offset: before.end,
          position,
          problem: 'records or a segment missing after this',
        };
      }
      const problem = this.replay.next(header);
      if (problem !== undefined) return { at, offset: 0, position, problem };
    }
    this.segments.push(new Segment(name, file, header.position, HEADER_BYTES, file.sizeBytes()));
    return undefined;
  }

  async #records(at: number): Promise<Anomaly | undefined> {
    const segment = this.segments.at(-1)!;
    const next = this.#files[at + 1]?.header;
    const expectedEnd = isHeader(next) ? next.position - segment.position : Number.POSITIVE_INFINITY;
    const reader = new RecordReader(segment.file, segment.seed);
    while (segment.end < expectedEnd) {
      const offset = segment.end;
      const position = segment.position + offset;
      const found = reader.peek(offset) ?? (await reader.at(offset));
      if (found.type === 'blank') {
        // Whether the blank is a clean end shows in the next header, or, in the last file, in the tail being all zeros.
        if (Number.isFinite(expectedEnd)) return { at, offset, position, problem: 'records missing' };
        if (await reader.isBlankFrom(offset)) return undefined;
        if (at + 1 < this.#files.length) return undefined;
        return { at, offset, position, problem: 'bytes behind the last record' };
      }
      if (found.type === 'bad') return { at, offset, position, problem: found.problem };
      const problem = this.replay.record(found.header, found.data, position);
      if (problem !== undefined) return { at, offset, position, problem };
      segment.end += found.sizeBytes;
    }
    return undefined;
  }

  /** True when something valid behind the anomaly says that its place had been durable. */
  async proves(anomaly: Anomaly): Promise<boolean> {
    const { at, offset, position } = anomaly;
    const first = this.#files[at]!;
    // A first segment without its header: only the very first one may be an unfinished creation.
    if (at === 0 && offset === 0 && first.name.sequence !== 1) return true;
    const from = offset === 0 && at > 0 ? at - 1 : at;
    for (let i = from; i < this.#files.length; i++) {
      const { name, file, header } = this.#files[i]!;
      if (isHeader(header) && header.synced > position) return true;
      const startAt = i > at ? 0 : i < at ? (this.segments.at(-1)?.end ?? 0) : offset;
      if ((await new RecordReader(file, name.seed).nextValid(startAt, position)) >= 0) return true;
    }
    return false;
  }
}

/** Carries out what `readLog` found necessary. */
export async function repairLog(disk: Disk, path: string, image: LogImage): Promise<void> {
  const { replay, segments, superseded, beyond } = image;
  const obsolete = segments.filter((segment) => segment.sequence < replay.lowestSequence);
  for (const { path: name, file } of [...beyond].reverse()) await removeFile(disk, path, name, file);
  for (const { path: name, file } of superseded) await removeFile(disk, path, name, file);
  for (const { file } of obsolete) await removeFile(disk, path, file.path, file);
  segments.splice(0, obsolete.length);
  const last = segments.at(-1);
  if (last === undefined) return;
  if (image.dirtyTail) await zeroTail(last);
  for (const segment of segments) {
    if (segment.endPosition <= replay.synced && !(segment === last && image.dirtyTail)) continue;
    await rewrite(segment, Math.max(0, replay.synced - segment.position));
    await segment.file.sync();
  }
}

/** One at a time and durable, so that a crash leaves a log without gaps. */
export async function removeFile(disk: Disk, directory: string, path: string, file: DiskFile): Promise<void> {
  await file.close();
  await disk.remove(path);
  await disk.syncDirectory(directory);
}

async function zeroTail(segment: Segment): Promise<void> {
  const zeros = new Uint8Array(COPY_BYTES);
  for (let at = segment.end; at < segment.zeroedEnd; at += COPY_BYTES) {
    await segment.file.write([zeros.subarray(0, Math.min(COPY_BYTES, segment.zeroedEnd - at))], at);
  }
  await segment.file.sync();
}

async function rewrite(segment: Segment, from: number): Promise<void> {
  const buffer = new Uint8Array(COPY_BYTES);
  for (let at = from; at < segment.end; at += COPY_BYTES) {
    const bytes = buffer.subarray(0, Math.min(COPY_BYTES, segment.end - at));
    const count = await segment.file.read(bytes, at);
    await segment.file.write([bytes.subarray(0, count)], at);
  }
}
