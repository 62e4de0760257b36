/**
 * Random requests to a server of etcd's API: the same seed gives the same ones.
 *
 * Few keys, so that requests meet; every option of every request, wrong ones too. Two kinds of runs: keys, leases and watches as they are used together, with looks at the server, and now and then
 * an alarm; and keys and leases among users whose rights change meanwhile.
 */
import { SeededRandom } from '../raft/random.ts';
import type { Ask, Plain } from './asks.ts';

export const ROOT_PASSWORD = 'root-pw';
export const USERS = ['ann', 'bob'];
const PASSWORDS = ['pw-1', 'pw-2'];
const ROLES = ['r1', 'r2', 'r3'];
const KEYS = ['a', 'b', 'c', 'd', 'e', 'k/1', 'k/2', '\u0001'];
const ENDS = [...KEYS, 'f', 'k0', '\0'];
const NO_SPACE = 1;
/** What a run may have at once: each costs time at its end. */
const MAX_WATCHES = 6;

type Message = Record<string, Plain>;

export type Kind = 'keys' | 'rights';

/** A run of `count` requests. */
export function runOf(seed: number, kind: Kind, count: number): Ask[] {
  const random = new SeededRandom(seed);
  const make = new Requests(random, kind);
  if (kind === 'keys') return make.ofKeys(count);
  const asks = make.usersBefore();
  while (asks.length < count) {
    const as = random.pick(['root', 'root', 'ann', 'ann', 'ann', 'bob', 'bob', '', 'stranger']);
    const ask = random.chance(0.35) ? make.ofRights() : make.usual(false);
    // Nobody's leases are a difference after which the stores are not the same.
    const needsUser = /^Lease.Lease(Grant|Revoke)$/.test(ask.call) && !random.chance(0.05);
    asks.push({ ...ask, as: needsUser ? 'root' : as });
    if (random.chance(0.03)) asks.push(make.enable());
  }
  return asks;
}

class Requests {
  readonly #random: SeededRandom;
  readonly #kind: Kind;
  #watches = 0;

  constructor(random: SeededRandom, kind: Kind) {
    this.#random = random;
    this.#kind = kind;
  }

