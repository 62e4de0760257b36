/** When the second copy of the applied state is written (kept_state.ts), and what its failure means. */
import type { Configuration } from '../raft/types.ts';
import { isNoSpace } from '../storage/log/storage_failure.ts';
import type { AppliedState } from '../storage/record.ts';
import type { KeptState } from './kept_state.ts';
import { asStorageError } from './replica_storage.ts';

/** Before the log is cut at `cutIndex`. A node alone could do nothing with the copy. */
export async function keepState(
  kept: KeptState,
  { voters }: Configuration,
  cutIndex: number,
  applied: AppliedState,
): Promise<void> {
  if (voters.length <= 1) return;
  try {
    await kept.cover(cutIndex, applied);
  } catch (error) {
    // Cutting the log makes room, which is worth more than a second copy.
    if (!isNoSpace(error)) throw asStorageError(error);
  }
}
