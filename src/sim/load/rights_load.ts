/**
 * Users with few rights, which an administrator changes while they work: what check/rights_check.ts judges.
 *
 * The administrator makes one change after the other. An area of keys whose change had an unknown outcome is given up for a new one: else anything would be possible there from then on.
 */
import type { Store } from '../../client/store_types.ts';
import { KvError } from '../../errors.ts';
import type { OperationRecord, Step } from '../check/observations.ts';
import type { Permission, RightsChange, RightsRecord } from '../check/rights_check.ts';
import type { SeededRandom } from '../core/seeded_random.ts';
import { asked, settle } from './changes.ts';
import type { CallSource, WatchWish } from './choices.ts';
import { writesOf } from './direct_calls.ts';
import type { Call } from './recorder.ts';
import { valueToken } from './values.ts';

export interface Login {
  readonly user: string;
  readonly password: string;
}

/** What the clients of a slot are: of plain calls, of the rest of the model, with few rights, contenders for locks and offices. */
export type SlotKind = 'plain' | 'model' | 'rights' | 'locks';

/** May do everything with keys. */
const WORKER: Login = { user: 'worker', password: 'w' };
export const ROOT_LOGIN: Login = { user: 'root', password: 'r' };
const USERS: readonly Login[] = [
  { user: 'ann', password: 'a' },
  { user: 'ben', password: 'b' },
];
const AREAS_OF_EACH = 2;
const KEYS_OF_AREA = 3;
const CHANGE_TIMEOUT_MS = 2_000;

interface Area {
  readonly user: string;
  readonly number: number;
  generation: number;
  granted: Permission;
}

export class RightsLoad {
  readonly record: RightsRecord & { readonly userOf: Map<string, string>; readonly changes: RightsChange[] };
  readonly #areas: Area[];
  readonly #teams = new Map<string, Permission | 'unknown'>();
  readonly #random: SeededRandom;
  readonly #nowMs: () => number;
  readonly #sleep: (delayMs: number) => Promise<void>;

  constructor(random: SeededRandom, nowMs: () => number, sleep: (delayMs: number) => Promise<void>) {
    this.#random = random;
    this.#nowMs = nowMs;
    this.#sleep = sleep;
    this.record = { userOf: new Map(), changes: [] };
    this.#areas = USERS.flatMap(({ user }) =>
      Array.from(
        { length: AREAS_OF_EACH },
        (_, number): Area => ({ user, number, generation: 0, granted: 'none' }),
      ),
    );
  }

  /** Who the next client is. Compaction is for the role root. */
  login(kind: SlotKind): Login {
    if (kind === 'rights') return this.#random.pick(USERS);
    return kind === 'model' && this.#random.chance(0.5) ? ROOT_LOGIN : WORKER;
  }

  /** The users and their roles, and from then on rights are enforced. REQUIRES: they are not. Waits for as long as faults keep it from its work. */
  async setUp({ auth }: Store): Promise<void> {
    const done = (code: string | undefined, run: () => Promise<void>): Promise<void> =>
      this.#insist(code, run);
    for (const { user, password } of [ROOT_LOGIN, WORKER, ...USERS]) {
      await done('USER_EXISTS', () => auth.addUser(user, password));
      if (user !== 'root') await done('ROLE_EXISTS', () => auth.addRole(user));
      await done(undefined, () => auth.grantRole(user, user));
    }
    await done(undefined, () => auth.grant(WORKER.user, 'readwrite', { prefix: '' }));
    for (const { user } of USERS) {
      const role = teamOf(user);
      await done('ROLE_EXISTS', () => auth.addRole(role));
      await done(undefined, () => auth.grant(role, 'readwrite', { prefix: teamArea(user) }));
      this.#teams.set(user, 'none');
      this.#begins(user, { user });
      for (const area of this.#areas.filter((one) => one.user === user)) {
        await done(undefined, () => auth.grant(user, 'readwrite', { prefix: nameOf(area) }));
        this.#begins(user, { area: nameOf(area) });
        area.granted = 'readwrite';
      }
      this.#begins(role, { area: teamArea(user) });
    }
    // Who is nobody is told so from then on.
    await done('USER_EMPTY', () => auth.enable());
  }

  /** Changes rights until it is told to stop. */
  async change({ auth }: Store, going: () => boolean): Promise<void> {
    const random = this.#random;
    while (going()) {
      await this.#sleep(random.between(10, 200));
      const chance = random.next();
      if (chance < 0.1) await this.#sayAgain(auth, random.pick(USERS));
      else if (chance < 0.3) await this.#changeTeam(auth, random.pick(USERS).user);
      else await this.#changeArea(auth, random.pick(this.#areas));
    }
  }

  choices(name: string, user: string, random: SeededRandom): CallSource {
    this.record.userOf.set(name, user);
    const areas = this.#areas.filter((area) => area.user === user);
    const area = (): string => (random.chance(0.3) ? teamArea(user) : nameOf(random.pick(areas)));
    return new RightsChoices(name, random, area);
  }

  /** A right that is given before anybody works. */
  #begins(role: string, about: RightsChange['about']): void {
    const outcome = 'ok';
    this.record.changes.push({ role, about, to: 'readwrite', invokedMs: 0, settledMs: 0, outcome });
  }

  async #changeArea(auth: Store['auth'], area: Area): Promise<void> {
    const keys = { prefix: nameOf(area) };
    const to = this.#random.pick(
      (['none', 'read', 'write', 'readwrite', 'readwrite'] as const).filter((one) => one !== area.granted),
    );
    const options = { timeoutMs: CHANGE_TIMEOUT_MS };
    const outcome = await this.#note(
      { role: area.user, about: { area: nameOf(area) }, to },
      'PERMISSION_NOT_GRANTED',
      () =>
        to === 'none' ? auth.revoke(area.user, keys, options) : auth.grant(area.user, to, keys, options),
    );
    if (outcome === 'ok') area.granted = to;
    if (outcome !== 'info') return;
    area.generation++;
    area.granted = 'none';
  }

  async #changeTeam(auth: Store['auth'], user: string): Promise<void> {
    const has = this.#teams.get(user);
    // What nobody knows any more is left alone.
    if (has === 'unknown') return;
    const to = has === 'none' ? 'readwrite' : 'none';
    const role = teamOf(user);
    const options = { timeoutMs: CHANGE_TIMEOUT_MS };
    const outcome = await this.#note({ role, about: { user }, to }, 'ROLE_NOT_GRANTED', () =>
      to === 'none' ? auth.revokeRole(user, role, options) : auth.grantRole(user, role, options),
    );
    if (outcome === 'ok') this.#teams.set(user, to);
    if (outcome === 'info') this.#teams.set(user, 'unknown');
  }

  /** The same password anew: who has named itself with it has to do so again. */
  async #sayAgain(auth: Store['auth'], { user, password }: Login): Promise<void> {
    try {
      await auth.changePassword(user, password, { timeoutMs: CHANGE_TIMEOUT_MS });
    } catch (error) {
      if (!(error instanceof KvError)) throw error;
    }
  }

  /** `done`: the refusal that says that it is so already. */
  #note(
    what: Pick<RightsChange, 'role' | 'about' | 'to'>,
    done: string,
    run: () => Promise<void>,
  ): Promise<RightsChange['outcome']> {
    const change: RightsChange = { ...what, ...asked(this.#nowMs()) };
    this.record.changes.push(change);
    return settle(change, this.#nowMs, run, done);
  }

  async #insist(done: string | undefined, run: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        return await run();
      } catch (error) {
        if (!(error instanceof KvError)) throw error;
        if (error.code === done) return;
        if (!error.retryable && !error.maybeApplied) throw error;
        await this.#sleep(20);
      }
    }
  }
}

