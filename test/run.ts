/**
 * Runs the test files, each in a process of its own, two at a time, and prints the totals.
 *
 *     node build/test/run.js [--quick] [--coverage] [--jobs N] [WORD ...]
 *
 * `--quick` leaves out `*.slow.test.js`; WORDs choose the files whose path contains one of them. uvu knows no time-outs: a file that takes longer than
 * its allowance is killed and counts as one failure. A full run installs the servers that its files ask for (binaries.ts). The last line is `N passed, N failed` (and `, N skipped` where something was).
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installMissing, neededBy, skippedLine } from './binaries.ts';

const testRoot = dirname(fileURLToPath(import.meta.url));
const projectRoot = join(testRoot, '..', '..');
const QUICK_LIMIT_MS = 60_000;
const SLOW_LIMIT_MS = 600_000;
const LINE_COVERAGE_PERCENT = 95;

interface Options {
  quick: boolean;
  coverage: boolean;
  jobs: number;
  words: string[];
}
interface FileResult {
  file: string;
  passed: number;
  failed: number;
  skipped: number;
  seconds: number;
  output: string;
}

function parseArguments(args: string[]): Options {
  const options: Options = {
    quick: false,
    coverage: false,
    jobs: Math.min(2, availableParallelism()),
    words: [],
  };
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === '--quick') options.quick = true;
    else if (arg === '--coverage') options.coverage = true;
    else if (arg === '--jobs') options.jobs = jobs(args[++i]);
    else if (arg.startsWith('--')) throw new Error(`unknown option ${arg}`);
    else options.words.push(arg);
  }
  return options;
}

function jobs(text: string | undefined): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1)
    throw new Error(`--jobs is ${text}, allowed: a whole number from 1`);
  return count;
}

function findFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.test.js'))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => existsSync(sourceOf(file)))
    .sort((a, b) => Number(isSlow(b)) - Number(isSlow(a)) || (a < b ? -1 : 1));
}

/** Slow ones are run first: a long one begun last would run alone. */
function isSlow(file: string): boolean {
  return file.endsWith('.slow.test.js');
}

/** A compiled test whose source is gone (renamed, or of another branch) is left where it lies and counts for nothing. */
function sourceOf(file: string): string {
  return join(projectRoot, 'test', relative(testRoot, file).replace(/\.js$/, '.ts'));
}

/** Brings the servers that the files ask for onto the machine, where that may be done; says what could not be had. */
function provideBinaries(files: readonly string[]): void {
  const names = files.flatMap((file) => neededBy(readFileSync(sourceOf(file), 'utf8')));
  const missing = installMissing([...new Set(names)]);
  if (missing.length > 0) console.log(skippedLine(missing));
}

function runFile(file: string, env: NodeJS.ProcessEnv): Promise<FileResult> {
  const limitMs = isSlow(file) ? SLOW_LIMIT_MS : QUICK_LIMIT_MS;
  const started = Date.now();
  return new Promise((resolve) => {
    // A group of its own, so that whatever a stuck test had started ends with it.
    const child = spawn(process.execPath, ['--enable-source-maps', '--expose-gc', file], {
      cwd: projectRoot,
      env,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk));
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      killGroup(child.pid);
    }, limitMs);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      killGroup(child.pid);
      const output = Buffer.concat(chunks).toString();
      const total = count(output, 'Total');
      const passed = count(output, 'Passed');
      // A file that cannot run here says so in a line and has no tests; without that line it is broken.
      const wholeSkipped = code === 0 && total === 0 && /^skipped: /m.test(output);
      const skipped = wholeSkipped ? 1 : count(output, 'Skipped');
      const finished = code === 0 && (total > 0 || wholeSkipped);
      const failed = finished ? total - passed : Math.max(1, total - passed);
      const ending = timedOut
        ? `\nkilled: took longer than ${limitMs / 1000} s\n`
        : finished
          ? ''
          : `\nended with ${signal ?? `exit code ${code}`} after ${total} tests\n`;
      const seconds = (Date.now() - started) / 1000;
      resolve({ file: relative(testRoot, file), passed, failed, skipped, seconds, output: output + ending });
    });
  });
}

