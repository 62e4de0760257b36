/** State machines on engines that are treated as a node treats them: reads are loaded ahead of an entry, and what is full is flushed into a tree. */
import type { Command, CommandResult } from '../../src/kv/command.ts';
import { StateMachine } from '../../src/kv/state_machine.ts';
import { realPorts } from '../../src/real_ports.ts';
import { StorageEngine } from '../../src/storage/engine.ts';
import type { KvEngine, LoadRequest } from '../../src/storage/engine_port.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { MemtablePool } from '../../src/storage/memtable_pool.ts';
import { TablesTree } from '../../src/storage/tables/tables_tree.ts';
import type { Tree } from '../../src/storage/tree.ts';
import { LIMITS } from './commands.ts';
import type { PlainEngine } from './plain_engine.ts';

export const MIB = 1024 * 1024;
export const ports = realPorts();
export const STATE = new Uint8Array(1);

export function engineOn(tree: Tree, maxLoadedBytes?: number): StorageEngine {
  return new StorageEngine({
    config: { memtableSizeBytes: MIB, maxFrozenMemtables: 2 },
    tree,
    ports,
    pool: new MemtablePool({ sizeBytes: 256 * 1024 }, 3),
    ...(maxLoadedBytes !== undefined && { maxLoadedBytes }),
  });
}

export function tablesTree(): Promise<TablesTree> {
  return TablesTree.open({ disk: new MemoryDisk(), path: '/tree', ports });
}

/** What all commands of an entry read. */
function joined(machine: StateMachine, commands: readonly Command[]): LoadRequest {
  const requests = commands.map((command) => {
    const { keys, ranges, older = [], naming = [] } = machine.reads(command);
    return { keys: [...keys], ranges, older, naming };
  });
  return {
    keys: requests.flatMap(({ keys }) => keys),
    ranges: requests.flatMap(({ ranges }) => ranges),
    older: requests.flatMap(({ older }) => older),
    naming: requests.flatMap(({ naming }) => naming),
  };
}

/** A state machine on an engine that is treated as a node treats it. */
export class Replica {
  readonly engine: StorageEngine | PlainEngine;
  readonly machine: StateMachine;
  index = 0;

  constructor(engine: StorageEngine | PlainEngine, limits = LIMITS) {
    this.engine = engine;
    this.machine = new StateMachine({ engine: engine satisfies KvEngine, limits });
  }

  async entry(commands: readonly Command[], timeMs: number): Promise<CommandResult[]> {
    const { engine, machine } = this;
    if (engine instanceof StorageEngine) await engine.load(joined(machine, commands));
    this.index++;
    const context = { index: this.index, term: 1, timeMs };
    const results = commands.map((command) => machine.apply(context, command));
    if (engine instanceof StorageEngine) engine.afterEntry(this.index, 1, () => STATE);
    return results;
  }

  async checkpoint(): Promise<void> {
    if (this.engine instanceof StorageEngine) await this.engine.checkpoint(this.index, 1, () => STATE);
  }

  async close(): Promise<void> {
    if (this.engine instanceof StorageEngine) await this.engine.close();
  }
}

/** No limit for what the tests of memory ask. */
export const BIG = {
  ...LIMITS,
  maxValueBytes: MIB,
  maxCommandBytes: 16 * MIB,
  maxDeleteRangeKeys: 1_000,
  maxTxnOperations: 1_000,
};

/** The name of a key. */
export const name = (n: number): string => `k${String(n).padStart(5, '0')}`;
