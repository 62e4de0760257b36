/**
 * Mistakes that stores like this one have really made, each as a change to one place of the built code.
 *
 * They exist here and nowhere else: plant.ts puts one of them into a copy of the build, so nothing of them is in the package. table.test.ts shows that each still finds
 * its place; main.ts, that the simulator finds each of them.
 */
import type { FaultPlan } from '../../src/sim/faults/fault_plan.ts';
import type { RunOptions } from '../../src/sim/run.ts';

/** What a run is given besides its seed. */
export type RunSettings = Pick<RunOptions, 'kinds' | 'parts' | 'faults' | 'config' | 'nodes'>;

export interface PlantedBug {
  readonly name: string;
  /** What goes wrong, and which promise it breaks. */
  readonly what: string;
  /** Below build/: the compiled form of the source of that name. */
  readonly file: string;
  readonly edits: readonly Edit[];
  /** Faults, sizes and settings that bring it out. Default: whatever a seed draws. */
  readonly settings?: RunSettings;
  /** The violations that are its consequence: another one is no find. */
  readonly by: readonly string[];
  /** Within so many seeds the simulator must have found it. Default SEEDS. */
  readonly seeds?: number;
  /** The first of them. Default 1. */
  readonly seed?: number;
  /** Calls of clients in a run. Default OPS. */
  readonly ops?: number;
}

/** `find` must occur exactly once. */
export interface Edit {
  readonly find: string;
  readonly replace: string;
}

/** Seeds within which a bug must be found, unless its row says otherwise. */
export const SEEDS = 20;
/** Calls of clients in a run. */
export const OPS = 600;

/** What a leader has decided reaches the others some time later, or not at all: its successor does not know yet what is decided. */
const LEADERS_CUT_OFF_OVER_SLOW_LINKS: FaultPlan = {
  version: 1,
  steps: [
    { kind: 'delay', id: 1, atMs: 0, durationMs: 20_000, node: 1, delayMs: [20, 60] },
    { kind: 'delay', id: 2, atMs: 0, durationMs: 20_000, node: 2, delayMs: [20, 60] },
    { kind: 'leaderChurn', id: 3, atMs: 500, durationMs: 20_000, cutMs: 700, gapMs: 200 },
  ],
};

/** Nobody reaches the leader, and one follower hears late of everything: what is asked of it is judged by what was, and is applied by what is. */
const CLIENTS_AT_A_SLOW_FOLLOWER: FaultPlan = {
  version: 1,
  steps: [
    { kind: 'delay', id: 1, atMs: 0, durationMs: 20_000, node: 'follower', delayMs: [20, 60] },
    { kind: 'clientRefused', id: 2, atMs: 300, durationMs: 20_000, node: 'leader' },
    { kind: 'clientReset', id: 3, atMs: 320, durationMs: 0, node: 'leader' },
  ],
};

