/**
 * Exclusive use of a directory by one opener at a time, over processes.
 *
 * Two layers. On Linux a listening abstract unix socket named after the directory's device and inode is the mutex: binding it is
 * atomic, it leaves nothing on the disk, and the kernel frees it at the moment the holder dies, however it dies. The file LOCK
 * tells who the holder is, and is the mutex where there are no abstract sockets; a LOCK whose process is gone is stale and taken over.
 *
 *     LOCK = one line of JSON: {"pid": P, "startTime": S, "bootId": B}
 *
 * S is field 22 of /proc/P/stat (clock ticks since boot; a reused pid has another one), B the boot's id; both empty elsewhere.
 *
 * Limit: abstract sockets and pids belong to a network and a pid namespace. Two containers that share a volume but neither namespace do
 * not see each other.
 */
import { randomUUID } from 'node:crypto';
import * as fs from 'node:fs';
import { createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { DiskError } from './disk.ts';

/** A process that was killed has its files until the last of its threads has ended, which is after it counts as dead: whoever starts it again at once waits so long for them. */
const DYING_WAIT_MS = 10;
const DYING_WAITS = 200;

interface Holder {
  readonly pid: number;
  readonly startTime: string;
  readonly bootId: string;
}

function readText(path: string): string | undefined {
  try {
    return fs.readFileSync(path, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}

/**
 * Field 22 of /proc/PID/stat; the command name in field 2 may hold spaces and parentheses, so count from the last ')'. undefined, too, for a process that has ended and
 * whose parent has not asked how (field 3): a parent that never asks must not keep a store shut.
 */
function startTimeOf(pid: number): string | undefined {
  const stat = readText(`/proc/${pid}/stat`);
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields === undefined || /^[ZXx]$/.test(fields[0]!) ? undefined : fields[19];
}

function self(): Holder {
  const linux = process.platform === 'linux';
  return {
    pid: process.pid,
    startTime: (linux ? startTimeOf(process.pid) : undefined) ?? '',
    bootId: (linux ? readText('/proc/sys/kernel/random/boot_id') : undefined)?.trim() ?? '',
  };
}

/** Who LOCK names; undefined when there is none or it says nothing (a crash while it was written). */
function readHolder(lockFile: string): Holder | undefined {
  const text = readText(lockFile);
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const pid = 'pid' in value ? value.pid : undefined;
  const startTime = 'startTime' in value ? value.startTime : undefined;
  const bootId = 'bootId' in value ? value.bootId : undefined;
  if (typeof pid !== 'number' || !Number.isSafeInteger(pid) || pid <= 0) return undefined;
  if (typeof startTime !== 'string' || typeof bootId !== 'string') return undefined;
  return { pid, startTime, bootId };
}

function isAlive(holder: Holder, me: Holder): boolean {
  if (holder.bootId !== me.bootId) return false;
  if (process.platform === 'linux') return startTimeOf(holder.pid) === holder.startTime;
  try {
    process.kill(holder.pid, 0);
    return true;
  } catch (error) {
    // EPERM: it is there, under another user.
    return !(error instanceof Error && 'code' in error && error.code === 'ESRCH');
  }
}

function locked(path: string, holder: Holder | undefined): DiskError {
  const who = holder === undefined ? 'another process' : `process ${holder.pid}`;
  const own = holder?.pid === process.pid ? ' (this one)' : '';
  return new DiskError('LOCKED', path, `${path} is in use by ${who}${own}`);
}

/** Binds the socket; undefined when somebody else has it. */
function bindSocket(name: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      else reject(error);
    });
    // `exclusive`: a cluster worker must not share its parent's socket.
    server.listen({ path: name, exclusive: true }, () => {
      server.unref();
      resolve(server);
    });
  });
}

function closeSocket(server: Server | undefined): Promise<void> {
  if (server === undefined) return Promise.resolve();
  return new Promise((resolve) => {
    server.close(() => resolve());
  });
}

/**
 * Puts our LOCK in place whole (rename), replacing a stale one. On a full disk that one is written over where it lies, and where there is none LOCK has to be missing: the socket is
 * held, and a node that could not start could not make room either.
 */
function writeHolder(lockFile: string, me: Holder): void {
  const temporary = `${lockFile}.${me.pid}.${randomUUID()}`;
  try {
    fs.writeFileSync(temporary, `${JSON.stringify(me)}\n`, { mode: 0o600 });
    fs.renameSync(temporary, lockFile);
  } catch (error) {
    if (!isFull(error)) throw error;
    fs.rmSync(temporary, { force: true });
    writeOver(lockFile, me);
  }
}

function writeOver(lockFile: string, me: Holder): void {
  try {
    const { size } = fs.statSync(lockFile);
    const file = fs.openSync(lockFile, 'r+');
    try {
      // Blanks take the place of what a longer one said: nothing is cut off and allocated anew.
      fs.writeSync(file, `${JSON.stringify(me)}\n`.padEnd(size), 0);
    } finally {
      fs.closeSync(file);
    }
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    if (!missing && !isFull(error)) throw error;
  }
}

function isFull(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT');
}

/** Without sockets: creating LOCK is the mutex. A stale one is moved away first; whoever moves it may try to create. */
function createLockFile(path: string, lockFile: string, me: Holder): void {
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      fs.writeFileSync(lockFile, `${JSON.stringify(me)}\n`, { mode: 0o600, flag: 'wx' });
      return;
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    }
    const holder = readHolder(lockFile);
    if (holder !== undefined && isAlive(holder, me)) throw locked(path, holder);
    const stale = `${lockFile}.stale.${randomUUID()}`;
    fs.renameSync(lockFile, stale);
    fs.rmSync(stale);
  }
  throw locked(path, readHolder(lockFile));
}

export interface LockOptions {
  /** Abstract unix sockets; what they are is a matter of the platform, and only a test chooses otherwise. */
  readonly sockets?: boolean;
}

/**
 * Takes `path` for this opener. Throws DiskError LOCKED, naming the holder's pid, while somebody else (this process too) has it.
 * REQUIRES: the directory exists.
 */
export async function lockDirectory(
  path: string,
  lockFile: string,
  options: LockOptions = {},
): Promise<{ release(): Promise<void> }> {
  const me = self();
  const sockets = options.sockets ?? process.platform === 'linux';
  let server: Server | undefined;
  if (sockets) {
    const stats = fs.statSync(path, { bigint: true });
    const name = `\0kvorum-${stats.dev}-${stats.ino}`;
    server = await bindSocket(name);
    let holder = readHolder(lockFile);
    for (let waits = 0; server === undefined; waits++) {
      if (waits === DYING_WAITS || holder === undefined || isAlive(holder, me)) throw locked(path, holder);
      await sleep(DYING_WAIT_MS);
      server = await bindSocket(name);
      holder = readHolder(lockFile);
    }
    // The socket is ours, yet the named process lives: it is in another network namespace. Our own pid is a leftover of ours.
    if (holder !== undefined && holder.pid !== me.pid && isAlive(holder, me)) {
      await closeSocket(server);
      throw locked(path, holder);
    }
    try {
      writeHolder(lockFile, me);
    } catch (error) {
      await closeSocket(server);
      throw error;
    }
  } else {
    createLockFile(path, lockFile, me);
  }
  let released = false;
  return {
    async release() {
      if (released) return;
      released = true;
      // The file first: while the socket is held nobody else can have written it.
      fs.rmSync(lockFile, { force: true });
      await closeSocket(server);
    },
  };
}
