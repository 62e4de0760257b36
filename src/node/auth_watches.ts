/**
 * Watches and the rights to them: checked when a watch begins, and again whenever users or rights change.
 *
 * Invariant: what is applied after a right has gone is not delivered by a watch that needed it: the watch is taken off in the same turn, before the next command.
 */
import type { WatchHandle, WatchSink } from '../api/service.ts';
import { KvError } from '../errors.ts';
import type { Timers } from '../ports.ts';
import type { Identity } from '../security/identity.ts';
import type { WatchRequest } from '../wire/messages.ts';
import type { AuthGate } from './auth_gate.ts';

interface Held {
  readonly identity: Identity | undefined;
  readonly request: WatchRequest;
  readonly sink: WatchSink;
  readonly handle: WatchHandle;
}

export class AuthWatches {
  readonly #gate: AuthGate;
  readonly #timers: Timers;
  readonly #held = new Set<Held>();

  constructor(gate: AuthGate, timers: Timers) {
    this.#gate = gate;
    this.#timers = timers;
    gate.auth.onChange = () => this.#check();
  }

  /** Begins a watch by `start`. @throws KvError PERMISSION_DENIED, USER_EMPTY, UNAUTHENTICATED, and what `start` throws */
  start(
    request: WatchRequest,
    sink: WatchSink,
    identity: Identity | undefined,
    start: (request: WatchRequest, sink: WatchSink) => WatchHandle,
  ): WatchHandle {
    this.#gate.checkKeys(identity, request.start, request.end);
    let held: Held | undefined;
    const handle = start(request, {
      deliver: (batch) => sink.deliver(batch),
      end: (error) => {
        if (held !== undefined) this.#held.delete(held);
        sink.end(error);
      },
    });
    const one: Held = { identity, request: kept(request), sink, handle };
    held = one;
    this.#held.add(one);
    return {
      fromRevision: handle.fromRevision,
      resume: () => handle.resume(),
      progress: () => handle.progress(),
      cancel: () => {
        this.#held.delete(one);
        handle.cancel();
      },
    };
  }

  #check(): void {
    for (const held of this.#held) {
      const { identity, request, sink, handle } = held;
      try {
        this.#gate.checkKeys(identity, request.start, request.end);
      } catch (error) {
        if (!(error instanceof KvError)) throw error;
        this.#held.delete(held);
        handle.cancel();
        // Not from within apply: the other side may do anything.
        this.#timers.soon(() => sink.end(error));
      }
    }
  }
}

/** The request's keys may be views of a frame that is gone by then. */
function kept(request: WatchRequest): WatchRequest {
  const { start, end } = request;
  return {
    ...request,
    start: new Uint8Array(start),
    end: end === undefined ? undefined : new Uint8Array(end),
  };
}
