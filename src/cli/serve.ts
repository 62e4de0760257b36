/**
 * `kvorum serve`: one node in the foreground.
 *
 * Ends on SIGINT and SIGTERM (leadership is handed over first; a second signal ends it at once), when its parent process goes away (under
 * `kvorum local`), and by itself, with status 1, when its disk fails.
 */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { ConfigInput } from '../config.ts';
import { KvError } from '../errors.ts';
import type { Member } from '../raft/types.ts';
import type { Server, ServerOptions } from '../server.ts';
import { positiveInteger, userOf } from './endpoints.ts';
import { EXIT_FAILED, fail, note, print } from './output.ts';

/** etcd's own port: programs look for it there. */
const ETCD_LISTEN = '127.0.0.1:2379';

interface ServeOptions {
  data: string;
  config?: string;
  listen?: string;
  peerListen?: string;
  etcdListen?: string;
  advertise?: string;
  peerAdvertise?: string;
  id?: string;
  cluster?: string;
  join?: string;
  learner?: boolean;
  durability?: string;
  tree?: string;
  logLevel?: string;
}

export function addServe(program: Command): void {
  program
    .command('serve')
    .description('run one node in the foreground')
    .requiredOption('--data <directory>', 'data directory; created when it is missing')
    .option('--config <file>', 'settings as JSON; options given here come before it')
    .option('--listen <host:port>', 'where clients connect (default 127.0.0.1:7400)')
    .option('--peer-listen <host:port>', 'where other nodes connect (default 127.0.0.1:7401)')
    .option(
      '--etcd-listen <host:port>',
      `where clients of etcd connect as well; "none" for nowhere else (default ${ETCD_LISTEN} if that is free)`,
    )
    .option('--advertise <host:port>', 'the address clients are told, where it differs')
    .option('--peer-advertise <host:port>', 'the address other nodes are told, where it differs')
    .option('--id <n>', 'with --cluster: which of the founders this node is')
    .option(
      '--cluster <list>',
      'found a cluster: ID=PEERHOST:PORT/CLIENTHOST:PORT,... the same on every founder',
    )
    .option('--join <host:port>', 'join a running cluster through any of its nodes (client address)')
    .option('--learner', 'with --join: stay a learner, without a vote')
    .option('--durability <mode>', 'fsync (default), os or relaxed')
    .option('--tree <kind>', 'tables (default) or rocksdb')
    .option('--log-level <level>', 'silent, fatal, error, warn, info, debug or trace')
    .addHelpText(
      'after',
      `
Examples:
  kvorum serve --data ./node                              a cluster of one
  kvorum serve --data ./node2 --listen 127.0.0.1:7410 --peer-listen 127.0.0.1:7411 --join 127.0.0.1:7400
  kvorum serve --data ./a --id 1 --listen 10.0.0.1:7400 --peer-listen 10.0.0.1:7401 \\
      --cluster 1=10.0.0.1:7401/10.0.0.1:7400,2=10.0.0.2:7401/10.0.0.2:7400,3=10.0.0.3:7401/10.0.0.3:7400`,
    )
    .action(serve);
}

async function serve(options: ServeOptions, command: Command): Promise<void> {
  const config = readConfig(options);
  // Loaded here: commands that only talk to a server should not wait for what one is made of.
  const [{ parseConfig }, { startServer }, { pinoLogger }] = await Promise.all([
    import('../config.ts'),
    import('../server.ts'),
    import('../observability/pino_logger.ts'),
  ]);
  const { logLevel } = parseConfig(config).node;
  const logger = pinoLogger(logLevel, { pid: process.pid });
  const serverOptions: ServerOptions = {
    path: options.data,
    config,
    logger,
    founders: foundersOf(options),
    etcdListenIfFree: options.etcdListen === undefined ? ETCD_LISTEN : undefined,
    join: options.join,
    joinAs: options.join === undefined ? undefined : userOf(command.optsWithGlobals()),
    learner: options.learner,
  };
  const server = await startServer(serverOptions).catch((error: unknown) => {
    fail(error, false);
    // At once: nothing half-started may keep the process, and with it the directory's lock.
    process.exit(EXIT_FAILED);
  });
  stopOnSignals(server);
  print(
    JSON.stringify({
      event: 'listening',
      node: server.nodeId,
      cluster: server.clusterId,
      pid: process.pid,
      clients: server.clientAddress,
      peers: server.peerAddress,
      ...(server.etcdAddress === undefined ? {} : { etcd: server.etcdAddress }),
      data: options.data,
    }),
  );
  process.send?.({ event: 'listening', node: server.nodeId });
  const failure = await server.ended;
  await server.stop();
  if (failure !== undefined) {
    note(`kvorum: the node ended: ${failure.message} [${failure.code}]`);
    process.exit(EXIT_FAILED);
  }
  note('kvorum: this node was removed from its cluster and has stopped');
  process.exit(0);
}

