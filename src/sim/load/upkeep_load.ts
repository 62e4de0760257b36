/**
 * Whoever looks after the store while clients work: sets quotas and takes them away, raises alarms and clears them. What check/upkeep_check.ts and invariants/quota_rules.ts judge.
 *
 * Invariants: one change after the other; an alarm that was raised is cleared, whatever becomes of the call, before the next is raised; no limit is set on what the simulator itself writes in the end.
 */
import type { StoreUpkeep } from '../../client/upkeep_types.ts';
import type { UpkeepChange, UpkeepRecord } from '../check/upkeep_check.ts';
import type { SeededRandom } from '../core/seeded_random.ts';
import { asked, attempt, settle } from './changes.ts';

/** Of the rooms of the workload, and some within each other. The empty one only counts. */
const PREFIXES = ['', 'k/', 'k/0', 'k/1', 't/', 'l/', 'n/', 'n/0'] as const;
const CHANGE_TIMEOUT_MS = 2_000;
const CLEAR_EVERY_MS = 50;
const TIDY_EVERY_MS = 500;

export class UpkeepLoad {
  readonly record: UpkeepRecord & { readonly changes: UpkeepChange[] } = { changes: [] };
  readonly #random: SeededRandom;
  readonly #nowMs: () => number;
  readonly #sleep: (delayMs: number) => Promise<void>;
  readonly #upkeep: StoreUpkeep;

  constructor(
    random: SeededRandom,
    nowMs: () => number,
    sleep: (delayMs: number) => Promise<void>,
    upkeep: StoreUpkeep,
  ) {
    this.#random = random;
    this.#nowMs = nowMs;
    this.#sleep = sleep;
    this.#upkeep = upkeep;
  }

  /** Works until it is told to stop. */
  async run(going: () => boolean): Promise<void> {
    const random = this.#random;
    while (going()) {
      await this.#sleep(random.between(10, 200));
      const chance = random.next();
      if (chance < 0.6) await this.#setQuota(random.pick(PREFIXES));
      else if (chance < 0.72) await this.#removeQuota(random.pick(PREFIXES));
      else if (chance < 0.85) await this.#look();
      else await this.#alarm(random.chance(0.8) ? 'nospace' : 'corrupt');
    }
  }

  async #setQuota(prefix: string): Promise<void> {
    const random = this.#random;
    const maxBytes = random.chance(0.5) ? random.int(100, 10_000) : 0;
    const maxKeys = random.chance(0.5) ? random.int(1, 15) : 0;
    const limits = prefix === '' ? {} : { maxBytes, maxKeys };
    await this.#note({ about: { prefix }, to: 'on' }, async () => {
      await this.#upkeep.setQuota(prefix, limits, { timeoutMs: CHANGE_TIMEOUT_MS });
    });
  }

  async #removeQuota(prefix: string): Promise<void> {
    await this.#note({ about: { prefix }, to: 'off' }, async () => {
      await this.#upkeep.removeQuota(prefix, { timeoutMs: CHANGE_TIMEOUT_MS });
    });
  }

  #look(): Promise<void> {
    return attempt(async () => {
      await this.#upkeep.quotas({ timeoutMs: CHANGE_TIMEOUT_MS });
    });
  }

  async #alarm(type: 'nospace' | 'corrupt'): Promise<void> {
    const alarm = { type, member: 0 };
    const options = { timeoutMs: CHANGE_TIMEOUT_MS };
    const raised = await this.#note({ about: { alarm: type }, to: 'on' }, async () => {
      await this.#upkeep.changeAlarm('raise', alarm, options);
    });
    if (raised === 'fail') return;
    await this.#sleep(this.#random.between(5, 150));
    for (;;) {
      const cleared = await this.#note({ about: { alarm: type }, to: 'off' }, async () => {
        await this.#upkeep.changeAlarm('clear', alarm, options);
      });
      if (cleared === 'ok') return;
      await this.#sleep(CLEAR_EVERY_MS);
    }
  }

  /** Clears what was raised late, by a call that had no answer, until it is told to stop. */
  async tidy(going: () => boolean): Promise<void> {
    while (going()) {
      for (const type of ['nospace', 'corrupt'] as const) {
        await attempt(async () => {
          await this.#upkeep.changeAlarm('clear', { type, member: 0 }, { timeoutMs: CHANGE_TIMEOUT_MS });
        });
      }
      await this.#sleep(TIDY_EVERY_MS);
    }
  }

  #note(
    what: Pick<UpkeepChange, 'about' | 'to'>,
    run: () => Promise<void>,
  ): Promise<UpkeepChange['outcome']> {
    const change: UpkeepChange = { ...what, ...asked(this.#nowMs()) };
    this.record.changes.push(change);
    return settle(change, this.#nowMs, run);
  }
}
