/**
 * What a differential test asks of a server of etcd's API, as plain data: it prints as JSON, and the same data serve for either server.
 *
 * Texts stand for bytes and numbers for identities. What differs between two servers by right is written relative to the run and mapped on the way (`Mapping`):
 * - revisions above 0 count from three below the revision at which the run began, so that 1 and 2 lie below what is compacted then;
 * - leases whose ids the server chose are -1000, -1001, ... in the order in which they were granted;
 * - ids of cluster and member, terms and tokens are only looked at for being there, and so are names, addresses, sizes and hashes.
 */
import type { AnyMessageType, FieldKind, GenericMessage } from '../../src/api/grpc/protobuf/message_type.ts';
import { isZero } from '../../src/api/grpc/protobuf/message_type.ts';

export type Plain = string | number | boolean | readonly Plain[] | { readonly [name: string]: Plain };

export interface Ask {
  /** Service and method: `KV/Range`. */
  readonly call: string;
  /** By the names of the fields; what is left out has its default. */
  readonly message: { readonly [name: string]: Plain };
  /** Whose token goes with it, if there is one; `stranger` has one that nobody gave. */
  readonly as?: string;
  /** Whether it says that it wants no answer from a server that is cut off. */
  readonly needsLeader?: boolean | undefined;
}

/** What a server answered: a message, or a status. */
export type Answer = { readonly message: Plain } | { readonly code: number; readonly text: string };

const REVISIONS = new Set([
  ...['revision', 'create_revision', 'mod_revision', 'start_revision', 'compact_revision'],
  ...['min_mod_revision', 'max_mod_revision', 'min_create_revision', 'max_create_revision'],
]);
/** Fields that hold the id of a lease, beside `ID` of messages about leases. */
const LEASES = new Set(['lease']);
const PRESENT = new Set(['cluster_id', 'member_id', 'raft_term', 'token']);
/** The same of single types. */
const PRESENT_IN: Readonly<Record<string, ReadonlySet<string>>> = {
  'etcdserverpb.Member': new Set(['ID', 'name', 'peerURLs', 'clientURLs']),
  'etcdserverpb.StatusResponse': new Set([
    ...['version', 'dbSize', 'leader', 'raftIndex', 'raftTerm', 'raftAppliedIndex', 'dbSizeInUse'],
  ]),
  'etcdserverpb.HashResponse': new Set(['hash']),
  'etcdserverpb.HashKVResponse': new Set(['hash']),
};
/** Where etcd leaves out the header, or its revision. */
const WITHOUT_HEADER = new Set(
  ['Alarm', 'Defragment', 'MemberList'].map((name) => `etcdserverpb.${name}Response`),
);
const BELOW_START = 3;
/** A run that begins at this revision shows revisions as they are. */
export const PLAIN_START = BELOW_START;
const CHOSEN_BY_SERVER = -1000;
const NO_SUCH_LEASE = 999_999n;
/** Time that may have passed between a grant and a look at what is left of it. */
const PASSED_SECONDS = 120;

/** What stands for what at one server, in one run. */
export class Mapping {
  readonly #start: number;
  readonly #leases: bigint[] = [];

  /** @param start the revision at which the run begins */
  constructor(start: number) {
    this.#start = start;
  }

  /** A lease whose id the server chose; gives what stands for it. */
  granted(id: bigint): number {
    this.#leases.push(id);
    return CHOSEN_BY_SERVER - this.#leases.length + 1;
  }

  revisionOf(shown: number): number {
    return shown > 0 ? shown + this.#start - BELOW_START : shown;
  }

  shownRevision(revision: number): number {
    return revision > 0 ? revision - this.#start + BELOW_START : revision;
  }

