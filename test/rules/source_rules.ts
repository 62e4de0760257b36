/**
 * What every source must keep to beyond what the compiler and the linter see. Each rule takes one source and gives its problems as `path:line: why`;
 * source_rules.test.ts shows that each rule fires, and runs them all over the project.
 */
import { layerOf } from './layers.ts';
import { lineAt, type SourceFile } from './source_file.ts';

export const MAX_LINES = 450;

export type Rule = (file: SourceFile) => string[];

function findAll(file: SourceFile, view: string, pattern: RegExp, why: (match: string) => string): string[] {
  return [...view.matchAll(pattern)].map(
    (match) => `${file.path}:${lineAt(view, match.index)}: ${why(match[0].trim())}`,
  );
}

const isProduct = (path: string): boolean => path.startsWith('src/') || path.startsWith('transports/');

/** Names of globals that reach time, chance, the outside or another turn of the event loop. Not after a dot: methods may be called so. */
const IMPURE =
  /(?<![.\w$])(?:Date|performance|crypto|setTimeout|setInterval|setImmediate|queueMicrotask|Promise|async|await|process|console|globalThis|fetch|Atomics)\b(?!\s*[?:]\s)|\bMath\.random\b/g;

/** Consensus and the state machine are synchronous functions of what they are given. */
export const pureFolders: Rule = (file) =>
  layerOf(file.path)?.pure === true
    ? findAll(file, file.code, IMPURE, (name) => `${name} in a pure folder`)
    : [];

