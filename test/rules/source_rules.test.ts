/** The rules of the sources hold, and each of them fires on a sample that breaks it. */

import * as assert from 'uvu/assert';
import { test } from '../suite.ts';
import { readSources, type SourceFile, sourceFile } from './source_file.ts';
import {
  ASSEMBLY_RULES,
  fileNames,
  lineLimit,
  MAX_LINES,
  noAny,
  noBarrel,
  noHiddenTests,
  noSilentCatch,
  opensWithComment,
  portsOnly,
  pureFolders,
  type Rule,
  SOURCE_RULES,
  simulated,
} from './source_rules.ts';

const at = (path: string, text: string): SourceFile => sourceFile(path, text);

/** Each sample alone must be found once by the rule. */
function fires(rule: Rule, path: string, samples: readonly string[]): void {
  for (const sample of samples) assert.is(rule(at(path, sample)).length, 1, `must fire: ${path}: ${sample}`);
}
function silent(rule: Rule, path: string, samples: readonly string[]): void {
  for (const sample of samples)
    assert.equal(rule(at(path, sample)), [], `must be silent: ${path}: ${sample}`);
}

test('TypeScript sources keep every rule', () => {
  const problems = readSources(['src', 'transports', 'test', 'bench']).flatMap((file) =>
    SOURCE_RULES.flatMap((rule) => rule(file)),
  );
  assert.equal(problems, []);
});

test('AssemblyScript sources keep theirs', () => {
  assert.equal(
    readSources(['assembly']).flatMap((file) => ASSEMBLY_RULES.flatMap((rule) => rule(file))),
    [],
  );
});

test('the scanner tells code from comments, strings, templates and regular expressions', () => {
  // biome-ignore-start lint/suspicious/noTemplateCurlyInString: the samples are sources
  const views = at(
    'x.ts',
    [
      'const a = "await"; // await',
      '/* await */ const b = `await ${await1} await`;',
      'const c = /await[/]await/.test(a) ? x / await2 / y : 1;',
      "return /'await/; const d = 'it\\'s await';",
      'const e = `${ { f: `await ${await3}` } }`; await4;',
    ].join('\n'),
  ).code;
  // biome-ignore-end lint/suspicious/noTemplateCurlyInString: the samples are sources
  assert.equal(views.match(/await\d?/g), ['await1', 'await2', 'await3', 'await4']);
});

test('imports are found in every form, with what is left of them in JavaScript', () => {
  const found = at(
    'x.ts',
    [
      "import a from './a.ts';",
      "import type { B } from './b.ts';",
      "import { type C, type D } from './c.ts';",
      "import {\n  type E,\n  f,\n} from './e.ts';",
      "import './g.ts';",
      "export { h } from './h.ts';",
      "export type { I } from './i.ts';",
      "const j = await import('./j.ts');",
      "// import './comment.ts';",
      'const text = "import \'./text.ts\'";',
      "import * as k from './k.ts';",
    ].join('\n'),
  ).imports.map((one) => `${one.specifier}${one.typeOnly ? ' type' : ''}`);
  assert.equal(found, [
    './a.ts',
    './b.ts type',
    './c.ts type',
    './e.ts',
    './g.ts',
    './h.ts',
    './i.ts type',
    './j.ts',
    './k.ts',
  ]);
});

test('pure folders: clocks, chance, timers, promises and the process are found', () => {
  const bad = [
    'const now = Date.now();',
    'const x = Math.random();',
    'setTimeout(run, 5);',
    'setInterval(run, 5);',
    'setImmediate(run);',
    'queueMicrotask(run);',
    'async function f() {}',
    'const x = await y;',
    'return Promise.resolve();',
    'process.exit();',
    'console.log(1);',
    'const t = performance.now();',
  ];
  fires(pureFolders, 'src/raft/x.ts', bad);
  fires(pureFolders, 'src/kv/x.ts', bad);
  silent(pureFolders, 'src/node/x.ts', bad);
  silent(pureFolders, 'src/raft/x.ts', [
    '// process.exit(), await, Date.now()',
    'const text = "await Promise";',
    'let x: MaybePromise<number>; this.process(x);',
  ]);
});

test('the shell: time and chance that do not come through ports are found', () => {
  const bad = [
    'const now = Date.now();',
    'const now = new Date();',
    'const x = Math.random();',
    'setTimeout(run, 5);',
    'setInterval(run, 5);',
    'setImmediate(run);',
    'queueMicrotask(run);',
    'performance.now();',
    'const id = randomUUID();',
    'AbortSignal.timeout(5);',
  ];
  for (const path of ['src/node/x.ts', 'src/storage/x.ts', 'src/client/x.ts', 'transports/x.ts'])
    fires(portsOnly, path, bad);
  for (const path of ['src/real_ports.ts', 'src/cli/x.ts', 'src/index.ts', 'test/x.ts', 'bench/x.ts'])
    silent(portsOnly, path, bad);
  silent(portsOnly, 'transports/x.ts', ['socket.setTimeout(5);', 'new Date(record.expiresAtMs);']);
});

