/**
 * What every test at the edges demands of code that reads bytes of others, whatever they are: it answers, or throws a KvError with one of the codes that its
 * documentation names; it takes memory in proportion to the bytes that are there, not to what they claim; and it looks at them a bounded number of times.
 *
 * Memory is watched by standing in for the constructors that take a length (Uint8Array, Array, Buffer.alloc, ...) while the code runs; work by counting the
 * reads of ByteReader. An endless loop that does neither is ended by the runner of the tests.
 *
 * KVORUM_EDGE_RUNS: inputs of each property (default: a quick number). KVORUM_EDGE_SEED, KVORUM_EDGE_PATH: what a failure printed, to play it again.
 */
import type * as fc from 'fast-check';
import { type ErrorCode, KvError } from '../../src/errors.ts';
import { ByteReader } from '../../src/wire/varint.ts';

/** What may be allocated besides what the input's length explains. */
const FREE_BYTES = 64 * 1024;
/** Bytes allocated for each byte of input: objects of small records weigh more than their bytes. */
const BYTES_PER_BYTE = 64;
const READS_PER_BYTE = 8;

/** Inputs to be tried. */
export function edgeRuns(quick: number): number {
  const wanted = process.env['KVORUM_EDGE_RUNS'];
  if (wanted === undefined) return quick;
  const runs = Number(wanted);
  if (!Number.isSafeInteger(runs) || runs < 1) throw new Error(`KVORUM_EDGE_RUNS is ${wanted}`);
  return runs;
}

/** Parameters of fast-check: the seed of the environment, so that what failed can be played again. */
export function edgeParameters(numRuns: number): fc.Parameters<unknown> {
  const seed = process.env['KVORUM_EDGE_SEED'];
  const path = process.env['KVORUM_EDGE_PATH'];
  return {
    numRuns,
    includeErrorInReport: true,
    ...(seed === undefined ? {} : { seed: Number(seed) }),
    ...(path === undefined ? {} : { path }),
  } as fc.Parameters<unknown>;
}

export interface Usage {
  /** Sum of the bytes asked for. */
  bytes: number;
  /** The largest single request. */
  largest: number;
  /** Bytes that ByteReader was asked for one by one. */
  reads: number;
}

let usage: Usage | undefined;

function asked(bytes: number): void {
  if (usage === undefined || !(bytes > 0)) return;
  usage.bytes += bytes;
  if (bytes > usage.largest) usage.largest = bytes;
}

interface Swap {
  readonly owner: object;
  readonly name: string;
  readonly original: unknown;
  readonly counting: unknown;
}

/** A stand-in that counts what its constructor is asked for. Views of what exists cost nothing. */
function countingConstructor(original: new (...given: never[]) => object, bytesEach: number): unknown {
  return new Proxy(original, {
    construct(target, given: unknown[], newTarget) {
      const first = given[0];
      if (typeof first === 'number' && given.length === 1) asked(first * bytesEach);
      else if (ArrayBuffer.isView(first)) asked(first.byteLength);
      return Reflect.construct(target, given, newTarget === stands.get(original) ? target : newTarget);
    },
  });
}

function countingFunction(original: (...given: never[]) => unknown): unknown {
  return new Proxy(original, {
    apply(target, self, given: unknown[]) {
      if (typeof given[0] === 'number') asked(given[0]);
      return Reflect.apply(target, self, given);
    },
  });
}

const stands = new Map<unknown, unknown>();
const swaps: Swap[] = [];

function swapConstructor(name: string, bytesEach: number): void {
  const original = Reflect.get(globalThis, name) as new (...given: never[]) => object;
  const counting = countingConstructor(original, bytesEach);
  stands.set(original, counting);
  swaps.push({ owner: globalThis, name, original, counting });
}

for (const [name, bytesEach] of [
  ['Uint8Array', 1],
  ['Uint32Array', 4],
  ['Float64Array', 8],
  ['ArrayBuffer', 1],
  ['SharedArrayBuffer', 1],
  ['Array', 8],
] as const)
  swapConstructor(name, bytesEach);
for (const name of ['alloc', 'allocUnsafe', 'allocUnsafeSlow'] as const)
  swaps.push({ owner: Buffer, name, original: Buffer[name], counting: countingFunction(Buffer[name]) });

