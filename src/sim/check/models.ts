/**
 * What the operations of a history mean: the table of models, open to models of your own.
 *
 * A model is a sequential machine: `init`, and `step`, which gives the state after an operation, or undefined when the operation can't have had its
 * answer in that state. An operation of unknown outcome (`outcome: 'info'`) is one that may be stepped or left out for good. Operations in different
 * partitions must not touch each other's state: each partition is checked by itself (linearizability is local: Herlihy and Wing, 1990; as a pre-pass it is
 * Horn and Kroening's P-compositionality, 2015).
 *
 * A model whose state is one value says so with `register`: the checker knows much about reads and writes that it does not know about other machines, and
 * is far quicker. `step` and `register` must say the same.
 */
import { KvError } from '../../errors.ts';
import { casInputOf, historyError, inputOf, type Operation } from './history.ts';
import { canonical, type JsonValue, shownValue } from './json_value.ts';

/** An operation on a register that holds one value: null at first. */
export type RegisterAction =
  | { readonly kind: 'read'; readonly value: JsonValue }
  /** A comparison that was made and did not hold. */
  | { readonly kind: 'differs'; readonly value: JsonValue }
  | { readonly kind: 'write'; readonly value: JsonValue }
  | { readonly kind: 'cas'; readonly from: JsonValue; readonly to: JsonValue };

export interface Model {
  readonly name: string;
  readonly init: JsonValue;
  /** The state after an operation of outcome `ok` or `info`; undefined: impossible in this state. Pure; `operation.output` is undefined when not known. */
  step(state: JsonValue, operation: Operation): JsonValue | undefined;
  /** Which independent part of the state an operation is about. Without it, all are about one. */
  partition?(operation: Operation): string;
  /** Whether the operation never changes the state (in which state ever it is possible). Makes the search quicker. */
  isRead?(operation: Operation): boolean;
  /** The operation as one on a register, for models whose state is one value. */
  register?(operation: Operation): RegisterAction;
  /** Throws KvError (historyError) when an operation is not one of the model's. */
  check?(operation: Operation): void;
  /** What a person reads in the picture. */
  describe?(operation: Operation): string;
}

const READS = new Set(['read', 'get']);
const WRITES = new Set(['write', 'put']);

function wrongKind(operation: Operation, model: string, allowed: readonly string[]): KvError {
  return historyError(
    operation.invokeLine,
    `\`${operation.f}\` is no operation of the model ${model}, which has ${allowed.join(', ')}`,
  );
}

/** The value that an `ok` read returned. */
function readValue(operation: Operation): JsonValue {
  if (operation.output === undefined)
    throw historyError(
      operation.returnLine,
      `an \`ok\` ${operation.f} needs the \`value\` that it returned: null when there was none`,
    );
  return operation.output;
}

function registerAction(operation: Operation): RegisterAction {
  const { f } = operation;
  if (READS.has(f)) return { kind: 'read', value: readValue(operation) };
  if (WRITES.has(f)) return { kind: 'write', value: inputOf(operation) };
  if (f === 'delete') return { kind: 'write', value: null };
  const [from, to] = casInputOf(operation);
  return operation.succeeded === false ? { kind: 'differs', value: from } : { kind: 'cas', from, to };
}

/** The value of a register after an action, or undefined when the action is impossible. */
export function stepRegister(state: JsonValue, action: RegisterAction): JsonValue | undefined {
  switch (action.kind) {
    case 'read':
      return canonical(state) === canonical(action.value) ? state : undefined;
    case 'differs':
      return canonical(state) === canonical(action.value) ? undefined : state;
    case 'write':
      return action.value;
    case 'cas':
      return canonical(state) === canonical(action.from) ? action.to : undefined;
  }
}

function isRegisterRead(operation: Operation): boolean {
  return READS.has(operation.f) || (operation.f === 'cas' && operation.succeeded === false);
}

function keyText(operation: Operation): string {
  return operation.key === undefined ? '' : JSON.stringify(operation.key);
}

function describeRegister(operation: Operation): string {
  const { f, outcome } = operation;
  const key = operation.key === undefined ? '' : `${operation.key} `;
  if (READS.has(f))
    return `${f} ${key}-> ${operation.output === undefined ? '?' : shownValue(operation.output)}`;
  if (f === 'delete') return `${f} ${key}`.trimEnd();
  if (f !== 'cas') return `${f} ${key}${shownValue(operation.input ?? null)}`;
  const [from, to] = casInputOf(operation);
  const end = operation.succeeded === false && outcome === 'ok' ? ': not so' : '';
  return `cas ${key}${shownValue(from)} to ${shownValue(to)}${end}`;
}

function registerModel(name: string, allowed: readonly string[], needsKey: boolean): Model {
  return {
    name,
    init: null,
    step: (state, operation) => stepRegister(state, registerAction(operation)),
    partition: keyText,
    isRead: isRegisterRead,
    register: registerAction,
    describe: describeRegister,
    check(operation) {
      if (!allowed.includes(operation.f)) throw wrongKind(operation, name, allowed);
      if (needsKey && operation.key === undefined)
        throw historyError(operation.invokeLine, `\`${operation.f}\` needs a \`key\` in the model ${name}`);
      if (operation.outcome === 'ok') registerAction(operation);
      else if (operation.f === 'cas') casInputOf(operation);
      else if (WRITES.has(operation.f)) inputOf(operation);
    },
  };
}

/** One value, or one for each key: read, write. */
export const REGISTER = registerModel('register', ['read', 'write'], false);
/** One value, or one for each key: read, write, cas. */
export const CAS_REGISTER = registerModel('cas-register', ['read', 'write', 'cas'], false);
/** Keys with values: get, put, delete, cas; read and write mean get and put. A key that is not there is null. */
export const KV = registerModel('kv', ['get', 'put', 'delete', 'cas', 'read', 'write'], true);

/** The models that `--model` names; transactions (`txn`) have a checker of their own beside them. */
export const MODELS: Readonly<Record<string, Model>> = {
  register: REGISTER,
  'cas-register': CAS_REGISTER,
  kv: KV,
};
export const TXN = 'txn';
export const MODEL_NAMES: readonly string[] = [...Object.keys(MODELS), TXN];

/** The narrowest model that has all operations of a history. */
export function detectModel(operations: readonly Operation[]): string {
  const names = new Set(operations.map(({ f }) => f));
  if (names.has(TXN)) return TXN;
  if (names.has('get') || names.has('put') || names.has('delete')) return KV.name;
  return names.has('cas') ? CAS_REGISTER.name : REGISTER.name;
}

/** @throws KvError INVALID_ARGUMENT for a name that is none */
export function modelNamed(name: string): Model {
  const model = MODELS[name];
  if (model === undefined)
    throw new KvError('INVALID_ARGUMENT', `model ${name}, allowed: ${MODEL_NAMES.join(', ')}`);
  return model;
}