export const PLANTED_BUGS: readonly PlantedBug[] = [
  {
    name: 'commit-old-term',
    what: 'A leader commits entries of an earlier term by counting replicas (Raft paper, figure 8): a later leader may replace them.',
    file: 'src/raft/leader.js',
    by: ['commit rule'],
    settings: { kinds: ['leaderChurn'], config: { raft: { maxAppendBytes: 4 * 1024 } } },
    edits: [{ find: ' || index < state.termStartIndex)', replace: ')' }],
  },
  {
    name: 'vote-before-sync',
    what: 'A vote goes out before it is on disk: after a power loss the node votes again in the same term, and two leaders are elected.',
    file: 'src/raft/election.js',
    by: ['term goes back', 'vote is lost'],
    settings: { kinds: ['powerCutAfter', 'moveLeader'] },
    edits: [
      {
        find: "state.sendAfterAppend({ type: 'voteResponse'",
        replace: "state.send({ type: 'voteResponse'",
      },
    ],
  },
  {
    name: 'vote-not-synced',
    what: 'Term and vote are written but not synced when no entry goes along: they may be lost after having been answered.',
    file: 'src/raft/raft.js',
    by: ['term goes back', 'vote is lost'],
    settings: { kinds: ['powerCutAfter', 'moveLeader'] },
    edits: [
      {
        find: '(hardState !== undefined && (hardState.term !== old.term || hardState.vote !== old.vote))',
        replace: 'false',
      },
    ],
  },
  {
    name: 'vote-twice',
    what: 'A node votes for every candidate of a term that asks: two leaders in one term.',
    file: 'src/raft/election.js',
    by: ['vote', 'election safety'],
    edits: [
      {
        find: 'const free = state.vote === message.from || (state.vote === 0 && state.leader === 0);',
        replace: 'const free = true;',
      },
    ],
  },
  {
    name: 'no-election-restriction',
    what: 'Votes are given without comparing logs: a leader may lack what was committed.',
    file: 'src/raft/raft_log_view.js',
    by: ['leader completeness'],
    settings: { kinds: ['leaderChurn'] },
    edits: [
      {
        find: 'return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.lastIndex);',
        replace: 'return lastIndex >= 0;',
      },
    ],
  },
  {
    name: 'no-log-matching',
    what: 'A follower appends without checking that its log agrees up to there.',
    file: 'src/raft/follower.js',
    by: ['state-machine safety', 'leader completeness'],
    settings: { kinds: ['leaderChurn'] },
    edits: [
      {
        find: 'if (prevIndex >= view.commitIndex && !view.matches(prevIndex, message.prevTerm))',
        replace: 'if (prevIndex > view.lastIndex)',
      },
    ],
  },
  {
    name: 'append-acknowledged-before-sync',
    what: 'A follower acknowledges entries that are written but not synced (unless term, vote or commit index went along): a quorum that loses power loses an acknowledged write.',
    file: 'src/node/replica.js',
    by: ['durability'],
    settings: { kinds: ['powerCutAfter'] },
    edits: [
      {
        find: 'this.#options.log.append(hardState, entries, ready.mustSync)',
        replace: 'this.#options.log.append(hardState, entries, ready.mustSync && hardState !== undefined)',
      },
    ],
  },
  // That late ends of writes count for what replaced their entries (the ABA race) does no harm here, since a vote waits for all writes before it:
  // nobody leads while one of them is under way. What follows is the nearest mistake that does.
  {
    name: 'late-append-cuts-log',
    what: 'An append that comes late cuts the log behind it although all its entries are there: what was acknowledged after it is gone.',
    file: 'src/raft/follower.js',
    by: ['acknowledged entries stay'],
    settings: { kinds: ['reorder', 'duplicate', 'delay'] },
    edits: [
      {
        find: 'if (skip === entries.length)\n        return;',
        replace:
          'if (skip === entries.length) {\n        const end = Math.max(prevIndex + skip, view.commitIndex);\n        if (end < view.lastIndex) { view.truncateAfter(end); history.truncateAfter(end); }\n        return;\n    }',
      },
    ],
  },
  {
    name: 'read-before-own-term',
    what: 'A new leader serves linearizable reads before an entry of its own term is committed: it may not know yet what is.',
    file: 'src/raft/leader.js',
    by: ['revision', 'linearizability', 'read level'],
    settings: { nodes: 3, kinds: ['leaderChurn', 'delay'], faults: LEADERS_CUT_OFF_OVER_SLOW_LINKS },
    edits: [
      {
        find: 'return state.ownTermCommitted && state.reads.canStartRound;',
        replace: 'return state.reads.canStartRound;',
      },
    ],
  },
  {
    name: 'read-without-quorum',
    what: 'A leader answers linearizable reads without asking whether it still leads: stale reads after a partition or a pause.',
    file: 'src/raft/leader.js',
    by: ['revision', 'linearizability', 'read level'],
    settings: { kinds: ['leaderChurn', 'pause'] },
    seed: 41,
    edits: [
      {
        find: 'const round = quorumValue(state.configuration, state.confirmedRoundOf, state.scratch);',
        replace: 'const round = state.reads.round;',
      },
    ],
  },
  {
    name: 'read-before-applied',
    what: 'A linearizable read is served as soon as its index is confirmed, not once this node has applied it.',
    file: 'src/node/read_barrier.js',
    by: ['revision', 'linearizability', 'read level'],
    edits: [{ find: 'else if (state.index <= appliedIndex)', replace: 'else if (state.index > 0)' }],
  },
  // That only the new list decides while members change does no harm here, since one member comes or goes at a time: majorities of both lists share somebody.
  {
    name: 'half-is-a-majority',
    what: 'Half of an even number of voters counts as a majority for entries and for votes: two halves that share nobody.',
    file: 'src/raft/configuration.js',
    by: ['election safety', 'state-machine safety', 'leader completeness', 'contact with a quorum'],
    settings: { kinds: ['partition', 'leaderChurn'], nodes: 4 },
    edits: [
      { find: 'scratch[count >> 1]', replace: 'scratch[(count - 1) >> 1]' },
      { find: '(ids.length >> 1) + 1', replace: '(ids.length + 1) >> 1' },
    ],
  },
  {
    name: 'leader-without-quorum-stays',
    what: 'A leader that hears of no quorum goes on leading: half cut off, it keeps those that still hear it from electing one that could work.',
    file: 'src/raft/leader.js',
    by: ['contact with a quorum', 'liveness'],
    edits: [{ find: 'if (!hasActiveQuorum(state)) {', replace: 'if (!hasActiveQuorum(state) && false) {' }],
  },
  {
    name: 'log-cut-past-flush',
    what: 'The log is cut up to what is applied, not to what the tree holds durably: a restart finds a gap.',
    file: 'src/node/housekeeping.js',
    by: ['directory after a crash', 'durability'],
    settings: {
      kinds: ['crash', 'powerCutAt'],
      config: {
        storage: { segmentSizeBytes: 64 * 1024, logRetainBytes: 0, checkpointLogBytes: 1024 * 1024 },
      },
    },
    edits: [
      {
        find: 'const durable = engine.durable?.index ?? 0;',
        replace: 'const durable = this.#options.applier.appliedIndex;',
      },
    ],
  },
  {
    name: 'applied-index-apart',
    what: 'A flush records a later applied index than its data has: entries in between are not replayed after a restart.',
    file: 'src/storage/engine.js',
    by: ['equal state at an equal index'],
    settings: { kinds: ['crash', 'stop'] },
    edits: [
      {
        find: 'this.#layers.freeze({ index, term, state: captureState() }, this.#compactRevision);',
        replace:
          'this.#layers.freeze({ index: index + 1, term, state: captureState() }, this.#compactRevision);',
      },
    ],
  },
  {
    name: 'flush-without-state',
    what: 'Sessions are not part of what a flush makes durable: after a restart a repeated write is refused or applied again.',
    file: 'src/kv/sessions.js',
    by: ['equal state at an equal index'],
    settings: { kinds: ['crash', 'stop', 'clientReset'] },
    edits: [{ find: 'return states;', replace: 'return [];' }],
  },
  {
    name: 'manifest-without-directory-sync',
    what: 'The rename of the manifest is not synced: a power loss brings the old one back, after the log was cut and its tables were removed.',
    file: 'src/storage/tables/manifest.js',
    by: ['directory after a crash', 'durability'],
    settings: { kinds: ['powerCutAt', 'crash', 'powerCutAfter'] },
    edits: [
      {
        find: "step = 'sync the directory of';\n        await disk.syncDirectory(directory);",
        replace: "step = 'sync the directory of';",
      },
    ],
  },
  {
    name: 'manifest-before-sync',
    what: 'The new manifest is renamed over the old one before its bytes are on disk.',
    file: 'src/storage/tables/manifest.js',
    by: ['directory after a crash'],
    settings: { kinds: ['powerCutAt', 'crash', 'powerCutAfter'] },
    edits: [{ find: 'beforeSync();\n        await file.sync();', replace: 'beforeSync();' }],
  },
  {
    name: 'tables-without-directory-sync',
    what: 'The names of new tables are not synced before a manifest names them: after a power loss they are missing.',
    file: 'src/storage/tables/table_store.js',
    by: ['directory after a crash'],
    settings: { kinds: ['powerCutAt', 'crash', 'powerCutAfter'] },
    edits: [{ find: 'if (added.length > 0) {', replace: 'if (added.length < 0) {' }],
  },
  {
    name: 'segment-without-directory-sync',
    what: 'A new segment of the log is written to before its name is synced: a power loss takes it with all that was acknowledged in it.',
    file: 'src/storage/log/segment_space.js',
    by: ['durability'],
    settings: { kinds: ['powerCutAt', 'crash', 'powerCutAfter'] },
    edits: [
      {
        find: 'await disk.syncDirectory(path);\n            await this.#extend(',
        replace: 'await this.#extend(',
      },
    ],
  },
  {
    name: 'failed-sync-tried-again',
    what: 'A failed fdatasync is tried again and believed: the kernel has dropped the pages and calls them clean.',
    file: 'src/storage/log/group_commit.js',
    by: ['directory after a crash', 'durability'],
    settings: { kinds: ['syncError', 'crash'] },
    edits: [
      {
        find: 'await current.file.sync();',
        replace: 'await current.file.sync().catch(() => current.file.sync());',
      },
    ],
  },
  {
    name: 'retry-applied-twice',
    what: 'A repeated write of a session is applied again.',
    file: 'src/kv/sessions.js',
    by: ['session'],
    settings: { kinds: ['clientReset', 'clientSilence', 'crash'] },
    edits: [
      {
        find: 'if (session.sequences[slot] === sequence)\n            return resultIn(session, slot);',
        replace: '',
      },
    ],
  },
  {
    name: 'sessions-lost-in-snapshot',
    what: 'A node that takes over a snapshot forgets the sessions: it applies a repeated write differently from the others.',
    file: 'src/kv/state_machine.js',
    by: ['equal state at an equal index'],
    settings: { kinds: ['crash', 'partition', 'clientReset'] },
    edits: [
      {
        find: 'this.sessions.restore(state.sessions, state.lastSessionId);',
        replace: 'this.sessions.restore([], state.lastSessionId);',
      },
    ],
  },
  {
    name: 'snapshot-older-than-its-index',
    what: 'A snapshot takes its index and state when its records have been flushed, not as of them: what was applied meanwhile is lost to whoever installs it.',
    file: 'src/node/snapshots.js',
    by: ['equal state at an equal index'],
    settings: {
      kinds: ['addMember', 'slowDisk'],
      config: { storage: { segmentSizeBytes: 64 * 1024, logRetainBytes: 0 } },
    },
    edits: [
      {
        find: 'const file = await store.create(view);',
        replace:
          'const applied = { index: applier.appliedIndex, term: applier.appliedTerm, state: applier.capture() };\n            const file = await store.create({ applied, next: (bytes) => view.next(bytes) });',
      },
    ],
  },
  {
    name: 'watch-lost-when-slow',
    what: 'Events that come while a watcher is slow and its queue is full are dropped.',
    file: 'src/kv/watch_hub.js',
    by: ['watch'],
    settings: { kinds: ['clientDelay'] },
    edits: [
      {
        find: 'watcher.nextRevision = revision;\n            watcher.synced = false;',
        replace: 'watcher.nextRevision = revision + 1;',
      },
    ],
  },
  {
    name: 'watch-lost-at-install',
    what: 'Watchers are not sent to the history when a snapshot replaces the store: what it jumped over is lost to them.',
    file: 'src/node/watches.js',
    by: ['watch'],
    settings: {
      kinds: ['partition', 'pause', 'hold'],
      config: { storage: { segmentSizeBytes: 64 * 1024, logRetainBytes: 0 } },
    },
    edits: [{ find: 'this.#hub.lagAll();', replace: '' }],
  },
  {
    name: 'watch-jumps-over-compaction',
    what: 'A watcher that needs compacted history goes on behind it instead of ending with COMPACTED: what lies between is lost to it without a word.',
    file: 'src/kv/watch_hub.js',
    by: ['watch'],
    settings: { config: { node: { historyRevisions: 20 } } },
    edits: [
      {
        find: 'if (fromRevision !== 0 && fromRevision <= compactRevision)\n            throw compacted(fromRevision, compactRevision);',
        replace: '',
      },
      {
        find: 'if (watcher.synced || watcher.nextRevision > compactRevision)\n                continue;\n            this.finish(watcher, compacted(watcher.nextRevision, compactRevision));',
        replace:
          'if (!watcher.synced && watcher.nextRevision <= compactRevision) watcher.nextRevision = compactRevision + 1;',
      },
      {
        find: 'this.finish(watcher, compacted(watcher.nextRevision, compactRevision));',
        replace: 'watcher.nextRevision = compactRevision + 1;',
      },
    ],
  },
  {
    name: 'expiry-reset-at-restart',
    what: 'Keys get their whole time to live again when a node takes over the state, as leases did at elections.',
    file: 'src/kv/state_machine.js',
    by: ['equal state at an equal index'],
    settings: { kinds: ['crash', 'stop'] },
    edits: [
      {
        find: 'this.writer.timeMs = state.timeMs;',
        replace: 'this.writer.timeMs = 0;',
      },
    ],
  },
  {
    name: 'store-time-by-wall-clock',
    what: 'The time of entries is the wall clock of the node that leads: where it is set ahead, keys go too early.',
    file: 'src/node/store_clock.js',
    by: ['lease'],
    ops: 1000,
    settings: { kinds: ['clockJump', 'moveLeader'] },
    edits: [{ find: 'if (!this.#known)\n            this.#set(Math.max', replace: 'this.#set(Math.max' }],
  },
  {
    name: 'revision-lost-at-restart',
    what: 'The revision starts anew from what is in the tree after a restart or a snapshot: it goes down.',
    file: 'src/kv/state_machine.js',
    by: ['equal state at an equal index'],
    settings: { kinds: ['crash', 'stop'] },
    edits: [
      {
        find: 'this.writer.revision = state.revision;',
        replace: 'this.writer.revision = Math.max(1, state.revision - 1);',
      },
    ],
  },
  {
    name: 'lease-reset-at-election',
    what: 'A new leader gives every lease its whole time again: with elections often enough none ever ends.',
    file: 'src/node/lease_expiry.js',
    by: ['lease'],
    ops: 1200,
    settings: { kinds: ['moveLeader'], parts: ['leases'] },
    edits: [
      {
        find: 'this.#leadsSinceMs = nowMs;',
        replace:
          "this.#leadsSinceMs = nowMs;\n            const leases = this.#options.stateMachine.leases.ids();\n            if (leases.length > 0) this.#options.propose(encodeCommand({ type: 'leaseRenew', leases })).catch(() => undefined);",
      },
    ],
  },
  {
    name: 'lease-forgets-renewals',
    what: 'A keep-alive is answered and changes nothing: a lease that is kept alive ends all the same.',
    file: 'src/kv/lease_table.js',
    by: ['lease'],
    settings: { kinds: ['moveLeader'], parts: ['leases'] },
    edits: [
      {
        find: 'lease.expiresAtMs = Math.min(nowMs + lease.ttlMs, Number.MAX_SAFE_INTEGER);\n        this.rows.setEnd(lease.place, lease.expiresAtMs);\n        return true;',
        replace: 'return true;',
      },
    ],
  },
  {
    name: 'nested-compare-skipped',
    what: 'The comparisons of a transaction within another one are not looked at: its first branch is always taken.',
    file: 'src/kv/txn_plan.js',
    by: ['nested transaction'],
    settings: { kinds: ['crash'], parts: ['nested'] },
    edits: [
      {
        find: 'const decision = decide(operation, context);',
        replace: 'const decision = decide({ ...operation, compares: [] }, context);',
      },
    ],
  },
  {
    name: 'lock-given-out-of-line',
    what: 'Whoever waits for a lock has it as soon as its neighbour in front is gone, without a look at who stands before that one: who gives up waiting hands on what it never had.',
    file: 'src/recipes/line.js',
    by: ['contention'],
    settings: { kinds: ['crash', 'clientSilence'], parts: ['locks'] },
    edits: [
      {
        find: 'await waitUntilGone(store, neighbour, revision + 1, signal);\n',
        replace:
          'await waitUntilGone(store, neighbour, revision + 1, signal);\n            return await standsAt(store, place);\n',
      },
    ],
  },
  {
    name: 'lock-line-read-anywhere',
    what: 'Who stands in front is asked of any node, as it happens to be: one that lags behind shows nobody.',
    file: 'src/recipes/line.js',
    by: ['contention'],
    settings: { kinds: ['delay', 'partition'], parts: ['locks'] },
    edits: [
      {
        find: "end, level: 'linearizable', minRevision: 0",
        replace: "end, level: 'eventual', minRevision: 0",
      },
    ],
  },
  {
    name: 'lock-kept-past-its-lease',
    what: 'The holder of a lock counts its time from when a renewal that never came should have come: it goes on after the store has given the lock to another.',
    file: 'src/client/lease_keeper.js',
    by: ['contention'],
    settings: { kinds: ['clientSilence'], parts: ['locks'] },
    edits: [
      {
        find: 'this.#endMs = sentAtMs + this.ttlMs * CERTAIN_SHARE;',
        replace: 'this.#endMs = sentAtMs + 2 * this.ttlMs;',
      },
    ],
  },
  {
    name: 'auth-not-checked-at-apply',
    what: 'Rights are looked at where a write is taken up, and not again where it is applied: one that was on its way when its right was withdrawn goes through.',
    file: 'src/kv/state_machine.js',
    by: ['rights'],
    settings: { nodes: 3, kinds: ['delay'], parts: ['rights'], faults: CLIENTS_AT_A_SLOW_FOLLOWER },
    edits: [
      {
        find: 'const refusal = refuseCommand(this.auth, user, command, this.leaseKeys);',
        replace: 'const refusal = undefined;',
      },
    ],
  },
  {
    name: 'quota-forgets-expiry',
    what: 'What expires goes on counting for its quotas, as if it were still there.',
    file: 'src/kv/key_writer.js',
    by: ['quota'],
    settings: { kinds: ['crash'], parts: ['quotas', 'leases'] },
    edits: [
      {
        find: 'if (this.quotas.active && this.quotas.covers(victim.key)) {',
        replace: 'if (this.quotas.active && this.quotas.covers(victim.key) && victim.expiresAtMs === 0) {',
      },
    ],
  },
  {
    name: 'quota-looked-at-before-the-write',
    what: 'A write is let in while its prefix is below its limit, however much it adds.',
    file: 'src/kv/quotas.js',
    by: ['quota'],
    settings: { kinds: ['moveLeader'], parts: ['quotas'] },
    edits: [{ find: 'quota.bytes + bytes > maxBytes', replace: 'quota.bytes >= maxBytes' }],
  },
  {
    name: 'quota-lost-at-restart',
    what: 'Quotas are not taken over with the state at a start: that node counts and refuses nothing.',
    file: 'src/kv/state_machine.js',
    by: ['equal state at an equal index'],
    settings: { kinds: ['crash', 'stop'], parts: ['quotas'] },
    edits: [{ find: 'this.quotas.restore(state.quotas ?? []);', replace: 'this.quotas.restore([]);' }],
  },
  {
    name: 'quota-counted-twice',
    what: 'A count of what lies under a prefix is added whether it is still waited for or not: what two leaders have counted counts twice.',
    file: 'src/kv/quotas.js',
    by: ['quota'],
    settings: { kinds: ['leaderChurn', 'moveLeader'], parts: ['quotas'] },
    edits: [
      {
        find: 'if (quota === undefined || quota.countingFrom !== revision)',
        replace: 'if (quota === undefined)',
      },
    ],
  },
];
