/**
 * One machine of the simulated world: its disk and its clocks, and the lives of the node that runs on it.
 *
 * Invariants: at most one life at a time; a crash ends a life between two events and nothing of it runs any more; the next life opens what the disk kept.
 */
import type { Transport } from '../../../transports/transport.ts';
import { startTcpDoor, type TcpDoor } from '../../api/tcp/door.ts';
import type { Config } from '../../config.ts';
import type { KvError } from '../../errors.ts';
import type { Identity } from '../../node/identity.ts';
import { keepPromoting } from '../../node/joining.ts';
import { KvorumNode } from '../../node/node.ts';
import type { Facts, Logger } from '../../observability/logger.ts';
import type { Configuration, Member } from '../../raft/types.ts';
import { ScryptPasswords } from '../../security/passwords.ts';
import type { Disk } from '../../storage/disk.ts';
import type { LossRule } from '../../storage/memory_disk.ts';
import { VERSION } from '../../version.ts';
import type { Scheduler } from '../core/scheduler.ts';
import type { SeededRandom } from '../core/seeded_random.ts';
import { MachineClock, SimProcess } from '../core/sim_process.ts';
import type { Trace } from '../core/trace.ts';
import type { PeerNetwork } from './peer_network.ts';
import { SimDisk } from './sim_disk.ts';
import type { StreamNetwork } from './streams.ts';

/**
 * - down: no process;
 * - starting: it opens its directory;
 * - up: it runs;
 * - failed: it ended by itself (`endedBy`) or could not start; the process is to be taken away by `crash`, `stop` or a new start;
 * - removed: it ended because it is no member any more.
 */
export type NodeStateName = 'down' | 'starting' | 'up' | 'failed' | 'removed';

/** Cheap, and on this thread: when another one is done is nothing that a seed decides. */
const PASSWORDS = new ScryptPasswords({ logN: 1, onThisThread: true });

export interface SimNodeOptions {
  readonly member: Member;
  readonly config: Config;
  readonly scheduler: Scheduler;
  readonly network: PeerNetwork;
  readonly trace: Trace;
  readonly random: SeededRandom;
  /** Who to be when the directory is new. */
  readonly create: () => Promise<Identity>;
  readonly streams: StreamNetwork;
}

export class SimNode {
  readonly id: number;
  readonly lane: string;
  readonly member: Member;
  readonly disk: SimDisk;
  readonly clock: MachineClock;
  state: NodeStateName = 'down';
  /** Why the node ended or did not start. */
  endedBy: KvError | Error | undefined;
  /** Lives so far. */
  lives = 0;
  process: SimProcess | undefined;
  /** Of the life that is up (or has failed). */
  node: KvorumNode | undefined;
  /** As the life before took it to be when it ended. */
  #configurationBefore: Configuration | undefined;
  readonly #options: SimNodeOptions;
  #transport: (Transport & { end?(dark: boolean): void }) | undefined;
  #door: TcpDoor | undefined;
  #promotion: { stop(): void } | undefined;

  constructor(options: SimNodeOptions) {
    const { member, random, scheduler } = options;
    this.#options = options;
    this.member = member;
    this.id = member.id;
    this.lane = `node-${member.id}`;
    this.disk = new SimDisk({ lane: this.lane, random: random.fork('disk'), trace: options.trace });
    this.clock = new MachineClock(scheduler, random.fork('boot').int(1_000, 1_000_000));
  }

  get path(): string {
    return this.lane;
  }

  /** In force as far as the node knows, or knew when it went down; undefined: it has never run. */
  get configuration(): Configuration | undefined {
    return this.node?.parts.consensus.raft.status().configuration ?? this.#configurationBefore;
  }

  get isUp(): boolean {
    return this.state === 'up';
  }

  get isPaused(): boolean {
    return this.process?.paused === true;
  }

