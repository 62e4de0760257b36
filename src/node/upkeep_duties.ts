/**
 * What the leader does about the health of the store: raises and takes back the alarm NOSPACE, compares what the nodes hold from time to time, has quotas counted (quota_count.ts).
 *
 * NOSPACE follows the leader's own reserve (ballast.ts): while that is in use the leader refuses what needs room anyway, and the alarm tells everybody. A follower whose disk is full raises
 * none: the others can go on without it, and its health tells. Another leader takes the alarm back, if it has room itself.
 *
 * Invariants: one change of an alarm and one comparison are under way at most; alarms that somebody else has raised are left alone.
 */
import type { StateMachine } from '../kv/state_machine.ts';
import type { Alarm, AlarmCommand } from '../kv/upkeep_command.ts';
import type { Clock } from '../ports.ts';
import type { ClusterHash } from '../wire/upkeep_messages.ts';

export interface UpkeepDutiesOptions {
  readonly nodeId: number;
  readonly stateMachine: StateMachine;
  readonly clock: Clock;
  /** The reserve is in use. */
  readonly isShortOfRoom: () => boolean;
  readonly changeAlarm: (action: AlarmCommand['action'], alarm: Alarm) => Promise<unknown>;
  /** 0: never. */
  readonly hashIntervalMs: number;
  readonly compare: () => Promise<ClusterHash>;
  /** Goes on with what quotas have to have counted. */
  readonly countQuotas: () => void;
  readonly warn: (message: string, facts: Record<string, unknown>) => void;
}

export class UpkeepDuties {
  readonly #options: UpkeepDutiesOptions;
  #changing = false;
  #comparing = false;
  #comparedMs: number;

  constructor(options: UpkeepDutiesOptions) {
    this.#options = options;
    this.#comparedMs = options.clock.monotonicMs();
  }

  /** Called several times a second while this node leads. */
  run(): void {
    this.#followRoom();
    this.#options.countQuotas();
    const { clock, hashIntervalMs } = this.#options;
    if (hashIntervalMs === 0 || this.#comparing) return;
    if (clock.monotonicMs() - this.#comparedMs < hashIntervalMs) return;
    this.#comparing = true;
    void this.#compare().finally(() => {
      this.#comparing = false;
      this.#comparedMs = clock.monotonicMs();
    });
  }

  #followRoom(): void {
    const { stateMachine, isShortOfRoom, nodeId, changeAlarm, warn } = this.#options;
    if (this.#changing) return;
    const own: Alarm = { type: 'nospace', member: nodeId, byNode: true };
    const raised = stateMachine.alarms.list.filter(({ type, byNode }) => type === 'nospace' && byNode);
    const full = isShortOfRoom();
    const stale = raised.find(({ member }) => !full || member !== nodeId);
    const missing =
      full && !stateMachine.alarms.list.some(({ type, member }) => type === 'nospace' && member === nodeId);
    if (stale === undefined && !missing) return;
    this.#changing = true;
    const change = stale === undefined ? changeAlarm('raise', own) : changeAlarm('clear', stale);
    change
      .catch((error: unknown) => warn('an alarm could not be changed; trying again', { error }))
      .finally(() => {
        this.#changing = false;
      });
  }

  async #compare(): Promise<void> {
    const { compare, warn } = this.#options;
    try {
      const { revision, differing, members } = await compare();
      const silent = members.filter(({ hash }) => hash === undefined).map(({ id }) => id);
      if (differing.length > 0) warn('nodes hold different data', { revision, nodes: differing.join() });
      if (silent.length > 0) warn('nodes gave no hash', { revision, nodes: silent.join() });
    } catch (error) {
      warn('the nodes could not be compared; trying again', { error });
    }
  }
}
