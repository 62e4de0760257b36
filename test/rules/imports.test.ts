/**
 * The layering holds in the sources, type imports included (dependency-cruiser sees only what is left in the JavaScript), and each check fires on a
 * sample that breaks it.
 */

import * as assert from 'uvu/assert';
import { test } from '../suite.ts';
import { cycles, layerProblems, orphans, unreachableFolders } from './import_rules.ts';
import { importProblem, LAYERS, layerOf, packageProblem } from './layers.ts';
import { readSources, type SourceFile, sourceFile } from './source_file.ts';

const product = readSources(['src', 'transports']);
const everything = readSources(['src', 'transports', 'test', 'bench']);
const ROOTS = ['src/index.ts', 'src/sim.ts', 'src/cli/', 'src/sim/'];
/** Where worker threads begin: they are named by a URL. */
const WORKERS = ['src/threads/reader_worker.ts', 'src/storage/tables/job_worker.ts'];
const ENTRY_POINTS = [...ROOTS, ...WORKERS, 'test/', 'bench/'];

const sample = (files: Record<string, string>): SourceFile[] =>
  Object.entries(files).map(([path, text]) => sourceFile(path, text));

test('every import is one that its layer may make', () => {
  assert.equal(layerProblems(everything), []);
});

test('no import cycles, type imports included', () => {
  assert.equal(cycles(product), []);
});

test('no file that nothing imports', () => {
  assert.equal(orphans(everything, ENTRY_POINTS), []);
});

test('no folder that the package ships but never runs', () => {
  assert.equal(unreachableFolders(product, ROOTS), []);
});

test('a forbidden import is found, as a type import too', () => {
  const problems = layerProblems(
    sample({
      'src/raft/a.ts': "import type { Clock } from '../ports.ts';",
      'src/kv/b.ts': "import type { A } from '../raft/a.ts';\nimport { readFile } from 'node:fs';",
      'src/node/c.ts': "import { tcp } from '../../transports/tcp.ts';\nimport pino from 'pino';",
      'src/client/d.ts': "import { apply } from '../kv/b.ts';\nimport type { Kv } from '../kv/b.ts';",
      'src/elsewhere/e.ts': 'export const e = 1;',
      'src/wire/f.ts': "import { gone } from './gone.ts';",
      'src/ports.ts': '',
      'transports/tcp.ts': "const net = await import('node:net');",
    }),
  );
  assert.equal(problems, [
    'src/raft/a.ts: raft may not import src/ports.ts (line 1)',
    'src/kv/b.ts: kv may not import src/raft/a.ts (line 1)',
    'src/kv/b.ts: kv is pure and may not import node:fs (line 2)',
    'src/node/c.ts: node may not import transports/tcp.ts (line 1)',
    'src/node/c.ts: node may not import package pino (line 2)',
    'src/client/d.ts: client may import src/kv/b.ts by `import type` only (line 1)',
    'src/elsewhere/e.ts: in no layer of test/rules/layers.ts',
    'src/wire/f.ts:1: imports ./gone.ts, which is no source of the project',
  ]);
});

test('cycles are found, however long, and each once', () => {
  assert.equal(
    cycles(
      sample({
        'src/kv/a.ts': "import type { B } from './b.ts';",
        'src/kv/b.ts': "import { c } from './c.ts';",
        'src/kv/c.ts': "import { a } from './a.ts';",
        'src/kv/d.ts': "import { a } from './a.ts';",
      }),
    ),
    ['src/kv/a.ts -> src/kv/b.ts -> src/kv/c.ts -> src/kv/a.ts'],
  );
});

test('files and folders that nobody uses are found', () => {
  const files = sample({
    'src/index.ts': "import { a } from './kv/a.ts';",
    'src/kv/a.ts': 'export const a = 1;',
    'src/kv/lost.ts': 'export const b = 1;',
    'src/backup/c.ts': "import { d } from './d.ts';",
    'src/backup/d.ts': 'export const d = 1;',
  });
  assert.equal(orphans(files, ROOTS), ['src/kv/lost.ts', 'src/backup/c.ts']);
  assert.equal(unreachableFolders(files, ROOTS), ['src/backup']);
});

test('the most specific row of the table wins', () => {
  assert.is(layerOf('src/api/service.ts')?.name, 'service port');
  assert.is(layerOf('src/api/tcp/door.ts')?.name, 'api');
  assert.is(layerOf('src/nowhere.ts'), undefined);
  assert.is(importProblem('src/api/tcp/door.ts', 'src/node/node.ts', false), undefined);
  assert.ok(importProblem('src/api/service.ts', 'src/node/node.ts', true));
  assert.ok(importProblem('src/node/node.ts', 'src/real_ports.ts', false));
  assert.is(packageProblem('src/storage/rocksdb/tree.ts', 'level-rocksdb/binding'), undefined);
  assert.ok(packageProblem('src/storage/log.ts', 'lmdb'));
});

test('the table names each path once', () => {
  const paths = LAYERS.flatMap((layer) => layer.paths);
  assert.is(new Set(paths).size, paths.length);
});

test.run();
