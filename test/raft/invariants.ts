/**
 * What must hold at every moment of every run, whatever happens (Raft paper, figure 3), checked as Readys come out and disks are written.
 *
 * Log matching is checked by induction: an (index, term) always stands for the same data after an entry of the same term.
 */
import * as assert from 'uvu/assert';
import { isVoter } from '../../src/raft/configuration.ts';
import type { Configuration, Entry, HardState, NodeId, Ready } from '../../src/raft/types.ts';
import type { MemoryLog } from './memory_log.ts';

interface Seen {
  readonly data: string;
  readonly prevTerm: number;
}

export class Invariants {
  readonly #leaders = new Map<number, NodeId>();
  readonly #entries = new Map<string, Seen>();
  /** What was decided, by index. */
  readonly decided = new Map<number, string>();
  maxDecided = 0;
  /** The largest commit index that any node has known. */
  maxCommit = 0;

  /** Election safety, and leader completeness: the new leader's log holds every decided entry. */
  leaderElected(term: number, id: NodeId, log: MemoryLog): void {
    const other = this.#leaders.get(term);
    if (other === id) return;
    assert.is(other, undefined, `election safety: ${other} and ${id} lead in term ${term}`);
    this.#leaders.set(term, id);
    for (let index = log.firstIndex(); index <= this.maxDecided; index++) {
      const entry = log.at(index);
      assert.ok(entry, `leader completeness: ${id} leads in term ${term} without entry ${index}`);
      assert.is(fingerprint(entry), this.decided.get(index), `leader completeness: entry ${index} of ${id}`);
    }
  }

  /** Log matching, for entries that got onto a disk or a wire. */
  entryExists(entry: Entry, prevTerm: number): void {
    const key = `${entry.index}/${entry.term}`;
    const seen = this.#entries.get(key);
    const data = fingerprint(entry);
    if (seen === undefined) this.#entries.set(key, { data, prevTerm });
    else assert.equal({ data, prevTerm }, seen, `log matching: entry ${key}`);
  }

  /** State-machine safety: every node is handed the same entry at an index. */
  entryDecided(id: NodeId, entry: Entry): void {
    const known = this.decided.get(entry.index);
    if (known === undefined) {
      this.decided.set(entry.index, fingerprint(entry));
      this.maxDecided = Math.max(this.maxDecided, entry.index);
    } else assert.is(fingerprint(entry), known, `state-machine safety: entry ${entry.index} at ${id}`);
  }

  /** A commit index is backed by a quorum's disks when it is first known. */
  committed(
    commit: number,
    term: number | undefined,
    configuration: Configuration,
    diskOf: (id: NodeId) => MemoryLog | undefined,
  ): void {
    if (commit <= this.maxCommit) return;
    this.maxCommit = commit;
    assert.is.not(term, undefined, `committed entry ${commit} is not in the leader's log`);
    for (const ids of [configuration.voters, configuration.votersOutgoing]) {
      const durable = ids.filter((id) => {
        const disk = diskOf(id);
        return disk !== undefined && (disk.startIndex >= commit || disk.term(commit) === term);
      });
      assert.ok(
        ids.length === 0 || durable.length * 2 > ids.length,
        `entry ${commit} is committed but on the disks of ${durable} out of ${ids} only`,
      );
    }
  }

  /** Term and commit never fall, a vote never changes within a term. */
  hardState(id: NodeId, before: HardState, after: HardState): void {
    assert.ok(after.term >= before.term, `term of ${id} falls from ${before.term} to ${after.term}`);
    assert.ok(
      after.commit >= before.commit,
      `commit of ${id} falls from ${before.commit} to ${after.commit}`,
    );
    const changed = after.term === before.term && before.vote !== 0 && after.vote !== before.vote;
    assert.not(changed, `${id} votes twice in term ${after.term}`);
  }

  /** Entries of a Ready follow the log; what is handed out to apply follows the last such entry and is durable. */
  ready(id: NodeId, ready: Ready, lastIndex: number, applied: number, durableIndex: number): void {
    ready.entries.forEach((entry, i) => {
      assert.is(entry.index, ready.entries[0]!.index + i, `entries of ${id} follow each other`);
    });
    const first = ready.entries[0]?.index ?? lastIndex + 1;
    assert.ok(first <= lastIndex + 1, `entries of ${id} leave a gap`);
    ready.committed.forEach((entry, i) => {
      assert.is(entry.index, applied + 1 + i, `${id} is handed decided entries once and in order`);
    });
    const last = ready.committed.at(-1)?.index ?? 0;
    assert.ok(last <= durableIndex, `${id} is handed entry ${last}, its disk ends at ${durableIndex}`);
    if (ready.entries.length > 0) assert.ok(ready.mustSync, 'entries must be synced');
  }

  /** A read's index covers everything that was committed, as far as anybody knew, when the read was asked for. */
  readAnswered(id: NodeId, index: number, commitWhenAsked: number): void {
    assert.ok(
      index >= commitWhenAsked,
      `linearizable read: ${id} got ${index}, committed before: ${commitWhenAsked}`,
    );
  }

  /** Only voters, present or outgoing, lead (a leader that is leaving ends its last change first). */
  leaderMayLead(id: NodeId, configuration: Configuration, changePending: boolean): void {
    assert.ok(changePending || isVoter(configuration, id), `${id} leads and is no voter`);
  }
}

function fingerprint(entry: Entry): string {
  return `${entry.term}/${entry.kind}/${Buffer.from(entry.data).toString('latin1')}`;
}
