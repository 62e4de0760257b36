/**
 * The session that makes retried writes happen once (Raft thesis, section 6.3): hands out sequence numbers and knows which writes are answered.
 *
 * Invariants: a sequence is used for one write only; `acknowledgedBelow` never passes a write whose caller still waits; no more than `window` sequences lie between
 * the oldest waiting write and the next one, so that the nodes can keep all results; a session is opened when the first write needs it, and anew
 * after it has expired.
 */
import { KvError } from '../errors.ts';
import type { WriteId } from '../kv/command.ts';

export class WriteSession {
  private readonly openOnNode: () => Promise<number>;
  private readonly window: number;
  private session = 0;
  private nextSequence = 1;
  /** Every sequence below is answered. */
  private answeredBelow = 1;
  /** Answered sequences from answeredBelow on. */
  private readonly answered = new Set<number>();
  private opening: Promise<void> | undefined;
  private waiting: (() => void)[] = [];

  /** @param openOnNode opens a session and gives its number. @param window writes that may wait for their answer at once. */
  constructor(openOnNode: () => Promise<number>, window: number) {
    this.openOnNode = openOnNode;
    this.window = Math.max(1, window);
  }

  /** The open session's number; 0 when there is none. */
  get id(): number {
    return this.session;
  }

  /** An id for a new write; undefined when `ready()` must be awaited first. Each id must be given to `end` once. */
  tryBegin(): WriteId | undefined {
    if (this.session === 0 || this.nextSequence - this.answeredBelow >= this.window) return undefined;
    return {
      session: this.session,
      sequence: this.nextSequence++,
      acknowledgedBelow: this.answeredBelow,
    };
  }

  /** Resolves when `tryBegin` may succeed (others may be faster: try again). @throws what opening a session failed with. */
  ready(): Promise<void> {
    if (this.session === 0) {
      this.opening ??= this.open();
      return this.opening;
    }
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  /** The write is over for its caller, however it went: nobody will repeat it or ask for its result. */
  end(id: WriteId): void {
    if (id.session !== this.session) return;
    this.answered.add(id.sequence);
    while (this.answered.delete(this.answeredBelow)) this.answeredBelow++;
    this.wake();
  }

  /** The nodes have forgotten this session. */
  expired(session: number): void {
    if (session !== this.session) return;
    this.session = 0;
    this.wake();
  }

  private async open(): Promise<void> {
    try {
      const session = await this.openOnNode();
      if (session === 0) throw new KvError('PROTOCOL', 'the node gave session 0');
      this.session = session;
      this.nextSequence = 1;
      this.answeredBelow = 1;
      this.answered.clear();
    } finally {
      this.opening = undefined;
      this.wake();
    }
  }

  private wake(): void {
    if (this.waiting.length === 0) return;
    const woken = this.waiting;
    this.waiting = [];
    for (const wake of woken) wake();
  }
}
