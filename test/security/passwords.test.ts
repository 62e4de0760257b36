/** Hashes of passwords: what they hold, what they check, and what they cost whom. */

import * as assert from 'uvu/assert';
import { MAX_PASSWORD_BYTES, SALT_BYTES, ScryptPasswords } from '../../src/security/passwords.ts';
import { codeOf } from '../outcomes.ts';
import { test } from '../suite.ts';

const salt = new Uint8Array(SALT_BYTES).fill(9);
const cheap = new ScryptPasswords({ logN: 2 });

test('a password is right when it is the one that was hashed, and the same with another program of other costs', async () => {
  const hash = await cheap.hash('correct horse', salt);
  assert.is(hash.length, 52);
  assert.equal([...hash.subarray(0, 4)], [1, 2, 8, 1]);
  assert.is(await cheap.verify('correct horse', hash), true);
  assert.is(await cheap.verify('correct horsf', hash), false);
  assert.is(await cheap.verify('', hash), false);
  assert.is(await new ScryptPasswords({ logN: 3, onThisThread: true }).verify('correct horse', hash), true);
  const empty = await cheap.hash('', salt);
  assert.is(await cheap.verify('', empty), true);
  assert.is(await cheap.verify('x', empty), false);
  assert.is.not(Buffer.from(hash).includes('correct'), true);
});

test('nobody has no password, nor has what is no hash', async () => {
  const hash = await cheap.hash('p', salt);
  for (const wrong of [undefined, new Uint8Array(0), hash.subarray(1), new Uint8Array(52)])
    assert.is(await cheap.verify('p', wrong), false);
  for (const [at, value] of [
    [0, 2],
    [1, 0],
    [1, 18],
    [2, 17],
    [3, 5],
  ] as const) {
    const spoilt = new Uint8Array(hash);
    spoilt[at] = value;
    assert.is(await cheap.verify('p', spoilt), false, `byte ${at} is ${value}`);
  }
});

test('a password of a kilobyte and more is refused, without an answer of another kind when it is checked', async () => {
  const most = 'ä'.repeat(MAX_PASSWORD_BYTES / 2);
  assert.is(await cheap.verify(most, await cheap.hash(most, salt)), true);
  assert.is(await codeOf(cheap.hash(`${most}x`, salt)), 'INVALID_ARGUMENT');
  assert.is(await cheap.verify(`${most}x`, await cheap.hash('', salt)), false);
});

test('checking the password of nobody takes the same work as a wrong one', async () => {
  const passwords = new ScryptPasswords({ logN: 13, onThisThread: true });
  const hash = await passwords.hash('p', salt);
  const timed = async (of: Uint8Array | undefined): Promise<number> => {
    const before = process.cpuUsage();
    for (let i = 0; i < 8; i++) await passwords.verify('wrong', of);
    const { user, system } = process.cpuUsage(before);
    return user + system;
  };
  await timed(hash);
  const wrong = await timed(hash);
  const nobody = await timed(undefined);
  assert.ok(
    nobody > wrong / 3 && nobody < wrong * 3,
    `${nobody} us of nobody, ${wrong} us of a wrong password`,
  );
});

test('a flood of passwords is refused past a bound, and the node goes on afterwards', async () => {
  const hash = await cheap.hash('p', salt);
  const answers = await Promise.all(Array.from({ length: 200 }, () => codeOf(cheap.verify('q', hash))));
  assert.is(answers.filter((answer) => answer === 'OVERLOADED').length, 200 - 130);
  assert.is(await cheap.verify('p', hash), true);
});

test.run();
