/**
 * Runs a case of the suite through a door, with keys, leases and revisions of its own, and writes down what the door says in one short form.
 *
 * Keys in cases are without the prefix that each run gives them; revisions are relative: 1 is that of the first write of the run; leases are small numbers.
 */
import type { KeySelection, RangeView } from '../../../src/client/store_types.ts';
import type { QuotaSettings } from '../../../src/client/upkeep_types.ts';
import type { ErrorCode } from '../../../src/errors.ts';
import {
  type Answer,
  type Door,
  type DoorCompare,
  DoorError,
  type DoorOperation,
  type DoorWatch,
  type Seen,
  type SeenEntry,
  type SeenEvent,
} from './door.ts';

export type Request =
  | DoorOperation
  | { readonly type: 'compact'; readonly revision: number }
  | { readonly type: 'setQuota'; readonly prefix: string; readonly settings: QuotaSettings }
  | { readonly type: 'removeQuota'; readonly prefix: string }
  /** Once all are counted. */
  | { readonly type: 'quotas' }
  | { readonly type: 'grant'; readonly lease: bigint; readonly ttlMs: number }
  | { readonly type: 'revoke' | 'keepAlive' | 'lease'; readonly lease: bigint }
  | { readonly type: 'leases' }
  | ({ readonly type: 'watch' } & DoorWatch);
/** What is asked, and what the answer reads as; a refusal is `! CODE`. */
export type Step = readonly [Request, string];
export interface Case {
  readonly name: string;
  readonly steps: readonly Step[];
}

/** What a run calls its own. */
interface Names {
  readonly prefix: string;
  readonly base: number;
  readonly firstLease: bigint;
}

export class CaseRunner {
  readonly #revision: () => number;
  #runs = 0;

  /** `revision`: the store's, when nothing is under way. */
  constructor(revision: () => number) {
    this.#revision = revision;
  }

  /** What the door said to each step, or `other` where the door cannot ask; what was expected of it, in its own words for refusals. */
  async run(
    door: Door,
    other: Door,
    { steps }: Case,
  ): Promise<{ readonly said: string[]; readonly expected: string[] }> {
    const run = ++this.#runs;
    const names: Names = {
      prefix: `case ${run}/`,
      base: this.#revision(),
      firstLease: 1_000n * BigInt(run),
    };
    const said: string[] = [];
    for (const [request] of steps) {
      const asked = isAboutQuotas(request) && door.quotas === undefined ? other : door;
      said.push(await this.#say(asked, request, names));
    }
    const expected = steps.map(([, text]) =>
      text.startsWith('! ') ? `! ${door.shows(text.slice(2) as ErrorCode)}` : text,
    );
    return { said, expected };
  }

  async #say(door: Door, request: Request, names: Names): Promise<string> {
    try {
      return await say(door, request, names);
    } catch (error) {
      if (!(error instanceof DoorError)) throw error;
      return `! ${error.code}`;
    }
  }
}

async function say(door: Door, request: Request, names: Names): Promise<string> {
  const { base, firstLease } = names;
  switch (request.type) {
    case 'compact':
      await door.compact(request.revision + base);
      return 'compacted';
    case 'setQuota':
    case 'removeQuota':
    case 'quotas':
      return sayQuotas(door, request, names);
    case 'grant':
      return `granted ${await door.grant(request.lease + firstLease, request.ttlMs)} ms`;
    case 'revoke':
      await door.revoke(request.lease + firstLease);
      return 'revoked';
    case 'keepAlive':
      await door.keepAlive(request.lease + firstLease);
      return 'kept';
    case 'lease': {
      const found = await door.lease(request.lease + firstLease);
      if (found === undefined) return 'no lease';
      return [`${found.ttlMs} ms`, ...found.keys.map((key) => keyOut(key, names))].join(' ');
    }
    case 'leases': {
      const own = (await door.leases()).filter((id) => id > firstLease && id < firstLease + 1_000n);
      return `leases ${own.map((id) => id - firstLease).join(' ')}`.trim();
    }
    case 'watch': {
      const { fromRevision, keys, prevKv, events } = request;
      const from = fromRevision + base;
      const seen = await door.watch({ keys: keysIn(keys, names), fromRevision: from, prevKv, events });
      return seen.map((event) => eventOut(event, names)).join(', ');
    }
    default:
      return answerOut(await door.run(operationIn(request, names)), names);
  }
}

type QuotaRequest = Request & { readonly type: 'setQuota' | 'removeQuota' | 'quotas' };

function isAboutQuotas({ type }: Request): boolean {
  return type === 'setQuota' || type === 'removeQuota' || type === 'quotas';
}

async function sayQuotas({ quotas }: Door, request: QuotaRequest, names: Names): Promise<string> {
  if (quotas === undefined) throw new Error('no door to ask for quotas');
  switch (request.type) {
    case 'setQuota':
      await quotas.set(names.prefix + request.prefix, request.settings);
      return 'set';
    case 'removeQuota':
      await quotas.remove(names.prefix + request.prefix);
      return 'removed';
    case 'quotas': {
      let all = await quotas.list();
      while (!all.every(({ counted }) => counted)) {
        // The store in this process answers within the turn, and would never come to the counting.
        await new Promise((resolve) => setTimeout(resolve, 1));
        all = await quotas.list();
      }
      const own = all.filter(({ prefix }) => prefix.startsWith(names.prefix));
      return own.map((quota) => quotaOut(quota, names)).join(', ') || 'no quotas';
    }
  }
}

