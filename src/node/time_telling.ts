/**
 * Tells the store's time between nodes (store_clock.ts): the leader several times a second to all, and every node that knows it to whom it is connected with, who may have
 * just been started and lead before a leader has told it.
 */
import type { Transport } from '../../transports/transport.ts';
import type { NodeId, RaftCore } from '../raft/types.ts';
import { decodeStoreTime, encodeStoreTime } from '../wire/peer_codec.ts';
import type { StoreClock } from './store_clock.ts';

export class TimeTelling {
  readonly #raft: RaftCore;
  readonly #transport: Transport;
  readonly #clock: StoreClock;

  constructor(raft: RaftCore, transport: Transport, clock: StoreClock) {
    this.#raft = raft;
    this.#transport = transport;
    this.#clock = clock;
  }

  /** REQUIRES: this node leads. Called as soon as it does, so that the others know its time before an entry of it, and several times a second. */
  tellAll(): void {
    const raft = this.#raft;
    this.#clock.adjust();
    const frame = encodeStoreTime({ term: raft.term, timeMs: this.#clock.nowMs() });
    for (const { id } of raft.status().configuration.members)
      if (id !== raft.id) this.#transport.send(id, [frame]);
  }

  /** To a node that the connection to has just been made. */
  tell(to: NodeId): void {
    if (!this.#clock.known) return;
    const term = this.#raft.role === 'leader' ? this.#raft.term : 0;
    this.#transport.send(to, [encodeStoreTime({ term, timeMs: this.#clock.estimateMs() })]);
  }

  /** @throws KvError PROTOCOL */
  told(from: NodeId, payload: Uint8Array): void {
    const { term, timeMs } = decodeStoreTime(payload);
    const raft = this.#raft;
    if (raft.role === 'leader') return;
    if (term === 0) this.#clock.hint(timeMs);
    else if (term === raft.term && from === raft.leader) this.#clock.heard(timeMs, term);
  }
}
