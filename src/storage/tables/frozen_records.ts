/**
 * The records of a frozen memtable, read through views alone: for a memory that has no room left for anything else (docs/formats/memtable.md).
 *
 * Invariants: nothing is written; records come in record order, and of a key's versions at or below the compact revision only the newest.
 */
import type { StoredRecord } from '../record.ts';
import type { WasmMemory } from '../wasm_module.ts';

const HEADER = 4096;
const HEAD = HEADER + 256;
const NODE_KEY_LENGTH = 8;
const NODE_KEY = 16;
const VERSION_VALUE = 64;
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
  for (let node = nextNode(view, HEAD); node !== 0; node = nextNode(view, node)) {
    const key = new Uint8Array(view.buffer, node + NODE_KEY, view.getUint32(node + NODE_KEY_LENGTH, true));
    for (let version = view.getUint32(node, true); version !== 0; ) {
      const record = recordAt(view, key, version);
      page.push(record);
      bytes += key.length + record.value.length;
      if (bytes >= PAGE_BYTES) {
        yield page;
        page = [];
        bytes = 0;
      }
      version = record.modRevision <= compactRevision ? 0 : view.getUint32(version, true);
    }
  }
  if (page.length > 0) yield page;
}

/** The tower of a node lies behind its key. */
function nextNode(view: DataView, node: number): number {
  const keyLength = view.getUint32(node + NODE_KEY_LENGTH, true);
  return view.getUint32(node + NODE_KEY + Math.ceil(keyLength / 4) * 4, true);
}

function recordAt(view: DataView, key: Uint8Array, version: number): StoredRecord {
  return {
    key,
    value: new Uint8Array(view.buffer, version + VERSION_VALUE, view.getUint32(version + 4, true)),
    modRevision: view.getFloat64(version + 8, true),
    createRevision: view.getFloat64(version + 16, true),
    version: view.getFloat64(version + 24, true),
    lease: view.getBigInt64(version + 32, true),
    expiresAtMs: view.getFloat64(version + 40, true),
    subRevision: view.getUint32(version + 48, true),
    flags: view.getUint32(version + 52, true),
  };
}
