/**
 * Copies of the build with one mistake in them.
 *
 * Invariants: the build itself is never changed; a bug whose place is not found exactly once is an error, so that the table cannot rot; copies lie below build/mutants/,
 * where they find the packages of the project, and are not published.
 */
import { cp, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { PlantedBug } from './planted.ts';

/** The changed text of the file that a bug is planted in. @throws Error naming the bug and the edit that finds its place never, or more than once */
export async function plantedText(build: string, bug: PlantedBug): Promise<string> {
  let text = await readFile(join(build, bug.file), 'utf8');
  if (bug.edits.length === 0) throw new Error(`${bug.name}: no edits`);
  for (const { find, replace } of bug.edits) {
    const parts = text.split(find);
    if (parts.length !== 2)
      throw new Error(`${bug.name}: found ${parts.length - 1} times in ${bug.file}, wanted once:\n${find}`);
    text = parts.join(replace);
  }
  return text;
}

/** Makes the copy and gives its directory (which stands for `build`). */
export async function plant(build: string, bug: PlantedBug): Promise<string> {
  const text = await plantedText(build, bug);
  const copy = join(build, 'mutants', bug.name);
  await rm(copy, { recursive: true, force: true });
  await mkdir(copy, { recursive: true });
  for (const part of ['src', 'transports'])
    await cp(join(build, part), join(copy, part), {
      recursive: true,
      filter: (source) => !source.endsWith('.d.ts'),
    });
  await symlink(join('..', '..', 'wasm'), join(copy, 'wasm'));
  const target = join(copy, bug.file);
  await mkdir(dirname(target), { recursive: true });
  await writeFile(target, text);
  return copy;
}

export function uproot(copy: string): Promise<void> {
  return rm(copy, { recursive: true, force: true });
}
