/**
 * One table of cases through every door of one store: the embedded API, the client protocol, gRPC, and the JSON gateway. What is asked and what must be answered stands in
 * cases.ts; a new door is one implementation of `Door` more in the list below.
 */

import * as assert from 'uvu/assert';
import { connect } from '../../../src/connect.ts';
import { test } from '../../suite.ts';
import { CaseRunner } from './case_runner.ts';
import { CASES } from './cases.ts';
import type { Door } from './door.ts';
import { EtcdDoorClient } from './etcd_door.ts';
import { grpcTransport, jsonTransport } from './etcd_transport.ts';
import { type OneServer, startOneServer } from './one_server.ts';
import { StoreDoor } from './store_door.ts';

/** Small, so that what is too large is quickly made. */
const LIMITS = {
  maxKeyBytes: 1_024,
  maxValueBytes: 65_536,
  maxCommandBytes: 131_072,
  maxTxnOperations: 200,
};
let one: OneServer;
let runner: CaseRunner;
const doors: Door[] = [];

test.before(async () => {
  one = await startOneServer({ limits: LIMITS });
  const { tcp, etcd, server } = one;
  runner = new CaseRunner(() => server.service.status().revision);
  doors.push(
    new StoreDoor('embedded', one.embedded()),
    new StoreDoor('tcp', await connect({ endpoints: [tcp] })),
    new EtcdDoorClient(grpcTransport(etcd)),
    new EtcdDoorClient(jsonTransport(etcd)),
  );
});

test.after(async () => {
  for (const door of doors) await door.close();
  await one.stop();
});

test('there are cases of every kind, each with a name of its own', () => {
  const names = new Set(CASES.map(({ name }) => name));
  assert.is(names.size, CASES.length);
  assert.ok(CASES.length >= 60, `${CASES.length} cases`);
});

for (const one of CASES) {
  test(one.name, async () => {
    for (const door of doors) {
      // Where a door has no word for something, another asks for it.
      const { said, expected } = await runner.run(door, doors[0] as Door, one);
      assert.equal(said, expected, `through ${door.name}`);
    }
  });
}

test.run();
