/** Tests that need a server of others find it, get it installed where that is allowed, or skip with a line that says how to get it. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import {
  findBinary,
  type Installer,
  installMissing,
  neededBy,
  requireBinaries,
  skippedLine,
} from './binaries.ts';
import { test } from './suite.ts';

test('a program is found where it may be executed, and only there', () => {
  const folder = mkdtempSync(join(tmpdir(), 'kvorum-binaries-'));
  try {
    const path = join(folder, 'etcd');
    writeFileSync(path, '#!/bin/sh\n');
    chmodSync(path, 0o644);
    assert.is(findBinary('etcd', [folder]), undefined, 'a file without the x bit is no program');
    chmodSync(path, 0o755);
    assert.is(findBinary('etcd', ['', '/nowhere', folder]), path);
    assert.equal(requireBinaries(['etcd'], [folder]), { etcd: path });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a missing program gives a line that says which package brings it', () => {
  const lines: string[] = [];
  const log = console.log;
  console.log = (line: string) => lines.push(line);
  try {
    assert.is(requireBinaries(['etcd', 'etcdctl'], ['/nowhere']), undefined);
  } finally {
    console.log = log;
  }
  assert.equal(lines, [skippedLine(['etcd', 'etcdctl'])]);
  assert.match(lines[0]!, 'apt-get install -y etcd-server etcd-client');
});

test('a test file says what it needs in a comment of its own', () => {
  assert.equal(neededBy('/** A test. */\n// needs: etcd, etcdctl\nimport x;'), ['etcd', 'etcdctl']);
  assert.equal(neededBy('/**\n * A test.\n * needs: nats-server\n */'), ['nats-server']);
  assert.equal(neededBy("const text = '// needs: etcd';"), []);
  assert.throws(() => neededBy('// needs: mongod'), /mongod/);
});

/** An apt that brings what it is asked for, and writes down what it was asked. */
function fakeInstaller(options: { allowed: boolean; works: boolean }): {
  installer: Installer;
  calls: string[];
} {
  const installed = new Set(['redis-server']);
  const calls: string[] = [];
  const installer: Installer = {
    allowed: options.allowed,
    find: (name) => (installed.has(name) ? `/usr/bin/${name}` : undefined),
    apt(args) {
      calls.push(args.join(' '));
      if (options.works && args.includes('etcd-server')) installed.add('etcd');
      return options.works;
    },
  };
  return { installer, calls };
}

test('only what is missing is installed, after the package lists were read', () => {
  const { installer, calls } = fakeInstaller({ allowed: true, works: true });
  assert.equal(installMissing(['redis-server', 'etcd'], installer), []);
  assert.equal(calls, ['update', 'install -y --no-install-recommends etcd-server']);
});

test('nothing missing: apt is not touched', () => {
  const { installer, calls } = fakeInstaller({ allowed: true, works: true });
  assert.equal(installMissing(['redis-server'], installer), []);
  assert.equal(installMissing([], installer), []);
  assert.equal(calls, []);
});

test('where apt may not be used or does not work, what is missing stays missing', () => {
  const forbidden = fakeInstaller({ allowed: false, works: true });
  assert.equal(installMissing(['etcd'], forbidden.installer), ['etcd']);
  assert.equal(forbidden.calls, []);
  const broken = fakeInstaller({ allowed: true, works: false });
  assert.equal(installMissing(['etcd'], broken.installer), ['etcd']);
  assert.equal(broken.calls, ['update']);
});

test.run();
