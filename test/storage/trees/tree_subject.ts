/**
 * The trees that the random, crash and damage tests are run against. A new tree needs one object here: how it is opened, what may be varied about it, how it is
 * checked.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Ports } from '../../../src/ports.ts';
import { realPorts } from '../../../src/real_ports.ts';
import { type Disk, DiskError } from '../../../src/storage/disk.ts';
import { MemoryDisk } from '../../../src/storage/memory_disk.ts';
import { NodeDisk } from '../../../src/storage/node_disk.ts';
import type { LevelOpen } from '../../../src/storage/rocksdb/level_binding.ts';
import { RocksDbTree } from '../../../src/storage/rocksdb/rocksdb_tree.ts';
import type { Tree } from '../../../src/storage/tree.ts';
import type { Section } from './damage_harness.ts';
import { HarnessPorts } from './harness_ports.ts';

export const TREE_PATH = '/data/tree';

/** What a tree may be told: names and values are the tree's own. */
export type TreeOptions = Readonly<Record<string, string | number | boolean>>;

/** What an offline checker found. */
export interface Finding {
  readonly file: string;
  readonly offset: number | undefined;
  readonly problem: string;
}

export interface OpenTree {
  readonly tree: Tree;
  /** Waits until no background work is under way or wanted. */
  settled(): Promise<void>;
}

export interface TreeSubject {
  readonly name: string;
  /** True when what `flush` has answered is durable; else it takes a checkpoint. */
  readonly flushIsDurable: boolean;
  /** 'port': all that it keeps goes through the Disk port, so crashes and damage can be played on it; 'system': it needs the real disk. */
  readonly disk: 'port' | 'system';
  randomOptions(random: () => number): TreeOptions;
  /** Options with which a small workload makes many files and merges. */
  readonly smallOptions: TreeOptions;
  open(disk: Disk, path: string, ports: Ports, options: TreeOptions): Promise<OpenTree>;
  /** What is wrong on disk with a tree that nobody has open; empty when nothing is. */
  check(disk: Disk, path: string): Promise<Finding[]>;
  /** Files of one kind have one format. */
  kindOf(file: string): string;
  /** The parts of a file, where they are known: damage is spread over all of them. */
  sections(file: string, bytes: Uint8Array): Section[];
  /** Whether a tree that was closed in order must notice that this file is gone. */
  isMissed(file: string): boolean;
  /** Names below `path` that a tree just opened (and settled) should not have left there. */
  strays(disk: Disk, path: string): Promise<string[]>;
}

export const pick = <T>(random: () => number, list: readonly T[]): T =>
  list[Math.floor(random() * list.length)]!;

/** `binding`: as loadRocksDb gives it. */
export function rocksDbSubject(binding: LevelOpen): TreeSubject {
  return {
    name: 'RocksDB tree',
    flushIsDurable: true,
    disk: 'system',
    smallOptions: {},
    randomOptions: () => ({}),
    async open(disk, path, ports) {
      const tree = await RocksDbTree.open({ disk, path, ports, binding });
      return { tree, settled: () => tree.settled() };
    },
    check: async () => [],
    kindOf: (file) => file,
    sections: () => [],
    isMissed: () => false,
    strays: async () => [],
  };
}

export async function namesIn(disk: Disk, path: string): Promise<string[]> {
  try {
    return await disk.list(path);
  } catch (error) {
    if (error instanceof DiskError && error.code === 'NOT_FOUND') return [];
    throw error;
  }
}

/** A directory for one tree, over as many lives as the tree has. */
export interface TreePlace {
  open(options: TreeOptions): Promise<OpenTree>;
  dispose(): Promise<void>;
}

export async function newPlace(subject: TreeSubject): Promise<TreePlace> {
  if (subject.disk === 'port') return memoryPlace(subject, new MemoryDisk());
  const directory = await mkdtemp(join(tmpdir(), 'kvorum-trees-'));
  const disk = new NodeDisk();
  return {
    open: (options) => subject.open(disk, join(directory, 'tree'), realPorts(), options),
    dispose: () => rm(directory, { recursive: true, force: true }),
  };
}

export function memoryPlace(subject: TreeSubject, disk: MemoryDisk): TreePlace {
  let ports = new HarnessPorts();
  return {
    open: (options) => {
      ports.stop();
      ports = new HarnessPorts();
      return subject.open(disk, TREE_PATH, ports, options);
    },
    dispose: async () => ports.stop(),
  };
}