const plainU8 = ByteReader.prototype.u8;
swaps.push({
  owner: ByteReader.prototype,
  name: 'u8',
  original: plainU8,
  counting: function u8(this: ByteReader): number {
    if (usage !== undefined) usage.reads++;
    return plainU8.call(this);
  },
});

function install(which: 'original' | 'counting'): void {
  for (const swap of swaps) Reflect.set(swap.owner, swap.name, swap[which]);
}

export type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: KvError };

/** Inputs tried by name: [taken, refused]. */
const tally = new Map<string, [number, number]>();

export function count(name: string, taken: boolean): void {
  const counts = tally.get(name) ?? [0, 0];
  counts[taken ? 0 : 1]++;
  tally.set(name, counts);
}

/** How many inputs of a name were taken and refused. */
export function tallyOf(name: string): { taken: number; refused: number } {
  const [taken, refused] = tally.get(name) ?? [0, 0];
  return { taken, refused };
}

/** Prints what was tried: for long runs. */
export function report(): void {
  if (process.env['KVORUM_EDGE_RUNS'] === undefined) return;
  for (const [name, [taken, refused]] of tally)
    console.log(`edges: ${name}: ${taken + refused} inputs, ${taken} taken, ${refused} refused`);
}

/** Bytes for a message. */
export function shownBytes(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes.subarray(0, 400)).toString('hex');
  return `${bytes.length} B ${hex}${bytes.length > 400 ? '...' : ''}`;
}

function checkUsage(name: string, inputBytes: number, used: Usage, input: () => string): void {
  const mayTake = FREE_BYTES + inputBytes * BYTES_PER_BYTE;
  if (used.bytes > mayTake)
    throw new Error(
      `${name}: ${used.bytes} bytes allocated (${used.largest} at once) for ${inputBytes} bytes: ${input()}`,
    );
  if (used.reads > 256 + inputBytes * READS_PER_BYTE)
    throw new Error(`${name}: ${used.reads} reads of ${inputBytes} bytes: ${input()}`);
}

/** What was thrown, if it is what may be thrown. */
export function expected(
  name: string,
  error: unknown,
  codes: readonly ErrorCode[],
  input: () => string,
): KvError {
  if (error instanceof KvError && codes.includes(error.code)) return error;
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const code = error instanceof KvError ? ` [${error.code}]` : '';
  throw new Error(`${name}: thrown${code}: ${text}\nfor ${input()}`);
}

/** Runs a decoder under the guard. @throws Error (of the test) for anything that is not allowed. */
export function guarded<T>(
  name: string,
  bytes: Uint8Array,
  codes: readonly ErrorCode[],
  decode: () => T,
): Outcome<T> {
  const used: Usage = { bytes: 0, largest: 0, reads: 0 };
  const input = () => shownBytes(bytes);
  let outcome: { value: T } | { thrown: unknown };
  usage = used;
  install('counting');
  try {
    outcome = { value: decode() };
  } catch (thrown) {
    outcome = { thrown };
  } finally {
    usage = undefined;
    install('original');
  }
  checkUsage(name, bytes.length, used, input);
  if ('value' in outcome) {
    count(name, true);
    return { ok: true, value: outcome.value };
  }
  const error = expected(name, outcome.thrown, codes, input);
  count(name, false);
  return { ok: false, error };
}

/** The same for code that waits; nothing else may run meanwhile. `inputBytes`: of all files that it may read. `freeBytes`: windows and buffers of fixed size. */
export async function guardedAsync<T>(
  name: string,
  inputBytes: number,
  freeBytes: number,
  codes: readonly ErrorCode[],
  input: () => string,
  decode: () => Promise<T>,
): Promise<Outcome<T>> {
  const used: Usage = { bytes: 0, largest: 0, reads: 0 };
  let outcome: { value: T } | { thrown: unknown };
  usage = used;
  install('counting');
  try {
    outcome = { value: await decode() };
  } catch (thrown) {
    outcome = { thrown };
  } finally {
    usage = undefined;
    install('original');
  }
  // Files are read in windows of a fixed size, once for each thing that is opened.
  if (used.largest > freeBytes + inputBytes * 2)
    throw new Error(
      `${name}: ${used.largest} bytes allocated at once for ${inputBytes} bytes of files: ${input()}`,
    );
  if ('value' in outcome) {
    count(name, true);
    return { ok: true, value: outcome.value };
  }
  const error = expected(name, outcome.thrown, codes, input);
  count(name, false);
  return { ok: false, error };
}
