/**
 * The same random requests to a node of Kvorum and to a real etcd 3.4, both over gRPC: every field of every answer must agree, errors and their texts too. What differs on purpose stands
 * in intended.ts.
 *
 * `KVORUM_DIFFERENTIAL_REQUESTS` says how many requests; `KVORUM_DIFFERENTIAL_SEED` and `KVORUM_DIFFERENTIAL_KIND` (keys, rights) repeat one run.
 */
// needs: etcd

import * as assert from 'uvu/assert';
import { etcdMethods } from '../../src/api/grpc/services/methods.ts';
import { parseConfig } from '../../src/config.ts';
import { realPorts } from '../../src/real_ports.ts';
import { FakeService } from '../api/fake_service.ts';
import { requireBinaries } from '../binaries.ts';
import { endAll } from '../end_to_end/processes.ts';
import { test } from '../suite.ts';
import { type Kind, runOf } from './generate.ts';
import { Pair } from './pair.ts';
import { startEtcd, startKvorum } from './servers.ts';

const {
  KVORUM_DIFFERENTIAL_REQUESTS: REQUESTS = '20400',
  KVORUM_DIFFERENTIAL_SEED: SEED,
  KVORUM_DIFFERENTIAL_KIND: KIND,
} = process.env;
const RUN_LENGTH = 150;
/** One run in so many has users: passwords take time. */
const RIGHTS_EVERY = 4;
const MAX_OPERATIONS = 40;
const EXPIRIES = 2;
const binaries = requireBinaries(['etcd']);

if (binaries !== undefined) {
  test('random requests are answered as etcd answers them', async () => {
    const [kvorum, etcd] = await Promise.all([
      startKvorum(MAX_OPERATIONS),
      startEtcd(binaries.etcd, MAX_OPERATIONS),
    ]);
    const methods = etcdMethods({ service: new FakeService(), limits: parseConfig({}).limits }, realPorts());
    const pair = new Pair(kvorum.url, etcd.url, methods);
    const intended = new Map<string, number>();
    let asked = 0;
    const wanted = SEED === undefined ? Number(REQUESTS) : 1;
    for (let seed = Number(SEED ?? 1); asked < wanted; seed++) {
      const kind: Kind =
        KIND === 'keys' || KIND === 'rights' ? KIND : seed % RIGHTS_EVERY === 0 ? 'rights' : 'keys';
      const asks = runOf(seed, kind, RUN_LENGTH);
      const outcome = await pair.run(asks, kind);
      asked += outcome.asked;
      for (const { what } of outcome.intended) intended.set(what, (intended.get(what) ?? 0) + 1);
      if (outcome.difference === '') continue;
      console.log(`seed ${seed}, ${kind}: ${outcome.difference}`);
      const shortest = await pair.shrink(asks, kind);
      const { difference } = await pair.run(shortest, kind);
      const lines = shortest.map((ask) => `    ${JSON.stringify(ask)}`).join('\n');
      assert.unreachable(`seed ${seed}, ${kind}: ${difference || outcome.difference}\n  after\n${lines}`);
    }
    for (let round = 0; round < EXPIRIES; round++) assert.is(await pair.expire(), '');
    console.log(`${asked} requests; different on purpose: ${JSON.stringify([...intended])}`);
    assert.ok(asked >= wanted);
    pair.close();
    await kvorum.stop();
    await etcd.stop();
  });

  test.after(endAll);
}

test.run();
