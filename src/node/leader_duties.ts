/**
 * What the leader does on its own account: deletes keys whose time has come, ends leases (lease_expiry.ts), and compacts old revisions.
 *
 * Both go through the log as commands, so that every node does the same at the same index. An expiry is decided in apply by the entry's time: a key
 * that was written anew in the meantime stays.
 *
 * Invariants: at most one expire and one compact command are under way; a revision that a scan or a watch here still reads (pins.ts) is not compacted.
 */

import { isDamage } from '../errors.ts';
import type { CommandResult } from '../kv/command.ts';
import { type CompactionRules, compactTarget } from '../kv/compaction.ts';
import { dueKeysRange, parseExpiryRow } from '../kv/expiry.ts';
import type { StateMachine } from '../kv/state_machine.ts';
import type { Clock } from '../ports.ts';
import type { Engine } from '../storage/engine_port.ts';
import { asCluster } from '../wire/as_user.ts';
import { encodeCommand } from '../wire/command_codec.ts';
import { LeaseExpiry } from './lease_expiry.ts';
import { checkReadable } from './readable.ts';
import type { StoreClock } from './store_clock.ts';

const MAX_EXPIRED_PER_COMMAND = 1_000;
const SCAN_BYTES = 1024 * 1024;

export interface LeaderDutiesOptions {
  readonly engine: Engine;
  readonly stateMachine: StateMachine;
  readonly clock: Clock;
  readonly storeClock: StoreClock;
  /** How long a new leader waits before it ends leases. */
  readonly leaseGraceMs: number;
  /** Nobody could repair this node: what it cannot read it must not write to the log. */
  readonly alone: () => boolean;
  readonly history: CompactionRules;
  /** The disk is full: history goes before the store stands still. */
  readonly isShortOfRoom: () => boolean;
  /** The lowest revision that somebody still reads; Infinity when nobody does. */
  readonly lowestPin: () => number;
  readonly propose: (command: Uint8Array) => Promise<CommandResult>;
  readonly warn: (message: string, error: unknown) => void;
}

export class LeaderDuties {
  readonly #options: LeaderDutiesOptions;
  readonly #leases: LeaseExpiry;
  #expiring = false;
  #compacting = false;
  /** Nothing due lies before this time: spares the next look the tombstones of keys that have expired. */
  #expiredBeforeMs = 0;

  constructor(options: LeaderDutiesOptions) {
    this.#options = options;
    this.#leases = new LeaseExpiry({ ...options, graceMs: options.leaseGraceMs });
  }

  /** Called several times a second while this node leads. */
  run(term: number): void {
    // Everything would be refused.
    if (this.#options.stateMachine.alarms.has('corrupt')) return;
    this.#leases.run(term);
    if (!this.#expiring) {
      this.#expiring = true;
      this.#expire().then(
        () => {
          this.#expiring = false;
        },
        (error) => {
          this.#expiring = false;
          this.#options.warn('keys could not be expired; trying again', error);
        },
      );
    }
    const { stateMachine, storeClock, history, isShortOfRoom, lowestPin } = this.#options;
    // What was deleted frees nothing for as long as history keeps it.
    const target = compactTarget(stateMachine, history, storeClock.nowMs(), isShortOfRoom(), lowestPin());
    if (target > 0 && !this.#compacting) {
      this.#compacting = true;
      const compact = { type: 'compact', revision: target } as const;
      // Where rights are enforced, a compaction has to say that it is the cluster's own.
      const command = this.#options.stateMachine.auth.enabled ? asCluster(compact) : compact;
      this.#options.propose(encodeCommand(command)).then(
        () => {
          this.#compacting = false;
        },
        (error) => {
          this.#compacting = false;
          this.#options.warn('history could not be compacted; trying again', error);
        },
      );
    }
  }

  async #expire(): Promise<void> {
    const nowMs = this.#options.storeClock.nowMs();
    for (let more = true; more; ) more = await this.#expireSome(nowMs);
  }

  /** Those of the keys that can be read. The others stay: they may be looked at again after the next start. */
  async #readable(keys: readonly Uint8Array[]): Promise<Uint8Array[]> {
    const { engine, stateMachine, warn } = this.#options;
    const readable: Uint8Array[] = [];
    for (const key of keys) {
      try {
        await checkReadable(engine, { keys: [key], ranges: [] }, stateMachine.revision);
        readable.push(key);
      } catch (error) {
        if (!isDamage(error)) throw error;
        warn('a key whose time has come is damaged, and stays', error);
      }
    }
    return readable;
  }

  /** Deletes some of what is due at `nowMs`; true when there may be more. */
  async #expireSome(nowMs: number): Promise<boolean> {
    const { engine, stateMachine, propose, alone } = this.#options;
    // A key written from now on expires after the store's time: never before this.
    const settledMs = Math.min(nowMs, stateMachine.timeMs);
    const page = await engine.scan({
      start: dueKeysRange(this.#expiredBeforeMs).end ?? dueKeysRange(0).start,
      end: dueKeysRange(nowMs).end,
      revision: stateMachine.revision,
      reverse: false,
      limit: MAX_EXPIRED_PER_COMMAND,
      maxBytes: SCAN_BYTES,
      keysOnly: true,
    });
    const due = page.records.flatMap((record) => parseExpiryRow(record.key)?.key ?? []);
    const keys = alone() ? await this.#readable(due) : due;
    if (keys.length > 0) await propose(encodeCommand({ type: 'expire', keys }));
    // With a clock that went back, apply may have spared them: they are looked at again in the next round.
    if (page.more) return keys.length > 0 && stateMachine.timeMs >= nowMs;
    this.#expiredBeforeMs = Math.max(this.#expiredBeforeMs, settledMs);
    return false;
  }
}
