/** What the services of etcd share: the service behind them, headers, options of a call, and the forms of keys. */
import type { Limits } from '../../../config.ts';
import { KvError } from '../../../errors.ts';
import type { CommandResult, FailedResult } from '../../../kv/command.ts';
import { storedKey, USER_SPACE_END, userKey } from '../../../kv/keyspace.ts';
import { compareKeys, type StoredRecord } from '../../../storage/record.ts';
import type { CallOptions, Service } from '../../service.ts';
import { etcdError } from '../etcd_errors.ts';
import type { KeyValue, ResponseHeader } from '../messages/kv.ts';
import type { CallContext } from '../method.ts';

export interface EtcdContext {
  readonly service: Service;
  readonly limits: Limits;
}

const DEFAULT_CALL: CallOptions = {};
const NO_BYTES = new Uint8Array(0);

export class Headers {
  readonly #service: Service;
  #clusterText = '';
  #clusterId = 0n;

  constructor(service: Service) {
    this.#service = service;
  }

  /** As every answer begins. `revision` undefined: the store's at this node. */
  header(revision?: number): ResponseHeader {
    const standing = this.#service.standing();
    if (standing.clusterId !== this.#clusterText) {
      this.#clusterText = standing.clusterId;
      this.#clusterId = BigInt(standing.clusterId);
    }
    return {
      cluster_id: this.#clusterId,
      member_id: BigInt(standing.nodeId),
      revision: revision ?? standing.revision,
      raft_term: standing.term,
    };
  }

  /** Clients may ask not to be served by a node that is cut off. @throws GrpcError */
  requireLeader(context: CallContext): void {
    if (context.metadata('hasleader') === 'true' && this.#service.standing().leader === 0) {
      throw etcdError('NoLeader');
    }
  }
}

/** How long a call may take and who asks: the client's token says so. @throws KvError UNAUTHENTICATED */
export function callOptionsOf(service: Service, context: CallContext): CallOptions {
  const { timeoutMs } = context;
  const token = context.metadata('token') ?? context.metadata('authorization');
  const identity = token === undefined ? undefined : service.auth.identify(token);
  return timeoutMs === undefined && identity === undefined ? DEFAULT_CALL : { timeoutMs, identity };
}

/** What a command gave. @throws KvError for what was refused when it was applied */
export function succeeded(result: CommandResult): Exclude<CommandResult, FailedResult> {
  if (result.type === 'failed') throw new KvError(result.code, result.message);
  return result;
}

/** A key as it is stored. @throws GrpcError for an empty one */
export function storedKeyOf(key: Uint8Array): Uint8Array {
  if (key.length === 0) throw etcdError('EmptyKey');
  return storedKey(key);
}

/** The end of a range as it is stored; undefined: only the key itself. */
export function storedEndOf(end: Uint8Array): Uint8Array | undefined {
  if (end.length === 0) return undefined;
  // One zero byte: no end.
  return end.length === 1 && end[0] === 0 ? USER_SPACE_END : storedKey(end);
}

/** The other way round, for what is shown. */
export function shownEndOf(end: Uint8Array | undefined): Uint8Array {
  if (end === undefined) return NO_BYTES;
  return compareKeys(end, USER_SPACE_END) >= 0 ? Uint8Array.of(0) : userKey(end);
}

/** A record as clients see it; `key` and `value` may be views. */
export function keyValueOf(record: StoredRecord, keysOnly = false): KeyValue {
  return {
    key: userKey(record.key),
    create_revision: record.createRevision,
    mod_revision: record.modRevision,
    version: record.version,
    value: keysOnly ? NO_BYTES : record.value,
    lease: BigInt.asIntN(64, record.lease),
  };
}
