/** What a tree of tables gives to threads that read it beside the tree's own: a place in its memory each (table_memory.ts), and where its files lie. */
import type { SharedTree, SharedTreePlace } from '../tree.ts';
import type { ReaderPlace, TableMemory } from './table_memory.ts';

export class SharedTables implements SharedTree {
  readonly #memory: TableMemory;
  readonly #directory: string;
  readonly #places = new Map<number, ReaderPlace>();

  constructor(memory: TableMemory, directory: string) {
    this.#memory = memory;
    this.#directory = directory;
  }

  addReader(): SharedTreePlace {
    const place = this.#memory.addReader();
    this.#places.set(place.reader, place);
    return { memory: this.#memory.memory, ...place, directory: this.#directory };
  }

  removeReader({ reader }: SharedTreePlace): void {
    const place = this.#places.get(reader);
    if (place === undefined) return;
    this.#places.delete(reader);
    this.#memory.removeReader(place);
  }
}
