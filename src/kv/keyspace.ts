/**
 * How user keys and the store's own bookkeeping share one ordered key space.
 *
 * A stored key is one space byte followed by the key. Clients may name keys of the user space only; on the wire and in commands a key already carries its
 * space byte, so that the bytes the client wrote are the bytes that are stored.
 *
 *     0x00  the store's own: 0x00 't' expiresAtMs:u64be storedKey -> (empty)   the order in which keys expire
 *                            0x00 'l' lease:u64be storedKey -> (empty)         the keys of a lease
 *     0x01  user keys
 */
export const SPACE_SYSTEM = 0;
export const SPACE_USER = 1;

/** The first stored key after every user key. */
export const USER_SPACE_END: Uint8Array = Uint8Array.of(SPACE_USER + 1);
export const USER_SPACE_START: Uint8Array = Uint8Array.of(SPACE_USER);

/** The stored form of a user key. */
export function storedKey(key: Uint8Array): Uint8Array {
  const stored = new Uint8Array(key.length + 1);
  stored[0] = SPACE_USER;
  stored.set(key, 1);
  return stored;
}

/** The user's form of a stored key: a view without the space byte. */
export function userKey(stored: Uint8Array): Uint8Array {
  return stored.subarray(1);
}

/** The first key after every key with this prefix: the prefix with its last byte that is not 0xff raised by one. `undefined`: there is none. */
export function prefixEnd(prefix: Uint8Array): Uint8Array | undefined {
  for (let last = prefix.length - 1; last >= 0; last--) {
    if (prefix[last] === 0xff) continue;
    const end = Uint8Array.from(prefix.subarray(0, last + 1));
    end[last] = (end[last] as number) + 1;
    return end;
  }
  return undefined;
}
