/**
 * Was every call of a user allowed, or refused, by rights that the user had at some moment between asking and the answer?
 *
 * One administrator changes rights, one change after the other; when each took effect lies between its call and its answer, and one of unknown outcome may take effect at any time after its call.
 * So for every right the values are known that it can have had within a time. A call that was answered needs a moment for each of its keys at which it may have been allowed; one that was refused, one
 * key and a moment at which it may not have been. An event that a watcher was given needs such a moment between the write (or the watch, if that came later) and the delivery. What has a
 * revision took place between what came before and after it in the order of revisions, which is mostly a narrower time than that between asking and the answer.
 *
 * A user has roles, a role has grants on areas: keys up to the second slash (`a/0.3/`). An area is granted as a whole or not at all.
 */
import type { EventHistory } from './event_history.ts';
import { KnownTimes } from './known_times.ts';
import type { Change, OperationRecord, Step, Violation, WatcherRecord } from './observations.ts';
import { Violations, wrote } from './observations.ts';
import type { TxnAsked } from './reference_txn.ts';

export type Permission = 'none' | 'read' | 'write' | 'readwrite';

export interface RightsChange extends Change {
  readonly role: string;
  /** What of the role is changed: its grant on an area, or who has it. */
  readonly about: { readonly area: string } | { readonly user: string };
  /** What it is afterwards; of a user: 'readwrite' for having the role, 'none' for not. */
  readonly to: Permission;
}

export interface RightsRecord {
  /** Of clients with few rights: who they are. Others may do everything. */
  readonly userOf: ReadonlyMap<string, string>;
  readonly changes: readonly RightsChange[];
}

interface Need {
  readonly area: string;
  readonly to: 'read' | 'write';
}

export interface RightsFindings {
  readonly violations: readonly Violation[];
  readonly allowed: number;
  readonly refused: number;
}

export function checkRights(
  operations: readonly OperationRecord[],
  watchers: readonly WatcherRecord[],
  history: EventHistory,
  record: RightsRecord,
): RightsFindings {
  const found = new Violations('rights');
  const rights = new Rights(record.changes);
  const known = new KnownTimes(operations, watchers);
  let allowed = 0;
  let refused = 0;
  for (const operation of operations) {
    const { id, client, outcome, errorCode, level, atRevision, invokedMs, settledMs } = operation;
    const user = record.userOf.get(client);
    if (user === undefined) continue;
    const needs = needsOf(operation);
    const details = { operation: id, client, user, invokedMs, settledMs };
    if (outcome === 'ok' && level === 'linearizable' && atRevision === 0) {
      allowed++;
      const fromMs = Math.max(invokedMs, known.notBefore(operation.revision));
      const toMs = wrote(operation) ? Math.min(settledMs, known.by(operation.revision)) : settledMs;
      const need = needs.find((one) => !rights.mayHave(user, one, fromMs, toMs));
      if (need !== undefined)
        found.add(
          `${operation.kind} ${id} was carried out, and ${user} had no right to ${need.to} ${need.area}`,
          details,
        );
    } else if (errorCode === 'PERMISSION_DENIED') {
      refused++;
      if (!needs.some((one) => rights.mayLack(user, one, invokedMs, settledMs)))
        found.add(`${operation.kind} ${id} was refused, and ${user} had every right to it`, details);
    }
  }
  const all = { history, record, rights, known, found };
  checkUnknown(operations, all);
  for (const watcher of watchers) checkWatcher(watcher, all);
  return { violations: found.list, allowed, refused };
}

interface All {
  readonly history: EventHistory;
  readonly record: RightsRecord;
  readonly rights: Rights;
  readonly known: KnownTimes;
  readonly found: Violations;
}

/** Writes of unknown outcome that were seen: they were carried out before somebody knew. */
function checkUnknown(
  operations: readonly OperationRecord[],
  { history, record, rights, known, found }: All,
): void {
  for (const operation of operations) {
    const { id, client, outcome, invokedMs } = operation;
    const user = record.userOf.get(client);
    if (user === undefined || outcome !== 'info') continue;
    const seen = operation.steps
      .flatMap((step) =>
        step.type === 'put'
          ? (history.byKey.get(step.key)?.find(({ value }) => value === step.value) ?? [])
          : [],
      )
      .at(0);
    if (seen === undefined) continue;
    const fromMs = Math.max(invokedMs, known.notBefore(seen.revision));
    const toMs = known.by(seen.revision);
    const need = needsOf(operation).find((one) => !rights.mayHave(user, one, fromMs, toMs));
    if (need !== undefined)
      found.add(`${operation.kind} ${id} took effect, and ${user} had no right to ${need.to} ${need.area}`, {
        operation: id,
        user,
        revision: seen.revision,
      });
  }
}

