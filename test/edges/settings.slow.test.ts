/**
 * What people and programs write: settings, the command line, the words of a transaction, node.json. Whatever it is, it is taken (and then means itself) or refused with
 * the code for it and a message that names the place; never another error, and nothing that it says reaches the prototypes of others.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { endpointsOf, positiveInteger } from '../../src/cli/endpoints.ts';
import { parseMember } from '../../src/cli/serve.ts';
import { parseCondition, parseOperation, splitWords } from '../../src/cli/txn_words.ts';
import { type Config, isAddress, parseConfig } from '../../src/config.ts';
import { type ErrorCode, KvError } from '../../src/errors.ts';
import { foundTogether } from '../../src/node/founding.ts';
import { readIdentity, writeIdentity } from '../../src/node/identity.ts';
import { crc32 } from '../../src/storage/crc32.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { parseAddress } from '../../transports/address.ts';
import { test } from '../suite.ts';
import { count, edgeParameters, edgeRuns, expected, guardedAsync, report } from './edge_guard.ts';
import { noise, spoilt, steps } from './mutations.ts';

const RUNS = edgeRuns(120);
const MAX_MESSAGE = 20_000;
const MAX_WORDS_MESSAGE = 90_000;
const NAMES = [
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'toJSON',
  'hasOwnProperty',
  '',
  ' ',
  '\u0000',
  '0',
];

function refusedOr<T>(
  name: string,
  codes: readonly ErrorCode[],
  input: () => string,
  run: () => T,
): T | undefined {
  let value: T;
  try {
    value = run();
  } catch (error) {
    const refusal = expected(name, error, codes, input);
    assert.ok(
      refusal.message.length <= (name === 'config' ? MAX_MESSAGE : MAX_WORDS_MESSAGE),
      `${name}: a message of ${refusal.message.length} characters`,
    );
    count(name, false);
    return undefined;
  }
  count(name, true);
  return value;
}

function describe(value: unknown): string {
  try {
    return String(JSON.stringify(value)).slice(0, 500);
  } catch (error) {
    return `${typeof value} (${String(error).slice(0, 80)})`;
  }
}

const defaults = parseConfig({});
const sections = Object.keys(defaults) as (keyof Config)[];
const settingNames = sections.flatMap((section) => Object.keys(defaults[section]));

function nested(depth: number, array: boolean): unknown {
  let value: unknown = 1;
  for (let i = 0; i < depth; i++) value = array ? [value] : { a: value };
  return value;
}

/** Values of every type, of which a few are right somewhere. */
const oddValue: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(
    Number.NaN,
    Number.POSITIVE_INFINITY,
    -0,
    1e308,
    2 ** 53,
    -1,
    0.5,
    null,
    undefined,
    true,
    '',
    'fsync',
    '127.0.0.1:70000',
    '[::1]:0',
    10n,
    Symbol('x'),
    () => 1,
    new Date(Number.NaN),
    new Map([[1, 2]]),
    new Uint8Array(3),
    new Array(1000),
  ),
  fc.integer(),
  fc.integer({ min: 1, max: 1 << 30 }),
  fc.string(),
  fc.nat(60_000).map((length) => 'y'.repeat(length)),
  fc.jsonValue({ maxDepth: 3 }),
  fc.tuple(fc.constantFrom(1, 10, 300), fc.boolean()).map(([depth, array]) => nested(depth, array)),
  fc.constant(0).map(() => {
    const circle: Record<string, unknown> = {};
    circle['self'] = circle;
    return circle;
  }),
);
const anyName = fc.oneof(fc.constantFrom(...settingNames), fc.constantFrom(...NAMES), fc.string());
/** Own properties only, also the one called __proto__. */
function own(pairs: readonly (readonly [string, unknown])[]): object {
  const object = {};
  for (const [name, value] of pairs)
    Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
  return object;
}
const oddSection = fc.oneof(oddValue, fc.array(fc.tuple(anyName, oddValue), { maxLength: 4 }).map(own));
const oddConfig = fc.oneof(
  oddValue,
  fc
    .array(fc.tuple(fc.oneof(fc.constantFrom<string>(...sections), anyName), oddSection), { maxLength: 4 })
    .map(own),
);

