/**
 * Were watchers told everything, once, in order?
 *
 * Checked for each watcher against the history of all accounts (event_history.ts): no event of its range is missing between the revision it began at and the last
 * one that it was told of (gap-free, across reconnects and compaction); events come by ascending revision, none twice, none below where it began; all events of a revision
 * lie in one batch, and nothing at or below a batch's revision comes after it (so progress is never ahead of events); no event is of a write that had
 * not been asked for yet; an event is what was written; a watch ends by its own wish, or with COMPACTED where what it needed next is gone, or
 * because nobody could be reached before it had begun.
 *
 * Linear in events, plus one pass over the history for each watcher.
 */
import { type EventHistory, firstCovered, type KeyVersion, lastCovered } from './event_history.ts';
import {
  type BatchSeen,
  inRange,
  LINES,
  type Violation,
  Violations,
  type WatcherRecord,
} from './observations.ts';

export interface WatchCheckOptions {
  /** Watches that still go on must have been given all events up to this revision; 0: not asked. */
  readonly mustReach?: number;
  /** Errors other than COMPACTED with which a watch may end: none while nobody closes the client under it. */
  readonly allowedErrors?: readonly string[];
  /** Watchers, by name, whose rights may be taken from them: whether they were is judged elsewhere. */
  readonly maybeRefused?: (name: string) => boolean;
}

/** Why a watch may not begin: nobody was reached within the time for it. One that has begun outlasts that. */
const NOT_OPENED: ReadonlySet<string> = new Set(['TIMEOUT', 'UNAVAILABLE', 'NO_LEADER', 'OVERLOADED']);

/** All violations, at most MAX_VIOLATIONS. */
export function checkWatches(
  watchers: readonly WatcherRecord[],
  history: EventHistory,
  options: WatchCheckOptions = {},
): readonly Violation[] {
  const found = new Violations('watch');
  const revisions = [...history.byRevision.keys()].sort((a, b) => a - b);
  for (const watcher of watchers) {
    checkOrder(watcher, history, found);
    checkGaps(watcher, history, revisions, options.mustReach ?? 0, found);
    const refused = options.maybeRefused?.(watcher.name) === true ? ['PERMISSION_DENIED'] : [];
    checkEnd(watcher, [...refused, ...(options.allowedErrors ?? [])], found);
  }
  return found.list;
}

function checkOrder(watcher: WatcherRecord, history: EventHistory, found: Violations): void {
  const { name, start, end, fromRevision } = watcher;
  let before = 0;
  for (const batch of watcher.batches) {
    if (batch.revision <= before) {
      found.add(`watcher ${name} was given revision ${batch.revision} after ${before}`, { watcher: name });
    }
    let last = before;
    let keys = new Set<string>();
    for (const event of batch.events) {
      const { revision, key } = event;
      const details = { watcher: name, revision, key, atMs: batch.atMs };
      if (revision <= before) {
        found.add(`watcher ${name}: an event of revision ${revision} after a batch of ${before}`, details);
      } else if (revision < last) {
        found.add(`watcher ${name}: an event of revision ${revision} after one of ${last}`, details);
      }
      if (revision !== last) keys = new Set();
      if (keys.has(key)) found.add(`watcher ${name}: ${key} twice at revision ${revision}`, details);
      keys.add(key);
      last = Math.max(last, revision);
      if (revision > batch.revision)
        found.add(`watcher ${name}: revision ${revision} in a batch of ${batch.revision}`, details);
      if (revision < fromRevision)
        found.add(`watcher ${name}: revision ${revision}, asked from ${fromRevision} on`, details);
      if (!inRange(key, start, end)) found.add(`watcher ${name}: ${key} is not in its range`, details);
      if (isUnwanted(watcher, event.type))
        found.add(`watcher ${name}: a ${event.type} of ${key}, which it did not want`, details);
      checkPrevious(event, name, history, found);
      checkTold(event, batch, name, history, found);
    }
    before = Math.max(before, batch.revision);
  }
}

