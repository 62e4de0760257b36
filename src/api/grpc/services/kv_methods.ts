/**
 * etcd's KV: ranges and writes.
 *
 * A range is read in pages at one revision; what it gives is bounded. Records may be views for this turn of the event loop only: the answer is encoded in the turn in
 * which it is made.
 */
import { KvError } from '../../../errors.ts';
import type { CommandResult } from '../../../kv/command.ts';
import { compareKeys, copyRecord, type MaybePromise, type StoredRecord } from '../../../storage/record.ts';
import { encodeCommand, encodePut } from '../../../wire/command_codec.ts';
import type { GetResponse } from '../../../wire/messages.ts';
import type { CallOptions } from '../../service.ts';
import { etcdError } from '../etcd_errors.ts';
import {
  CompactionRequest,
  CompactionResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  SortOrder,
  SortTarget,
  TxnRequest,
  TxnResponse,
} from '../messages/kv.ts';
import { type CallContext, type ServiceTable, unary } from '../method.ts';
import { CODE, GrpcError } from '../status.ts';
import {
  callOptionsOf,
  type EtcdContext,
  Headers,
  keyValueOf,
  storedEndOf,
  storedKeyOf,
  succeeded,
} from './etcd_context.ts';
import { deleteOf, putOf, responsesOf, txnBodyOf } from './kv_operations.ts';

const PAGE_RECORDS = 1_000;
const PAGE_BYTES = 1024 * 1024;
/** Of keys and values in one answer. */
const MAX_RESPONSE_BYTES = 64 * 1024 * 1024;
const NO_ID = { session: 0, sequence: 0, acknowledgedBelow: 0 };

export function kvService(context: EtcdContext): ServiceTable {
  const kv = new KvMethods(context);
  return {
    name: 'etcdserverpb.KV',
    methods: [
      unary('Range', RangeRequest, RangeResponse, (request, call) => kv.range(request, call)),
      unary('Put', PutRequest, PutResponse, (request, call) => kv.put(request, call)),
      unary('DeleteRange', DeleteRangeRequest, DeleteRangeResponse, (request, call) =>
        kv.deleteRange(request, call),
      ),
      unary('Txn', TxnRequest, TxnResponse, (request, call) => kv.txn(request, call)),
      unary('Compact', CompactionRequest, CompactionResponse, (request, call) => kv.compact(request, call)),
    ],
  };
}

class KvMethods {
  readonly #context: EtcdContext;
  readonly #headers: Headers;

  constructor(context: EtcdContext) {
    this.#context = context;
    this.#headers = new Headers(context.service);
  }

