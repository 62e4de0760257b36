/**
 * What is asked about leases at this node: keep-alives, which become commands, and looks at the table, which is the same on every node.
 *
 * Invariant: a look shows at least what was decided before it was asked for.
 */
import type { CallOptions, LeaseService } from '../api/service.ts';
import type { Config } from '../config.ts';
import { KvError } from '../errors.ts';
import { keyOfLeaseRow, leaseRows } from '../kv/lease_rows.ts';
import type { StateMachine } from '../kv/state_machine.ts';
import type { Ports } from '../ports.ts';
import type { RaftCore } from '../raft/types.ts';
import type { Engine } from '../storage/engine_port.ts';
import { keyAfter } from '../storage/record.ts';
import { encodeCommand } from '../wire/command_codec.ts';
import { checkLeaseId } from '../wire/lease_codec.ts';
import type {
  LeaseKeepAliveResponse,
  LeasesResponse,
  LeaseTimeToLiveResponse,
} from '../wire/lease_messages.ts';
import type { AuthGate } from './auth_gate.ts';
import { whenFresh } from './auth_writes.ts';
import type { Forwarding } from './forwarding.ts';
import { LeaseRenewals } from './lease_renewals.ts';
import type { Replica } from './replica.ts';
import type { StoreClock } from './store_clock.ts';

const PAGE_KEYS = 1_000;
const PAGE_BYTES = 1024 * 1024;

export interface LeaseDeskOptions {
  readonly config: Config;
  readonly raft: RaftCore;
  readonly replica: Replica;
  readonly forwarding: Forwarding;
  readonly engine: Engine;
  readonly stateMachine: StateMachine;
  readonly storeClock: StoreClock;
  readonly ports: Ports;
  readonly gate: AuthGate;
  /** Resolves when this node has applied what was decided before the call. */
  readonly barrier: () => Promise<void>;
  readonly deadline: (options: CallOptions | undefined) => number;
  /** Throws when the node takes no calls. */
  readonly checkOpen: () => void;
}

export class LeaseDesk implements LeaseService {
  readonly #options: LeaseDeskOptions;
  readonly #renewals: LeaseRenewals;

  constructor(options: LeaseDeskOptions) {
    this.#options = options;
    this.#renewals = new LeaseRenewals({
      ...options.ports,
      submit: (leases, deadlineMs) => this.#submit(leases, deadlineMs),
    });
  }

  async keepAlive(lease: bigint, options?: CallOptions): Promise<LeaseKeepAliveResponse> {
    const { gate, barrier, checkOpen, deadline, stateMachine } = this.#options;
    checkOpen();
    checkLeaseId(lease);
    // Whoever is somebody may: keeping a lease alive changes no key.
    if (gate.auth.enabled) await whenFresh(barrier, () => gate.userOf(options?.identity));
    const ttlMs = await this.#renewals.renew(lease, deadline(options));
    return { revision: stateMachine.revision, ttlMs };
  }

  /** Keep-alives that another node has gathered, and checked. REQUIRES: this node leads. */
  async renewAll(leases: readonly bigint[], timeoutMs: number): Promise<readonly number[]> {
    this.#options.checkOpen();
    return this.#renewals.renewAll(leases, this.#options.deadline({ timeoutMs }));
  }

  async list(options?: CallOptions): Promise<LeasesResponse> {
    const { gate, barrier, stateMachine } = this.#options;
    await barrier();
    if (gate.auth.enabled) gate.userOf(options?.identity);
    return { revision: stateMachine.revision, leases: stateMachine.leases.ids() };
  }

  /** @throws KvError REQUEST_TOO_LARGE when its keys are more than an answer may hold */
  async timeToLive(id: bigint, withKeys: boolean, options?: CallOptions): Promise<LeaseTimeToLiveResponse> {
    const { gate, barrier, stateMachine, storeClock } = this.#options;
    await barrier();
    if (gate.auth.enabled) gate.userOf(options?.identity);
    const { revision } = stateMachine;
    const lease = stateMachine.leases.get(id);
    if (lease === undefined) return { revision, lease: id, ttlMs: 0, remainingMs: -1, keys: [] };
    const { ttlMs } = lease;
    // A follower's idea of the time may be a little behind; nobody is told of more than the whole.
    const remainingMs = Math.min(Math.max(0, lease.expiresAtMs - storeClock.estimateMs()), ttlMs);
    const keys = withKeys && lease.keys > 0 ? await this.#keysOf(id, revision) : [];
    for (const key of keys) gate.checkKeys(options?.identity, key, undefined);
    return { revision, lease: id, ttlMs, remainingMs, keys };
  }

  async #keysOf(id: bigint, revision: number): Promise<Uint8Array[]> {
    const { engine, config } = this.#options;
    const maxAnswerBytes = config.limits.maxCommandBytes;
    const { start, end } = leaseRows(id);
    const keys: Uint8Array[] = [];
    let bytes = 0;
    for (let from = start; ; ) {
      const page = await engine.scan({
        start: from,
        end,
        revision,
        reverse: false,
        limit: PAGE_KEYS,
        maxBytes: PAGE_BYTES,
        keysOnly: true,
      });
      for (const { key: row } of page.records) {
        from = keyAfter(row);
        const key = keyOfLeaseRow(row);
        if (key === undefined) continue;
        keys.push(new Uint8Array(key));
        bytes += key.length;
      }
      if (bytes > maxAnswerBytes) {
        throw new KvError(
          'REQUEST_TOO_LARGE',
          `the keys of the lease take more than ${maxAnswerBytes} bytes`,
        );
      }
      if (!page.more) return keys;
    }
  }

  async #submit(leases: readonly bigint[], deadlineMs: number): Promise<readonly number[]> {
    const { raft, replica, forwarding, stateMachine } = this.#options;
    if (raft.role !== 'leader') return forwarding.leaseRenew(leases, deadlineMs);
    await replica.propose(encodeCommand({ type: 'leaseRenew', leases }), deadlineMs);
    return leases.map((id) => stateMachine.leases.get(id)?.ttlMs ?? 0);
  }
}
