/**
 * Client sessions: a write happens once, however often its client sends it (Raft thesis 6.3, with several requests outstanding at a time).
 *
 * A client numbers its writes from 1 and says with each of them below which number it has all answers. The table keeps, per session,
 * the results from that number on; a repeated number gets its first result and is not applied again.
 *
 * Invariants: a sequence is applied at most once; what cannot be told any more (below `acknowledgedBelow`, unknown session) is refused, never
 * applied; everything here follows from the commands alone, so it is the same on every node; sessions, results per session and bytes of results are bounded.
 */
import type { CommandResult, FailedResult, OperationResult, TxnResult, WriteId } from './command.ts';
import { recordBytes } from './records.ts';

export interface SessionLimits {
  readonly maxSessions: number;
  readonly sessionIdleMs: number;
  readonly maxSessionResults: number;
}
export interface SessionState {
  readonly id: number;
  readonly acknowledgedBelow: number;
  readonly lastActiveMs: number;
  /** By ascending sequence. */
  readonly results: readonly { readonly sequence: number; readonly result: CommandResult }[];
}

/** A result that weighs more is not kept: its repetition is refused as SESSION_EXPIRED. */
export const MAX_KEPT_RESULT_BYTES = 256 * 1024;
/** Bytes of results kept over all sessions. */
export const MAX_KEPT_TOTAL_BYTES = 64 * 1024 * 1024;

const INITIAL_SLOTS = 16;
const PACKED_PUT = -1;
const PACKED_TOUCHED = -2;
const PACKED_UNTOUCHED = -3;
/** A nested transaction that succeeded; less 2 for each of its results, which follow. */
const PACKED_THEN = -4;
/** One that did not; less 2 for each result. */
const PACKED_ELSE = -5;

/** A transaction's result without records, one small number per operation: batches are common, and 10,000 objects each would be dear. */
interface PackedTxn {
  readonly type: 'packedTxn';
  readonly revision: number;
  readonly succeeded: boolean;
  /** A PACKED_ number, or the count of a delete. */
  readonly codes: Int32Array;
}
type KeptResult = PackedTxn | CommandResult;

/** A ring of results: the slot of a sequence is its low bits, which are unique within a window no wider than the ring. */
interface Session {
  readonly id: number;
  acknowledgedBelow: number;
  lastActiveMs: number;
  /** Sequence held by a slot; 0 for none. */
  sequences: Float64Array;
  revisions: Float64Array;
  /** undefined: a plain put, whose result is its revision. */
  others: (KeptResult | undefined)[];
}

export class SessionTable {
  private readonly limits: SessionLimits;
  private readonly sessions = new Map<number, Session>();
  /** The session that `begin` found last: saves `record` the look-up. */
  private current: Session | undefined;
  private keptBytes = 0;
  private lastId = 0;

  constructor(limits: SessionLimits) {
    this.limits = limits;
  }

  has(session: number): boolean {
    return this.sessions.has(session);
  }
  get size(): number {
    return this.sessions.size;
  }

  /** The largest id ever given. */
  get lastSessionId(): number {
    return this.lastId;
  }

  /** Opens a session; 0 when there are too many and none is idle. Ids grow with the log index and are never reused. */
  open(index: number, nowMs: number): number {
    if (this.sessions.size >= this.limits.maxSessions) this.dropIdle(nowMs);
    if (this.sessions.size >= this.limits.maxSessions) return 0;
    const id = Math.max(this.lastId + 1, index);
    this.lastId = id;
    this.sessions.set(id, newSession(id, 1, nowMs));
    return id;
  }

  close(id: number): void {
    const session = this.sessions.get(id);
    if (session === undefined) return;
    this.forget(session, Number.POSITIVE_INFINITY);
    this.sessions.delete(id);
    if (this.current === session) this.current = undefined;
  }

  /**
   * What a write must be answered without being applied: its first result, or a refusal. undefined: apply it and call `record`.
   * REQUIRES: id.session is not 0.
   */
  begin(id: WriteId, nowMs: number, revision: number): CommandResult | undefined {
    const session = this.current?.id === id.session ? this.current : this.sessions.get(id.session);
    if (session === undefined) return failed('SESSION_EXPIRED', `no session ${id.session}`, revision);
    this.current = session;
    if (id.acknowledgedBelow > session.acknowledgedBelow) this.forget(session, id.acknowledgedBelow);
    session.lastActiveMs = nowMs;
    const sequence = id.sequence;
    if (sequence < session.acknowledgedBelow) {
      return failed('SESSION_EXPIRED', `sequence ${sequence} was acknowledged already`, revision);
    }
    if (sequence - session.acknowledgedBelow >= this.limits.maxSessionResults) {
      return failed(
        'OVERLOADED',
        `more than ${this.limits.maxSessionResults} unacknowledged writes`,
        revision,
      );
    }
    const slot = sequence & (session.sequences.length - 1);
    if (session.sequences[slot] === sequence) return resultIn(session, slot);
    return undefined;
  }

