/** `kvorum check-history` as a process: exit status, what it prints, and the picture. */

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { MAIN, temporaryDirectory } from '../end_to_end/processes.ts';
import { seeded, simulate } from '../sim/check/histories.ts';
import { test } from '../suite.ts';

const directory = temporaryDirectory();
const STALE = [
  '{"process":0,"type":"invoke","f":"put","key":"<x>","value":1}',
  '{"process":0,"type":"ok","f":"put","key":"<x>","value":1}',
  '{"process":1,"type":"invoke","f":"put","key":"<x>","value":2}',
  '{"process":1,"type":"ok","f":"put","key":"<x>","value":2}',
  '{"process":2,"type":"invoke","f":"get","key":"<x>","value":null}',
  '{"process":2,"type":"ok","f":"get","key":"<x>","value":1}',
];

function run(args: readonly string[], input = ''): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [MAIN, 'check-history', ...args], { input, encoding: 'utf8' });
}

function file(name: string, lines: readonly string[]): string {
  const path = `${directory}/${name}`;
  writeFileSync(path, `${lines.join('\n')}\n`);
  return path;
}

test('a linearizable history: 0, and no picture', () => {
  const path = file('fine.jsonl', STALE.slice(0, 4));
  const { status, stdout } = run([path, '--model', 'kv']);
  assert.is(status, 0);
  assert.is(stdout, 'linearizable (2 operations, 1 part, model kv)\n');
  assert.not(existsSync(`${path}.html`));
});

test('a violation: 1, the window in print, and a picture beside the file', () => {
  const path = file('stale.jsonl', STALE);
  const { status, stdout, stderr } = run([path]);
  assert.is(status, 1);
  assert.match(
    stdout,
    /^Not linearizable. Key "<x>": process 2: get <x> -> 1: by then the value can only be 2\n/,
  );
  assert.match(stdout, /\n! process 2 {2}get <x> -> 1 .* lines 5-6\n/);
  assert.match(stderr, `picture: ${path}.html`);
  const html = readFileSync(`${path}.html`, 'utf8');
  assert.match(html, /<svg /);
  assert.match(html, 'get &#60;x&#62; -&#62; 1');
  assert.not.match(html, /<x>|<script|https?:/);
});

test('--html says where, --no-html draws nothing, --json is for programs', () => {
  const path = file('other.jsonl', STALE);
  const picture = `${directory}/picture.html`;
  const { status, stdout } = run([path, '--html', picture, '--json']);
  assert.is(status, 1);
  assert.ok(existsSync(picture) && !existsSync(`${path}.html`));
  const result: { verdict: string; violation: { key: string; operations: unknown[] } } = JSON.parse(stdout);
  assert.is(result.verdict, 'not linearizable');
  assert.is(result.violation.key, '<x>');
  assert.is(result.violation.operations.length, 3);
  assert.is(run([path, '--no-html']).status, 1);
  assert.not(existsSync(`${path}.html`));
  const unwritable = run([path, '--html', `${directory}/nowhere/picture.html`]);
  assert.is(unwritable.status, 1);
  assert.match(unwritable.stderr, /the picture could not be written/);
});

test('transactions: 1 with the ring', () => {
  const lines = [
    '{"process":0,"type":"invoke","f":"txn","value":[["append",1,1],["r",2,null]]}',
    '{"process":1,"type":"invoke","f":"txn","value":[["append",2,1],["r",1,null]]}',
    '{"process":0,"type":"ok","f":"txn","value":[["append",1,1],["r",2,null]]}',
    '{"process":1,"type":"ok","f":"txn","value":[["append",2,1],["r",1,null]]}',
  ];
  const path = file('txn.jsonl', lines);
  const { status, stdout } = run([path]);
  assert.is(status, 1);
  assert.match(stdout, /^Not strictly serializable: G2: /);
  assert.match(readFileSync(`${path}.html`, 'utf8'), /class="arrow"/);
});

test('what can not be read or decided: 2, with a reason and without a stack', () => {
  const cases: readonly (readonly [readonly string[], string, RegExp])[] = [
    [['-'], '{"process":0', /standard input: line 1: is not JSON/],
    [[`${directory}/absent.jsonl`], '', /absent\.jsonl: ENOENT/],
    [[directory], '', /EISDIR/],
    [['-', '--model', 'queue'], '', /--model is queue, allowed: register, cas-register, kv, txn/],
    [['-', '--time-limit', '0'], '', /--time-limit is 0, allowed: seconds above 0/],
    [['-', '--bogus'], '', /unknown option/],
    [[], '', /missing required argument/],
  ];
  for (const [args, input, expected] of cases) {
    const { status, stderr, stdout } = run(args, input);
    assert.is(status, 2, `${args.join(' ')}: ${stdout}`);
    assert.match(stderr, expected);
    assert.not.match(stderr, /\n {4}at /);
  }
  const json = run(['-', '--json'], 'nonsense');
  assert.is(json.status, 2);
  assert.is(JSON.parse(json.stderr).error.details.line, 1);
  assert.is(run(['--help']).status, 0);
});

test('a search that runs out of time is undecided: 2', () => {
  // A hundred operations of unknown outcome on one key, of values that others write too: what no checker does quickly.
  const plan = { operations: 3_000, processes: 10, keys: 1, values: 3, writes: 0.4, cas: 0.2, unknown: 100 };
  const lines = simulate(plan, seeded(1)).map((event) => JSON.stringify(event));
  const { status, stdout } = run(['-', '--time-limit', '0.2'], lines.join('\n'));
  assert.is(status, 2, stdout);
  assert.match(
    stdout,
    /^undecided \(.*\n {2}key "k0": 3000 operations, 100 of unknown outcome: the time limit was reached\n/,
  );
});

test.run();
