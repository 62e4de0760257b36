/**
 * The state machine against a plain model that keeps the whole store of every revision as a list: random histories must give the same answers, the same
 * store, and an index of expiries that names exactly the keys that expire.
 */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import type {
  Command,
  CommandResult,
  Compare,
  Operation,
  PutOp,
  RangeOp,
  TouchOp,
  TxnBody,
  TxnOp,
} from '../../src/kv/command.ts';
import { allExpiryRows, parseExpiryRow } from '../../src/kv/expiry.ts';
import { keyOfLeaseRow, leaseRows } from '../../src/kv/lease_rows.ts';
import { decodeCommand, encodeCommand } from '../../src/wire/command_codec.ts';
import { decodeState, encodeState } from '../../src/wire/state_codec.ts';
import { test } from '../suite.ts';
import { keyName, NO_ID, Store, type shown, text } from './commands.ts';
import { anyCommand, NAMES } from './random_commands.ts';

interface Item {
  readonly name: string;
  readonly value: string;
  readonly create: number;
  readonly mod: number;
  readonly version: number;
  readonly lease: bigint;
  readonly expiresAtMs: number;
}
/** A command on its way through its operations. */
interface Progress {
  items: Item[];
  wrote: boolean;
  readonly next: number;
}

class Model {
  revision = 1;
  compacted = 0;
  timeMs = 0;
  /** The store as of each revision. */
  readonly history = new Map<number, readonly Item[]>([[1, []]]);

  get items(): readonly Item[] {
    return this.history.get(this.revision)!;
  }

  /** [revision, answers]; answers are strings that mean the same as what `answer` makes of a result. */
  apply(command: Command, timeMs: number): string {
    this.timeMs = Math.max(this.timeMs, timeMs);
    if (command.type === 'compact') {
      if (command.revision > this.revision) return 'failed FUTURE_REVISION';
      if (command.revision === 0 && this.compacted === 0) return `done ${this.revision}`;
      if (command.revision <= this.compacted) return 'failed COMPACTED';
      this.compacted = command.revision;
      return `done ${this.revision}`;
    }
    if (command.type === 'expire') {
      const names = command.keys.map(keyName);
      const kept = this.items.filter(
        (item) => !(names.includes(item.name) && item.expiresAtMs > 0 && item.expiresAtMs <= this.timeMs),
      );
      if (kept.length < this.items.length) this.history.set(++this.revision, kept);
      return `done ${this.revision}`;
    }
    const next = this.revision + 1;
    const state: Progress = { items: [...this.items], wrote: false, next };
    let answer: string;
    if (command.type === 'write') {
      const refusal = this.refusal([command.operation], true);
      if (refusal !== undefined) return refusal;
      answer = this.one(command.operation, state);
    } else if (command.type === 'txn') {
      if (overlapping(command.success) || overlapping(command.failure)) return 'failed DUPLICATE_KEY';
      const chosen: boolean[] = [];
      const path = this.path(command, chosen);
      const puts = path.filter((operation) => operation.type === 'put');
      const refusal = this.refusal(puts) ?? this.refusal(path);
      if (refusal !== undefined) return refusal;
      answer = this.txn(command, state, chosen);
    } else {
      throw new Error(command.type);
    }
    if (state.wrote) this.history.set(++this.revision, state.items);
    return `${answer} now ${this.revision}`;
  }

  /** All operations that will run; `chosen` gets the branches in the order of their transactions. */
  private path(txn: TxnBody, chosen: boolean[]): Operation[] {
    const succeeded = txn.compares.every((one) => this.holds(one));
    chosen.push(succeeded);
    return (succeeded ? txn.success : txn.failure).flatMap((operation) =>
      operation.type === 'txn' ? this.path(operation, chosen) : [operation],
    );
  }

  private refusal(operations: readonly Operation[], byItself = false): string | undefined {
    for (const operation of operations) {
      // A put by itself is told of its lease first.
      if (byItself && operation.type === 'put' && operation.lease === 6n) return 'failed LEASE_NOT_FOUND';
      if (operation.type === 'put' && (operation.ignoreValue || operation.ignoreLease)) {
        if (!this.items.some((item) => item.name === keyName(operation.key))) return 'failed KEY_NOT_FOUND';
      }
      if (operation.type === 'put' && operation.lease === 6n) return 'failed LEASE_NOT_FOUND';
      if (operation.type !== 'range' || operation.revision === 0) continue;
      if (operation.revision < this.compacted) return 'failed COMPACTED';
      if (operation.revision > this.revision) return 'failed FUTURE_REVISION';
    }
    return undefined;
  }

  private txn(txn: TxnBody, state: Progress, chosen: boolean[]): string {
    const succeeded = chosen.shift()!;
    const answers = (succeeded ? txn.success : txn.failure).map((operation) =>
      operation.type === 'txn' ? `(${this.txn(operation, state, chosen)})` : this.one(operation, state),
    );
    return `${succeeded} ${answers.join('; ')}`;
  }

