/**
 * The nodes that a client knows, its connections to them, and who leads.
 *
 * Invariants: at most MAX_ENDPOINTS are known; those that the caller named are never forgotten, members never while room can be made otherwise; each has at most one
 * connection; one that fails is tried again after a jittered pause that doubles up to MAX_PAUSE_MS; former members are left, and only dialed when nobody else is there to ask (the
 * answer that made them former may be an old one); a connection whose node said goodbye is swept until the last of its calls is over.
 */
import type { Dial } from '../byte_stream.ts';
import { type ErrorCode, KvError } from '../errors.ts';
import type { Ports } from '../ports.ts';
import { asKvError } from '../wire/error_codec.ts';
import type { MembersResponse } from '../wire/messages.ts';
import type { ClientCredentials } from './credentials.ts';
import { openConnection, type TcpConnection } from './tcp_connection.ts';

const MAX_ENDPOINTS = 16;
const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 2_000;
/** Refusals that the next attempt will meet as well. */
const LASTING: ReadonlySet<ErrorCode> = new Set(['UNSUPPORTED_VERSION', 'CLUSTER_MISMATCH', 'AUTH_FAILED']);

interface Endpoint {
  readonly address: string;
  /** Named by the caller: perhaps another name of a member, or of several. */
  readonly given: boolean;
  /** By the last answer, its node is no member any longer. */
  former: boolean;
  connection: TcpConnection | undefined;
  connecting: boolean;
  /** Attempts that failed one after another. */
  failures: number;
  nextTryMs: number;
  lastError: KvError | undefined;
}

export interface EndpointsOptions {
  readonly addresses: readonly string[];
  readonly ports: Ports;
  readonly dial: Dial | undefined;
  readonly connectTimeoutMs: number;
  readonly name: string;
  /** Who to be on each connection; undefined: nobody. */
  readonly credentials: ClientCredentials | undefined;
  /** A connection came up, was lost, made progress, or another node leads. */
  changed(): void;
  /** Worth asking who leads and who the members are. */
  uncertain(): void;
}

export class Endpoints {
  private readonly options: EndpointsOptions;
  private readonly endpoints = new Map<string, Endpoint>();
  /** Their nodes take no new calls, and still owe answers. */
  private readonly leaving = new Set<TcpConnection>();
  /** Greeted, and being told who this client is. */
  private readonly naming = new Set<TcpConnection>();
  private leaderId = 0;
  private leaderAddress: string | undefined;
  private clusterId: string | undefined;
  private turn = 0;
  private closed = false;

  constructor(options: EndpointsOptions) {
    this.options = options;
    for (const address of options.addresses) {
      if (!/^(\[[0-9a-fA-F:.]+\]|[^\s:[\]]+):\d{1,5}$/.test(address)) {
        throw new KvError('INVALID_ARGUMENT', `the endpoint ${address} is not HOST:PORT`);
      }
      this.add(address, true);
    }
    if (this.endpoints.size === 0)
      throw new KvError('INVALID_ARGUMENT', 'connect needs at least one endpoint');
  }

  /** Connections that take calls. */
  get usable(): TcpConnection[] {
    const usable: TcpConnection[] = [];
    for (const { connection } of this.endpoints.values()) {
      if (connection?.usable) usable.push(connection);
    }
    return usable;
  }

  get leaderKnown(): boolean {
    return this.leader !== undefined;
  }

  /** The connection to the leader, when there is one that takes calls. */
  get leader(): TcpConnection | undefined {
    if (this.leaderId === 0) return undefined;
    if (this.leaderAddress !== undefined) {
      const connection = this.endpoints.get(this.leaderAddress)?.connection;
      if (connection?.usable) return connection;
    }
    for (const { connection } of this.endpoints.values()) {
      if (connection?.usable && connection.welcome.nodeId === this.leaderId) return connection;
    }
    return undefined;
  }

