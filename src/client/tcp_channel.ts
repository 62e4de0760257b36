/**
 * The channel of a store over a cluster: writes and linearizable reads prefer the leader, other reads and watches go to any node.
 *
 * Invariants: a write may be sent several times, so it must carry a session (needsSession); a watch delivers every batch once and in order across
 * reconnects; records that come back are private copies.
 */
import { KvError } from '../errors.ts';
import type { CommandResult } from '../kv/command.ts';
import { copyRecord } from '../storage/record.ts';
import {
  readGot,
  readPage,
  readRanged,
  wireTimeoutMs,
  writeGet,
  writeRange,
  writeScan,
} from '../wire/client_codec.ts';
import { OPCODE } from '../wire/client_frames.ts';
import type {
  GetRequest,
  GetResponse,
  RangeRequest,
  RangeResponse,
  ReadOptions,
  ScanPageRequest,
  ScanPageResponse,
  WatchBatch,
  WatchRequest,
} from '../wire/messages.ts';
import { decodeResult } from '../wire/result_codec.ts';
import type { ByteReader, ByteWriter } from '../wire/varint.ts';
import type { CallRequest } from './call.ts';
import type { AuthCalls, Channel, ChannelOptions, LeaseCalls, UpkeepCalls } from './channel.ts';
import { ClusterAuth } from './cluster_auth.ts';
import type { ClusterClient } from './cluster_client.ts';
import { ClusterLeases } from './cluster_leases.ts';
import { snapshotOfCluster } from './cluster_snapshot.ts';
import { ClusterUpkeep } from './cluster_upkeep.ts';
import { watchCluster } from './cluster_watch.ts';
import type { StoreSnapshot } from './snapshot_types.ts';

/** What a call holds in memory beside its bytes. */
const CALL_OVERHEAD_BYTES = 100;

export class TcpChannel implements Channel {
  readonly needsSession = true;
  readonly auth: AuthCalls;
  readonly leases: LeaseCalls;
  readonly upkeep: UpkeepCalls;
  private readonly cluster: ClusterClient;

  /** Closing the channel closes the cluster client. */
  constructor(cluster: ClusterClient) {
    this.cluster = cluster;
    this.auth = new ClusterAuth(cluster);
    this.leases = new ClusterLeases(cluster);
    this.upkeep = new ClusterUpkeep(cluster);
  }

  write(command: Uint8Array, options: ChannelOptions): Promise<CommandResult> {
    return this.cluster.call(new WriteRequest(command), options);
  }

  get(request: GetRequest, options: ChannelOptions): Promise<GetResponse> {
    return this.cluster.call(new GetCall(request), options);
  }

  scan(request: ScanPageRequest, options: ChannelOptions): Promise<ScanPageResponse> {
    return this.cluster.call(new ScanCall(request), options);
  }

  range(request: RangeRequest, options: ChannelOptions): Promise<RangeResponse> {
    return this.cluster.call(new RangeCall(request), options);
  }

  watch(request: WatchRequest, options: ChannelOptions): AsyncIterable<WatchBatch> {
    return watchCluster(this.cluster, request, options);
  }

  snapshot(options: ChannelOptions): Promise<StoreSnapshot> {
    return snapshotOfCluster(this.cluster, options);
  }

  async close(): Promise<void> {
    this.cluster.close();
  }
}

const OF_ONE_ATTEMPT: ReadonlySet<string> = new Set([
  'SESSION_EXPIRED',
  'OVERLOADED',
  'AUTH_STALE',
  'UNAUTHENTICATED',
  'USER_EMPTY',
  'PERMISSION_DENIED',
]);

class WriteRequest implements CallRequest<CommandResult> {
  readonly opcode = OPCODE.WRITE;
  readonly sizeBytes: number;
  readonly preferLeader = true;
  readonly changes = true;
  readonly repeatable = true;
  readonly retryWhenBehind = false;
  private readonly command: Uint8Array;

  constructor(command: Uint8Array) {
    this.command = command;
    this.sizeBytes = command.length + CALL_OVERHEAD_BYTES;
  }

  write(writer: ByteWriter, timeoutMs: number): void {
    writer.varint(wireTimeoutMs(timeoutMs)).raw(this.command);
  }

  read(reader: ByteReader): CommandResult {
    return decodeResult(reader);
  }

  /**
   * Any other refusal is what became of the write, whichever attempt brought it there. These say only that this attempt found no session, no place in it, or
   * no right: one before may have been applied.
   */
  refusal(result: CommandResult): KvError | undefined {
    if (result.type !== 'failed') return undefined;
    if (!OF_ONE_ATTEMPT.has(result.code)) return undefined;
    return new KvError(result.code, result.message);
  }
}

/** A read of keys, in one answer. */
abstract class ReadCall<R extends ReadOptions, T> implements CallRequest<T> {
  abstract readonly opcode: number;
  readonly sizeBytes: number;
  readonly preferLeader: boolean;
  readonly changes = false;
  readonly repeatable = true;
  readonly retryWhenBehind: boolean;
  protected readonly request: R;

  constructor(request: R, start: Uint8Array, end: Uint8Array | undefined) {
    this.request = request;
    this.sizeBytes = start.length + (end?.length ?? 0) + CALL_OVERHEAD_BYTES;
    this.preferLeader = request.level === 'linearizable';
    this.retryWhenBehind = request.minRevision > 0;
  }

  abstract write(writer: ByteWriter, timeoutMs: number): void;
  /** Records are copies. */
  abstract read(reader: ByteReader): T;
}

class GetCall extends ReadCall<GetRequest, GetResponse> {
  readonly opcode = OPCODE.GET;

  constructor(request: GetRequest) {
    super(request, request.key, undefined);
  }

  write(writer: ByteWriter, timeoutMs: number): void {
    writer.varint(wireTimeoutMs(timeoutMs));
    writeGet(writer, this.request);
  }

  read(reader: ByteReader): GetResponse {
    const response = readGot(reader);
    if (response.record === undefined) return response;
    return { revision: response.revision, record: copyRecord(response.record) };
  }
}

class RangeCall extends ReadCall<RangeRequest, RangeResponse> {
  readonly opcode = OPCODE.RANGE;

  constructor(request: RangeRequest) {
    super(request, request.key, request.end);
  }

  write(writer: ByteWriter, timeoutMs: number): void {
    writer.varint(wireTimeoutMs(timeoutMs));
    writeRange(writer, this.request);
  }

  read(reader: ByteReader): RangeResponse {
    const answer = readRanged(reader);
    return { ...answer, records: answer.records.map(copyRecord) };
  }
}

class ScanCall extends ReadCall<ScanPageRequest, ScanPageResponse> {
  readonly opcode = OPCODE.SCAN;

  constructor(request: ScanPageRequest) {
    super(request, request.start, request.end);
  }

  write(writer: ByteWriter, timeoutMs: number): void {
    // No credit: a single page, as a RESULT.
    writer.varint(wireTimeoutMs(timeoutMs)).varint(0);
    writeScan(writer, this.request);
  }

  read(reader: ByteReader): ScanPageResponse {
    const page = readPage(reader);
    return { ...page, records: page.records.map((record) => copyRecord(record)) };
  }
}