test('any settings: taken whole and frozen, or CONFIG_INVALID with the place', () => {
  fc.assert(
    fc.property(oddConfig, (input) => {
      const config = refusedOr(
        'config',
        ['CONFIG_INVALID'],
        () => describe(input),
        () => parseConfig(input),
      );
      assert.is(Object.keys({}).length, 0);
      assert.is(
        ({} as Record<string, unknown>)['a'],
        undefined,
        'nothing reaches the prototype of all objects',
      );
      if (config === undefined) return;
      assert.ok(Object.isFrozen(config) && sections.every((section) => Object.isFrozen(config[section])));
      assert.equal(parseConfig(config), config);
      assert.equal(Object.keys(config), Object.keys(defaults));
    }),
    edgeParameters(RUNS * 3),
  );
});

test('one wrong setting of each section is named', () => {
  fc.assert(
    fc.property(fc.constantFrom(...sections), anyName, oddValue, (section, name, value) => {
      const input = own([[section, own([[name, value]])]]);
      try {
        parseConfig(input);
        return;
      } catch (error) {
        if (!(error instanceof KvError)) throw new Error(`${describe(input)}: ${String(error)}`);
        assert.is(error.code, 'CONFIG_INVALID');
        assert.ok(error.message.includes(section), `${error.message} names no section`);
      }
    }),
    edgeParameters(RUNS * 3),
  );
});

test('a setting called __proto__ is refused like any other that nobody knows', () => {
  for (const text of ['{"__proto__": {"limits": 1}}', '{"limits": {"__proto__": {"maxKeyBytes": 5}}}']) {
    const input: unknown = JSON.parse(text);
    assert.throws(
      () => parseConfig(input),
      (error: unknown) =>
        error instanceof KvError && error.code === 'CONFIG_INVALID' && /__proto__/.test(error.message),
      text,
    );
  }
});

test('a wrong setting that JSON cannot show is refused like any other', () => {
  const circle: Record<string, unknown> = {};
  circle['self'] = circle;
  for (const value of [10n, circle, nested(100_000, true), nested(100_000, false), 'x'.repeat(1 << 20)]) {
    for (const input of [{ limits: { maxKeyBytes: value } }, { limits: value }, value]) {
      let refusal: unknown;
      try {
        parseConfig(input);
      } catch (error) {
        refusal = error;
      }
      assert.ok(
        refusal instanceof KvError && refusal.code === 'CONFIG_INVALID',
        String(refusal).slice(0, 200),
      );
      assert.ok(refusal.message.length < MAX_MESSAGE, `${refusal.message.length} characters`);
    }
  }
});

