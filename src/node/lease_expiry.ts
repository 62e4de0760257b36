/**
 * The leader's watch over leases: proposes the end of those whose time has come.
 *
 * What is proposed is decided in apply by the entry's time: a lease that was renewed meanwhile stays, so none ends early. A leader that was just elected waits for an election timeout
 * before its first look: whoever could not renew while there was no leader gets through first. So a lease ends at the latest after its time, the time until there is a
 * leader, one election timeout and the interval between looks.
 *
 * Invariants: one round of proposals is under way at a time; the keys of a lease go at a revision of their own, unless they came while it was being proposed.
 */
import { isDamage } from '../errors.ts';
import type { CommandResult } from '../kv/command.ts';
import type { Lease } from '../kv/lease_table.ts';
import type { StateMachine } from '../kv/state_machine.ts';
import type { Clock } from '../ports.ts';
import type { Engine } from '../storage/engine_port.ts';
import { encodeCommand } from '../wire/command_codec.ts';
import { checkReadable } from './readable.ts';
import type { StoreClock } from './store_clock.ts';

const MAX_LEASES_PER_ROUND = 1_000;
/** Keys that one round removes, but for the last lease's. */
const MAX_KEYS_PER_ROUND = 10_000;

export interface LeaseExpiryOptions {
  readonly engine: Engine;
  readonly stateMachine: StateMachine;
  readonly storeClock: StoreClock;
  readonly clock: Clock;
  /** How long a new leader waits. */
  readonly graceMs: number;
  /** Nobody could repair this node: what it cannot read it must not write to the log. */
  readonly alone: () => boolean;
  readonly propose: (command: Uint8Array) => Promise<CommandResult>;
  readonly warn: (message: string, error: unknown) => void;
}

export class LeaseExpiry {
  readonly #options: LeaseExpiryOptions;
  #busy = false;
  #term = 0;
  #leadsSinceMs = 0;
  /** Leases with keys that cannot be read: they stay. */
  readonly #damaged = new Set<bigint>();

  constructor(options: LeaseExpiryOptions) {
    this.#options = options;
  }

  /** Called several times a second while this node leads. */
  run(term: number): void {
    const { clock, graceMs, warn } = this.#options;
    const nowMs = clock.monotonicMs();
    if (term !== this.#term) {
      this.#term = term;
      this.#leadsSinceMs = nowMs;
    }
    if (this.#busy || nowMs - this.#leadsSinceMs < graceMs) return;
    this.#busy = true;
    this.#expire().then(
      () => {
        this.#busy = false;
      },
      (error) => {
        this.#busy = false;
        warn('leases could not be ended; trying again', error);
      },
    );
  }

  async #expire(): Promise<void> {
    const { stateMachine, storeClock, propose } = this.#options;
    const nowMs = storeClock.nowMs();
    for (;;) {
      const due = stateMachine.leases.due(nowMs, MAX_LEASES_PER_ROUND + this.#damaged.size);
      const ending = await this.#ending(due);
      if (ending.length === 0) return;
      await Promise.all(
        commandsOf(ending).map((leases) => propose(encodeCommand({ type: 'leaseExpire', leases }))),
      );
      // Apply has not ended them: the next look will do.
      if (ending.some((lease) => stateMachine.leases.get(lease.id) === lease && lease.expiresAtMs <= nowMs))
        return;
    }
  }

  async #ending(due: readonly Lease[]): Promise<Lease[]> {
    const ending: Lease[] = [];
    let keys = 0;
    for (const lease of due) {
      if (keys >= MAX_KEYS_PER_ROUND) break;
      if (!(await this.#readable(lease))) continue;
      ending.push(lease);
      keys += lease.keys;
    }
    return ending;
  }

  /** Damage that was met once is not looked for again before the next start. */
  async #readable(lease: Lease): Promise<boolean> {
    const { engine, stateMachine, alone, warn } = this.#options;
    if (lease.keys === 0 || !alone()) return true;
    if (this.#damaged.has(lease.id)) return false;
    try {
      const request = stateMachine.reads({ type: 'leaseExpire', leases: [lease.id] });
      await checkReadable(engine, request, stateMachine.revision);
      return true;
    } catch (error) {
      if (!isDamage(error)) throw error;
      this.#damaged.add(lease.id);
      warn('a lease whose time has come has a damaged key, and stays', error);
      return false;
    }
  }
}

/** Leases without keys share a command. */
function commandsOf(ending: readonly Lease[]): bigint[][] {
  const commands: bigint[][] = [];
  const bare: bigint[] = [];
  for (const { id, keys } of ending) {
    if (keys === 0) bare.push(id);
    else commands.push([id]);
  }
  if (bare.length > 0) commands.push(bare);
  return commands;
}
