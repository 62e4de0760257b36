/** What the TCP transport can be told, with the defaults and the checks. */
import { type ErrorCode, KvError } from '../src/errors.ts';
import type { Ports } from '../src/ports.ts';
import type { NodeId } from '../src/raft/types.ts';
import { type HostPort, parseAddress } from './address.ts';
import type { OutgoingPeerSettings } from './outgoing_peer.ts';
import { plainSockets, type SocketLayer } from './socket_layer.ts';

/** What an operator may want to see in the log. */
export type TcpEvent =
  | {
      readonly type: 'connectFailed';
      readonly peer: NodeId;
      readonly address: string;
      /** UNAVAILABLE: not reached or lost. CLUSTER_MISMATCH, UNSUPPORTED_VERSION, MEMBER_NOT_FOUND and others: refused. */
      readonly error: KvError;
      readonly retryMs: number;
    }
  | {
      readonly type: 'incomingRefused';
      readonly peer: NodeId;
      readonly remote: string;
      readonly code: ErrorCode;
    }
  | {
      readonly type: 'incomingClosed';
      readonly peer: NodeId;
      readonly remote: string;
      readonly reason: string;
    }
  | { readonly type: 'acceptFailed'; readonly reason: string }
  | { readonly type: 'frameTooLarge'; readonly peer: NodeId; readonly sizeBytes: number };

export interface TcpTransportOptions {
  readonly id: NodeId;
  /** 64 bits; a string is decimal. Nodes of different clusters refuse each other. */
  readonly clusterId: bigint | string;
  /** HOST:PORT; port 0 takes a free one. */
  readonly listen: string;
  /** HOST:PORT that peers are told, where it differs from `listen`. Port 0 stands for the real one. */
  readonly advertise?: string;
  readonly ports: Ports;
  /** Largest frame, either way. Default 20 MiB. */
  readonly maxFrameBytes?: number;
  /** Bytes queued for one peer before `send` says no. Default 64 MiB. */
  readonly maxQueuedBytes?: number;
  /** Both ends ping this often. Default 1000. */
  readonly keepAliveMs?: number;
  /** A connection is given up after so much silence. Default 5000; at least twice keepAliveMs. */
  readonly deadAfterMs?: number;
  /** From the dial, or the accept, to the end of the handshake. Default 3000. */
  readonly handshakeTimeoutMs?: number;
  /** Pause after the first failure; it doubles. Default 50. */
  readonly reconnectMinMs?: number;
  /** Longest pause. Default 2000. */
  readonly reconnectMaxMs?: number;
  /** Pause after a refusal (wrong cluster, wrong version). Default 10000. */
  readonly refusedRetryMs?: number;
  /** Peers that may be connected to this node, and as many strangers before their handshake. Default 128. */
  readonly maxConnections?: number;
  readonly onEvent?: (event: TcpEvent) => void;
  /** Default: plain TCP. */
  readonly sockets?: SocketLayer;
}

export interface TcpSettings extends OutgoingPeerSettings {
  readonly listen: HostPort;
  readonly advertise: HostPort | undefined;
  readonly maxConnections: number;
  readonly onEvent: (event: TcpEvent) => void;
  readonly sockets: SocketLayer;
}

const MIB = 1024 * 1024;
const MAX_U64 = 0xffff_ffff_ffff_ffffn;

/** Fills in defaults. @throws KvError CONFIG_INVALID */
export function resolveTcpOptions(options: TcpTransportOptions): TcpSettings {
  const sockets = options.sockets ?? plainSockets;
  const keepAliveMs = positive('keepAliveMs', options.keepAliveMs, 1000);
  const deadAfterMs = positive('deadAfterMs', options.deadAfterMs, Math.max(5000, 2 * keepAliveMs));
  if (deadAfterMs < 2 * keepAliveMs) {
    throw new KvError(
      'CONFIG_INVALID',
      `deadAfterMs is ${deadAfterMs}, allowed: at least twice keepAliveMs (${keepAliveMs})`,
    );
  }
  return {
    id: positive('id', options.id, 0),
    clusterId: parseClusterId(options.clusterId),
    listen: configuredAddress('listen', options.listen),
    advertise:
      options.advertise === undefined ? undefined : configuredAddress('advertise', options.advertise),
    ports: options.ports,
    maxFrameBytes: positive('maxFrameBytes', options.maxFrameBytes, 20 * MIB),
    maxQueuedBytes: positive('maxQueuedBytes', options.maxQueuedBytes, 64 * MIB),
    keepAliveMs,
    deadAfterMs,
    handshakeTimeoutMs: positive('handshakeTimeoutMs', options.handshakeTimeoutMs, 3000),
    reconnectMinMs: positive('reconnectMinMs', options.reconnectMinMs, 50),
    reconnectMaxMs: positive('reconnectMaxMs', options.reconnectMaxMs, 2000),
    refusedRetryMs: positive('refusedRetryMs', options.refusedRetryMs, 10_000),
    maxConnections: positive('maxConnections', options.maxConnections, 128),
    onEvent: options.onEvent ?? (() => {}),
    sockets,
    dial: (address, ready) => sockets.dial(address, ready),
  };
}

function positive(name: string, given: number | undefined, byDefault: number): number {
  const value = given ?? byDefault;
  if (!Number.isSafeInteger(value) || value < 1)
    throw new KvError('CONFIG_INVALID', `${name} is ${value}, allowed: a whole number from 1`);
  return value;
}

function parseClusterId(given: bigint | string): bigint {
  const value = typeof given === 'bigint' ? given : /^\d{1,20}$/.test(given) ? BigInt(given) : -1n;
  if (value < 0n || value > MAX_U64) {
    throw new KvError('CONFIG_INVALID', `clusterId is ${given}, allowed: a decimal number of 64 bits`);
  }
  return value;
}

function configuredAddress(name: string, given: string): HostPort {
  try {
    return parseAddress(given);
  } catch (cause) {
    throw new KvError('CONFIG_INVALID', `${name} is ${JSON.stringify(given)}, allowed: HOST:PORT`, { cause });
  }
}