/** p/ 2 of 3 keys, 10 of 100 bytes; 0 for no limit. The run's prefix counts for nothing. */
function quotaOut(
  {
    prefix,
    keys,
    maxKeys,
    bytes,
    maxBytes,
  }: Awaited<ReturnType<NonNullable<Door['quotas']>['list']>>[number],
  names: Names,
): string {
  const own = bytes - keys * names.prefix.length;
  return `${keyOut(prefix, names)} ${keys} of ${maxKeys} keys, ${own} of ${maxBytes} bytes`;
}

function operationIn(operation: DoorOperation, names: Names): DoorOperation {
  switch (operation.type) {
    case 'put': {
      const { key, lease, ...rest } = operation;
      const put = { ...rest, key: keyIn(key, names) };
      return lease === undefined ? put : { ...put, lease: lease + names.firstLease };
    }
    case 'delete':
      return { ...operation, keys: keysIn(operation.keys, names) };
    case 'range': {
      const { keys, view, revision, ...rest } = operation;
      const range = { ...rest, keys: keysIn(keys, names) };
      return {
        ...range,
        ...(view === undefined ? {} : { view: viewIn(view, names) }),
        ...(revision === undefined ? {} : { revision: revision + names.base }),
      };
    }
    case 'txn': {
      const inner = (one: DoorOperation): DoorOperation => operationIn(one, names);
      const compare = operation.compare.map((one) => compareIn(one, names));
      return { type: 'txn', compare, then: operation.then.map(inner), else: operation.else.map(inner) };
    }
  }
}

function keyIn(key: string, { prefix }: Names): string {
  // The empty key is nobody's.
  return key === '' ? '' : prefix + key;
}

function keysIn({ key, prefix, start, end }: KeySelection, names: Names): KeySelection {
  if (key !== undefined) return { key: keyIn(String(key), names) };
  if (prefix !== undefined) return { prefix: names.prefix + String(prefix) };
  return { start: keyIn(String(start), names), end: keyIn(String(end), names) };
}

function viewIn(view: RangeView, { base }: Names): RangeView {
  const moved: Record<string, number> = {};
  for (const name of [
    'minModRevision',
    'maxModRevision',
    'minCreateRevision',
    'maxCreateRevision',
  ] as const) {
    const relative = view[name];
    if (relative !== undefined) moved[name] = relative + base;
  }
  return { ...view, ...moved };
}

function compareIn(compare: DoorCompare, names: Names): DoorCompare {
  const { key, end, prefix } = compare;
  const where = {
    ...(key === undefined ? {} : { key: keyIn(key, names) }),
    ...(end === undefined ? {} : { end: keyIn(end, names) }),
    ...(prefix === undefined ? {} : { prefix: names.prefix + prefix }),
  };
  const { is = '=' } = compare;
  const revision = (relative: number): number => (relative === 0 ? 0 : relative + names.base);
  if ('modRevision' in compare) return { ...where, is, modRevision: revision(compare.modRevision) };
  if ('createRevision' in compare) return { ...where, is, createRevision: revision(compare.createRevision) };
  if ('lease' in compare)
    return { ...where, is, lease: compare.lease === 0n ? 0n : compare.lease + names.firstLease };
  return 'version' in compare
    ? { ...where, is, version: compare.version }
    : { ...where, is, value: compare.value };
}

function answerOut({ revision, result }: Answer, names: Names): string {
  return `${resultOut(result, names)} @${revision - names.base}`;
}

function resultOut(result: Seen, names: Names): string {
  const was = (entries: readonly SeenEntry[]): string =>
    entries.length === 0 ? '' : ` was ${entriesOut(entries, names)}`;
  switch (result.type) {
    case 'put':
      return `put${was(result.previous === undefined ? [] : [result.previous])}`;
    case 'delete':
      return `deleted ${result.deleted}${was(result.previous)}`;
    case 'range': {
      const { entries, more, count } = result;
      return `[${entriesOut(entries, names)}] of ${count}${more ? ' more' : ''}`;
    }
    case 'txn':
      return `${result.succeeded ? 'yes' : 'no'} {${result.results.map((one) => resultOut(one, names)).join('; ')}}`;
  }
}

function entriesOut(entries: readonly SeenEntry[], names: Names): string {
  return entries.map((entry) => entryOut(entry, names)).join(', ');
}

/** a=1 c2m3v2: created at 2, changed at 3, written twice; with the lease behind it. */
function entryOut(entry: Omit<SeenEntry, 'lease'> & { readonly lease?: bigint }, names: Names): string {
  const { key, value, createRevision, modRevision, version, lease = 0n } = entry;
  const created = createRevision === 0 ? 0 : createRevision - names.base;
  const attached = lease === 0n ? '' : ` L${lease - names.firstLease}`;
  return `${keyOut(key, names)}=${value} c${created}m${modRevision - names.base}v${version}${attached}`;
}

function keyOut(key: string, { prefix }: Names): string {
  if (!key.startsWith(prefix)) throw new Error(`the key ${key} is none of this run`);
  return key.slice(prefix.length);
}

function eventOut({ type, entry, previous }: SeenEvent, names: Names): string {
  return `${type} ${entryOut(entry, names)}${previous === undefined ? '' : ` was ${entryOut(previous, names)}`}`;
}
