/**
 * Small scripts that drive a cluster of cores and show what happens, for golden files (scenarios/*.txt).
 *
 * A script is made of blocks: commands, a line `----`, what they print; blocks are separated by an empty line, `#` begins a comment line. Commands:
 *
 *     start 3 [async]         voters 1 to 3; async: nothing is durable before `sync`
 *     campaign ID | tick ID N | sync ID | crash ID | restart ID | snapshot ID
 *     deliver                 delivers until the network is empty and shows every message
 *     deliver N               the next N messages
 *     lose ID                 throws away what is under way to ID
 *     run N                   N ticks for everybody, silently
 *     propose ID TEXT | read ID CONTEXT | transfer ID TO
 *     learner ID NEW | promote ID WHO | remove ID WHO
 *     partition 1,2           cuts these off from the others; `heal` ends it
 *     status | log ID
 */
import type { ConfigurationChange, Message } from '../../src/raft/types.ts';
import { Cluster, type ClusterNode, configurationOf, memberOf } from './cluster.ts';

interface Block {
  readonly comments: string[];
  readonly commands: string[];
}

/** Runs a script and returns it with what it prints now. */
export function runScenario(text: string): string {
  const player = new Player();
  return `${text
    .trim()
    .split(/\n\n+/)
    .map((block) => parseBlock(block))
    .map(({ comments, commands }) => {
      if (commands.length === 0) return comments.join('\n');
      const output = commands.flatMap((command) => player.play(command));
      return [...comments, ...commands, '----', ...(output.length > 0 ? output : ['ok'])].join('\n');
    })
    .join('\n\n')}\n`;
}

function parseBlock(block: string): Block {
  const lines = block.split('\n');
  const end = lines.indexOf('----');
  const script = end < 0 ? lines : lines.slice(0, end);
  return {
    comments: script.filter((line) => line.startsWith('#')),
    commands: script.filter((line) => !line.startsWith('#')),
  };
}

class Player {
  #cluster = new Cluster(configurationOf([1]));

  play(line: string): string[] {
    const [command = '', ...words] = line.split(' ');
    if (command === 'start') {
      const count = Number(words[0]);
      const voters = Array.from({ length: count }, (_, i) => i + 1);
      this.#cluster = new Cluster(configurationOf(voters), { autoSync: words[1] !== 'async' });
      return [];
    }
    return this.#everybody(command, words) ?? this.#node(command, words);
  }

  /** Commands about everybody; undefined for one about a node. */
  #everybody(command: string, words: string[]): string[] | undefined {
    const cluster = this.#cluster;
    const first = words[0] ?? '';
    switch (command) {
      case 'deliver':
        return this.#deliver(words.length > 0 ? Number(first) : Number.POSITIVE_INFINITY);
      case 'run':
        cluster.run(Number(first));
        return [];
      case 'lose':
        cluster.network = cluster.network.filter(({ to }) => to !== Number(first));
        return [];
      case 'partition':
        cluster.partition(first.split(',').map(Number));
        return [];
      case 'heal':
        cluster.heal();
        return [];
      case 'status':
        return cluster.all.map((node) => showNode(node));
      default:
        return undefined;
    }
  }

  #node(command: string, [id = '', argument = '']: string[]): string[] {
    const node = this.#cluster.node(Number(id));
    const value = Number(argument);
    switch (command) {
      case 'campaign':
        node.raft.campaign();
        break;
      case 'tick':
        node.tick(value);
        break;
      case 'sync':
        node.sync();
        break;
      case 'crash':
        node.crash();
        return [];
      case 'restart':
        node.restart();
        return [];
      case 'snapshot':
        node.takeSnapshot();
        return [];
      case 'propose':
        return [node.propose(argument) ? 'accepted' : 'refused'];
      case 'read':
        return [node.read(value) ? 'asked' : 'no leader'];
      case 'transfer':
        node.raft.transferLeadership(value);
        break;
      case 'learner':
        return this.#change(node, { type: 'addLearner', member: memberOf(value) });
      case 'promote':
        return this.#change(node, { type: 'promote', id: value });
      case 'remove':
        return this.#change(node, { type: 'remove', id: value });
      case 'log':
        return [node.visible.list.map(({ index, term, kind }) => `${index}/${term}${'.-C'[kind]}`).join(' ')];
      default:
        throw new Error(`unknown command ${command}`);
    }
    node.pump();
    return [];
  }

  #change(node: ClusterNode, change: ConfigurationChange): string[] {
    const result = node.raft.proposeConfiguration(change);
    node.pump();
    return [result.ok ? `accepted at ${result.index}` : `refused: ${result.reason}`];
  }

  #deliver(limit: number): string[] {
    const { network } = this.#cluster;
    const shown: string[] = [];
    for (let i = 0; i < limit && network.length > 0; i++) {
      const message = network.shift()!;
      const lost = this.#cluster.isCut(message.from, message.to) || !this.#cluster.nodes.get(message.to)?.up;
      shown.push(`${showMessage(message)}${lost ? ' (lost)' : ''}`);
      this.#cluster.deliverOne(message);
    }
    return shown;
  }
}

function showNode({ raft, machine, reads, up }: ClusterNode): string {
  const { id, role, term, leader, commit, lastIndex, configuration } = raft.status();
  if (!up) return `${id}: down`;
  const { voters, votersOutgoing, learners } = configuration;
  const lists = [`voters ${voters}`];
  if (votersOutgoing.length > 0) lists.push(`outgoing ${votersOutgoing}`);
  if (learners.length > 0) lists.push(`learners ${learners}`);
  for (const [context, index] of reads) lists.push(`read ${context} at ${index}`);
  return `${id}: ${role} term ${term} leader ${leader} commit ${commit} last ${lastIndex} applied ${machine.index}; ${lists.join('; ')}`;
}

function showMessage(message: Message): string {
  return `${message.from}>${message.to} ${message.type} term ${message.term}${showDetails(message)}`;
}

function showDetails(message: Message): string {
  switch (message.type) {
    case 'appendRequest': {
      const entries = message.entries.map(({ index, term }) => `${index}/${term}`).join(' ');
      return ` after ${message.prevIndex}/${message.prevTerm} commit ${message.commit} [${entries}]`;
    }
    case 'appendResponse':
      return message.rejected
        ? ` refused ${message.index}, hint ${message.hintIndex}/${message.hintTerm}`
        : ` up to ${message.index}`;
    case 'preVoteRequest':
    case 'voteRequest':
      return ` last ${message.lastIndex}/${message.lastTerm}`;
    case 'preVoteResponse':
    case 'voteResponse':
      return message.granted ? ' granted' : ' refused';
    case 'heartbeatRequest':
      return ` commit ${message.commit} round ${message.readRound}`;
    case 'heartbeatResponse':
      return ` round ${message.readRound}`;
    case 'readIndexResponse':
      return ` index ${message.index}`;
    case 'snapshotChunkRequest':
      return ` index ${message.snapshot.index} bytes ${message.offset}+${message.data.length} of ${message.snapshot.sizeBytes}`;
    case 'snapshotChunkResponse':
      return ` index ${message.snapshotIndex} next ${message.nextOffset}`;
    default:
      return '';
  }
}
