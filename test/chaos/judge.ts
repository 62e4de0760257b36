/**
 * The judgement of a round: what clients and watchers were told, held against each other and against what the nodes hold in the end.
 *
 * Every check gives sentences that name keys and revisions; an empty list is a sound round.
 */
import { checkRegister, type HistoryEntry, type RegisterOperation } from '../node/linearizability.ts';
import type { HeldEntry, HeldEvent } from './direct_node.ts';
import { casOf, isSingleKey } from './history_file.ts';
import type { OperationRecord, WatcherRecord } from './observations.ts';

export interface Evidence {
  readonly operations: readonly OperationRecord[];
  readonly watchers: readonly WatcherRecord[];
  /** Of the settled cluster, as all its nodes agree. */
  readonly settled: {
    readonly fromRevision: number;
    readonly toRevision: number;
    readonly events: readonly HeldEvent[];
    readonly entries: readonly HeldEntry[];
  };
  /** The name of a value as a node holds it. */
  readonly nameOf: (value: string) => string;
}

const MOST_FINDINGS = 20;
const DELETED = 'deleted';
const ABSENT_AT_FIRST: HistoryEntry = {
  operation: { kind: 'write', value: DELETED },
  invokedAt: -2,
  returnedAt: -1,
};

export function judge(evidence: Evidence): string[] {
  const findings = [...checkRegisters(evidence), ...checkAcknowledged(evidence), ...checkWatchers(evidence)];
  return findings.slice(0, MOST_FINDINGS);
}

function checkRegisters({ operations }: Evidence): string[] {
  const histories = new Map<string, HistoryEntry[]>();
  for (const operation of operations) {
    const told = registerOperation(operation);
    if (told === undefined || !told.key.startsWith('r/')) continue;
    if (operation.outcome === 'fail') continue;
    if (operation.outcome === 'info' && told.operation.kind === 'read') continue;
    const history = histories.get(told.key) ?? [ABSENT_AT_FIRST];
    histories.set(told.key, history);
    history.push({
      operation: told.operation,
      invokedAt: operation.invokedMs,
      returnedAt: operation.outcome === 'info' ? Number.POSITIVE_INFINITY : operation.settledMs,
    });
  }
  const findings: string[] = [];
  for (const [key, history] of histories) {
    const verdict = checkRegister(history);
    if (verdict !== 'linearizable') findings.push(`the history of ${key} is ${verdict}`);
  }
  return findings;
}

/** An absent key counts as a value of its own. */
function registerOperation(
  operation: OperationRecord,
): { readonly key: string; readonly operation: RegisterOperation } | undefined {
  const known = operation.outcome === 'ok';
  const cas = casOf(operation);
  if (cas !== undefined) {
    const { key, from, to } = cas;
    const outcome = known ? { succeeded: operation.succeeded } : {};
    return { key, operation: { kind: 'cas', expected: from ?? DELETED, value: to, ...outcome } };
  }
  if (!isSingleKey(operation)) return undefined;
  const [step] = operation.steps;
  const [result] = operation.results;
  if (step?.type === 'put') return { key: step.key, operation: { kind: 'write', value: step.value } };
  if (step?.type === 'delete') return { key: step.key, operation: { kind: 'write', value: DELETED } };
  if (step?.type !== 'get') return undefined;
  const value = result?.type === 'get' ? (result.entry?.value ?? DELETED) : undefined;
  return { key: step.key, operation: { kind: 'read', value } };
}

function checkAcknowledged({ operations, settled, nameOf }: Evidence): string[] {
  const findings: string[] = [];
  const places = new Map(settled.events.map((event) => [`${event.revision} ${event.key}`, event]));
  const live = new Map(settled.entries.map((entry) => [entry.key, nameOf(entry.value)]));
  for (const { outcome, revision, steps, succeeded, client } of operations) {
    if (outcome !== 'ok' || !succeeded) continue;
    for (const step of steps) {
      if (step.type !== 'put') continue;
      if (step.key.startsWith('a/') && live.get(step.key) !== step.value)
        findings.push(`${step.key} holds ${live.get(step.key)}; ${client} was told that it is ${step.value}`);
      if (revision < settled.fromRevision) continue;
      const event = places.get(`${revision} ${step.key}`);
      if (event === undefined || nameOf(event.value) !== step.value)
        findings.push(
          `${step.key} at revision ${revision} is ${event?.value.slice(0, 40)}; ${client} was told ${step.value}`,
        );
    }
  }
  return findings;
}

function checkWatchers({ watchers, settled, nameOf }: Evidence): string[] {
  const findings: string[] = [];
  for (const { name, start, end, fromRevision, batches } of watchers) {
    const seen = batches.flatMap(({ events }) => events);
    const last = batches.at(-1)?.revision ?? 0;
    const first = Math.max(fromRevision, settled.fromRevision);
    const expected = settled.events
      .filter(
        ({ key, revision }) =>
          key >= start && (end === undefined || key < end) && revision >= first && revision <= last,
      )
      .map(
        ({ revision, key, type, value }) =>
          `${revision} ${type} ${key} ${type === 'put' ? nameOf(value) : ''}`,
      );
    const got = seen
      .filter(({ revision }) => revision >= first && revision <= settled.toRevision)
      .map(({ revision, key, type, value }) => `${revision} ${type} ${key} ${value}`);
    const length = Math.max(expected.length, got.length);
    for (let at = 0; at < length; at++) {
      if (expected[at] === got[at]) continue;
      findings.push(
        `${name}: event ${at} from revision ${first} is ${got[at]}, the nodes have ${expected[at]}`,
      );
      break;
    }
  }
  return findings;
}
