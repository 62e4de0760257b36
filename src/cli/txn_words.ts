/**
 * The words of `kvorum txn`: conditions and operations from text.
 *
 *     condition := 'value' KEYS RELATION VALUE | ('version' | 'create' | 'mod' | 'lease') KEYS RELATION NUMBER | ('exists' | 'missing') KEYS
 *     KEYS      := KEY | 'prefix' PREFIX | 'range' KEY END
 *     RELATION  := = | != | < | >
 *     operation := 'put' KEY VALUE change* | 'keep' KEY change* | 'del' KEY ['prev'] | 'del-prefix' PREFIX ['prev'] | 'del-range' KEY END ['prev']
 *                | 'get' KEY ['revision=N'] | 'get-prefix' PREFIX view* | 'get-range' KEY END view* | 'touch' KEY MILLISECONDS
 *                | 'txn' ('if' CONDITION)* ('then' OPERATION)* ('else' OPERATION)*
 *     change    := 'prev' | 'keep-lease' | 'ttl=MILLISECONDS'
 *     view      := 'keys' | 'count' | 'counted' | 'descend' | 'sort=TARGET' | ('limit' | 'revision' | 'min-mod' | 'max-mod' | 'min-create' | 'max-create')=N
 *
 * A word with spaces stands in double or single quotes; a backslash takes the next character as it is. A condition or operation within a `txn` is one such word.
 */
import type { KeySelection, RangeView, TxnCompare, TxnOperation } from '../client/store_types.ts';
import { KvError } from '../errors.ts';
import { positiveInteger } from './endpoints.ts';

const RELATIONS = ['=', '!=', '<', '>'] as const;
const SORTS = {
  key: 'key',
  version: 'version',
  create: 'createRevision',
  mod: 'modRevision',
  value: 'value',
} as const;
const VIEW_NUMBERS = {
  limit: 'limit',
  revision: 'revision',
  'min-mod': 'minModRevision',
  'max-mod': 'maxModRevision',
  'min-create': 'minCreateRevision',
  'max-create': 'maxCreateRevision',
} as const;

type Keys = { readonly key: string; readonly end?: string } | { readonly prefix: string };

/** @throws KvError INVALID_ARGUMENT */
export function parseCondition(text: string): TxnCompare {
  const [target, ...rest] = splitWords(text);
  const wrong = (): KvError =>
    new KvError('INVALID_ARGUMENT', `--if ${JSON.stringify(text)} is not a condition; see kvorum txn --help`);
  const bare = target === 'exists' || target === 'missing';
  const keys = keysOf(bare ? rest : rest.slice(0, -2));
  if (keys === undefined) throw wrong();
  if (bare) return { ...keys, exists: target === 'exists' };
  const [relation, operand = ''] = rest.slice(-2);
  const is = RELATIONS.find((known) => known === relation);
  if (is === undefined) throw wrong();
  if (target === 'value') return { ...keys, value: operand, is };
  if (target === 'lease') return { ...keys, lease: leaseNumber(operand), is };
  const number = positiveInteger('--if', operand, 0);
  if (target === 'version') return { ...keys, version: number, is };
  if (target === 'create') return { ...keys, createRevision: number, is };
  if (target === 'mod') return { ...keys, modRevision: number, is };
  throw wrong();
}

/** How many words there are says which they are: any of them may be a key. */
function keysOf(words: readonly string[]): Keys | undefined {
  const [first = '', key = '', end = ''] = words;
  if (words.length === 1) return { key: first };
  if (words.length === 2 && first === 'prefix') return { prefix: key };
  if (words.length === 3 && first === 'range') return { key, end };
  return undefined;
}

/** Decimal, or hexadecimal behind 0x. */
function leaseNumber(text: string): bigint {
  if (/^(\d{1,19}|0x[0-9a-f]{1,16})$/i.test(text)) return BigInt(text);
  throw new KvError(
    'INVALID_ARGUMENT',
    `the lease is ${JSON.stringify(text)}, allowed: a whole number, hexadecimal behind 0x`,
  );
}

