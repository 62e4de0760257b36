/** Two servers of etcd's API that are asked the same in turn: runs, their differences, and the shortest requests that still show one. */
import type { Method } from '../../src/api/grpc/method.ts';
import { type Answer, type Ask, PLAIN_START, type Plain } from './asks.ts';
import { type Kind, ROOT_PASSWORD } from './generate.ts';
import { INTENDED, type Intended } from './intended.ts';
import { ServerSide, type WatchLog } from './server_side.ts';

const EVENTS_LIMIT_MS = 5_000;
const MAX_ATTEMPTS = 150;
const NO_PUT = 0;
const NO_DELETE = 1;
/** Ids and seconds. */
const SHORT = [1, 2] as const;
const LASTING = [2, 600] as const;
const EXPIRY_LIMIT_MS = 15_000;
const DELETE = 1;
const CLEAR = 2;
const ALL = { key: '\0', range_end: '\0' };

export interface Outcome {
  readonly asked: number;
  /** Empty: none. */
  readonly difference: string;
  /** What came of the first request that was answered differently on purpose. */
  readonly intended: readonly Intended[];
}

export class Pair {
  readonly #ours: ServerSide;
  readonly #theirs: ServerSide;

  constructor(ourUrl: string, theirUrl: string, methods: ReadonlyMap<string, Method>) {
    this.#ours = new ServerSide('kvorum', ourUrl, methods);
    this.#theirs = new ServerSide('etcd', theirUrl, methods);
  }

  close(): void {
    this.#ours.close();
    this.#theirs.close();
  }