  /**
   * Begins a life. Resolves when the node runs and its door is open; never when the machine crashes before.
   * @throws what KvorumNode.start throws: the state is `failed` then.
   */
  async start(disk: (view: Disk) => Disk = (view) => view): Promise<KvorumNode> {
    const { scheduler, network, trace, random, config, member } = this.#options;
    if (this.state === 'failed' || this.state === 'removed') this.#bury('process', false);
    if (this.state !== 'down') throw new Error(`${this.lane} is ${this.state}`);
    this.lives++;
    this.state = 'starting';
    this.endedBy = undefined;
    const life = new SimProcess(this.lane, scheduler, this.clock, random.fork(`life ${this.lives}`));
    this.process = life;
    trace.add('start', this.lane, 'start', this.lives);
    this.#options.streams.powerOn(this.lane);
    const logger = traceLogger(trace, this.lane);
    try {
      const node = await KvorumNode.start({
        path: this.path,
        config,
        ports: life.ports,
        disk: disk(this.disk.view(life)),
        logger,
        version: VERSION,
        pid: this.id,
        rssBytes: () => 0,
        passwords: PASSWORDS,
        create: this.#options.create,
        transport: (identity) => {
          this.#transport = network.transport(identity.nodeId, member.peerAddress, life);
          return this.#transport;
        },
        endpoints: [member.clientAddress],
        batching: 'io',
        onEnd: (error) => {
          if (this.process === life) this.#ended(error);
        },
      });
      this.node = node;
      this.#door = await this.#openDoor(node, life);
      this.#promotion = keepPromoting(node, life.ports, logger);
      if (this.state === 'starting') this.state = 'up';
      return node;
    } catch (error) {
      this.state = 'failed';
      this.endedBy = error instanceof Error ? error : new Error(String(error));
      trace.add(
        'note',
        this.lane,
        'did not start',
        0,
        undefined,
        0,
        `did not start: ${this.endedBy.message}`,
      );
      throw error;
    }
  }

  /** Power loss, or the end of the process alone: see World.crash. */
  crash(rule: LossRule | 'process'): void {
    if (this.state === 'down') return;
    this.#options.trace.add('crash', this.lane, rule, this.lives);
    this.#bury(rule, rule !== 'process');
  }

  /** Ends the life in good order. */
  async stop(): Promise<void> {
    const life = this.process;
    const { node } = this;
    this.#options.trace.add('crash', this.lane, 'stop', this.lives);
    this.#promotion?.stop();
    await this.#door?.close();
    await node?.stop();
    if (this.process === life) this.#bury('process', false);
  }

  #openDoor(node: KvorumNode, life: SimProcess): Promise<TcpDoor> {
    const { config, member, streams } = this.#options;
    return startTcpDoor({
      service: node.service,
      config: { ...config.door, clientListen: member.clientAddress },
      limits: config.limits,
      ports: life.ports,
      listen: streams.listenFor(life),
    });
  }

  #ended(error: KvError | undefined): void {
    this.state = error === undefined ? 'removed' : 'failed';
    this.endedBy = error;
    const text = error === undefined ? 'removed' : `failed: ${error.message}`;
    this.#options.trace.add('note', this.lane, error?.code ?? 'removed', 0, undefined, 0, text);
  }

  #bury(rule: LossRule | 'process', dark: boolean): void {
    const { node, process } = this;
    this.#configurationBefore = this.configuration;
    this.state = 'down';
    this.node = undefined;
    this.process = undefined;
    process?.kill();
    if (process !== undefined) this.#options.streams.processEnded(process, dark);
    this.#transport?.end?.(dark);
    this.#transport = undefined;
    this.#door = undefined;
    node?.halt();
    if (rule !== 'process') this.disk.crash(rule);
    // The power went while it was stopping: not only the process is gone.
    else if (this.disk.memory.down) this.disk.crash('random');
    else this.disk.processEnded();
  }
}

/** Warnings and errors, and changes of role, become events of the trace. */
function traceLogger(trace: Trace, lane: string): Logger {
  const nothing = (): void => undefined;
  const note = (level: string) => (message: string, facts?: Facts) => {
    trace.add(
      'note',
      lane,
      message,
      0,
      undefined,
      0,
      trace.recording ? `${level}: ${told(message, facts)}` : undefined,
    );
  };
  return {
    debug: nothing,
    info: (message, facts) => {
      if (message !== 'role') return;
      const role = String(facts?.['role']);
      const term = Number(facts?.['term']);
      trace.add('role', lane, role, term, undefined, 0, `${role} in term ${term}`);
    },
    warn: note('warning'),
    error: note('error'),
  };
}

function told(message: string, facts: Facts | undefined): string {
  const error = facts?.['error'];
  return error instanceof Error ? `${message}: ${error.message}` : message;
}
