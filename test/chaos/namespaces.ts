/**
 * A network of the kernel's own: every node in a network namespace, joined by a bridge; the clients stay outside and reach them through the bridge's address.
 *
 * Packets are lost, not bytes of a stream: connections know nothing of it until their own time-outs. A way from one end to another is cut by a wrong neighbour
 * address (frames then go to nobody), so every direction can be cut by itself with iproute2 alone. What is cut or silent or held by proxy is lost here; a delay is a
 * throttle of the node's whole interface (delays need a kernel module that is often missing); an overtaking is an interface that goes down for a moment.
 * Clients share one address: a fault between a client and a node is one between all clients and that node.
 *
 * Needs root and iproute2; `namespaceProblem` says what is missing.
 */
import { spawnSync } from 'node:child_process';
import type { LinkFault } from './link.ts';
import type { Addresses, Network } from './network.ts';
import { noteResource } from './resources.ts';

const CLIENT_PORT = 7400;
const PEER_PORT = 7401;
const OUTSIDE = 254;
const NOBODY = '02:00:00:00:00:01';
const DOWN_MS = 150;

/** Why this machine has no namespaces for us; undefined when it has. */
export function namespaceProblem(): string | undefined {
  const name = `kvp${process.pid}`;
  const attempts = [
    ['netns', 'add', name],
    ['link', 'add', `${name}b`, 'type', 'bridge'],
    ['link', 'add', `${name}v`, 'type', 'veth', 'peer', 'name', `${name}w`],
  ];
  const failed = attempts.map((args) => run(args)).find((result) => result !== undefined);
  for (const args of [
    ['link', 'delete', `${name}v`],
    ['link', 'delete', `${name}b`],
    ['netns', 'delete', name],
  ])
    run(args);
  return failed;
}

export class NamespaceNetwork implements Network {
  readonly kind = 'namespaces';
  readonly #directory: string;
  readonly #prefix = `kc${process.pid}`;
  readonly #subnet = `10.${96 + ((process.pid >>> 8) & 31)}.${process.pid & 255}`;
  readonly #slots = new Map<number, () => string>();
  /** Hardware addresses by host number. */
  readonly #hardware = new Map<number, string>();
  readonly #cut = new Set<string>();
  readonly #throttled = new Set<number>();
  #changes = 0;

  constructor(directory: string) {
    this.#directory = directory;
    const bridge = `${this.#prefix}b`;
    noteResource(directory, { kind: 'link', name: bridge });
    must(['link', 'add', bridge, 'type', 'bridge', 'forward_delay', '0', 'stp_state', '0']);
    must(['addr', 'add', `${this.#subnet}.${OUTSIDE}/24`, 'dev', bridge]);
    must(['link', 'set', bridge, 'address', hardwareOf(OUTSIDE), 'up']);
    this.#hardware.set(OUTSIDE, hardwareOf(OUTSIDE));
  }

