/**
 * The network between the nodes of a round, and between them and the clients, as the faults see it: by proxy on loopback, or by network namespaces.
 *
 * Ends are named: nodes by nodeEnd(id), clients by their names. A node's addresses are fixed by its slot before it has an id; `name` is asked when somebody dials.
 */
import { createServer } from 'node:net';
import { freePorts } from '../end_to_end/processes.ts';
import { clientName, peerName } from './hello_names.ts';
import type { LinkFault } from './link.ts';
import { Links } from './links.ts';

/** Where a node listens and what it tells others. */
export interface Addresses {
  readonly clientListen: string;
  readonly peerListen: string;
  readonly clientAdvertise: string;
  readonly peerAdvertise: string;
}

export interface Network {
  /** What this network can't do, in words for the round's report. */
  readonly kind: 'proxy' | 'namespaces';
  /** Prepares the place of a node. */
  place(slot: number, name: () => string): Promise<Addresses>;
  /** Words before the command that starts a node of this slot. */
  launcher(slot: number): readonly string[];
  /** Sets or lifts a fault on the way from one end to another. */
  set(from: string, to: string, fault: LinkFault | undefined): void;
  /** Breaks connections so that what was under way is overtaken. */
  overtake(from: string, to: string, lateMs: number): void;
  heal(): void;
  close(): Promise<void>;
  /** What passed and what did not, for the report. */
  report(): string;
}

const FIRST_PORT = 20_000;

export class ProxyNetwork implements Network {
  readonly kind = 'proxy';
  readonly links: Links;
  readonly #host: string;
  #nextPort = FIRST_PORT;

  constructor(host: string, random: () => number) {
    this.#host = host;
    this.links = new Links(random);
  }

  static async open(random: () => number): Promise<ProxyNetwork> {
    return new ProxyNetwork(await ownLoopback(), random);
  }

  async place(_slot: number, name: () => string): Promise<Addresses> {
    const host = this.#host;
    const [client, peer, clientDoor, peerDoor] = (await this.#ports()) as [number, number, number, number];
    await this.links.open({ name, target: `${host}:${client}`, host, port: clientDoor, nameOf: clientName });
    await this.links.open({ name, target: `${host}:${peer}`, host, port: peerDoor, nameOf: peerName });
    return {
      clientListen: `${host}:${client}`,
      peerListen: `${host}:${peer}`,
      clientAdvertise: `${host}:${clientDoor}`,
      peerAdvertise: `${host}:${peerDoor}`,
    };
  }

  launcher(): readonly string[] {
    return [];
  }

  set(from: string, to: string, fault: LinkFault | undefined): void {
    this.links.set(from, to, fault);
  }

  overtake(from: string, to: string, lateMs: number): void {
    this.links.overtake(from, to, lateMs);
  }

  heal(): void {
    this.links.heal();
  }

  close(): Promise<void> {
    return this.links.close();
  }

  report(): string {
    const { connections, resets, bytesPassed, bytesSwallowed } = this.links.counts;
    return `${connections} connections, ${resets} reset, ${bytesPassed} bytes passed, ${bytesSwallowed} swallowed`;
  }

  async #ports(): Promise<number[]> {
    if (this.#host === '127.0.0.1') return freePorts(4);
    const first = this.#nextPort;
    this.#nextPort += 4;
    return [first, first + 1, first + 2, first + 3];
  }
}

/** A loopback address that no other process of ours uses, where the system has them: ports then stay free while their node is down. */
async function ownLoopback(): Promise<string> {
  const { pid } = process;
  const host = `127.${64 + ((pid >>> 16) & 63)}.${(pid >>> 8) & 255}.${pid & 255}`;
  const server = createServer();
  const works = await new Promise<boolean>((resolve) => {
    server.once('error', () => resolve(false));
    server.listen(FIRST_PORT, host, () => server.close(() => resolve(true)));
  });
  return works ? host : '127.0.0.1';
}
