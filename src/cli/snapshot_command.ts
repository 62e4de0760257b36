/** `kvorum snapshot save`: the whole store into a file, while it goes on. */
import { dirname, resolve } from 'node:path';
import type { Command } from 'commander';
import { type GlobalOptions, withStore } from './endpoints.ts';
import { note, print, printJson } from './output.ts';

export function addSnapshot(program: Command): void {
  const snapshot = program.command('snapshot').description('copies of the whole store');
  snapshot
    .command('save')
    .description('store a snapshot in a file, for kvorum restore')
    .argument('<file>', 'replaced when it is there, once the new one is whole')
    .addHelpText(
      'after',
      '\nThe leader is asked where it can be reached. Where rights are enforced it takes the role root.\n' +
        '\nExample:\n  kvorum snapshot save backup.snapshot',
    )
    .action((file: string) => {
      const globals = program.opts<GlobalOptions>();
      return withStore(globals, async (store) => {
        // Loaded here: the other commands need nothing of it.
        const [{ saveSnapshot }, { NodeDisk }] = await Promise.all([
          import('../storage/snapshot/save_snapshot.ts'),
          import('../storage/node_disk.ts'),
        ]);
        const path = resolve(file);
        const { revision, sizeBytes, chunks } = await store.snapshot();
        await saveSnapshot(new NodeDisk(), { path, directory: dirname(path), sizeBytes, chunks });
        if (globals.json) return printJson({ file: path, revision, sizeBytes });
        print(path);
        note(`${sizeBytes} bytes, at revision ${revision}`);
      });
    });
}
