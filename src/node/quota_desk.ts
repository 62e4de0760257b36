/**
 * Where quotas are set, removed and looked at, at this node.
 *
 * Invariants: only who may do everything does any of it; a list shows at least what was decided before it was asked for.
 */
import type { CallOptions, QuotaService } from '../api/service.ts';
import { KvError } from '../errors.ts';
import type { CommandResult } from '../kv/command.ts';
import type { QuotaLimits } from '../kv/quota_command.ts';
import type { QuotaState } from '../kv/quotas.ts';
import type { StateMachine } from '../kv/state_machine.ts';
import { encodeCommand } from '../wire/command_codec.ts';
import type { QuotasResponse } from '../wire/upkeep_messages.ts';
import type { AuthGate } from './auth_gate.ts';

export interface QuotaDeskOptions {
  readonly stateMachine: StateMachine;
  readonly gate: AuthGate;
  /** Resolves when this node has applied what was decided before the call. */
  readonly barrier: (options: CallOptions | undefined) => Promise<void>;
  readonly write: (command: Uint8Array, options: CallOptions | undefined) => Promise<CommandResult>;
}

export class QuotaDesk implements QuotaService {
  readonly #options: QuotaDeskOptions;

  constructor(options: QuotaDeskOptions) {
    this.#options = options;
  }

  inForce(): readonly QuotaState[] {
    return this.#options.stateMachine.quotas.list;
  }

  set(prefix: Uint8Array, limits: QuotaLimits, options?: CallOptions): Promise<number> {
    return this.#change(prefix, limits, options);
  }

  remove(prefix: Uint8Array, options?: CallOptions): Promise<number> {
    return this.#change(prefix, undefined, options);
  }

  async list(options?: CallOptions): Promise<QuotasResponse> {
    const { stateMachine, gate, barrier } = this.#options;
    await barrier(options);
    gate.checkRoot(options?.identity);
    const quotas = stateMachine.quotas.list.map(({ countingFrom, bytes, keys, ...quota }) => {
      const { prefix, maxBytes, maxKeys, maxRequestsPerSecond } = quota;
      const counted = countingFrom === 0;
      const usage = counted ? { bytes, keys } : { bytes: 0, keys: 0 };
      return { prefix, maxBytes, maxKeys, maxRequestsPerSecond, counted, ...usage };
    });
    return { revision: stateMachine.revision, quotas };
  }

  async #change(
    prefix: Uint8Array,
    limits: QuotaLimits | undefined,
    options: CallOptions | undefined,
  ): Promise<number> {
    const command = encodeCommand({ type: 'quota', prefix, limits });
    const result = await this.#options.write(command, options);
    if (result.type === 'failed') throw new KvError(result.code, result.message);
    return result.revision;
  }
}
