/** Random correct runs are accepted by every checker, and the same runs spoilt in one place are refused by the checker whose matter it is. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import type { OperationRecord } from '../../../src/sim/check/observations.ts';
import { test } from '../../suite.ts';
import { allViolations } from './all_checks.ts';
import { numbers, type PerfectRun, perfectRun } from './perfect_store.ts';

const RUNS = Number(process.env['CHECK_RUNS'] ?? 80);

test('correct runs are accepted', () => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      assert.equal(allViolations(perfectRun(seed)), []);
    }),
    { numRuns: RUNS },
  );
});

test('correct runs are accepted without a watcher of everything', () => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const run = perfectRun(seed);
      run.watchers.shift();
      assert.equal(allViolations(run), []);
    }),
    { numRuns: RUNS },
  );
});

/** A mistake: spoils a run, or gives false when the run has no place for it. */
type Mistake = (run: PerfectRun, draw: () => number) => boolean;

function anyOf<T>(list: readonly T[], draw: () => number): T | undefined {
  return list[Math.floor(draw() * list.length)];
}

function answered(run: PerfectRun, kinds: readonly OperationRecord['kind'][]): OperationRecord[] {
  return run.operations.filter(({ outcome, kind }) => outcome === 'ok' && kinds.includes(kind));
}

/** Replaces an operation by a changed copy. */
function change(run: PerfectRun, operation: OperationRecord, changes: Partial<OperationRecord>): true {
  run.operations[run.operations.indexOf(operation)] = { ...operation, ...changes };
  return true;
}

