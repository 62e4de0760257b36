/**
 * Random programs for a tree. An operation carries the seed of its own content and makes sense wherever it stands, so that a program stays one when operations
 * are taken out of it: that is how a failing one is made small.
 */
import { seededRandom } from '../record_model.ts';
import { WRITE_SHAPES, type WriteShape } from './random_records.ts';
import { pick } from './tree_subject.ts';

export type Operation =
  /** `during`: rounds of reads while the flush is under way. */
  | { type: 'flush'; seed: number; writes: number; shape: WriteShape; during: number }
  /** At a revision so far along the way from the last compaction to the newest revision. */
  | { type: 'compact'; share: number }
  | { type: 'checkpoint' }
  | { type: 'settle' }
  | { type: 'reopen' }
  | { type: 'reads'; seed: number; rounds: number }
  | { type: 'all' }
  | { type: 'snapshot' }
  | { type: 'snapshotPages'; pages: number; pageBytes: number }
  /** Reads the oldest snapshot to its end and releases it. */
  | { type: 'snapshotEnd'; pageBytes: number }
  /** `fails`: its stream breaks after so many pages; -1: never. */
  | { type: 'install'; seed: number; writes: number; shape: WriteShape; pageRecords: number; fails: number };

export interface ProgramSize {
  readonly operations: number;
  /** Records of one flush, at most. */
  readonly writes: number;
  /** Values of megabytes and keys of 64 KiB, too. */
  readonly huge: boolean;
}

/** Of megabytes each. */
const HUGE_WRITES = 12;

export function randomProgram(seed: number, size: ProgramSize): Operation[] {
  const random = seededRandom(seed);
  const program: Operation[] = [];
  while (program.length < size.operations) program.push(randomOperation(random, size));
  program.push({ type: 'settle' }, { type: 'all' }, { type: 'reopen' }, { type: 'all' });
  return program;
}

function randomOperation(random: () => number, size: ProgramSize): Operation {
  const seed = Math.floor(random() * 2 ** 31);
  const kind = random();
  if (kind < 0.42) {
    const shape = randomShape(random, size);
    const writes = Math.floor(random() ** 2 * (shape === 'huge' ? HUGE_WRITES : size.writes));
    return {
      type: 'flush',
      seed,
      writes,
      shape,
      during: random() < 0.4 ? 6 : 0,
    };
  }
  if (kind < 0.52) return { type: 'compact', share: random() < 0.3 ? 1 : random() };
  if (kind < 0.57) return { type: 'checkpoint' };
  if (kind < 0.6) return { type: 'settle' };
  if (kind < 0.65) return { type: 'reopen' };
  if (kind < 0.8) return { type: 'reads', seed, rounds: 1 + Math.floor(random() * 20) };
  if (kind < 0.85) return { type: 'all' };
  if (kind < 0.89) return { type: 'snapshot' };
  const pageBytes = 1 + Math.floor(random() ** 3 * 100_000);
  if (kind < 0.93) return { type: 'snapshotPages', pages: 1 + Math.floor(random() * 4), pageBytes };
  if (kind < 0.97) return { type: 'snapshotEnd', pageBytes };
  const shape = randomShape(random, size);
  return {
    type: 'install',
    seed,
    writes: Math.floor(random() * (shape === 'huge' ? HUGE_WRITES : size.writes)),
    shape,
    pageRecords: 1 + Math.floor(random() * 50),
    fails: random() < 0.3 ? Math.floor(random() * 4) : -1,
  };
}

function randomShape(random: () => number, size: ProgramSize): WriteShape {
  const shape = pick(random, WRITE_SHAPES);
  return shape === 'huge' && !size.huge ? 'mixed' : shape;
}

/**
 * The shortest program found by taking out runs of operations, longest first, for which `fails` still says true; gives up looking after `attempts` programs.
 */
export async function shrink(
  program: readonly Operation[],
  fails: (candidate: Operation[]) => Promise<boolean>,
  attempts: number,
): Promise<Operation[]> {
  let best = [...program];
  let left = attempts;
  for (let length = Math.ceil(best.length / 2); length >= 1 && left > 0; ) {
    let smaller = false;
    for (let at = 0; at < best.length && left > 0; ) {
      const candidate = best.toSpliced(at, length);
      left--;
      if (await fails(candidate)) {
        best = candidate;
        smaller = true;
      } else at += length;
    }
    if (length > 1) length = Math.floor(length / 2);
    else if (!smaller) break;
  }
  return best;
}
