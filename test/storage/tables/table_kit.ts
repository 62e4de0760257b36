/** Random records that are hard for tables, and a plain reader of table files: whole file in memory, every block decoded. */
import type { Disk } from '../../../src/storage/disk.ts';
import { compareRecords, FLAG_TOMBSTONE, type StoredRecord } from '../../../src/storage/record.ts';
import { DESCRIPTOR, DESCRIPTOR_BYTES, TRAILER_BYTES } from '../../../src/storage/tables/block_layout.ts';
import {
  type Decoded,
  decodeFilter,
  decodeFooter,
  decodeProperties,
  FOOTER_BYTES,
  STORED_LZ4,
  type TableFooter,
  type TableProperties,
} from '../../../src/storage/tables/format.ts';
import { decodeIndex, type IndexView } from '../../../src/storage/tables/index_section.ts';
import { createWasmMemory, instantiateWasm, type WasmExports } from '../../../src/storage/wasm_module.ts';

export function must<T>(decoded: Decoded<T>): T {
  if (!decoded.ok) throw new Error(`damaged: ${decoded.problem}`);
  return decoded.value;
}

/** A memory with an instance of the debug build, into which payloads are put to be decoded. */
export class BlockDecoder {
  readonly wasm: WasmExports;
  readonly memory = createWasmMemory(32 * 1024 * 1024, 32 * 1024 * 1024);
  readonly descriptors = 64 * 1024;
  readonly keys = 256 * 1024;
  readonly payload = 1024 * 1024;
  readonly second = 16 * 1024 * 1024;
  readonly u8 = new Uint8Array(this.memory.buffer);

  constructor() {
    this.wasm = instantiateWasm(this.memory, 'debug');
  }

  /** The records of a stored block (with its trailer), as copies. */
  records(stored: Uint8Array, rawLength: number): StoredRecord[] {
    const body = stored.subarray(0, stored.length - TRAILER_BYTES);
    if (stored[body.length] === STORED_LZ4) {
      this.u8.set(body.subarray(4), this.second);
      const length = this.wasm.lz4Decompress(this.second, body.length - 4, this.payload, rawLength);
      if (length !== rawLength) throw new Error('a block does not decompress');
    } else {
      this.u8.set(body, this.payload);
    }
    return this.decode(rawLength);
  }

  decode(length: number): StoredRecord[] {
    const count = this.wasm.decodeBlock(this.payload, length, this.descriptors, this.keys, 128 * 1024);
    if (count < 0) throw new Error('a block is malformed');
    const view = new DataView(this.memory.buffer);
    return Array.from({ length: count }, (_, i) => {
      const at = this.descriptors + i * DESCRIPTOR_BYTES;
      const bytes = (where: number): Uint8Array => {
        const start = view.getUint32(at + where, true);
        return new Uint8Array(this.u8.slice(start, start + view.getUint32(at + where + 4, true)));
      };
      return {
        key: bytes(DESCRIPTOR.key),
        value: bytes(DESCRIPTOR.value),
        modRevision: view.getFloat64(at + DESCRIPTOR.modRevision, true),
        createRevision: view.getFloat64(at + DESCRIPTOR.createRevision, true),
        version: view.getFloat64(at + DESCRIPTOR.version, true),
        subRevision: view.getUint32(at + DESCRIPTOR.subRevision, true),
        flags: view.getUint32(at + DESCRIPTOR.flags, true),
        lease: view.getBigInt64(at + DESCRIPTOR.lease, true),
        expiresAtMs: view.getFloat64(at + DESCRIPTOR.expiresAtMs, true),
      };
    });
  }
}

export interface ReadTable {
  readonly footer: TableFooter;
  readonly properties: TableProperties;
  readonly index: IndexView;
  readonly filter: { blocks: number; bits: Uint8Array };
  readonly blocks: StoredRecord[][];
  readonly records: StoredRecord[];
}

export async function readTable(disk: Disk, path: string, decoder: BlockDecoder): Promise<ReadTable> {
  const file = await disk.readFile(path);
  const footer = must(decodeFooter(file.subarray(file.length - FOOTER_BYTES), file.length));
  const section = (at: number, length: number): Uint8Array => file.subarray(at, at + length);
  const properties = must(decodeProperties(section(footer.propertiesOffset, footer.propertiesLength)));
  const index = must(decodeIndex(section(footer.indexOffset, footer.indexLength), footer.filterOffset));
  const filter = must(decodeFilter(section(footer.filterOffset, footer.filterLength)));
  const blocks = Array.from({ length: index.count }, (_, block) =>
    decoder.records(section(index.offset(block), index.length(block)), index.rawLength(block)),
  );
  return { footer, properties, index, filter, blocks, records: blocks.flat() };
}

/** A key of a few kinds: short ones, long ones with shared beginnings, extensions of each other, the ends of the byte range. */
export function hardKey(random: () => number): Uint8Array {
  const number = Math.floor(random() * 1000);
  const kind = Math.floor(random() * 8);
  if (kind === 0) return Uint8Array.of(1, number & 255);
  if (kind === 1) return Uint8Array.from([1, ...new Array<number>(number % 40).fill(0xff)]);
  if (kind === 2)
    return Buffer.concat([Buffer.alloc(300 + (number % 3) * 200, 0x61), Buffer.of(number & 255)]);
  if (kind === 3) return Buffer.alloc(1 + (number % 70), 0x62);
  return Buffer.from(`\u0001user/${String(number).padStart(4, '0')}/profile`);
}

export interface RecordShape {
  readonly keys: number;
  /** At most so many versions of a key. */
  readonly versions: number;
  readonly valueBytes: number;
}

/** Records in record order, with all kinds of fields. REQUIRES: at most 1000 keys, there are not many more. */
export function hardRecords(random: () => number, shape: RecordShape): StoredRecord[] {
  const byName = new Map<string, Uint8Array>();
  while (byName.size < shape.keys) {
    const key = hardKey(random);
    byName.set(Buffer.from(key).toString('hex'), key);
  }
  const records: StoredRecord[] = [];
  for (const key of byName.values()) {
    let revision = Math.floor(random() * 1000);
    for (let left = 1 + Math.floor(random() * shape.versions); left > 0; left--) {
      revision += 1 + Math.floor(random() * 2 ** Math.floor(random() * 40));
      const isTombstone = random() < 0.1;
      const value = new Uint8Array(
        isTombstone || random() < 0.1 ? 0 : Math.floor(random() * shape.valueBytes),
      );
      const compressible = random() < 0.5;
      for (let i = 0; i < value.length; i++)
        value[i] = compressible ? 97 + (i % 7) : Math.floor(random() * 256);
      records.push({
        key,
        value,
        modRevision: revision,
        createRevision: isTombstone ? 0 : 1 + Math.floor(random() * revision),
        version: isTombstone ? 0 : 1 + Math.floor(random() * 300),
        subRevision: random() < 0.2 ? Math.floor(random() * 2 ** 32) : 0,
        flags: isTombstone ? FLAG_TOMBSTONE : 0,
        lease: random() < 0.2 ? BigInt(Math.floor((random() - 0.5) * 2 ** 53)) * 1023n : 0n,
        expiresAtMs: random() < 0.2 ? 1_750_000_000_000 + Math.floor(random() * 1e9) : 0,
      });
    }
  }
  return records.sort(compareRecords);
}
