/**
 * The process that measures one peer in one section (protocol.ts): a clean heap and clean memory, so that no peer and no section disturbs another.
 *
 *     node build/bench/engine/child.js TASK        with a channel to the parent; TASK is JSON
 */

import { LargeSection } from './large.ts';
import type { OpenPeer, PeerName } from './peer.ts';
import {
  type ChildAnswer,
  REPORT,
  requestSchema,
  type SectionName,
  type Task,
  taskSchema,
} from './protocol.ts';
import type { Section } from './section.ts';
import { FsyncSection, SmallSection } from './small.ts';
import { ThreadsSection } from './threads.ts';

/** Loaded only where wanted: a peer's native code may disturb another's process, or end it. */
const OPEN: Readonly<Record<PeerName, () => Promise<OpenPeer>>> = {
  kvorum: async () => (await import('./peers/kvorum.ts')).openKvorum,
  lmdb: async () => (await import('./peers/lmdb.ts')).openLmdb,
  'classic-level': async () => (await import('./peers/classic_level.ts')).openClassicLevel,
  'level-rocksdb': async () => (await import('./peers/level_rocksdb.ts')).openLevelRocksDb,
  'js-map': async () => (await import('./peers/js_map.ts')).openJsMap,
};

const SECTIONS: Readonly<Record<SectionName, (open: OpenPeer, task: Task) => Section>> = {
  small: (open, task) => new SmallSection(open, task),
  fsync: (open, task) => new FsyncSection(open, task),
  large: (open, task) => new LargeSection(open, task),
  threads: (_open, task) => new ThreadsSection(task),
};

function answer(message: ChildAnswer): void {
  process.send?.(message);
}

function failed(error: unknown): void {
  answer({ failed: error instanceof Error ? (error.stack ?? error.message) : String(error) });
}

const task = taskSchema.parse(JSON.parse(process.argv[2] ?? ''));
process.on('disconnect', () => process.exit());
try {
  const section = SECTIONS[task.section](await OPEN[task.peer](), task);
  process.on('message', (message) => {
    const { step } = requestSchema.parse(message);
    const work = async (): Promise<void> => {
      if (step !== REPORT) {
        await section.step(step);
        answer({ done: step });
        return;
      }
      await section.close();
      answer({ results: [...section.results()] });
    };
    work().catch(failed);
  });
  answer({ plan: [...section.plan] });
} catch (error) {
  failed(error);
}
