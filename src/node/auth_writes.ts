/**
 * Writes where rights are enforced: a command is checked here, given its user's name, and proposed; apply checks it once more, by the state that it meets.
 *
 * Invariant: a denial is final only by a state as new as the cluster's: this node may not have applied yet what allows it.
 */
import { KvError } from '../errors.ts';
import type { Command, CommandResult, PlainCommand } from '../kv/command.ts';
import type { Clock } from '../ports.ts';
import type { Identity } from '../security/identity.ts';
import type { MaybePromise } from '../storage/record.ts';
import { encodeAsUser } from '../wire/as_user.ts';
import type { AuthGate } from './auth_gate.ts';

export interface AuthWritesOptions {
  readonly gate: AuthGate;
  readonly clock: Clock;
  /** Resolves when this node has applied what the cluster had committed. */
  readonly barrier: () => Promise<void>;
  /** Puts a command into the log, here or on the leader. What is given need be valid for the call only where it gives no promise. */
  readonly submit: (encoded: Uint8Array, decoded: Command, timeoutMs: number) => MaybePromise<CommandResult>;
}

export class AuthWrites {
  readonly #options: AuthWritesOptions;

  constructor(options: AuthWritesOptions) {
    this.#options = options;
  }

  /** REQUIRES: rights are enforced; where this gives a promise, the command's bytes stay as they are until it settles. @throws (or rejects with) KvError */
  write(
    command: Uint8Array,
    decoded: PlainCommand,
    identity: Identity | undefined,
    deadlineMs: number,
  ): MaybePromise<CommandResult> {
    if (identity?.user === '') return this.#submit(identity, command, decoded, deadlineMs);
    return this.#checked(command, decoded, identity, deadlineMs);
  }

  async #checked(
    command: Uint8Array,
    decoded: PlainCommand,
    identity: Identity | undefined,
    deadlineMs: number,
  ): Promise<CommandResult> {
    const { gate, barrier } = this.#options;
    await whenFresh(barrier, () => {
      if (gate.auth.enabled) gate.checkCommand(gate.userOf(identity), decoded);
    });
    return this.#submit(identity, command, decoded, deadlineMs);
  }

  /** Without a name only while rights are not enforced: else apply refuses it. */
  #submit(
    identity: Identity | undefined,
    command: Uint8Array,
    decoded: PlainCommand,
    deadlineMs: number,
  ): MaybePromise<CommandResult> {
    const { clock, submit } = this.#options;
    const timeoutMs = Math.max(1, deadlineMs - clock.monotonicMs());
    if (identity === undefined) return submit(command, decoded, timeoutMs);
    const { user, generation } = identity;
    const named: Command = { type: 'asUser', user, generation, command: decoded };
    return submit(encodeAsUser(user, generation, command), named, timeoutMs);
  }
}

/** What `check` gives. What it throws is believed only by a state that is as new as the cluster's at the time of the call. */
export async function whenFresh<T>(barrier: () => Promise<void>, check: () => T): Promise<T> {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof KvError)) throw error;
    await barrier();
    return check();
  }
}
