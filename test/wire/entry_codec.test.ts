/** Entries of the log: commands in, the same commands out. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { decodeCommand, encodeCommand } from '../../src/wire/command_codec.ts';
import { decodeEntry, EntryBuilder, EntryReader } from '../../src/wire/entry_codec.ts';
import { test } from '../suite.ts';
import { command, mutation, plain, spoil } from './command_arbitraries.ts';

test('an entry carries its time and its commands, in order; its size is known beforehand', () => {
  const builder = new EntryBuilder();
  fc.assert(
    fc.property(fc.array(command, { minLength: 1, maxLength: 6 }), fc.maxSafeNat(), (commands, timeMs) => {
      for (const one of commands) builder.add(encodeCommand(one));
      const { count, sizeBytes } = builder;
      const data = builder.finish(timeMs);
      assert.is(count, commands.length);
      assert.is(data.length, sizeBytes);
      const decoded: unknown[] = [];
      const time = decodeEntry(data, (bytes, at) => {
        assert.is(at, timeMs);
        decoded.push(plain(decodeCommand(bytes)));
      });
      assert.is(time, timeMs);
      assert.equal(decoded, commands.map(plain));
      const reader = new EntryReader(data);
      const direct: unknown[] = [];
      while (reader.next()) direct.push(plain(decodeCommand(reader.bytes, reader.start, reader.end)));
      assert.equal(direct, decoded);
    }),
  );
  assert.is(builder.count, 0);
});

test('spoilt entries give a KvError or whole commands', () => {
  let refused = 0;
  fc.assert(
    fc.property(fc.array(command, { minLength: 1, maxLength: 4 }), mutation, (commands, how) => {
      const builder = new EntryBuilder();
      for (const one of commands) builder.add(encodeCommand(one));
      let count = 0;
      try {
        decodeEntry(spoil(builder.finish(5), how), () => count++);
      } catch (error) {
        if (!(error instanceof KvError)) throw error;
        refused++;
      }
      assert.ok(count <= 60, 'never more commands than bytes');
    }),
    { numRuns: 500 },
  );
  assert.ok(refused > 50);
});

test('refused: another version, no commands, more commands than bytes, bytes after the last', () => {
  const codeOf = (...list: number[]): string => {
    try {
      decodeEntry(Uint8Array.from(list), () => {});
    } catch (error) {
      return error instanceof KvError ? error.code : 'other';
    }
    return 'fine';
  };
  const time = [1, 0, 0, 0, 0, 0, 0, 0];
  assert.is(codeOf(1, ...time, 1, 0, 0, 0, 2, 1, 3), 'fine');
  assert.is(codeOf(2, ...time, 1, 0, 0, 0, 2, 1, 3), 'UNSUPPORTED_VERSION');
  assert.is(codeOf(1, ...time, 0, 0, 0, 0), 'PROTOCOL');
  assert.is(codeOf(1, ...time, 255, 255, 255, 255, 2, 1, 3), 'PROTOCOL');
  assert.is(codeOf(1, ...time, 1, 0, 0, 0, 2, 1, 3, 9), 'PROTOCOL');
  assert.is(codeOf(1, ...time, 1, 0, 0, 0, 9, 1, 3), 'PROTOCOL');
});

test.run();
