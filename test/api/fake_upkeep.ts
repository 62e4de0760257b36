/** What a fake service answers about its upkeep: fixed facts, and what it was asked. */
import type { CallOptions, QuotaService, SnapshotStream } from '../../src/api/service.ts';
import { shownPrefix } from '../../src/kv/quotas.ts';
import type { Alarm, AlarmCommand } from '../../src/kv/upkeep_command.ts';
import type {
  AlarmsResponse,
  ClusterHash,
  CompactRequest,
  HashRequest,
  KeyHash,
  QuotaUsage,
} from '../../src/wire/upkeep_messages.ts';

export const SOME_HASH: KeyHash = {
  revision: 7,
  compactRevision: 3,
  hash: '0123456789abcdef'.repeat(4),
  versions: 12,
};
export const SOME_CHUNKS = [100_000, 1, 70_000].map((size, at) => new Uint8Array(size).fill(at + 1));
export const SOME_ALARM: Alarm = { type: 'nospace', member: 2, byNode: true };

const LIMITS = { maxBytes: 1_000, maxKeys: 0, maxRequestsPerSecond: 5 };
export const SOME_QUOTAS: QuotaUsage[] = [
  { prefix: Uint8Array.of(1), ...LIMITS, counted: false, bytes: 0, keys: 0 },
  { prefix: Uint8Array.of(1, 97, 255), ...LIMITS, counted: true, bytes: 70_000, keys: 3 },
];

export abstract class FakeUpkeep {
  readonly quotas: QuotaService = {
    set: async (prefix, { maxBytes, maxKeys, maxRequestsPerSecond }) => {
      await this.enter(`quotas.set ${shownPrefix(prefix)} ${maxBytes} ${maxKeys} ${maxRequestsPerSecond}`);
      return 8;
    },
    remove: async (prefix) => {
      await this.enter(`quotas.remove ${shownPrefix(prefix)}`);
      return 9;
    },
    list: async () => {
      await this.enter('quotas.list');
      return { revision: 5, quotas: SOME_QUOTAS };
    },
    inForce: () => [],
  };

  /** Notes what was asked. */
  protected abstract enter(name: string): Promise<void> | undefined;

  async compact({ revision, physical }: CompactRequest): Promise<number> {
    await this.enter(`compact ${revision}${physical ? ' physical' : ''}`);
    return Math.min(revision + 1, Number.MAX_SAFE_INTEGER);
  }

  async hash({ revision, compactRevision }: HashRequest): Promise<KeyHash> {
    await this.enter(`hash ${revision} ${compactRevision}`);
    return SOME_HASH;
  }

  async clusterHash(): Promise<ClusterHash> {
    await this.enter('clusterHash');
    const members = [
      { id: 1, hash: SOME_HASH, problem: '' },
      { id: 2, hash: { ...SOME_HASH, hash: 'f'.repeat(64) }, problem: '' },
      { id: 3, hash: undefined, problem: 'UNAVAILABLE: gone' },
    ];
    return { revision: 7, compactRevision: 3, members, differing: [1, 2] };
  }

  async snapshot(_options?: CallOptions): Promise<SnapshotStream> {
    await this.enter('snapshot');
    const parts = SOME_CHUNKS;
    async function* chunks(): AsyncGenerator<Uint8Array> {
      yield* parts;
    }
    const sizeBytes = parts.reduce((sum, { length }) => sum + length, 0);
    const withTrailer = () => ({ sizeBytes, chunks: chunks() });
    return { revision: 7, sizeBytes, chunks: chunks(), withTrailer };
  }

  async alarms(): Promise<AlarmsResponse> {
    await this.enter('alarms');
    return { revision: 5, alarms: [SOME_ALARM] };
  }

  async changeAlarm(action: AlarmCommand['action'], alarm: Alarm): Promise<AlarmsResponse> {
    await this.enter(`${action} ${alarm.type} ${alarm.member}${alarm.byNode ? ' by a node' : ''}`);
    return { revision: 5, alarms: action === 'raise' ? [alarm] : [] };
  }
}
