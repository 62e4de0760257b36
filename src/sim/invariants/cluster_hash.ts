/** At the end of a run the store is asked what its users may ask it: whether all members hold the same keys at one revision. */
import { KvError } from '../../errors.ts';
import type { ClusterHash } from '../../wire/upkeep_messages.ts';
import type { World } from '../world.ts';
import type { Report } from './violation.ts';

const TRIES = 20;
const PAUSE_MS = 250;

/** Every member has to answer within some tries, and with the same hash. REQUIRES: all is healed. */
export async function compareHashes(world: World, report: Report): Promise<void> {
  let told = 'nobody answered';
  for (let tries = 0; tries < TRIES; tries++) {
    const answer = await hashes(world);
    if (answer instanceof KvError) told = `${answer.code} ${answer.message}`;
    else {
      const { revision, members, differing } = answer;
      if (differing.length > 0) {
        const list = members.map(({ id, hash }) => `node ${id}: ${hash?.hash ?? 'none'}`).join(', ');
        report('cluster hash', undefined, `members differ at revision ${revision}: ${list}`, {
          revision,
          differing,
        });
        return;
      }
      // A learner that was added by a change without an answer has no machine.
      const silent = members.filter(({ id, hash }) => hash === undefined && world.nodes.has(id));
      if (silent.length === 0) return;
      told = silent.map(({ id, problem }) => `node ${id}: ${problem}`).join(', ');
    }
    await world.sleep(PAUSE_MS);
  }
  report('cluster hash', undefined, `no hash of every member in ${TRIES} tries: ${told}`);
}

async function hashes(world: World): Promise<ClusterHash | KvError> {
  try {
    return await world.admin().upkeep.hash({ timeoutMs: 5_000 });
  } catch (error) {
    if (error instanceof KvError) return error;
    throw error;
  }
}
