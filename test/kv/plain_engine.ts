/**
 * A KvEngine that is nothing but a sorted array: the plainest thing that can be right. For tests of the state machine and as the model that others
 * compare the real engine with.
 */
import type { KvEngine } from '../../src/storage/engine_port.ts';
import {
  compareKeys,
  FLAG_TOMBSTONE,
  type KeyRange,
  type ScanPage,
  type ScanRequest,
  type StoredRecord,
  type VersionsRequest,
} from '../../src/storage/record.ts';

interface Chain {
  readonly key: Uint8Array;
  /** Newest first. */
  versions: StoredRecord[];
}

export class PlainEngine implements KvEngine {
  readonly chains: Chain[] = [];
  compactRevision = 0;

  latest(key: Uint8Array): StoredRecord | undefined {
    return this.chain(key)?.versions[0];
  }

  at(key: Uint8Array, revision: number): StoredRecord | undefined {
    return this.chain(key)?.versions.find((record) => record.modRevision <= revision);
  }

  range(range: KeyRange, revision: number, reverse: boolean, limit: number): StoredRecord[] {
    const found: StoredRecord[] = [];
    for (const chain of this.chainsIn(range)) {
      const record = chain.versions.find((version) => version.modRevision <= revision);
      if (record !== undefined && (record.flags & FLAG_TOMBSTONE) === 0) found.push(record);
    }
    if (reverse) found.reverse();
    return found.slice(0, limit);
  }

  page({ start, end, revision, reverse, limit, maxBytes, keysOnly }: ScanRequest): ScanPage {
    const all = this.range({ start, end }, revision, reverse, Number.POSITIVE_INFINITY);
    const records: StoredRecord[] = [];
    let bytes = 0;
    for (const record of all) {
      if (records.length >= limit || bytes >= maxBytes) break;
      const shown = keysOnly ? { ...record, value: new Uint8Array(0) } : record;
      records.push(shown);
      bytes += shown.key.length + shown.value.length;
    }
    return { records, more: records.length < all.length };
  }

  put(
    key: Uint8Array,
    value: Uint8Array,
    modRevision: number,
    createRevision: number,
    version: number,
    subRevision: number,
    flags: number,
    lease: bigint,
    expiresAtMs: number,
  ): void {
    const record: StoredRecord = {
      key: new Uint8Array(key),
      value: new Uint8Array(value),
      modRevision,
      createRevision,
      version,
      subRevision,
      flags,
      lease,
      expiresAtMs,
    };
    const at = this.position(key);
    const chain = this.chains[at];
    if (chain === undefined || compareKeys(chain.key, key) !== 0) {
      this.chains.splice(at, 0, { key: record.key, versions: [record] });
      return;
    }
    if ((chain.versions[0] as StoredRecord).modRevision >= modRevision) {
      throw new Error(`revision ${modRevision} is not above the key's newest`);
    }
    chain.versions.unshift(record);
  }

  /** Drops at once whatever compaction allows to drop. */
  compact(revision: number): void {
    this.compactRevision = revision;
    for (let at = this.chains.length - 1; at >= 0; at--) {
      const chain = this.chains[at] as Chain;
      const newestAtRevision = chain.versions.findIndex((record) => record.modRevision <= revision);
      if (newestAtRevision < 0) continue;
      const base = chain.versions[newestAtRevision] as StoredRecord;
      const keep = (base.flags & FLAG_TOMBSTONE) === 0 ? newestAtRevision + 1 : newestAtRevision;
      chain.versions = chain.versions.slice(0, keep);
      if (chain.versions.length === 0) this.chains.splice(at, 1);
    }
  }

  /** All versions of a range in record order, in pages. */
  versions(request: VersionsRequest): ScanPage {
    const records: StoredRecord[] = [];
    const after = request.after;
    let bytes = 0;
    for (const chain of this.chainsIn(request)) {
      for (const record of chain.versions) {
        if (record.modRevision < request.minRevision || record.modRevision > request.maxRevision) continue;
        if (after !== undefined) {
          const order = compareKeys(record.key, after.key);
          if (order < 0 || (order === 0 && record.modRevision >= after.modRevision)) continue;
        }
        if (records.length >= request.limit || bytes >= request.maxBytes) return { records, more: true };
        records.push(record);
        bytes += record.key.length + record.value.length;
      }
    }
    return { records, more: false };
  }

  /** Every version of every key, in record order: the whole content, for comparisons. */
  dump(): StoredRecord[] {
    return this.chains.flatMap((chain) => chain.versions);
  }

  private chain(key: Uint8Array): Chain | undefined {
    const chain = this.chains[this.position(key)];
    return chain !== undefined && compareKeys(chain.key, key) === 0 ? chain : undefined;
  }

  private chainsIn(range: KeyRange): Chain[] {
    const from = this.position(range.start);
    const to = range.end === undefined ? this.chains.length : this.position(range.end);
    return this.chains.slice(from, Math.max(from, to));
  }

  /** Index of the first chain whose key is not below `key`. */
  private position(key: Uint8Array): number {
    let low = 0;
    let high = this.chains.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareKeys((this.chains[middle] as Chain).key, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
