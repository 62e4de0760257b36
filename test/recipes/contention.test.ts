/** What an attempt to come to the front of a line leaves behind when it fails: nothing that it put, and nothing gone that was there before. */
import * as assert from 'uvu/assert';
import { recipeStoreOf } from '../../src/api/grpc/services/contender.ts';
import { type ErrorCode, KvError } from '../../src/errors.ts';
import type { TxnBody, TxnResult } from '../../src/kv/command.ts';
import { realPorts } from '../../src/real_ports.ts';
import { Contention } from '../../src/recipes/contention.ts';
import { lineOf } from '../../src/recipes/line.ts';
import type { RecipeStore } from '../../src/recipes/recipe_store.ts';
import { encodeCommand } from '../../src/wire/command_codec.ts';
import { NO_WRITE_ID } from '../../src/wire/write_id.ts';
import { type OneServer, startOneServer } from '../api/conformance/one_server.ts';
import { test } from '../suite.ts';

const VALUE = new Uint8Array(0);
let one: OneServer;
let real: RecipeStore;

test.before(async () => {
  one = await startOneServer();
  real = recipeStoreOf(one.server.service, realPorts(), {});
  for (const lease of [1n, 2n]) {
    const grant = encodeCommand({ type: 'leaseGrant', id: NO_WRITE_ID, lease, ttlMs: 60_000 });
    await one.server.service.write(grant);
  }
});
test.after(() => one.stop());

const keys = (name: string): Promise<number> => one.embedded().count({ prefix: `${name}/` });

async function fails(attempt: Promise<unknown>, code: ErrorCode): Promise<void> {
  const error = await attempt.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof KvError && error.code === code, String(error));
}

/** A store whose first transaction ends so. */
function once(txn: (body: TxnBody) => Promise<TxnResult>): RecipeStore {
  let first = true;
  const begun = (body: TxnBody): Promise<TxnResult> => {
    if (!first) return real.txn(body);
    first = false;
    return txn(body);
  };
  return { ...real, txn: begun };
}

const never = new AbortController().signal;

test('a place whose putting had no answer is given up', async () => {
  const contention = new Contention(lineOf(Buffer.from('unanswered')), 1n);
  const store = once(async (body) => {
    await real.txn(body);
    throw new KvError('TIMEOUT', 'no answer', { maybeApplied: true });
  });
  await fails(contention.reachFront(store, VALUE, never), 'TIMEOUT');
  assert.is(await keys('unanswered'), 1);
  await contention.leave(real);
  assert.is(await keys('unanswered'), 0);
});

test('a lease that has its place keeps it when another attempt was certainly refused, or was not made', async () => {
  const line = lineOf(Buffer.from('kept'));
  const { place } = await new Contention(line, 1n).reachFront(real, VALUE, never);
  const refused = new Contention(line, 1n);
  const store = once(() => Promise.reject(new KvError('OVERLOADED', 'not now')));
  await fails(refused.reachFront(store, VALUE, never), 'OVERLOADED');
  await refused.leave(real);
  const unmade = new Contention(line, 1n);
  await fails(unmade.reachFront(real, VALUE, AbortSignal.abort()), 'CANCELLED');
  await unmade.leave(real);
  assert.is(await keys('kept'), 1);
  const again = await new Contention(line, 1n).reachFront(real, VALUE, never);
  assert.is(again.place.createRevision, place.createRevision);
});

test('who waits and gives up leaves the line, the one in front of it stays', async () => {
  const line = lineOf(Buffer.from('waited'));
  await new Contention(line, 1n).reachFront(real, VALUE, never);
  const stop = new AbortController();
  const contention = new Contention(line, 2n);
  const waiting = contention.reachFront(real, VALUE, stop.signal);
  while ((await keys('waited')) < 2) await new Promise((resolve) => setTimeout(resolve, 1));
  stop.abort();
  await fails(waiting, 'CANCELLED');
  await contention.leave(real);
  assert.is(await keys('waited'), 1);
});

test.run();
