/** Requests per second: token buckets for what requests name, on a clock of the test. */

import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { USER_SPACE_END, USER_SPACE_START } from '../../src/kv/keyspace.ts';
import type { QuotaState } from '../../src/kv/quotas.ts';
import { RequestRates } from '../../src/node/request_rates.ts';
import { encodeCommand } from '../../src/wire/command_codec.ts';
import { compare, key, nested, put, remove, txn, write } from '../kv/commands.ts';
import { test } from '../suite.ts';

function quota(prefix: string, maxRequestsPerSecond: number): QuotaState {
  const rest = { maxBytes: 0, maxKeys: 0, countingFrom: 0, bytes: 0, keys: 0 };
  return { prefix: key(prefix), maxRequestsPerSecond, ...rest };
}

class Lab {
  nowMs = 5_000;
  quotas: readonly QuotaState[];
  readonly rates: RequestRates;

  constructor(...quotas: QuotaState[]) {
    this.quotas = quotas;
    const clock = { monotonicMs: () => this.nowMs, wallMs: () => 0 };
    this.rates = new RequestRates(() => this.quotas, clock);
  }

  /** How many of `count` requests are let through. */
  passed(count: number, operation: string, request: unknown): number {
    let passed = 0;
    for (let i = 0; i < count; i++) {
      try {
        this.rates.begin({ operation, request });
        passed++;
      } catch (error) {
        if (!(error instanceof KvError) || error.code !== 'RATE_LIMITED') throw error;
        assert.ok(Number(error.details['retryAfterMs']) > 0 && error.retryable);
      }
    }
    return passed;
  }
  get(name: string, count = 100): number {
    return this.passed(count, 'get', { key: key(name) });
  }
}

test('a second allows so many, at once or spread; time gives them back', () => {
  const lab = new Lab(quota('a/', 10));
  assert.is(lab.get('a/1'), 10);
  lab.nowMs += 250;
  assert.is(lab.get('a/2'), 2);
  lab.nowMs += 50;
  assert.is(lab.get('a/2'), 1, 'halves are kept');
  lab.nowMs += 60_000;
  assert.is(lab.get('a/2'), 10, 'no more than a second allows');
  assert.is(lab.get('b'), 100);
});

test('a request counts once for each quota that it falls under; one that is refused takes from none', () => {
  const lab = new Lab(quota('a/', 10), quota('a/b/', 3), quota('c', 5));
  assert.is(lab.get('a/b/1'), 3);
  assert.is(lab.get('a/1'), 7);
  lab.nowMs += 60_000;
  const many = txn([
    put('a/1', ''),
    put('a/2', ''),
    nested([remove('c')], [compare('version', '=', 'a/3', 0)]),
  ]);
  assert.is(lab.passed(100, 'write', encodeCommand(many)), 5);
  assert.is(lab.get('a/1'), 5);
});

test('all kinds of requests: ranges meet what lies in them, and what they lie in', () => {
  const meets = (operation: string, request: unknown): boolean => {
    const lab = new Lab(quota('m', 1));
    lab.passed(1, operation, request);
    return lab.get('m1') === 0;
  };
  assert.ok(meets('write', encodeCommand(write(put('m', '')))));
  assert.ok(meets('write', encodeCommand(write(remove('a', 'z')))));
  assert.not(meets('write', encodeCommand(write(remove('a', 'm')))));
  assert.ok(meets('write', encodeCommand(txn([], [], [put('m1', '')]))));
  assert.ok(meets('range', { key: key('m5'), end: key('m6') }));
  assert.ok(meets('range', { key: key('m'), end: undefined }));
  assert.not(meets('range', { key: key('n'), end: key('z') }));
  assert.ok(meets('scan', { start: USER_SPACE_START, end: USER_SPACE_END }));
  assert.ok(meets('scan', { start: USER_SPACE_START, end: undefined }));
  assert.ok(meets('watch', { start: key('m'), end: undefined }));
  for (const [operation, request] of [
    ['write', Uint8Array.of(9, 9, 9)],
    ['write', 'what'],
    ['write', encodeCommand({ type: 'openSession' })],
    ['get', undefined],
    ['get', { key: 'text' }],
    ['leases.list', { key: key('m') }],
  ] as const)
    assert.not(meets(operation, request), `${operation} ${String(request)}`);
});

test('quotas that change: others keep what they have used', () => {
  const lab = new Lab(quota('a', 10), quota('b', 10));
  assert.is(lab.get('a'), 10);
  lab.quotas = [quota('a', 10), quota('b', 2), quota('c', 0)];
  assert.is(lab.get('a'), 0);
  assert.is(lab.get('b'), 2);
  assert.is(lab.get('c'), 100);
  lab.quotas = [];
  assert.is(lab.get('a'), 100);
});

test.run();
