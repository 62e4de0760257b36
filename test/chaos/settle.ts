/**
 * The end of a round: everything has been healed, and the cluster must come to rest with all nodes in the same state, within a bounded time.
 */
import { Command, eventually } from '../end_to_end/processes.ts';
import { MAX_TTL_MS, type Workload } from './clients.ts';
import type { Cluster, Member } from './cluster.ts';
import type { HeldEntry, HeldEvent } from './direct_node.ts';
import type { Watchers } from './watchers.ts';

/** After the heal every client must have got something done, and every node must be as far as the leader. */
const LIVENESS_LIMIT_MS = 45_000;
const CHECK_LIMIT_MS = 90_000;
/** Keys with a time to live are gone after so long: their time, two election time-outs, and a loaded machine. */
const EXPIRY_LIMIT_MS = MAX_TTL_MS + 20_000;

/** Work goes on: every client succeeds with a call. */
export async function clientsLive(workload: Workload): Promise<void> {
  const before = [...workload.successes];
  await eventually(
    'every client to get something done after the heal',
    () => (workload.successes.every((count, client) => count > before[client]!) ? true : undefined),
    LIVENESS_LIMIT_MS,
  );
}

/** The nodes that are members as the cluster says; those that it does not know any more must have stopped. */
export async function settledMembers(cluster: Cluster): Promise<Member[]> {
  return eventually(
    'every member to run, and nobody else',
    async () => {
      const { members } = await cluster.membership();
      const ids = new Set(members.map(({ id }) => id));
      const inside = cluster.members.filter(({ id }) => ids.has(id));
      for (const member of cluster.members) {
        if (!ids.has(member.id) && member.running)
          throw new Error(`node ${member.id} is no member and has not stopped`);
      }
      for (const member of inside) {
        if (!member.running) throw new Error(`node ${member.id} is a member and does not run`);
        await cluster.status(member);
      }
      return inside;
    },
    LIVENESS_LIMIT_MS,
  );
}

/** What all nodes hold, after they were found to hold the same. */
export interface SettledState {
  readonly fromRevision: number;
  readonly toRevision: number;
  readonly events: readonly HeldEvent[];
  readonly entries: readonly HeldEntry[];
}

export async function sameState(cluster: Cluster, members: readonly Member[]): Promise<SettledState> {
  const statuses = await eventually(
    'all nodes to be equally far and healthy',
    async () => {
      const all = await Promise.all(members.map((member) => cluster.status(member)));
      const told = all.map(({ id, role, term, appliedIndex, revision, health }) => ({
        id,
        role,
        term,
        appliedIndex,
        revision,
        health,
      }));
      const [first] = all;
      const equal = all.every(
        ({ appliedIndex, revision, health }) =>
          appliedIndex === first!.appliedIndex && revision === first!.revision && health === 'ok',
      );
      if (!equal || all.filter(({ role }) => role === 'leader').length !== 1)
        throw new Error(JSON.stringify(told));
      return all;
    },
    LIVENESS_LIMIT_MS,
  );
  const toRevision = statuses[0]!.revision;
  const fromRevision = Math.max(...statuses.map(({ compactRevision }) => compactRevision)) + 1;
  const states = await Promise.all(
    members.map((member) =>
      cluster.direct(member, async (node) => ({
        id: member.id,
        entries: await node.entries(toRevision),
        events: await node.events(fromRevision, toRevision),
      })),
    ),
  );
  const [first, ...others] = states;
  for (const other of others) {
    assertSame(`live keys of nodes ${first!.id} and ${other.id}`, first!.entries, other.entries);
    assertSame(`events of nodes ${first!.id} and ${other.id}`, first!.events, other.events);
  }
  return { fromRevision, toRevision, events: first!.events, entries: first!.entries };
}

function assertSame(what: string, one: readonly object[], other: readonly object[]): void {
  for (let at = 0; at < Math.max(one.length, other.length); at++) {
    const [a, b] = [JSON.stringify(one[at]), JSON.stringify(other[at])];
    if (a !== b) throw new Error(`${what} differ at ${at}: ${a?.slice(0, 300)} and ${b?.slice(0, 300)}`);
  }
}

/** Keys with a time to live have gone, on every node; but for those that were put while a leader's clock was ahead, where one was: they end when it says. */
export async function expired(cluster: Cluster, members: readonly Member[]): Promise<void> {
  await eventually(
    'every key with a time to live to be gone',
    async () => {
      for (const member of members) {
        const { revision } = await cluster.status(member);
        const left = await cluster.direct(member, (node) => node.entries(revision));
        const wasAhead = cluster.shifts.some(({ offsetMs }) => offsetMs > 0);
        const timed = left.filter(
          ({ expiresAtMs }) => expiresAtMs !== 0 && !(wasAhead && expiresAtMs > Date.now()),
        );
        if (timed.length > 0)
          throw new Error(`node ${member.id} has ${JSON.stringify(timed[0])} at ${Date.now()}`);
      }
      return true;
    },
    EXPIRY_LIMIT_MS,
  );
}

export async function watchersReach(watchers: Watchers, revision: number): Promise<void> {
  await eventually(
    `the watchers to reach revision ${revision}`,
    () => {
      if (watchers.haveReached(revision)) return true;
      throw new Error(`they are at ${watchers.latest.join(', ')}`);
    },
    LIVENESS_LIMIT_MS,
  );
}

/** `kvorum check` on every data directory, all nodes stopped. */
export async function checkDirectories(cluster: Cluster): Promise<string[]> {
  const reports = await Promise.all(
    cluster.members
      .filter(({ lives }) => lives > 0)
      .map(async (member) => {
        const command = new Command(['check', member.dataDirectory]);
        const timer = setTimeout(() => command.child.kill('SIGKILL'), CHECK_LIMIT_MS);
        const { status, stdout, stderr } = await command.ended;
        clearTimeout(timer);
        if (status === 0) return [];
        const found = status === null ? `not checked within ${CHECK_LIMIT_MS} ms` : 'not sound';
        return [`the directory of node ${member.id} is ${found}: ${stdout}${stderr}`];
      }),
  );
  return reports.flat();
}