  async place(slot: number, name: () => string): Promise<Addresses> {
    const { namespace, outer } = this.#names(slot);
    this.#slots.set(slot, name);
    noteResource(this.#directory, { kind: 'namespace', name: namespace });
    noteResource(this.#directory, { kind: 'link', name: outer });
    must(['netns', 'add', namespace]);
    must(['link', 'add', outer, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace]);
    must(['link', 'set', outer, 'master', `${this.#prefix}b`, 'up']);
    must(['-n', namespace, 'link', 'set', 'eth0', 'address', hardwareOf(slot), 'up']);
    must(['-n', namespace, 'link', 'set', 'lo', 'up']);
    must(['-n', namespace, 'addr', 'add', `${this.#subnet}.${slot}/24`, 'dev', 'eth0']);
    this.#hardware.set(slot, hardwareOf(slot));
    const address = `${this.#subnet}.${slot}`;
    return {
      clientListen: `${address}:${CLIENT_PORT}`,
      peerListen: `${address}:${PEER_PORT}`,
      clientAdvertise: `${address}:${CLIENT_PORT}`,
      peerAdvertise: `${address}:${PEER_PORT}`,
    };
  }

  launcher(slot: number): readonly string[] {
    return ['ip', 'netns', 'exec', this.#names(slot).namespace];
  }

  set(from: string, to: string, fault: LinkFault | undefined): void {
    const [source, destination] = [this.#hostOf(from), this.#hostOf(to)];
    if (source === destination) return;
    this.#changes++;
    if (fault?.kind === 'delayed' || fault?.kind === 'throttled') {
      this.#throttle(source === OUTSIDE ? destination : source, fault);
      return;
    }
    this.#cutWay(source, destination, fault !== undefined);
    if (fault === undefined && source !== OUTSIDE) this.#throttle(source, undefined);
  }

  overtake(from: string): void {
    const slot = this.#hostOf(from);
    if (slot === OUTSIDE) return;
    const { outer } = this.#names(slot);
    this.#changes++;
    must(['link', 'set', outer, 'down']);
    // A link that went down forgets nothing but what was under way.
    setTimeout(() => run(['link', 'set', outer, 'up']), DOWN_MS);
  }

  heal(): void {
    for (const way of [...this.#cut]) {
      const [source, destination] = way.split(' ').map(Number) as [number, number];
      this.#cutWay(source, destination, false);
    }
    for (const slot of [...this.#throttled]) this.#throttle(slot, undefined);
    for (const slot of this.#slots.keys()) must(['link', 'set', this.#names(slot).outer, 'up']);
  }

  async close(): Promise<void> {
    for (const slot of this.#slots.keys()) {
      const { namespace, outer } = this.#names(slot);
      run(['link', 'delete', outer]);
      run(['netns', 'delete', namespace]);
    }
    run(['link', 'delete', `${this.#prefix}b`]);
  }

  report(): string {
    return `${this.#slots.size} namespaces, ${this.#changes} changes of links`;
  }

  #names(slot: number): { namespace: string; outer: string } {
    return { namespace: `${this.#prefix}n${slot}`, outer: `${this.#prefix}v${slot}` };
  }

  #hostOf(end: string): number {
    for (const [slot, name] of this.#slots) if (name() === end) return slot;
    return OUTSIDE;
  }

  #cutWay(source: number, destination: number, cut: boolean): void {
    const way = `${source} ${destination}`;
    if (this.#cut.has(way) === cut) return;
    const inside = source === OUTSIDE ? [] : ['-n', this.#names(source).namespace];
    const device = source === OUTSIDE ? `${this.#prefix}b` : 'eth0';
    const hardware = cut ? NOBODY : this.#hardware.get(destination)!;
    const address = `${this.#subnet}.${destination}`;
    must([...inside, 'neigh', 'replace', address, 'lladdr', hardware, 'dev', device, 'nud', 'permanent']);
    if (cut) this.#cut.add(way);
    else this.#cut.delete(way);
  }

  #throttle(slot: number, fault: LinkFault | undefined): void {
    if (fault === undefined && !this.#throttled.has(slot)) return;
    const inside = ['netns', 'exec', this.#names(slot).namespace, 'tc', 'qdisc'];
    if (fault === undefined) {
      this.#throttled.delete(slot);
      run([...inside, 'delete', 'dev', 'eth0', 'root']);
      return;
    }
    const bytesPerSecond = fault.kind === 'throttled' ? fault.bytesPerSecond : 200_000;
    const rate = ['rate', `${bytesPerSecond * 8}bit`, 'burst', '16kb', 'latency', '300ms'];
    // Where even this is missing the step does nothing; the report counts links, not promises.
    if (run([...inside, 'replace', 'dev', 'eth0', 'root', 'tbf', ...rate]) === undefined)
      this.#throttled.add(slot);
  }
}

function hardwareOf(host: number): string {
  return `02:6b:76:00:00:${host.toString(16).padStart(2, '0')}`;
}

/** Runs `ip`; gives what went wrong. */
function run(args: readonly string[]): string | undefined {
  const { status, stderr, error } = spawnSync('ip', args);
  if (status === 0) return undefined;
  return `ip ${args.join(' ')}: ${error?.message ?? stderr.toString().trim()}`;
}

function must(args: readonly string[]): void {
  const problem = run(args);
  if (problem !== undefined) throw new Error(problem);
}
