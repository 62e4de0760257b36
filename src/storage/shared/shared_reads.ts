/**
 * The engine's side of reads by other threads: publishes what is in memory, and sends memories to the threads that need them.
 *
 * Invariants: a list of memtables is published only after the memory of each was sent to every attached reader, so who finds an unknown id in a list finds the memory
 * among its messages; a memtable leaves the list before its epoch is ended (engine_layers.ts does that), and comes back to use only when the epoch is over.
 */
import { KvError } from '../../errors.ts';
import type { SharedTree, SharedTreePlace } from '../tree.ts';
import type { WasmMemory } from '../wasm_module.ts';
import { ControlWriter, epochsOf, MAX_READERS } from './control_block.ts';
import { Epochs } from './epochs.ts';

/** To a reader thread: a memtable's memory by its id, or an id whose memory is not used any more. */
export type MemoryMessage =
  | { readonly type: 'memory'; readonly id: number; readonly memory: WasmMemory }
  | { readonly type: 'forget'; readonly id: number };

/** What a reader needs to begin with; goes to its thread as a message. */
export interface SharedAttachment {
  readonly control: SharedArrayBuffer;
  /** Which of how many. */
  readonly reader: number;
  readonly readers: number;
  readonly memories: readonly { readonly id: number; readonly memory: WasmMemory }[];
  /** undefined: what is in the tree has to be asked for. */
  readonly tree: SharedTreePlace | undefined;
}

/** Something with a memory of its own that readers may search: a memtable. */
export interface SharedMemoryOwner {
  readonly sharedMemory: WasmMemory;
}

export class SharedReads {
  readonly readers: number;
  readonly epochs: Epochs;
  readonly #control: ControlWriter;
  /** In use or in the pool. */
  readonly #ids = new Map<SharedMemoryOwner, number>();
  readonly #senders = new Map<number, (message: MemoryMessage) => void>();
  /** Set by the engine, before anybody attaches: its tree, where that can be shared. */
  tree: SharedTree | undefined;
  readonly #places = new Map<number, SharedTreePlace>();
  #newestId = 0;

  /** @throws KvError CONFIG_INVALID for an impossible number of readers. */
  constructor(readers: number) {
    if (!Number.isSafeInteger(readers) || readers < 1 || readers > MAX_READERS) {
      throw new KvError('CONFIG_INVALID', `${readers} readers, allowed: 1 to ${MAX_READERS}`);
    }
    this.readers = readers;
    this.#control = new ControlWriter(readers);
    this.epochs = new Epochs(epochsOf(this.#control.buffer, readers), readers);
  }

  get visibleRevision(): number {
    return this.#control.visibleRevision;
  }

  /** Memories that readers may hold on to. */
  get memories(): number {
    return this.#ids.size;
  }

  /** The memtables that make up the newest state above the tree, newest first. The tree shows what was flushed before this is called without it. */
  publishList(memtables: readonly SharedMemoryOwner[]): void {
    this.#control.publishList(memtables.map((memtable) => this.#idOf(memtable)));
  }

  publishRevision(revision: number): void {
    this.#control.publishRevision(revision);
  }

  publishCompacted(revision: number): void {
    this.#control.publishCompacted(revision);
  }

  /** A memtable will not be used again. */
  forget(memtable: SharedMemoryOwner): void {
    const id = this.#ids.get(memtable);
    if (id === undefined) return;
    this.#ids.delete(memtable);
    for (const send of this.#senders.values()) send({ type: 'forget', id });
  }

  /** Begins a reader: `send` must put a message where the reader's thread finds it without its event loop. REQUIRES: the reader is not attached. */
  attach(reader: number, send: (message: MemoryMessage) => void): SharedAttachment {
    if (this.#senders.has(reader) || reader < 0 || reader >= this.readers) {
      throw new KvError('INTERNAL', `reader ${reader} is attached already or none of ${this.readers}`);
    }
    const tree = this.tree?.addReader();
    if (tree !== undefined) this.#places.set(reader, tree);
    this.#senders.set(reader, send);
    const memories = [...this.#ids].map(([memtable, id]) => ({ id, memory: memtable.sharedMemory }));
    return { control: this.#control.buffer, reader, readers: this.readers, memories, tree };
  }

  /** The reader's thread has ended, wherever in a read it was. */
  detach(reader: number): void {
    if (!this.#senders.delete(reader)) return;
    this.epochs.forget(reader);
    const place = this.#places.get(reader);
    this.#places.delete(reader);
    if (place !== undefined) this.tree?.removeReader(place);
  }

  /** Readers refuse from now on. */
  close(): void {
    this.#control.close();
  }

  #idOf(memtable: SharedMemoryOwner): number {
    const known = this.#ids.get(memtable);
    if (known !== undefined) return known;
    const id = ++this.#newestId;
    this.#ids.set(memtable, id);
    for (const send of this.#senders.values()) send({ type: 'memory', id, memory: memtable.sharedMemory });
    return id;
  }
}
