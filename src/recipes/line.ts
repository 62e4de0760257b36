/**
 * The line of those who want the same lock or the same office, as etcd's package `concurrency` has it: each puts a key `NAME/LEASE` (the lease in hexadecimal) that goes with its lease, and the key
 * with the lowest create revision has it. Clients of etcd and these recipes stand in one line.
 *
 * Invariants: whoever waits watches one key, that of its neighbour in front, so that the end of a holder wakes one waiter; a place that is given up or lost is given up as it was taken: the create revision is
 * compared, so nobody removes what another put there later; the create revision is the fencing token, since it grows with every holder.
 */
import { KvError } from '../errors.ts';
import type { Compare, Operation, PutOp } from '../kv/command.ts';
import { storedKey } from '../kv/keyspace.ts';
import { compareKeys, keyAfter, type StoredRecord } from '../storage/record.ts';
import type { RangeRequest, RangeResponse } from '../wire/messages.ts';
import { PLAIN_SELECTION } from '../wire/selection_codec.ts';
import type { RecipeStore } from './recipe_store.ts';

const SLASH = 0x2f;
const NO_BYTES = new Uint8Array(0);
const ONLY_DELETES = { noPut: true, noDelete: false };

/** A contender's key. */
export interface Place {
  /** As it is stored. */
  readonly key: Uint8Array;
  readonly createRevision: number;
  readonly lease: bigint;
}

/** Where the keys of a name lie. */
export interface Line {
  /** Stored keys: [start, end). */
  readonly start: Uint8Array;
  readonly end: Uint8Array;
}

/** @param name the user's key, without its space byte */
export function lineOf(name: Uint8Array): Line {
  const start = Uint8Array.of(...storedKey(name), SLASH);
  const end = Uint8Array.from(start);
  end[end.length - 1] = SLASH + 1;
  return { start, end };
}

/** A place of that lease: signed, in hexadecimal, as etcd's clients write it. */
export function placeKey({ start }: Line, lease: bigint): Uint8Array {
  return Buffer.concat([start, Buffer.from(lease.toString(16))]);
}

/**
 * Puts the key of a lease at the end of the line; where the lease has one already it keeps its place.
 * @returns the place, and the value that stood there before
 * @throws KvError LEASE_NOT_FOUND
 */
export async function takePlace(
  store: RecipeStore,
  line: Line,
  lease: bigint,
  value: Uint8Array,
): Promise<{ readonly place: Place; readonly before: Uint8Array | undefined }> {
  const key = placeKey(line, lease);
  const { succeeded, revision, results } = await store.txn({
    compares: [createdAt(key, 0)],
    success: [leasedPut(key, value, lease)],
    failure: [getOf(key)],
  });
  if (succeeded) return { place: { key, createRevision: revision, lease }, before: undefined };
  const [got] = results;
  const record = got?.type === 'range' ? got.records[0] : undefined;
  if (record === undefined) throw new KvError('PROTOCOL', 'a key that is there was not shown');
  return { place: { key, createRevision: record.createRevision, lease }, before: record.value };
}

/**
 * Waits until nobody stands in front of the place.
 * @returns a revision at which the place was there
 * @throws KvError LEASE_EXPIRED when the place is gone by then, and what the signal aborts with
 */
export async function waitForTurn(
  store: RecipeStore,
  line: Line,
  place: Place,
  signal: AbortSignal,
): Promise<number> {
  for (let waited = false; ; ) {
    checkSignal(signal);
    try {
      const { records, revision } = await inFront(store, line, place.createRevision);
      const neighbour = records[0];
      if (neighbour === undefined) {
        if (!waited) return place.createRevision;
        // Whoever waited may have outlived its lease.
        return await standsAt(store, place);
      }
      waited = true;
      await waitUntilGone(store, neighbour, revision + 1, signal);
    } catch (error) {
      checkSignal(signal);
      if (error instanceof KvError && error.code === 'LEASE_EXPIRED') throw error;
      // The outcome of a wait that has failed is known to nobody: look again.
      waited = true;
      await store.goOn(error, signal);
    }
  }
}

/**
 * Resolves when the key is gone, or has been replaced by another of the same name; `fromRevision`: it was there at the revision before.
 * @throws KvError; what the signal aborts with
 */