function stopOnSignals(server: Server): void {
  let stopping = false;
  const stop = (why: string): void => {
    if (stopping) {
      if (why === 'disconnect') return;
      process.exit(EXIT_FAILED);
    }
    stopping = true;
    server.stop().then(
      () => process.exit(0),
      (error) => {
        note(`kvorum: stopping failed: ${error instanceof Error ? error.message : String(error)}`);
        process.exit(EXIT_FAILED);
      },
    );
  };
  // Under `kvorum local` Ctrl-C reaches this process too: there the parent says when to stop.
  process.on('SIGINT', () => {
    if (process.send === undefined) stop('SIGINT');
  });
  process.on('SIGTERM', () => stop('SIGTERM'));
  process.on('disconnect', () => stop('disconnect'));
}

function readConfig(options: ServeOptions): ConfigInput {
  const file = options.config === undefined ? {} : readConfigFile(options.config);
  const door: Record<string, unknown> = { ...section(file, 'door') };
  const storage: Record<string, unknown> = { ...section(file, 'storage') };
  const node: Record<string, unknown> = { ...section(file, 'node') };
  if (options.listen !== undefined) door['clientListen'] = options.listen;
  if (options.peerListen !== undefined) door['peerListen'] = options.peerListen;
  if (options.etcdListen !== undefined && options.etcdListen !== 'none')
    door['etcdListen'] = options.etcdListen;
  if (options.advertise !== undefined) door['clientAdvertise'] = options.advertise;
  if (options.peerAdvertise !== undefined) door['peerAdvertise'] = options.peerAdvertise;
  if (options.durability !== undefined) storage['durability'] = options.durability;
  if (options.tree !== undefined) storage['tree'] = options.tree;
  if (options.logLevel !== undefined) node['logLevel'] = options.logLevel;
  // startServer parses it all and names what is wrong: the shape is not trusted here.
  return { ...file, door, storage, node } as ConfigInput;
}

function section(file: Record<string, unknown>, name: string): Record<string, unknown> {
  const value = file[name] ?? {};
  if (typeof value === 'object' && !Array.isArray(value)) return { ...value };
  throw new KvError(
    'CONFIG_INVALID',
    `${name} is ${Array.isArray(value) ? 'a list' : JSON.stringify(value)}, allowed: an object with settings`,
  );
}

function readConfigFile(path: string): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new KvError('CONFIG_INVALID', `--config ${path} can't be read`, { cause });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new KvError('CONFIG_INVALID', `--config ${path} is not JSON: ${String(cause)}`, { cause });
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value };
  throw new KvError('CONFIG_INVALID', `--config ${path} holds no JSON object`);
}

function foundersOf(options: ServeOptions): ServerOptions['founders'] {
  if (options.cluster === undefined) {
    if (options.id !== undefined) throw new KvError('CONFIG_INVALID', '--id goes with --cluster');
    return undefined;
  }
  if (options.join !== undefined)
    throw new KvError('CONFIG_INVALID', '--cluster and --join exclude each other');
  if (options.id === undefined)
    throw new KvError('CONFIG_INVALID', '--cluster needs --id: which of the founders is this?');
  return { id: positiveInteger('--id', options.id), members: options.cluster.split(',').map(parseMember) };
}

/** ID=PEERHOST:PORT/CLIENTHOST:PORT */
export function parseMember(text: string): Member {
  const match = /^(\d+)=([^/\s]+:\d+)\/([^/\s]+:\d+)$/.exec(text.trim());
  if (match === null) {
    throw new KvError(
      'CONFIG_INVALID',
      `--cluster has ${JSON.stringify(text)}, allowed: ID=PEERHOST:PORT/CLIENTHOST:PORT`,
    );
  }
  return { id: positiveInteger('--cluster ID', match[1]!), peerAddress: match[2]!, clientAddress: match[3]! };
}
