/**
 * Whether a user may have a command carried out: one look at everything that the command reads and writes, whichever branch it would take.
 *
 * Read: keys that are compared, ranges, and what a write gives back of the version before. Write: keys that are put, touched or deleted; and where a key is
 * attached to a lease, or a lease is ended, every key of that lease, since its end removes them all. Users, roles and the store as a whole: the role root.
 *
 * Invariants: what is not known to be harmless needs the role root; the answer depends on the replicated state alone.
 */
import type { AuthTable, Rights } from './auth.ts';
import type { KeysOrRange } from './auth_ranges.ts';
import type { Compare, Operation, PlainCommand, TxnBody, WriteId } from './command.ts';
import type { Refusal } from './refusal.ts';

/** The keys that are attached to a lease; none when it does not exist. */
export type LeaseKeys = (lease: bigint) => Iterable<Uint8Array>;

const DENIED: Refusal = { code: 'PERMISSION_DENIED', message: 'permission denied' };
const OTHERS_SESSION: Refusal = { code: 'SESSION_EXPIRED', message: 'the session is not one of this user' };

/** Why a user may not read a key or a range; undefined when allowed. REQUIRES: rights are enforced. */
export function refuseRead(rights: Rights, keys: KeysOrRange): Refusal | undefined {
  if (rights.root) return undefined;
  if (keys.end === undefined) return rights.read.coversKey(keys.key) ? undefined : DENIED;
  return rights.read.coversRange(keys.key, keys.end) ? undefined : DENIED;
}

/** Why a user may not do what only root may; undefined when allowed. REQUIRES: rights are enforced. */
export function refuseNotRoot(rights: Rights): Refusal | undefined {
  return rights.root ? undefined : DENIED;
}

/** Why a user may not have the command carried out; undefined when allowed. REQUIRES: rights are enforced. */
export function refuseCommand(
  auth: AuthTable,
  user: string,
  command: PlainCommand,
  leaseKeys: LeaseKeys,
): Refusal | undefined {
  if (auth.user(user) === undefined) return DENIED;
  const refusal = new CommandCheck(auth.rightsOf(user), leaseKeys).command(command);
  if (refusal !== undefined) return refusal;
  return auth.sessionOwners.refuses(user, sessionOf(command)) ? OTHERS_SESSION : undefined;
}

/** 0: none. */
function sessionOf(command: PlainCommand): number {
  if ('id' in command) return (command.id satisfies WriteId).session;
  return command.type === 'closeSession' ? command.session : 0;
}

class CommandCheck {
  private readonly rights: Rights;
  private readonly leaseKeys: LeaseKeys;

  constructor(rights: Rights, leaseKeys: LeaseKeys) {
    this.rights = rights;
    this.leaseKeys = leaseKeys;
  }

  command(command: PlainCommand): Refusal | undefined {
    if (this.rights.root) return undefined;
    switch (command.type) {
      case 'write':
        return this.operation(command.operation);
      case 'txn':
        return this.txn(command);
      case 'openSession':
      case 'closeSession':
      case 'leaseGrant':
        return undefined;
      case 'leaseRevoke':
        return this.lease(command.lease);
      default:
        return DENIED;
    }
  }

  private txn({ compares, success, failure }: TxnBody): Refusal | undefined {
    return this.compares(compares) ?? this.operations(success) ?? this.operations(failure);
  }

  private compares(compares: readonly Compare[]): Refusal | undefined {
    for (const compare of compares) {
      const refusal = this.read(compare.key, compare.end);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }

  private operations(operations: readonly Operation[]): Refusal | undefined {
    for (const operation of operations) {
      const refusal = this.operation(operation);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }

  private operation(operation: Operation): Refusal | undefined {
    switch (operation.type) {
      case 'put':
        return (
          this.write(operation.key, undefined) ??
          (operation.prevKv ? this.read(operation.key, undefined) : undefined) ??
          (operation.lease === 0n ? undefined : this.lease(operation.lease))
        );
      case 'delete':
        return (
          this.write(operation.key, operation.end) ??
          (operation.prevKv ? this.read(operation.key, operation.end) : undefined)
        );
      case 'touch':
        return this.write(operation.key, undefined);
      case 'range':
        return this.read(operation.key, operation.end);
      case 'txn':
        return this.txn(operation);
    }
  }

  /** Whoever ends a lease, or lets its life depend on another key, has a say over all of its keys. */
  private lease(lease: bigint): Refusal | undefined {
    for (const key of this.leaseKeys(lease)) {
      if (!this.rights.write.coversKey(key)) return DENIED;
    }
    return undefined;
  }

  private read(key: Uint8Array, end: Uint8Array | undefined): Refusal | undefined {
    return refuseRead(this.rights, { key, end });
  }

  private write(key: Uint8Array, end: Uint8Array | undefined): Refusal | undefined {
    if (end === undefined) return this.rights.write.coversKey(key) ? undefined : DENIED;
    return this.rights.write.coversRange(key, end) ? undefined : DENIED;
  }
}
