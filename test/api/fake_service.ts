/**
 * A small real store behind the Service interface, for tests of doors and clients: versions in memory, sessions, watches from any revision. Several services
 * may share one FakeStore, as the nodes of a cluster do.
 */
import type {
  CallOptions,
  LeaseService,
  Service,
  Standing,
  WatchHandle,
  WatchSink,
} from '../../src/api/service.ts';
import { KvError } from '../../src/errors.ts';
import type { Command, CommandResult, KvEvent, Operation, WriteId } from '../../src/kv/command.ts';
import { RangeCollector } from '../../src/kv/range_collector.ts';
import { feedsReverse } from '../../src/kv/range_selection.ts';
import type { Alarm } from '../../src/kv/upkeep_command.ts';
import type { MaybePromise, StoredRecord } from '../../src/storage/record.ts';
import { decodeCommand } from '../../src/wire/command_codec.ts';
import type {
  GetRequest,
  GetResponse,
  MemberAddRequest,
  MemberAddResponse,
  MemberInfo,
  MembersResponse,
  NodeStatus,
  RangeRequest,
  RangeResponse,
  ScanPageRequest,
  ScanPageResponse,
  WatchRequest,
} from '../../src/wire/messages.ts';
import { FakeAuth } from './fake_auth.ts';
import { FakeUpkeep } from './fake_upkeep.ts';

interface Watcher {
  readonly request: WatchRequest;
  readonly sink: WatchSink;
  next: number;
  held: boolean;
  done: boolean;
}

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1');

export class FakeStore {
  revision = 0;
  leader = 1;
  compactRevision = 0;
  members: MemberInfo[] = [];
  alarms: readonly Alarm[] = [];
  /** How often a command changed something, by (session, sequence): never more than once. */
  readonly applied: string[] = [];
  readonly sessions = new Map<number, Map<number, CommandResult>>();
  /** Every event ever, in order. */
  readonly events: KvEvent[] = [];
  private readonly data = new Map<string, StoredRecord[]>();
  private readonly watchers = new Set<Watcher>();
  private lastSession = 0;

  apply(command: Command): CommandResult {
    switch (command.type) {
      case 'openSession':
        this.sessions.set(++this.lastSession, new Map());
        return { type: 'session', revision: this.revision, session: this.lastSession };
      case 'closeSession':
        this.sessions.delete(command.session);
        return { type: 'done', revision: this.revision };
      case 'write':
        return this.once(command.id, () => this.inRevision(() => this.operation(command.operation)));
      case 'txn':
        return this.once(command.id, () =>
          this.inRevision(() => {
            const results = command.success.map((operation) => this.operation(operation));
            return { type: 'txn', revision: this.revision, succeeded: true, results: results as never[] };
          }),
        );
      default:
        throw new KvError('INVALID_ARGUMENT', `not for clients: ${command.type}`);
    }
  }

  at(key: Uint8Array, revision: number): StoredRecord | undefined {
    const versions = this.data.get(text(key)) ?? [];
    const found = versions.findLast((record) => revision === 0 || record.modRevision <= revision);
    return found === undefined || found.version === 0 ? undefined : found;
  }

  range(request: RangeRequest): RangeResponse {
    const { key, end = Uint8Array.of(...key, 0) } = request;
    const reverse = feedsReverse(request);
    const page = this.scan({
      ...request,
      start: key,
      end,
      reverse,
      limit: 1e6,
      maxBytes: 1e9,
      keysOnly: false,
    });
    const collector = new RangeCollector(request, request.maxBytes === 0 ? 1e9 : request.maxBytes);
    for (const record of page.records) collector.add(record);
    if (collector.overflows) throw new KvError('REQUEST_TOO_LARGE', 'too much for one answer');
    return { revision: this.revision, ...collector.finish() };
  }

  scan(request: ScanPageRequest): ScanPageResponse {
    const revision = request.revision === 0 ? this.revision : request.revision;
    if (revision > this.revision)
      throw new KvError('FUTURE_REVISION', `revision ${revision} is not here yet`);
    const [start, end] = [text(request.start), request.end === undefined ? '\xff' : text(request.end)];
    const keys = [...this.data.keys()].filter((key) => key >= start && key < end).sort();
    if (request.reverse) keys.reverse();
    const records: StoredRecord[] = [];
    let bytes = 0;
    for (const key of keys) {
      const record = this.at(Buffer.from(key, 'latin1'), revision);
      if (record === undefined) continue;
      if (records.length >= request.limit || bytes >= request.maxBytes)
        return { revision, records, more: true };
      records.push(request.keysOnly ? { ...record, value: new Uint8Array(0) } : record);
      bytes += record.key.length + record.value.length;
    }
    return { revision, records, more: false };
  }

