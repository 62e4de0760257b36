/** Codecs for values: how a store with typed values turns them into bytes and back (`store.withCodec(jsonCodec<T>())`). */
import { KvError } from '../errors.ts';
import type { Codec } from './store_types.ts';

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Values are strings, stored as UTF-8. */
export const stringCodec: Codec<string> = {
  encode: (value) => Buffer.from(value, 'utf8'),
  decode(bytes) {
    try {
      return strictUtf8.decode(bytes);
    } catch (cause) {
      throw new KvError('INVALID_ARGUMENT', 'the value is not UTF-8 text', { cause });
    }
  },
};

/**
 * Values are what JSON can say. The type is the caller's word for what is stored; nothing checks it when a value is read.
 * @throws KvError INVALID_ARGUMENT for a value without a JSON form, or stored bytes that are not JSON.
 */
export function jsonCodec<V>(): Codec<V> {
  return {
    encode(value) {
      const text: string | undefined = JSON.stringify(value);
      if (text === undefined) throw new KvError('INVALID_ARGUMENT', 'the value has no JSON form');
      return Buffer.from(text, 'utf8');
    },
    decode(bytes) {
      try {
        const value: V = JSON.parse(strictUtf8.decode(bytes));
        return value;
      } catch (cause) {
        throw new KvError('INVALID_ARGUMENT', 'the stored value is not JSON', { cause });
      }
    },
  };
}
