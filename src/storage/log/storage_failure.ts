/** What the log tells its callers when the disk fails. */
import { KvError } from '../../errors.ts';
import { DiskError } from '../disk.ts';

/** STORAGE_FAILED for anything that is not a KvError yet; the disk's own words stay in the message and as the cause. */
export function storageFailed(error: unknown): KvError {
  if (error instanceof KvError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const details = error instanceof DiskError ? { file: error.path, diskError: error.code } : {};
  return new KvError('STORAGE_FAILED', `the log failed: ${message}`, { cause: error, details });
}

export function isNoSpace(error: unknown): boolean {
  return error instanceof DiskError && error.code === 'NO_SPACE';
}

/** For calls that may be tried again (open, reset): a full disk is NO_SPACE, all else STORAGE_FAILED. */
export function asOpenError(error: unknown): KvError {
  if (isNoSpace(error)) {
    const message = error instanceof Error ? error.message : 'no space left';
    return new KvError('NO_SPACE', `no room for the log: ${message}`, { cause: error });
  }
  return storageFailed(error);
}
