/** `kvorum bench`: puts and gets against a running cluster, to see what this installation can do. */
import { randomBytes } from 'node:crypto';
import { SingleBar } from 'cli-progress';
import type { Command } from 'commander';
import type { Store } from '../client/store_types.ts';
import { type GlobalOptions, positiveInteger, withStore } from './endpoints.ts';
import { note, print, printJson, table } from './output.ts';

const PREFIX = 'kvorum-bench/';
const DELETE_KEYS = 5_000;

interface Row {
  readonly case: string;
  readonly opsPerSecond: number;
  readonly p50Us: number;
  readonly p95Us: number;
  readonly p99Us: number;
}

export function addBench(program: Command): void {
  program
    .command('bench')
    .description(`puts and gets against a running cluster, under ${PREFIX}; deletes what it wrote`)
    .option('--operations <n>', 'how many of each', '20000')
    .option('--concurrency <n>', 'requests in flight', '64')
    .option('--value-size <bytes>', 'bytes of a value', '1024')
    .addHelpText('after', '\nExample:\n  kvorum bench --operations 50000 --concurrency 256')
    .action((flags: { operations: string; concurrency: string; valueSize: string }) => {
      const globals = program.opts<GlobalOptions>();
      const operations = positiveInteger('--operations', flags.operations);
      const concurrency = positiveInteger('--concurrency', flags.concurrency);
      const value = randomBytes(positiveInteger('--value-size', flags.valueSize));
      return withStore(globals, async (store) => {
        const keyOf = (i: number): string => PREFIX + String(i).padStart(10, '0');
        const rows: Row[] = [];
        try {
          rows.push(await measure('put', operations, concurrency, (i) => store.put(keyOf(i), value)));
          rows.push(await measure('get linearizable', operations, concurrency, (i) => store.get(keyOf(i))));
          rows.push(
            await measure('get eventual', operations, concurrency, (i) =>
              store.get(keyOf(i), { level: 'eventual' }),
            ),
          );
        } finally {
          await clear(store);
        }
        if (globals.json) for (const row of rows) printJson(row);
        else print(table([['case', 'per second', 'p50 us', 'p95 us', 'p99 us'], ...rows.map(cells)]));
      });
    });
}

function cells(row: Row): string[] {
  return [
    row.case,
    ...[row.opsPerSecond, row.p50Us, row.p95Us, row.p99Us].map((value) => String(Math.round(value))),
  ];
}

async function measure(
  name: string,
  operations: number,
  concurrency: number,
  run: (i: number) => Promise<unknown>,
): Promise<Row> {
  const bar = new SingleBar({
    format: `${name} {bar} {value}/{total}`,
    stream: process.stderr,
    noTTYOutput: false,
  });
  bar.start(operations, 0);
  const tookMs = new Float64Array(operations);
  let next = 0;
  const startedMs = performance.now();
  const worker = async (): Promise<void> => {
    while (next < operations) {
      const i = next++;
      const sentMs = performance.now();
      await run(i);
      tookMs[i] = performance.now() - sentMs;
      if (i % 256 === 0) bar.update(i);
    }
  };
  try {
    await Promise.all(Array.from({ length: concurrency }, worker));
  } finally {
    bar.update(next);
    bar.stop();
  }
  const seconds = (performance.now() - startedMs) / 1000;
  tookMs.sort();
  const at = (share: number): number =>
    tookMs[Math.min(operations - 1, Math.floor(operations * share))]! * 1000;
  return { case: name, opsPerSecond: operations / seconds, p50Us: at(0.5), p95Us: at(0.95), p99Us: at(0.99) };
}

/** Deletes everything under PREFIX in pieces: what one delete may touch is bounded by the server. */
async function clear(store: Store): Promise<void> {
  note('deleting what was written');
  for (;;) {
    let last: Uint8Array | undefined;
    let found = 0;
    for await (const { key } of store.scan({ prefix: PREFIX, limit: DELETE_KEYS, keysOnly: true })) {
      last = key;
      found++;
    }
    if (last === undefined) return;
    const end = new Uint8Array(last.length + 1);
    end.set(last);
    await store.txn({ then: [{ type: 'deleteRange', start: PREFIX, end }] });
    if (found < DELETE_KEYS) return;
  }
}
