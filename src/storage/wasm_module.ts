/**
 * Loads the WebAssembly build (assembly/) and makes instances of it, one per memory.
 *
 * Invariants: a build is read and compiled once per process (a compiled module has no state); an instance never leaves the memory it was
 * made for; a trap of the debug build's assertions surfaces as a KvError INTERNAL that names the place.
 */
import { readFileSync } from 'node:fs';
import { KvError } from '../errors.ts';

/** The parts of the WebAssembly interface used here; @types/node 20 does not declare it. */
declare namespace WebAssembly {
  class Module {
    constructor(bytes: Uint8Array);
  }
  class Memory {
    constructor(descriptor: { initial: number; maximum: number; shared: boolean });
    readonly buffer: ArrayBufferLike;
    grow(pages: number): number;
  }
  class Instance {
    constructor(module: Module, imports: Record<string, Record<string, unknown>>);
    readonly exports: Record<string, unknown>;
  }
}

export type WasmMemory = WebAssembly.Memory;

/** `debug` checks its own invariants on every call; for tests. */
export type WasmBuild = 'release' | 'debug';

export const WASM_PAGE_BYTES = 65536;

/** Of assembly/flush_abi.ts. */
interface FlushExports {
  flushStart(cursor: number): void;
  flushStep(cursor: number, builder: number, compactRevision: number, budgetBytes: number): number;
  addHashes(bits: number, blocks: number, hashes: number, count: number): void;
  lz4Compress(source: number, length: number, target: number, capacity: number, table: number): number;
  lz4Decompress(source: number, length: number, target: number, capacity: number): number;
  checkEntries(
    payload: number,
    length: number,
    descriptors: number,
    count: number,
    bits: number,
    blocks: number,
    scratch: number,
    keyBuffer: number,
    summary: number,
  ): void;
}

const FLUSH_NAMES: readonly (keyof FlushExports)[] = [
  'flushStart',
  'flushStep',
  'addHashes',
  'lz4Compress',
  'lz4Decompress',
  'checkEntries',
];

/** Of assembly/lookup_abi.ts. */
interface LookupExports {
  lookup(scratch: number, version: number, keyLength: number, revision: number): number;
  resume(scratch: number, frame: number): number;
  mayHold(scratch: number, version: number, keyLength: number): number;
  seekIndex(scratch: number, table: number, keyLength: number): number;
  prepareIndex(table: number, keysLength: number, dataEnd: number): number;
}

const LOOKUP_NAMES: readonly (keyof LookupExports)[] = [
  'lookup',
  'resume',
  'mayHold',
  'seekIndex',
  'prepareIndex',
];

/** Merges of the blocks of tables: assembly/merge.ts says how they run. */
export interface MergeExports {
  beginMerge(
    table: number,
    count: number,
    orderArea: number,
    lastKeyArea: number,
    reverse: number,
    seek: number,
    seekLength: number,
    seekRevision: number,
    stop: number,
    stopLength: number,
  ): void;
  collectInto(region: number, regionBytes: number, descriptors: number, capacity: number): void;
  collectedTaken(): void;
  collectedCount(): number;
  collectedEnd(): number;
  neededBytes(): number;
  collectNewest(
    revision: number,
    tombstones: number,
    keysOnly: number,
    limit: number,
    maxBytes: number,
  ): number;
  collectNewestReverse(
    revision: number,
    tombstones: number,
    keysOnly: number,
    limit: number,
    maxBytes: number,
  ): number;
  collectVersions(smallest: number, largest: number, limit: number, maxBytes: number): number;
  collectRetained(compactRevision: number, limit: number, maxBytes: number): number;
  mergeInto(builder: number, compactRevision: number, bytesLimit: number): number;
  mergedBytes(): number;
  nextRecord(): number;
  setRangesBelow(list: number, count: number): void;
}

const MERGE_NAMES: readonly (keyof MergeExports)[] = [
  'beginMerge',
  'collectInto',
  'collectedTaken',
  'collectedCount',
  'collectedEnd',
  'neededBytes',
  'collectNewest',
  'collectNewestReverse',
  'collectVersions',
  'collectRetained',
  'mergeInto',
  'mergedBytes',
  'nextRecord',
  'setRangesBelow',
];