  /** Asks both in turn, from empty stores, until they differ. */
  async run(asks: readonly Ask[], kind: Kind): Promise<Outcome> {
    for (const side of [this.#ours, this.#theirs]) await clear(side);
    const intended: Intended[] = [];
    let asked = 0;
    const done = (difference: string): Outcome => ({ asked, difference, intended });
    let compacted = PLAIN_START;
    let enabled = false;
    for (const planned of asks) {
      // etcd 3.4 refuses tokens it does not know even where it needs none: before rights are enforced, and where a new one is asked for.
      const { call, message, needsLeader } = planned;
      const ask: Ask = enabled && call !== 'Auth/Authenticate' ? planned : { call, message, needsLeader };
      // The first is canceled here, and begun by etcd without what it has forgotten of that revision; the second is refused here, and canceled by etcd once it was begun.
      if (startOf(ask) === compacted || startOf(ask) === -1) continue;
      if (kind === 'keys' && disturbsWatches(ask)) {
        const late = await this.#settle();
        if (late !== '') return done(late);
      }
      const [ours, theirs] = await this.#both(ask);
      asked++;
      if ('message' in theirs && call === 'Auth/AuthEnable') enabled = true;
      if ('message' in theirs && call === 'Auth/AuthDisable') enabled = false;
      if (ask.call === 'KV/Compact' && 'message' in theirs) compacted = Number(ask.message['revision']);
      if (!same(ours, theirs)) {
        const why = INTENDED.find((one) => one.applies(ask, ours, theirs));
        if (why === undefined) return done(shownDifference(ask, ours, theirs));
        intended.push(why);
        if (why.diverges) return done('');
      }
    }
    return done(kind === 'keys' ? await this.#settle() : '');
  }

  /** In real time: a lease that runs out, one that is kept alive until then, and one that lasts. Gives what differs. */
  async expire(): Promise<string> {
    for (const side of [this.#ours, this.#theirs]) await clear(side);
    const differs = async (asks: readonly Ask[]): Promise<string> => {
      for (const ask of asks) {
        const [ours, theirs] = await this.#both(ask);
        if (!same(ours, theirs)) return shownDifference(ask, ours, theirs);
      }
      return '';
    };
    const put = (key: string, lease: number): Ask => ({ call: 'KV/Put', message: { key, lease } });
    const before = await differs([
      { call: 'Watch/Watch', message: { create_request: { ...ALL, prev_kv: true } } },
      ...[SHORT, LASTING].map(([ID, TTL]): Ask => ({ call: 'Lease/LeaseGrant', message: { ID, TTL } })),
      ...['b', 'a', 'c', 'moved'].map((key) => put(key, SHORT[0])),
      put('moved', LASTING[0]),
      put('stays', LASTING[0]),
      { call: 'Lease/LeaseKeepAlive', message: { ID: SHORT[0] } },
    ]);
    if (before !== '') return before;
    const ended = await Promise.all(
      [this.#ours, this.#theirs].map((side) =>
        side.until(() => logsOf(side).at(-1)?.events.some(isDelete) || undefined, EXPIRY_LIMIT_MS),
      ),
    );
    if (!ended.every((one) => one === true))
      return `a lease did not end: kvorum ${ended[0]}, etcd ${ended[1]}`;
    const after = await differs([
      { call: 'KV/Range', message: ALL },
      ...[SHORT, LASTING].map(
        ([ID]): Ask => ({ call: 'Lease/LeaseTimeToLive', message: { ID, keys: true } }),
      ),
      { call: 'Lease/LeaseLeases', message: {} },
      { call: 'Lease/LeaseKeepAlive', message: { ID: SHORT[0] } },
      put('late', SHORT[0]),
      { call: 'Lease/LeaseRevoke', message: { ID: SHORT[0] } },
    ]);
    return after === '' ? this.#settle() : after;
  }

  /** The shortest part of a run that differs, as far as leaving out requests goes. */
  async shrink(asks: readonly Ask[], kind: Kind): Promise<readonly Ask[]> {
    let best = asks;
    let attempts = 0;
    for (let size = Math.ceil(asks.length / 2); size >= 1 && attempts < MAX_ATTEMPTS; ) {
      let shorter: readonly Ask[] | undefined;
      for (let at = 0; at < best.length && attempts < MAX_ATTEMPTS; at += size) {
        const without = [...best.slice(0, at), ...best.slice(at + size)];
        attempts++;
        if ((await this.run(without, kind)).difference === '') continue;
        shorter = without;
        break;
      }
      if (shorter !== undefined) best = shorter;
      else if (size === 1) break;
      else size = Math.ceil(size / 2);
    }
    return best;
  }

  #both(ask: Ask): Promise<[Answer, Answer]> {
    return Promise.all([this.#ours.ask(ask), this.#theirs.ask(ask)]);
  }

  /**
   * Waits until the watches of both have told everything, by a put and a delete that each of them shows; gives what differs then. etcd would otherwise cancel a watch that a compaction overtakes, and forget what
   * a canceled one had still to tell.
   */
  async #settle(): Promise<string> {
    for (const { request, id } of [...logsOf(this.#ours)].filter((log) => log.canceled === undefined)) {
      const key = request['key'] === undefined || request['key'] === '' ? '\0' : String(request['key']);
      const shown: [ask: Ask, filter: number][] = [
        [{ call: 'KV/Put', message: { key } }, NO_PUT],
        [{ call: 'KV/DeleteRange', message: { key } }, NO_DELETE],
      ];
      let last = 0;
      for (const [ask, filter] of shown) {
        const [ours, theirs] = await this.#both(ask);
        if (!same(ours, theirs)) return shownDifference(ask, ours, theirs);
        // A shorter run may leave an alarm raised.
        if (refusedByAlarm(ours)) return '';
        const revision = revisionOf(ours);
        const filters = request['filters'] as readonly number[] | undefined;
        if (filters?.includes(filter) !== true && revision >= Number(request['start_revision'] ?? 0))
          last = revision;
      }
      for (const side of [this.#ours, this.#theirs]) {
        const come = (): true | undefined => {
          const log = logsOf(side).findLast((one) => one.id === id);
          return log === undefined || log.canceled !== undefined || log.revision >= last ? true : undefined;
        };
        await side.until(come, EVENTS_LIMIT_MS);
      }
    }
    const told = () => [
      JSON.stringify(logsOf(this.#ours).map(inWordsOfEtcd)),
      JSON.stringify(logsOf(this.#theirs)),
    ];
    const agree = (): true | undefined => (told()[0] === told()[1] ? true : undefined);
    // One of them may still have to tell the others of what was written for the last.
    const sides = [this.#ours, this.#theirs];
    await Promise.race(sides.map((side) => side.until(agree, EVENTS_LIMIT_MS)));
    // The other one does not hear of what this one was told.
    for (const side of sides) side.look();
    const [ours, theirs] = told();
    return ours === theirs ? '' : `watches differ\n  kvorum: ${ours}\n  etcd:   ${theirs}`;
  }
}

/** Of a watch that a compaction has ended: Kvorum tells the first revision that can be watched from, etcd the one that was compacted. */
function inWordsOfEtcd(log: WatchLog): WatchLog {
  const { compact_revision: first } = { ...(log.canceled as { compact_revision?: number } | undefined) };
  if (first === undefined) return log;
  return { ...log, canceled: { ...(log.canceled as object), compact_revision: first - 1 } };
}

/** Where a new watch is to begin. */
function startOf({ message }: Ask): number | undefined {
  const { create_request: request } = message as { create_request?: { start_revision?: number } };
  return request?.start_revision;
}

const logsOf = (side: ServerSide): readonly WatchLog[] => side.watches.get('')?.logs ?? [];

function disturbsWatches({ call, message }: Ask): boolean {
  return call === 'KV/Compact' || (call === 'Watch/Watch' && message['cancel_request'] !== undefined);
}

function revisionOf(answer: Answer): number {
  if (!('message' in answer)) throw new Error(`a write failed: ${answer.text}`);
  const { header } = answer.message as { header: { revision: number } };
  return header.revision;
}

const isDelete = (event: Plain): boolean =>
  typeof event === 'object' && 'type' in event && event['type'] === DELETE;

const refusedByAlarm = (answer: Answer): boolean =>
  'text' in answer && answer.text.includes('database space exceeded');

const same = (a: Answer, b: Answer): boolean => JSON.stringify(a) === JSON.stringify(b);

function shownDifference(ask: Ask, ours: Answer, theirs: Answer): string {
  return `${JSON.stringify(ask)}\n  kvorum: ${JSON.stringify(ours)}\n  etcd:   ${JSON.stringify(theirs)}`;
}

/** Empties a server, and begins a run at its revision. */
async function clear(side: ServerSide): Promise<void> {
  side.begin(PLAIN_START);
  const authenticated = await side.ask({
    call: 'Auth/Authenticate',
    message: { name: 'root', password: ROOT_PASSWORD },
  });
  if ('message' in authenticated) await side.raw('Auth/AuthDisable', {}, 'root');
  side.tokens.clear();
  const { alarms } = await side.raw('Maintenance/Alarm', {});
  for (const { memberID, alarm } of alarms as { memberID: bigint; alarm: number }[])
    await side.raw('Maintenance/Alarm', { action: CLEAR, memberID: Number(memberID), alarm });
  const { users } = await side.raw('Auth/UserList', {});
  for (const name of users as string[]) await side.raw('Auth/UserDelete', { name });
  const { roles } = await side.raw('Auth/RoleList', {});
  for (const role of roles as string[]) await side.raw('Auth/RoleDelete', { role });
  const { leases } = await side.raw('Lease/LeaseLeases', {});
  for (const { ID } of leases as { ID: bigint }[]) {
    await side.raw('Lease/LeaseRevoke', { ID: side.mapping.granted(ID) });
  }
  // Three revisions at least, so that there are some below the start of the run.
  for (let i = 0; i < 3; i++) await side.raw('KV/Put', { key: 'start' });
  const { header } = await side.raw('KV/DeleteRange', ALL);
  const { revision } = header as { revision: number };
  await side.raw('KV/Compact', { revision });
  side.begin(revision);
}
