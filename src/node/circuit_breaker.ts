/**
 * Spares callers the wait for a peer that is connected and does not answer: after so many time-outs in a row it is not asked for a while, then by one call a second until it answers.
 *
 * A peer that is not connected needs none of this: the transport says so at once (docs/decisions/0018_a_circuit_breaker_of_our_own.md).
 *
 * Invariants: any answer, an error or a late one too, closes the circuit at once, and so does the end of the connection; a call that is not admitted was not sent; peers are few, and so are circuits.
 */
import type { NodeId } from '../raft/types.ts';

const TIMEOUTS_IN_A_ROW = 5;
const OPEN_MS = 1_000;

interface Circuit {
  timeouts: number;
  /** Until when nobody is admitted; from then on, one at a time. */
  openUntilMs: number;
}

export class CircuitBreaker {
  readonly #nowMs: () => number;
  /** Of peers that have not answered lately. */
  readonly #circuits = new Map<NodeId, Circuit>();

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Whether a call to the peer may be sent now. */
  admits(peer: NodeId): boolean {
    const circuit = this.#circuits.get(peer);
    if (circuit === undefined || circuit.timeouts < TIMEOUTS_IN_A_ROW) return true;
    const nowMs = this.#nowMs();
    if (nowMs < circuit.openUntilMs) return false;
    // The one that finds out. It may wait for long; the next one tries when it has had no answer for a while.
    circuit.openUntilMs = nowMs + OPEN_MS;
    return true;
  }

  /** A call to the peer had no answer in time. */
  timedOut(peer: NodeId): void {
    const circuit = this.#circuits.get(peer) ?? { timeouts: 0, openUntilMs: 0 };
    circuit.timeouts++;
    // Once: what was sent before goes on timing out, and must not keep everybody from trying.
    if (circuit.timeouts === TIMEOUTS_IN_A_ROW) circuit.openUntilMs = this.#nowMs() + OPEN_MS;
    this.#circuits.set(peer, circuit);
  }

  /** The peer has said something, however late; or its connection has ended, and the next call finds out by itself. */
  answered(peer: NodeId): void {
    if (this.#circuits.size > 0) this.#circuits.delete(peer);
  }
}
