/**
 * Who leads an election, one after another.
 *
 * Invariants: leaders are given out in the order of their create revisions, what one of them says in the order of its modRevisions, nothing twice; every leader who stays, and its last proclamation, is given out.
 * Who led for a moment only may be left out.
 */
import { KvError } from '../errors.ts';
import type { KvEvent } from '../kv/command.ts';
import { keyAfter, type StoredRecord } from '../storage/record.ts';
import type { WatchRequest } from '../wire/messages.ts';
import { checkSignal, firstOf, type Line } from './line.ts';
import type { RecipeStore } from './recipe_store.ts';

/** Gives out the leader's record, now and whenever it changes, until the signal aborts. @throws KvError */
export async function* observeLine(
  store: RecipeStore,
  line: Line,
  signal: AbortSignal,
): AsyncGenerator<StoredRecord, void, undefined> {
  let last: StoredRecord | undefined;
  while (!signal.aborted) {
    try {
      const { record, revision } = await firstOf(store, line);
      if (record === undefined) {
        // Whoever comes first: the look after it says who that is.
        await firstEvent(store, watching(line.start, line.end, revision + 1), signal);
        continue;
      }
      if (record.createRevision !== last?.createRevision || record.modRevision > last.modRevision) {
        last = record;
        yield record;
      }
      for await (const { type, record: next } of eventsOf(store, ofKey(record.key, revision + 1), signal)) {
        if (type === 'delete') break;
        last = next;
        yield next;
      }
    } catch (error) {
      if (signal.aborted) return;
      // What is no longer kept is looked at anew.
      if (!(error instanceof KvError && error.code === 'COMPACTED')) await store.goOn(error, signal);
    }
  }
}

async function* eventsOf(
  store: RecipeStore,
  request: WatchRequest,
  signal: AbortSignal,
): AsyncGenerator<KvEvent, void, undefined> {
  for await (const { events } of store.watch(request, signal)) yield* events;
  checkSignal(signal);
}

async function firstEvent(store: RecipeStore, request: WatchRequest, signal: AbortSignal): Promise<void> {
  for await (const _ of eventsOf(store, request, signal)) return;
}

function ofKey(key: Uint8Array, fromRevision: number): WatchRequest {
  return watching(key, keyAfter(key), fromRevision);
}

function watching(start: Uint8Array, end: Uint8Array, fromRevision: number): WatchRequest {
  return { start, end, fromRevision, prevKv: false };
}
