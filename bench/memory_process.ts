/**
 * The process whose memory bench/memory.ts watches: it opens a store and overwrites keys through the public API.
 *
 *     node build/bench/memory_process.js DIRECTORY overwrite KEYS VALUE_BYTES PASSES
 *     node build/bench/memory_process.js DIRECTORY sustain   KEYS VALUE_BYTES SECONDS
 *
 * Prints JSON lines: {"atSeconds", "operations", "rssMb"} every second, and once more at the end with "done": true and the largest RSS seen.
 */
import { randomBytes } from 'node:crypto';
import { open } from '../src/index.ts';

const CALLERS = 64;
const [directory, mode, keysText, valueText, amountText] = process.argv.slice(2);
const keyCount = Number(keysText);
const amount = Number(amountText);
if (
  directory === undefined ||
  !['overwrite', 'sustain'].includes(mode ?? '') ||
  !(keyCount > 0) ||
  !(amount > 0)
) {
  throw new Error('usage: memory_process.js DIRECTORY overwrite|sustain KEYS VALUE_BYTES PASSES|SECONDS');
}

const store = await open({ path: directory, config: { storage: { durability: 'os' } } });
const values = Array.from({ length: 64 }, () => randomBytes(Number(valueText)));
const started = performance.now();
const limit = mode === 'overwrite' ? keyCount * amount : Number.POSITIVE_INFINITY;
const endMs = mode === 'sustain' ? started + amount * 1_000 : Number.POSITIVE_INFINITY;
let next = 0;
let largestMb = 0;

function report(done: boolean): void {
  const rssMb = process.memoryUsage.rss() / 1024 ** 2;
  largestMb = Math.max(largestMb, rssMb);
  const atSeconds = (performance.now() - started) / 1_000;
  console.log(JSON.stringify({ atSeconds, operations: next, rssMb, ...(done ? { done, largestMb } : {}) }));
}

const timer = setInterval(() => report(false), 1_000);
async function caller(): Promise<void> {
  while (next < limit && performance.now() < endMs) {
    const n = next++;
    // 7919 is prime: every pass touches every key, in no sorted order.
    const key = `key-${String((n * 7919) % keyCount).padStart(12, '0')}`;
    await store.put(key, values[n % values.length]!);
  }
}
await Promise.all(Array.from({ length: CALLERS }, caller));
clearInterval(timer);
report(true);
await store.close();
