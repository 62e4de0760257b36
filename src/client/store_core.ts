/**
 * What a store and its forms for other types of values share: the channel, the session under which writes are sent, and what has been seen.
 *
 * Invariants: a write over a channel that may repeat it carries a session and a sequence; after the loss of the session only a write that was certainly not
 * applied is sent again.
 */
import { KvError } from '../errors.ts';
import type { Command, CommandResult, WriteId } from '../kv/command.ts';
import type { Ports } from '../ports.ts';
import type { MaybePromise } from '../storage/record.ts';
import { encodeCommand, writeCommand } from '../wire/command_codec.ts';
import { ByteWriter } from '../wire/varint.ts';
import { NO_WRITE_ID } from '../wire/write_id.ts';
import type { Channel } from './channel.ts';
import { waitUntil } from './deadline.ts';
import type { StoreLimits } from './operations.ts';
import type { CallOptions } from './store_types.ts';
import { WriteSession } from './write_session.ts';

/** How long a call may take unless it says otherwise, where this layer itself waits. */
const DEFAULT_TIMEOUT_MS = 5_000;
/** A session may be lost this often during one call. */
const MAX_SESSIONS_PER_CALL = 3;
const CLOSE_SESSION_TIMEOUT_MS = 500;
/** A call that ran out of time says so at the latest so much later: what kept a session from being opened tells more than that it was. */
const OPENING_GRACE_MS = 150;
/** Memory kept for the next command. */
const MAX_SPARE_BYTES = 256 * 1024;

export interface StoreOptions {
  readonly channel: Channel;
  readonly limits: StoreLimits;
  readonly ports: Ports;
  /** Writes that may wait for their answer at once; the nodes' limits.maxSessionResults. */
  readonly maxSessionResults: number;
  readonly timeoutMs?: number | undefined;
}

/** What a store shares with its forms for other types of values. */
export class StoreCore {
  readonly channel: Channel;
  readonly limits: StoreLimits;
  /** The largest revision that any answer showed. */
  seenRevision = 0;
  readonly closeController = new AbortController();
  readonly session: WriteSession | undefined;
  readonly ports: Ports;
  private readonly timeoutMs: number;
  private closing: Promise<void> | undefined;
  private spareWriter: ByteWriter | undefined;

  constructor(options: StoreOptions) {
    this.channel = options.channel;
    this.limits = options.limits;
    this.ports = options.ports;
    this.timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    if (this.channel.needsSession) {
      this.session = new WriteSession(() => this.openSession(), options.maxSessionResults);
    }
  }

  /** @throws KvError CLOSED */
  checkOpen(): void {
    if (this.closing !== undefined) throw new KvError('CLOSED', 'the store was closed');
  }

  saw(revision: number): void {
    if (revision > this.seenRevision) this.seenRevision = revision;
  }

  /** Sends a write; `encode` is called with the id that it gets. */
  write(encode: (id: WriteId) => Uint8Array, options: CallOptions): MaybePromise<CommandResult> {
    const { session } = this;
    if (session === undefined) return this.channel.write(encode(NO_WRITE_ID), options);
    const id = session.tryBegin();
    if (id === undefined) return this.writeWhenReady(session, encode, options);
    return this.attempt(session, id, encode, options).catch((error: unknown) => {
      if (!sessionLost(error)) throw error;
      return this.writeWhenReady(session, encode, options);
    });
  }

  /** Sends a write as a command; `make` is called with the id that it gets. */
  run(make: (id: WriteId) => Command, options: CallOptions): MaybePromise<CommandResult> {
    if (this.session !== undefined) return this.write((id) => encodeCommand(make(id)), options);
    const command = make(NO_WRITE_ID);
    const writer = this.spareWriter ?? new ByteWriter();
    this.spareWriter = undefined;
    writeCommand(writer.reset(), command);
    const result = this.channel.write(writer.view(), options, command);
    // With a promise the bytes may still be needed.
    if (!(result instanceof Promise) && writer.sizeBytes <= MAX_SPARE_BYTES) this.spareWriter = writer;
    return result;
  }

  close(): Promise<void> {
    this.closing ??= this.shutDown();
    return this.closing;
  }

  private async shutDown(): Promise<void> {
    this.closeController.abort();
    const session = this.session?.id ?? 0;
    if (session !== 0) {
      try {
        const command = encodeCommand({ type: 'closeSession', session });
        await this.channel.write(command, { timeoutMs: CLOSE_SESSION_TIMEOUT_MS });
      } catch (error) {
        // A session that could not be closed is forgotten when it has been idle for long enough.
        if (!(error instanceof KvError)) throw error;
      }
    }
    await this.channel.close();
  }

  private async openSession(): Promise<number> {
    const result = await this.channel.write(encodeCommand({ type: 'openSession' }), {
      timeoutMs: this.timeoutMs,
    });
    if (result.type !== 'session') throw unexpected(result);
    return result.session;
  }

  private async attempt(
    session: WriteSession,
    id: WriteId,
    encode: (id: WriteId) => Uint8Array,
    options: CallOptions,
  ): Promise<CommandResult> {
    try {
      return await this.channel.write(encode(id), options);
    } catch (error) {
      if (error instanceof KvError && error.code === 'SESSION_EXPIRED') session.expired(id.session);
      throw error;
    } finally {
      session.end(id);
    }
  }

  /** Waits for a session and for a place in it. */
  private async writeWhenReady(
    session: WriteSession,
    encode: (id: WriteId) => Uint8Array,
    options: CallOptions,
  ): Promise<CommandResult> {
    const { clock } = this.ports;
    const deadlineMs = clock.monotonicMs() + (options.timeoutMs ?? this.timeoutMs);
    for (let lost = 0; ; ) {
      const id = session.tryBegin();
      if (id === undefined) {
        const opening = session.id === 0;
        const untilMs = opening ? deadlineMs + OPENING_GRACE_MS : deadlineMs;
        const late = opening ? 'no session for writes could be opened in time' : undefined;
        await waitUntil(session.ready(), untilMs, options.signal, this.ports, late);
        continue;
      }
      try {
        const timeoutMs = Math.max(1, deadlineMs - clock.monotonicMs());
        return await this.attempt(session, id, encode, { timeoutMs, signal: options.signal });
      } catch (error) {
        if (!sessionLost(error) || ++lost >= MAX_SESSIONS_PER_CALL) throw error;
      }
    }
  }
}

/** The session was gone before the write could be applied: it may be sent again under a new one. */
function sessionLost(error: unknown): boolean {
  return error instanceof KvError && error.code === 'SESSION_EXPIRED' && !error.maybeApplied;
}

/** The error that an answer of another type stands for. */
export function unexpected(result: CommandResult): KvError {
  if (result.type === 'failed') return new KvError(result.code, result.message);
  return new KvError('PROTOCOL', `unexpected result '${result.type}'`, { maybeApplied: true });
}
