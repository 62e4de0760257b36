/**
 * uvu's `test` and `suite`, which show whatever is thrown: uvu prints an error's `details` as a text, stumbles over those of a KvError (an object), and drops the message with
 * all tests that were to follow.
 */
import { inspect } from 'node:util';
import { type Callback, type Context, type Test, suite as uvuSuite, test as uvuTest } from 'uvu';

function shown(run: Callback): Callback {
  return async (context) => {
    try {
      await run(context);
    } catch (error) {
      if (error instanceof Error && !('details' in error && typeof error.details === 'object')) throw error;
      throw new Error(`threw ${inspect(error, { depth: 4 })}`);
    }
  };
}

function showing(suite: Test): Test {
  return Object.assign((name: string, run: Callback) => suite(name, shown(run)), suite);
}

export const test = showing(uvuTest);

export function suite(title: string): Test {
  return showing(uvuSuite<Context>(title));
}
