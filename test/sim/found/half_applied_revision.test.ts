/**
 * Found by seed 36 (disks that cannot be read): a command met damage in the middle of being applied, when the state machine already showed the command's revision. Watchers, of whom nobody
 * had been told of that revision, went on behind it once the store had been fetched from another node, and never heard of it.
 */

import * as assert from 'uvu/assert';
import { isDamage, KvError } from '../../../src/errors.ts';
import { StateMachine } from '../../../src/kv/state_machine.ts';
import { WatchHub } from '../../../src/kv/watch_hub.ts';
import type { StoredRecord } from '../../../src/storage/record.ts';
import { bytes, key, keyName, LIMITS, put, remove, txn, write } from '../../kv/commands.ts';
import { PlainEngine } from '../../kv/plain_engine.ts';
import { test } from '../../suite.ts';

/** Keys that begin with x cannot be read. */
class DamagedEngine extends PlainEngine {
  damaged = true;

  override latest(stored: Uint8Array): StoredRecord | undefined {
    if (this.damaged && keyName(stored).startsWith('x'))
      throw new KvError('CORRUPT', 'a table is damaged', { details: { file: 't-1', offset: 0 } });
    return super.latest(stored);
  }
}

for (const [name, command] of [
  ['put', write(put('x', 'new'))],
  ['transaction', txn([put('b', 'first'), put('x', 'second')])],
  ['delete', write(remove('x'))],
] as const) {
  test(`a ${name} that meets damage shows no revision whose events nobody was told of`, () => {
    const engine = new DamagedEngine();
    const machine = new StateMachine({ engine, limits: LIMITS });
    const hub = new WatchHub({ store: machine, maxTotalQueueBytes: 1_000_000 });
    machine.writer.onEvents = (revision, events) => hub.publish(revision, events);
    const told: (readonly [number, number])[] = [];
    const id = hub.register({
      start: bytes('\x01'),
      end: bytes('\x02'),
      fromRevision: 0,
      prevKv: false,
      maxQueueBytes: 1_000,
      sink: {
        deliver: (revision, events) => {
          told.push([revision, events.length]);
          return true;
        },
        end: (error) => {
          throw error;
        },
      },
    });
    machine.apply({ index: 1, term: 1, timeMs: 1 }, write(put('a', 'value')));
    const before = machine.revision;
    try {
      machine.apply({ index: 2, term: 1, timeMs: 2 }, command);
      assert.unreachable('the damage was not met');
    } catch (error) {
      if (!isDamage(error)) throw error;
    }
    assert.is(machine.revision, before);
    // Progress in the meantime tells of nothing that has not been given.
    hub.progress(id);
    assert.equal(told, [
      [before, 1],
      [before, 0],
    ]);
    // A snapshot of another node takes the place of all: what is missing is read from it, beginning with the revision that was being applied.
    hub.lagAll();
    machine.restore({ ...machine.captureState(), revision: before + 5 });
    assert.equal(
      hub.lagging().map(({ fromRevision }) => fromRevision),
      [before + 1],
    );
    // Nothing of the half-applied command is left to be told with the next one.
    engine.damaged = false;
    hub.catchUp(id, before + 5, []);
    told.length = 0;
    machine.apply({ index: 8, term: 1, timeMs: 3 }, write(put('c', 'value')));
    assert.equal(told, [[before + 6, 1]]);
    assert.ok(engine.latest(key('c')) !== undefined);
  });
}

test.run();
