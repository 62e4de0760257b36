/**
 * All that nodes keep, compared record by record: every live key with its metadata and the store's own rows, as of one revision.
 *
 * A read at a revision shows the same on every node that has come so far and has not compacted it, whatever is written meanwhile; so this needs no pause. Each node
 * is read through its own engine, tables included, and folded into a checksum; only where two differ are their records held against each other.
 */
import type { NodeId } from '../../raft/types.ts';
import { crc32 } from '../../storage/crc32.ts';
import type { Engine } from '../../storage/engine_port.ts';
import type { StoredRecord } from '../../storage/record.ts';
import type { Report } from './violation.ts';

const PAGE_RECORDS = 500;
const PAGE_BYTES = 256 * 1024;
const START = new Uint8Array(0);

export interface ReadableNode {
  readonly id: NodeId;
  readonly engine: Engine;
}

export interface StateSum {
  readonly records: number;
  readonly sum: number;
}

/** @throws KvError CORRUPT, STORAGE_FAILED: the node cannot read all of it. */
export async function sumOfState({ engine }: ReadableNode, revision: number): Promise<StateSum> {
  let records = 0;
  let sum = 0;
  await eachRecord(engine, revision, (record) => {
    records++;
    sum = sumOfRecord(record, sum);
  });
  return { records, sum };
}

/** REQUIRES: every node has reached `revision` and none has compacted it until this resolves. */
export async function compareStates(
  nodes: readonly ReadableNode[],
  revision: number,
  report: Report,
): Promise<void> {
  let first: { node: ReadableNode; state: StateSum } | undefined;
  for (const node of nodes) {
    const state = await sumOfState(node, revision);
    if (first === undefined) first = { node, state };
    else if (state.sum !== first.state.sum || state.records !== first.state.records) {
      const difference = await firstDifference(first.node.engine, node.engine, revision);
      report(
        'equal state at an equal index',
        node.id,
        `at revision ${revision}, node ${node.id} has ${state.records} records and node ${first.node.id} has ${first.state.records}: ${difference}`,
        { revision, nodes: [first.node.id, node.id], records: [first.state.records, state.records] },
      );
    }
  }
}

async function firstDifference(a: Engine, b: Engine, revision: number): Promise<string> {
  const rows: string[] = [];
  await eachRecord(a, revision, (record) => rows.push(describe(record)));
  let at = 0;
  let difference: string | undefined;
  await eachRecord(b, revision, (record) => {
    const row = describe(record);
    if (difference === undefined && rows[at] !== row) {
      difference = `it has ${row} where the other one has ${rows[at] ?? 'nothing'}`;
    }
    at++;
  });
  return difference ?? (at < rows.length ? `it lacks ${rows[at]}` : 'a second look showed no difference');
}

/** REQUIRES: a record is copied where it is kept for longer than the call. */
export async function eachRecord(
  engine: Engine,
  revision: number,
  take: (record: StoredRecord) => void,
): Promise<void> {
  let start = START;
  for (;;) {
    const scanned = engine.scan({
      start,
      end: undefined,
      revision,
      reverse: false,
      limit: PAGE_RECORDS,
      maxBytes: PAGE_BYTES,
      keysOnly: false,
    });
    // The records of an answer that came at once are valid for this turn only.
    const { records, more } = scanned instanceof Promise ? await scanned : scanned;
    for (const record of records) take(record);
    const last = records.at(-1);
    if (!more || last === undefined) return;
    start = new Uint8Array(last.key.length + 1);
    start.set(last.key);
  }
}

function sumOfRecord(record: StoredRecord, sum: number): number {
  const { modRevision, createRevision, version, subRevision, flags, lease, expiresAtMs } = record;
  const facts = `${record.key.length} ${record.value.length} ${modRevision} ${createRevision} ${version} ${subRevision} ${flags} ${lease} ${expiresAtMs}`;
  return crc32(record.value, crc32(record.key, crc32(facts, sum)));
}

function describe({ key, value, modRevision, createRevision, version, expiresAtMs }: StoredRecord): string {
  const shown = Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1');
  const expiry = expiresAtMs === 0 ? '' : `, expires at ${expiresAtMs}`;
  return `${JSON.stringify(shown)} (modRevision ${modRevision}, createRevision ${createRevision}, version ${version}, ${value.length} bytes with checksum ${crc32(value)}${expiry})`;
}
