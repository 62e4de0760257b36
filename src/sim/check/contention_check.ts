/**
 * Locks and elections as those who contended saw them, against the history of the keys by which they stand in line.
 *
 * A contender's key is `LINE/LEASE`; who has the lowest create revision has the lock or the office, and that revision is its fencing token. What is said of them:
 *
 *   turn      who was told that it has it had nobody in front any more by then; the same of every leader that somebody was shown
 *   order     who asked after another one was told has the greater token; no two have the same; no write under a token comes after one under a greater token
 *   loss      whoever loses it is told at the latest a time to live after its key has gone, and while clocks are right, before another one is told that it has it
 *   leaders   shown in the order of their tokens, what one of them says in the order of its revisions, nothing twice; a look shows who was there between asking and answer
 *
 * That a write under a token is refused once the token is stale is the reference's affair (nested_check.ts): its comparison is of the key in line.
 *
 * Invariants: a moment of the store counts for or against somebody only where known_times.ts is sure of it; where the history does not tell, nothing is said.
 */
import type { EventHistory } from './event_history.ts';
import { KnownTimes } from './known_times.ts';
import { type OperationRecord, type Violation, Violations, type WatcherRecord } from './observations.ts';

/** A lock, or an office, as its holder had it. Times are the recorder's. */
export interface HoldSeen {
  /** Its name. */
  readonly line: string;
  readonly client: string;
  readonly ttlMs: number;
  readonly askedMs: number;
  readonly toldMs: number;
  readonly key: string;
  readonly fence: number;
  /** When it was told of its loss, began to give it up, or was gone itself: what came first. */
  endMs: number;
}

export interface LeaderSeen {
  readonly key: string;
  readonly value: string;
  readonly fence: number;
  readonly revision: number;
  readonly toldMs: number;
}

/** One question who leads. */
export interface LeaderLook {
  readonly line: string;
  readonly askedMs: number;
  readonly toldMs: number;
  readonly leader: LeaderSeen | undefined;
}

/** What one observer was shown, in order. */
export interface LeadersSeen {
  readonly line: string;
  readonly client: string;
  readonly leaders: LeaderSeen[];
}

export interface ContentionRecord {
  readonly holds: readonly HoldSeen[];
  readonly looks: readonly LeaderLook[];
  readonly observers: readonly LeadersSeen[];
  /** By value: the token under which it was to be written. */
  readonly fences: ReadonlyMap<string, number>;
}

export interface ContentionFindings {
  readonly violations: readonly Violation[];
  /** Moments at which somebody was first in line that were held against the history. */
  readonly judged: number;
}

/** Somebody's key in a line. */
interface Place {
  readonly key: string;
  readonly fence: number;
  /** The revision at which it was not there any more, or from which on nobody knows. */
  readonly end: number;
  /** Whether it was seen to go. */
  readonly gone: boolean;
}

const TOLERANCE_MS = 1;

/** `right`: whether no clock of a node was ever wrong. */
export function checkContention(
  operations: readonly OperationRecord[],
  watchers: readonly WatcherRecord[],
  history: EventHistory,
  record: ContentionRecord,
  right: boolean,
): ContentionFindings {
  return new ContentionCheck(new KnownTimes(operations, watchers), history, record).run(right);
}

class ContentionCheck {
  readonly #known: KnownTimes;
  readonly #history: EventHistory;
  readonly #record: ContentionRecord;
  readonly #found = new Violations('contention');
  readonly #places = new Map<string, readonly Place[]>();
  #judged = 0;

  constructor(known: KnownTimes, history: EventHistory, record: ContentionRecord) {
    this.#known = known;
    this.#history = history;
    this.#record = record;
  }

  run(right: boolean): ContentionFindings {
    const { holds, looks, observers } = this.#record;
    for (const hold of holds) {
      this.#checkTurn(hold.line, hold, `${hold.client} was given ${hold.line}`);
      this.#checkLoss(hold);
    }
    for (const line of new Set(holds.map((hold) => hold.line))) {
      const own = holds.filter((hold) => hold.line === line);
      this.#checkTokens(own);
      if (right) this.#checkAlone(own);
    }
    for (const look of looks) this.#checkLook(look);
    for (const observer of observers) this.#checkObserver(observer);
    this.#checkWrites();
    return { violations: this.#found.list, judged: this.#judged };
  }

  /** By the time that somebody is told of it, nobody may stand in front. */
  #checkTurn(
    line: string,
    { key, fence, toldMs }: Pick<LeaderSeen, 'key' | 'fence' | 'toldMs'>,
    what: string,
  ): void {
    const details = { line, key, fence, toldMs };
    const places = this.#placesOf(line);
    const own = places.find((place) => place.key === key && place.fence === fence);
    if (own === undefined) {
      if (this.#history.covers(fence, fence))
        this.#found.add(`${what} by ${key} of revision ${fence}, which nobody put`, details);
      return;
    }
    this.#judged++;
    const front = places.find(
      (place) => place.fence < fence && place.end > fence && this.#stands(place, toldMs),
    );
    if (front !== undefined)
      this.#found.add(
        `${what} with token ${fence} while ${front.key} of token ${front.fence} stood in front`,
        {
          ...details,
          front: front.fence,
          frontEnd: front.end,
        },
      );
  }