  /** A connection for a call: the leader's where asked for and known, else any in turn; `avoid` only when there is no other. */
  pick(preferLeader: boolean, avoid: TcpConnection | undefined): TcpConnection | undefined {
    if (preferLeader) {
      const leader = this.leader;
      if (leader !== undefined && leader !== avoid && leader.hasRoom) return leader;
      // A leader that is merely busy is waited for: it answers soonest.
      if (leader !== undefined && leader !== avoid) return undefined;
    }
    const usable = this.usable;
    let second: TcpConnection | undefined;
    for (let i = 0; i < usable.length; i++) {
      const connection = usable[(this.turn + i) % usable.length]!;
      if (!connection.hasRoom) continue;
      if (connection === avoid) {
        second = connection;
        continue;
      }
      this.turn = (this.turn + i + 1) % usable.length;
      return connection;
    }
    return second;
  }

  /** Why no node can be reached, for an error message. */
  explain(): string {
    const reasons = [...this.endpoints.values()].map(({ address, connection, lastError }) => {
      if (connection?.usable) return `${address}: connected`;
      return `${address}: ${lastError === undefined ? 'connecting' : `${lastError.code} ${lastError.message}`}`;
    });
    return reasons.join('; ');
  }

  /** The code that all endpoints failed with when it is one that no retry helps, else UNAVAILABLE. */
  get failureCode(): ErrorCode {
    const codes = new Set([...this.endpoints.values()].map(({ lastError }) => lastError?.code));
    const [code] = codes;
    return codes.size === 1 && code !== undefined && LASTING.has(code) ? code : 'UNAVAILABLE';
  }

  /** True when each endpoint was tried and has refused for a reason that stays. */
  get allFailedForGood(): boolean {
    return this.usable.length === 0 && this.failureCode !== 'UNAVAILABLE';
  }

  /** @param unanswered nobody has said for long who the members are: former ones are worth asking. */
  sweep(nowMs: number, unanswered: boolean): void {
    for (const connection of this.leaving) {
      connection.sweep(nowMs);
      if (connection.ended) this.leaving.delete(connection);
    }
    for (const connection of this.naming) connection.sweep(nowMs);
    const lost = unanswered || this.usable.length === 0;
    for (const endpoint of this.endpoints.values()) {
      const { connection, connecting, former } = endpoint;
      connection?.sweep(nowMs);
      if (connection !== undefined || connecting || nowMs < endpoint.nextTryMs) continue;
      if (lost || !former) this.connect(endpoint);
    }
  }

  /** What a node that refused a call as not leading says about the leader. */
  hint(details: KvError['details']): void {
    const { leader, leaderAddress } = details;
    if (typeof leader === 'number') this.leads(leader);
    if (typeof leaderAddress === 'string' && leaderAddress !== '') {
      this.leaderAddress = leaderAddress;
      this.add(leaderAddress, false);
    }
  }

  /** Nobody is known to lead. */
  forgetLeader(): void {
    this.leaderId = 0;
    this.leaderAddress = undefined;
  }

  /** Takes over the membership: new nodes are connected to, former ones left. */
  learn(response: MembersResponse): void {
    if (response.members.length === 0) return;
    const ids = new Set(response.members.map((member) => member.id));
    const current = new Set(response.members.map((member) => member.clientAddress));
    for (const endpoint of this.endpoints.values()) {
      const { address, given, connection } = endpoint;
      // What the caller named may lead to a member under another name.
      const unknown =
        given && (connection === undefined ? !endpoint.former : ids.has(connection.welcome.nodeId));
      endpoint.former = !current.has(address) && !unknown;
      if (endpoint.former) connection?.close();
    }
    for (const address of current) if (address !== '') this.add(address, false);
    this.leads(response.leader);
    const leader = response.members.find((member) => member.id === response.leader);
    if (leader !== undefined && leader.clientAddress !== '') this.leaderAddress = leader.clientAddress;
    this.options.changed();
  }

  close(): void {
    this.closed = true;
    for (const { connection } of this.endpoints.values()) connection?.close();
    for (const connection of this.leaving) connection.close();
    for (const connection of this.naming) connection.close();
    this.leaving.clear();
    this.endpoints.clear();
  }

