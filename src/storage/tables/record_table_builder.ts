/**
 * Tables from records on the JavaScript heap: what a snapshot brings, and memtables whose memory has no room for a flush.
 *
 * Invariants: records are checked before they are written (order, lengths, numbers): a wrong one is an INTERNAL error and no table stays.
 */
import { KvError } from '../../errors.ts';
import { compareKeys, type StoredRecord } from '../record.ts';
import { createWasmMemory, instantiateWasm, type WasmBuild } from '../wasm_module.ts';
import { BlockBuilder } from './block_builder.ts';
import { ADDED, CUT, MAX_ENTRY_KEY_BYTES, MAX_ENTRY_VALUE_BYTES } from './block_layout.ts';
import type { TableInfo } from './format.ts';
import { TableOutput, type TableOutputOptions } from './table_output.ts';
import { checkTableOptions } from './table_writer.ts';

export interface RecordTablesJob extends TableOutputOptions {
  /** Pages in record order; the views in them need live until the next page is asked for. */
  readonly records: AsyncIterable<StoredRecord[]>;
  readonly build?: WasmBuild;
}

/** A builder, a record at its largest twice, and the filter of a table of the largest size. */
const MAXIMUM_BYTES = 512 * 1024 * 1024;
const MAX_SUB_REVISION = 2 ** 32 - 1;
const MAX_FLAGS = 0x3f;

/**
 * Writes all records into tables of about `tableSizeBytes`, cut between keys. Gives none for no records. The caller syncs the directory.
 * @throws KvError INTERNAL (records that are out of order or impossible), UNAVAILABLE (no memory), CONFIG_INVALID; DiskError; what `records` throws. No
 * table stays then, if the disk lets it.
 */
export async function buildTables(job: RecordTablesJob): Promise<TableInfo[]> {
  checkTableOptions(job.options);
  const { blockSizeBytes } = job.options;
  const memory = createWasmMemory(BlockBuilder.sizeBytes({ blockSizeBytes }), MAXIMUM_BYTES);
  const wasm = instantiateWasm(memory, job.build ?? 'release');
  // Static data and scratch lie at the bottom of a memory.
  const builder = new BlockBuilder(memory, wasm, BUILDER_AT, { blockSizeBytes });
  const output = new TableOutput(job, builder);
  try {
    const order = new OrderCheck();
    for await (const page of job.records)
      for (let i = 0; i < page.length; i++) {
        order.check(page[i]!);
        await addRecord(builder, output, page[i]!);
      }
    return await output.finish();
  } catch (error) {
    await output.discard();
    throw error;
  }
}

const BUILDER_AT = 8192;

async function addRecord(builder: BlockBuilder, output: TableOutput, record: StoredRecord): Promise<void> {
  if (output.roomBytes <= 0) builder.wantCut();
  let answer = builder.addRecord(record);
  while (answer !== ADDED) {
    if (answer === CUT) await output.cut();
    else await output.write();
    answer = builder.addRecord(record);
  }
}

/** Sees that records come in order and are such as a table can hold. */
class OrderCheck {
  #key = new Uint8Array(256);
  #keyLength = 0;
  #modRevision = 0;

  check(record: StoredRecord): void {
    const { key, modRevision } = record;
    const order = compareKeys(this.#key.subarray(0, this.#keyLength), key);
    if (order > 0 || (order === 0 && modRevision >= this.#modRevision))
      throw new KvError('INTERNAL', `records for a table are out of order at revision ${modRevision}`);
    if (!isPossible(record))
      throw new KvError('INTERNAL', `a record of revision ${modRevision} cannot be held by a table`);
    if (order !== 0) {
      if (key.length > this.#key.length) this.#key = new Uint8Array(2 * key.length);
      this.#key.set(key);
      this.#keyLength = key.length;
    }
    this.#modRevision = modRevision;
  }
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function isPossible(record: StoredRecord): boolean {
  const { key, value, flags, subRevision } = record;
  if (key.length === 0 || key.length > MAX_ENTRY_KEY_BYTES || value.length > MAX_ENTRY_VALUE_BYTES)
    return false;
  if (!isCount(flags) || flags > MAX_FLAGS || !isCount(subRevision) || subRevision > MAX_SUB_REVISION)
    return false;
  return (
    isCount(record.modRevision) &&
    isCount(record.createRevision) &&
    isCount(record.version) &&
    isCount(record.expiresAtMs)
  );
}
