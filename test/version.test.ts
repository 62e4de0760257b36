/** The version that the program tells is the package's. */
import { readFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { VERSION } from '../src/version.ts';
import { test } from './suite.ts';

test('src/version.ts and package.json agree', () => {
  assert.is(VERSION, JSON.parse(readFileSync('package.json', 'utf8')).version);
});

test.run();
