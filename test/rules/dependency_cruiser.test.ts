/** The rules that dependency-cruiser gets from the layer table fire on built files that break them, and are silent on files that do not. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import * as assert from 'uvu/assert';
import { test } from '../suite.ts';
import { projectRoot } from './source_file.ts';

/** The names of the rules that are broken by built files like these. */
function broken(files: Record<string, string>): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'kvorum-rules-'));
  try {
    for (const [path, text] of Object.entries({ 'package.json': '{"type":"module"}', ...files })) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), text);
    }
    const program = join(projectRoot, 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs');
    const config = join(projectRoot, '.dependency-cruiser.cjs');
    const args = [program, '--config', config, '--output-type', 'json', 'build'];
    const { stdout, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8' });
    assert.ok(stdout.startsWith('{'), `dependency-cruiser did not run: ${stderr}`);
    const report: { summary: { violations: { rule: { name: string } }[] } } = JSON.parse(stdout);
    return [...new Set(report.summary.violations.map((one) => one.rule.name))].sort();
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('a layer that imports what it may not is found, and so is a pure one that imports Node', () => {
  assert.equal(
    broken({
      'build/src/raft/raft.js': "import '../kv/command.js';",
      'build/src/kv/command.js': "import 'node:fs';",
    }),
    ['kv-pure', 'raft-layer'],
  );
});

test('cycles and files that are not there are found', () => {
  assert.equal(
    broken({
      'build/src/kv/a.js': "import './b.js';",
      'build/src/kv/b.js': "import './a.js';\nimport './gone.js';",
    }),
    ['no-cycles', 'no-missing-files'],
  );
});

test('the product does not import tests', () => {
  assert.equal(
    broken({
      'build/src/node/node.js': "import '../../test/x.js';",
      'build/test/x.js': 'export const x = 1;',
    }),
    ['no-test-code', 'node-layer'],
  );
});

test('what the table allows is allowed', () => {
  assert.equal(
    broken({
      'build/src/index.js': "import './node/node.js';\nimport './errors.js';",
      'build/src/node/node.js': "import '../raft/raft.js';\nimport '../api/service.js';\nimport 'node:path';",
      'build/src/raft/raft.js': 'export const raft = 1;',
      'build/src/api/service.js': 'export {};',
      'build/src/errors.js': 'export const e = 1;',
    }),
    [],
  );
});

test.run();