  /** Keeps the result of the write that `begin` let through. REQUIRES: called right after it. */
  record(id: WriteId, result: CommandResult): void {
    const session = this.current as Session;
    if (id.sequence - session.acknowledgedBelow >= session.sequences.length) grow(session, id.sequence);
    const slot = id.sequence & (session.sequences.length - 1);
    session.sequences[slot] = id.sequence;
    session.revisions[slot] = result.revision;
    if (result.type === 'put' && result.previous === undefined) session.others[slot] = undefined;
    else session.others[slot] = this.keep(result);
  }

  capture(): SessionState[] {
    const states: SessionState[] = [];
    for (const session of this.sessions.values()) {
      const results: { sequence: number; result: CommandResult }[] = [];
      for (let slot = 0; slot < session.sequences.length; slot++) {
        const sequence = session.sequences[slot] as number;
        if (sequence !== 0) results.push({ sequence, result: resultIn(session, slot) });
      }
      results.sort((a, b) => a.sequence - b.sequence);
      const { id, acknowledgedBelow, lastActiveMs } = session;
      states.push({ id, acknowledgedBelow, lastActiveMs, results });
    }
    return states;
  }

  restore(states: readonly SessionState[], lastSessionId: number): void {
    this.sessions.clear();
    this.current = undefined;
    this.keptBytes = 0;
    this.lastId = lastSessionId;
    for (const state of states) {
      const session = newSession(state.id, state.acknowledgedBelow, state.lastActiveMs);
      this.sessions.set(state.id, session);
      this.current = session;
      for (const { sequence, result } of state.results) {
        this.record({ session: state.id, sequence, acknowledgedBelow: state.acknowledgedBelow }, result);
      }
    }
    this.current = undefined;
  }

  private dropIdle(nowMs: number): void {
    for (const session of this.sessions.values()) {
      if (nowMs - session.lastActiveMs >= this.limits.sessionIdleMs) this.close(session.id);
    }
  }

  /** Drops the results below a sequence. */
  private forget(session: Session, below: number): void {
    const slots = session.sequences.length;
    const mask = slots - 1;
    // The whole window fits in the ring: never more steps than slots. Counted, because a sequence near 2^53 cannot be stepped past it.
    const first = session.acknowledgedBelow & mask;
    const steps = Math.min(below - session.acknowledgedBelow, slots);
    for (let step = 0; step < steps; step++) {
      const slot = (first + step) & mask;
      session.sequences[slot] = 0;
      const other = session.others[slot];
      if (other !== undefined) {
        this.keptBytes -= keptBytesOf(other);
        session.others[slot] = undefined;
      }
    }
    session.acknowledgedBelow = below;
  }

  private keep(result: CommandResult): KeptResult {
    const packed = result.type === 'txn' ? packTxn(result) : result;
    const size = keptBytesOf(packed);
    if (size > MAX_KEPT_RESULT_BYTES || this.keptBytes + size > MAX_KEPT_TOTAL_BYTES) {
      const message = `the write took effect at revision ${result.revision}; its result was too large to be kept`;
      return failed('SESSION_EXPIRED', message, result.revision);
    }
    this.keptBytes += size;
    return packed;
  }
}

function newSession(id: number, acknowledgedBelow: number, lastActiveMs: number): Session {
  return {
    id,
    acknowledgedBelow,
    lastActiveMs,
    sequences: new Float64Array(INITIAL_SLOTS),
    revisions: new Float64Array(INITIAL_SLOTS),
    others: new Array<KeptResult | undefined>(INITIAL_SLOTS).fill(undefined),
  };
}

/** Widens the ring until it holds the window up to `sequence`. */
function grow(session: Session, sequence: number): void {
  let slots = session.sequences.length;
  while (sequence - session.acknowledgedBelow >= slots) slots *= 2;
  const { sequences, revisions, others } = session;
  session.sequences = new Float64Array(slots);
  session.revisions = new Float64Array(slots);
  session.others = new Array<KeptResult | undefined>(slots).fill(undefined);
  for (let from = 0; from < sequences.length; from++) {
    const held = sequences[from] as number;
    if (held === 0) continue;
    const to = held & (slots - 1);
    session.sequences[to] = held;
    session.revisions[to] = revisions[from] as number;
    session.others[to] = others[from];
  }
}

