/** The words of `kvorum txn` and of `--cluster`: what they mean, and what is refused with a message that shows the offending text. */

import * as assert from 'uvu/assert';
import { endpointsOf, positiveInteger } from '../../src/cli/endpoints.ts';
import { shown, table } from '../../src/cli/output.ts';
import { parseMember } from '../../src/cli/serve.ts';
import { parseCondition, parseOperation, splitWords } from '../../src/cli/txn_words.ts';
import { KvError } from '../../src/errors.ts';
import { test } from '../suite.ts';

function refused(run: () => unknown, code: KvError['code'], text: string): void {
  try {
    run();
  } catch (error) {
    assert.instance(error, KvError);
    assert.is((error as KvError).code, code);
    assert.ok((error as KvError).message.includes(text), `${(error as KvError).message} names ${text}`);
    return;
  }
  assert.unreachable(`${text} was taken`);
}

test('words are split at white space; quotes hold them together, a backslash takes the next character as it is', () => {
  assert.equal(splitWords('put a b'), ['put', 'a', 'b']);
  assert.equal(splitWords('  put\ta   "b c"  '), ['put', 'a', 'b c']);
  assert.equal(splitWords(`put a 'say "hi"'`), ['put', 'a', 'say "hi"']);
  assert.equal(splitWords('put a b\\ c'), ['put', 'a', 'b c']);
  assert.equal(splitWords('put a ""'), ['put', 'a', '']);
  assert.equal(splitWords('put a x"y z"'), ['put', 'a', 'xy z']);
  assert.equal(splitWords(''), []);
  refused(() => splitWords('put a "b'), 'INVALID_ARGUMENT', 'quote is not closed');
});

test('each kind of condition becomes its compare', () => {
  assert.equal(parseCondition('exists a'), { key: 'a', exists: true });
  assert.equal(parseCondition('missing a'), { key: 'a', exists: false });
  assert.equal(parseCondition('value a = "b c"'), { key: 'a', value: 'b c', is: '=' });
  assert.equal(parseCondition('value a != x'), { key: 'a', value: 'x', is: '!=' });
  assert.equal(parseCondition('version a > 3'), { key: 'a', version: 3, is: '>' });
  assert.equal(parseCondition('create a = 0'), { key: 'a', createRevision: 0, is: '=' });
  assert.equal(parseCondition('mod a < 17'), { key: 'a', modRevision: 17, is: '<' });
  assert.equal(parseCondition('lease a = 17'), { key: 'a', lease: 17n, is: '=' });
  assert.equal(parseCondition('lease a != 0x1f'), { key: 'a', lease: 31n, is: '!=' });
  assert.equal(parseCondition('exists prefix a/'), { prefix: 'a/', exists: true });
  assert.equal(parseCondition('missing prefix'), { key: 'prefix', exists: false });
  assert.equal(parseCondition('missing range a b'), { key: 'a', end: 'b', exists: false });
  assert.equal(parseCondition('value prefix a/ = x'), { prefix: 'a/', value: 'x', is: '=' });
  assert.equal(parseCondition('version range a b > 1'), { key: 'a', end: 'b', version: 1, is: '>' });
});

test('what is no condition is refused', () => {
  for (const text of [
    '',
    'exists',
    'exists a b',
    'value a b',
    'value a ~ b',
    'version a = b c',
    'value suffix a = x',
    'exists range a',
    'size a = 1',
  ]) {
    refused(() => parseCondition(text), 'INVALID_ARGUMENT', JSON.stringify(text));
  }
  for (const lease of ['-1', '99999999999999999999', '0xg'])
    refused(() => parseCondition(`lease a = ${lease}`), 'INVALID_ARGUMENT', JSON.stringify(lease));
  refused(() => parseCondition('version a = many'), 'INVALID_ARGUMENT', '"many"');
});