/** uvu closes a run with lines like `Total: 3`, once per process. */
function count(output: string, name: string): number {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: uvu may colour its totals
  const plain = output.replace(/\u001b\[[0-9;]*m/g, '');
  let sum = 0;
  for (const match of plain.matchAll(new RegExp(`^\\s*${name}:\\s+(\\d+)`, 'gm'))) sum += Number(match[1]);
  return sum;
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function runAll(files: string[], options: Options, env: NodeJS.ProcessEnv): Promise<FileResult[]> {
  const queue = [...files];
  const results: FileResult[] = [];
  const worker = async (): Promise<void> => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const result = await runFile(file, env);
      results.push(result);
      const mark = result.failed > 0 ? 'FAIL' : 'ok  ';
      const skipped = result.skipped > 0 ? `, ${result.skipped} skipped` : '';
      console.log(
        `${mark} ${result.file}  ${result.passed} passed${skipped}  ${result.seconds.toFixed(1)} s`,
      );
      if (result.failed > 0) console.log(result.output);
      else
        for (const line of result.output.split('\n'))
          if (line.startsWith('skipped: ')) console.log(`     ${line}`);
    }
  };
  await Promise.all(Array.from({ length: options.jobs }, worker));
  return results;
}

/** Files whose sources hold types only: nothing of them runs, so nothing can be covered. */
function filesWithoutCode(folder: string): string[] {
  return readdirSync(join(projectRoot, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.js'))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => {
      const code = readFileSync(file, 'utf8').replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');
      return code.replace('export {};', '').trim() === '';
    })
    .map((file) => relative(projectRoot, file));
}

/**
 * Line coverage of src/ and transports/, in lines of the TypeScript sources; files that no test loaded count as uncovered. Gives c8's exit code: not zero below
 * the bar.
 */
function reportCoverage(directory: string): Promise<number> {
  const folders = ['build/src', 'build/transports'];
  const args = [join(projectRoot, 'node_modules/c8/bin/c8.js'), 'report', '--temp-directory', directory];
  args.push('--reporter=text', '--reporter=text-summary', '--merge-async', '--all');
  for (const folder of folders) args.push(`--include=${folder}/**/*.js`);
  for (const file of folders.flatMap(filesWithoutCode)) args.push(`--exclude=${file}`);
  args.push('--check-coverage', `--lines=${LINE_COVERAGE_PERCENT}`);
  args.push('--branches=0', '--functions=0', '--statements=0');
  return new Promise((resolve) => {
    spawn(process.execPath, args, { cwd: projectRoot, stdio: 'inherit' }).on('close', (code) =>
      resolve(code ?? 1),
    );
  });
}

async function main(): Promise<void> {
  const options = parseArguments(process.argv.slice(2));
  let files = findFiles(testRoot);
  if (options.quick) files = files.filter((file) => !isSlow(file));
  if (options.words.length > 0) {
    files = files.filter((file) => options.words.some((word) => relative(testRoot, file).includes(word)));
  }
  if (!options.quick) provideBinaries(files);
  const env: NodeJS.ProcessEnv = { ...process.env, FORCE_COLOR: '0' };
  const coverageDirectory = join(projectRoot, 'coverage', 'raw');
  if (options.coverage) {
    rmSync(coverageDirectory, { recursive: true, force: true });
    mkdirSync(coverageDirectory, { recursive: true });
    env['NODE_V8_COVERAGE'] = coverageDirectory;
  }
  const results = await runAll(files, options, env);
  let coverageCode = 0;
  if (options.coverage) coverageCode = await reportCoverage(coverageDirectory);
  const sum = (pick: (result: FileResult) => number): number =>
    results.reduce((total, r) => total + pick(r), 0);
  const failed = sum((r) => r.failed);
  const skipped = sum((r) => r.skipped);
  for (const result of results) if (result.failed > 0) console.log(`failed: ${result.file}`);
  if (results.length === 0) console.log('no test file matches');
  if (coverageCode !== 0) console.log(`failed: line coverage is below ${LINE_COVERAGE_PERCENT} %`);
  console.log(`${sum((r) => r.passed)} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  process.exitCode = failed > 0 || coverageCode !== 0 || results.length === 0 ? 1 : 0;
}

await main();
