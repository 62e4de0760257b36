/**
 * How an entry's reads come into memory decides nothing: commands have the same results and leave the same state whether reads are loaded ahead, in part or not at all. And what
 * the commands of an entry write beyond what they carry is bounded. (Memory: loads.slow.test.ts.)
 */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import type { Command, CommandResult } from '../../src/kv/command.ts';
import { StateMachine } from '../../src/kv/state_machine.ts';
import { encodeState } from '../../src/wire/state_codec.ts';
import { ColdTree, LateTree } from '../storage/late_tree.ts';
import { test } from '../suite.ts';
import { code, key, LIMITS, NO_ID, put, remove, touch, txn, write } from './commands.ts';
import { PlainEngine } from './plain_engine.ts';
import { anyCommand, NAMES } from './random_commands.ts';
import { BIG, engineOn, MIB, name, Replica, tablesTree } from './replicas.ts';

/** Limits that random commands meet. */
const TIGHT = {
  ...LIMITS,
  maxDeleteRangeKeys: 1,
  maxCommandBytes: 200,
  maxTxnOperations: 1_000,
  maxTxnDepth: 8,
};

const entry = fc.record({
  commands: fc.array(anyCommand, { minLength: 1, maxLength: 4 }),
  waitMs: fc.constantFrom(0, 0, 3, 30),
  flush: fc.constantFrom(false, false, true),
});

test('results and state are the same, whatever the memory holds and whatever the tree can do', async () => {
  let refused = 0;
  const propertyOf = (roomy: boolean) =>
    fc.asyncProperty(fc.array(entry, { minLength: 12, maxLength: 30 }), async (entries) => {
      const limits = roomy ? { ...TIGHT, maxDeleteRangeKeys: 1_000, maxCommandBytes: 100_000 } : TIGHT;
      const replicas = [
        new Replica(new PlainEngine(), limits),
        new Replica(engineOn(await tablesTree()), limits),
        new Replica(engineOn(new LateTree(await tablesTree())), limits),
        new Replica(engineOn(new ColdTree(await tablesTree()), 1), limits),
        new Replica(engineOn(new ColdTree(await tablesTree()), 2_000), limits),
        new Replica(engineOn(new ColdTree(await tablesTree())), limits),
      ];
      // One of them has somebody who wants the values that are replaced.
      replicas[4]!.machine.writer.onEvents = () => undefined;
      replicas[4]!.machine.writer.eventsWithPrevious = true;
      const leases = [7n, 8n].map((lease): Command => ({ type: 'leaseGrant', id: NO_ID, lease, ttlMs: 1e9 }));
      let timeMs = 1_000;
      const first = [...leases, ...NAMES.map((one) => write(put(one, 'x')))];
      for (const replica of replicas) await replica.entry(first, timeMs);
      for (const { commands, waitMs, flush } of entries) {
        timeMs += waitMs;
        const [expected, ...others] = await Promise.all(
          replicas.map(async (replica) => {
            const results = await replica.entry(commands, timeMs);
            if (flush) await replica.checkpoint();
            return results;
          }),
        );
        refused += expected!.filter((result) => code(result) === 'REQUEST_TOO_LARGE').length;
        for (const results of others) assert.equal(results, expected);
      }
      const [state, ...states] = replicas.map(({ machine }) => encodeState(machine.captureState()));
      for (const other of states) assert.equal(other, state);
      for (const replica of replicas) await replica.close();
    });
  // Half of the runs each: how much is refused must not hang on how often the tight limits are drawn.
  for (const roomy of [false, true]) await fc.assert(propertyOf(roomy), { numRuns: 15 });
  assert.ok(refused > 10, `${refused} commands were refused for their size`);
});

test('what the commands of an entry may write beyond what they carry is bounded, the same for all that come in it', () => {
  const machine = new StateMachine({ engine: new PlainEngine(), limits: { ...BIG, maxKeyBytes: 1_000 } });
  const at = (index: number, command: Command): CommandResult =>
    machine.apply({ index, term: 1, timeMs: 1_000 }, command);
  for (let n = 0; n < 300; n++) at(1, write(put(name(n), '', { value: new Uint8Array(MIB) })));
  const touches = (from: number, to: number): Command =>
    txn(Array.from({ length: to - from }, (_, n) => touch(name(from + n), 0)));
  const refused = at(2, touches(0, 300));
  assert.is(code(refused), 'REQUEST_TOO_LARGE');
  assert.is(machine.revision, 301, 'nothing of it took effect');
  const kept = txn(Array.from({ length: 300 }, (_, n) => put(name(n), '', { ignoreValue: true })));
  assert.equal(at(3, kept), refused, 'a value that stays is written again as well');
  assert.is(code(at(4, touches(0, 200))), 'fine');
  assert.equal(at(4, touches(200, 300)), { ...refused, revision: 302 }, 'an entry lies in one memtable');
  assert.is(code(at(5, touches(200, 300))), 'fine');
  assert.is(code(at(5, write(remove('a', 'z')))), 'fine', 'tombstones of short keys weigh little');
  assert.equal(machine.reads(write(touch('a', 0))).keys, [key('a')]);
});

test('the keys of a lease go in one entry, if need be in a later one than asked for', () => {
  const maxKeyBytes = 64 * 1024;
  const limits = {
    ...BIG,
    maxKeyBytes,
    maxTxnOperations: 4_000,
    maxLeaseKeys: 2_500,
    maxCommandBytes: 64 * MIB,
  };
  const machine = new StateMachine({ engine: new PlainEngine(), limits });
  const at = (index: number, command: Command, timeMs = 1_000): CommandResult =>
    machine.apply({ index, term: 1, timeMs }, command);
  const long = (n: number): string => name(n) + 'x'.repeat(34_000);
  for (const lease of [1n, 2n, 3n]) at(1, { type: 'leaseGrant', id: NO_ID, lease, ttlMs: 5_000 });
  assert.is(code(at(1, write(put('y'.repeat(36_000), '', { lease: 1n })))), 'KEY_TOO_LARGE');
  for (const lease of [1n, 2n, 3n]) {
    const from = Number(lease) * 10_000;
    const puts = Array.from({ length: 2_500 }, (_, n) => put(long(from + n), '', { lease }));
    assert.is(code(at(2, txn(puts))), 'fine');
  }
  const revoke = (lease: bigint): Command => ({ type: 'leaseRevoke', id: NO_ID, lease });
  assert.is(code(at(3, revoke(1n))), 'fine');
  assert.is(code(at(3, revoke(2n))), 'OVERLOADED', 'the entry is full');
  const { revision } = machine;
  const expire: Command = { type: 'leaseExpire', leases: [2n, 3n] };
  at(4, expire, 9_000);
  assert.equal([machine.leases.get(2n), machine.leases.get(3n)?.keys], [undefined, 2_500]);
  at(5, expire, 9_000);
  assert.is(machine.leases.size, 0);
  assert.is(machine.revision, revision + 2);
});

test.run();