test('what would make simulated runs differ is found', () => {
  const bad = [
    "import { setTimeout } from 'node:timers/promises';",
    "import { EventEmitter } from 'node:events';",
    'process.nextTick(run);',
    'const start = process.hrtime();',
    'const ref = new WeakRef(node);',
    'names.sort((a, b) => a.localeCompare(b));',
    'const now = Date.now();',
  ];
  for (const path of ['src/node/x.ts', 'src/storage/x.ts', 'src/client/x.ts', 'src/sim/x.ts'])
    fires(simulated, path, bad);
  for (const path of ['src/cli/x.ts', 'src/real_ports.ts', 'src/sim/core/scheduler.ts', 'test/x.ts'])
    silent(simulated, path, bad);
  silent(simulated, 'src/sim/x.ts', [
    "import type { Socket } from 'node:net';",
    "import { crc32 } from 'node:zlib';",
    'this.process.kill();',
    'process.random.next();',
  ]);
});

test('any and silenced compiler errors are found', () => {
  fires(noAny, 'src/x.ts', [
    'let x: any;',
    'const y = x as any;',
    'let z: any[];',
    'let m: Map<string, any>;',
    '// @ts-ignore',
    '/* @ts-expect-error */',
  ]);
  silent(noAny, 'src/x.ts', [
    '// any of them',
    'Promise.any(list);',
    'const s = "any";',
    'let anything: many;',
  ]);
});

test('barrels are found', () => {
  fires(noBarrel, 'src/kv/all.ts', [
    "export { a } from './a.ts';",
    "import { a } from './a.ts';\nexport { a };",
  ]);
  fires(noBarrel, 'src/kv/x.ts', ["export * from './a.ts';\nexport const b = 1;"]);
  fires(noBarrel, 'src/kv/index.ts', ['export const a = 1;']);
  silent(noBarrel, 'src/kv/x.ts', [
    "import { a } from './a.ts';\nexport const b = a;\nexport { a };",
    "import './side_effect.ts';",
    "export { crc32 } from 'node:zlib';",
  ]);
  silent(noBarrel, 'src/index.ts', ["export { a } from './a.ts';"]);
});

test('long files are found', () => {
  const long = (lines: number): string => '// line\n'.repeat(lines);
  fires(lineLimit, 'src/x.ts', [long(MAX_LINES + 1)]);
  fires(lineLimit, 'assembly/x.ts', [long(MAX_LINES + 1)]);
  silent(lineLimit, 'src/x.ts', [long(MAX_LINES)]);
});

test('files that do not open with a comment are found', () => {
  fires(opensWithComment, 'src/x.ts', ["import './a.ts'; // late", '', '#!/usr/bin/env node\nconst a = 1;']);
  silent(opensWithComment, 'src/x.ts', ['/** Why. */', '// Why.', '#!/usr/bin/env node\n/** Why. */']);
});

test('file names that name nothing are found', () => {
  for (const path of [
    'src/utils.ts',
    'src/raft/helpers.ts',
    'src/common/x.ts',
    'src/log_manager.ts',
    'src/Engine.ts',
  ])
    fires(fileNames, path, ['']);
  for (const path of ['src/kv/command.ts', 'test/a/b.slow.test.ts', 'test/x.test.ts'])
    silent(fileNames, path, ['']);
});

test('errors that are swallowed are found', () => {
  fires(noSilentCatch, 'src/x.ts', [
    'try { a(); } catch {}',
    'try { a(); } catch (error) {\n}',
    'a().catch(() => {});',
    'a().catch((_error) => undefined);',
  ]);
  silent(noSilentCatch, 'src/x.ts', [
    'try { a(); } catch { /* it was only a hint */ }',
    'try { a(); } catch (error) { report(error); }',
    'a().catch((error) => report(error));',
    "const text = 'catch {}';",
    '// Whoever waits sees it.\na().catch(() => undefined);',
  ]);
});

test('tests that are left out are found', () => {
  fires(noHiddenTests, 'test/x.test.ts', ["test.only('a', run);", "test.skip('a', run);"]);
  silent(noHiddenTests, 'test/x.test.ts', ["test('only', run);"]);
});

test.run();