  leaseOf(shown: number): bigint {
    return shown > CHOSEN_BY_SERVER
      ? BigInt(shown)
      : (this.#leases[CHOSEN_BY_SERVER - shown] ?? NO_SUCH_LEASE);
  }

  shownLease(id: bigint): number {
    const index = this.#leases.indexOf(id);
    return index < 0 ? Number(id) : CHOSEN_BY_SERVER - index;
  }
}

/** The message that `plain` stands for. */
export function messageOf(type: AnyMessageType, plain: Plain, mapping: Mapping): GenericMessage {
  if (typeof plain !== 'object' || Array.isArray(plain)) throw new TypeError(`${type.name}: no message`);
  const message: GenericMessage = { ...type.defaults };
  for (const [name, value] of Object.entries(plain)) {
    const field = type.fields.find((one) => one.name === name);
    if (field === undefined) throw new TypeError(`${type.name} has no ${name}`);
    const one = (item: Plain): unknown =>
      field.message === undefined
        ? scalarOf(type, name, field.kind, item, mapping)
        : messageOf(field.message(), item, mapping);
    message[name] = field.repeated ? (value as readonly Plain[]).map(one) : one(value);
  }
  return message;
}

function scalarOf(
  type: AnyMessageType,
  name: string,
  kind: FieldKind,
  value: Plain,
  mapping: Mapping,
): unknown {
  if (kind === 'bytes') return Buffer.from(String(value), 'utf8');
  if (typeof value !== 'number') return value;
  if (REVISIONS.has(name)) return mapping.revisionOf(value);
  if (holdsLease(type, name)) return mapping.leaseOf(value);
  return kind === 'bigInt64' || kind === 'bigUint64' ? BigInt(value) : value;
}

function holdsLease(type: AnyMessageType, name: string): boolean {
  return LEASES.has(name) || (name === 'ID' && type.name.startsWith('etcdserverpb.Lease'));
}

/** What a message shows, defaults left out. */
export function plainOf(type: AnyMessageType, message: GenericMessage, mapping: Mapping): Plain {
  const shown: Record<string, Plain> = {};
  for (const { name, repeated, message: inner } of type.fields) {
    const value = message[name];
    if (value === undefined || isZero(value)) continue;
    if (name === 'header' && WITHOUT_HEADER.has(type.name)) continue;
    const one = (item: unknown): Plain =>
      inner === undefined
        ? shownScalar(type, name, item, mapping)
        : plainOf(inner(), item as GenericMessage, mapping);
    if (!repeated) shown[name] = one(value);
    else if (Array.isArray(value) && value.length > 0) {
      const list = value.map(one);
      shown[name] = unordered(type, name) ? sorted(list) : list;
    }
  }
  // Time passes between two servers, too.
  const { TTL, grantedTTL } = shown;
  if (typeof TTL === 'number' && typeof grantedTTL === 'number' && TTL > grantedTTL - PASSED_SECONDS) {
    shown['TTL'] = TTL <= grantedTTL ? 'some of it' : `more than granted: ${TTL}`;
  }
  return shown;
}

/** Lists whose order etcd leaves to chance. */
function unordered(type: AnyMessageType, name: string): boolean {
  return (
    (type.name === 'etcdserverpb.LeaseTimeToLiveResponse' && name === 'keys') ||
    (type.name === 'etcdserverpb.LeaseLeasesResponse' && name === 'leases') ||
    (type.name === 'etcdserverpb.AlarmResponse' && name === 'alarms')
  );
}

const sorted = (list: readonly Plain[]): Plain[] =>
  [...list].sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));

function shownScalar(type: AnyMessageType, name: string, value: unknown, mapping: Mapping): Plain {
  if (PRESENT.has(name) || PRESENT_IN[type.name]?.has(name) === true) return 'present';
  if (value instanceof Uint8Array) return Buffer.from(value).toString('latin1');
  if (typeof value === 'bigint') return holdsLease(type, name) ? mapping.shownLease(value) : Number(value);
  if (typeof value === 'number') return REVISIONS.has(name) ? mapping.shownRevision(value) : value;
  if (typeof value === 'string' || typeof value === 'boolean') return value;
  throw new TypeError(`${type.name}.${name}: ${typeof value}`);
}
