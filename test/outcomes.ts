/** How a call ends, as tests ask for it. Whatever is no KvError goes on to the test: it is a bug. */
import { KvError } from '../src/errors.ts';

/** The code that a call fails with; 'fine': it does not. */
export async function codeOf(work: Promise<unknown> | (() => unknown)): Promise<string> {
  try {
    await (typeof work === 'function' ? work() : work);
    return 'fine';
  } catch (error) {
    if (!(error instanceof KvError)) throw error;
    return error.code;
  }
}

/** The error of a call that has to fail. */
export async function failureOf(work: Promise<unknown>): Promise<KvError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof KvError) return error;
    throw error;
  }
  throw new Error('it did not fail');
}
