/** Nodes with fake services over one store, each behind a proxy that can misbehave, and clients of theirs. */
import { startTcpDoor, type TcpDoor } from '../../src/api/tcp/door.ts';
import { connectWith } from '../../src/client/connect.ts';
import type { Store } from '../../src/client/store_types.ts';
import { type ConfigInput, parseConfig } from '../../src/config.ts';
import { realPorts } from '../../src/real_ports.ts';
import type { MemberInfo } from '../../src/wire/messages.ts';
import { FakeService, FakeStore } from '../api/fake_service.ts';
import { FaultyProxy } from './faulty_proxy.ts';

export interface FakeNode {
  readonly service: FakeService;
  readonly door: TcpDoor;
  readonly proxy: FaultyProxy;
}

/** Nodes over one store, each behind a proxy; the first leads. */
export async function withCluster(
  count: number,
  run: (nodes: FakeNode[], store: FakeStore, open: (timeoutMs?: number) => Promise<Store>) => Promise<void>,
  door: NonNullable<ConfigInput['door']> = {},
): Promise<void> {
  const config = parseConfig({ door: { clientListen: '127.0.0.1:0', ...door } });
  const store = new FakeStore();
  const nodes: FakeNode[] = [];
  const clients: Store[] = [];
  for (let id = 1; id <= count; id++) {
    const service = new FakeService(store, id);
    const started = await startTcpDoor({
      service,
      config: config.door,
      limits: config.limits,
      ports: realPorts(),
      closeTimeoutMs: 50,
    });
    nodes.push({ service, door: started, proxy: await FaultyProxy.start(started.address) });
  }
  store.members = nodes.map(memberOf);
  try {
    await run(nodes, store, async (timeoutMs = 5_000) => {
      const client = await connectWith({ endpoints: [nodes[0]!.proxy.address], timeoutMs }, realPorts());
      clients.push(client);
      return client;
    });
  } finally {
    await Promise.all(clients.map((client) => client.close()));
    for (const node of nodes) await Promise.all([node.door.close(), node.proxy.close()]);
  }
}

/** A node as a member. */
export function memberOf({ service, proxy }: FakeNode): MemberInfo {
  const { id, store } = service;
  return {
    id,
    peerAddress: 'p:1',
    clientAddress: proxy.address,
    role: 'voter',
    leader: id === store.leader,
    matchIndex: undefined,
  };
}

/** Waits until the client has used a connection to a node other than the one it was given. */
export async function connectedTo(kv: Store, node: FakeNode): Promise<void> {
  while (node.door.connections() === 0) await kv.get('any', { level: 'eventual' });
}
