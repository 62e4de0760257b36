/**
 * A program that uses a store until tables were written, and then writes more to its stdout than a pipe takes, in one call that waits: run by runner.test.ts as
 * `node stdout_writer.js DIRECTORY BYTES`. Says on stderr how many bytes that call wrote.
 */
import { readdirSync, writeSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { open } from '../../../src/index.ts';

const [directory, bytes] = process.argv.slice(2);
const store = await open({ path: directory ?? '', config: { storage: { memtableSizeBytes: 1024 * 1024 } } });
for (let i = 0; i < 80; i++) await store.put(`key-${i}`, 'x'.repeat(32 * 1024));
// The thread is at work from the first flush on.
while (readdirSync(`${directory}/tree/tables`).length === 0) await setTimeout(1);
await store.close();
writeSync(2, 'ready\n');
writeSync(2, `${writeSync(1, 'x'.repeat(Number(bytes)))}\n`);