  private one(operation: Exclude<Operation, TxnOp>, state: Progress): string {
    const inRange = (item: Item) => holds(operation, item.name);
    const found = state.items.filter(inRange);
    const seen = () => (state.wrote ? state.next : this.revision);
    switch (operation.type) {
      case 'touch':
        if (found.length > 0) this.write(operation, state, found[0]);
        return `touch ${found.length} at ${seen()}`;
      case 'put':
        this.write(operation, state, found[0]);
        return `put ${operation.prevKv ? found.map(line) : ''} at ${seen()}`;
      case 'delete':
        if (found.length > 0) state.wrote = true;
        state.items = state.items.filter((item) => !inRange(item));
        return `delete ${found.length} ${operation.prevKv ? found.map(line) : ''} at ${seen()}`;
      case 'range': {
        const source = operation.revision === 0 ? state.items : this.history.get(operation.revision)!;
        return `${selected(operation, source.filter(inRange))} at ${seen()}`;
      }
    }
  }

  private write(operation: PutOp | TouchOp, state: Progress, old: Item | undefined): void {
    state.wrote = true;
    const put = operation.type === 'put' ? operation : undefined;
    const item: Item = {
      name: keyName(operation.key),
      value: put === undefined || put.ignoreValue ? old!.value : text(put.value),
      create: old?.create ?? state.next,
      mod: state.next,
      version: (old?.version ?? 0) + 1,
      lease: put === undefined || put.ignoreLease ? old!.lease : put.lease,
      expiresAtMs: operation.ttlMs === 0 ? 0 : this.timeMs + operation.ttlMs,
    };
    state.items = state.items.filter((other) => other.name !== item.name).concat(item);
    state.items.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  private holds(one: Compare): boolean {
    const items = this.items.filter(({ name }) => within(one.key, one.end, name));
    return items.length === 0 ? itemHolds(one, undefined) : items.every((item) => itemHolds(one, item));
  }
}

function itemHolds(one: Compare, item: Item | undefined): boolean {
  if (one.target === 'value' && item === undefined) return false;
  const left = {
    value: item?.value ?? '',
    version: item?.version ?? 0,
    createRevision: item?.create ?? 0,
    modRevision: item?.mod ?? 0,
    lease: item?.lease ?? 0n,
  }[one.target];
  const right = { value: text(one.value), lease: one.lease, number: one.number }[
    one.target === 'value' || one.target === 'lease' ? one.target : 'number'
  ];
  if (one.result === '=') return left === right;
  if (one.result === '!=') return left !== right;
  return one.result === '<' ? left < right : left > right;
}

/** As etcd does it: a limit before the sort where no order is named and no filter given, else filter, sort, limit. */
function selected(operation: RangeOp, all: readonly Item[]): string {
  const {
    limit,
    sortTarget,
    sortOrder,
    minModRevision,
    maxModRevision,
    minCreateRevision,
    maxCreateRevision,
  } = operation;
  const filters = minModRevision || maxModRevision || minCreateRevision || maxCreateRevision;
  let items = all.filter(
    ({ mod, create }) =>
      mod >= minModRevision &&
      mod <= (maxModRevision || 1e9) &&
      create >= minCreateRevision &&
      create <= (maxCreateRevision || 1e9),
  );
  if (limit > 0 && sortOrder === 'none' && !filters) items = items.slice(0, limit + 1);
  const by = ({ name, version, create, mod, value }: Item) =>
    ({ key: name, version, createRevision: create, modRevision: mod, value })[sortTarget];
  const sign = sortOrder === 'descend' ? -1 : 1;
  items.sort((a, b) => (by(a) === by(b) ? 0 : by(a) < by(b) ? -sign : sign));
  const shownItems = limit === 0 ? items : items.slice(0, limit);
  const lines = operation.countOnly
    ? []
    : shownItems.map((item) => line(operation.keysOnly ? { ...item, value: '' } : item));
  const count = operation.counted || operation.countOnly ? all.length : lines.length;
  return `range ${lines} ${!operation.countOnly && shownItems.length < items.length} of ${count}`;
}

function holds(operation: Exclude<Operation, TxnOp>, name: string): boolean {
  const end = operation.type === 'delete' || operation.type === 'range' ? operation.end : undefined;
  return within(operation.key, end, name);
}
function within(startKey: Uint8Array, endKey: Uint8Array | undefined, name: string): boolean {
  const start = keyName(startKey);
  return endKey === undefined ? name === start : start <= name && name < keyName(endKey);
}
/** Tries every name that there is, on every pair that can run together. */
function overlapping(operations: readonly Operation[]): boolean {
  if (operations.some((one) => one.type === 'txn' && (overlapping(one.success) || overlapping(one.failure))))
    return true;
  return NAMES.some((name) => {
    const writes = operations.map((operation) => kindsOfWrite(operation, name));
    return writes.some((a, at) =>
      writes.slice(at + 1).some((b) => a.size > 0 && b.size > 0 && (a.has('put') || b.has('put'))),
    );
  });
}
/** How an operation may write a key. */
function kindsOfWrite(operation: Operation, name: string): Set<'put' | 'delete'> {
  if (operation.type === 'txn') {
    const all = [...operation.success, ...operation.failure];
    return new Set(all.flatMap((one) => [...kindsOfWrite(one, name)]));
  }
  if (operation.type === 'range' || !holds(operation, name)) return new Set();
  return new Set([operation.type === 'delete' ? 'delete' : 'put']);
}
function line(item: Item): string {
  return `${item.name}=${item.value}@${item.create}/${item.mod}/${item.version}`;
}
function recordLine(record: Parameters<typeof shown>[0]): string {
  const r = record!;
  return `${keyName(r.key)}=${text(r.value)}@${r.createRevision}/${r.modRevision}/${r.version}`;
}
function answer(result: CommandResult, revision: number): string {
  switch (result.type) {
    case 'failed':
      return `failed ${result.code}`;
    case 'done':
      return `done ${result.revision}`;
    case 'txn':
      assert.is(result.revision, revision);
      return `${part(result)} now ${revision}`;
    default:
      return `${part(result)} now ${revision}`;
  }
}
function part(result: CommandResult): string {
  const at = `at ${result.revision}`;
  if (result.type === 'put') return `put ${result.previous ? [recordLine(result.previous)] : ''} ${at}`;
  if (result.type === 'touch') return `touch ${result.found ? 1 : 0} ${at}`;
  if (result.type === 'delete') return `delete ${result.deleted} ${result.previous.map(recordLine)} ${at}`;
  if (result.type === 'range')
    return `range ${result.records.map(recordLine)} ${result.more} of ${result.count} ${at}`;
  if (result.type !== 'txn') throw new Error(result.type);
  const parts = result.results.map((one) => (one.type === 'txn' ? `(${part(one)})` : part(one)));
  return `${result.succeeded} ${parts.join('; ')}`;
}

/** Single letters and their successors, so that a range's ends are names like any other; every interval overlap shows on one of them. */
const step = fc.record({ command: anyCommand, waitMs: fc.constantFrom(0, 0, 3, 30, -5) });

/** A store with leases 7 and 8. */
function withLeases(): Store {
  const store = new Store(ROOM);
  for (const lease of [7n, 8n]) store.run({ type: 'leaseGrant', id: NO_ID, lease, ttlMs: 1e9 });
  return store;
}
/** No limit in the way. */
const ROOM = { maxDeleteRangeKeys: 10_000, maxTxnOperations: 10_000, maxTxnDepth: 8, maxCommandBytes: 1e6 };

test('random histories agree with the model, in answers, content and index of expiries', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const store = withLeases();
      const model = new Model();
      model.timeMs = store.timeMs;
      for (const { command, waitMs } of steps) {
        store.timeMs += waitMs;
        const expected = model.apply(command, store.timeMs);
        assert.is(answer(store.run(command), store.machine.revision), expected);
        assert.is(store.machine.revision, model.revision);
      }
      assert.equal(store.all().map(recordLine), model.items.map(line));
      const rows = store.engine.range(allExpiryRows(), store.machine.revision, false, 1e9);
      const indexed = rows
        .map((row) => parseExpiryRow(row.key)!)
        .map((row) => `${row.expiresAtMs} ${keyName(row.key)}`);
      for (const lease of [7n, 8n]) {
        const attached = store.engine.range(leaseRows(lease), store.machine.revision, false, 1e9);
        const names = model.items.filter((item) => item.lease === lease).map((item) => item.name);
        assert.equal(
          attached.map((row) => keyName(keyOfLeaseRow(row.key)!)),
          names,
        );
        assert.is(store.machine.leases.get(lease)?.keys, names.length);
      }
      const expiring = model.items.filter((item) => item.expiresAtMs > 0);
      assert.equal(indexed.sort(), expiring.map((item) => `${item.expiresAtMs} ${item.name}`).sort());
    }),
    { numRuns: 400 },
  );
});

test('replicas agree: commands through their byte form, a restore on the way, listeners on one of them', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), fc.nat(40), (steps, restoreAt) => {
      const one = withLeases();
      const other = withLeases();
      other.machine.writer.onEvents = () => {};
      other.machine.writer.eventsWithPrevious = true;
      steps.forEach(({ command, waitMs }, at) => {
        one.timeMs += waitMs;
        other.timeMs += waitMs;
        if (at === restoreAt) other.machine.restore(decodeState(encodeState(other.machine.captureState())));
        assert.equal(other.run(decodeCommand(encodeCommand(command))), one.run(command));
      });
      assert.equal(other.engine.dump(), one.engine.dump());
      assert.equal(encodeState(other.machine.captureState()), encodeState(one.machine.captureState()));
    }),
    { numRuns: 150 },
  );
});

test.run();
