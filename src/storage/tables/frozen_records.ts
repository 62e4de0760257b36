/**
 * The records of a frozen memtable, read through views alone: for a memory that has no room left for anything else (docs/formats/memtable.md).
 *
 * Invariants: nothing is written; records come in record order, and of a key's versions at or below the compact revision only the newest.
 */
import {
  HEAD_NODE,
  HEADER,
  hasTerm,
  NODE_KEY,
  NODE_KEY_LENGTH,
  NODE_NEXT,
  NODE_VERSIONS,
  TERM_EXPIRES,
  termPlace,
  VERSION_COUNT,
  VERSION_CREATE_REVISION,
  VERSION_FLAGS,
  VERSION_MOD_REVISION,
  VERSION_OLDER,
  VERSION_SUB_REVISION,
  VERSION_VALUE_WORD,
  valueLength,
  valuePlace,
} from '../memtable_layout.ts';
import type { StoredRecord } from '../record.ts';
import type { WasmMemory } from '../wasm_module.ts';

/** Keys and values of a page. */
const PAGE_BYTES = 256 * 1024;

/** The first byte that a memtable does not use. */
export function memtableTop(memory: WasmMemory): number {
  // Growing by nothing shows this thread what another has grown the memory by.
  memory.grow(0);
  return new Uint32Array(memory.buffer, HEADER, 1)[0]!;
}

/** Pages of records whose keys and values are views. */
export async function* frozenRecords(
  memory: WasmMemory,
  compactRevision: number,
): AsyncGenerator<StoredRecord[], void, void> {
  const view = new DataView(memory.buffer);
  let page: StoredRecord[] = [];
  let bytes = 0;
  for (let node = nextNode(view, HEAD_NODE); node !== 0; node = nextNode(view, node)) {
    const key = new Uint8Array(view.buffer, node + NODE_KEY, view.getUint32(node + NODE_KEY_LENGTH, true));
    for (let version = view.getUint32(node + NODE_VERSIONS, true); version !== 0; ) {
      const record = recordAt(view, key, version);
      page.push(record);
      bytes += key.length + record.value.length;
      if (bytes >= PAGE_BYTES) {
        yield page;
        page = [];
        bytes = 0;
      }
      version = record.modRevision <= compactRevision ? 0 : view.getUint32(version + VERSION_OLDER, true);
    }
  }
  if (page.length > 0) yield page;
}

function nextNode(view: DataView, node: number): number {
  return view.getUint32(node + NODE_NEXT, true);
}

function recordAt(view: DataView, key: Uint8Array, version: number): StoredRecord {
  const word = view.getUint32(version + VERSION_VALUE_WORD, true);
  const term = hasTerm(word) ? termPlace(version, word) : 0;
  return {
    key,
    value: new Uint8Array(view.buffer, valuePlace(version, word), valueLength(word)),
    modRevision: view.getFloat64(version + VERSION_MOD_REVISION, true),
    createRevision: view.getFloat64(version + VERSION_CREATE_REVISION, true),
    version: view.getFloat64(version + VERSION_COUNT, true),
    lease: term === 0 ? 0n : view.getBigInt64(term, true),
    expiresAtMs: term === 0 ? 0 : view.getFloat64(term + TERM_EXPIRES, true),
    subRevision: view.getUint32(version + VERSION_SUB_REVISION, true),
    flags: view.getUint32(version + VERSION_FLAGS, true),
  };
}
