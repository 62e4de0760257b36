/**
 * Quotas: how many bytes and keys may lie under a prefix, and how many there are; replicated state.
 *
 * A quota begins at the revision at which it is set. What lay under the prefix then is counted by the leader, at its leisure and at exactly that revision, and comes back as a command; what was
 * written since is noted here, and the two together are what there is. From then on the quota is enforced, and every write keeps the numbers exact.
 *
 * Bytes are those of keys (as users see them) and values; keys that are there, not their history.
 *
 * Invariants: quotas lie by prefix, each prefix once; `bytes` and `keys` of a counted quota are exactly those of the live keys under its prefix; those of a quota that is being counted are the
 * differences since `countingFrom`, a revision that is not compacted; a write that makes nothing grow is never refused; all of it follows from the commands alone.
 */
import { PrefixIndex } from './prefix_index.ts';
import type { QuotaLimits } from './quota_command.ts';
import type { Refusal } from './refusal.ts';

/** Part of the state's definition, like the limits: the same on every node. */
export const MAX_QUOTAS = 1_000;

/** What a quota looks like in a captured state, and to those who list it. */
export interface QuotaState extends QuotaLimits {
  /** A stored key: with its space byte. */
  readonly prefix: Uint8Array;
  /** 0: counted. Otherwise the revision whose content has still to be counted; `bytes` and `keys` are then what was added since, and may be negative. */
  readonly countingFrom: number;
  readonly bytes: number;
  readonly keys: number;
}

interface Quota extends QuotaState {
  maxBytes: number;
  maxKeys: number;
  maxRequestsPerSecond: number;
  countingFrom: number;
  bytes: number;
  keys: number;
  parent: Quota | undefined;
}

export class QuotaTable {
  private index = new PrefixIndex<Quota>([]);

  /** Whether there are any: nothing else here need be asked otherwise. */
  get active(): boolean {
    return this.index.entries.length > 0;
  }
  /** By prefix; to be looked at in this turn: numbers go on changing. Another array whenever a quota is set or removed. */
  get list(): readonly QuotaState[] {
    return this.index.entries;
  }

  /** Sets the limits of a prefix; what is known of its usage stays known. `revision`: the store's. */
  set(prefix: Uint8Array, limits: QuotaLimits, revision: number): Refusal | undefined {
    const { maxBytes, maxKeys, maxRequestsPerSecond } = limits;
    const { entries } = this.index;
    const known = this.index.find(prefix);
    if (known === undefined) {
      if (entries.length >= MAX_QUOTAS)
        return { code: 'OVERLOADED', message: `there are ${MAX_QUOTAS} quotas` };
      const usage = { countingFrom: revision, bytes: 0, keys: 0 };
      const limited = { prefix: new Uint8Array(prefix), maxBytes, maxKeys, maxRequestsPerSecond };
      this.index = new PrefixIndex([...entries, { ...limited, ...usage, parent: undefined }]);
      return undefined;
    }
    known.maxBytes = maxBytes;
    known.maxKeys = maxKeys;
    known.maxRequestsPerSecond = maxRequestsPerSecond;
    // Whoever looks finds another list, and so the change.
    this.index = new PrefixIndex(entries);
    return undefined;
  }

  remove(prefix: Uint8Array): Refusal | undefined {
    const known = this.index.find(prefix);
    if (known === undefined)
      return { code: 'NOT_FOUND', message: `there is no quota for ${shownPrefix(prefix)}` };
    this.index = new PrefixIndex(this.index.entries.filter((quota) => quota !== known));
    return undefined;
  }

  /** What lay under a prefix at a revision, counted. Of use only to the quota that waits for exactly that. */
  counted(prefix: Uint8Array, revision: number, bytes: number, keys: number): void {
    const quota = this.index.find(prefix);
    if (quota === undefined || quota.countingFrom !== revision) return;
    quota.countingFrom = 0;
    quota.bytes += bytes;
    quota.keys += keys;
  }