function resultIn(session: Session, slot: number): CommandResult {
  const other = session.others[slot];
  if (other === undefined) {
    return { type: 'put', revision: session.revisions[slot] as number, previous: undefined };
  }
  return other.type === 'packedTxn' ? unpackTxn(other) : other;
}

export function failed(code: FailedResult['code'], message: string, revision: number): FailedResult {
  return { type: 'failed', revision, code, message };
}

/** undefined: it holds records. The revisions of the results follow from the transaction's, as transactions.ts gives them. */
function packTxn(result: TxnResult): PackedTxn | TxnResult {
  const { revision, succeeded, results } = result;
  let codes = new Int32Array(results.length);
  for (let at = 0; at < codes.length; at++) {
    const code = packedCode(results[at] as OperationResult);
    if (code === NOT_PACKED) return result;
    if (code === NESTED) {
      const all = packNested(results, []);
      if (all === undefined) return result;
      codes = Int32Array.from(all);
      break;
    }
    codes[at] = code;
  }
  return { type: 'packedTxn', revision, succeeded, codes };
}

const NOT_PACKED = -100;
const NESTED = -101;

function packedCode(result: OperationResult): number {
  if (result.type === 'put') return result.previous === undefined ? PACKED_PUT : NOT_PACKED;
  if (result.type === 'delete') return result.previous.length === 0 ? result.deleted : NOT_PACKED;
  if (result.type === 'touch') return result.found ? PACKED_TOUCHED : PACKED_UNTOUCHED;
  return result.type === 'txn' ? NESTED : NOT_PACKED;
}

function packNested(results: readonly OperationResult[], codes: number[]): number[] | undefined {
  for (const result of results) {
    const code = packedCode(result);
    if (code === NOT_PACKED) return undefined;
    if (result.type !== 'txn') {
      codes.push(code);
      continue;
    }
    codes.push((result.succeeded ? PACKED_THEN : PACKED_ELSE) - 2 * result.results.length);
    if (packNested(result.results, codes) === undefined) return undefined;
  }
  return codes;
}

function unpackTxn({ revision, succeeded, codes }: PackedTxn): TxnResult {
  const unpacker = new Unpacker(codes, revision);
  return { type: 'txn', revision, succeeded, results: unpacker.take(Number.POSITIVE_INFINITY) };
}

class Unpacker {
  private readonly codes: Int32Array;
  private readonly after: number;
  /** The store's as the operations saw it: until the first write the one before. */
  private revision: number;
  private at = 0;

  constructor(codes: Int32Array, after: number) {
    this.codes = codes;
    this.after = after;
    this.revision = codes.some(isWrite) ? after - 1 : after;
  }

  /** The next results. */
  take(count: number): OperationResult[] {
    const results: OperationResult[] = [];
    while (results.length < count && this.at < this.codes.length) results.push(this.next());
    return results;
  }

  private next(): OperationResult {
    const code = this.codes[this.at++] as number;
    if (isWrite(code)) this.revision = this.after;
    const { revision } = this;
    if (code === PACKED_PUT) return { type: 'put', revision, previous: undefined };
    if (code >= 0) return { type: 'delete', revision, deleted: code, previous: [] };
    if (code > PACKED_THEN) return { type: 'touch', revision, found: code === PACKED_TOUCHED };
    const succeeded = (PACKED_THEN - code) % 2 === 0;
    const results = this.take(Math.floor((PACKED_THEN - code) / 2));
    return { type: 'txn', revision: this.after, succeeded, results };
  }
}

function isWrite(code: number): boolean {
  return code > 0 || code === PACKED_PUT || code === PACKED_TOUCHED;
}

function keptBytesOf(result: KeptResult): number {
  const base = 64;
  switch (result.type) {
    case 'packedTxn':
      return base + result.codes.byteLength;
    case 'txn':
      return result.results.reduce((sum, nested) => sum + keptBytesOf(nested), base);
    case 'put':
      return base + (result.previous === undefined ? 0 : recordBytes(result.previous));
    case 'delete':
      return result.previous.reduce((sum, record) => sum + recordBytes(record), base);
    case 'range':
      return result.records.reduce((sum, record) => sum + recordBytes(record), base);
    case 'failed':
      // Bounded by their number. Weightless, so that the sum never depends on the order in which a restore brings results back.
      return 0;
    default:
      return base;
  }
}
