/** Clients that read, write and compare-and-set registers for as long as they are told to, and keep the history of each. */
import { createStore } from '../../src/client/store.ts';
import type { Store } from '../../src/client/store_types.ts';
import { KvError } from '../../src/errors.ts';
import { realPorts } from '../../src/real_ports.ts';
import type { Operation } from '../../src/sim/check/history.ts';
import type { JsonValue } from '../../src/sim/check/json_value.ts';
import { type ClusterLab, text } from './cluster_lab.ts';
import { RetryingChannel } from './retrying_channel.ts';

const SLOTS = 3;
const MAX_OPERATIONS = 120;
const MAX_UNKNOWN = 6;

type Kind = 'read' | 'write' | 'cas';

interface Register {
  readonly key: string;
  readonly history: Operation[];
  unknown: number;
}

export class RegisterClients {
  readonly registers: Register[] = [];
  /** Writes that were acknowledged, by value: each is there once. */
  readonly acknowledged: { readonly key: string; readonly value: string; readonly revision: number }[] = [];
  operations = 0;
  readonly #lab: ClusterLab;
  readonly #random: () => number;
  readonly #current: Register[] = [];
  readonly #padding: string;
  #time = 0;
  #values = 0;
  #running = true;
  #done: Promise<unknown> = Promise.resolve();

  constructor(lab: ClusterLab, random: () => number, valueBytes: number) {
    this.#lab = lab;
    this.#random = random;
    this.#padding = '.'.repeat(valueBytes);
  }

  start(count: number): void {
    this.#done = Promise.all(Array.from({ length: count }, () => this.#loop(this.store())));
    this.#done.catch(() => undefined);
  }

  store(): Store {
    const { limits } = this.#lab.config;
    return createStore({
      channel: new RetryingChannel(this.#lab, this.#random),
      limits,
      ports: realPorts(),
      maxSessionResults: limits.maxSessionResults,
    });
  }

  /** No new operations; resolves when all have ended. Then every register is read once more. */
  async stop(): Promise<void> {
    this.#running = false;
    await this.#done;
    const store = this.store();
    for (const register of this.registers) await this.#operate(store, register, 'read', 20_000);
  }

  async #loop(store: Store): Promise<void> {
    while (this.#running) {
      const slot = Math.floor(this.#random() * SLOTS);
      const register = this.#register(slot);
      const dice = this.#random();
      await this.#operate(store, register, dice < 0.4 ? 'read' : dice < 0.75 ? 'write' : 'cas', 1_500);
      await new Promise((resolve) => setTimeout(resolve, this.#random() * 4));
    }
  }

  #register(slot: number): Register {
    const current = this.#current[slot];
    if (current !== undefined && current.history.length < MAX_OPERATIONS && current.unknown < MAX_UNKNOWN)
      return current;
    const register: Register = { key: `r/${this.registers.length}`, history: [], unknown: 0 };
    this.registers.push(register);
    this.#current[slot] = register;
    return register;
  }

  async #operate(store: Store, register: Register, kind: Kind, timeoutMs: number): Promise<void> {
    const value = `${++this.#values}`;
    const invokedAt = ++this.#time;
    const last = register.history.at(-1);
    const expected = String(last?.f === 'cas' ? casTarget(last) : (last?.output ?? last?.input ?? '0'));
    const input = kind === 'read' ? undefined : kind === 'write' ? value : [expected, value];
    const begun = { process: invokedAt, f: kind, key: register.key, input, invokedAt };
    const record = (output: JsonValue | undefined, succeeded?: boolean): void => {
      register.history.push({ ...begun, output, succeeded, outcome: 'ok', returnedAt: ++this.#time });
      this.operations++;
    };
    try {
      switch (kind) {
        case 'read':
          record(this.#idOf(await store.get(register.key, { timeoutMs })) ?? null);
          return;
        case 'write': {
          const { revision } = await store.put(register.key, value + this.#padding, { timeoutMs });
          record(undefined);
          this.acknowledged.push({ key: register.key, value, revision });
          return;
        }
        case 'cas': {
          const { succeeded, revision } = await store.txn(
            {
              compare: [{ key: register.key, value: expected + this.#padding }],
              then: [{ type: 'put', key: register.key, value: value + this.#padding }],
            },
            { timeoutMs },
          );
          record(undefined, succeeded);
          if (succeeded) this.acknowledged.push({ key: register.key, value, revision });
          return;
        }
      }
    } catch (error) {
      if (!(error instanceof KvError)) throw error;
      if (kind === 'read') {
        if (timeoutMs > 10_000) throw error;
        return;
      }
      if (!error.retryable && error.code !== 'SESSION_EXPIRED') throw error;
      if (!error.maybeApplied) return;
      register.unknown++;
      register.history.push({
        ...begun,
        output: undefined,
        outcome: 'info',
        returnedAt: Number.POSITIVE_INFINITY,
      });
    }
  }

  #idOf(bytes: Uint8Array | undefined): string | undefined {
    return text(bytes)?.slice(0, -this.#padding.length || undefined);
  }
}

/** What a compare-and-set would have set. */
function casTarget({ input }: Operation): JsonValue {
  return Array.isArray(input) ? (input[1] ?? '0') : '0';
}
