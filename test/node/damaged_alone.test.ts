/** A node that is its whole cluster and has damaged data: nobody can repair it, so it must not log what it could not apply. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { open } from '../../src/embedded.ts';
import { KvError } from '../../src/errors.ts';
import { test } from '../suite.ts';

const MIB = 1024 * 1024;
const textOf = (i: number): string => `<value ${i}>`.padEnd(2_000, '.');

async function codeOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return 'ok';
  } catch (error) {
    if (!(error instanceof KvError)) throw error;
    return error.code;
  }
}

for (const durability of ['os', 'fsync'] as const) {
  test(`a write that meets damage is refused, and the store goes on, also after it was opened again (${durability})`, async () => {
    const path = mkdtempSync(join(tmpdir(), 'kvorum-alone-'));
    const config = { storage: { durability, memtableSizeBytes: MIB, blockCacheBytes: 0 } } as const;
    try {
      const first = await open({ path, config });
      for (let i = 0; i < 1_500; i += 50)
        await first.batch(
          Array.from({ length: 50 }, (_, at) => ({ type: 'put', key: `k${i + at}`, value: textOf(i + at) })),
        );
      await first.close();
      const tables = join(path, 'tree/tables');
      let damaged = 0;
      for (const name of readdirSync(tables)) {
        const bytes = readFileSync(join(tables, name));
        const at = bytes.indexOf('<value 7>');
        if (at < 0) continue;
        bytes[at] = bytes[at]! ^ 1;
        writeFileSync(join(tables, name), bytes);
        damaged++;
      }
      assert.is(damaged, 1);
      for (let life = 0; life < 2; life++) {
        const store = await open({ path, config });
        assert.is(await codeOf(store.get('k7')), 'CORRUPT');
        assert.is(await codeOf(store.put('k7', 'new')), 'CORRUPT');
        assert.is(
          await codeOf(
            store.batch([
              { type: 'put', key: 'x', value: 'y' },
              { type: 'delete', key: 'k7' },
            ]),
          ),
          'CORRUPT',
        );
        assert.is(await store.get('x'), undefined, 'nothing of the refused batch is there');
        assert.is(await codeOf(store.put('k1400', `life ${life}`)), 'ok');
        assert.is(String(Buffer.from((await store.get('k1400'))!)), `life ${life}`);
        await store.close();
      }
    } finally {
      rmSync(path, { recursive: true, force: true });
    }
  });
}

test.run();
