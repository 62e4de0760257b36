/**
 * Hashes of passwords: scrypt (RFC 7914), with the parameters of each hash stored in it, so that they can be raised later.
 *
 *     hash := version:u8(1) logN:u8 r:u8 p:u8 salt:16 bytes key:32 bytes
 *
 * Invariants: checking a password of a user who does not exist takes as long as a wrong one; at most MAX_RUNNING hashes are computed at once and MAX_WAITING wait,
 * whoever asks (they take memory and the threads that disk access needs, too); parameters found in a hash are bounded before they are used; a password is in no message.
 */
import { scrypt, scryptSync, timingSafeEqual } from 'node:crypto';
import { KvError } from '../errors.ts';

const VERSION = 1;
const HEADER_BYTES = 4;
export const SALT_BYTES = 16;
const KEY_BYTES = 32;
const HASH_BYTES = HEADER_BYTES + SALT_BYTES + KEY_BYTES;
/** 32 MiB of memory and some 80 ms. */
const LOG_N = 15;
const R = 8;
const P = 1;
/** Of a hash that is to be checked: more would let whoever made it stop a node. */
const MAX_LOG_N = 17;
const MAX_R = 16;
const MAX_P = 4;
const MAX_MEMORY_BYTES = 512 * 1024 * 1024;
const MAX_RUNNING = 2;
const MAX_WAITING = 128;
/** Longer ones are no passwords. */
export const MAX_PASSWORD_BYTES = 1_024;

interface Cost {
  readonly logN: number;
  readonly r: number;
  readonly p: number;
}

export interface Passwords {
  /** `salt`: SALT_BYTES random bytes. @throws KvError INVALID_ARGUMENT for a password that is too long, OVERLOADED */
  hash(password: string, salt: Uint8Array): Promise<Uint8Array>;
  /** `hash` undefined: of nobody; false, after the same time. @throws KvError OVERLOADED */
  verify(password: string, hash: Uint8Array | undefined): Promise<boolean>;
}

export interface ScryptOptions {
  readonly logN?: number;
  /** Compute on this thread: for simulations, where the order in which other threads finish must not show. */
  readonly onThisThread?: boolean;
}

export class ScryptPasswords implements Passwords {
  readonly #cost: Cost;
  readonly #onThisThread: boolean;
  /** What the password of nobody is compared with. */
  readonly #nobody: Uint8Array;
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  constructor({ logN = LOG_N, onThisThread = false }: ScryptOptions = {}) {
    this.#cost = { logN, r: R, p: P };
    this.#onThisThread = onThisThread;
    this.#nobody = joined(this.#cost, new Uint8Array(SALT_BYTES), new Uint8Array(KEY_BYTES));
  }

  async hash(password: string, salt: Uint8Array): Promise<Uint8Array> {
    if (tooLong(password))
      throw new KvError('INVALID_ARGUMENT', `a password may have ${MAX_PASSWORD_BYTES} bytes`);
    if (salt.length !== SALT_BYTES) throw new RangeError(`a salt of ${salt.length} bytes`);
    return joined(this.#cost, salt, await this.#derive(password, salt, this.#cost));
  }

  async verify(password: string, hash: Uint8Array | undefined): Promise<boolean> {
    const known = hash === undefined ? undefined : parsed(hash);
    const of = known === undefined || tooLong(password) ? this.#nobody : (hash as Uint8Array);
    const { cost, salt, key } = parsed(of) as Parsed;
    const derived = await this.#derive(tooLong(password) ? '' : password, salt, cost);
    return timingSafeEqual(derived, key) && of !== this.#nobody;
  }

  async #derive(password: string, salt: Uint8Array, cost: Cost): Promise<Uint8Array> {
    const options = { N: 2 ** cost.logN, r: cost.r, p: cost.p, maxmem: MAX_MEMORY_BYTES };
    if (this.#onThisThread) return scryptSync(password, salt, KEY_BYTES, options);
    await this.#turn();
    try {
      return await new Promise<Uint8Array>((resolve, reject) => {
        scrypt(password, salt, KEY_BYTES, options, (error, key) =>
          error === null ? resolve(key) : reject(error),
        );
      });
    } finally {
      this.#running--;
      this.#waiting.shift()?.();
    }
  }

  async #turn(): Promise<void> {
    if (this.#running >= MAX_RUNNING) {
      if (this.#waiting.length >= MAX_WAITING)
        throw new KvError('OVERLOADED', `${MAX_WAITING} passwords wait to be checked already; try again`);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#running++;
  }
}

interface Parsed {
  readonly cost: Cost;
  readonly salt: Uint8Array;
  readonly key: Uint8Array;
}

/** undefined: not a hash that this program makes or checks. */
function parsed(hash: Uint8Array): Parsed | undefined {
  const [version, logN = 0, r = 0, p = 0] = hash;
  if (hash.length !== HASH_BYTES || version !== VERSION) return undefined;
  if (logN < 1 || logN > MAX_LOG_N || r < 1 || r > MAX_R || p < 1 || p > MAX_P) return undefined;
  const salt = hash.subarray(HEADER_BYTES, HEADER_BYTES + SALT_BYTES);
  return { cost: { logN, r, p }, salt, key: hash.subarray(HEADER_BYTES + SALT_BYTES) };
}

function joined({ logN, r, p }: Cost, salt: Uint8Array, key: Uint8Array): Uint8Array {
  const hash = new Uint8Array(HASH_BYTES);
  hash.set([VERSION, logN, r, p]);
  hash.set(salt, HEADER_BYTES);
  hash.set(key, HEADER_BYTES + SALT_BYTES);
  return hash;
}

function tooLong(password: string): boolean {
  return Buffer.byteLength(password) > MAX_PASSWORD_BYTES;
}