  put(request: PutRequest, call: CallContext): Promise<PutResponse> {
    const command = putCommand(request);
    this.#headers.requireLeader(call);
    return this.#write(command, call).then((result) => {
      if (result.type !== 'put') throw unexpected(result);
      const { previous } = result;
      return {
        header: this.#headers.header(result.revision),
        prev_kv: previous === undefined ? undefined : keyValueOf(previous),
      };
    });
  }

  async txn(request: TxnRequest, call: CallContext): Promise<TxnResponse> {
    const command = encodeCommand({ type: 'txn', id: NO_ID, ...txnBodyOf(request) });
    this.#headers.requireLeader(call);
    const result = await this.#write(command, call);
    if (result.type !== 'txn') throw unexpected(result);
    return {
      header: this.#headers.header(result.revision),
      succeeded: result.succeeded,
      responses: responsesOf(result),
    };
  }

  async compact(request: CompactionRequest, call: CallContext): Promise<CompactionResponse> {
    const { service } = this.#context;
    const { physical } = request;
    // Nothing lies below the first revision, so it is gone.
    if (request.revision <= 0) throw etcdError('Compacted');
    const options = callOptionsOf(service, call);
    const revision = await service.compact({ revision: request.revision, physical }, options);
    return { header: this.#headers.header(revision) };
  }

  #write(command: Uint8Array, call: CallContext) {
    const { service } = this.#context;
    return service.write(command, callOptionsOf(service, call)).then(succeeded);
  }

  async deleteRange(request: DeleteRangeRequest, call: CallContext): Promise<DeleteRangeResponse> {
    const operation = deleteOf(request);
    const { key, end } = operation;
    this.#headers.requireLeader(call);
    // Nothing lies in such a range: the answer is one of a read.
    if (isEmptyRange(key, end)) {
      const { revision } = await this.#get(key, 0, false, callOptionsOf(this.#context.service, call));
      return DeleteRangeResponse.create({ header: this.#headers.header(revision) });
    }
    const command = encodeCommand({ type: 'write', id: NO_ID, operation });
    const result = await this.#write(command, call);
    if (result.type !== 'delete') throw unexpected(result);
    return {
      header: this.#headers.header(result.revision),
      deleted: result.deleted,
      prev_kvs: result.previous.map((record) => keyValueOf(record)),
    };
  }

  range(request: RangeRequest, call: CallContext): MaybePromise<RangeResponse> {
    const key = storedKeyOf(request.key);
    const end = storedEndOf(request.range_end);
    checkSort(request);
    this.#headers.requireLeader(call);
    const options = callOptionsOf(this.#context.service, call);
    // A negative revision means the newest, as 0 does.
    const revision = Math.max(0, request.revision);
    if (end !== undefined && !isEmptyRange(key, end))
      return this.#pages(request, key, end, revision, options);
    const got = this.#get(key, revision, request.serializable, options);
    const single = end === undefined;
    if (got instanceof Promise) return got.then((late) => this.#single(request, late, single));
    return this.#single(request, got, single);
  }

  #get(key: Uint8Array, revision: number, serializable: boolean, options: CallOptions) {
    const level = serializable ? 'sequential' : 'linearizable';
    return this.#context.service.get({ key, level, minRevision: 0, revision }, options);
  }

  #single(request: RangeRequest, { revision, record }: GetResponse, single: boolean): RangeResponse {
    const header = this.#headers.header(revision);
    if (record === undefined || !single) return { header, kvs: [], more: false, count: 0 };
    const kvs = request.count_only ? [] : [keyValueOf(record, request.keys_only)];
    return { header, kvs, more: false, count: 1 };
  }

  async #pages(
    request: RangeRequest,
    start: Uint8Array,
    end: Uint8Array,
    revision: number,
    options: CallOptions,
  ): Promise<RangeResponse> {
    const { service } = this.#context;
    const limit = request.limit > 0 ? request.limit : Number.POSITIVE_INFINITY;
    const reverse = request.sort_order === SortOrder.values.DESCEND;
    const records: StoredRecord[] = [];
    let from = start;
    let to = end;
    let at = revision;
    let bytes = 0;
    let count = 0;
    for (let more = true; more; ) {
      const page = await service.scan(
        {
          start: from,
          end: to,
          level: at === 0 ? (request.serializable ? 'sequential' : 'linearizable') : 'eventual',
          minRevision: 0,
          revision: at,
          reverse,
          limit: PAGE_RECORDS,
          maxBytes: PAGE_BYTES,
          keysOnly: request.keys_only || request.count_only || records.length >= limit,
        },
        options,
      );
      at = page.revision;
      for (const record of page.records) {
        count++;
        if (request.count_only || records.length >= limit) continue;
        bytes += record.key.length + record.value.length;
        if (bytes > MAX_RESPONSE_BYTES) {
          throw new GrpcError(CODE.RESOURCE_EXHAUSTED, 'etcdserver: the answer is too large');
        }
        records.push(copyRecord(record));
      }
      const last = page.records.at(-1);
      more = page.more && last !== undefined;
      if (last === undefined) break;
      const lastKey = new Uint8Array(last.key);
      if (reverse) to = lastKey;
      else from = Uint8Array.of(...lastKey, 0);
    }
    return {
      header: this.#headers.header(),
      kvs: records.map((record) => keyValueOf(record)),
      more: !request.count_only && count > records.length,
      count,
    };
  }
}

/** The bytes of a plain put are written at once, without a command in between. */
function putCommand(request: PutRequest): Uint8Array {
  if (request.lease === 0n && !request.ignore_value && !request.ignore_lease) {
    if (request.key.length === 0) throw etcdError('EmptyKey');
    return encodePut(request.key, request.value, 0, 0, 0, 0, request.prev_kv);
  }
  return encodeCommand({ type: 'write', id: NO_ID, operation: putOf(request) });
}

function checkSort(request: RangeRequest): void {
  const { sort_order: order, sort_target: target } = request;
  if (!isValueOf(SortOrder.values, order) || !isValueOf(SortTarget.values, target)) {
    throw etcdError('InvalidSortOption');
  }
  const filtered =
    request.min_mod_revision !== 0 ||
    request.max_mod_revision !== 0 ||
    request.min_create_revision !== 0 ||
    request.max_create_revision !== 0;
  if (target !== SortTarget.values.KEY || filtered) {
    throw new GrpcError(CODE.UNIMPLEMENTED, 'etcdserver: sorting by other than the key, and filters');
  }
}

function isValueOf(values: Readonly<Record<string, number>>, value: number): boolean {
  return Object.values(values).includes(value);
}

function isEmptyRange(key: Uint8Array, end: Uint8Array | undefined): boolean {
  return end !== undefined && compareKeys(key, end) >= 0;
}

function unexpected(result: CommandResult): KvError {
  return new KvError('INTERNAL', `a write was answered with '${result.type}'`);
}
