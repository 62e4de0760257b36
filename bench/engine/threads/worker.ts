/**
 * A worker thread of the threads section: opens its end of a peer, and on each `go` reads (and writes) random keys until the time is up.
 *
 * Protocol: workerData is a ThreadTask; it posts {ready}; each {go: share of reads} is answered by {operations, elapsedMs, counts}; {stop} closes its end and ends it.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { z } from 'zod';
import { LatencyHistogram } from '../../latency.ts';
import { Data, KeySet } from '../data.ts';
import { PEER_NAMES } from '../peer.ts';
import { THREADED_PEERS, type ThreadEnd } from './threaded_peer.ts';

const taskSchema = z.object({
  peer: z.enum(PEER_NAMES),
  message: z.unknown(),
  keys: z.int().min(1),
  seconds: z.number().positive(),
  /** Different for each thread: where its random numbers begin. */
  seed: z.int(),
});
const requestSchema = z.union([z.object({ go: z.number() }), z.object({ stop: z.literal(true) })]);

const task = taskSchema.parse(workerData);
const data = new Data(new KeySet(task.keys, 'shuffled'));
let state = task.seed;

/** A number from 0 up to 1, from a linear congruential generator. */
function random(): number {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return state / 2 ** 32;
}

async function measure(end: ThreadEnd, readShare: number) {
  const latency = new LatencyHistogram();
  const startedMs = performance.now();
  const endMs = startedMs + task.seconds * 1_000;
  let before = startedMs;
  let operations = 0;
  while (before < endMs) {
    const n = Math.floor(random() * task.keys);
    if (random() < readShare) {
      const answer = end.get(data.keys.at(n));
      data.check(n, answer instanceof Promise ? await answer : answer);
    } else {
      const done = end.put(data.keys.at(n), data.valueOf(n));
      if (done instanceof Promise) await done;
    }
    operations++;
    const now = performance.now();
    latency.recordMs(now - before);
    before = now;
  }
  await end.drain?.();
  return { operations, elapsedMs: performance.now() - startedMs, counts: latency.toCounts() };
}

const open = THREADED_PEERS[task.peer];
if (open === undefined) throw new Error(`${task.peer} cannot be used from several threads`);
const end = await (await open()).openEnd(task.message);
// What fails here is thrown, and reaches the parent as the worker's error.
parentPort?.on('message', async (message) => {
  const request = requestSchema.parse(message);
  if ('go' in request) parentPort?.postMessage(await measure(end, request.go));
  else {
    await end.close();
    parentPort?.close();
  }
});
parentPort?.postMessage({ ready: true });
