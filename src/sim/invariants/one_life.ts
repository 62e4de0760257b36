/** What only grows while a node lives: its term, commit index, applied index and revision; and what never passes what: applied <= commit. */
import type { NodeId } from '../../raft/types.ts';
import type { Report } from './violation.ts';

export interface Progress {
  readonly term: number;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly revision: number;
  readonly compactRevision: number;
}

const NAMES = ['term', 'commitIndex', 'appliedIndex', 'revision', 'compactRevision'] as const;

export class OneLife {
  readonly #id: NodeId;
  readonly #report: Report;
  #last: Progress | undefined;

  constructor(id: NodeId, report: Report) {
    this.#id = id;
    this.#report = report;
  }

  seen(now: Progress): void {
    const last = this.#last;
    this.#last = now;
    if (now.appliedIndex > now.commitIndex) {
      this.#report(
        'applied before it was decided',
        this.#id,
        `node ${this.#id} has applied entry ${now.appliedIndex}, but knows entries to be decided up to ${now.commitIndex} only`,
        { ...now },
      );
    }
    if (last === undefined) return;
    for (const name of NAMES) {
      if (now[name] >= last[name]) continue;
      this.#report(
        'progress',
        this.#id,
        `${name} of node ${this.#id} goes back from ${last[name]} to ${now[name]} while it runs`,
        { name, from: last[name], to: now[name] },
      );
    }
  }
}