const MISTAKES: Record<string, { readonly checks: readonly string[]; readonly make: Mistake }> = {
  'an event is lost': {
    checks: ['watch'],
    make: (run, draw) => {
      const batch = anyOf(
        run.watchers[0]!.batches.filter(({ events }) => events.length > 0),
        draw,
      )!;
      const event = batch.events.splice(Math.floor(draw() * batch.events.length), 1)[0]!;
      // Known from elsewhere only if somebody was told of it.
      return run.operations.some(
        ({ outcome, revision, results }) =>
          (outcome === 'ok' && revision === event.revision && results.some(({ type }) => type === 'put')) ||
          results.some(
            (result) =>
              result.type === 'get' &&
              result.entry?.modRevision === event.revision &&
              result.entry.key === event.key,
          ),
      );
    },
  },
  'an event comes twice': {
    checks: ['watch'],
    make: (run, draw) => {
      const batch = anyOf(
        run.watchers[0]!.batches.filter(({ events }) => events.length > 0),
        draw,
      )!;
      batch.events.push(batch.events[0]!);
      return true;
    },
  },
  'a batch comes again': {
    checks: ['watch'],
    make: (run, draw) => {
      const { batches } = run.watchers[0]!;
      batches.push(anyOf(batches, draw)!);
      return true;
    },
  },
  'a revision is torn apart': {
    checks: ['watch'],
    make: (run) => {
      for (const { batches } of run.watchers) {
        for (let at = 0; at < batches.length; at++) {
          const { revision, events, atMs } = batches[at]!;
          if (events.length < 2 || events.at(-1)!.revision !== events.at(-2)!.revision) continue;
          batches.splice(
            at,
            1,
            { revision, events: events.slice(0, -1), atMs },
            { revision, events: events.slice(-1), atMs },
          );
          return true;
        }
      }
      return false;
    },
  },
  'progress runs ahead of events': {
    checks: ['watch'],
    make: (run) => {
      const { batches } = run.watchers[0]!;
      const next = batches.findIndex(({ events }, at) => at > 0 && events.length > 0);
      if (next < 0) return false;
      const { revision, atMs } = batches[next]!;
      batches.splice(next, 0, { revision, events: [], atMs });
      return true;
    },
  },
  'an event comes before its write': {
    checks: ['watch', 'revision', 'lease'],
    make: (run) => {
      const { batches } = run.watchers[0]!;
      const late = batches.findIndex(({ events }) => events.some(({ type }) => type === 'put'));
      if (late < 0) return false;
      batches[late] = { ...batches[late]!, atMs: -1 };
      return true;
    },
  },
  'a watch ends silently': {
    checks: ['watch'],
    make: (run) => {
      const ended = { atMs: 1, how: 'silent', code: '', compactRevision: 0 } as const;
      run.watchers[1] = { ...run.watchers[1]!, ended };
      return true;
    },
  },
  'a watch is refused what is still there': {
    checks: ['watch'],
    make: (run) => {
      const ended = { atMs: 1, how: 'error', code: 'COMPACTED', compactRevision: 1 } as const;
      run.watchers[0] = { ...run.watchers[0]!, ended };
      return true;
    },
  },
  'a write is applied twice': {
    checks: ['session'],
    make: (run, draw) => {
      const puts = answered(run, ['put']);
      const victim = anyOf(puts, draw);
      const other = puts.find(({ id }) => victim !== undefined && id > victim.id + 3);
      if (victim === undefined || other === undefined) return false;
      // The other's revision shows the first one's value again, as all watchers tell.
      run.operations.splice(run.operations.indexOf(other), 1);
      return respell(run, other, victim);
    },
  },
  'a write that failed takes effect': {
    checks: ['session', 'read level'],
    make: (run, draw) => {
      const put = anyOf(answered(run, ['put']), draw);
      return (
        put !== undefined &&
        change(run, put, { outcome: 'fail', errorCode: 'INVALID_ARGUMENT', revision: 0, results: [] })
      );
    },
  },
  'a write is acknowledged with a wrong revision': {
    checks: ['session', 'revision', 'history', 'watch'],
    make: (run, draw) => {
      const put = anyOf(answered(run, ['put']), draw);
      return put !== undefined && change(run, put, { revision: put.revision + 1 });
    },
  },
  'an acknowledged write is lost': {
    checks: ['watch', 'history', 'revision'],
    make: (run, draw) => {
      const put = anyOf(answered(run, ['put']), draw);
      if (put === undefined) return false;
      for (const { batches } of run.watchers) {
        for (const { events } of batches) {
          const at = events.findIndex(({ revision }) => revision === put.revision);
          if (at >= 0) events.splice(at, 1);
        }
      }
      return true;
    },
  },
  'one write id names two operations': {
    checks: ['session'],
    make: (run) => {
      const [first, second] = run.operations.filter(({ writeIds }) => writeIds.length > 0);
      if (first === undefined || second === undefined) return false;
      second.writeIds.push(first.writeIds[0]!);
      return true;
    },
  },
  'a linearizable read is stale': {
    checks: ['revision'],
    make: (run, draw) => {
      const reads = answered(run, ['get']).filter(
        ({ level, atRevision, invokedMs, revision }) =>
          level === 'linearizable' &&
          atRevision === 0 &&
          run.operations.some(
            (w) => w.outcome === 'ok' && w.settledMs < invokedMs && w.revision === revision,
          ),
      );
      const read = anyOf(reads, draw);
      return read !== undefined && change(run, read, { revision: read.revision - 1 });
    },
  },
  'a sequential read goes back': {
    checks: ['read level'],
    make: (run, draw) => {
      const reads = answered(run, ['get']).filter(
        ({ level, atRevision }) => level === 'sequential' && atRevision === 0,
      );
      const read = anyOf(reads, draw);
      if (read === undefined || read.seenRevision < 2) return false;
      return change(run, read, {
        revision: read.seenRevision - 1,
        results: [{ type: 'get', entry: undefined }],
      });
    },
  },
  'a read gives another value': {
    checks: ['read level', 'history', 'session', 'revision'],
    make: (run) => {
      for (const read of answered(run, ['get'])) {
        const [result] = read.results;
        if (result?.type !== 'get' || result.entry === undefined) continue;
        return change(run, read, { results: [{ type: 'get', entry: { ...result.entry, value: 'other' } }] });
      }
      return false;
    },
  },
  'a scan leaves a key out': {
    checks: ['revision'],
    make: (run) => {
      for (const scan of answered(run, ['scan'])) {
        const [result] = scan.results;
        if (result?.type !== 'scan' || result.entries.length < 2) continue;
        return change(run, scan, { results: [{ type: 'scan', entries: result.entries.slice(1) }] });
      }
      return false;
    },
  },
  'a scan is out of order': {
    checks: ['revision'],
    make: (run) => {
      for (const scan of answered(run, ['scan'])) {
        const [result] = scan.results;
        if (result?.type !== 'scan' || result.entries.length < 2) continue;
        return change(run, scan, { results: [{ type: 'scan', entries: [...result.entries].reverse() }] });
      }
      return false;
    },
  },
  'a transaction takes the wrong branch': {
    checks: ['revision'],
    make: (run) => {
      const txn = answered(run, ['txn']).find(({ compares, succeeded }) => compares.length > 0 && !succeeded);
      if (txn === undefined) return false;
      return (
        change(run, txn, {
          compares: txn.compares.map(({ key }) => ({ key, modRevision: 999_999 })),
          succeeded: false,
        }) &&
        change(
          run,
          run.operations[run.operations.indexOf(run.operations.find(({ id }) => id === txn.id)!)]!,
          { compares: [] },
        )
      );
    },
  },
  'a delete counts wrongly': {
    checks: ['revision', 'history', 'session', 'watch'],
    make: (run, draw) => {
      const remove = anyOf(answered(run, ['delete']), draw);
      const [result] = remove?.results ?? [];
      if (remove === undefined || result?.type !== 'delete') return false;
      // The other way round it could be true: the key might have expired right before.
      return result.deleted === 0 && change(run, remove, { results: [{ type: 'delete', deleted: 1 }] });
    },
  },
  'a key expires early': {
    checks: ['lease', 'revision', 'watch'],
    make: (run) => {
      // As if the time to live had been longer.
      const put = answered(run, ['put']).find((operation) => {
        const step = operation.steps[0]!;
        if (step.type !== 'put' || step.ttlMs === 0) return false;
        const end = run.events.find(({ key, revision }) => key === step.key && revision > operation.revision);
        return (
          end?.type === 'delete' &&
          !run.operations.some(
            (o) =>
              (o.outcome === 'ok' && o.revision === end.revision) ||
              (o.outcome === 'info' &&
                o.steps.some(({ type }) => type === 'delete' || type === 'deleteRange')),
          )
        );
      });
      const step = put?.steps[0];
      if (put === undefined || step?.type !== 'put') return false;
      for (const operation of run.operations) {
        // Nobody was shown when it would end.
        operation.results = operation.results.map((result) => {
          if (result.type !== 'get' && result.type !== 'scan') return result;
          return result.type === 'get' ? { type: 'get', entry: undefined } : { type: 'scan', entries: [] };
        });
      }
      return change(run, put, { steps: [{ ...step, ttlMs: step.ttlMs + 500_000 }] });
    },
  },
  'version numbers skip one': {
    checks: ['revision', 'history'],
    make: (run) => {
      const { batches } = run.watchers[0]!;
      for (const batch of batches) {
        const at = batch.events.findIndex(({ type }) => type === 'put');
        if (at < 0) continue;
        const event = batch.events[at]!;
        batch.events[at] = { ...event, version: event.version + 1 };
        return true;
      }
      return false;
    },
  },
};