test('kvorum serve refuses hostile files of settings in one line', () => {
  const directory = mkdtempSync(join(tmpdir(), 'kvorum-edges-'));
  try {
    const main = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
    const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
    for (const text of [
      `{"door": ${deep}}`,
      '{"__proto__": {"door": {}}}',
      '{"node": {"__proto__": 1}}',
      'nope',
      '[]',
    ]) {
      writeFileSync(join(directory, 'c.json'), text);
      const args = [main, 'serve', '--data', join(directory, 'd'), '--config', join(directory, 'c.json')];
      const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 30_000 });
      assert.is(status, 1, stderr.slice(0, 500));
      assert.match(stderr, /CONFIG_INVALID/);
      assert.ok(stderr.length < 2_000 && !/\n\s+at /.test(stderr), stderr.slice(0, 2_000));
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

const oddText = fc.oneof(
  fc.string({ maxLength: 40 }),
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.string({ unit: fc.constantFrom(...' "\'\\=!<>:/,[]0129abcxeputdelvalue\t\n'), maxLength: 60 }),
  fc
    .array(
      fc.constantFrom(
        'value',
        'version',
        'create',
        'mod',
        'exists',
        'missing',
        'put',
        'del',
        'get',
        'k',
        '=',
        '!=',
        '1',
        '-1',
        '1e400',
        '0x10',
        'NaN',
        '"',
        "'",
        '\\',
        '""',
        'a b',
      ),
      { maxLength: 6 },
    )
    .map((words) => words.join(' ')),
  fc.constantFrom(
    '[::1]:7400',
    '1=10.0.0.1:7401/10.0.0.1:7400',
    '9007199254740993=a:1/b:2',
    '[:]:1',
    'a:99999',
    `${'a:'.repeat(20_000)}`,
  ),
);

test('the words of the command line: understood, or INVALID_ARGUMENT', () => {
  const codes = ['INVALID_ARGUMENT'] as const;
  fc.assert(
    fc.property(oddText, (text) => {
      const input = () => describe(text);
      const words = refusedOr('words', codes, input, () => splitWords(text));
      if (words !== undefined)
        assert.equal(splitWords(words.map((word) => `'${word.replace(/[\\']/g, '\\$&')}'`).join(' ')), words);
      refusedOr('condition', codes, input, () => parseCondition(text));
      refusedOr('operation', codes, input, () => parseOperation(text));
      refusedOr('endpoints', codes, input, () => endpointsOf({ endpoints: text }));
      const number = refusedOr('integer', codes, input, () => positiveInteger('--x', text));
      if (number !== undefined) assert.ok(Number.isSafeInteger(number) && number >= 1);
      const member = refusedOr('member', ['CONFIG_INVALID', 'INVALID_ARGUMENT'], input, () =>
        parseMember(text),
      );
      if (member !== undefined) assert.ok(Number.isSafeInteger(member.id));
      refusedOr('address', ['INVALID_ARGUMENT', 'CONFIG_INVALID'], input, () => parseAddress(text));
      isAddress(text);
    }),
    edgeParameters(RUNS * 3),
  );
});

const FILE = '/data/node.json';

async function identityBytes(): Promise<Uint8Array> {
  const disk = new MemoryDisk();
  await disk.makeDirectory('/data/log');
  const founders = [1, 2, 3].map((id) => ({
    id,
    peerAddress: `10.0.0.${id}:1`,
    clientAddress: `10.0.0.${id}:2`,
  }));
  await writeIdentity(disk, '/data', foundTogether(2, founders, 'tables'));
  return new Uint8Array(await disk.readFile(FILE));
}

async function readBack(name: string, bytes: Uint8Array): Promise<unknown> {
  const disk = new MemoryDisk();
  await disk.makeDirectory('/data/log');
  const file = await disk.open(FILE, 'create');
  file.writeSync([bytes], 0);
  await file.close();
  const input = () => Buffer.from(bytes).toString().slice(0, 2_000);
  const outcome = await guardedAsync(
    name,
    bytes.length,
    1 << 20,
    ['CORRUPT', 'TREE_UNAVAILABLE'],
    input,
    () => readIdentity(disk, '/data'),
  );
  if (outcome.ok) return outcome.value;
  assert.is(outcome.error.details['file'], FILE);
  return undefined;
}

test('node.json, spoilt: what was written, or CORRUPT', async () => {
  const bytes = await identityBytes();
  const written = await readBack('node.json', bytes);
  assert.ok(written !== undefined);
  await fc.assert(
    fc.asyncProperty(steps, noise, async (how, other) => {
      const said = await readBack('node.json', spoilt(bytes, other, how));
      if (said !== undefined) assert.equal(said, written);
      await readBack('node.json of noise', other);
    }),
    edgeParameters(RUNS),
  );
});

test('node.json with a right checksum and any fields: taken or CORRUPT', async () => {
  const document = JSON.parse(Buffer.from(await identityBytes()).toString()) as Record<string, unknown>;
  delete document['checksum'];
  const paths = ['formatVersion', 'clusterId', 'nodeId', 'tree', 'configuration', 'promote', ...NAMES];
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...paths),
      fc.oneof(
        fc.jsonValue(),
        fc.constantFrom<unknown>(Number.MAX_VALUE, '99999999999999999999', 'memory', 2 ** 53),
      ),
      async (path, value) => {
        const changed = own(
          Object.entries(document)
            .filter(([name]) => name !== path)
            .concat([[path, value]]),
        );
        const checksum = crc32(Buffer.from(JSON.stringify(changed)))
          .toString(16)
          .padStart(8, '0');
        await readBack(
          'sealed node.json',
          Buffer.from(JSON.stringify(own([...Object.entries(changed), ['checksum', checksum]]))),
        );
      },
    ),
    edgeParameters(RUNS),
  );
  await readBack('deep node.json', Buffer.from(`${'['.repeat(200_000)}${']'.repeat(200_000)}`));
  await readBack(
    'deep node.json',
    Buffer.from(
      JSON.stringify(document).replace(
        /"configuration":/,
        `$&${'['.repeat(100_000)}${']'.repeat(100_000)},"x":`,
      ),
    ),
  );
});

test.after(report);
test.run();
