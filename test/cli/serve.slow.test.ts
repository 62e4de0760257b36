/** `kvorum serve`, `kvorum check` and `kvorum local` as processes: how they start, refuse to start and end, and damage that is found offline. */
import { closeSync, openSync, readdirSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import {
  Command,
  type Ended,
  endAll,
  endWithTest,
  eventually,
  freePorts,
  kvorum,
  listenOn,
  localBasePort,
  MAIN,
  type StatusOfNode,
  serve,
  startLocal,
  statusOf,
  temporaryDirectory,
} from '../end_to_end/processes.ts';
import { test } from '../suite.ts';

const MIB = 1024 * 1024;

function anywhere(data: string, ...args: string[]): string[] {
  return ['serve', '--data', data, '--listen', '127.0.0.1:0', '--peer-listen', '127.0.0.1:0', ...args];
}

async function refused(args: string[], message: RegExp): Promise<Ended> {
  const ended = await kvorum(args);
  assert.is(ended.status, 1, `kvorum ${args.join(' ')} printed ${ended.stdout}`);
  assert.match(ended.stderr, message);
  assert.not.match(ended.stderr, /\n {4}at /, 'no stack traces for the user');
  return ended;
}

/** Turns one bit of a file over. */
function flipBit(file: string, offset: number): void {
  const byte = readFileSync(file)[offset]!;
  const fd = openSync(file, 'r+');
  writeSync(fd, Uint8Array.of(byte ^ 1), 0, 1, offset);
  closeSync(fd);
}

test('a data directory serves one process at a time; a second one is refused and ends', async () => {
  const data = join(temporaryDirectory(), 'node');
  const [clientPort, peerPort] = (await freePorts(2)) as [number, number];
  const node = await serve({ data, clientPort, peerPort });
  const second = await refused(
    anywhere(data),
    /in use by process \d+.*\[LOCKED\]\nAnother process has this data/,
  );
  assert.match(second.stderr, new RegExp(`process ${node.pid}`));
  await refused(['check', data], /\[LOCKED\]/);
  const ended = await node.command.stop('SIGINT');
  assert.is(ended.status, 0, ended.stderr);
});

test('an address that is taken is named, with what to do, and the process ends', async () => {
  const [port, other] = (await freePorts(2)) as [number, number];
  const holder = await listenOn(port);
  const taken = new RegExp(
    `cannot listen on 127\\.0\\.0\\.1:${port}: .*EADDRINUSE.*\\nIf another process.*--listen`,
  );
  const data = temporaryDirectory();
  const addresses = [`127.0.0.1:${port}`, `127.0.0.1:${other}`] as const;
  await refused(
    ['serve', '--data', `${data}/a`, '--listen', addresses[0], '--peer-listen', addresses[1]],
    taken,
  );
  await refused(
    ['serve', '--data', `${data}/b`, '--listen', addresses[1], '--peer-listen', addresses[0]],
    taken,
  );
  await refused(['local', '--data', `${data}/c`, '--nodes', '1', '--base-port', String(port)], taken);
  assert.not.ok(readdirSync(data).includes('c'), 'nothing was begun');
  holder?.close();
});

test('a wrong setting is named with what was given and what is allowed', async () => {
  const data = temporaryDirectory();
  let files = 0;
  const withConfig = (text: string): string[] => {
    const file = join(data, `config-${files++}.json`);
    writeFileSync(file, text);
    return anywhere(`${data}/node`, '--config', file);
  };
  await Promise.all([
    refused(
      withConfig('{"storage":{"segmentSizeBytes":5}}'),
      /storage\.segmentSizeBytes is 5, allowed: at least 65536 \[CONFIG_INVALID\]/,
    ),
    refused(withConfig('{"storage":{"colour":"blue"}}'), /unknown setting storage\.colour/),
    refused(withConfig('{"node":3}'), /node is 3, allowed: an object/),
    refused(withConfig('{'), /is not JSON/),
    refused(withConfig('[1]'), /holds no JSON object/),
    refused(anywhere(`${data}/node`, '--config', `${data}/none.json`), /none\.json can't be read/),
    refused(anywhere(`${data}/node`, '--durability', 'maybe'), /"maybe", allowed: fsync, os, relaxed/),
    refused(anywhere(`${data}/node`, '--log-level', 'loud'), /node\.logLevel is "loud"/),
    refused(anywhere(`${data}/node`, '--id', '1'), /--id goes with --cluster/),
    refused(anywhere(`${data}/node`, '--cluster', '1=a:1/a:2'), /--cluster needs --id/),
    refused(anywhere(`${data}/node`, '--cluster', '1=a:1', '--id', '1'), /ID=PEERHOST:PORT\/CLIENTHOST:PORT/),
    refused(anywhere(`${data}/node`, '--cluster', '1=a:1/a:2', '--id', '2'), /node 2 is not in the list/),
    refused(anywhere(`${data}/node`, '--cluster', '1=a:1/a:2', '--join', 'a:2'), /exclude each other/),
    refused(['serve'], /required option '--data <directory>' not specified/),
    refused(
      ['serve', '--data', data, '--listen', 'here'],
      /door\.clientListen is "here", allowed: must be HOST:PORT/,
    ),
    refused(['local', '--nodes', '10', '--data', `${data}/l`], /--nodes is 10, allowed: 1 to 9/),
    refused(['local', '--base-port', '65530', '--data', `${data}/l`], /--base-port is 65530, allowed: 1 to/),
  ]);
});

test('check finds a directory sound, and one flipped bit in its log, its manifest or a table', async () => {
  const data = join(temporaryDirectory(), 'node');
  const [clientPort, peerPort] = (await freePorts(2)) as [number, number];
  const config = {
    storage: { memtableSizeBytes: MIB, checkpointLogBytes: MIB, segmentSizeBytes: 256 * 1024 },
  };
  const node = await serve({ data, clientPort, peerPort, config });
  const value = Buffer.alloc(200_000, 'v');
  for (let i = 0; i < 12; i++)
    await kvorum(['put', `key-${i}`, '-', '--endpoints', node.endpoint], { input: value });
  const tables = (): string[] => readdirSync(`${data}/tree/tables`).filter((name) => name.endsWith('.kvt'));
  await eventually('a table', () => (tables().length > 0 ? true : undefined));
  await node.command.stop();

  const sound = await kvorum(['check', data]);
  assert.is(sound.status, 0, sound.stdout);
  assert.match(sound.stdout, /^node 1 of cluster \d+: \d+ files checked: sound\n$/);
  const report = JSON.parse((await kvorum(['check', data, '--json'])).stdout);
  assert.equal(report.damages, []);
  assert.is(report.node.nodeId, 1);

  const log = readdirSync(`${data}/log`).sort()[0]!;
  const table = join(data, 'tree/tables', tables()[0]!);
  for (const file of [join(data, 'log', log), join(data, 'tree/MANIFEST'), table]) {
    const offset = Math.floor(statSync(file).size / 3);
    flipBit(file, offset);
    const damaged = await kvorum(['check', data]);
    assert.is(damaged.status, 1, damaged.stdout);
    assert.ok(damaged.stdout.includes(`${file} at byte `), damaged.stdout);
    const [damage] = JSON.parse((await kvorum(['check', data, '--json'])).stdout).damages;
    assert.is(damage.file, file);
    assert.ok(Math.abs(damage.offset - offset) < 300_000, `${damage.offset} is where ${offset} is`);
    // A table is read when its keys are: a node starts, and the read fails.
    if (file !== table) {
      const ended = await kvorum(anywhere(data));
      assert.is(ended.status, 1, 'a node does not start on it');
      assert.match(ended.stderr, /\[CORRUPT\]\n`kvorum check DIRECTORY`/);
    } else {
      const again = await serve({ data, clientPort, peerPort, config });
      const reads = await Promise.all(
        Array.from({ length: 12 }, (_, i) => kvorum(['get', `key-${i}`, '--endpoints', again.endpoint])),
      );
      const failed = reads.filter(({ status }) => status !== 0);
      assert.ok(failed.length > 0 && failed.length < 12, `${failed.length} of 12 reads failed`);
      for (const { stderr } of failed) assert.match(stderr, /damaged at offset \d+.*\[CORRUPT\]/);
      await again.command.stop();
    }
    flipBit(file, offset);
  }
  assert.is((await kvorum(['check', data])).status, 0, 'the bits are back');
  await refused(['check', temporaryDirectory()], /there is no node\.json in it/);
});

test('kvorum local starts a cluster, says how to use it, restarts a node that died, and ends with its nodes', async () => {
  const data = temporaryDirectory();
  const cluster = await startLocal(3, data, await localBasePort(3));
  const { command, endpoints } = cluster;
  await command.line(/^Ctrl-C stops all nodes; the data stays in /);
  assert.match(command.stdout, /npx kvorum put greeting hello --endpoints 127/);
  assert.match(command.stdout, /etcdctl --endpoints 127\.0\.0\.1:\d+ get greeting/);
  const before = await statusOf(endpoints);
  const victim = before.find(({ role }) => role === 'follower')!;
  process.kill(victim.pid, 'SIGKILL');
  const back = await eventually('the node to be back', async () =>
    (await statusOf(endpoints)).find(({ id, pid }) => id === victim.id && pid !== victim.pid),
  );
  assert.match(
    command.stderr,
    new RegExp(`node ${victim.id} \\(pid ${victim.pid}\\) was ended by SIGKILL; it is started again`),
  );
  assert.match(command.stderr, new RegExp(`node ${victim.id} is back as pid ${back.pid}`));
  const ended = await command.stop('SIGINT');
  assert.is(ended.status, 0, ended.stderr);
  for (const { pid } of [...before, back])
    assert.throws(() => process.kill(pid, 0), /ESRCH/, `${pid} has ended`);
});

test('kvorum local says where clients of etcd find a node whose port for them is taken', async () => {
  const [etcdPort] = await freePorts(1);
  const taken = await listenOn(etcdPort!);
  const basePort = await localBasePort(1);
  const flags = ['--nodes', '1', '--base-port', String(basePort), '--etcd-port', String(etcdPort)];
  const command = new Command(['local', '--data', temporaryDirectory(), ...flags]);
  await command.line(/^Ctrl-C stops the node/);
  for (const { pid } of await statusOf([`127.0.0.1:${basePort}`])) endWithTest(pid);
  const { status, stdout, stderr } = await command.stop('SIGINT');
  await new Promise((resolve) => taken?.close(resolve));
  assert.is(status, 0, stderr);
  assert.match(
    stderr,
    `port ${etcdPort} is taken by another process: clients of etcd find node 1 at 127.0.0.1:${basePort} only`,
  );
  assert.not.match(stdout, /etcdctl/);
});

test('nodes end by themselves when kvorum local is killed', async () => {
  const { command, endpoints } = await startLocal(1, temporaryDirectory(), await localBasePort(1));
  const [{ pid }] = (await statusOf(endpoints)) as [StatusOfNode];
  command.child.kill('SIGKILL');
  await eventually('the node to end', () => {
    try {
      process.kill(pid, 0);
      return undefined;
    } catch {
      return true;
    }
  });
});

test('the command can be run as a program, as npx does', () => {
  assert.ok((statSync(MAIN).mode & 0o111) !== 0, `${MAIN} is not executable: the build must set its mode`);
});

test('a node that cannot reach the cluster it is to join says so and ends', async () => {
  const [port] = await freePorts(1);
  const command = new Command(anywhere(join(temporaryDirectory(), 'node'), '--join', `127.0.0.1:${port}`));
  const ended = await command.ended;
  assert.is(ended.status, 1);
  assert.match(ended.stderr, new RegExp(`127\\.0\\.0\\.1:${port}[\\s\\S]*\\[(UNAVAILABLE|TIMEOUT)\\]`));
});

test.after(endAll);

test.run();
