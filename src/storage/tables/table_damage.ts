/** How damage in a table is told. */
import { KvError } from '../../errors.ts';

/** A KvError CORRUPT that names the place. */
export function corruptTable(file: string, offset: number, problem: string): KvError {
  return new KvError('CORRUPT', `${file}: damaged at offset ${offset}: ${problem}`, {
    details: { file, offset, problem },
  });
}