  ofKeys(count: number): Ask[] {
    const asks: Ask[] = [];
    while (asks.length < count) {
      if (this.#random.chance(0.005)) asks.push(...this.#alarmed());
      else asks.push(this.#random.chance(0.04) ? this.#look() : this.usual());
    }
    return asks.map((ask) => (this.#random.chance(0.1) ? { ...ask, needsLeader: true } : ask));
  }

  /** A look at the server itself. */
  #look(): Ask {
    const dice = this.#random.below(10);
    if (dice < 3) return { call: 'Maintenance/Status', message: {} };
    if (dice < 4) return { call: 'Cluster/MemberList', message: {} };
    if (dice < 5) return { call: 'Maintenance/Hash', message: {} };
    if (dice < 6) return { call: 'Maintenance/Defragment', message: {} };
    if (dice < 7) return this.#alarm(this.#pick([0, 2]));
    const revision = this.#random.chance(0.3) ? 0 : this.#revision();
    return { call: 'Maintenance/HashKV', message: { revision } };
  }

  #alarm(action: number): Ask {
    const message = { action, memberID: 1 + this.#random.below(3), alarm: NO_SPACE };
    return { call: 'Maintenance/Alarm', message };
  }

  /** What goes on, and what does not, while an alarm is raised; all alarms are cleared at its end. */
  #alarmed(): Ask[] {
    const asks = [this.#alarm(1)];
    for (let left = 3 + this.#random.below(12); left > 0; left--) {
      const dice = this.#random.below(100);
      if (dice < 25) asks.push({ call: 'KV/Put', message: this.#put() });
      else if (dice < 40) asks.push({ call: 'KV/Range', message: this.#range() });
      else if (dice < 50) asks.push({ call: 'KV/DeleteRange', message: this.#delete() });
      // etcd does not see the puts of nested transactions.
      else if (dice < 70) asks.push({ call: 'KV/Txn', message: this.#txn(0) });
      else if (dice < 85) asks.push(this.#lease());
      else asks.push(this.#alarm(this.#random.below(3)));
    }
    for (const memberID of [1, 2, 3])
      asks.push({ call: 'Maintenance/Alarm', message: { action: 2, memberID, alarm: NO_SPACE } });
    return asks;
  }

  usual(withWatches = true): Ask {
    const dice = this.#random.below(100);
    if (dice < 22) return { call: 'KV/Put', message: this.#put() };
    if (dice < 46) return { call: 'KV/Range', message: this.#range() };
    if (dice < 54) return { call: 'KV/DeleteRange', message: this.#delete() };
    if (dice < 76) return { call: 'KV/Txn', message: this.#txn(2) };
    if (dice < 79) return { call: 'KV/Compact', message: this.#compact() };
    if (dice < 92) return this.#lease();
    if (withWatches) return this.#watch();
    return dice < 98 ? { call: 'KV/Range', message: this.#range() } : this.#created();
  }

  usersBefore(): Ask[] {
    const asks: Ask[] = [
      { call: 'Auth/UserAdd', message: { name: 'root', password: ROOT_PASSWORD } },
      ...USERS.map((name) => ({ call: 'Auth/UserAdd', message: { name, password: PASSWORDS[0]! } })),
      ...ROLES.slice(0, 2).map((name) => ({ call: 'Auth/RoleAdd', message: { name } })),
    ];
    for (let i = 0; i < 4; i++) asks.push(this.#grant());
    for (const user of USERS)
      asks.push({ call: 'Auth/UserGrantRole', message: { user, role: this.#pick(ROLES) } });
    for (let i = 0; i < 5; i++) asks.push(this.usual(false));
    if (this.#random.chance(0.2)) asks.push({ call: 'Auth/AuthEnable', message: {} });
    asks.push({ call: 'Auth/RoleAdd', message: { name: 'root' } });
    asks.push({ call: 'Auth/UserGrantRole', message: { user: 'root', role: 'root' } });
    asks.push(this.enable());
    asks.push({ call: 'Auth/Authenticate', message: { name: 'root', password: ROOT_PASSWORD } });
    for (const name of USERS)
      asks.push({ call: 'Auth/Authenticate', message: { name, password: PASSWORDS[0]! } });
    return asks;
  }

  enable(): Ask {
    return { call: 'Auth/AuthEnable', message: {}, as: 'root' };
  }

  ofRights(): Ask {
    const name = this.#random.chance(0.1) ? this.#pick(['root', 'nobody', '']) : this.#pick(USERS);
    const role = this.#random.chance(0.1) ? this.#pick(['root', 'nothing', '']) : this.#pick(ROLES);
    const dice = this.#random.below(100);
    if (dice < 22) return this.#grant();
    if (dice < 32) return { call: 'Auth/RoleRevokePermission', message: { role, ...this.#keys() } };
    if (dice < 44) return { call: 'Auth/UserGrantRole', message: { user: name, role } };
    if (dice < 50) return { call: 'Auth/UserRevokeRole', message: { name, role } };
    if (dice < 56) return { call: 'Auth/RoleAdd', message: { name: role } };
    if (dice < 60) return { call: 'Auth/RoleDelete', message: { role } };
    if (dice < 67) return { call: 'Auth/RoleGet', message: { role } };
    if (dice < 70) return { call: 'Auth/RoleList', message: {} };
    if (dice < 78) return { call: 'Auth/UserGet', message: { name } };
    if (dice < 81) return { call: 'Auth/UserList', message: {} };
    if (dice < 84) return this.#userAdd(name);
    if (dice < 86) return { call: 'Auth/UserDelete', message: { name } };
    if (dice < 88) return this.#changePassword(name);
    if (dice < 96) return { call: 'Auth/Authenticate', message: { name, password: this.#password(name) } };
    if (dice < 98) return { call: 'Auth/AuthDisable', message: {} };
    return this.enable();
  }

  #userAdd(name: string): Ask {
    const without = this.#random.chance(0.2);
    return {
      call: 'Auth/UserAdd',
      message: {
        name,
        ...(without ? { options: { no_password: true } } : { password: this.#pick(PASSWORDS) }),
      },
    };
  }

  /** Root keeps its password, which ends the run. */
  #changePassword(name: string): Ask {
    const whose = name === 'root' ? 'nobody' : name;
    return { call: 'Auth/UserChangePassword', message: { name: whose, password: this.#pick(PASSWORDS) } };
  }

  #password(name: string): string {
    return name === 'root' && this.#random.chance(0.8) ? ROOT_PASSWORD : this.#pick(PASSWORDS);
  }

  #grant(): Ask {
    const name = this.#random.chance(0.08) ? this.#pick(['nothing', '', 'root']) : this.#pick(ROLES);
    const permType = this.#random.below(3);
    const keys = this.#keys();
    // Without `perm` an etcd 3.4 ends.
    return { call: 'Auth/RoleGrantPermission', message: { name, perm: { permType, ...keys } } };
  }

  #pick<T>(list: readonly T[]): T {
    return this.#random.pick(list);
  }

  /** One key, or a range; seldom what is none. */
  #keys(ranges = 0.5): Message {
    const key = this.#random.chance(0.02) ? '' : this.#random.chance(0.06) ? '\0' : this.#pick(KEYS);
    if (!this.#random.chance(ranges)) return { key };
    let end = this.#pick(ENDS);
    // Whether a range that holds nothing is somebody's is asked nowhere but in etcd.
    while (this.#kind === 'rights' && end !== '\0' && end <= key) end = this.#pick(ENDS);
    return { key, range_end: end };
  }

  #value(): string {
    const dice = this.#random.below(40);
    return dice === 0 ? 'long '.repeat(400) : dice < 6 ? '' : this.#pick(['x', 'y', 'z']);
  }

  #revision(): number {
    return this.#random.chance(0.02) ? -1 : 1 + this.#random.below(this.#random.chance(0.1) ? 400 : 40);
  }

  #leaseId(): number {
    const dice = this.#random.below(20);
    if (dice === 0) return this.#pick([-7, 77]);
    return dice < 5 ? -1000 - this.#random.below(3) : 1 + this.#random.below(5);
  }

  #put(): Message {
    const { key = '' } = this.#keys(0);
    const message: Message = { key };
    const ignoreValue = this.#random.chance(0.08);
    const ignoreLease = this.#random.chance(0.08);
    if (!ignoreValue || this.#random.chance(0.2)) message['value'] = this.#value();
    if (ignoreLease ? this.#random.chance(0.2) : this.#random.chance(0.25))
      message['lease'] = this.#leaseId();
    if (this.#random.chance(0.3)) message['prev_kv'] = true;
    if (ignoreValue) message['ignore_value'] = true;
    if (ignoreLease) message['ignore_lease'] = true;
    return message;
  }

  #delete(): Message {
    return this.#random.chance(0.4) ? { ...this.#keys(0.4), prev_kv: true } : this.#keys(0.4);
  }

  #range(): Message {
    const message: Message = this.#keys(0.7);
    const sometimes = (name: string, chance: number, value: () => Plain): void => {
      if (this.#random.chance(chance)) message[name] = value();
    };
    sometimes('limit', 0.3, () => (this.#random.chance(0.05) ? -1 : this.#random.below(4)));
    sometimes('revision', 0.25, () => this.#revision());
    sometimes('sort_order', 0.4, () => (this.#random.chance(0.02) ? 7 : this.#random.below(3)));
    // One that does not exist, with an order, ends an etcd 3.4.
    sometimes('sort_target', 0.4, () => this.#random.below(5));
    sometimes('serializable', 0.2, () => true);
    sometimes('keys_only', 0.2, () => true);
    sometimes('count_only', 0.15, () => true);
    for (const name of ['min_mod_revision', 'max_mod_revision', 'min_create_revision', 'max_create_revision'])
      sometimes(name, 0.12, () => this.#revision());
    return message;
  }

  #txn(depth: number): Message {
    const operations = (): Plain[] =>
      Array.from({ length: this.#random.below(4) }, () => this.#operation(depth));
    const compare = Array.from({ length: this.#random.below(3) }, () => this.#compare());
    return { compare, success: operations(), failure: operations() };
  }

  #operation(depth: number): Plain {
    const dice = this.#random.below(100);
    if (dice < 2) return {};
    if (dice < 40) return { request_put: this.#put() };
    if (dice < 65) return { request_range: this.#range() };
    if (dice < 82 || depth === 0) return { request_delete_range: this.#delete() };
    return { request_txn: this.#txn(depth - 1) };
  }

  #compare(): Plain {
    const target = this.#random.chance(0.02) ? 9 : this.#random.below(5);
    const result = this.#random.chance(0.02) ? 9 : this.#random.below(4);
    const operands: Message[] = [
      { version: this.#random.below(4) },
      { create_revision: this.#random.chance(0.3) ? 0 : this.#revision() },
      { mod_revision: this.#random.chance(0.3) ? 0 : this.#revision() },
      { value: this.#value() },
      { lease: this.#random.chance(0.5) ? 0 : this.#leaseId() },
    ];
    const which = this.#random.chance(0.03) ? this.#random.below(5) : target % 5;
    const operand = this.#random.chance(0.03) ? {} : operands[which]!;
    return { target, result, ...this.#keys(0.3), ...operand };
  }

  #compact(): Message {
    const revision = this.#random.chance(0.05) ? 0 : this.#revision();
    return this.#random.chance(0.2) ? { revision, physical: true } : { revision };
  }

  #lease(): Ask {
    const dice = this.#random.below(100);
    const ID = this.#leaseId();
    if (dice < 40) {
      const TTL = this.#pick([600, 600, 1_000, 5_000, 9_000_000_000, 9_000_000_001]);
      return {
        call: 'Lease/LeaseGrant',
        message: { TTL, ID: this.#random.chance(0.2) ? 0 : ID === -7 ? 6 : ID },
      };
    }
    if (dice < 60) return { call: 'Lease/LeaseRevoke', message: { ID: this.#random.chance(0.05) ? 0 : ID } };
    if (dice < 82) {
      return {
        call: 'Lease/LeaseTimeToLive',
        message: this.#random.chance(0.6) ? { ID, keys: true } : { ID },
      };
    }
    return dice < 92
      ? { call: 'Lease/LeaseKeepAlive', message: { ID } }
      : { call: 'Lease/LeaseLeases', message: {} };
  }

  #watch(): Ask {
    if (this.#random.chance(0.3) || this.#watches >= MAX_WATCHES) {
      return { call: 'Watch/Watch', message: { cancel_request: { watch_id: this.#random.below(5) } } };
    }
    this.#watches++;
    return this.#created();
  }

  #created(): Ask {
    const request: Message = { ...this.#keys(0.6) };
    // In etcd the id of a watch that a compaction has ended stays taken.
    if (this.#random.chance(0.5)) request['start_revision'] = this.#revision();
    else if (this.#random.chance(0.3)) request['watch_id'] = this.#random.below(4);
    if (this.#random.chance(0.5)) request['prev_kv'] = true;
    if (this.#random.chance(0.3)) request['filters'] = [this.#pick([0, 1, 1, 5])];
    if (this.#random.chance(0.1)) request['fragment'] = true;
    return { call: 'Watch/Watch', message: { create_request: request } };
  }
}
