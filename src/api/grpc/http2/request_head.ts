/**
 * The headers of a request, checked (RFC 9113, section 8): pseudo-headers first, once and known; names in lower case; nothing that belongs to a connection of HTTP/1.1.
 * `:authority` is not looked at: some clients of etcd send one that is no host.
 */
import type { HeaderList } from './hpack/decoder.ts';

export interface RequestHead {
  readonly method: string;
  readonly path: string;
  /** Names and values in turn, pseudo-headers included. */
  readonly fields: HeaderList;
}

const FORBIDDEN: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
]);
/** Names that were found to be well formed: the same few come with every request. */
const knownNames = new Set<string>();
const MAX_KNOWN_NAMES = 256;
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const UNSAFE_VALUE = /[\0\r\n]/;

/** undefined: malformed. */
export function requestHeadOf(fields: HeaderList): RequestHead | undefined {
  let method = '';
  let path = '';
  let scheme = '';
  let authorities = 0;
  let regular = false;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    const value = fields[i + 1]!;
    if (name.charCodeAt(0) !== 0x3a) {
      regular = true;
      if (!isRegularField(name, value)) return undefined;
      continue;
    }
    if (regular) return undefined;
    if (name === ':method' && method === '') method = value;
    else if (name === ':path' && path === '') path = value;
    else if (name === ':scheme' && scheme === '') scheme = value;
    else if (name !== ':authority' || ++authorities > 1) return undefined;
  }
  if (method === '' || path === '' || scheme === '') return undefined;
  return { method, path, fields };
}

/** Trailers have no pseudo-headers. */
export function areTrailers(fields: HeaderList): boolean {
  for (let i = 0; i < fields.length; i += 2) {
    if (!isRegularField(fields[i]!, fields[i + 1]!)) return false;
  }
  return true;
}

/** The first value of a field; undefined when there is none. */
export function fieldOf(fields: HeaderList, name: string): string | undefined {
  for (let i = 0; i < fields.length; i += 2) if (fields[i] === name) return fields[i + 1];
  return undefined;
}

function isRegularField(name: string, value: string): boolean {
  if (!knownNames.has(name)) {
    if (!NAME.test(name) || FORBIDDEN.has(name)) return false;
    if (knownNames.size < MAX_KNOWN_NAMES) knownNames.add(name);
  }
  if (name === 'te' && value !== 'trailers') return false;
  return !UNSAFE_VALUE.test(value);
}
