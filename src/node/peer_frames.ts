/**
 * What peers send to this node, told apart and handed to whom it is for; and how nodes introduce themselves to each other.
 */
import type { Transport } from '../../transports/transport.ts';
import { isAddress } from '../config.ts';
import { KvError } from '../errors.ts';
import type { Logger } from '../observability/logger.ts';
import {
  decodeIntroduction,
  encodeIntroduction,
  FRAME_ANSWER,
  FRAME_INTRODUCTION,
  FRAME_RAFT,
  FRAME_REQUEST,
  FRAME_TIME,
} from '../wire/peer_codec.ts';
import type { Applier } from './applier.ts';
import type { PeerRpc } from './peer_rpc.ts';
import type { Replica } from './replica.ts';
import type { TimeTelling } from './time_telling.ts';

export interface PeerFramesOptions {
  readonly transport: Transport;
  readonly replica: Replica;
  readonly applier: Applier;
  readonly rpc: PeerRpc;
  readonly time: TimeTelling;
  readonly logger: Logger;
}

export class PeerFrames {
  readonly #options: PeerFramesOptions;

  constructor(options: PeerFramesOptions) {
    this.#options = options;
  }

  /** What no node of this cluster sends is told to the log, and dropped. */
  received(from: number, payload: Uint8Array): void {
    const { replica, rpc, time, logger } = this.#options;
    try {
      switch (payload[0]) {
        case FRAME_RAFT:
          return replica.onMessage(from, payload.subarray(1));
        case FRAME_REQUEST:
          return rpc.onRequest(from, payload);
        case FRAME_ANSWER:
          return rpc.onAnswer(from, payload);
        case FRAME_TIME:
          return time.told(from, payload);
        case FRAME_INTRODUCTION:
          return this.#introduced(from, decodeIntroduction(payload));
        default:
          throw new KvError('PROTOCOL', `unknown kind of frame ${payload[0]}`);
      }
    } catch (error) {
      if (!(error instanceof KvError)) throw error;
      logger.warn('dropped a frame from a peer', { peer: from, error });
    }
  }

  /** Tells a peer where this node is, and the time. */
  introduce(to: number): void {
    const { transport, replica, time } = this.#options;
    const address = replica.ownAddress;
    if (address !== undefined) transport.send(to, [encodeIntroduction(address)]);
    time.tell(to);
  }

  #introduced(from: number, address: string): void {
    if (!isAddress(address)) throw new KvError('PROTOCOL', 'an introduction without an address');
    if (!this.wasRemoved(from)) this.#options.replica.introduced(from, address);
  }

  /** Ids are never used again: one that was given and belongs to nobody is a removed member's. */
  wasRemoved(peer: number): boolean {
    const { members, lastId } = this.#options.applier.appliedConfiguration;
    return peer <= lastId && !members.some((member) => member.id === peer);
  }
}
