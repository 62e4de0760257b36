/**
 * One round of chaos: a cluster of real processes, clients that record what they see, a plan of faults, a heal, and a judgement.
 *
 * Invariants: whatever happens, the round ends within its limit and gives back what it took (resources.ts); a failing round leaves its plan, notes, histories, logs and data behind.
 */
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SeededRandom } from '../raft/random.ts';
import { Workload } from './clients.ts';
import { Cluster } from './cluster.ts';
import { Faults } from './faults.ts';
import { historyLines, transactionLines } from './history_file.ts';
import { HISTORY_FILES, judge, judgeHistories } from './judge.ts';
import { NamespaceNetwork, namespaceProblem } from './namespaces.ts';
import { type Network, ProxyNetwork } from './network.ts';
import type { Plan } from './plan.ts';
import { Recorder } from './recorder.ts';
import {
  checkDirectories,
  clientsLive,
  expired,
  type SettledState,
  sameState,
  settledMembers,
  watchersReach,
} from './settle.ts';
import { smallDiskProblem } from './small_disk.ts';
import { Watchers } from './watchers.ts';

export interface RoundResult {
  readonly seed: number;
  readonly nodes: number;
  readonly network: string;
  readonly failures: readonly string[];
  readonly skipped: readonly string[];
  readonly operations: number;
  readonly unknown: number;
  readonly events: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly maxRssBytes: number;
  readonly seconds: number;
}

export const NOTES_FILE = 'notes.txt';

/** The longest that a round may take beyond the length of its faults. */
export const AFTERMATH_LIMIT_MS = 240_000;

export async function runRound(plan: Plan, directory: string): Promise<RoundResult> {
  mkdirSync(directory, { recursive: true });
  const round = new Round(plan, directory);
  try {
    await round.run();
  } catch (error) {
    round.failures.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
    await round.takeDown();
  }
  await round.close();
  return round.result();
}

class Round {
  readonly failures: string[] = [];
  readonly #skipped: string[] = [];
  readonly #plan: Plan;
  readonly #directory: string;
  readonly #beganMs = performance.now();
  readonly #recorder = new Recorder();
  readonly #random: SeededRandom;
  readonly #notes: string[] = [];
  #network: Network | undefined;
  #cluster: Cluster | undefined;
  #workload: Workload | undefined;
  #watchers: Watchers | undefined;
  #faults: Faults | undefined;

  constructor(plan: Plan, directory: string) {
    this.#plan = plan;
    this.#directory = directory;
    this.#random = new SeededRandom(plan.seed);
  }

