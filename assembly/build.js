// Compiles assembly/ to build/wasm/: `kvorum.wasm` (optimised) and `kvorum.debug.wasm` (assertions on).
// Both import one shared memory, so that a memtable owns its memory and worker threads can read it.
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import asc from 'assemblyscript/asc';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
mkdirSync(join(root, 'build/wasm'), { recursive: true });

const shared = [
  'assembly/index.ts',
  '--baseDir',
  root,
  '--runtime',
  'stub',
  '--importMemory',
  '--sharedMemory',
  '--initialMemory',
  '1',
  '--maximumMemory',
  '65536',
  '--enable',
  'simd',
  '--enable',
  'bulk-memory',
  '--enable',
  'threads',
  '--noExportMemory',
];
const builds = [
  [...shared, '--outFile', 'build/wasm/kvorum.wasm', '-O3', '--noAssert', '--converge'],
  [...shared, '--outFile', 'build/wasm/kvorum.debug.wasm', '--debug'],
];
for (const args of builds) {
  const { error, stderr } = await asc.main(args);
  if (error) {
    process.stderr.write(stderr.toString());
    process.stderr.write(`${error.message}\n`);
    process.exit(1);
  }
}
