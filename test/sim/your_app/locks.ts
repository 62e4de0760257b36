/** Two locks over a store, as an application might write them: one that looks right, and one that is. The example of docs/testing_your_app.md. */
import type { KeyEntry, Store } from '../../../src/index.ts';

export type Sleep = (ms: number) => Promise<unknown>;

const LOCK = 'lock';
const COUNTER = 'counter';
const TTL_MS = 2_000;
const WORK_MS = 100;

async function acquire(store: Store, owner: string, sleep: Sleep): Promise<KeyEntry> {
  for (;;) {
    const { succeeded } = await store.txn({
      compare: [{ key: LOCK, exists: false }],
      then: [{ type: 'put', key: LOCK, value: owner, ttlMs: TTL_MS }],
    });
    const held = succeeded ? await store.getEntry(LOCK) : undefined;
    if (held !== undefined && String(Buffer.from(held.value)) === owner) return held;
    await sleep(50);
  }
}

const numberIn = (value: Uint8Array | undefined): number =>
  value === undefined ? 0 : Number(Buffer.from(value));

/** Adds one to the counter under the lock. Wrong: who works for longer than the lock lives goes on as if it were still held. */
export async function addNaively(store: Store, owner: string, sleep: Sleep): Promise<void> {
  await acquire(store, owner, sleep);
  const count = numberIn(await store.get(COUNTER));
  await sleep(WORK_MS);
  await store.put(COUNTER, `${count + 1}`);
  await store.delete(LOCK);
}

/** The same with a fencing token: the write holds only while the lock is the one that was taken. False: it was lost meanwhile, nothing was written. */
export async function addFenced(store: Store, owner: string, sleep: Sleep): Promise<boolean> {
  const { createRevision } = await acquire(store, owner, sleep);
  const count = numberIn(await store.get(COUNTER));
  await sleep(WORK_MS);
  const { succeeded } = await store.txn({
    compare: [{ key: LOCK, createRevision }],
    then: [
      { type: 'put', key: COUNTER, value: `${count + 1}` },
      { type: 'delete', key: LOCK },
    ],
  });
  return succeeded;
}