const TIME_AND_CHANCE =
  /\bDate\.now\b|\bnew Date\(\s*\)|\bMath\.random\b|\bperformance\.now\b|\bAbortSignal\.timeout\b|(?<![.\w$])(?:setTimeout|setInterval|setImmediate|queueMicrotask|randomBytes|randomInt|randomUUID)\s*\(/g;

/** The real disk is a port itself, as real_ports.ts is: it may name its temporary files as it likes. */
const REAL_PORTS = new Set([
  'src/real_ports.ts',
  'src/storage/node_disk.ts',
  'src/storage/directory_lock.ts',
]);

/** The shell takes time and chance through ports, so that the simulator runs the real code. */
export const portsOnly: Rule = (file) => {
  if (!isProduct(file.path) || layerOf(file.path)?.mayImport === 'everything') return [];
  if (REAL_PORTS.has(file.path)) return [];
  return findAll(file, file.code, TIME_AND_CHANCE, (name) => `${name}: take it from src/ports.ts`);
};

const REAL_WORLD =
  /\bnew Date\(\s*\)|\bDate\.now\b|\bMath\.random\b|(?<![.\w$])(?:performance|AbortSignal)\.(?:now|timeout|timeOrigin)\b|(?<![.\w$])(?:setTimeout|setInterval|setImmediate|queueMicrotask|randomBytes|randomInt|randomUUID|getRandomValues)\s*\(|(?<![.\w$])process\.(?:nextTick|hrtime|memoryUsage|cpuUsage|resourceUsage|uptime|env|on|once|emit|exit|version|versions|platform|arch)\b|\bnew (?:Worker|MessageChannel|WeakRef|FinalizationRegistry)\b|\bAtomics\.(?:wait|waitAsync)\b|\b(?:localeCompare|toLocale\w+)\s*\(|(?<![.\w$])Intl\b/g;

const HARMLESS_MODULES = new Set(['node:zlib', 'node:fs', 'node:crypto']);

/** What no simulated node or client runs: the programs, this process's own ports, and what needs threads, sockets or another process. */
const NOT_SIMULATED = [
  'src/cli/',
  'src/connect.ts',
  'src/embedded.ts',
  'src/index.ts',
  'src/api/grpc/gateway/http1.ts',
  'src/net_streams.ts',
  'src/observability/pino_logger.ts',
  'src/readers.ts',
  'src/real_ports.ts',
  'src/server.ts',
  'src/sim/main.ts',
  'src/sim/run_many.ts',
  'src/storage/directory_lock.ts',
  'src/storage/node_disk.ts',
  'src/storage/rocksdb/',
  'src/storage/tables/job_worker.ts',
  'src/storage/tables/worker_runner.ts',
  'src/threads/',
  // The one place where the simulator meets the real event loop.
  'src/sim/core/scheduler.ts',
];

/**
 * What the simulator runs must give the same every time: nothing of the real world but its ports, nothing that depends on when garbage is collected or on the
 * language of the machine. Type imports are free; `node:fs` is there to load the WebAssembly, `node:crypto` to hash.
 */
export const simulated: Rule = (file) => {
  if (!file.path.startsWith('src/')) return [];
  if (NOT_SIMULATED.some((path) => (path.endsWith('/') ? file.path.startsWith(path) : file.path === path)))
    return [];
  const why = 'a simulated run would differ from time to time';
  const imports = file.imports.filter(
    ({ specifier, typeOnly }) =>
      !typeOnly && specifier.startsWith('node:') && !HARMLESS_MODULES.has(specifier),
  );
  return [
    ...findAll(file, file.code, REAL_WORLD, (name) => `${name}: ${why}`),
    ...imports.map(({ specifier, line }) => `${file.path}:${line}: ${specifier}: ${why}`),
  ];
};

const ANY_TYPE = /(?:(?::|\bas\b|<|\|)\s*any\b(?=\s*(?:[;,)=[\]>|&{]|$)))|,\s*any\s*>/gm;

/** A type that is given up checks nothing. */
export const noAny: Rule = (file) => [
  ...findAll(file, file.code, ANY_TYPE, () => '`any` gives the type up'),
  ...findAll(
    file,
    file.commentedCode,
    /@ts-(?:ignore|expect-error|nocheck)\b/g,
    (name) => `${name} hides an error`,
  ),
];

const IMPORT_STATEMENT = /\bimport\b[^;]*;/g;
const RE_EXPORT = /\bexport\s+(?:type\s+)?(?:\*[^;]*|\{[^}]*\}[^;]*);/g;
const BUILT_IN = /\bfrom\s*'node:/;

/** What the package is imported by. */
const ENTRIES = new Set(['src/index.ts', 'src/sim.ts', 'assembly/index.ts']);

/** One imports the file that has the thing; only the package's entries speak for others. */
export const noBarrel: Rule = (file) => {
  if (ENTRIES.has(file.path)) return [];
  const problems = findAll(file, file.code, /\bexport\s+(?:type\s+)?\*/g, () => '`export *` makes a barrel');
  const rest = file.code.replace(IMPORT_STATEMENT, '').replace(RE_EXPORT, '');
  const exportsSomething = /\bexport\b/.test(file.code);
  // A file may give a built-in of Node the name under which the project uses it.
  if (exportsSomething && rest.trim() === '' && !BUILT_IN.test(file.text))
    problems.push(`${file.path}:1: nothing but re-exports`);
  if (/(?:^|\/)index\.ts$/.test(file.path)) problems.push(`${file.path}:1: a folder has no index`);
  return problems;
};

/** A file that fits in the head. */
export const lineLimit: Rule = (file) => {
  if (!isProduct(file.path) && !file.path.startsWith('assembly/')) return [];
  const lines = file.text.split('\n').length - (file.text.endsWith('\n') ? 1 : 0);
  return lines > MAX_LINES ? [`${file.path}:${lines}: ${lines} lines, allowed: ${MAX_LINES}`] : [];
};

/** Purpose and invariants stand first. */
export const opensWithComment: Rule = (file) =>
  /^(?:#![^\n]*\n)?\s*\/[/*]/.test(file.text) ? [] : [`${file.path}:1: does not open with a comment`];

const VAGUE = new Set(
  'util utils common commons helper helpers manager managers handler handlers processor processors misc stuff'.split(
    ' ',
  ),
);

/** A file is named after the one thing in it. */
export const fileNames: Rule = (file) => {
  const words = file.path.split(/[/_.-]/);
  const problems = words
    .filter((word) => VAGUE.has(word))
    .map((word) => `${file.path}:1: "${word}" names nothing`);
  const name = file.path.slice(file.path.lastIndexOf('/') + 1);
  if (!/^[a-z0-9_]+(?:\.slow)?(?:\.test)?\.ts$/.test(name))
    problems.push(`${file.path}:1: names are lower_case.ts`);
  return problems;
};

const EMPTY_CATCH = /\bcatch\s*(?:\([^)]*\)\s*)?\{\s*\}/g;
const SWALLOWED = /\.catch\(\s*(?:\(\s*\w*\s*\)|\w+)\s*=>\s*(?:\{\s*\}|undefined|null|void 0)\s*\)/g;

/** An error that is dropped must say why that is right: in the empty block, or above the line that drops a rejection. */
export const noSilentCatch: Rule = (file) => {
  const problems = findAll(file, file.commentedCode, EMPTY_CATCH, () => 'empty catch');
  if (!isProduct(file.path)) return problems;
  const lines = file.text.split('\n');
  for (const match of file.commentedCode.matchAll(SWALLOWED)) {
    const line = lineAt(file.text, match.index);
    const near = lines.slice(Math.max(0, line - 2), line).join('\n');
    if (!/\/\/|\*\//.test(near)) problems.push(`${file.path}:${line}: rejection swallowed without a word`);
  }
  return problems;
};

/** A test that is left out on the quiet proves nothing; uvu's `.only` hides all others. */
export const noHiddenTests: Rule = (file) =>
  file.path.startsWith('test/')
    ? findAll(file, file.code, /\btest\.(?:only|skip)\b/g, (name) => `${name} leaves tests out`)
    : [];

/** For folders of TypeScript. */
export const SOURCE_RULES: readonly Rule[] = [
  pureFolders,
  portsOnly,
  simulated,
  noAny,
  noBarrel,
  lineLimit,
  opensWithComment,
  fileNames,
  noSilentCatch,
  noHiddenTests,
];

/** For assembly/, which is another language: `any` and `catch` do not exist there. */
export const ASSEMBLY_RULES: readonly Rule[] = [lineLimit, opensWithComment, fileNames];
