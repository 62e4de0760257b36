/**
 * The state machine against a plain model that keeps the whole store of every revision as a list: random histories must give the same answers, the same
 * store, and an index of expiries that names exactly the keys that expire.
 */
import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Command, CommandResult, Compare, Operation } from '../../src/kv/command.ts';
import { allExpiryRows, parseExpiryRow } from '../../src/kv/expiry.ts';
import { decodeCommand, encodeCommand } from '../../src/wire/command_codec.ts';
import { decodeState, encodeState } from '../../src/wire/state_codec.ts';
import {
  compare,
  key,
  keyName,
  put,
  range,
  remove,
  Store,
  type shown,
  text,
  touch,
  txn,
  write,
} from './commands.ts';

interface Item {
  readonly name: string;
  readonly value: string;
  readonly create: number;
  readonly mod: number;
  readonly version: number;
  readonly expiresAtMs: number;
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
    if (command.type === 'write') return this.operations([command.operation], '');
    if (command.type !== 'txn') throw new Error(command.type);
    if (overlapping(command.success) || overlapping(command.failure)) return 'failed DUPLICATE_KEY';
    const succeeded = command.compares.every((one) => this.holds(one));
    return this.operations(succeeded ? command.success : command.failure, `${succeeded} `);
  }

  private operations(operations: readonly Operation[], head: string): string {
    const answers: string[] = [];
    const next = this.revision + 1;
    let items = [...this.items];
    let wrote = false;
    for (const operation of operations) {
      const inRange = (item: Item) => holds(operation, item.name);
      const found = items.filter(inRange);
      switch (operation.type) {
        case 'put':
        case 'touch': {
          if (operation.type === 'touch') answers.push(`touch ${found.length}`);
          else answers.push(`put ${operation.prevKv ? found.map(line) : ''}`);
          if (operation.type === 'touch' && found.length === 0) break;
          wrote = true;
          const old = found[0];
          const item: Item = {
            name: keyName(operation.key),
            value: operation.type === 'put' ? text(operation.value) : old!.value,
            create: old?.create ?? next,
            mod: next,
            version: (old?.version ?? 0) + 1,
            expiresAtMs: operation.ttlMs === 0 ? 0 : this.timeMs + operation.ttlMs,
          };
          items = items.filter((other) => !inRange(other)).concat(item);
          items.sort((a, b) => (a.name < b.name ? -1 : 1));
          break;
        }
        case 'delete':
          answers.push(`delete ${found.length} ${operation.prevKv ? found.map(line) : ''}`);
          if (found.length > 0) wrote = true;
          items = items.filter((item) => !inRange(item));
          break;
        case 'range': {
          if (operation.revision !== 0 && operation.revision < this.compacted) return 'failed COMPACTED';
          if (operation.revision > this.revision) return 'failed FUTURE_REVISION';
          const source = operation.revision === 0 ? items : this.history.get(operation.revision)!;
          const shownItems = source.filter(inRange);
          if (operation.reverse) shownItems.reverse();
          const cut = operation.limit === 0 ? shownItems : shownItems.slice(0, operation.limit);
          answers.push(`range ${cut.map(line)} ${cut.length < shownItems.length}`);
        }
      }
    }
    if (wrote) this.history.set(++this.revision, items);
    return `${head}${this.revision} ${answers.join('; ')}`;
  }

  private holds(one: Compare): boolean {
    const item = this.items.find(({ name }) => name === keyName(one.key));
    if (one.target === 'value' && item === undefined) return false;
    const numbers = {
      version: item?.version,
      createRevision: item?.create,
      modRevision: item?.mod,
      lease: 0,
    };
    const left = one.target === 'value' ? item!.value : (numbers[one.target] ?? 0);
    const right = one.target === 'value' ? text(one.value) : one.number;
    if (one.result === '=') return left === right;
    if (one.result === '!=') return left !== right;
    return one.result === '<' ? left < right : left > right;
  }
}