  #checkLoss({ line, client, key, fence, ttlMs, toldMs, endMs }: HoldSeen): void {
    const place = this.#placesOf(line).find((one) => one.key === key && one.fence === fence);
    if (place === undefined || !place.gone) return;
    const lastMs = Math.max(toldMs, this.#known.by(place.end)) + ttlMs + TOLERANCE_MS;
    if (endMs <= lastMs) return;
    this.#found.add(
      `${client} was not told for ${Math.round(endMs - lastMs + ttlMs)} ms that it had lost ${line}`,
      {
        line,
        fence,
        goneAt: place.end,
      },
    );
  }

  #checkTokens(holds: readonly HoldSeen[]): void {
    for (const first of holds) {
      for (const second of holds) {
        if (first === second) continue;
        const after = first.toldMs < second.askedMs;
        if (first.fence !== second.fence && !(after && first.fence > second.fence)) continue;
        this.#found.add(
          `${second.client} has token ${second.fence} of ${second.line}, ${first.client} had ${first.fence} before`,
          { line: first.line, first: first.fence, second: second.fence },
        );
      }
    }
  }

  /** Each was told of its loss before the next was told of its turn. */
  #checkAlone(holds: readonly HoldSeen[]): void {
    let last: HoldSeen | undefined;
    for (const hold of [...holds].sort((a, b) => a.toldMs - b.toldMs)) {
      if (last !== undefined && hold.toldMs + TOLERANCE_MS < last.endMs)
        this.#found.add(
          `${hold.client} was given ${hold.line} with token ${hold.fence}, and ${last.client} still had it with token ${last.fence}`,
          { line: hold.line, toldMs: hold.toldMs, untilMs: last.endMs },
        );
      if (last === undefined || hold.endMs > last.endMs) last = hold;
    }
  }

  #checkLook({ line, leader, askedMs, toldMs }: LeaderLook): void {
    const places = this.#placesOf(line);
    if (leader === undefined) {
      const there = places.find(
        (place) => this.#known.by(place.fence) < askedMs && this.#stands(place, toldMs),
      );
      if (there !== undefined)
        this.#found.add(
          `nobody was said to lead ${line}, and ${there.key} of token ${there.fence} was there`,
          {
            line,
            askedMs,
            toldMs,
          },
        );
      return;
    }
    this.#checkLeader(line, leader, `somebody was told who leads ${line}`);
    const place = places.find(({ key, fence }) => key === leader.key && fence === leader.fence);
    if (place?.gone === true && this.#known.by(place.end) < askedMs)
      this.#found.add(`${leader.key} was said to lead ${line}, and had gone before that was asked`, {
        line,
        fence: leader.fence,
        askedMs,
      });
  }

  #checkObserver({ line, client, leaders }: LeadersSeen): void {
    let before: LeaderSeen | undefined;
    for (const leader of leaders) {
      this.#checkLeader(line, leader, `${client} was shown the leader of ${line}`);
      const inOrder =
        before === undefined ||
        leader.fence > before.fence ||
        (leader.fence === before.fence && leader.revision > before.revision);
      if (!inOrder)
        this.#found.add(
          `${client} was shown the leader of ${line} of token ${leader.fence} at revision ${leader.revision} after that of token ${before?.fence} at ${before?.revision}`,
          { line, client },
        );
      before = leader;
    }
  }

  /** A leader was first in line, and had said what is said of it. */
  #checkLeader(line: string, leader: LeaderSeen, what: string): void {
    this.#checkTurn(line, leader, what);
    const { key, value, revision, fence } = leader;
    const said = this.#history.byKey.get(key)?.find((version) => version.revision === revision);
    if (
      said === undefined
        ? !this.#history.covers(revision, revision)
        : said.type === 'put' && said.value === value
    )
      return;
    this.#found.add(`${what}: "${value}" at revision ${revision}, which it had not said`, {
      line,
      key,
      fence,
    });
  }

  /** Of what the tokens guard: once a greater one has written, no smaller one does. */
  #checkWrites(): void {
    const { fences } = this.#record;
    for (const [key, versions] of this.#history.byKey) {
      let greatest = 0;
      for (const { value, revision } of versions) {
        const fence = value === undefined ? undefined : fences.get(value);
        if (fence === undefined) continue;
        if (fence < greatest)
          this.#found.add(
            `${key} was written at revision ${revision} under token ${fence}, after ${greatest}`,
            {
              key,
              revision,
            },
          );
        greatest = Math.max(greatest, fence);
      }
    }
  }

  /** Whether a place was certainly still there at a time. REQUIRES: it was put before. */
  #stands({ end }: Place, atMs: number): boolean {
    return this.#known.notBefore(end) > atMs;
  }

  #placesOf(line: string): readonly Place[] {
    let places = this.#places.get(line);
    if (places === undefined) {
      places = this.#gather(`${line}/`);
      this.#places.set(line, places);
    }
    return places;
  }

  #gather(prefix: string): Place[] {
    const places: Place[] = [];
    for (const [key, versions] of this.#history.byKey) {
      if (!key.startsWith(prefix)) continue;
      for (const { type, revision, createRevision } of versions) {
        if (type !== 'put' || createRevision !== revision) continue;
        const end = versions.find((later) => later.type === 'delete' && later.revision > revision)?.revision;
        const gone = end !== undefined && this.#history.covers(revision, end);
        places.push({ key, fence: revision, end: gone ? end : this.#knownUntil(revision) + 1, gone });
      }
    }
    return places;
  }

  /** The last revision up to which all is known from `revision` on. */
  #knownUntil(revision: number): number {
    return (
      this.#history.coverage.find(({ from, to }) => from <= revision && revision <= to)?.to ?? revision - 1
    );
  }
}
