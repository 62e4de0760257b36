/**
 * etcd's KV: ranges and writes.
 *
 * A single key is the common case and goes the short way. Its record may be a view for this turn of the event loop only: the answer is encoded in the turn in which it is made.
 */
import { KvError } from '../../../errors.ts';
import type { CommandResult } from '../../../kv/command.ts';
import { compareKeys, type MaybePromise } from '../../../storage/record.ts';
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
  TxnRequest,
  TxnResponse,
} from '../messages/kv.ts';
import { type CallContext, type ServiceTable, unary } from '../method.ts';
import {
  callOptionsOf,
  type EtcdContext,
  Headers,
  keyValueOf,
  storedEndOf,
  storedKeyOf,
  succeeded,
} from './etcd_context.ts';
import { deleteOf, putOf, responsesOf, selectionOf, txnBodyOf } from './kv_operations.ts';

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
    const options = callOptionsOf(service, call);
    // Nothing lies below the first revision, so it is gone.
    if (request.revision <= 0) throw etcdError('Compacted');
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
    const selection = selectionOf(request);
    this.#headers.requireLeader(call);
    const { service } = this.#context;
    const options = callOptionsOf(service, call);
    // A negative revision means the newest, as 0 does.
    const revision = Math.max(0, request.revision);
    if (isEmptyRange(key, end)) {
      const got = this.#get(key, revision, request.serializable, options);
      return Promise.resolve(got).then((late) =>
        RangeResponse.create({ header: this.#headers.header(late.revision) }),
      );
    }
    if (end === undefined && !hasFilter(request)) {
      const got = this.#get(key, revision, request.serializable, options);
      return got instanceof Promise
        ? got.then((late) => this.#single(request, late))
        : this.#single(request, got);
    }
    const level = request.serializable ? 'sequential' : 'linearizable';
    const wanted = { ...selection, key, end, level, minRevision: 0, revision, maxBytes: 0 } as const;
    return service.range(wanted, options).then((result) => ({
      header: this.#headers.header(result.revision),
      kvs: result.records.map((record) => keyValueOf(record)),
      more: result.more,
      count: result.count,
    }));
  }

  #get(key: Uint8Array, revision: number, serializable: boolean, options: CallOptions) {
    const level = serializable ? 'sequential' : 'linearizable';
    return this.#context.service.get({ key, level, minRevision: 0, revision }, options);
  }

  #single(request: RangeRequest, { revision, record }: GetResponse): RangeResponse {
    const header = this.#headers.header(revision);
    if (record === undefined) return { header, kvs: [], more: false, count: 0 };
    const kvs = request.count_only ? [] : [keyValueOf(record, request.keys_only)];
    return { header, kvs, more: false, count: 1 };
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

function hasFilter(request: RangeRequest): boolean {
  return (
    request.min_mod_revision !== 0 ||
    request.max_mod_revision !== 0 ||
    request.min_create_revision !== 0 ||
    request.max_create_revision !== 0
  );
}

function isEmptyRange(key: Uint8Array, end: Uint8Array | undefined): boolean {
  return end !== undefined && compareKeys(key, end) >= 0;
}

function unexpected(result: CommandResult): KvError {
  return new KvError('INTERNAL', `a write was answered with '${result.type}'`);
}
