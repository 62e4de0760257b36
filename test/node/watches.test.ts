/** The reading of history for watchers, while the content of the node is being replaced. */

import * as assert from 'uvu/assert';
import { type Config, parseConfig } from '../../src/config.ts';
import { Watches } from '../../src/node/watches.ts';
import type { ScanPage, VersionsRequest } from '../../src/storage/record.ts';
import { key, put, Store, write } from '../kv/commands.ts';
import { test } from '../suite.ts';

const config: Config = parseConfig({});

/** A store with watches, whose reads of history wait to be let go. */
class Lab {
  readonly store = new Store();
  readonly seen: number[] = [];
  readonly watches: Watches;
  /** Reads of history that wait. */
  readonly reads: (() => void)[] = [];
  whole: Promise<void> | undefined;
  failure: unknown;

  constructor() {
    const { store } = this;
    this.watches = new Watches({
      engine: { versions: (request) => this.#read(request) },
      stateMachine: store.machine,
      config: config.node,
      timers: {
        after: () => ({ cancel: () => undefined }),
        every: () => ({ cancel: () => undefined }),
        soon: (run) => queueMicrotask(run),
        afterIo: (run) => void setImmediate(run),
      },
      replaced: () => this.whole,
      alone: () => true,
      onFailure: (error) => {
        this.failure = error;
      },
    });
  }

  watch(fromRevision: number): void {
    const request = { start: key('k'), end: undefined, fromRevision, prevKv: false, filters: undefined };
    this.watches.start(request, {
      deliver: ({ events }) => {
        for (const { record } of events) this.seen.push(record.modRevision);
        return true;
      },
      end: (error) => {
        this.failure = error;
      },
    });
  }

  async readBegun(): Promise<() => void> {
    for (let turn = 0; turn < 1_000; turn++) {
      const read = this.reads.shift();
      if (read !== undefined) return read;
      await new Promise((resolve) => setImmediate(resolve));
    }
    throw new Error('no history is read');
  }

  #read(request: VersionsRequest): Promise<ScanPage> {
    return new Promise((resolve) => {
      this.reads.push(() => resolve(this.store.engine.versions(request)));
    });
  }
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
}

test('history that is read while the content is replaced is read again: nothing is left out', async () => {
  const lab = new Lab();
  for (const value of ['a', 'b', 'c']) lab.store.run(write(put('k', value)));
  const { revision } = lab.store.machine;
  const wanted = [revision - 2, revision - 1, revision];
  lab.watch(wanted[0]!);
  const read = await lab.readBegun();
  // The tree is being filled again: what is read now is not there.
  const { chains } = lab.store.engine;
  const content = chains.splice(0);
  lab.watches.beforeRestore();
  read();
  await turns();
  chains.push(...content);
  (await lab.readBegun())();
  await turns();
  assert.is(lab.failure, undefined);
  assert.equal(lab.seen, wanted);
});

test('no history is read, and none that was read is believed, while the store is not whole', async () => {
  const lab = new Lab();
  for (const value of ['a', 'b']) lab.store.run(write(put('k', value)));
  const { revision } = lab.store.machine;
  let mended: () => void = () => undefined;
  const notWhole = (): void => {
    lab.whole = new Promise((resolve) => {
      mended = () => {
        lab.whole = undefined;
        resolve();
      };
    });
  };
  notWhole();
  lab.watch(revision - 1);
  await turns();
  assert.is(lab.reads.length, 0);
  mended();
  const read = await lab.readBegun();
  notWhole();
  const content = lab.store.engine.chains.splice(0);
  read();
  await turns();
  assert.equal(lab.seen, []);
  lab.watches.beforeRestore();
  lab.store.engine.chains.push(...content);
  mended();
  (await lab.readBegun())();
  await turns();
  assert.equal(lab.seen, [revision - 1, revision]);
  lab.watches.close();
});

test.run();
