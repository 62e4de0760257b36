/** Snapshots that leave a cluster, and new clusters from them. */
import { createHash } from 'node:crypto';
import * as assert from 'uvu/assert';
import { parseConfig } from '../../src/config.ts';
import { storedKey } from '../../src/kv/keyspace.ts';
import { KvorumNode } from '../../src/node/node.ts';
import { type RestoreOptions, restoreDirectory } from '../../src/node/restore.ts';
import { silentLogger } from '../../src/observability/logger.ts';
import { realPorts } from '../../src/real_ports.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { sizeWithTrailer, withTrailer } from '../../src/storage/snapshot/trailer.ts';
import { encodeCommand, encodePut } from '../../src/wire/command_codec.ts';
import { MemoryNetwork } from '../../transports/memory.ts';
import { codeOf } from '../outcomes.ts';
import { test } from '../suite.ts';
import { ClusterLab, LAB_CONFIG } from './cluster_lab.ts';

const ports = realPorts();
const config = parseConfig(LAB_CONFIG);
const MEMBERS = [1, 2, 3].map((id) => ({ id, peerAddress: `memory:${id}`, clientAddress: `client:${id}` }));

const bytes = (words: string): Uint8Array => new TextEncoder().encode(words);

async function joined(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts);
}

async function diskWith(name: string, content: Uint8Array): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  const file = await disk.open(name, 'create');
  await file.write([content], 0);
  await file.sync();
  await file.close();
  return disk;
}

function restoring(disk: MemoryDisk, more: Partial<RestoreOptions> = {}): RestoreOptions {
  const bumpRevision = 1_000;
  return {
    disk,
    ports,
    config,
    file: '/backup',
    path: '/new',
    nodeId: 1,
    members: MEMBERS.slice(0, 1),
    bumpRevision,
    ...more,
  };
}

function startOn(disk: MemoryDisk, path: string, network: MemoryNetwork): Promise<KvorumNode> {
  return KvorumNode.start({
    path,
    config,
    ports,
    disk,
    logger: silentLogger,
    version: 'test',
    pid: 1,
    rssBytes: () => 0,
    create: () => Promise.reject(new Error('the directory should hold a node')),
    transport: (identity) => network.transport(identity.nodeId),
    endpoints: [],
    batching: 'turn',
    onEnd: () => undefined,
  });
}

/** The store of a cluster of three, with some history, and one session open; its revision. */
async function backup(): Promise<{ plain: Buffer; padded: Buffer; revision: number; clusterId: string }> {
  const lab = await ClusterLab.start(3);
  try {
    const { store, node } = await lab.leader();
    await node.service.write(encodeCommand({ type: 'openSession' }));
    for (let i = 0; i < 200; i++) await store.put(`k${i % 50}`, `value ${i}`);
    for (let i = 0; i < 10; i++) await store.delete(`k${i}`);
    await node.service.changeAlarm('raise', { type: 'corrupt', member: 2, byNode: false });
    const { revision, sizeBytes, chunks } = await node.service.snapshot();
    const plain = await joined(chunks);
    assert.is(plain.length, sizeBytes);
    assert.is(revision, 211);
    const padded = await joined(withTrailer((await node.service.snapshot()).chunks));
    return { plain, padded, revision, clusterId: node.identity.clusterId };
  } finally {
    await lab.stop();
  }
}

const made = backup();

test('with its trailer a snapshot is what clients of etcd look for', async () => {
  const { plain, padded } = await made;
  assert.is(padded.length % 512, 32);
  assert.is(padded.length, sizeWithTrailer(plain.length));
  assert.ok(padded.subarray(0, plain.length).equals(plain));
  const content = padded.subarray(0, -32);
  assert.ok(createHash('sha256').update(content).digest().equals(padded.subarray(-32)));
  assert.is(sizeWithTrailer(512), 544);
  assert.is(sizeWithTrailer(513), 1_056);
});

