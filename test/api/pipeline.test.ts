/** What stands around the calls of the service: told of each once, may refuse, and costs nothing where it is not there. */

import * as assert from 'uvu/assert';
import { type Middleware, type ServiceCall, throughPipeline } from '../../src/api/pipeline.ts';
import { KvError } from '../../src/errors.ts';
import { encodeCommand } from '../../src/wire/command_codec.ts';
import { NO_WRITE_ID } from '../../src/wire/write_id.ts';
import { key, put } from '../kv/commands.ts';
import { codeOf } from '../outcomes.ts';
import { test } from '../suite.ts';
import { FakeService } from './fake_service.ts';

const READ = { level: 'linearizable', minRevision: 0, revision: 0 } as const;
const ANN = { user: 'ann', generation: 1, expiresAtMs: 0 };
const PUT = encodeCommand({ type: 'write', id: NO_WRITE_ID, operation: put('a', '1') });

class Clock {
  nowMs = 0;
  wallMs(): number {
    return 0;
  }
  monotonicMs(): number {
    return this.nowMs++;
  }
}

class Recorder implements Middleware {
  readonly heard: string[] = [];
  readonly #name: string;
  refuse: (call: ServiceCall) => boolean = () => false;

  constructor(name: string) {
    this.#name = name;
  }
  begin(call: ServiceCall): void {
    this.heard.push(`${this.#name} ${call.operation} ${call.identity?.user ?? '-'}`);
    if (this.refuse(call)) throw new KvError('OVERLOADED', 'too much');
  }
  end(call: ServiceCall, tookMs: number, error: unknown): void {
    assert.ok(tookMs >= 1);
    this.heard.push(
      `${this.#name} ended ${call.operation} ${error instanceof KvError ? error.code : 'fine'}`,
    );
  }
}

test('with nothing around it the service is itself', () => {
  const service = new FakeService();
  assert.is(throughPipeline(service, new Clock(), []), service);
});

test('each call is told of before and after, with who asks; answers at once and promises, groups, and failures', async () => {
  const recorder = new Recorder('x');
  const fake = new FakeService();
  const service = throughPipeline(fake, new Clock(), [recorder]);
  await service.write(PUT, { identity: ANN });
  const got = service.get({ ...READ, key: key('a') });
  assert.not.instance(got, Promise);
  assert.is(service.status().id, 1);
  await service.auth.change({ type: 'enable' }, { identity: ANN });
  assert.ok(fake.auth.enabled);
  assert.is(await codeOf(() => service.auth.authenticate('ann', 'pa')), 'AUTH_FAILED');
  assert.is(await codeOf(() => service.get({ ...READ, key: key('a') })), 'USER_EMPTY');
  assert.equal(recorder.heard, [
    'x write ann',
    'x ended write fine',
    'x get -',
    'x ended get fine',
    'x status -',
    'x ended status fine',
    'x auth.change ann',
    'x ended auth.change fine',
    'x auth.authenticate -',
    'x ended auth.authenticate AUTH_FAILED',
    'x get -',
    'x ended get USER_EMPTY',
  ]);
});

test('who refuses ends the call for those before, and nobody after hears of it', async () => {
  const [outer, limit, inner] = [new Recorder('outer'), new Recorder('limit'), new Recorder('inner')];
  limit.refuse = ({ operation }) => operation === 'write';
  const fake = new FakeService();
  const service = throughPipeline(fake, new Clock(), [outer, limit, inner, {}]);
  assert.is(await codeOf(() => service.write(PUT)), 'OVERLOADED');
  assert.equal(fake.calls, []);
  assert.equal(outer.heard, ['outer write -', 'outer ended write OVERLOADED']);
  assert.equal(limit.heard, ['limit write -']);
  assert.equal(inner.heard, []);
  await service.members();
  assert.equal(inner.heard, ['inner members -', 'inner ended members fine']);
  assert.is(service.auth, service.auth, 'made once');
  assert.is(service.members, service.members);
});

test.run();