  private leads(leader: number): void {
    if (leader === 0 || leader === this.leaderId) return;
    this.leaderId = leader;
    this.leaderAddress = undefined;
  }

  private add(address: string, given: boolean): void {
    if (this.closed || this.endpoints.has(address)) return;
    if (this.endpoints.size >= MAX_ENDPOINTS && !this.forgetFormer()) return;
    const endpoint: Endpoint = {
      address,
      given,
      former: false,
      connection: undefined,
      connecting: false,
      failures: 0,
      nextTryMs: 0,
      lastError: undefined,
    };
    this.endpoints.set(address, endpoint);
    this.connect(endpoint);
  }

  /** Makes room by the former member that has been known longest. */
  private forgetFormer(): boolean {
    for (const { address, given, former, connection } of this.endpoints.values()) {
      if (given || !former) continue;
      this.endpoints.delete(address);
      connection?.close();
      return true;
    }
    return false;
  }

  private connect(endpoint: Endpoint): void {
    endpoint.connecting = true;
    openConnection(endpoint.address, {
      ports: this.options.ports,
      dial: this.options.dial,
      timeoutMs: this.options.connectTimeoutMs,
      name: this.options.name,
      closed: (connection, error) => this.lost(endpoint, connection, error),
      leader: (_connection, leader, unasked) => {
        if (unasked || (leader !== 0 && leader !== this.leaderId)) this.options.uncertain();
      },
      progressed: () => this.options.changed(),
    }).then(
      (connection) => this.greeted(endpoint, connection),
      (error) => this.failed(endpoint, asKvError(error)),
    );
  }

  /** Before anything is asked the node is told by whom. */
  private greeted(endpoint: Endpoint, connection: TcpConnection): void {
    const { credentials } = this.options;
    if (credentials === undefined || this.closed || !connection.usable) {
      this.connected(endpoint, connection);
      return;
    }
    this.naming.add(connection);
    credentials.name(connection).then(
      () => {
        this.naming.delete(connection);
        this.connected(endpoint, connection);
      },
      (error) => {
        this.naming.delete(connection);
        connection.close();
        this.failed(endpoint, asKvError(error));
      },
    );
  }

  private connected(endpoint: Endpoint, connection: TcpConnection): void {
    endpoint.connecting = false;
    if (this.closed || this.endpoints.get(endpoint.address) !== endpoint) {
      connection.close();
      return;
    }
    // Lost in the same turn in which it was greeted.
    if (!connection.usable) {
      this.failed(endpoint, new KvError('UNAVAILABLE', 'the node closed the connection'));
      return;
    }
    const { clusterId, leader } = connection.welcome;
    this.clusterId ??= clusterId;
    if (clusterId !== this.clusterId) {
      connection.close();
      const message = `the node belongs to cluster ${clusterId}, the others to ${this.clusterId}`;
      this.failed(endpoint, new KvError('CLUSTER_MISMATCH', message));
      return;
    }
    endpoint.connection = connection;
    endpoint.failures = 0;
    endpoint.lastError = undefined;
    if (this.leaderId === 0) this.leads(leader);
    this.options.uncertain();
    this.options.changed();
  }

  private failed(endpoint: Endpoint, error: KvError): void {
    endpoint.connecting = false;
    endpoint.lastError = error;
    const pauseMs = Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(endpoint.failures, 10));
    endpoint.failures++;
    const { clock, random } = this.options.ports;
    endpoint.nextTryMs = clock.monotonicMs() + pauseMs * (0.5 + random.next() / 2);
    if (!this.closed) this.options.changed();
  }

  private lost(endpoint: Endpoint, connection: TcpConnection, error: KvError): void {
    if (endpoint.connection !== connection) return;
    if (this.leader === connection || connection.welcome.nodeId === this.leaderId) this.forgetLeader();
    endpoint.connection = undefined;
    if (!connection.ended) this.leaving.add(connection);
    this.failed(endpoint, error);
    if (!this.closed) this.options.uncertain();
  }
}
