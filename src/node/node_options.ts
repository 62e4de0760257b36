/** What a node is made with. */
import type { Transport } from '../../transports/transport.ts';
import type { Config } from '../config.ts';
import type { KvError } from '../errors.ts';
import type { Logger } from '../observability/logger.ts';
import type { Ports } from '../ports.ts';
import type { Passwords } from '../security/passwords.ts';
import type { Disk } from '../storage/disk.ts';
import type { SharedReads } from '../storage/shared/shared_reads.ts';
import type { Identity } from './identity.ts';

export interface NodeOptions {
  readonly path: string;
  readonly config: Config;
  readonly ports: Ports;
  readonly disk: Disk;
  readonly logger: Logger;
  readonly version: string;
  readonly pid: number;
  readonly rssBytes: () => number;
  /** Who to be when the directory is new. */
  readonly create: () => Promise<Identity>;
  /** Made once the node knows who it is. */
  readonly transport: (identity: Identity) => Transport;
  /** Where clients reach this node, for statuses. */
  readonly endpoints: readonly string[];
  readonly batching: 'turn' | 'io';
  /** How passwords are hashed. Default: scrypt, on other threads. */
  readonly passwords?: Passwords | undefined;
  /** For the threads that read the engine's memory beside this one. */
  readonly shared?: SharedReads | undefined;
  /** The node has ended by itself: a failure, or it was removed from the cluster (no error). */
  readonly onEnd: (error: KvError | undefined) => void;
}
