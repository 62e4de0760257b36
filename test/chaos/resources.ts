/**
 * What a round holds of the machine beyond its own memory: processes, mounts, network namespaces, bridges, directories.
 *
 * Each is written down in a file before it is taken, so that whoever started the round can give everything back even when the round was killed. Processes are ended by id,
 * and only while their command line still names the round's directory: an id may have passed to somebody else.
 */
import { spawnSync } from 'node:child_process';
import { appendFileSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { signal } from '../end_to_end/processes.ts';

export type Resource =
  | { readonly kind: 'process'; readonly pid: number }
  | { readonly kind: 'mount'; readonly path: string }
  | { readonly kind: 'namespace'; readonly name: string }
  | { readonly kind: 'link'; readonly name: string };

const FILE = 'resources.jsonl';

export function noteResource(directory: string, resource: Resource): void {
  appendFileSync(join(directory, FILE), `${JSON.stringify(resource)}\n`);
}

/** Gives back what a round took; `removeDirectory` also its files. Safe to call again. */
export function giveBack(directory: string, removeDirectory: boolean): void {
  const resources = notedResources(directory);
  for (const resource of resources) {
    if (resource.kind === 'process' && belongs(resource.pid, directory)) signal(resource.pid, 'SIGKILL');
  }
  for (const resource of resources) {
    // -l: also while the last breath of a process still holds it.
    if (resource.kind === 'mount') spawnSync('umount', ['-l', resource.path]);
    if (resource.kind === 'namespace') spawnSync('ip', ['netns', 'delete', resource.name]);
    if (resource.kind === 'link') spawnSync('ip', ['link', 'delete', resource.name]);
  }
  if (removeDirectory) rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
}

function notedResources(directory: string): Resource[] {
  let text: string;
  try {
    text = readFileSync(join(directory, FILE), 'utf8');
  } catch {
    // It took nothing.
    return [];
  }
  const resources: Resource[] = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
  return resources.reverse();
}

function belongs(pid: number, directory: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(directory);
  } catch {
    // It is gone.
    return false;
  }
}
