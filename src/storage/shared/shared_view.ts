/**
 * The engine as a reader thread sees it: the memtables of the newest list, at the newest visible revision.
 *
 * Invariants: what `find` gives is valid between `enter` and `leave` only; nothing here waits for the engine's thread.
 */
import { KvError } from '../../errors.ts';
import { MemtableMemory } from '../memtable_memory.ts';
import { MemtableReads } from '../memtable_reads.ts';
import { ControlReader, epochsOf } from './control_block.ts';
import { EpochReader } from './epochs.ts';
import type { MemoryMessage, SharedAttachment } from './shared_reads.ts';

export class SharedView {
  readonly #control: ControlReader;
  readonly #epoch: EpochReader;
  readonly #slot: number;
  readonly #nextMessage: () => MemoryMessage | undefined;
  readonly #memtables = new Map<number, MemtableReads>();
  readonly #ids: number[] = [];
  #version = -1;
  #list: MemtableReads[] = [];

  /** `nextMessage` takes the next message that was sent to this reader, without the event loop. */
  constructor(attachment: SharedAttachment, nextMessage: () => MemoryMessage | undefined) {
    this.#control = new ControlReader(attachment.control);
    this.#epoch = new EpochReader(epochsOf(attachment.control, attachment.readers), attachment.reader);
    // Slot 0 of every memtable is its writer's.
    this.#slot = attachment.reader + 1;
    this.#nextMessage = nextMessage;
    for (const { id, memory } of attachment.memories) this.take({ type: 'memory', id, memory });
  }

  get closed(): boolean {
    return this.#control.closed;
  }
  /** Never goes back. */
  get visibleRevision(): number {
    return this.#control.visibleRevision;
  }
  get compactRevision(): number {
    return this.#control.compactRevision;
  }

  enter(): void {
    this.#epoch.enter();
  }
  leave(): void {
    this.#epoch.leave();
  }

  /** The memtables, newest first. REQUIRES: inside, and the revision to be read was loaded before. */
  memtables(): readonly MemtableReads[] {
    if (this.#control.listVersion !== this.#version) this.#refresh();
    return this.#list;
  }

  /** A message that came by another way than `nextMessage`. */
  take(message: MemoryMessage): void {
    if (message.type === 'forget') {
      this.#memtables.delete(message.id);
      return;
    }
    const memory = MemtableMemory.attach(message.memory, this.#slot);
    this.#memtables.set(message.id, new MemtableReads(memory));
  }

  #refresh(): void {
    const version = this.#control.readList(this.#ids);
    // After the list was read: every memory that it names was sent before it was published.
    for (let message = this.#nextMessage(); message !== undefined; message = this.#nextMessage())
      this.take(message);
    this.#list = this.#ids.map((id) => {
      const memtable = this.#memtables.get(id);
      if (memtable === undefined) throw new KvError('INTERNAL', `the memory of memtable ${id} never came`);
      return memtable;
    });
    this.#version = version;
  }
}
