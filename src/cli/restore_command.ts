/** `kvorum restore`: a new data directory from a snapshot. Talks to no node. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { type GlobalOptions, positiveInteger } from './endpoints.ts';
import { print, printJson } from './output.ts';
import { parseMember } from './serve.ts';

interface RestoreOptions {
  data: string;
  listen: string;
  peerListen: string;
  id?: string;
  cluster?: string;
  tree: string;
  bumpRevision?: string;
}

export function addRestore(program: Command): void {
  program
    .command('restore')
    .description('make a new data directory, of a new cluster, from a snapshot')
    .argument('<file>', 'a snapshot, as etcdctl snapshot save stores it or as nodes keep it')
    .requiredOption('--data <directory>', 'the directory to make; it must be missing or empty')
    .option('--listen <host:port>', 'where clients will reach the node, alone', '127.0.0.1:7400')
    .option('--peer-listen <host:port>', 'where other nodes will reach it', '127.0.0.1:7401')
    .option('--id <n>', 'with --cluster: which of the founders this node is')
    .option('--cluster <list>', 'several founders, as for serve: ID=PEERHOST:PORT/CLIENTHOST:PORT,...')
    .option('--tree <kind>', 'tables or rocksdb', 'tables')
    .option('--bump-revision <n>', 'how far the revision is raised (default 1000000000)')
    .addHelpText(
      'after',
      '\nThe revision is raised so that no client that saw more of the old store takes up something else; what lies below is compacted.\n' +
        '\nExample:\n  kvorum restore backup.db --data ./restored && kvorum serve --data ./restored',
    )
    .action(async (file: string, options: RestoreOptions) => {
      // Loaded here: the other commands need nothing of it.
      const [{ DEFAULT_BUMP_REVISION, restoreDirectory }, { NodeDisk }, { parseConfig }, { realPorts }] =
        await Promise.all([
          import('../node/restore.ts'),
          import('../storage/node_disk.ts'),
          import('../config.ts'),
          import('../real_ports.ts'),
        ]);
      const { bumpRevision, cluster, listen, peerListen, tree } = options;
      const members =
        cluster === undefined
          ? [{ id: 1, peerAddress: peerListen, clientAddress: listen }]
          : cluster.split(',').map(parseMember);
      const restored = await restoreDirectory({
        disk: new NodeDisk(),
        ports: realPorts(),
        config: parseConfig({ storage: { tree }, door: { clientListen: listen, peerListen } }),
        file: resolve(file),
        path: resolve(options.data),
        nodeId: positiveInteger('--id', options.id ?? '1'),
        members,
        bumpRevision:
          bumpRevision === undefined
            ? DEFAULT_BUMP_REVISION
            : positiveInteger('--bump-revision', bumpRevision, 0),
      });
      if (program.opts<GlobalOptions>().json === true) return printJson(restored);
      print(`cluster ${restored.clusterId}: ${restored.records} records, at revision ${restored.revision}`);
    });
}
