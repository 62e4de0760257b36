/** The words of `kvorum txn` and of `--cluster`: what they mean, and what is refused with a message that shows the offending text. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { endpointsOf, positiveInteger } from '../../src/cli/endpoints.ts';
import { shown, table } from '../../src/cli/output.ts';
import { parseMember } from '../../src/cli/serve.ts';
import { parseCondition, parseOperation, splitWords } from '../../src/cli/txn_command.ts';
import { KvError } from '../../src/errors.ts';

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
});

test('what is no condition is refused', () => {
  for (const text of [
    '',
    'exists',
    'exists a b',
    'value a b',
    'value a ~ b',
    'version a = b c',
    'size a = 1',
  ]) {
    refused(() => parseCondition(text), 'INVALID_ARGUMENT', JSON.stringify(text));
  }
  refused(() => parseCondition('version a = many'), 'INVALID_ARGUMENT', '"many"');
});

test('each operation is understood, and what is none is refused', () => {
  assert.equal(parseOperation('put a "b c"'), { type: 'put', key: 'a', value: 'b c' });
  assert.equal(parseOperation('put a ""'), { type: 'put', key: 'a', value: '' });
  assert.equal(parseOperation('del a'), { type: 'delete', key: 'a' });
  assert.equal(parseOperation('get a'), { type: 'get', key: 'a' });
  for (const text of ['', 'put a', 'put a b c', 'del', 'del a b', 'get', 'touch a']) {
    refused(() => parseOperation(text), 'INVALID_ARGUMENT', JSON.stringify(text));
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