  async run(): Promise<void> {
    const { plan, network, cluster, canFillDisks } = await this.#open();
    const workload = new Workload(this.#recorder, plan.clients, this.#random, () => cluster.endpoints);
    this.#workload = workload;
    await workload.start();
    const watchers = new Watchers(this.#recorder);
    this.#watchers = watchers;
    await watchers.start(plan.watchers, cluster.endpoints);
    const clients = [
      ...workload.names,
      ...Array.from({ length: plan.watchers }, (_, i) => `watcher-${i + 1}`),
    ];
    const note = (text: string): void => this.#note(text);
    this.#faults = new Faults({ plan, cluster, network, clients, canFillDisks, note });
    await this.#faults.run();
    this.#note('heal');
    network.heal();
    await cluster.heal();
    await clientsLive(workload);
    const members = await settledMembers(cluster);
    await workload.stop();
    await workload.readAll();
    watchers.hurry();
    await expired(cluster, members);
    this.#note('at rest');
    const settled = await sameState(cluster, members);
    await watchersReach(watchers, settled.toRevision);
    await watchers.stop();
    this.#judge(settled, cluster);
    this.#writeHistories();
    this.failures.push(...(await judgeHistories(this.#directory)));
    this.#note('judged');
    await workload.close();
    await watchers.close();
    await Promise.all(cluster.members.map((member) => cluster.stop(member)));
    this.failures.push(...(await checkDirectories(cluster)));
    cluster.checkLogs();
  }

  async #open(): Promise<{ plan: Plan; network: Network; cluster: Cluster; canFillDisks: boolean }> {
    const plan = this.#plan;
    const network = await this.#openNetwork();
    this.#network = network;
    const slots = plan.steps.flatMap((step) => (step.kind === 'fullDisk' ? [step.node] : []));
    const problem = slots.length > 0 ? smallDiskProblem() : undefined;
    if (problem !== undefined) this.#skipped.push(`full disks: ${problem}`);
    const cluster = await Cluster.start({
      directory: this.#directory,
      network,
      config: plan.config,
      nodes: plan.nodes,
      smallDisks: new Set(problem === undefined ? slots : []),
      note: (text) => this.#note(text),
      now: () => this.#recorder.now(),
    });
    this.#cluster = cluster;
    return { plan, network, cluster, canFillDisks: problem === undefined };
  }

  async #openNetwork(): Promise<Network> {
    if (this.#plan.network === 'namespaces') {
      const problem = namespaceProblem();
      if (problem === undefined) return new NamespaceNetwork(this.#directory);
      this.#skipped.push(`network namespaces (by proxy instead): ${problem}`);
    }
    return ProxyNetwork.open(this.#random.next);
  }

  #judge(settled: SettledState, { shifts }: Cluster): void {
    const { operations, watchers } = this.#recorder;
    const nameOf = (value: string): string => this.#recorder.name(value);
    this.failures.push(...judge({ operations, watchers, settled, shifts, nameOf }));
  }

  #note(text: string): void {
    const line = `${String(Math.round(performance.now() - this.#beganMs)).padStart(6)} ms  ${text}`;
    this.#notes.push(line);
    writeFileSync(join(this.#directory, NOTES_FILE), `${line}\n`, { flag: 'a' });
  }

  /** What the nodes say of themselves when a round has failed. */
  async takeDown(): Promise<void> {
    for (const member of this.#cluster?.members ?? []) {
      const status = await this.#cluster
        ?.status(member)
        .catch((error: unknown) => ({ error: String(error) }));
      this.#note(`node ${member.id} in slot ${member.slot} is ${member.state}: ${JSON.stringify(status)}`);
    }
  }

  async close(): Promise<void> {
    this.#faults?.stop();
    const closing: (Promise<unknown> | undefined)[] = [
      this.#workload?.close(),
      this.#watchers?.close(),
      this.#cluster?.close(),
    ];
    for (const closed of await Promise.allSettled(closing)) {
      if (closed.status === 'rejected') this.failures.push(`closing: ${closed.reason}`);
    }
    if (this.#network !== undefined) this.#note(this.#network.report());
    await this.#network?.close();
    this.failures.push(...this.#recorder.failures, ...(this.#cluster?.failures ?? []));
    this.#keepFiles();
  }

  #writeHistories(): void {
    const { operations } = this.#recorder;
    const [registers, transactions] = HISTORY_FILES;
    const write = (file: string, lines: readonly string[]): void =>
      writeFileSync(join(this.#directory, file), `${lines.join('\n')}\n`);
    write(
      registers.file,
      historyLines(operations, (key) => key.startsWith('r/')),
    );
    write(
      transactions.file,
      transactionLines(operations, (key) => key.startsWith('g/')),
    );
  }

  /** What a person, or a checker, needs to judge again. */
  #keepFiles(): void {
    const { operations, watchers } = this.#recorder;
    const file = (name: string): string => join(this.#directory, name);
    writeFileSync(file('plan.json'), JSON.stringify(this.#plan, undefined, 1));
    writeFileSync(
      file('operations.jsonl'),
      operations.map((operation) => `${JSON.stringify(operation)}\n`).join(''),
    );
    writeFileSync(file('watchers.json'), JSON.stringify(watchers));
    this.#writeHistories();
    for (const member of this.#cluster?.members ?? [])
      writeFileSync(file(`node-${member.slot}.log`), member.log);
    if (this.failures.length === 0) return;
    writeFileSync(file('failures.txt'), `${this.failures.join('\n')}\n`);
    // What lies on a small file system goes with it.
    for (const { smallDisk, slot, dataDirectory } of this.#cluster?.members ?? []) {
      if (smallDisk) cpSync(dataDirectory, file(`node-${slot}-copy`), { recursive: true });
    }
  }

  result(): RoundResult {
    const { operations, watchers } = this.#recorder;
    return {
      seed: this.#plan.seed,
      nodes: this.#plan.nodes,
      network: this.#network?.kind ?? 'none',
      failures: this.failures,
      skipped: this.#skipped,
      operations: operations.length,
      unknown: operations.filter(({ outcome, kind }) => outcome === 'info' && kind !== 'get').length,
      events: watchers.reduce(
        (sum, { batches }) => sum + batches.reduce((count, { events }) => count + events.length, 0),
        0,
      ),
      faults: Object.fromEntries(this.#faults?.counts ?? []),
      maxRssBytes: Math.max(0, ...(this.#cluster?.members ?? []).map(({ maxRssBytes }) => maxRssBytes)),
      seconds: (performance.now() - this.#beganMs) / 1000,
    };
  }
}
