/** Reading histories: what is taken, and what a person is told about what is not. */

import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import { parseHistory } from '../../../src/sim/check/history.ts';
import { checkHistory } from '../../../src/sim/check/linearizability.ts';
import { detectModel } from '../../../src/sim/check/models.ts';
import { test } from '../../suite.ts';

/** What is said about a history that can't be read; the model is checked too. */
function problem(model: string | undefined, ...lines: readonly string[]): string {
  try {
    checkHistory(parseHistory(lines.join('\n')), { model });
  } catch (error) {
    if (!(error instanceof KvError)) throw error;
    assert.is(error.code, 'INVALID_ARGUMENT');
    return error.message;
  }
  return 'was read';
}

const WRITE = '{"process":0,"type":"invoke","f":"write","value":1}';
const READ = '{"process":1,"type":"invoke","f":"read"}';

test('lines, blank lines, ends of lines and a byte order mark', () => {
  const text = `\uFEFF${WRITE}\r\n\r\n  ${READ}  \n{"process":1,"type":"ok","value":null,"time":5,"extra":true}`;
  const [write, read] = parseHistory(text);
  assert.equal([write!.invokeLine, read!.invokeLine, read!.returnLine], [1, 3, 4]);
  assert.equal([write!.outcome, read!.outcome, read!.output], ['info', 'ok', null]);
  assert.is(read!.returnTime, 5);
  assert.equal(parseHistory(''), []);
});

test('notes of a nemesis are left out', () => {
  const note = '{"process":"nemesis","type":"info","f":"partition","value":["a","b"]}';
  assert.is(parseHistory([note, WRITE, note, note].join('\n')).length, 1);
});

test('a line that can not be read is named, and why', () => {
  const cases: readonly (readonly [RegExp, readonly string[]])[] = [
    [/^line 2: is not JSON .*: \{"process":0$/, [WRITE, '{"process":0']],
    [/^line 1: is not a JSON object/, ['[1]']],
    [/^line 1: is not a JSON object/, ['null']],
    [/^line 1: `process` must be .* not there/, ['{"type":"invoke","f":"read"}']],
    [/^line 1: `process` must be .* is true/, ['{"process":true,"type":"invoke","f":"read"}']],
    [/^line 1: `type` must be .* is "done"/, ['{"process":0,"type":"done","f":"read"}']],
    [/^line 1: an invoke needs `f`/, ['{"process":0,"type":"invoke"}']],
    [/^line 1: `f` must be a string, and is 7/, ['{"process":0,"type":"invoke","f":7}']],
    [/^line 1: `key` must be .* is \[1\]/, ['{"process":0,"type":"invoke","f":"read","key":[1]}']],
    [/^line 1: `time` must be a number/, ['{"process":0,"type":"invoke","f":"read","time":"now"}']],
    [/^line 1: `revision` must be a whole/, ['{"process":0,"type":"invoke","f":"read","revision":1.5}']],
    [/^line 1: `succeeded` must be true/, ['{"process":0,"type":"invoke","f":"read","succeeded":1}']],
    [/^line 2: `ok` of process 1, which has nothing/, [WRITE, '{"process":1,"type":"ok"}']],
    [/^line 2: process 0 begins `read` while its `write` of line 1/, [WRITE, READ.replace('1', '0')]],
    [
      /^line 2: process 0 ends `read`, but .* line 1 is `write`/,
      [WRITE, '{"process":0,"type":"ok","f":"read"}'],
    ],
    [/^line 2: process 0 ends with key "y"/, [WRITE, '{"process":0,"type":"ok","key":"y"}']],
    [
      /^line 2: process 1 ends with key 2, .* with none/,
      [READ, '{"process":1,"type":"ok","key":2,"value":1}'],
    ],
    [
      /^line 3: time goes back from 20 \(line 1\) to 10/,
      [WRITE.replace('}', ',"time":20}'), READ, '{"process":1,"type":"ok","value":1,"time":10}'],
    ],
    [/^line 2: an `ok` read needs the `value`/, [READ, '{"process":1,"type":"ok"}']],
    [/^line 1: `write` needs a `value`/, ['{"process":0,"type":"invoke","f":"write"}']],
    [
      /^line 2: `write` ends with the value 2, but began on line 1 with 1/,
      [WRITE, '{"process":0,"type":"ok","value":2}'],
    ],
    [
      /^line 1: the value of a cas is \[from, to\], and this is 3/,
      ['{"process":0,"type":"invoke","f":"cas","value":3}'],
    ],
    [
      /^line 1: .*9007199254740992 is too large to be exact/,
      ['{"process":0,"type":"invoke","f":"write","value":9007199254740993}'],
    ],
    [
      /^line 1: .*nested deeper than 64/,
      [`{"process":0,"type":"invoke","f":"write","value":${'['.repeat(70)}${']'.repeat(70)}}`],
    ],
  ];
  for (const [expected, lines] of cases) assert.match(problem(undefined, ...lines), expected);
});

test('operations that a model does not have, and keys that it needs', () => {
  assert.match(
    problem('register', '{"process":0,"type":"invoke","f":"cas","value":[1,2]}'),
    /line 1: `cas` is no operation of the model register/,
  );
  assert.match(problem('kv', READ), /line 1: `read` needs a `key`/);
  assert.match(problem('txn', READ), /line 1: `read` is no operation of the model txn/);
  assert.match(problem('unheard-of', READ), /model unheard-of, allowed: register, cas-register, kv, txn/);
});

test('a write may end without its value, or with null', () => {
  assert.is(problem('register', WRITE, '{"process":0,"type":"ok"}'), 'was read');
  assert.is(problem('register', WRITE, '{"process":0,"type":"ok","value":null}'), 'was read');
});

test('without --model it is the narrowest that has all operations', () => {
  const of = (...fs: readonly string[]): string =>
    detectModel(parseHistory(fs.map((f, i) => JSON.stringify({ process: i, type: 'invoke', f })).join('\n')));
  assert.is(of('read', 'write'), 'register');
  assert.is(of('read', 'cas'), 'cas-register');
  assert.is(of('cas', 'get'), 'kv');
  assert.is(of('txn'), 'txn');
});

test.run();