/** An event must be of something that was asked for, and be all of its kind that others know of its revision. */
function checkTold(
  event: BatchSeen['events'][number],
  batch: BatchSeen,
  name: string,
  history: EventHistory,
  found: Violations,
): void {
  const { revision, key } = event;
  if (event.type === 'put' && !key.startsWith(LINES)) {
    const putter = history.putters.get(event.value);
    const details = { watcher: name, revision, key, value: event.value };
    if (putter === undefined) found.add(`watcher ${name}: a value that nobody wrote`, details);
    else if (putter.invokedMs > batch.atMs)
      found.add(`watcher ${name}: an event before its write was asked for`, details);
  }
  const writer = history.writers.get(revision);
  if (writer !== undefined && writer.invokedMs > batch.atMs) {
    found.add(`watcher ${name}: revision ${revision} before it was written`, { watcher: name, revision });
  }
}

function isUnwanted({ filters }: WatcherRecord, type: 'put' | 'delete'): boolean {
  return filters !== undefined && (type === 'put' ? filters.noPut : filters.noDelete);
}

/** What an event says that it replaced is what was there; nothing need be said of what is compacted. */
function checkPrevious(
  { key, revision, previousRevision }: BatchSeen['events'][number],
  name: string,
  history: EventHistory,
  found: Violations,
): void {
  if (previousRevision === undefined) return;
  const before = history.versionAt(key, revision - 1);
  if (before === undefined) return;
  const right =
    before.revision === previousRevision
      ? before.type === 'put'
      : before.revision < previousRevision && !history.covers(before.revision, revision);
  if (right) return;
  found.add(
    `watcher ${name}: the event of ${key} at revision ${revision} shows revision ${previousRevision} as what it replaced`,
    { watcher: name, revision, key, before: before.revision },
  );
}

function checkGaps(
  watcher: WatcherRecord,
  history: EventHistory,
  revisions: readonly number[],
  mustReach: number,
  found: Violations,
): void {
  const { name, start, end, ended } = watcher;
  const seen = new Set<string>();
  for (const batch of watcher.batches) {
    for (const event of batch.events) seen.add(`${event.revision} ${event.key}`);
  }
  const first = firstCovered(watcher);
  const covered = lastCovered(watcher);
  const to = ended === undefined ? Math.max(covered, mustReach) : covered;
  for (let at = lowerBound(revisions, first); at < revisions.length; at++) {
    const revision = revisions[at]!;
    if (revision > to) return;
    for (const version of history.byRevision.get(revision) as readonly KeyVersion[]) {
      const { key } = version;
      if (!inRange(key, start, end) || seen.has(`${revision} ${key}`)) continue;
      if (isUnwanted(watcher, version.type)) continue;
      const why = revision > covered ? 'has not arrived' : 'is missing';
      found.add(`watcher ${name}: the ${version.type} of ${key} at revision ${revision} ${why}`, {
        watcher: name,
        revision,
        key,
        toldBy: version.source,
        coveredTo: covered,
      });
    }
  }
}

function checkEnd(watcher: WatcherRecord, allowed: readonly string[], found: Violations): void {
  const { name, ended } = watcher;
  if (ended === undefined || ended.how === 'cancelled') return;
  const details = { watcher: name, atMs: ended.atMs, code: ended.code };
  if (ended.how === 'silent') {
    found.add(`watcher ${name} ended without a word`, details);
    return;
  }
  if (ended.code === 'COMPACTED') {
    const needed = Math.max(watcher.fromRevision, lastCovered(watcher) + 1);
    if (ended.compactRevision === 0) {
      found.add(`watcher ${name} ended with COMPACTED and was not told from where on to watch`, details);
    } else if (ended.compactRevision < needed) {
      found.add(
        `watcher ${name} needed revision ${needed} and was refused: compacted to ${ended.compactRevision}`,
        details,
      );
    }
    return;
  }
  if (watcher.batches.length === 0 && NOT_OPENED.has(ended.code)) return;
  if (!allowed.includes(ended.code)) found.add(`watcher ${name} ended with ${ended.code}`, details);
}

function lowerBound(sorted: readonly number[], from: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! < from) low = middle + 1;
    else high = middle;
  }
  return low;
}