/** Small calls on the few keys of an area, whether there is a right to it or not. */
class RightsChoices implements CallSource {
  readonly #client: string;
  readonly #random: SeededRandom;
  readonly #area: () => string;
  #values = 0;

  constructor(client: string, random: SeededRandom, area: () => string) {
    this.#client = client;
    this.#random = random;
    this.#area = area;
  }

  next(): Call {
    const random = this.#random;
    const timeoutMs = random.int(1_000, 3_000);
    const area = this.#area();
    const key = `${area}${random.int(1, KEYS_OF_AREA)}`;
    const chance = random.next();
    if (chance < 0.55) return { kind: 'put', steps: [this.#put(key)], timeoutMs };
    if (chance < 0.6) return { kind: 'delete', steps: [{ type: 'delete', key }], timeoutMs };
    if (chance < 0.75) return { kind: 'get', steps: [{ type: 'get', key }], timeoutMs };
    if (chance < 0.82) {
      const scan: Step = { type: 'scan', start: area, end: endOf(area), limit: 0, reverse: false };
      return { kind: 'scan', steps: [scan], timeoutMs };
    }
    const compares = [{ target: 'version', relation: '<', key, end: undefined, operand: 2 }] as const;
    const other = `${this.#area()}0`;
    const inner = {
      type: 'put',
      key: other,
      value: this.#value(),
      lease: '0',
      prevKv: random.chance(0.5),
    } as const;
    const nested = {
      compares: random.chance(0.5) ? compares : [],
      success: [{ type: 'txn', compares: [], success: [inner], failure: [] } as const],
      failure: [],
    };
    return { kind: 'nested', steps: writesOf(nested), nested, timeoutMs };
  }

  begins(): void {}

  settled(_operation: OperationRecord): void {}

  watch(): WatchWish {
    const start = this.#area();
    return { start, end: endOf(start), fromRevision: 0 };
  }

  #put(key: string): Step {
    return { type: 'put', key, value: this.#value(), ttlMs: 0 };
  }

  #value(): string {
    return valueToken(this.#client, ++this.#values, 20);
  }
}

function nameOf({ user, number, generation }: Area): string {
  return `a/${user}.${number}.${generation}/`;
}

function teamOf(user: string): string {
  return `${user}-team`;
}

function teamArea(user: string): string {
  return `a/${user}.team/`;
}

function endOf(area: string): string {
  return `${area.slice(0, -1)}0`;
}