/** Makes every watcher tell that `other`'s revision wrote `victim`'s key and value. */
function respell(run: PerfectRun, other: OperationRecord, victim: OperationRecord): boolean {
  const step = victim.steps[0]!;
  if (step.type !== 'put') return false;
  let told = false;
  for (const { batches, start, end } of run.watchers) {
    for (const { events } of batches) {
      for (let at = 0; at < events.length; at++) {
        const event = events[at]!;
        if (event.revision !== other.revision) continue;
        if (start === '' && end === undefined) {
          events[at] = { ...event, key: step.key, value: step.value, version: 0, createRevision: 0 };
          told = true;
        } else events.splice(at--, 1);
      }
    }
  }
  return told;
}

for (const [name, { checks, make }] of Object.entries(MISTAKES)) {
  test(`refused: ${name}`, () => {
    let made = 0;
    for (let seed = 1; seed <= 600 && made < 12; seed++) {
      const run = perfectRun(seed);
      if (!make(run, numbers(seed))) continue;
      made++;
      const violations = allViolations(run);
      assert.ok(
        violations.some(({ check }) => checks.includes(check)),
        `seed ${seed}: not refused; found ${JSON.stringify(violations)}`,
      );
    }
    assert.ok(made >= 3, `only ${made} runs had a place for it`);
  });
}

test.run();
