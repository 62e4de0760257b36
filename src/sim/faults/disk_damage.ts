/**
 * Damages the disk of a machine that does not run: bit rot, a write that went elsewhere, a file that lost its end, a file or the whole tree that is gone.
 *
 * The log keeps one thing that no store can tell apart: bytes at its very end that were durable and rotted look like a write that a power cut tore, and are cut off
 * (docs/formats/log.md, "What stays ambiguous"). With one copy lost like that unnoticed, a quorum could elect a leader without the entry. So no damage is done to a log unless
 * the offline check can tell it; anywhere else any byte may be hit.
 */

import type { Damage } from '../../node/check_directory.ts';
import { DiskError } from '../../storage/disk.ts';
import type { MemoryDisk } from '../../storage/memory_disk.ts';
import { damagesOn, describeDamages } from '../invariants/directory_check.ts';
import type { DamageArea, FaultStep } from './fault_plan.ts';

export type DamageStep = Extract<
  FaultStep,
  { kind: 'bitRot' | 'misdirectedWrite' | 'truncation' | 'lostFile' | 'lostTree' }
>;

/** Places in a log that are tried until one is found whose damage can be told. */
const MAX_TRIES = 6;

interface Place {
  readonly file: string;
  readonly sizeBytes: number;
}

/** What was done, in words; undefined: nothing could be. REQUIRES: nobody runs on the disk, and it has no delay for whoever is nobody. */
export async function damageDisk(
  disk: MemoryDisk,
  path: string,
  step: DamageStep,
): Promise<string | undefined> {
  if (step.kind === 'lostTree') return loseTree(disk, path);
  const files = await filesOf(disk, path, step.area);
  if (files.length === 0) return undefined;
  let known: ReadonlySet<string> | undefined;
  for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
    const shift = (share: number): number => (share + attempt / MAX_TRIES) % 1;
    const place = files[Math.floor(step.file * files.length) % files.length]!;
    const act = actOf(step, place, shift);
    if (act === undefined) return undefined;
    if (step.area === 'log') {
      const trial = disk.fork({ instant: true });
      await act.on(trial);
      // Told by itself: what was damaged before tells of nothing new.
      known ??= new Set((await damagesOn(disk, path)).map(textOf));
      if ((await damagesOn(trial, path)).every((damage) => known?.has(textOf(damage)))) continue;
    }
    await act.on(disk);
    return act.told;
  }
  return undefined;
}

function textOf(damage: Damage): string {
  return describeDamages([damage]);
}

interface Act {
  readonly told: string;
  readonly on: (disk: MemoryDisk) => Promise<void> | void;
}

function actOf(
  step: Exclude<DamageStep, { kind: 'lostTree' }>,
  { file, sizeBytes }: Place,
  shift: (share: number) => number,
): Act | undefined {
  if (step.kind === 'lostFile') {
    return { told: `${file} is gone`, on: (disk) => loseFile(disk, file) };
  }
  if (sizeBytes === 0) return undefined;
  const offset = Math.floor(shift(step.place) * sizeBytes);
  switch (step.kind) {
    case 'bitRot': {
      const { mask } = step;
      return {
        told: `bits ${mask.toString(2)} of byte ${offset} of ${file} flipped`,
        on: (disk) => disk.damage(file, offset, mask),
      };
    }
    case 'truncation':
      return {
        told: `${file} cut to ${offset} of ${sizeBytes} bytes`,
        on: (disk) => disk.cutShort(file, offset),
      };
    case 'misdirectedWrite': {
      const bytes = Math.min(step.bytes, sizeBytes - offset);
      const from = Math.floor(step.from * (sizeBytes - bytes));
      return {
        told: `${bytes} bytes of ${file} from offset ${from} written over those at ${offset}`,
        on: (disk) => disk.misdirect(file, from, offset, bytes),
      };
    }
  }
}

async function loseFile(disk: MemoryDisk, file: string): Promise<void> {
  await disk.remove(file);
  await disk.syncDirectory(file.slice(0, file.lastIndexOf('/')));
}

async function loseTree(disk: MemoryDisk, path: string): Promise<string | undefined> {
  if (!(await disk.exists(`${path}/tree`))) return undefined;
  await disk.removeTree(`${path}/tree`);
  await disk.syncDirectory(path);
  return `${path}/tree is gone`;
}

/** The files of a part of a node's directory, in order. */
async function filesOf(disk: MemoryDisk, path: string, area: DamageArea): Promise<Place[]> {
  if (area !== 'identity') return below(disk, `${path}/${area}`);
  const file = `${path}/node.json`;
  return (await disk.exists(file)) ? [await placeOf(disk, file)] : [];
}

async function below(disk: MemoryDisk, directory: string): Promise<Place[]> {
  const places: Place[] = [];
  for (const name of (await namesIn(disk, directory)) ?? []) {
    const path = `${directory}/${name}`;
    if ((await namesIn(disk, path)) === undefined) places.push(await placeOf(disk, path));
    else places.push(...(await below(disk, path)));
  }
  return places;
}

/** undefined: no directory. */
async function namesIn(disk: MemoryDisk, path: string): Promise<string[] | undefined> {
  try {
    return await disk.list(path);
  } catch (error) {
    if (error instanceof DiskError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}

async function placeOf(disk: MemoryDisk, file: string): Promise<Place> {
  const opened = await disk.open(file, 'read');
  const sizeBytes = opened.sizeBytes();
  await opened.close();
  return { file, sizeBytes };
}
