/**
 * `npm run ok`: everything a change must pass before it is committed. Types have been checked by the build that npm runs first.
 *
 *     node build/test/ok.js [--no-tests]
 *
 * Steps run one after the other; the first that fails is shown whole and ends the run with exit code 1. `--no-tests` leaves the quick tests to a caller that runs them itself.
 */
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const projectRoot = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const STEP_LIMIT_MS = 150_000;

interface Step {
  readonly name: string;
  readonly command: readonly string[];
}

const lint: Step = {
  name: 'lint and format',
  command: [
    'node_modules/@biomejs/biome/bin/biome',
    'check',
    '--error-on-warnings',
    '--diagnostic-level=warn',
    '.',
  ],
};
const imports: Step = {
  name: 'import rules',
  command: [
    'node_modules/dependency-cruiser/bin/dependency-cruise.mjs',
    ...['--config', '.dependency-cruiser.cjs', 'build/src', 'build/transports'],
  ],
};
const quickTests: Step = { name: 'quick tests', command: ['build/test/run.js', '--quick'] };

interface Outcome {
  readonly passed: boolean;
  readonly output: string;
  readonly seconds: number;
}

function runStep(step: Step): Promise<Outcome> {
  const started = performance.now();
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, step.command, {
      cwd: projectRoot,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: STEP_LIMIT_MS,
    });
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      const ending = signal === null ? '' : `\nended by ${signal} (limit ${STEP_LIMIT_MS / 1000} s)\n`;
      resolve({
        passed: code === 0,
        output: Buffer.concat(chunks).toString() + ending,
        seconds: (performance.now() - started) / 1000,
      });
    });
  });
}

/** The line that says how much was checked, where a step prints one. */
function summary(output: string): string {
  return output.trimEnd().split('\n').at(-1)?.trim() ?? '';
}

async function main(): Promise<number> {
  const args = process.argv.slice(2);
  const unknown = args.find((arg) => arg !== '--no-tests');
  if (unknown !== undefined) throw new Error(`unknown option ${unknown}`);
  const steps = args.includes('--no-tests') ? [lint, imports] : [lint, imports, quickTests];
  for (const step of steps) {
    const { passed, output, seconds } = await runStep(step);
    const mark = passed ? 'ok  ' : 'FAIL';
    console.log(
      `${mark} ${step.name.padEnd(16)} ${seconds.toFixed(1).padStart(5)} s  ${passed ? summary(output) : ''}`,
    );
    if (!passed) {
      console.log(output);
      return 1;
    }
  }
  if (args.length > 0) console.log('     quick tests      left out (--no-tests)');
  return 0;
}

process.exitCode = await main();
