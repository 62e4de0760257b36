/**
 * A removed node that dialed a member before that one, started anew, had applied the removal: its connection was taken, nobody ever dialed it, and it went on canvassing for ever,
 * neither a member nor stopped.
 */

import * as assert from 'uvu/assert';
import { parseConfig } from '../../src/config.ts';
import { foundTogether } from '../../src/node/founding.ts';
import { KvorumNode } from '../../src/node/node.ts';
import { silentLogger } from '../../src/observability/logger.ts';
import type { Member } from '../../src/raft/types.ts';
import { realPorts } from '../../src/real_ports.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { TcpTransport } from '../../transports/tcp.ts';
import { freePorts } from '../end_to_end/processes.ts';
import { test } from '../suite.ts';
import { LAB_CONFIG, until } from './cluster_lab.ts';
import { diskOfThisLife } from './disk_of_this_life.ts';

const config = parseConfig(LAB_CONFIG);

function transportOf(id: number, clusterId: string, members: readonly Member[]): TcpTransport {
  const listen = members[id - 1]!.peerAddress;
  return new TcpTransport({
    ...{ id, clusterId, listen, ports: realPorts() },
    ...{ reconnectMinMs: 5, reconnectMaxMs: 40, refusedRetryMs: 100 },
  });
}

function startNode(id: number, disk: MemoryDisk, members: readonly Member[]): Promise<KvorumNode> {
  return KvorumNode.start({
    path: 'node',
    config,
    ports: realPorts(),
    disk: diskOfThisLife(disk),
    logger: silentLogger,
    version: 'test',
    pid: id,
    rssBytes: () => 0,
    create: async () => foundTogether(id, members, config.storage.tree),
    transport: ({ clusterId }) => transportOf(id, clusterId, members),
    endpoints: [members[id - 1]!.clientAddress],
    batching: 'io',
    onEnd: () => undefined,
  });
}

test('a removed node whose connection is older than the removal is told all the same', async () => {
  const ports = await freePorts(3);
  const members = ports.map((port, i) => ({
    id: i + 1,
    peerAddress: `127.0.0.1:${port}`,
    clientAddress: `client:${i + 1}`,
  }));
  const disks = [new MemoryDisk(), new MemoryDisk()] as const;
  const start = (id: 1 | 2): Promise<KvorumNode> => startNode(id, disks[id - 1]!, members);
  let nodes: KvorumNode[] = await Promise.all([start(1), start(2)]);
  const { clusterId } = nodes[0]!.identity;
  // The third member is no more than its end of the network: it never had a vote to give.
  const third = transportOf(3, clusterId, members);
  try {
    await until(() => nodes.some(({ service }) => service.status().role === 'leader'), 'a leader');
    await nodes.find(({ service }) => service.status().role === 'leader')!.service.memberRemove(3);
    await until(
      () => nodes[0]!.service.status().appliedIndex === nodes[1]!.service.status().appliedIndex,
      'both to have applied it',
    );
    const before = nodes;
    nodes = [];
    for (const node of before) node.halt();
    for (const disk of disks) disk.crash('all', () => 0);

    // Alone it can't know that the removal in its log was committed: the connection is taken.
    nodes.push(await start(1));
    let connected = 0;
    let told = 0;
    await third.start({
      frame: () => undefined,
      connected: () => void connected++,
      removed: () => void told++,
    });
    third.setPeer(1, members[0]!.peerAddress);
    await until(() => connected === 1, 'the connection to be taken');
    assert.is(told, 0);

    nodes.push(await start(2));
    await until(() => told > 0, 'the removed node to be told');
  } finally {
    for (const node of nodes) node.halt();
    await third.close();
  }
});

test.run();
