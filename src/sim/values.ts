/**
 * Values of a workload: each is unique, tells who wrote it, and shows damage.
 *
 *     value := token ':' filler            token := client '.' number '#' bytes
 *
 * Histories keep the token only. The filler follows from the token, so a value that comes back cut, mixed or changed is no value at all.
 */

const decoder = new TextDecoder('utf-8', { fatal: false });
const encoder = new TextEncoder();

/** A token for a value of `sizeBytes` (or as long as the token is, if that is more). */
export function valueToken(client: string, number: number, sizeBytes: number): string {
  return `${client}.${number}#${sizeBytes}`;
}

/** The bytes of a value. */
export function valueBytes(token: string): Uint8Array {
  return encoder.encode(valueText(token));
}

/** The token of a value that was read; for one that no token has, a text that no token is. */
export function tokenOf(bytes: Uint8Array): string {
  const text = decoder.decode(bytes);
  const token = text.slice(0, Math.max(0, text.indexOf(':')));
  return token !== '' && valueText(token) === text
    ? token
    : `damaged value of ${bytes.length} bytes: ${text.slice(0, 40)}`;
}

function valueText(token: string): string {
  const size = Number(token.slice(token.indexOf('#') + 1));
  const start = `${token}:`;
  if (!Number.isSafeInteger(size) || size <= start.length) return start;
  // Filler that compresses as badly as real values do, and differs between tokens.
  let hash = 0x811c9dc5;
  for (let at = 0; at < token.length; at++) hash = Math.imul(hash ^ token.charCodeAt(at), 0x01000193);
  const parts = [start];
  for (let length = start.length; length < size; length += 8) {
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) + length;
    parts.push((hash >>> 0).toString(36).padStart(8, '.'));
  }
  return parts.join('').slice(0, size);
}