function checkWatcher(watcher: WatcherRecord, { record, rights, known, found }: All): void {
  const { name, openedMs, ended, start } = watcher;
  const user = record.userOf.get(name.slice(0, name.indexOf('/')));
  if (user === undefined) return;
  const need: Need = { area: areaOf(start), to: 'read' };
  for (const { atMs, events } of watcher.batches) {
    for (const { revision, key } of events) {
      const fromMs = Math.max(openedMs, known.notBefore(revision));
      if (rights.mayHave(user, need, fromMs, atMs)) continue;
      found.add(
        `watcher ${name} was told of ${key} at revision ${revision}, and ${user} had no right to it`,
        { watcher: name, revision, fromMs, atMs },
      );
    }
  }
  if (
    ended?.how === 'error' &&
    ended.code === 'PERMISSION_DENIED' &&
    !rights.mayLack(user, need, openedMs, ended.atMs)
  )
    found.add(`watcher ${name} was refused, and ${user} had every right to it`, {
      watcher: name,
      atMs: ended.atMs,
    });
}

/** The values that rights can have had. */
class Rights {
  /** By role and what is changed of it. */
  readonly #changes = new Map<string, RightsChange[]>();
  readonly #roles = new Set<string>();

  constructor(changes: readonly RightsChange[]) {
    for (const change of changes) {
      if (change.outcome === 'fail') continue;
      this.#roles.add(change.role);
      const name = nameOf(change.role, change.about);
      const list = this.#changes.get(name);
      if (list === undefined) this.#changes.set(name, [change]);
      else list.push(change);
    }
  }

  mayHave(user: string, need: Need, fromMs: number, toMs: number): boolean {
    for (const role of this.#roles) {
      if (!this.#values(nameOf(role, { user }), fromMs, toMs).has('readwrite')) continue;
      for (const value of this.#values(nameOf(role, need), fromMs, toMs))
        if (allows(value, need)) return true;
    }
    return false;
  }

  mayLack(user: string, need: Need, fromMs: number, toMs: number): boolean {
    for (const role of this.#roles) {
      if (this.#values(nameOf(role, { user }), fromMs, toMs).has('none')) continue;
      let lacks = false;
      for (const value of this.#values(nameOf(role, need), fromMs, toMs))
        if (!allows(value, need)) lacks = true;
      if (!lacks) return false;
    }
    return true;
  }

  #values(name: string, fromMs: number, toMs: number): Set<Permission> {
    const values = new Set<Permission>();
    let before: Permission = 'none';
    for (const { outcome, to, invokedMs, settledMs } of this.#changes.get(name) ?? []) {
      if (outcome === 'ok' && settledMs < fromMs) before = to;
      else if (invokedMs <= toMs) values.add(to);
    }
    return values.add(before);
  }
}

function nameOf(role: string, about: RightsChange['about'] | Need): string {
  return 'area' in about ? `${role} on ${about.area}` : `${role} of ${about.user}`;
}

function allows(permission: Permission, { to }: Need): boolean {
  return permission === 'readwrite' || permission === to;
}

function areaOf(key: string): string {
  return key.slice(0, key.indexOf('/', key.indexOf('/') + 1) + 1);
}

/** Of every branch: a transaction is allowed as a whole or not at all. */
function needsOf({ nested, steps, elseSteps, compares }: OperationRecord): Need[] {
  if (nested !== undefined) return needsOfTxn(nested.asked);
  const needs = compares.map(({ key }): Need => ({ area: areaOf(key), to: 'read' }));
  for (const step of [...steps, ...elseSteps]) {
    const key = keyOf(step);
    if (key === undefined) continue;
    const to = step.type === 'get' || step.type === 'scan' ? 'read' : 'write';
    needs.push({ area: areaOf(key), to });
  }
  return needs;
}

function keyOf(step: Step): string | undefined {
  if ('key' in step) return step.key;
  return 'start' in step ? step.start : undefined;
}

function needsOfTxn({ compares, success, failure }: TxnAsked): Need[] {
  const needs = compares.map(({ key }): Need => ({ area: areaOf(key), to: 'read' }));
  for (const step of [...success, ...failure]) {
    if (step.type === 'txn') needs.push(...needsOfTxn(step));
    else {
      const area = areaOf(step.key);
      if (step.type !== 'range') needs.push({ area, to: 'write' });
      if (step.type === 'range' || step.prevKv) needs.push({ area, to: 'read' });
    }
  }
  return needs;
}
