/**
 * A process that writes to an embedded store at full speed until it is killed (killed_writer.slow.test.ts); before that it checks what the last one left.
 *
 *     node lane_writer.js DIRECTORY CONFIG ACKNOWLEDGED     the last: for each lane, how many of its operations were acknowledged
 *
 * The work of a lane is given by its name and a number: operation n of a lane changes the same keys in the same way in every life, and a lane goes on with
 * n + 1 when n was acknowledged. So the store must hold of each lane what operations 1 to n make, or 1 to n + 1: less is a lost write, more or older a
 * resurrected one, in between a torn one.
 *
 * Prints `at LANE NUMBER` for what it found, `open`, then `ok LANE NUMBER` for each acknowledgement; `bad ...` and status 1 for what must not be.
 * Whoever reads that may be slow, and the pipe full: a lane waits until its acknowledgement is out, so that never more than one of its operations is unknown.
 */
import { type BatchOperation, open, type Store } from '../../src/index.ts';

const KEYS = 150;
const LARGE_BYTES = 300_000;
const FILLING = Buffer.alloc(LARGE_BYTES + KEYS, 'the quick brown fox jumps over the lazy dog; ');

/** Which keys an operation puts and deletes. */
interface Step {
  readonly puts: readonly { readonly key: number; readonly bytes: number }[];
  readonly deletes: readonly number[];
  /** Keys from here to the end go first, by one command. */
  readonly range: readonly [number, number] | undefined;
}

/** Numbers that depend on lane and operation alone (mulberry32). */
function numbersOf(lane: number, operation: number): (below: number) => number {
  let state = (Math.imul(lane + 1, 0x9e3779b1) ^ Math.imul(operation, 0x85ebca6b)) >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

function stepOf(lane: number, operation: number): Step {
  const next = numbersOf(lane, operation);
  const kind = next(100);
  const size = (): number => (next(500) === 0 ? LARGE_BYTES : next(4) === 0 ? next(12_000) : next(300));
  if (kind < 70) return { puts: [{ key: next(KEYS), bytes: size() }], deletes: [], range: undefined };
  if (kind < 85) return { puts: [], deletes: [next(KEYS)], range: undefined };
  if (kind < 87) {
    const from = next(KEYS);
    const to = Math.min(KEYS, from + 1 + next(60));
    return { puts: [], deletes: [], range: [from, to] };
  }
  const keys = new Set(Array.from({ length: 1 + next(12) }, () => next(KEYS)));
  const puts: Step['puts'][number][] = [];
  const deletes: number[] = [];
  for (const key of keys) {
    if (next(4) === 0) deletes.push(key);
    else puts.push({ key, bytes: size() });
  }
  return { puts, deletes, range: undefined };
}

const keyOf = (lane: number, key: number): string => `lane${lane}/${String(key).padStart(4, '0')}`;

function bytesOf(operation: number, key: number, bytes: number): Buffer {
  const tag = Buffer.from(`${operation}|`);
  return Buffer.concat([tag, FILLING.subarray(key, key + bytes)]);
}

/** What a lane's keys hold: the operation that put them, and how many bytes. */
type Content = Map<number, { operation: number; bytes: number }>;

function advance(content: Content, lane: number, operation: number): void {
  const { puts, deletes, range } = stepOf(lane, operation);
  if (range !== undefined) for (let key = range[0]; key < range[1]; key++) content.delete(key);
  for (const key of deletes) content.delete(key);
  for (const { key, bytes } of puts) content.set(key, { operation, bytes });
}

async function perform(store: Store, lane: number, operation: number): Promise<void> {
  const { puts, deletes, range } = stepOf(lane, operation);
  if (range !== undefined) {
    const [from, to] = range;
    await store.txn({ then: [{ type: 'deleteRange', start: keyOf(lane, from), end: keyOf(lane, to) }] });
    return;
  }
  const operations: BatchOperation[] = [
    ...puts.map(({ key, bytes }) => ({
      type: 'put' as const,
      key: keyOf(lane, key),
      value: bytesOf(operation, key, bytes),
    })),
    ...deletes.map((key) => ({ type: 'delete' as const, key: keyOf(lane, key) })),
  ];
  const [only] = operations;
  if (operations.length === 1 && only?.type === 'put') await store.put(only.key, only.value);
  else if (operations.length === 1 && only?.type === 'delete') await store.delete(only.key);
  else await store.batch(operations);
}

/** Resolves when the line is out. Not fs.writeSync: that fails with EAGAIN on a full pipe, which Node sets to non-blocking for its threads' output. */
function say(line: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(`${line}\n`, (error) => (error ? reject(error) : resolve()));
  });
}

