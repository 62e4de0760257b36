/** Calls that find no leader are tried again, in virtual time; those that may have taken effect, and all other errors, are not. */
import * as assert from 'uvu/assert';
import { grpcErrorOf } from '../../../src/api/grpc/etcd_errors.ts';
import { PutRequest, PutResponse, RangeRequest, RangeResponse } from '../../../src/api/grpc/messages/kv.ts';
import { type CallContext, LazySignal, type Method, unary } from '../../../src/api/grpc/method.ts';
import { patientService } from '../../../src/api/grpc/services/patient_method.ts';
import { KvError } from '../../../src/errors.ts';
import type { Ports } from '../../../src/ports.ts';
import { realPorts } from '../../../src/real_ports.ts';
import { test } from '../../suite.ts';

class Context extends LazySignal implements CallContext {
  readonly timeoutMs: number | undefined;
  constructor(timeoutMs?: number) {
    super();
    this.timeoutMs = timeoutMs;
  }
  metadata(): undefined {
    return undefined;
  }
}

/** Time that passes only while somebody waits. */
class Waits {
  nowMs = 0;
  count = 0;
  onWait: () => void = () => undefined;

  ports(): Ports {
    const real = realPorts();
    const after = (delayMs: number, run: () => void) => {
      this.count++;
      return real.timers.after(0, () => {
        this.nowMs += delayMs;
        this.onWait();
        run();
      });
    };
    return {
      ...real,
      clock: { wallMs: () => 0, monotonicMs: () => this.nowMs },
      timers: { ...real.timers, after },
    };
  }
}

interface Outcome {
  readonly tries: number;
  readonly error: unknown;
}

/** What becomes of a put (or a range) whose attempts fail with these, one after the other; the last one for ever. */
async function called(
  errors: readonly (Error | undefined)[],
  waits = new Waits(),
  context = new Context(),
  name: 'Put' | 'Range' = 'Put',
): Promise<Outcome> {
  let tries = 0;
  const attempt = async <T>(answer: T): Promise<T> => {
    const error = errors[Math.min(tries++, errors.length - 1)];
    if (error !== undefined) throw error;
    return answer;
  };
  const methods: Record<string, Method> = {
    Put: unary('Put', PutRequest, PutResponse, () => attempt(PutResponse.create({}))),
    Range: unary('Range', RangeRequest, RangeResponse, () => attempt(RangeResponse.create({}))),
  };
  const table = patientService({ name: 'KV', methods: [methods[name]!] }, waits.ports());
  const [method] = table.methods;
  if (method?.kind !== 'unary') throw new TypeError('the method is gone');
  const request = { ...method.request.defaults };
  const error = await Promise.resolve(method.handle(request, context)).then(
    () => undefined,
    (cause: unknown) => cause,
  );
  return { tries, error };
}

const UNREACHED = new KvError('UNAVAILABLE', "node 3 can't be reached from here");

test('what could not reach a leader is tried again until it is answered', async () => {
  const errors = [
    UNREACHED,
    new KvError('NO_LEADER', 'none'),
    new KvError('NOT_LEADER', 'not me'),
    undefined,
  ];
  const waits = new Waits();
  assert.equal(await called(errors, waits), { tries: 4, error: undefined });
  assert.is(waits.count, 3);
});

test('it ends with another error, and does not begin with one', async () => {
  const denied = new KvError('PERMISSION_DENIED', 'no');
  assert.equal(await called([UNREACHED, denied]), { tries: 2, error: denied });
  for (const code of ['TIMEOUT', 'OVERLOADED', 'COMPACTED', 'CLOSED'] as const) {
    const error = new KvError(code, 'no');
    assert.equal(await called([error]), { tries: 1, error });
  }
});

test('what may have taken effect is not tried again, and says so in words of etcd', async () => {
  const lost = new KvError('UNAVAILABLE', 'the connection to node 3 was lost', { maybeApplied: true });
  const { tries, error } = await called([lost]);
  assert.is(tries, 1);
  assert.is(
    grpcErrorOf(error).message,
    'etcdserver: request timed out, possibly due to previous leader failure',
  );
});

test('reads wait by themselves', async () => {
  assert.is((await called([UNREACHED], new Waits(), new Context(), 'Range')).tries, 1);
});

test('it is given up when an etcd, or the client, would', async () => {
  for (const [timeoutMs, boundMs] of [
    [undefined, 7_000],
    [1_000, 1_000],
    [60_000, 7_000],
  ] as const) {
    const waits = new Waits();
    const { tries, error } = await called([UNREACHED], waits, new Context(timeoutMs));
    assert.is(error, UNREACHED);
    assert.ok(tries > 2);
    // One pause more at most.
    assert.ok(waits.nowMs >= boundMs && waits.nowMs <= boundMs + 500, `${waits.nowMs} ms of ${boundMs}`);
  }
});

test('a client that has gone, and a closing door, end it', async () => {
  for (const end of ['clientGone', 'closing'] as const) {
    const waits = new Waits();
    const context = new Context();
    waits.onWait = () => context[end]();
    assert.equal(await called([UNREACHED], waits, context), { tries: 1, error: UNREACHED });
  }
});

test.run();
