/**
 * Gathered writes that answer only when every byte was taken: an operating system may take fewer bytes than it was given (a short
 * write) and no more than IOV_MAX buffers in one call. The loop is here once, for the real disk and for the one in memory.
 */

/** Buffers that one writev takes on every system that Node runs on (POSIX asks for 16; Linux, macOS and Windows' emulation take 1024). */
export const MAX_WRITE_PARTS = 1024;

/** The sum of the parts' lengths. */
export function totalBytes(parts: readonly Uint8Array[]): number {
  let total = 0;
  for (let i = 0; i < parts.length; i++) total += parts[i]!.byteLength;
  return total;
}

/** What is left of `parts` after `written` bytes, at most MAX_WRITE_PARTS of it. */
function remainingParts(parts: readonly Uint8Array[], written: number): Uint8Array[] {
  const rest: Uint8Array[] = [];
  let skip = written;
  for (const part of parts) {
    if (skip >= part.byteLength) {
      skip -= part.byteLength;
      continue;
    }
    rest.push(skip > 0 ? part.subarray(skip) : part);
    skip = 0;
    if (rest.length === MAX_WRITE_PARTS) break;
  }
  return rest;
}

function noProgress(): Error {
  return new Error('a write took no bytes and gave no error');
}

/** Calls `writev` until all of `parts` lies at `offset`. `writev` gives the number of bytes it took. */
export function writeFullySync(
  writev: (parts: readonly Uint8Array[], offset: number) => number,
  parts: readonly Uint8Array[],
  offset: number,
): void {
  const total = totalBytes(parts);
  let written = parts.length <= MAX_WRITE_PARTS && total > 0 ? writev(parts, offset) : 0;
  while (written < total) {
    const count = writev(remainingParts(parts, written), offset + written);
    if (count <= 0) throw noProgress();
    written += count;
  }
}

/** The same with a `writev` that answers later. */
export async function writeFully(
  writev: (parts: readonly Uint8Array[], offset: number) => Promise<number>,
  parts: readonly Uint8Array[],
  offset: number,
): Promise<void> {
  const total = totalBytes(parts);
  let written = 0;
  while (written < total) {
    const count = await writev(remainingParts(parts, written), offset + written);
    if (count <= 0) throw noProgress();
    written += count;
  }
}