  /** History below `compactRevision` goes, and with it what was still to be counted there: that begins anew at the store's revision. */
  compacted(compactRevision: number, revision: number): void {
    for (const quota of this.index.entries) {
      if (quota.countingFrom === 0 || quota.countingFrom >= compactRevision) continue;
      quota.countingFrom = revision;
      quota.bytes = 0;
      quota.keys = 0;
    }
  }

  /** A key was written or removed: by how much its prefixes have grown. */
  note(key: Uint8Array, bytes: number, keys: number): void {
    for (let quota = this.index.deepest(key); quota !== undefined; quota = quota.parent) {
      quota.bytes += bytes;
      quota.keys += keys;
    }
  }

  covers(key: Uint8Array): boolean {
    return this.index.deepest(key) !== undefined;
  }

  /** Why a write may not be carried out that makes the prefixes of one key grow by so much; undefined: it may. */
  refuses(key: Uint8Array, bytes: number, keys: number): Refusal | undefined {
    for (let quota = this.index.deepest(key); quota !== undefined; quota = quota.parent) {
      const refusal = refusalOf(quota, bytes, keys);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }

  /** For a command that writes several keys: asked once all of them are known. */
  growth(): Growth {
    return new Growth(this.index);
  }

  capture(): QuotaState[] {
    return this.index.entries.map(({ parent: _, ...quota }) => quota);
  }

  restore(quotas: readonly QuotaState[]): void {
    this.index = new PrefixIndex(quotas.map((quota) => ({ ...quota, parent: undefined })));
  }
}

/** By how much the quotas that a command touches would grow. REQUIRES: no quota is set or removed meanwhile. */
export class Growth {
  private readonly index: PrefixIndex<Quota>;
  private readonly sums = new Map<Quota, { bytes: number; keys: number }>();

  constructor(index: PrefixIndex<Quota>) {
    this.index = index;
  }

  add(key: Uint8Array, bytes: number, keys: number): void {
    for (let quota = this.index.deepest(key); quota !== undefined; quota = quota.parent) {
      const sum = this.sums.get(quota);
      if (sum === undefined) {
        this.sums.set(quota, { bytes, keys });
      } else {
        sum.bytes += bytes;
        sum.keys += keys;
      }
    }
  }

  /** Why the command may not be carried out; undefined: it may. */
  refusal(): Refusal | undefined {
    for (const [quota, { bytes, keys }] of this.sums) {
      const refusal = refusalOf(quota, bytes, keys);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }
}

/** The bytes of a key and its value as quotas count them. */
export function quotaBytes(storedKey: Uint8Array, value: Uint8Array): number {
  return storedKey.length - 1 + value.length;
}

function refusalOf(quota: Quota, bytes: number, keys: number): Refusal | undefined {
  if (quota.countingFrom !== 0) return undefined;
  const { maxBytes, maxKeys, prefix } = quota;
  if (maxBytes > 0 && bytes > 0 && quota.bytes + bytes > maxBytes) {
    return exceeded(prefix, `${maxBytes} bytes`, `${quota.bytes} are used, ${bytes} would be added`);
  }
  if (maxKeys > 0 && keys > 0 && quota.keys + keys > maxKeys) {
    return exceeded(prefix, `${maxKeys} keys`, `there are ${quota.keys}, ${keys} would be added`);
  }
  return undefined;
}

function exceeded(prefix: Uint8Array, allowed: string, facts: string): Refusal {
  const message = `the quota of ${shownPrefix(prefix)} allows ${allowed}: ${facts}`;
  return { code: 'QUOTA_EXCEEDED', message };
}

const SHOWN_BYTES = 64;

/** A prefix in a message: as it is where it is plain ASCII, not at any length. */
export function shownPrefix(stored: Uint8Array): string {
  let text = '';
  for (const byte of stored.subarray(1, 1 + SHOWN_BYTES)) {
    const plain = byte >= 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c;
    text += plain ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  return stored.length > 1 + SHOWN_BYTES ? `"${text}"...` : `"${text}"`;
}