test('each operation is understood, and what is none is refused', () => {
  assert.equal(parseOperation('put a "b c"'), { type: 'put', key: 'a', value: 'b c' });
  assert.equal(parseOperation('put a ""'), { type: 'put', key: 'a', value: '' });
  assert.equal(parseOperation('del a'), { type: 'delete', key: 'a' });
  assert.equal(parseOperation('get a'), { type: 'get', key: 'a' });
  assert.equal(parseOperation('put a b prev keep-lease ttl=5'), {
    type: 'put',
    key: 'a',
    value: 'b',
    prevKv: true,
    ignoreLease: true,
    ttlMs: 5,
  });
  assert.equal(parseOperation('keep a prev'), { type: 'put', key: 'a', ignoreValue: true, prevKv: true });
  assert.equal(parseOperation('touch a 0'), { type: 'touch', key: 'a', ttlMs: 0 });
  assert.equal(parseOperation('get a revision=3'), { type: 'get', key: 'a', revision: 3 });
  assert.equal(parseOperation('del-range a b prev'), {
    type: 'deleteRange',
    start: 'a',
    end: 'b',
    prevKv: true,
  });
  assert.equal(parseOperation('del-prefix a/'), { type: 'deleteRange', prefix: 'a/' });
  assert.equal(parseOperation('get-prefix a/ limit=2 keys counted descend sort=mod min-mod=3 max-create=4'), {
    type: 'range',
    prefix: 'a/',
    limit: 2,
    keysOnly: true,
    counted: true,
    sortOrder: 'descend',
    sortTarget: 'modRevision',
    minModRevision: 3,
    maxCreateRevision: 4,
  });
  assert.equal(parseOperation('get-range a b count'), {
    type: 'range',
    start: 'a',
    end: 'b',
    countOnly: true,
  });
  assert.equal(parseOperation('txn if "missing a" then "put a \'b c\'" else \'txn then "del a"\''), {
    type: 'txn',
    compare: [{ key: 'a', exists: false }],
    then: [{ type: 'put', key: 'a', value: 'b c' }],
    else: [{ type: 'txn', compare: [], then: [{ type: 'delete', key: 'a' }], else: [] }],
  });
  for (const text of [
    '',
    'put a',
    'put a b c',
    'put a b ttl=0',
    'del',
    'del a b',
    'del a prev prev',
    'get',
    'get a limit=1',
    'get-prefix',
    'get-prefix a size=1',
    'get-prefix a sort=constructor',
    'get-prefix a limit=0',
    'touch a',
    'touch a 1 2',
    'txn',
    'txn if "exists a"',
    'txn then',
    'txn also "get a"',
  ]) {
    const named = /=0$/.test(text) ? '"0"' : JSON.stringify(text);
    refused(() => parseOperation(text), 'INVALID_ARGUMENT', named);
  }
});

test('a founder is ID=PEER/CLIENT', () => {
  assert.equal(parseMember('1=10.0.0.1:7401/db1:7400'), {
    id: 1,
    peerAddress: '10.0.0.1:7401',
    clientAddress: 'db1:7400',
  });
  for (const text of ['', '1', 'a=h:1/h:2', '1=h:1', '1=h/h:2'])
    refused(() => parseMember(text), 'CONFIG_INVALID', text);
});

test('endpoints are HOST:PORT, IPv6 in brackets', () => {
  assert.equal(endpointsOf({ endpoints: 'a:1, [::1]:2' }), ['a:1', '[::1]:2']);
  for (const text of ['', 'a', 'a:', ':1', 'a:1,', '::1:2'])
    refused(() => endpointsOf({ endpoints: text }), 'INVALID_ARGUMENT', 'HOST:PORT');
});

test('numbers are whole, in range, and named when they are not', () => {
  assert.is(positiveInteger('--limit', '5'), 5);
  assert.is(positiveInteger('--limit', '0', 0), 0);
  for (const text of ['', ' ', '0', '-1', '1.5', 'x', '99999999999999999999'])
    refused(() => positiveInteger('--limit', text), 'INVALID_ARGUMENT', `--limit is ${JSON.stringify(text)}`);
});

test('bytes that are text are shown as text, others in base64; columns are as wide as their widest cell', () => {
  assert.is(shown(Buffer.from('grün')), 'grün');
  assert.is(shown(Uint8Array.of(0xff, 0x00)), 'base64:/wA=');
  assert.is(
    table([
      ['a', 'bb'],
      ['ccc', ''],
    ]),
    'a    bb\nccc',
  );
});

test.run();