function holds(operation: Operation, name: string): boolean {
  const start = keyName(operation.key);
  const end = operation.type === 'delete' || operation.type === 'range' ? operation.end : undefined;
  return end === undefined ? name === start : start <= name && name < keyName(end);
}
/** Tries every name that there is. */
function overlapping(operations: readonly Operation[]): boolean {
  const writes = operations.filter((operation) => operation.type !== 'range');
  return NAMES.some((name) => writes.filter((operation) => holds(operation, name)).length > 1);
}
function line(item: Item): string {
  return `${item.name}=${item.value}@${item.create}/${item.mod}/${item.version}`;
}
function recordLine(record: Parameters<typeof shown>[0]): string {
  const r = record!;
  return `${keyName(r.key)}=${text(r.value)}@${r.createRevision}/${r.modRevision}/${r.version}`;
}
function answer(result: CommandResult): string {
  switch (result.type) {
    case 'failed':
      return `failed ${result.code}`;
    case 'done':
      return `done ${result.revision}`;
    case 'txn':
      return `${result.succeeded} ${result.revision} ${result.results.map(part).join('; ')}`;
    default:
      return `${result.revision} ${part(result)}`;
  }
}
function part(result: CommandResult): string {
  if (result.type === 'put') return `put ${result.previous ? [recordLine(result.previous)] : ''}`;
  if (result.type === 'touch') return `touch ${result.found ? 1 : 0}`;
  if (result.type === 'delete') return `delete ${result.deleted} ${result.previous.map(recordLine)}`;
  if (result.type === 'range') return `range ${result.records.map(recordLine)} ${result.more}`;
  throw new Error(result.type);
}

/** Single letters and their successors, so that a range's ends are names like any other; every interval overlap shows on one of them. */
const NAMES = ['a', 'b', 'c', 'd', 'e', 'f'];
const name = fc.constantFrom(...NAMES);
const end = fc.option(fc.constantFrom(...NAMES, 'z'), { nil: undefined });
const ttlMs = fc.constantFrom(0, 0, 5, 20);
const putOp = fc
  .tuple(name, fc.constantFrom('', 'x', 'y'), ttlMs, fc.boolean())
  .map(([n, value, ttl, prevKv]) => put(n, value, { ttlMs: ttl, prevKv }));
const deleteOp = fc.tuple(name, end, fc.boolean()).map(([n, e, prevKv]) => remove(n, e, prevKv));
const touchOp = fc.tuple(name, ttlMs).map(([n, ttl]) => touch(n, ttl));
const rangeOp = fc
  .tuple(name, end, fc.nat(12), fc.nat(3), fc.boolean())
  .map(([n, e, revision, limit, reverse]) => range(n, e, { revision, limit, reverse }));
const compareOp = fc
  .tuple(
    fc.constantFrom('version', 'createRevision', 'modRevision', 'lease'),
    fc.constantFrom('=', '!=', '<', '>'),
    name,
    fc.nat(4),
  )
  .map(([target, result, n, number]) => compare(target, result, n, number));
const valueCompare = fc
  .tuple(fc.constantFrom('=', '!=', '<', '>'), name, fc.constantFrom('', 'x'))
  .map(([result, n, value]) => compare('value', result, n, value));
const operations = fc.array(fc.oneof(putOp, deleteOp, touchOp, rangeOp), { maxLength: 4 });
const anyCommand: fc.Arbitrary<Command> = fc.oneof(
  { weight: 3, arbitrary: fc.oneof(putOp, deleteOp, touchOp).map((operation) => write(operation)) },
  {
    weight: 3,
    arbitrary: fc
      .tuple(operations, fc.array(fc.oneof(compareOp, valueCompare), { maxLength: 2 }), operations)
      .map(([success, compares, failure]) => txn(success, compares, failure)),
  },
  {
    weight: 1,
    arbitrary: fc
      .array(name, { maxLength: 5 })
      .map((names): Command => ({ type: 'expire', keys: names.map(key) })),
  },
  { weight: 1, arbitrary: fc.nat(20).map((revision): Command => ({ type: 'compact', revision })) },
);
const step = fc.record({ command: anyCommand, waitMs: fc.constantFrom(0, 0, 3, 30, -5) });

test('random histories agree with the model, in answers, content and index of expiries', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const store = new Store();
      const model = new Model();
      for (const { command, waitMs } of steps) {
        store.timeMs += waitMs;
        assert.is(answer(store.run(command)), model.apply(command, store.timeMs));
        assert.is(store.machine.revision, model.revision);
      }
      assert.equal(store.all().map(recordLine), model.items.map(line));
      const rows = store.engine.range(allExpiryRows(), store.machine.revision, false, 1e9);
      const indexed = rows
        .map((row) => parseExpiryRow(row.key)!)
        .map((row) => `${row.expiresAtMs} ${keyName(row.key)}`);
      const expiring = model.items.filter((item) => item.expiresAtMs > 0);
      assert.equal(indexed.sort(), expiring.map((item) => `${item.expiresAtMs} ${item.name}`).sort());
    }),
    { numRuns: 400 },
  );
});

test('replicas agree: commands through their byte form, a restore on the way, listeners on one of them', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), fc.nat(40), (steps, restoreAt) => {
      const one = new Store();
      const other = new Store();
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
