/** The offline check of a log: finds every damaged place without changing anything. */

import { KvError } from '../../errors.ts';
import type { Disk } from '../disk.ts';
import { HEADER_BYTES } from './format.ts';
import { RecordReader } from './record_reader.ts';
import { closeAll, openSegmentFiles, readLog, type SegmentFile } from './recovery.ts';

export interface LogDamage {
  readonly file: string;
  readonly offset: number;
  readonly problem: string;
  /** 'tornTail': the unacknowledged end of an unfinished write, which opening the log cuts. 'damage': opening the log refuses. */
  readonly severity: 'damage' | 'tornTail';
}

/**
 * Every damage in the log at `path`, in order; `onStart` hears of the index before the first entry, where there is a readable log. REQUIRES: nobody has the log open.
 * Throws DiskError when the disk cannot be read.
 */
export async function verifyLog(
  disk: Disk,
  path: string,
  onStart: (startIndex: number) => void = () => undefined,
): Promise<LogDamage[]> {
  const files = await openSegmentFiles(disk, path, 'read');
  try {
    let torn: { path: string; offset: number; problem: string } | undefined;
    const found: LogDamage[] = [];
    try {
      const image = await readLog(files);
      torn = image.torn;
      if (image.files.length > 0) onStart(image.replay.startIndex);
    } catch (error) {
      if (!(error instanceof KvError)) throw error;
      found.push(damageOf(error));
    }
    if (torn !== undefined) {
      return [{ file: torn.path, offset: torn.offset, problem: torn.problem, severity: 'tornTail' }];
    }
    // Readable as a whole means that no place in it is damaged; else every segment is gone through by itself.
    if (found.length > 0) for (const file of files) await checkSegment(file, found);
    return found.sort((a, b) => (a.file === b.file ? a.offset - b.offset : a.file < b.file ? -1 : 1));
  } finally {
    await closeAll(files);
  }
}

function damageOf(error: KvError): LogDamage {
  const { file, offset, problem } = error.details;
  return {
    file: String(file ?? ''),
    offset: typeof offset === 'number' ? offset : 0,
    problem: typeof problem === 'string' ? problem : error.message,
    severity: 'damage',
  };
}

async function checkSegment(segment: SegmentFile, found: LogDamage[]): Promise<void> {
  const { path, file, name, header } = segment;
  const report = (offset: number, problem: string): void => {
    if (!found.some((damage) => damage.file === path && damage.offset === offset)) {
      found.push({ file: path, offset, problem, severity: 'damage' });
    }
  };
  const reader = new RecordReader(file, name.seed);
  if (header === 'damaged') report(0, 'damaged segment header');
  else if (header === 'blank' && (await reader.nextValid(HEADER_BYTES, -1)) >= 0)
    report(0, 'blank segment header');
  let offset = HEADER_BYTES;
  for (;;) {
    const record = reader.peek(offset) ?? (await reader.at(offset));
    if (record.type === 'record') {
      offset += record.sizeBytes;
      continue;
    }
    const next = await reader.nextValid(offset, -1);
    if (next >= 0) report(offset, record.type === 'bad' ? record.problem : 'records missing');
    else if (record.type === 'bad') report(offset, record.problem);
    if (next < 0) return;
    offset = next;
  }
}
