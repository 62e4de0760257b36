/**
 * Values of a workload: each is unique, tells who wrote it, and shows damage.
 *
 *     value := token ':' filler            token := client '.' number '#' bytes
 *
 * Histories keep the token only. The filler follows from the token, so a value that comes back cut, mixed or changed is no value at all.
 */

const decoder = new TextDecoder('utf-8', { fatal: false });
const encoder = new TextEncoder();
const { compare } = Buffer;
const COLON = 0x3a;
/** Longer than any token. */
const MAX_TOKEN_BYTES = 200;
/** Fillers begin at this many places. */
const STARTS = 64 * 1024;
const MAX_FILLER_BYTES = 256 * 1024;
/** Text that compresses as badly as real values do: a filler is a stretch of it, so that making and comparing values costs next to nothing. */
const FILLER = fillerText(STARTS + MAX_FILLER_BYTES);

/** A token for a value of `sizeBytes` (or as long as the token is, if that is more). */
export function valueToken(client: string, number: number, sizeBytes: number): string {
  return `${client}.${number}#${sizeBytes}`;
}

/** The bytes of a value. */
export function valueBytes(token: string): Uint8Array {
  const head = encoder.encode(`${token}:`);
  const filler = fillerOf(token, head.length);
  const bytes = new Uint8Array(head.length + filler.length);
  bytes.set(head);
  bytes.set(filler, head.length);
  return bytes;
}

/** The token of a value that was read; for one that no token has, a text that no token is. */
export function tokenOf(bytes: Uint8Array): string {
  const colon = bytes.subarray(0, MAX_TOKEN_BYTES).indexOf(COLON);
  if (colon > 0) {
    const token = decoder.decode(bytes.subarray(0, colon));
    if (compare(bytes.subarray(colon + 1), fillerOf(token, colon + 1)) === 0) return token;
  }
  return `damaged value of ${bytes.length} bytes: ${decoder.decode(bytes.subarray(0, 40))}`;
}

/** What stands after the colon, which is at `headBytes - 1`. */
function fillerOf(token: string, headBytes: number): Uint8Array {
  const size = Number(token.slice(token.indexOf('#') + 1));
  if (!Number.isSafeInteger(size) || size <= headBytes) return FILLER.subarray(0, 0);
  let hash = 0x811c9dc5;
  for (let at = 0; at < token.length; at++) hash = Math.imul(hash ^ token.charCodeAt(at), 0x01000193);
  const start = (hash ^ (hash >>> 15)) & (STARTS - 1);
  return FILLER.subarray(start, start + Math.min(size - headBytes, MAX_FILLER_BYTES));
}

function fillerText(sizeBytes: number): Uint8Array {
  const text = new Uint8Array(sizeBytes);
  let hash = 0x2545f491;
  for (let at = 0; at < sizeBytes; at++) {
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) + at;
    // 64 characters from '0' on, without the colon.
    const digit = (hash >>> 8) & 63;
    text[at] = digit < 10 ? 0x30 + digit : 0x31 + digit;
  }
  return text;
}
