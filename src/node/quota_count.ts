/**
 * What the leader does for quotas that were set: counts what lay under their prefix at the revision at which that was, and has it applied.
 *
 * One page after the other, with other work in between, one quota at a time. A count that compaction has overtaken is given up: apply begins it anew at another revision. So does a new leader with
 * what the former one did not finish. A count that is proposed twice is applied once.
 *
 * Invariants: at most one count is under way; it reads one revision, which automatic compaction spares meanwhile.
 */
import type { CommandResult } from '../kv/command.ts';
import { prefixEnd } from '../kv/keyspace.ts';
import { type QuotaState, quotaBytes } from '../kv/quotas.ts';
import type { StateMachine } from '../kv/state_machine.ts';
import type { Timers } from '../ports.ts';
import type { Engine } from '../storage/engine_port.ts';
import { keyAfter } from '../storage/record.ts';
import { encodeCommand } from '../wire/command_codec.ts';
import type { Pins } from './pins.ts';

const PAGE_RECORDS = 1_000;
const PAGE_BYTES = 1024 * 1024;

export interface QuotaCountOptions {
  readonly engine: Engine;
  readonly stateMachine: StateMachine;
  readonly pins: Pins;
  readonly timers: Timers;
  /** While a snapshot is being put in place (snapshots.ts): a promise of its end. */
  readonly replaced: () => Promise<void> | undefined;
  /** Whether this node leads and takes calls. */
  readonly leads: () => boolean;
  readonly propose: (command: Uint8Array) => Promise<CommandResult>;
  readonly warn: (message: string, facts: Record<string, unknown>) => void;
}

export class QuotaCount {
  readonly #options: QuotaCountOptions;
  #counting = false;

  constructor(options: QuotaCountOptions) {
    this.#options = options;
  }

  /** Called several times a second while this node leads. */
  run(): void {
    const { quotas } = this.#options.stateMachine;
    if (this.#counting || !quotas.active) return;
    const quota = quotas.list.find(({ countingFrom }) => countingFrom !== 0);
    if (quota === undefined) return;
    this.#counting = true;
    this.#count(quota.prefix, quota.countingFrom)
      .catch((error: unknown) =>
        this.#options.warn('what a quota holds could not be counted; trying again', { error }),
      )
      .finally(() => {
        this.#counting = false;
      });
  }

  async #count(prefix: Uint8Array, revision: number): Promise<void> {
    const { engine, stateMachine, pins, timers, replaced, leads, propose } = this.#options;
    const end = prefixEnd(prefix);
    let start = prefix;
    let bytes = 0;
    let keys = 0;
    for (;;) {
      for (let wait = replaced(); wait !== undefined; wait = replaced()) await wait;
      if (!leads()) return;
      pins.touch(revision);
      const page = await engine.scan({
        start,
        end,
        revision,
        reverse: false,
        limit: PAGE_RECORDS,
        maxBytes: PAGE_BYTES,
        keysOnly: false,
      });
      for (const { key, value } of page.records) bytes += quotaBytes(key, value);
      keys += page.records.length;
      // Set anew or removed, or overtaken by compaction: what was read may lack something.
      if (!this.#isWanted(prefix, revision) || stateMachine.compactRevision > revision) return;
      const last = page.records.at(-1);
      if (!page.more || last === undefined) break;
      start = keyAfter(last.key);
      await new Promise<void>((resolve) => timers.afterIo(resolve));
    }
    if (leads()) await propose(encodeCommand({ type: 'quotaCounted', prefix, revision, bytes, keys }));
  }

  #isWanted(prefix: Uint8Array, revision: number): boolean {
    const isIt = (quota: QuotaState): boolean => quota.prefix === prefix && quota.countingFrom === revision;
    return this.#options.stateMachine.quotas.list.some(isIt);
  }
}
