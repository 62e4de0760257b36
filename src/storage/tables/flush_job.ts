/**
 * Writes a frozen memtable into tables, straight from its memory (assembly/flush.ts): no value passes through the JavaScript heap.
 *
 *     0                         top                                            memory end
 *     | the memtable, as it is  | SLACK | cursor | block builder (and growth)  |
 *
 * Invariants: nothing below `top` is written, nor `top` itself, as other threads go on reading the memtable; all that a flush needs lies behind it, in
 * an instance of its own. A memtable whose memory is at its maximum is written by way of the heap instead.
 */
import { KvError } from '../../errors.ts';
import { instantiateWasm, type WasmBuild, type WasmMemory } from '../wasm_module.ts';
import { BlockBuilder } from './block_builder.ts';
import { CUT, DESCRIPTOR_BYTES, FLUSHED, FULL, SLACK_BYTES, TOO_LARGE } from './block_layout.ts';
import type { TableInfo } from './format.ts';
import { frozenRecords, memtableTop } from './frozen_records.ts';
import { buildTables } from './record_table_builder.ts';
import { TableOutput, type TableOutputOptions } from './table_output.ts';
import { checkTableOptions } from './table_writer.ts';

export interface FlushOptions extends TableOutputOptions {
  /** Of a memtable that nobody writes to until the flush has ended. */
  readonly memory: WasmMemory;
  /** Of the versions of a key at or below it, only the newest is written. 0: all are. */
  readonly compactRevision: number;
  readonly build?: WasmBuild;
}

/** Keys and values packed by one call. */
const STEP_BYTES = 256 * 1024;
const CURSOR_DESCRIPTOR = 16;
const CURSOR_BYTES = CURSOR_DESCRIPTOR + DESCRIPTOR_BYTES;

/**
 * Writes all of a memtable into tables, cut between keys near `tableSizeBytes`. Gives none for an empty memtable. The caller syncs the directory.
 * @throws KvError CONFIG_INVALID, UNAVAILABLE (no memory); DiskError; what `pace` throws. No table stays then, if the disk lets it.
 */
export async function runFlush(job: FlushOptions): Promise<TableInfo[]> {
  checkTableOptions(job.options);
  const numbers = new ReusedNumbers(job.nextFileNumber);
  const owned = { ...job, nextFileNumber: () => numbers.next() };
  try {
    return await packMemtable(owned);
  } catch (error) {
    if (!(error instanceof KvError) || error.code !== 'UNAVAILABLE') throw error;
    numbers.rewind();
    return buildTables({ ...owned, records: frozenRecords(job.memory, job.compactRevision) });
  }
}

async function packMemtable(job: FlushOptions): Promise<TableInfo[]> {
  const { memory, compactRevision } = job;
  const { blockSizeBytes } = job.options;
  const wasm = instantiateWasm(memory, job.build ?? 'release');
  const cursor = memtableTop(memory) + SLACK_BYTES;
  const builder = new BlockBuilder(memory, wasm, cursor + CURSOR_BYTES, { blockSizeBytes });
  const output = new TableOutput(job, builder);
  wasm.flushStart(cursor);
  try {
    for (;;) {
      const room = output.roomBytes;
      if (room <= 0) builder.wantCut();
      const budget = room > 0 && room < STEP_BYTES ? room : STEP_BYTES;
      const answer = wasm.flushStep(cursor, builder.address, compactRevision, budget);
      if (answer === FLUSHED) break;
      if (answer === CUT) await output.cut();
      else if (answer === TOO_LARGE) builder.makeRoomFor(cursor + CURSOR_DESCRIPTOR);
      // A builder that has grown holds more than should be written at once.
      else if (answer === FULL || builder.pendingBytes >= STEP_BYTES) await output.write();
    }
    return await output.finish();
  } catch (error) {
    await output.discard();
    throw error;
  }
}

/** File numbers that a second attempt may use again. */
class ReusedNumbers {
  readonly #source: () => number;
  readonly #given: number[] = [];
  #used = 0;

  constructor(source: () => number) {
    this.#source = source;
  }

  next(): number {
    if (this.#used === this.#given.length) this.#given.push(this.#source());
    return this.#given[this.#used++]!;
  }

  rewind(): void {
    this.#used = 0;
  }
}