test('known failure 26: a store that was restored has a new id, a higher revision, and no history that a client could take up', async () => {
  const { plain, padded, revision, clusterId } = await made;
  for (const content of [plain, padded]) {
    const disk = await diskWith('/backup', content);
    const restored = await restoreDirectory(restoring(disk));
    assert.is(restored.revision, revision + 1_000);
    assert.is.not(restored.clusterId, clusterId);
    assert.not(await disk.exists('/new.restoring'));
    const node = await startOn(disk, '/new', new MemoryNetwork({ ports }));
    try {
      await node.whenLed(5_000);
      await node.whenApplied(5_000);
      const { service } = node;
      assert.is(service.status().revision, revision + 1_000);
      assert.equal((await service.alarms()).alarms, []);
      const read = { level: 'linearizable', minRevision: 0, revision: 0 } as const;
      const { record } = await service.get({ ...read, key: storedKey(bytes('k20')) });
      assert.is(Buffer.from(record!.value).toString(), 'value 170');
      assert.is((await service.get({ ...read, key: storedKey(bytes('k5')) })).record, undefined);
      const sink = { deliver: () => true, end: () => undefined };
      const from = (fromRevision: number) =>
        service.watch({ start: storedKey(bytes('k')), end: undefined, fromRevision, prevKv: false }, sink);
      for (const seen of [revision - 5, revision, revision + 7])
        assert.is(await codeOf(from(seen)), 'COMPACTED');
      assert.is(await codeOf(from(revision + 1_001)), 'fine');
      const result = await service.write(encodePut('new', '1', 0, 0, 0, 0));
      assert.is(result.revision, revision + 1_001);
    } finally {
      await node.stop();
    }
    const again = await startOn(disk, '/new', new MemoryNetwork({ ports }));
    await again.whenApplied(5_000);
    assert.is(again.service.status().revision, revision + 1_001);
    await again.stop();
  }
});

test('three founders from one snapshot are one cluster', async () => {
  const { plain } = await made;
  const network = new MemoryNetwork({ ports });
  const nodes: KvorumNode[] = [];
  const ids = new Set<string>();
  try {
    for (const { id } of MEMBERS) {
      const disk = await diskWith('/backup', plain);
      const { clusterId } = await restoreDirectory(restoring(disk, { nodeId: id, members: MEMBERS }));
      ids.add(clusterId);
      nodes.push(await startOn(disk, '/new', network));
    }
    assert.is(ids.size, 1);
    await nodes[0]!.whenLed(10_000);
    const result = await nodes[0]!.service.write(encodePut('a', '1', 0, 0, 0, 0), { timeoutMs: 10_000 });
    assert.is(result.type, 'put');
    const { differing, members } = await nodes[0]!.service.clusterHash();
    assert.equal(differing, []);
    assert.is(members.filter(({ hash }) => hash !== undefined).length, 3);
  } finally {
    for (const node of nodes) await node.stop();
  }
});

test('refused, with nothing left behind: damaged snapshots, directories in use, numbers that make no sense', async () => {
  const { plain, padded, revision } = await made;
  const attempt = async (content: Uint8Array, more: Partial<RestoreOptions> = {}): Promise<string> => {
    const disk = await diskWith('/backup', content);
    const code = await codeOf(restoreDirectory(restoring(disk, more)));
    if (code !== 'fine')
      assert.equal([await disk.exists('/new'), await disk.exists('/new.restoring')], [false, false]);
    return code;
  };
  const spoilt = (content: Uint8Array, at: number): Uint8Array => {
    const copy = new Uint8Array(content);
    copy[at] = copy[at]! ^ 1;
    return copy;
  };
  for (const at of [0, 40, plain.length >> 1, plain.length - 1])
    assert.is(await attempt(spoilt(plain, at)), 'CORRUPT', `byte ${at}`);
  for (const at of [60, plain.length, padded.length - 33, padded.length - 1])
    assert.is(await attempt(spoilt(padded, at)), 'CORRUPT', `padded, byte ${at}`);
  for (const size of [0, 10, plain.length - 1]) assert.is(await attempt(plain.subarray(0, size)), 'CORRUPT');
  assert.is(await attempt(padded.subarray(0, -1)), 'CORRUPT');
  assert.is(await attempt(Buffer.concat([plain, Buffer.alloc(1)])), 'CORRUPT');
  for (const bumpRevision of [-1, 0.5, Number.NaN, 2 ** 52])
    assert.is(await attempt(plain, { bumpRevision }), 'INVALID_ARGUMENT');
  assert.is(await attempt(plain, { nodeId: 9 }), 'INVALID_ARGUMENT');
  assert.is(await attempt(plain, { file: '/none' }), 'NOT_FOUND');

  const disk = await diskWith('/backup', plain);
  const restored = await restoreDirectory(restoring(disk, { bumpRevision: 0 }));
  assert.is(restored.revision, revision);
  assert.is(await codeOf(restoreDirectory(restoring(disk))), 'INVALID_ARGUMENT', 'never over a store');
});

test.run();
