/**
 * What quotas promise, held against the nodes themselves: nothing that makes a prefix grow takes it past a limit that is in force, and what is counted is what is there.
 *
 * Invariants: limits are judged from one look at a node to the next, only where the quotas were counted and the same in both; a count is judged against the records of the revision at which it was taken.
 */
import type { QuotaState } from '../../kv/quotas.ts';
import type { StateMachine } from '../../kv/state_machine.ts';
import type { NodeId } from '../../raft/types.ts';
import type { Engine } from '../../storage/engine_port.ts';
import { eachRecord } from './full_state.ts';
import type { Report } from './violation.ts';

interface Figures {
  readonly counted: boolean;
  readonly bytes: number;
  readonly keys: number;
}

/** One life of one node. */
export class QuotaLimitsKept {
  readonly #id: NodeId;
  readonly #report: Report;
  #list: readonly QuotaState[] = [];
  #figures: readonly Figures[] = [];

  constructor(id: NodeId, report: Report) {
    this.#id = id;
    this.#report = report;
  }

  /** REQUIRES: no command is half applied. */
  look(list: readonly QuotaState[]): void {
    if (list.length === 0 && this.#list.length === 0) return;
    const before = this.#list === list ? this.#figures : undefined;
    this.#list = list;
    this.#figures = list.map(({ countingFrom, bytes, keys }) => ({
      counted: countingFrom === 0,
      bytes,
      keys,
    }));
    if (before === undefined) return;
    for (let at = 0; at < list.length; at++) {
      const quota = list[at]!;
      const { counted, bytes, keys } = before[at]!;
      if (!counted || quota.countingFrom !== 0) continue;
      // Whatever was written last and made it grow has ended within the limit.
      if (quota.maxBytes > 0 && quota.bytes > quota.maxBytes && quota.bytes > bytes)
        this.#past(quota, `${bytes} to ${quota.bytes} bytes of ${quota.maxBytes}`);
      if (quota.maxKeys > 0 && quota.keys > quota.maxKeys && quota.keys > keys)
        this.#past(quota, `${keys} to ${quota.keys} keys of ${quota.maxKeys}`);
    }
  }

  #past({ prefix }: QuotaState, how: string): void {
    const name = nameOf(prefix);
    this.#report('quota', this.#id, `the quota of "${name}" was passed on node ${this.#id}: from ${how}`, {
      prefix: name,
    });
  }
}

/** Counts what there is under each quota that says it knows. REQUIRES: nothing is compacted above the store's revision until this resolves. @throws KvError of the reading */
export async function recountQuotas(
  id: NodeId,
  stateMachine: StateMachine,
  engine: Engine,
  report: Report,
): Promise<void> {
  const { revision } = stateMachine;
  const quotas = stateMachine.quotas
    .capture()
    .filter(({ countingFrom }) => countingFrom === 0)
    .map((quota) => ({ ...quota, foundBytes: 0, foundKeys: 0 }));
  if (quotas.length === 0) return;
  await eachRecord(engine, revision, ({ key, value }) => {
    for (const quota of quotas) {
      const { prefix } = quota;
      if (key.length < prefix.length || Buffer.compare(key.subarray(0, prefix.length), prefix) !== 0)
        continue;
      // The first byte of a stored key is not the user's.
      quota.foundBytes += key.length - 1 + value.length;
      quota.foundKeys++;
    }
  });
  if (stateMachine.compactRevision > revision) return;
  for (const { prefix, bytes, keys, foundBytes, foundKeys } of quotas) {
    if (bytes === foundBytes && keys === foundKeys) continue;
    const name = nameOf(prefix);
    report(
      'quota',
      id,
      `at revision ${revision}, node ${id} counts ${keys} keys of ${bytes} bytes under "${name}", and has ${foundKeys} of ${foundBytes}`,
      { prefix: name, revision, counted: [keys, bytes], found: [foundKeys, foundBytes] },
    );
  }
}

function nameOf(prefix: Uint8Array): string {
  return Buffer.from(prefix.subarray(1)).toString('latin1');
}
