/** `lock` and `election` of the public store, over the line of contenders (recipes/line.ts). */
import { KvError } from '../errors.ts';
import { userKey } from '../kv/keyspace.ts';
import { announce, checkSignal, firstOf, type Line, lineOf } from '../recipes/line.ts';
import { observeLine } from '../recipes/observe.ts';
import type { StoredRecord } from '../storage/record.ts';
import { type ContenderParts, contend, type HeldPlace } from './contender.ts';
import { storedKeyOf } from './key_range.ts';
import type { ContendOptions, Election, ElectionLeader, Leadership, Lock } from './lock_types.ts';
import { type StoreLimits, type ValueForm, valueBytes } from './operations.ts';
import { recipeStore } from './recipe_channel.ts';
import type { CallOptions, Key } from './store_types.ts';

/** What stands behind a name: a slash, and a lease in hexadecimal with its sign. */
const PLACE_BYTES = 18;
const NO_BYTES = new Uint8Array(0);
const NO_OPTIONS: CallOptions = {};

/** @throws KvError INVALID_ARGUMENT, KEY_TOO_LARGE */
function lineNamed(name: Key, { maxKeyBytes }: StoreLimits): Line {
  return lineOf(userKey(storedKeyOf(name, maxKeyBytes - PLACE_BYTES)));
}

export async function lockOf(
  parts: ContenderParts,
  limits: StoreLimits,
  name: Key,
  options: ContendOptions = NO_OPTIONS,
): Promise<Lock> {
  const held = await contend(parts, lineNamed(name, limits), NO_BYTES, options);
  const release = (given?: CallOptions): Promise<void> => held.giveUp(given);
  return Object.assign(held, { release });
}

export class LineElection<In, Out> implements Election<In, Out> {
  readonly #parts: ContenderParts;
  readonly #limits: StoreLimits;
  readonly #form: ValueForm<In, Out>;
  readonly #line: Line;

  constructor(parts: ContenderParts, limits: StoreLimits, name: Key, form: ValueForm<In, Out>) {
    this.#parts = parts;
    this.#limits = limits;
    this.#form = form;
    this.#line = lineNamed(name, limits);
  }

  async campaign(value: In, options: ContendOptions = NO_OPTIONS): Promise<Leadership<In>> {
    const held = await contend(this.#parts, this.#line, this.#bytes(value), options);
    return Object.assign(held, {
      proclaim: (next: In, given?: CallOptions) => this.#proclaim(held, next, given),
      resign: (given?: CallOptions) => held.giveUp(given),
    });
  }

  async leader(options: CallOptions = NO_OPTIONS): Promise<ElectionLeader<Out> | undefined> {
    const { record } = await firstOf(recipeStore(this.#parts.source, options), this.#line);
    return record === undefined ? undefined : this.#shown(record);
  }

  async *observe({
    signal: given,
  }: {
    readonly signal?: AbortSignal | undefined;
  } = {}): AsyncGenerator<ElectionLeader<Out>, void, undefined> {
    const { source } = this.#parts;
    source.checkOpen();
    const { signal: closed } = source.closeController;
    const signal = given === undefined ? closed : AbortSignal.any([given, closed]);
    for await (const record of observeLine(recipeStore(source, NO_OPTIONS), this.#line, signal)) {
      yield this.#shown(record);
    }
  }

  async #proclaim(held: HeldPlace, value: In, options: CallOptions = NO_OPTIONS): Promise<void> {
    checkSignal(held.signal);
    const { done } = await announce(recipeStore(this.#parts.source, options), held.place, this.#bytes(value));
    if (!done) throw new KvError('NOT_ELECTED', 'the office is lost');
  }

  #bytes(value: In): Uint8Array {
    return valueBytes(value, this.#form, this.#limits);
  }

  #shown(record: StoredRecord): ElectionLeader<Out> {
    return {
      key: userKey(record.key),
      value: this.#form.decode(record.value),
      fence: record.createRevision,
      revision: record.modRevision,
      lease: record.lease,
    };
  }
}
