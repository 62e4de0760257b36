/** Users and rights in the client protocol: round trips, and spoilt bytes. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import type { AuthRequest } from '../../src/wire/auth_messages.ts';
import {
  readAuthRequest,
  readAuthStatus,
  readCredentials,
  readNames,
  readRole,
  readUser,
  writeAuthRequest,
  writeAuthStatus,
  writeCredentials,
  writeNames,
  writeRole,
  writeUser,
} from '../../src/wire/client_auth_codec.ts';
import { ByteReader, ByteWriter } from '../../src/wire/varint.ts';
import { test } from '../suite.ts';
import { authChange, authState, mutation, plain, safeInteger, spoil } from './command_arbitraries.ts';

const text = fc.string({ unit: 'grapheme', maxLength: 20 });
const request: fc.Arbitrary<AuthRequest> = fc.oneof(
  fc.constant({ type: 'enable' as const }),
  fc
    .record({
      type: fc.constantFrom('userAdd' as const, 'userChangePassword' as const),
      user: text,
      password: fc.option(text, { nil: undefined }),
    })
    .map((one): AuthRequest => ({ ...one })),
  authChange.map(
    (one): AuthRequest =>
      one.type === 'enable' || one.type === 'userAdd' || one.type === 'userChangePassword'
        ? { type: 'enable' }
        : one,
  ),
);
const credentials = fc.oneof(fc.record({ user: text, password: text }), fc.record({ token: text }));
const role = authState.map(({ roles }) => roles[0] ?? { name: 'r', grants: [] });

interface Form<T> {
  readonly values: fc.Arbitrary<T>;
  readonly write: (writer: ByteWriter, value: T) => void;
  readonly read: (reader: ByteReader) => T;
}
const form = <T>(one: Form<T>): Form<unknown> => one as unknown as Form<unknown>;
const FORMS: readonly (readonly [string, Form<unknown>])[] = [
  ['a change', form({ values: request, write: writeAuthRequest, read: readAuthRequest })],
  ['credentials', form({ values: credentials, write: writeCredentials, read: readCredentials })],
  ['a role', form({ values: role, write: writeRole, read: readRole })],
  [
    'a user',
    form({ values: fc.record({ name: text, roles: fc.array(text) }), write: writeUser, read: readUser }),
  ],
  ['names', form({ values: fc.array(text), write: writeNames, read: readNames })],
  [
    'a status',
    form({
      values: fc.record({ enabled: fc.boolean(), authRevision: safeInteger }),
      write: writeAuthStatus,
      read: readAuthStatus,
    }),
  ],
];

for (const [name, { values, write, read }] of FORMS) {
  test(`${name} comes back as it was; spoilt, it is another or a KvError`, () => {
    fc.assert(
      fc.property(values, mutation, (value, how) => {
        const writer = new ByteWriter(64);
        write(writer, value);
        const bytes = writer.copy();
        const reader = new ByteReader(bytes);
        assert.equal(plain(read(reader)), plain(value));
        reader.expectEnd();
        try {
          read(new ByteReader(spoil(bytes, how)));
        } catch (error) {
          if (!(error instanceof KvError)) throw error;
          assert.is(error.code, 'PROTOCOL');
        }
      }),
      { numRuns: 300 },
    );
  });
}

test('what only a node may make is no request', () => {
  const writer = new ByteWriter(64);
  writer.u8(12);
  assert.throws(
    () => readAuthRequest(new ByteReader(writer.copy())),
    (error: unknown) => error instanceof KvError,
  );
});

test.run();
