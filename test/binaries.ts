/**
 * Servers of others that some tests compare against: where they are, and how they come onto a machine.
 *
 * A test file that needs one says so in a comment of its own, `// needs: etcd, etcdctl`; the runner installs what the files of a full run ask for
 * (installMissing) and nothing else. A test then calls `requireBinaries` and skips itself where one is missing. Installing never leaves a server of the distribution
 * running: a policy file forbids package scripts to start services while apt works.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, chmodSync, constants, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Binary -> the Debian package that brings it. */
const PACKAGES = {
  etcd: 'etcd-server',
  etcdctl: 'etcd-client',
  'nats-server': 'nats-server',
  'redis-server': 'redis-server',
} as const;

export type BinaryName = keyof typeof PACKAGES;

/** Debian puts servers where a plain user's PATH does not look. */
const MORE_PLACES = ['/usr/local/sbin', '/usr/sbin', '/usr/local/bin', '/usr/bin'];
const APT_LIMIT_MS = 300_000;
const POLICY_FILE = '/usr/sbin/policy-rc.d';

export function isBinaryName(name: string): name is BinaryName {
  return Object.hasOwn(PACKAGES, name);
}

/** The full path of a program, or undefined when it is not installed. */
export function findBinary(
  name: string,
  places: readonly string[] = [...(process.env['PATH'] ?? '').split(delimiter), ...MORE_PLACES],
): string | undefined {
  for (const place of places) {
    if (place === '') continue;
    const path = join(place, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not here: the next place may have it.
    }
  }
  return undefined;
}

/** What to tell a reader whose machine lacks some binaries. */
export function skippedLine(missing: readonly BinaryName[]): string {
  const packages = [...new Set(missing.map((name) => PACKAGES[name]))];
  return `skipped: ${missing.join(', ')} not installed; install with: apt-get install -y ${packages.join(' ')}`;
}

/**
 * The paths of all the named programs; undefined when one is missing, after a `skipped: ...` line that says how to get it (the runner shows such lines).
 */
export function requireBinaries<Name extends BinaryName>(
  names: readonly Name[],
  places?: readonly string[],
): Record<Name, string> | undefined {
  const found: Partial<Record<Name, string>> = {};
  const missing: Name[] = [];
  for (const name of names) {
    const path = findBinary(name, places);
    if (path === undefined) missing.push(name);
    else found[name] = path;
  }
  if (missing.length > 0) {
    console.log(skippedLine(missing));
    return undefined;
  }
  return found as Record<Name, string>;
}

/** The binaries that a test source asks for in its `// needs:` comments. @throws Error for a name that nobody knows how to install. */
export function neededBy(source: string): BinaryName[] {
  const names: BinaryName[] = [];
  for (const match of source.matchAll(/^(?:\/\/| \*) needs: (.+)$/gm)) {
    for (const name of match[1]!.split(/[\s,]+/).filter((word) => word !== '')) {
      if (!isBinaryName(name))
        throw new Error(`needs: ${name}: not one of ${Object.keys(PACKAGES).join(', ')}`);
      names.push(name);
    }
  }
  return [...new Set(names)];
}

/** What installing touches; replaced in tests. */
export interface Installer {
  /** True where apt may be used: root on a Debian. */
  readonly allowed: boolean;
  find(name: string): string | undefined;
  /** Runs apt-get with no questions asked; true when it succeeded. */
  apt(args: readonly string[]): boolean;
}

function systemInstaller(): Installer {
  return {
    allowed:
      process.getuid?.() === 0 && existsSync('/etc/debian_version') && findBinary('apt-get') !== undefined,
    find: (name) => findBinary(name),
    apt: (args) =>
      withoutServices(() => {
        const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
        const { status, stderr } = spawnSync('apt-get', ['-qq', ...args], {
          env,
          stdio: ['ignore', 'ignore', 'pipe'],
          timeout: APT_LIMIT_MS,
        });
        if (status !== 0) console.log(`apt-get ${args.join(' ')}: ${stderr.toString().trim()}`);
        return status === 0;
      }),
  };
}

/** Debian's package scripts ask this file before they start a service; 101 means no. One that is there already stays as it is. */
function withoutServices<T>(work: () => T): T {
  if (existsSync(POLICY_FILE)) return work();
  writeFileSync(
    POLICY_FILE,
    '#!/bin/sh\n# kvorum tests: no service starts while packages are installed\nexit 101\n',
  );
  chmodSync(POLICY_FILE, 0o755);
  try {
    return work();
  } finally {
    if (readFileSync(POLICY_FILE, 'utf8').includes('kvorum tests')) rmSync(POLICY_FILE);
  }
}

/** Installs those of the named binaries that are missing, where that is allowed; gives the ones that are missing afterwards. */
export function installMissing(
  names: readonly BinaryName[],
  installer: Installer = systemInstaller(),
): BinaryName[] {
  const isMissing = (name: BinaryName): boolean => installer.find(name) === undefined;
  const missing = names.filter(isMissing);
  if (missing.length === 0 || !installer.allowed) return missing;
  const packages = [...new Set(missing.map((name) => PACKAGES[name]))];
  if (installer.apt(['update'])) installer.apt(['install', '-y', '--no-install-recommends', ...packages]);
  return missing.filter(isMissing);
}