function bad(what: string): never {
  throw new Error(what);
}

async function end(error: unknown): Promise<never> {
  await say(`bad ${error instanceof Error ? error.stack : String(error)}`);
  process.exit(1);
}

/** Everything in the store, by lane; a value that no operation wrote is an error. */
async function contentsOf(store: Store, lanes: number, reverse: boolean): Promise<Map<number, number>[]> {
  const found = Array.from({ length: lanes }, () => new Map<number, number>());
  for await (const { key, value } of store.scan({ reverse })) {
    const match = /^lane(\d+)\/(\d{4})$/.exec(Buffer.from(key).toString());
    const lane = Number(match?.[1]);
    const bytes = Buffer.from(value);
    const operation = Number(/^(\d+)\|/.exec(bytes.toString('latin1', 0, 20))?.[1]);
    const put = stepOf(lane, operation).puts.find((one) => one.key === Number(match?.[2]));
    const content = found[lane];
    if (put === undefined || content === undefined) bad(`${Buffer.from(key)} has a value from ${operation}`);
    if (!bytes.equals(bytesOf(operation, put.key, put.bytes)))
      bad(`${Buffer.from(key)}: not what operation ${operation} wrote`);
    content.set(put.key, operation);
  }
  return found;
}

function agrees(found: Map<number, number>, wanted: Content): boolean {
  if (found.size !== wanted.size) return false;
  for (const [key, { operation }] of wanted) if (found.get(key) !== operation) return false;
  return true;
}

function difference(found: Map<number, number>, wanted: Content): string {
  const keys = new Set([...found.keys(), ...wanted.keys()]);
  return [...keys]
    .filter((key) => found.get(key) !== wanted.get(key)?.operation)
    .map((key) => `${key}: ${found.get(key)}, not ${wanted.get(key)?.operation}`)
    .join('; ');
}

/** The number of operations that the store shows of each lane. */
async function check(store: Store, acknowledged: readonly number[]): Promise<number[]> {
  const found = await contentsOf(store, acknowledged.length, acknowledged[0]! % 2 === 1);
  return acknowledged.map((number, lane) => {
    const content: Content = new Map();
    for (let operation = 1; operation <= number; operation++) advance(content, lane, operation);
    if (agrees(found[lane]!, content)) return number;
    const before = difference(found[lane]!, content);
    advance(content, lane, number + 1);
    if (agrees(found[lane]!, content)) return number + 1;
    return bad(
      `lane ${lane} after ${number}: ${before}; as of ${number + 1}: ${difference(found[lane]!, content)}`,
    );
  });
}

async function write(store: Store, lane: number, from: number): Promise<never> {
  for (let operation = from + 1; ; operation++) {
    await perform(store, lane, operation);
    await say(`ok ${lane} ${operation}`);
  }
}

/** Reads that go on beside the writes, over tables that come and go. */
async function read(store: Store, lanes: number): Promise<never> {
  for (let round = 0; ; round++) {
    await contentsOf(store, lanes, round % 2 === 1);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function run(): Promise<void> {
  const [path = '', config = '{}', counts = '[]'] = process.argv.slice(2);
  const acknowledged: number[] = JSON.parse(counts);
  const store = await open({ path, config: JSON.parse(config) });
  const start = await check(store, acknowledged);
  for (const [lane, number] of start.entries()) await say(`at ${lane} ${number}`);
  await say('open');
  await Promise.all([...start.map((number, lane) => write(store, lane, number)), read(store, start.length)]);
}

await run().catch(end);