  watch(request: WatchRequest, sink: WatchSink): WatchHandle {
    const fromRevision = request.fromRevision === 0 ? this.revision + 1 : request.fromRevision;
    const { compactRevision } = this;
    if (fromRevision <= compactRevision)
      throw new KvError('COMPACTED', 'gone', { details: { compactRevision } });
    const watcher: Watcher = { request, sink, next: fromRevision, held: false, done: false };
    this.watchers.add(watcher);
    this.feed(watcher);
    return {
      fromRevision,
      resume: () => {
        watcher.held = false;
        this.feed(watcher);
      },
      cancel: () => {
        watcher.done = true;
        this.watchers.delete(watcher);
      },
      progress: () => !watcher.held && sink.deliver({ revision: this.revision, events: [] }),
    };
  }

  get watcherCount(): number {
    return this.watchers.size;
  }

  private feed(watcher: Watcher): void {
    while (!watcher.held && !watcher.done && watcher.next <= this.revision) {
      const revision = watcher.next++;
      const { start, end } = watcher.request;
      const events = this.events.filter(
        ({ record }) =>
          record.modRevision === revision &&
          Buffer.compare(record.key, start) >= 0 &&
          (end === undefined || Buffer.compare(record.key, end) < 0),
      );
      if (events.length > 0) watcher.held = !watcher.sink.deliver({ revision, events });
    }
  }

  private once(id: WriteId, run: () => CommandResult): CommandResult {
    if (id.session === 0) return run();
    const session = this.sessions.get(id.session);
    if (session === undefined) throw new KvError('SESSION_EXPIRED', `no session ${id.session}`);
    const kept = session.get(id.sequence);
    if (kept !== undefined) return kept;
    this.applied.push(`${id.session}/${id.sequence}`);
    const result = run();
    session.set(id.sequence, result);
    return result;
  }

  private inRevision(run: () => CommandResult): CommandResult {
    const before = this.events.length;
    this.revision++;
    const result = run();
    if (this.events.length === before) {
      this.revision--;
      return { ...result, revision: this.revision };
    }
    for (const watcher of [...this.watchers]) this.feed(watcher);
    return result;
  }

  private ranged(records: StoredRecord[]): CommandResult {
    return { type: 'range', revision: this.revision, records, more: false, count: records.length };
  }

  private operation(operation: Operation): CommandResult {
    const revision = this.revision;
    if (operation.type === 'txn') throw new KvError('UNSUPPORTED', 'this store has no nested transactions');
    const old = this.at(operation.key, 0);
    switch (operation.type) {
      case 'put':
        this.set(operation.key, operation.value.slice(), old);
        return { type: 'put', revision, previous: operation.prevKv ? old : undefined };
      case 'touch':
        if (old !== undefined) this.set(operation.key, old.value, old);
        return { type: 'touch', revision, found: old !== undefined };
      case 'range':
        return this.ranged(old === undefined ? [] : [old]);
      case 'delete': {
        const end = operation.end ?? Uint8Array.of(...operation.key, 0);
        const page = this.scan({
          start: operation.key,
          end,
          level: 'eventual',
          minRevision: 0,
          revision: 0,
          reverse: false,
          limit: 1e6,
          maxBytes: 1e9,
          keysOnly: false,
        });
        for (const record of page.records) this.set(record.key, undefined, record);
        return { type: 'delete', revision, deleted: page.records.length, previous: [] };
      }
    }
  }

  private set(key: Uint8Array, value: Uint8Array | undefined, old: StoredRecord | undefined): void {
    const record: StoredRecord = {
      key: key.slice(),
      value: value ?? new Uint8Array(0),
      modRevision: this.revision,
      createRevision: value === undefined ? 0 : (old?.createRevision ?? this.revision),
      version: value === undefined ? 0 : (old?.version ?? 0) + 1,
      subRevision: 0,
      flags: value === undefined ? 1 : 0,
      lease: 0n,
      expiresAtMs: 0,
    };
    const versions = this.data.get(text(key));
    if (versions === undefined) this.data.set(text(key), [record]);
    else versions.push(record);
    this.events.push({ type: value === undefined ? 'delete' : 'put', record, previous: old });
  }
}

/** One node's service over a store. Hooks let a test hold calls back or make them fail. */
export class FakeService extends FakeUpkeep implements Service {
  readonly id: number;
  readonly store: FakeStore;
  readonly auth = new FakeAuth();
  /** What the node was asked, by name. */
  readonly calls: string[] = [];
  /** Called before each request; may throw or wait. */
  before: (name: string) => void | Promise<void> = () => {};
  /** The leases there are. */
  readonly leaseTtlsMs = new Map<bigint, number>();
  /** Largest timeoutMs that was passed on. */
  lastTimeoutMs: number | undefined;

