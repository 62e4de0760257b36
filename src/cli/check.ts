/**
 * `kvorum check`: verifies a data directory that no node has open, without changing it.
 *
 * Exit status 0: sound; 1: damage was found, or the directory can't be checked.
 */
import { SingleBar } from 'cli-progress';
import type { Command } from 'commander';
import type { Damage } from '../node/check_directory.ts';
import type { GlobalOptions } from './endpoints.ts';
import { EXIT_FAILED, print, printJson } from './output.ts';

const SHOWN_KEY_BYTES = 60;

export function addCheck(program: Command): void {
  program
    .command('check')
    .description('verify a data directory offline: every checksum of the log, the tree and the snapshots')
    .argument('<directory>', "a node's data directory, e.g. ./data/node-1")
    .addHelpText('after', '\nExample:\n  kvorum check ./data/node-1')
    .action(async (directory: string) => {
      // Loaded here: the other commands need nothing of it.
      const [{ checkDirectory }, { NodeDisk }] = await Promise.all([
        import('../node/check_directory.ts'),
        import('../storage/node_disk.ts'),
      ]);
      const json = program.opts<GlobalOptions>().json === true;
      const bar = new SingleBar({ format: 'checking {bar} {value}/{total} files', stream: process.stderr });
      let started = false;
      const report = await checkDirectory(new NodeDisk(), directory, (done, total) => {
        if (json) return;
        if (started) bar.update(done);
        else bar.start(total, done);
        started = true;
      });
      if (started) bar.stop();
      if (report.damages.length > 0) process.exitCode = EXIT_FAILED;
      if (json) return printJson({ ...report, damages: report.damages.map(forJson) });
      for (const damage of report.damages) print(damageLine(damage));
      for (const finding of report.notes) print(`note: ${damageLine(finding)}`);
      const { files, node } = report;
      const found = report.damages.length === 0 ? 'sound' : `${report.damages.length} damages`;
      print(`node ${node.nodeId} of cluster ${node.clusterId}: ${files} files checked: ${found}`);
    });
}

function damageLine({ file, offset, problem, keyRange }: Damage): string {
  const keys =
    keyRange === undefined
      ? ''
      : ` (keys from ${keyText(keyRange.start)} to before ${keyText(keyRange.end)})`;
  return `${file}${offset === undefined ? '' : ` at byte ${offset}`}: ${problem}${keys}`;
}

/** Key ranges as text, as they are in print. */
function forJson({ keyRange, ...damage }: Damage): object {
  if (keyRange === undefined) return damage;
  return { ...damage, keyRange: { start: keyText(keyRange.start), end: keyText(keyRange.end) } };
}

/** A stored key without its space byte, on one line and not too long. */
function keyText(key: Uint8Array | undefined): string {
  if (key === undefined) return 'the end';
  const shown = Buffer.from(key.subarray(1, 1 + SHOWN_KEY_BYTES)).toString('latin1');
  const escaped = shown.replace(
    /[^ -~]|["\\]/g,
    (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
  return `"${escaped}"${key.length > 1 + SHOWN_KEY_BYTES ? '...' : ''}`;
}