export async function waitUntilGone(
  store: RecipeStore,
  place: { readonly key: Uint8Array; readonly createRevision: number },
  fromRevision: number,
  signal: AbortSignal,
): Promise<void> {
  const { key } = place;
  for (let from = fromRevision; ; ) {
    try {
      const request = {
        start: key,
        end: keyAfter(key),
        fromRevision: from,
        prevKv: false,
        filters: ONLY_DELETES,
      };
      for await (const { events } of store.watch(request, signal)) {
        if (events.some(({ type }) => type === 'delete')) return;
      }
    } catch (error) {
      if (!(error instanceof KvError && error.code === 'COMPACTED')) throw error;
    }
    // The watch has come to its end without a deletion: aborted, or the history is gone.
    checkSignal(signal);
    const { records, revision } = await store.range(rangeOf(key, undefined));
    if (records[0]?.createRevision !== place.createRevision) return;
    from = revision + 1;
  }
}

/** @throws KvError LEASE_EXPIRED when the key is not there any more as it was put */
async function standsAt(store: RecipeStore, { key, createRevision }: Place): Promise<number> {
  const { records, revision } = await store.range(rangeOf(key, undefined));
  if (records[0]?.createRevision !== createRevision) throw lost();
  return revision;
}

/** Writes another value to a place; false: it is gone. */
export async function announce(
  store: RecipeStore,
  { key, createRevision, lease }: Place,
  value: Uint8Array,
): Promise<{ readonly done: boolean; readonly revision: number }> {
  const { succeeded, revision } = await store.txn({
    compares: [createdAt(key, createRevision)],
    success: [leasedPut(key, value, lease)],
    failure: [],
  });
  return { done: succeeded, revision };
}

/** Whoever had a place before they came says what they have to say now. @throws KvError LEASE_EXPIRED */
export async function sayAnew(
  store: RecipeStore,
  place: Place,
  before: Uint8Array | undefined,
  value: Uint8Array,
): Promise<void> {
  if (before === undefined || compareKeys(before, value) === 0) return;
  if (!(await announce(store, place, value)).done) throw lost();
}

/** Gives a place up, if it is there still. */
export async function leave(
  store: RecipeStore,
  { key, createRevision }: Pick<Place, 'key' | 'createRevision'>,
): Promise<{ readonly done: boolean; readonly revision: number }> {
  const { succeeded, revision } = await store.txn({
    compares: [createdAt(key, createRevision)],
    success: [{ type: 'delete', key, end: undefined, prevKv: false }],
    failure: [],
  });
  return { done: succeeded, revision };
}

/** Who is first in the line. */
export async function firstOf(
  store: RecipeStore,
  line: Line,
): Promise<{ readonly record: StoredRecord | undefined; readonly revision: number }> {
  const { records, revision } = await store.range({
    ...rangeOf(line.start, line.end),
    limit: 1,
    sortTarget: 'createRevision',
    sortOrder: 'ascend',
  });
  return { record: records[0], revision };
}

/** @throws KvError: what the signal was aborted with, else CANCELLED */
export function checkSignal(signal: AbortSignal): void {
  if (!signal.aborted) return;
  const reason: unknown = signal.reason;
  throw reason instanceof KvError ? reason : new KvError('CANCELLED', 'the call was cancelled by its signal');
}

export function lost(): KvError {
  return new KvError(
    'LEASE_EXPIRED',
    'the place in the line is gone: its lease has ended, or it was deleted',
  );
}

/** The nearest of those in front. */
function inFront(store: RecipeStore, line: Line, createRevision: number): Promise<RangeResponse> {
  return store.range({
    ...rangeOf(line.start, line.end),
    limit: 1,
    keysOnly: true,
    sortTarget: 'createRevision',
    sortOrder: 'descend',
    maxCreateRevision: createRevision - 1,
  });
}

function rangeOf(key: Uint8Array, end: Uint8Array | undefined): RangeRequest {
  return { ...PLAIN_SELECTION, key, end, level: 'linearizable', minRevision: 0, revision: 0, maxBytes: 0 };
}

function createdAt(key: Uint8Array, createRevision: number): Compare {
  const none = { end: undefined, value: NO_BYTES, lease: 0n };
  return { target: 'createRevision', result: '=', key, ...none, number: createRevision };
}

function leasedPut(key: Uint8Array, value: Uint8Array, lease: bigint): PutOp {
  const none = { prevKv: false, ignoreValue: false, ignoreLease: false };
  return { type: 'put', key, value, ttlMs: 0, lease, ...none };
}

function getOf(key: Uint8Array): Operation {
  return { type: 'range', key, end: undefined, revision: 0, ...PLAIN_SELECTION, limit: 1 };
}