  constructor(store: FakeStore = new FakeStore(), id = 1) {
    super();
    this.store = store;
    this.id = id;
  }

  async write(command: Uint8Array, options?: CallOptions): Promise<CommandResult> {
    this.lastTimeoutMs = options?.timeoutMs;
    this.auth.check(options?.identity);
    await this.enter('write');
    return this.store.apply(decodeCommand(command));
  }

  get(request: GetRequest, options?: CallOptions): MaybePromise<GetResponse> {
    this.auth.check(options?.identity);
    const entered = this.enter('get');
    const answer = () => {
      if (request.minRevision > this.store.revision) throw new KvError('FUTURE_REVISION', 'behind');
      return { revision: this.store.revision, record: this.store.at(request.key, request.revision) };
    };
    return entered === undefined ? answer() : entered.then(answer);
  }

  scan(request: ScanPageRequest, options?: CallOptions): MaybePromise<ScanPageResponse> {
    this.auth.check(options?.identity);
    const entered = this.enter('scan');
    return entered === undefined ? this.store.scan(request) : entered.then(() => this.store.scan(request));
  }

  async range(request: RangeRequest, options?: CallOptions): Promise<RangeResponse> {
    this.auth.check(options?.identity);
    await this.enter('range');
    return this.store.range(request);
  }

  async watch(request: WatchRequest, sink: WatchSink, options?: CallOptions): Promise<WatchHandle> {
    this.auth.check(options?.identity);
    await this.enter('watch');
    return this.store.watch(request, sink);
  }

  readonly leases: LeaseService = {
    keepAlive: async (lease) => {
      await this.enter('leaseKeepAlive');
      return { revision: this.store.revision, ttlMs: this.leaseTtlsMs.get(lease) ?? 0 };
    },
    timeToLive: async (lease, withKeys) => {
      await this.enter('leaseTimeToLive');
      const ttlMs = this.leaseTtlsMs.get(lease) ?? 0;
      const keys = withKeys && ttlMs > 0 ? [Uint8Array.of(1, 107)] : [];
      return { revision: this.store.revision, lease, ttlMs, remainingMs: ttlMs - 1, keys };
    },
    list: async () => {
      await this.enter('leases');
      return { revision: this.store.revision, leases: [...this.leaseTtlsMs.keys()] };
    },
  };

  status(): NodeStatus {
    return {
      id: this.id,
      clusterId: '12345678901234567890',
      role: this.store.leader === this.id ? 'leader' : 'follower',
      pid: 42,
      term: 3,
      leader: this.store.leader,
      commitIndex: 9,
      appliedIndex: 8,
      revision: this.store.revision,
      compactRevision: 1,
      version: '0.1.0',
      uptimeMs: 1234,
      rssBytes: 5e9,
      dataBytes: 77,
      health: 'ok',
      alarms: this.store.alarms,
      endpoints: ['127.0.0.1:7400'],
      metrics: { storage_write_amplification: 1.25 },
    };
  }

  knownMembers(): readonly MemberInfo[] {
    return this.store.members;
  }

  standing(): Standing {
    const { id, clusterId, term, leader, revision } = this.status();
    return { nodeId: id, clusterId, term, leader, revision };
  }

  async clusterStatus(): Promise<NodeStatus[]> {
    await this.enter('clusterStatus');
    return [this.status(), { ...this.status(), id: 2, role: 'learner' }];
  }

  async members(): Promise<MembersResponse> {
    await this.enter('members');
    const { leader, members } = this.store;
    return { clusterId: this.status().clusterId, leader, members };
  }

  async memberAdd(request: MemberAddRequest): Promise<MemberAddResponse> {
    await this.enter('memberAdd');
    const member: MemberInfo = { id: 9, ...request, role: 'learner', leader: false, matchIndex: 4 };
    return { id: 9, clusterId: this.status().clusterId, members: [member] };
  }

  async memberPromote(id: number): Promise<MembersResponse> {
    await this.enter(`memberPromote ${id}`);
    return this.members();
  }

  async memberUpdate(id: number, peerAddress: string): Promise<MembersResponse> {
    await this.enter(`memberUpdate ${id} ${peerAddress}`);
    return this.members();
  }

  async memberRemove(id: number): Promise<MembersResponse> {
    await this.enter(`memberRemove ${id}`);
    return this.members();
  }

  async moveLeader(to: number): Promise<number> {
    await this.enter(`moveLeader ${to}`);
    return to === 0 ? 2 : to;
  }

  protected enter(name: string): Promise<void> | undefined {
    this.calls.push(name);
    return this.before(name) ?? undefined;
  }
}
