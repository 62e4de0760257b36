/**
 * Looks whether what a write will read before it is applied can be read.
 *
 * A node that is its whole cluster could do nothing about an entry in its log that it cannot apply, at this start or any other: so it reads first, and refuses the write.
 * What was found in order may still fail when the entry is applied (the disk dies in between); then the node ends.
 *
 * Invariant: reads at least the blocks that `Engine.load` of the same request reads.
 */
import type { Engine, LoadRequest, NamingRows } from '../storage/engine_port.ts';
import { keyAfter, type MaybePromise, type ScanPage } from '../storage/record.ts';

const PAGE_RECORDS = 1_024;
const PAGE_BYTES = 1024 * 1024;

/**
 * undefined: all of it can be read, and at once; else a promise of that. `revision`: the store's.
 * @throws (or rejects with) KvError CORRUPT
 */
export function checkReadable(
  engine: Engine,
  request: LoadRequest,
  revision: number,
): Promise<void> | undefined {
  const { keys, ranges, older, naming } = request;
  if (keys.length === 1 && ranges.length === 0 && older === undefined && naming === undefined)
    return engine.checkReadable(keys[0]!) ?? undefined;
  const waits: Promise<unknown>[] = [];
  const wait = (answer: unknown): void => {
    if (answer instanceof Promise) waits.push(answer);
  };
  try {
    for (const key of keys) wait(engine.checkReadable(key));
    for (const { key, revision: at } of older ?? []) wait(engine.get(key, at));
    for (const range of ranges) {
      // A page that comes later must not depend on the command's bytes, which may be another one's by then.
      const [start, end] = [range.start.slice(), range.end?.slice()];
      wait(checkRange(engine, start, end, range.revision === 0 ? revision : range.revision));
    }
    for (const rows of naming ?? []) wait(checkNamed(engine, rows, revision));
  } catch (error) {
    // The first error is told; nobody asks any more what comes of the others.
    for (const answer of waits) answer.catch(() => undefined);
    throw error;
  }
  return waits.length === 0 ? undefined : Promise.all(waits).then(() => undefined);
}

/** Reads a range page after page, at once for as long as the pages come at once. */
function checkRange(
  engine: Engine,
  start: Uint8Array,
  end: Uint8Array | undefined,
  revision: number,
): MaybePromise<void> {
  let from = start;
  for (;;) {
    const page = engine.scan({
      start: from,
      end,
      revision,
      reverse: false,
      limit: PAGE_RECORDS,
      maxBytes: PAGE_BYTES,
      keysOnly: true,
      tombstones: true,
    });
    if (page instanceof Promise) {
      return page.then((later) => {
        const next = nextStart(later);
        return next === undefined ? undefined : checkRange(engine, next, end, revision);
      });
    }
    const next = nextStart(page);
    if (next === undefined) return undefined;
    from = next;
  }
}

/** Reads index rows and the keys that they name. */
async function checkNamed(engine: Engine, rows: NamingRows, revision: number): Promise<void> {
  let start: Uint8Array | undefined = rows.start;
  while (start !== undefined) {
    const page: ScanPage = await engine.scan({
      start,
      end: rows.end,
      revision,
      reverse: false,
      limit: PAGE_RECORDS,
      maxBytes: PAGE_BYTES,
      keysOnly: true,
    });
    start = nextStart(page);
    const keys = page.records.flatMap(({ key }) => {
      const named = rows.keyOf(key);
      return named === undefined ? [] : [new Uint8Array(named)];
    });
    for (const key of keys) await engine.checkReadable(key);
  }
}

function nextStart({ records, more }: ScanPage): Uint8Array | undefined {
  const last = records.at(-1);
  return more && last !== undefined ? keyAfter(last.key) : undefined;
}
