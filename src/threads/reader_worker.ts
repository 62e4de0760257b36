/** The worker thread of one reader: runs the modules that the store's thread names, one call after the other as they come, with the reader. */
import { parentPort, workerData } from 'node:worker_threads';
import { KvError } from '../errors.ts';
import { realPorts } from '../real_ports.ts';
import { Reader } from './reader.ts';
import { plainOf, type RunMessage, type RunOutcome, type WorkerStart } from './thread_messages.ts';

const start: WorkerStart = workerData;
const reader = new Reader(start.handle, realPorts());

parentPort?.on('message', (message: RunMessage) => {
  carryOut(message).then((outcome) => {
    try {
      parentPort?.postMessage(outcome);
    } catch (error) {
      // The result, or the error, is nothing that can be sent.
      parentPort?.postMessage({ id: message.id, error: new TypeError(String(error)) });
    }
  });
});

async function carryOut({ id, moduleUrl, args }: RunMessage): Promise<RunOutcome> {
  try {
    const module: { default?: unknown } = await import(moduleUrl);
    if (typeof module.default !== 'function') {
      throw new KvError('INVALID_ARGUMENT', `${moduleUrl} has no function as its default export`);
    }
    return { id, result: await module.default(reader, args) };
  } catch (error) {
    return error instanceof KvError ? { id, kvError: plainOf(error) } : { id, error };
  }
}