/** The ABI of assembly/index.ts; its documentation stands there. Addresses are below 2 GiB, so they are never negative here. */
export interface WasmExports extends FlushExports, LookupExports, MergeExports {
  reset(slotsLog2: number, seed: bigint, threads: number): number;
  setSlot(index: number): void;
  reserve(keyLength: number, valueLength: number): number;
  commit(
    keyLength: number,
    valueWord: number,
    modRevision: number,
    createRevision: number,
    version: number,
    subRevision: number,
    flags: number,
    lease: bigint,
    expiresAtMs: number,
  ): number;
  find(keyLength: number): number;
  findAt(keyLength: number, revision: number): number;
  nodeOf(keyLength: number): number;
  seek(keyLength: number, after: number): number;
  seekBefore(keyLength: number): number;
  first(): number;
  last(): number;
  collect(
    node: number,
    stop: number,
    revision: number,
    reverse: number,
    tombstones: number,
    limit: number,
  ): number;
  collectAll(
    node: number,
    version: number,
    stop: number,
    smallest: number,
    largest: number,
    limit: number,
  ): number;
  cursorNode(): number;
  cursorVersion(): number;
  initBuilder(
    builder: number,
    target: number,
    out: number,
    outBytes: number,
    list: number,
    listCapacity: number,
    hashes: number,
    hashCapacity: number,
    keys: number,
    keysBytes: number,
  ): void;
  addEntry(builder: number, descriptor: number): number;
  finishBlock(builder: number): void;
  drained(builder: number): void;
  beginTable(builder: number): void;
  decodeBlock(payload: number, length: number, descriptors: number, keys: number, keysBytes: number): number;
  seekInBlock(
    payload: number,
    length: number,
    key: number,
    keyLength: number,
    revision: number,
    descriptor: number,
    keyBuffer: number,
  ): number;
}

const EXPORT_NAMES: readonly (keyof WasmExports)[] = [
  'reset',
  'setSlot',
  'reserve',
  'commit',
  'find',
  'findAt',
  'nodeOf',
  'seek',
  'seekBefore',
  'first',
  'last',
  'collect',
  'collectAll',
  'cursorNode',
  'cursorVersion',
  'initBuilder',
  'addEntry',
  'finishBlock',
  'drained',
  'beginTable',
  'decodeBlock',
  'seekInBlock',
  ...FLUSH_NAMES,
  ...LOOKUP_NAMES,
  ...MERGE_NAMES,
];

const FILES = { release: 'kvorum.wasm', debug: 'kvorum.debug.wasm' } as const;
const compiled = new Map<WasmBuild, WebAssembly.Module>();

function compile(build: WasmBuild): WebAssembly.Module {
  const known = compiled.get(build);
  if (known !== undefined) return known;
  // This file runs as build/src/storage/wasm_module.js; the WebAssembly lies in build/wasm/.
  const module = new WebAssembly.Module(readFileSync(new URL(`../../wasm/${FILES[build]}`, import.meta.url)));
  compiled.set(build, module);
  return module;
}

/**
 * A shared memory that starts at `initialBytes` and may grow to `maximumBytes`. The maximum only reserves addresses.
 * @throws KvError UNAVAILABLE when the system has no room for it.
 */
export function createWasmMemory(initialBytes: number, maximumBytes: number): WasmMemory {
  const initial = Math.ceil(initialBytes / WASM_PAGE_BYTES);
  const maximum = Math.max(initial, Math.ceil(maximumBytes / WASM_PAGE_BYTES));
  try {
    return new WebAssembly.Memory({ initial, maximum, shared: true });
  } catch (cause) {
    throw new KvError('UNAVAILABLE', `no memory for ${initialBytes} bytes of engine data`, { cause });
  }
}

/** An instance of a build over a memory. */
export function instantiateWasm(memory: WasmMemory, build: WasmBuild): WasmExports {
  const abort = (_message: number, _file: number, line: number, column: number): never => {
    throw new KvError('INTERNAL', `an assertion of the engine's memory failed at line ${line}:${column}`);
  };
  const { exports } = new WebAssembly.Instance(compile(build), { env: { memory, abort } });
  if (!isWasmExports(exports)) {
    throw new KvError('INTERNAL', `build/wasm/${FILES[build]} is of another version: build it again`);
  }
  return exports;
}

function isWasmExports(exports: Record<string, unknown>): exports is Record<string, unknown> & WasmExports {
  return EXPORT_NAMES.every((name) => typeof exports[name] === 'function');
}