/** @throws KvError INVALID_ARGUMENT */
export function parseOperation(text: string): TxnOperation {
  const [verb, ...words] = splitWords(text);
  const wrong = (): KvError =>
    new KvError('INVALID_ARGUMENT', `${JSON.stringify(text)} is not an operation; see kvorum txn --help`);
  const take = (): string => {
    const word = words.shift();
    if (word === undefined) throw wrong();
    return word;
  };
  switch (verb) {
    case 'put':
      return { type: 'put', key: take(), value: take(), ...changes(words, wrong) };
    case 'keep':
      return { type: 'put', key: take(), ignoreValue: true, ...changes(words, wrong) };
    case 'del':
      return { type: 'delete', key: take(), ...prevOnly(words, wrong) };
    case 'del-prefix':
      return { type: 'deleteRange', prefix: take(), ...prevOnly(words, wrong) };
    case 'del-range':
      return { type: 'deleteRange', start: take(), end: take(), ...prevOnly(words, wrong) };
    case 'get': {
      const key = take();
      const { revision, ...more } = view(words, wrong);
      if (Object.keys(more).length > 0) throw wrong();
      return { type: 'get', key, ...(revision === undefined ? {} : { revision }) };
    }
    case 'get-prefix':
      return rangeOperation({ prefix: take() }, view(words, wrong));
    case 'get-range':
      return rangeOperation({ start: take(), end: take() }, view(words, wrong));
    case 'touch': {
      const key = take();
      const ttlMs = positiveInteger('touch', take(), 0);
      if (words.length > 0) throw wrong();
      return { type: 'touch', key, ttlMs };
    }
    case 'txn':
      return nested(words, wrong);
    default:
      throw wrong();
  }
}

function rangeOperation(keys: KeySelection, shown: RangeView & { readonly revision?: number }): TxnOperation {
  return { type: 'range', ...keys, ...shown };
}

function changes(
  words: readonly string[],
  wrong: () => KvError,
): { readonly prevKv?: true; readonly ignoreLease?: true; readonly ttlMs?: number } {
  const found: { prevKv?: true; ignoreLease?: true; ttlMs?: number } = {};
  for (const word of words) {
    if (word === 'prev') found.prevKv = true;
    else if (word === 'keep-lease') found.ignoreLease = true;
    else if (word.startsWith('ttl=')) found.ttlMs = positiveInteger('ttl', word.slice(4));
    else throw wrong();
  }
  return found;
}

function prevOnly(words: readonly string[], wrong: () => KvError): { readonly prevKv?: true } {
  if (words.length === 0) return {};
  if (words.length > 1 || words[0] !== 'prev') throw wrong();
  return { prevKv: true };
}

type Writable<T> = { -readonly [name in keyof T]: T[name] };

function view(words: readonly string[], wrong: () => KvError): RangeView & { readonly revision?: number } {
  const found: Writable<RangeView> & { revision?: number } = {};
  for (const word of words) {
    const [name = '', value] = splitOnce(word);
    if (word === 'keys') found.keysOnly = true;
    else if (word === 'count') found.countOnly = true;
    else if (word === 'counted') found.counted = true;
    else if (word === 'descend') found.sortOrder = 'descend';
    else if (value === undefined) throw wrong();
    else if (name === 'sort') found.sortTarget = ownValue(SORTS, value, wrong);
    else found[ownValue(VIEW_NUMBERS, name, wrong)] = positiveInteger(name, value);
  }
  return found;
}

function splitOnce(word: string): readonly [string, string | undefined] {
  const at = word.indexOf('=');
  return at < 0 ? [word, undefined] : [word.slice(0, at), word.slice(at + 1)];
}

function ownValue<T extends string>(
  table: Readonly<Record<string, T>>,
  name: string,
  wrong: () => KvError,
): T {
  const value = Object.hasOwn(table, name) ? table[name] : undefined;
  if (value === undefined) throw wrong();
  return value;
}

function nested(words: readonly string[], wrong: () => KvError): TxnOperation {
  const compare: TxnCompare[] = [];
  const then: TxnOperation[] = [];
  const otherwise: TxnOperation[] = [];
  for (let at = 0; at < words.length; at += 2) {
    const inner = words[at + 1];
    if (inner === undefined) throw wrong();
    if (words[at] === 'if') compare.push(parseCondition(inner));
    else if (words[at] === 'then') then.push(parseOperation(inner));
    else if (words[at] === 'else') otherwise.push(parseOperation(inner));
    else throw wrong();
  }
  if (then.length + otherwise.length === 0) throw wrong();
  return { type: 'txn', compare, then, else: otherwise };
}

/** Words as a shell would split them, without its expansions. */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = '';
  for (let i = 0; i < text.length; i++) {
    const character = text[i]!;
    if (character === '\\' && i + 1 < text.length) word = (word ?? '') + text[++i]!;
    else if (quote !== '') {
      if (character === quote) quote = '';
      else word += character;
    } else if (character === '"' || character === "'") {
      quote = character;
      word ??= '';
    } else if (/\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? '') + character;
  }
  if (quote !== '') throw new KvError('INVALID_ARGUMENT', `${JSON.stringify(text)}: a quote is not closed`);
  if (word !== undefined) words.push(word);
  return words;
}
