/** Snapshots through the public store: whole ones that restore, slow readers, streams that break off, and what is left on the disk then. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { SnapshotStream } from '../../src/api/service.ts';
import { parseConfig } from '../../src/config.ts';
import { connect } from '../../src/connect.ts';
import { open } from '../../src/embedded.ts';
import { type ErrorCode, KvError } from '../../src/errors.ts';
import { restoreDirectory } from '../../src/node/restore.ts';
import { realPorts } from '../../src/real_ports.ts';
import { NodeDisk } from '../../src/storage/node_disk.ts';
import { saveSnapshot } from '../../src/storage/snapshot/save_snapshot.ts';
import { startOneServer } from '../api/conformance/one_server.ts';
import { test } from '../suite.ts';
import { withCluster } from './fake_cluster.ts';

const CHUNK = 256 * 1024;

async function inDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'kvorum-snapshot-'));
  try {
    await run(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function failure(promise: Promise<unknown>, code: ErrorCode): Promise<KvError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof KvError)) throw new Error(`no ${code}, but ${String(error)}`);
  assert.is(error.code, code, error.message);
  return error;
}

/** `count` chunks that are handed out as they are asked for. */
function chunksOf(count: number, onChunk: (at: number) => void | Promise<void>): SnapshotStream {
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < count; at++) {
      await onChunk(at);
      yield new Uint8Array(CHUNK).fill(at);
    }
  }
  const all = { sizeBytes: count * CHUNK, chunks: chunks() };
  return { revision: 9, ...all, withTrailer: () => all };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}

test('a snapshot of a running store, in this process and over TCP, restores to the same store', () =>
  inDirectory(async (directory) => {
    const one = await startOneServer();
    try {
      const stores = [one.embedded(), await connect({ endpoints: [one.tcp] })];
      for (let i = 0; i < 300; i++) await stores[0]!.put(`k${i}`, 'v'.repeat(i * 10));
      for (const [at, store] of stores.entries()) {
        const path = join(directory, `${at}.snapshot`);
        writeFileSync(path, 'what was there before');
        const { revision, sizeBytes, chunks } = await store.snapshot();
        assert.is(revision, 301);
        await saveSnapshot(new NodeDisk(), { path, directory, sizeBytes, chunks });
        assert.is(readFileSync(path).length, sizeBytes);
        const data = join(directory, `data${at}`);
        const address = '127.0.0.1:1';
        await restoreDirectory({
          disk: new NodeDisk(),
          ports: realPorts(),
          config: parseConfig({}),
          file: path,
          path: data,
          nodeId: 1,
          members: [{ id: 1, peerAddress: address, clientAddress: address }],
          bumpRevision: 10,
        });
        await using restored = await open({ path: data });
        assert.is(await restored.count(), 300);
        assert.is((await restored.get('k299'))?.length, 2_990);
      }
      await stores[1]!.close();
      assert.equal(readdirSync(directory).sort(), ['0.snapshot', '1.snapshot', 'data0', 'data1']);
    } finally {
      await one.stop();
    }
  }));

test('a client that does not read holds the node back, and gets every byte when it does', async () => {
  await withCluster(1, async ([node], _store, openClient) => {
    let pulled = 0;
    const count = 200;
    node!.service.snapshot = async () => chunksOf(count, () => void pulled++);
    const client = await openClient();
    const { revision, sizeBytes, chunks } = await client.snapshot();
    assert.equal([revision, sizeBytes], [9, count * CHUNK]);
    await until(() => pulled >= 16);
    // Other calls are answered meanwhile; each is a turn in which the node could have read on.
    for (let i = 0; i < 50; i++) await client.put('a', String(i));
    assert.ok(pulled <= 20, `${pulled} chunks for a window of 16`);
    let taken = 0;
    for await (const chunk of chunks) {
      for (const byte of [chunk[0]!, chunk.at(-1)!]) assert.is(byte, Math.floor(taken / CHUNK));
      taken += chunk.length;
    }
    assert.is(taken, count * CHUNK);
  });
});

test('a snapshot that breaks off says so, and leaves the file that was there', () =>
  inDirectory(async (directory) => {
    await withCluster(1, async ([node], _store, openClient) => {
      const client = await openClient();
      const save = async (name: string): Promise<void> => {
        const { sizeBytes, chunks } = await client.snapshot();
        const path = join(directory, name);
        await saveSnapshot(new NodeDisk(), { path, directory, sizeBytes, chunks });
      };
      writeFileSync(join(directory, 'old'), 'old');
      // The node gives up.
      node!.service.snapshot = async () =>
        chunksOf(50, (at) => {
          if (at === 30) throw new KvError('UNAVAILABLE', 'newer snapshots have replaced this one');
        });
      const error = await failure(save('old'), 'UNAVAILABLE');
      assert.match(error.message, /broke off after 7864320 of 13107200 bytes.*replaced/);
      // The connection is lost.
      node!.service.snapshot = async () =>
        chunksOf(50, (at) => {
          if (at === 20) node!.proxy.cut();
        });
      await failure(save('old'), 'UNAVAILABLE');
      // Bytes that are no snapshot.
      node!.service.snapshot = async () => chunksOf(2, () => undefined);
      await failure(save('new'), 'CORRUPT');
      assert.equal(readdirSync(directory), ['old']);
      assert.is(readFileSync(join(directory, 'old'), 'utf8'), 'old');
    });
  }));

test('another node is asked where one has none to give; a right that is missing is not', async () => {
  await withCluster(1, async ([node], _store, openClient) => {
    const client = await openClient();
    let asked = 0;
    node!.service.snapshot = async () => {
      if (++asked < 3) throw new KvError('UNAVAILABLE', 'a snapshot is being put in place');
      return chunksOf(1, () => undefined);
    };
    assert.is((await client.snapshot()).revision, 9);
    assert.is(asked, 3);
    node!.service.snapshot = async () => {
      asked++;
      throw new KvError('PERMISSION_DENIED', 'not for you');
    };
    await failure(client.snapshot(), 'PERMISSION_DENIED');
    assert.is(asked, 4);
    node!.service.snapshot = () => new Promise(() => undefined);
    await failure(client.snapshot({ timeoutMs: 100 }), 'TIMEOUT');
    const stop = new AbortController();
    const cancelled = failure(client.snapshot({ signal: stop.signal }), 'CANCELLED');
    stop.abort();
    await cancelled;
  });
});

test('whoever stops reading lets go of the snapshot', async () => {
  await withCluster(1, async ([node], _store, openClient) => {
    const client = await openClient();
    let released = false;
    async function* chunks(): AsyncGenerator<Uint8Array> {
      try {
        for (let i = 0; i < 1_000; i++) yield new Uint8Array(CHUNK);
      } finally {
        released = true;
      }
    }
    const all = { sizeBytes: 1_000 * CHUNK, chunks: chunks() };
    node!.service.snapshot = async () => ({ revision: 1, ...all, withTrailer: () => all });
    const { chunks: coming } = await client.snapshot();
    for await (const chunk of coming) {
      assert.ok(chunk.length > 0);
      break;
    }
    await until(() => released);
    assert.is(await client.get('a'), undefined, 'the connection goes on');
  });
});

test.run();
