/**
 * How much memory the embedded store takes, in a process of its own so that nothing else counts.
 *
 * `memory 1M x 10`: a million keys with values of 100 B, written and then overwritten until each was written ten times; the largest RSS seen.
 * `memory sustained minute`: a bounded set of keys overwritten at full speed; RSS at 20 s and at 60 s must be about the same.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { startChild } from './processes.ts';
import type { BenchOptions, Emit } from './result.ts';

const PROGRAM = fileURLToPath(new URL('./memory_process.js', import.meta.url));
const EARLY_SECONDS = 20;
const SUSTAIN_SECONDS = 60;

const sampleSchema = z.object({
  atSeconds: z.number(),
  operations: z.number(),
  rssMb: z.number(),
  largestMb: z.number().optional(),
});
type Sample = z.infer<typeof sampleSchema>;

/** Runs the watched process to its end and gives the samples it printed, the last one being its summary. */
async function watch(options: BenchOptions, name: string, args: readonly string[]): Promise<Sample[]> {
  const directory = join(options.directory, name);
  mkdirSync(directory, { recursive: true });
  const log = join(directory, 'samples.log');

  const child = startChild(process.execPath, [PROGRAM, join(directory, 'data'), ...args], log);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', resolve);
  });
  const text = readFileSync(log, 'utf8');
  if (code !== 0) throw new Error(`${name} ended with ${code}: ${text.slice(-2_000)}`);
  return text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => sampleSchema.parse(JSON.parse(line)));
}

export async function run(emit: Emit, options: BenchOptions): Promise<void> {
  const overwrites = await watch(options, 'overwrite', ['overwrite', '1000000', '100', '10']);
  const last = overwrites.at(-1)!;
  emit({
    peer: 'kvorum',
    case: 'memory 1M x 10',
    opsPerSecond: last.operations / last.atSeconds,
    rssMb: last.largestMb ?? last.rssMb,
    note: `largest RSS; ${last.operations} puts of 100 B values`,
  });
  const sustained = await watch(options, 'sustain', ['sustain', '100000', '1024', String(SUSTAIN_SECONDS)]);
  const end = sustained.at(-1)!;
  const early = sustained.find((sample) => sample.atSeconds >= EARLY_SECONDS) ?? end;
  const rate = (sample: Sample): number => sample.operations / sample.atSeconds;
  const note = 'overwriting 100 000 keys of 1 KiB at full speed';
  emit({
    peer: 'kvorum',
    case: `memory sustained at ${EARLY_SECONDS} s`,
    opsPerSecond: rate(early),
    rssMb: early.rssMb,
    note,
  });
  emit({ peer: 'kvorum', case: 'memory sustained minute', opsPerSecond: rate(end), rssMb: end.rssMb, note });
}
