/** One Raft core with a log in memory, moved by hand: for tests that look at single messages and Readys. */
import { encodeConfiguration } from '../../src/raft/configuration.ts';
import { Raft } from '../../src/raft/raft.ts';
import {
  type AppendRequest,
  type AppendResponse,
  type Configuration,
  ENTRY_COMMAND,
  ENTRY_CONFIGURATION,
  type Entry,
  type Message,
  type NodeId,
  type RaftOptions,
  type Ready,
  type SnapshotMeta,
} from '../../src/raft/types.ts';
import { configurationOf } from './cluster.ts';
import { MemoryLog } from './memory_log.ts';

export function command(index: number, term: number, text = `${term}.${index}`): Entry {
  return { index, term, kind: ENTRY_COMMAND, data: new TextEncoder().encode(text) };
}

export function configurationEntry(index: number, term: number, configuration: Configuration): Entry {
  return { index, term, kind: ENTRY_CONFIGURATION, data: encodeConfiguration(configuration) };
}

export interface SingleOptions {
  readonly id?: NodeId;
  readonly configuration?: Configuration;
  /** Terms of the entries in the log, from index 1. */
  readonly terms?: readonly number[];
  readonly log?: MemoryLog;
  readonly term?: number;
  readonly vote?: NodeId;
  readonly commit?: number;
  readonly applied?: number;
  readonly snapshot?: { readonly meta: SnapshotMeta; readonly bytes: Uint8Array };
  readonly raft?: Partial<RaftOptions>;
}

export class SingleCore {
  readonly raft: Raft;
  readonly log: MemoryLog;
  snapshot: SingleOptions['snapshot'];

  constructor(options: SingleOptions = {}) {
    const terms = options.terms ?? [];
    this.log = options.log ?? new MemoryLog();
    if (terms.length > 0) this.log.append(terms.map((term, i) => command(i + 1, term)));
    this.snapshot = options.snapshot;
    this.raft = new Raft({
      id: options.id ?? 1,
      log: this.log,
      snapshots: {
        latest: () => this.snapshot?.meta,
        read: (index, offset, maxBytes) =>
          this.snapshot?.meta.index === index
            ? this.snapshot.bytes.slice(offset, offset + maxBytes)
            : undefined,
      },
      hardState: {
        term: options.term ?? terms.at(-1) ?? 0,
        vote: options.vote ?? 0,
        commit: options.commit ?? 0,
      },
      configuration: options.configuration ?? configurationOf([1, 2, 3]),
      applied: options.applied ?? 0,
      electionTicks: 10,
      heartbeatTicks: 2,
      maxAppendBytes: 1000,
      maxInflightBytes: 4000,
      maxUncommittedBytes: 10_000,
      snapshotChunkBytes: 4,
      random: () => 0,
      ...options.raft,
    });
  }

  ticks(count: number): void {
    for (let i = 0; i < count; i++) this.raft.tick();
  }

  /** Makes a Ready durable, as a shell does. */
  sync(ready: Ready): Ready {
    this.log.append(ready.entries);
    const last = ready.entries.at(-1);
    if (last !== undefined) this.raft.appended(ready.appendTerm, last.index);
    if (ready.committed.length > 0) this.raft.applied(ready.committed.at(-1)!.index);
    return ready;
  }

  /** Takes and syncs every Ready there is; all that came out of them. */
  drain(): Drained {
    const out: Drained = { messages: [], committed: [], readies: [] };
    while (this.raft.hasReady()) {
      const ready = this.sync(this.raft.ready());
      out.readies.push(ready);
      out.messages.push(...ready.messages, ...ready.messagesAfterAppend);
      out.committed.push(...ready.committed);
    }
    return out;
  }

  step(message: Message): Drained {
    this.raft.step(message);
    return this.drain();
  }

  /** Wins an election: leader in the next term, with its first entry appended but acknowledged by nobody else. */
  lead(voters: readonly NodeId[] = [2, 3]): this {
    this.raft.campaign();
    this.drain();
    const { id, term } = this.raft;
    for (const from of voters) {
      this.raft.step({ type: 'preVoteResponse', from, to: id, term: term + 1, granted: true });
    }
    this.drain();
    for (const from of voters) {
      this.raft.step({ type: 'voteResponse', from, to: id, term: term + 1, granted: true });
    }
    if (this.raft.role !== 'leader') throw new Error('the election was not won');
    return this;
  }

  /** A follower says that its log agrees up to `index`. */
  acknowledge(from: NodeId, index: number): Drained {
    return this.step(this.appendResponse(from, index));
  }

  /** The same without taking the Readys that follow. */
  acknowledgeOnly(from: NodeId, index: number): void {
    this.raft.step(this.appendResponse(from, index));
  }

  appendResponse(from: NodeId, index: number): AppendResponse {
    const { id: to, term } = this.raft;
    return { type: 'appendResponse', from, to, term, rejected: false, index, hintIndex: 0, hintTerm: 0 };
  }

  append(
    from: NodeId,
    term: number,
    prevIndex: number,
    prevTerm: number,
    entries: Entry[],
    commit = 0,
  ): AppendRequest {
    return { type: 'appendRequest', from, to: this.raft.id, term, prevIndex, prevTerm, commit, entries };
  }
}

export interface Drained {
  readonly messages: Message[];
  readonly committed: Entry[];
  readonly readies: Ready[];
}

/** The messages of one type, in order. */
export function ofType<T extends Message['type']>(
  messages: readonly Message[],
  type: T,
): Extract<Message, { type: T }>[] {
  return messages.filter((message): message is Extract<Message, { type: T }> => message.type === type);
}
