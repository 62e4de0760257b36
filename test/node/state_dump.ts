/** What a node holds, for comparing nodes: every live key, and every event since the oldest revision that is kept. */
import * as assert from 'uvu/assert';
import { type ClusterLab, type LabNode, text, until } from './cluster_lab.ts';

/** Live keys as of now with all that is known about them. Values are shortened. */
export async function liveKeys({ store }: LabNode): Promise<string[]> {
  const rows: string[] = [];
  for await (const entry of store.scan({ level: 'eventual' })) {
    const { key, value, createRevision, modRevision, version, expiresAtMs } = entry;
    const shown = text(value)!;
    rows.push(
      `${text(key)}=${shown.slice(0, 24)}#${shown.length} ${createRevision} ${modRevision} ${version} ${expiresAtMs ?? ''}`,
    );
  }
  return rows;
}

/** Every event from `fromRevision` up to `toRevision`, as this node tells it. */
export async function eventsOf(
  { store }: LabNode,
  fromRevision: number,
  toRevision: number,
): Promise<string[]> {
  const rows: string[] = [];
  if (toRevision < fromRevision) return rows;
  for await (const event of store.watch({ fromRevision, signal: AbortSignal.timeout(20_000) })) {
    const value = text(event.value) ?? '';
    rows.push(
      `${event.revision} ${event.type} ${text(event.key)} ${value.slice(0, 24)}#${value.length} ${event.createRevision} ${event.version}`,
    );
    if (event.revision >= toRevision) break;
  }
  return rows;
}

/** Waits until the nodes have applied the same, and compares all they hold. Gives the revision. */
export async function assertSameState(lab: ClusterLab, ids: readonly number[]): Promise<number> {
  const statuses = () => ids.map((id) => lab.node(id).node.service.status());
  await until(
    () => new Set(statuses().map(({ appliedIndex }) => appliedIndex)).size === 1,
    `nodes ${ids.join(', ')} to be equally far`,
  ).catch((error: unknown) => {
    console.error(JSON.stringify(statuses(), undefined, 1));
    throw error;
  });
  const [first, ...others] = ids.map((id) => lab.node(id));
  const { revision, compactRevision } = first!.node.service.status();
  const keys = await liveKeys(first!);
  const events = await eventsOf(first!, compactRevision + 1, revision);
  for (const other of others) {
    assert.is(other.node.service.status().revision, revision, `the revision of node ${other.id}`);
    assert.equal(await liveKeys(other), keys, `live keys of nodes ${first!.id} and ${other.id}`);
    const otherEvents = await eventsOf(other, compactRevision + 1, revision);
    assert.equal(otherEvents, events, `history of nodes ${first!.id} and ${other.id}`);
  }
  return revision;
}
